"""A run whose processes die one after the other: it is set aside, and a person says what becomes of it.

Three deaths in a row without anything new in the record are a crash loop: the run itself, or what it meets, kills its
process. The fourth process asks before the agent's code runs, so a lone step is tried three times over three deaths.
Whoever `escalate` names decides: go on (three more), or stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core.address import question_id
from holdfast.core.events import Address, Kind, meta
from holdfast.core.heads import CRASH_LOOP_OPTIONS, Status, Why

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

DEATHS_MAX = 3
ABOUT = "crash_loop"
_GO_ON, _STOP = CRASH_LOOP_OPTIONS


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


def answered(driver: Driver, facts: dict[str, Any]) -> None:
    """A person has decided."""
    if facts.get("choice") == _STOP:
        by = facts.get("by") or "somebody"
        driver.stop(Status.STOPPED, f"{by} stopped it: its processes died one after the other", {"by": by})


def withdraw(driver: Driver, by: str | None) -> None:
    """Somebody resumed the run, which says the same as "go on"."""
    for question in [open for open in driver.state.questions.values() if open.about == ABOUT]:
        driver.record.note(Kind.QUESTION_CLOSED, meta(id=question.id, outcome="answered", choice=_GO_ON, by=by))
