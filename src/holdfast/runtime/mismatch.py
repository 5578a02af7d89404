"""A run whose code no longer matches its record is put to whoever `escalate` names: a block that nobody hears of stays.

The question is asked in the append that blocks the run, and has no deadline: there is no safe thing to do by itself.

1. "resume" and "cancel" are what the commands of that name do. An answer is carried out once: the resumption stands in
   the append of the answer, and a cancel that a dying process leaves behind is carried out by the next.
2. The same block is asked about once. Whoever resumes or cancels by command withdraws the question.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from holdfast.core.address import question_id
from holdfast.core.command import Block
from holdfast.core.events import Address, Event, Kind, meta
from holdfast.core.heads import Status
from holdfast.core.questions import CANCEL, MISMATCH, RESUME
from holdfast.runtime.facts import safe

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

ABOUT = MISMATCH
OPTIONS = (RESUME, CANCEL)
_SIDE_MAX = 500
_RECORDED_MAX = 3
_ARGUMENTS = re.compile(r"[({\[:]")


def ask(driver: Driver, block: Block) -> None:
    """Add the question about this block, where somebody is named who gets it, and it is not open."""
    if not driver.agent.escalate or _open(driver):
        return
    state, services = driver.state, driver.services
    asked = meta(
        id=question_id(services.journal.hash_key, driver.lease.run_id, Address("", ABOUT, "", 0), state.count),
        about=ABOUT,
        text=_text(block),
        options=list(OPTIONS),
        to=driver.agent.escalate,
    )
    driver.record.note(Kind.QUESTION_ASKED, asked)


def _text(block: Block) -> str:
    """What is asked for and what is recorded, by name: arguments are a model's words, and stand in `holdfast show`."""
    recorded = ", ".join(block.recorded[:_RECORDED_MAX]) or "nothing of that sort"
    more = f" and {len(block.recorded) - _RECORDED_MAX} more" if len(block.recorded) > _RECORDED_MAX else ""
    asked = safe(_ARGUMENTS.split(block.asked)[0].strip(), _SIDE_MAX)
    return (
        f"The code and the record of the run do not match. The code asks for {asked}; the record has "
        f"{safe(recorded, _SIDE_MAX)}{more}. Nothing is begun; `holdfast show` has both sides in full. "
        "Put the right code in place and resume the run, or cancel it?"
    )


def _open(driver: Driver) -> list[Event]:
    return [asked for asked in driver.state.asked.values() if asked.facts["about"] == ABOUT]


def answered(driver: Driver, said: dict[str, Any]) -> None:
    """A person has answered; the answer itself is added. A cancel is carried out by `settle`."""
    if said.get("choice") == RESUME and driver.state.paused is None:
        driver.record.note(Kind.RUN_RESUMED, meta(why="unblocked", by=said.get("by")))


def withdraw(driver: Driver, by: str | None) -> None:
    """Somebody resumed the run by command."""
    for asked in _open(driver):
        driver.record.note(Kind.QUESTION_CLOSED, meta(id=asked.facts["id"], outcome="withdrawn", by=by))


def settle(driver: Driver) -> None:
    """Carry out a cancel that somebody has answered."""
    said = driver.state.stop_said
    if said is None or said[0].facts["about"] != ABOUT or driver.is_ending:
        return
    by = said[1].facts.get("by")
    driver.stop(Status.CANCELLED, f"cancelled by {by or 'somebody'}", {"by": by})
