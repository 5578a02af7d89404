"""A run that has come to a cap of its own budget is set aside, and a person is asked to raise it.

Instead of its end the question and the suspension are written, in one append, when what was under way is over; the run
leaves memory, and its time in the store is the question's deadline. Whoever claims it then goes on from the record:

1. Raised: the answer, the new caps and the resumption are one append, with the answer marked as read. One raise for
   each answer, whoever dies when.
2. Refused, or not answered in time: the run is stopped as it would have been, with its hand-over. What was said stands
   in the record before the end, and a process that dies between the two leaves it to the next.
3. `resume`, and caps that an operator sets, say more than the question, and withdraw it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.core import deadline, overdraft
from holdfast.core.address import question_id
from holdfast.core.budget import TIMES
from holdfast.core.events import Address, Event, Kind, meta
from holdfast.core.form import filled
from holdfast.core.heads import Status, Why
from holdfast.runtime import escalating

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

ABOUT = overdraft.ABOUT
_SILENCE = {"expired": "nobody answered in time", "undeliverable": "no channel could tell anybody of it in time"}


def asks(driver: Driver, outcome: Status, facts: dict[str, Any]) -> bool:
    """Whether a person is asked instead of this stop: it is by a cap of the run's own, and nobody was asked yet."""
    state = driver.state
    is_own = outcome is Status.STOPPED and "limit" in facts and not facts.keys() & {"account", "asked", "with_parent"}
    return is_own and state.ask is not None and state.unwinding is None and not (driver.living or driver.is_hurried)


async def set_aside(driver: Driver, why: str, facts: dict[str, Any]) -> None:
    """Ask, and suspend the run until the answer, or the time of the question, has come."""
    state, record, name = driver.state, driver.record, facts["limit"]
    ask, now, needs = state.ask or {}, record.now(), facts.get("needs") or 0
    cap = getattr(state.limits, name) or 0
    expires_at = now + ask["within_s"]
    hash_key = driver.services.journal.hash_key
    asked = meta(
        id=question_id(hash_key, driver.lease.run_id, Address("", ABOUT, "", 0), state.count),
        about=ABOUT,
        text=overdraft.text(name, cap, _used(driver, name), needs),
        options=list(overdraft.OPTIONS),
        schema=overdraft.schema(name, cap, needs),
        to=ask["who"],
        urgent=ask.get("urgent"),
        expires_at=expires_at,
        default=overdraft.STOP,
        stop=[why, facts],
    )
    record.note(Kind.QUESTION_ASKED, asked)
    record.note(Kind.RUN_SUSPENDED, meta(why=Why.BUDGET, until=expires_at))
    await record.write()


def _used(driver: Driver, name: str) -> int:
    state, now = driver.state, driver.record.now()
    if name not in TIMES:
        return int(getattr(state.used, name))
    passed_s = deadline.active_s(state, now) if name == "active_ms" else deadline.passed_s(state.created_at, now)
    return int(passed_s * 1000)


def answered(driver: Driver, asked: Event, said: dict[str, Any]) -> None:
    """A person has answered; the answer itself is added. What "stop" means is carried out by `settle`."""
    if said.get("choice") != overdraft.RAISE:
        return
    facts, state, record = asked.facts, driver.state, driver.record
    passed_ms = int(deadline.passed_s(state.created_at, record.now()) * 1000)
    values = filled(facts["schema"], said.get("form") or {})
    limits = overdraft.raised(facts["stop"][1]["limit"], values, state.limits, passed_ms)
    because = f"asked for by {facts['id']}"
    record.note(Kind.BUDGET_CHANGED, meta(limits=list(limits), by=said.get("by"), because=because))
    _go_on(driver, asked, said.get("by"))


def _go_on(driver: Driver, asked: Event, by: str | None) -> None:
    """Reopen what the stop stood for; a pause holds all the same."""
    paused = driver.state.paused
    reopened = asked.facts["stop"][1].get("cause", [])
    driver.record.note(Kind.RUN_RESUMED, meta(why="raised", by=by, reopened=reopened))
    if paused is not None:
        driver.record.note(Kind.DECIDED, paused.meta)


def withdraw(driver: Driver, by: str | None, *, is_raised: bool) -> None:
    """An operator has resumed the run, or has set its caps."""
    for asked in [each for each in driver.state.asked.values() if each.facts["about"] == ABOUT]:
        outcome, choice = ("answered", overdraft.RAISE) if is_raised else ("withdrawn", None)
        closed = meta(id=asked.facts["id"], outcome=outcome, choice=choice, by=by)
        driver.record.note(Kind.QUESTION_CLOSED, closed)
        _go_on(driver, asked, by)


def settle(driver: Driver) -> None:
    """What nobody has answered in time is over; and what was said to it, if that is to stop, stops the run."""
    state, now = driver.state, driver.record.now()
    for asked in [each for each in state.asked.values() if each.facts["about"] == ABOUT]:
        if state.paused is None and now >= asked.facts["expires_at"]:
            is_unheard = escalating.reached_nobody(driver.services, driver.lease.run_id, asked.facts["id"])
            outcome = "undeliverable" if is_unheard else "expired"
            closed = meta(id=asked.facts["id"], outcome=outcome, choice=overdraft.STOP)
            driver.record.note(Kind.QUESTION_CLOSED, closed)
    said = state.stop_said
    if said is not None and said[0].facts["about"] == ABOUT and not driver.is_ending and state.paused is None:
        _stop(driver, *said)


def _stop(driver: Driver, asked: Event, closed: Event) -> None:
    why, facts = asked.facts["stop"]
    outcome, by = closed.facts["outcome"], closed.facts.get("by")
    told = _SILENCE.get(outcome, f"{by or 'somebody'} said no to more")
    driver.stop(Status.STOPPED, f"{why} It was asked for more: {told}.", facts | {"asked": outcome, "by": by})


def is_set_aside(driver: Driver) -> bool:
    """Whether the run waits for such an answer."""
    return driver.state.status is Status.SUSPENDED and driver.state.why == Why.BUDGET
