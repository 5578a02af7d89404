"""A run whose processes die one after the other: it is set aside, and a person says what becomes of it.

Three deaths in a row without anything new in the record are a crash loop: the run itself, or what it meets, kills its
process. The fourth process asks before the agent's code runs, so a lone step is tried three times over three deaths.
Whoever `escalate` names decides: go on (three more), or stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.address import question_id
from holdfast.core.events import Address, Kind, meta
from holdfast.core.heads import CRASH_LOOP_OPTIONS, Status, Why
from holdfast.core.questions import CRASH_LOOP

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

DEATHS_MAX = 3
ABOUT = CRASH_LOOP
_GO_ON = CRASH_LOOP_OPTIONS[0]


async def is_set_aside(driver: Driver) -> bool:
    """Whether the run must not go on; asks a person when that is news."""
    state = driver.state
    if state.status is Status.RUNNING and state.deaths >= DEATHS_MAX and not driver.is_stopping:
        _ask(driver)
        await driver.record.write()
    return state.status is Status.SUSPENDED and state.why == Why.CRASH_LOOP


def _ask(driver: Driver) -> None:
    state, record = driver.state, driver.record
    after = next(reversed(state.slots.values()), None)
    where = f"after step {len(state.slots)} `{after.address.name}`" if after is not None else "before its first step"
    hash_key = driver.services.journal.hash_key
    asked = meta(
        id=question_id(hash_key, driver.lease.run_id, Address("", ABOUT, "", 0), state.count),
        about=ABOUT,
        text=f"{state.deaths} processes in a row died {where}, and none came further. Go on with the run?",
        options=list(CRASH_LOOP_OPTIONS),
        to=driver.agent.escalate or None,
    )
    record.note(Kind.QUESTION_ASKED, asked)
    record.note(Kind.RUN_SUSPENDED, meta(why=Why.CRASH_LOOP))


def settle(driver: Driver) -> None:
    """Carry out a "stop" that somebody has answered, also after one more death."""
    said = driver.state.stop_said
    if said is None or said[0].facts["about"] != ABOUT or driver.is_ending:
        return
    by = said[1].facts.get("by") or "somebody"
    driver.stop(Status.STOPPED, f"{by} stopped it: its processes died one after the other", {"by": by})


def withdraw(driver: Driver, by: str | None) -> None:
    """Somebody resumed the run, which says the same as "go on"."""
    for question in [open for open in driver.state.questions.values() if open.about == ABOUT]:
        driver.record.note(Kind.QUESTION_CLOSED, meta(id=question.id, outcome="answered", choice=_GO_ON, by=by))
