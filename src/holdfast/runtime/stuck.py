"""Agents that go round in circles, as it is carried out: what `core.loops` sees is told, stopped, or put to a person.

Looked at once for each step, when it begins; what it comes to is an outcome, an end or a question in the record.

Invariants
1. A call that is refused here was not begun, and no policy retries it or falls back for it.
2. Nobody is stopped who was not told before, and has not had a turn since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.core.command import Call
from holdfast.core.conduct import GO_ON, STOP
from holdfast.core.events import Address, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status, Why
from holdfast.core.loops import REFUSED_CODE, Asked, Seen, Stuck, is_heard, look, look_at_model
from holdfast.errors import Unencodable
from holdfast.journal.codec import digest, encode
from holdfast.runtime.facts import facts_of
from holdfast.runtime.pauses import fresh_question_id

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls

Essence = Callable[[bytes | None], Any] | None
MARK_CHARACTERS = 16
"""Of the digest of a progress."""


def is_watched(driver: Calls, address: Address) -> bool:
    """Whether there is anything to see for `refused`: a cheap look, as it is taken for each step."""
    rule: Stuck | None = driver.agent.stuck
    return not (rule is None or _is_the_codes(driver, rule)) or address in driver.record.state.slots


async def refused(driver: Calls, call: Call, address: Address, essence: Essence = None) -> Failure | None:
    """What the agent is told instead of this step, which goes on with a loop; None when it may begin. Does not come
    back when the run is stopped for it. essence: what counts of a model's answer."""
    rule: Stuck | None = driver.agent.stuck
    slot = driver.state.slots.get(address)
    if slot is not None and (slot.is_in_flight or slot.begun_at is not None):
        return None  # begun before
    is_asked = _question(driver, address) != ""
    if driver.is_stopping or (not is_asked and (rule is None or _is_the_codes(driver, rule))):
        return None
    seen = None if rule is None else _seen(driver, call, address, rule, essence)
    if seen is None and not is_asked:
        return None
    if seen is not None and not is_asked and call.step is StepKind.TOOL and not _goes_on(driver, seen, address):
        return _told(driver, seen, address)
    await _ended(driver, call, address, rule, seen)
    return None


def _is_the_codes(driver: Calls, rule: Stuck) -> bool:
    """Whether there is no model in this run, and loops of the agent's own code do not count."""
    return not rule.code and not driver.record.state.conduct.models


def _seen(driver: Calls, call: Call, address: Address, rule: Stuck, essence: Essence) -> Seen | None:
    state, asked = driver.state, Asked(*address[:3])
    conduct = state.conduct
    if call.step is not StepKind.MODEL:
        return look(state.order, asked, rule, since=conduct.since, told=conduct.told)
    if essence is None or address.n < (rule.same or 0):
        return None
    return look_at_model(state.order, asked, rule, essence, since=conduct.since)


def _goes_on(driver: Calls, seen: Seen, address: Address) -> bool:
    """Whether it was told of this before, and has had a turn since."""
    told_no = driver.state.conduct.told.get(seen.loop)
    if told_no is None:
        return False
    is_told = not driver.record.has_unwritten and not driver.record.is_writing
    return is_heard(driver.state.order, address.scope, told_no, is_told=is_told)


def _told(driver: Calls, seen: Seen, address: Address) -> Failure:
    if seen.loop not in driver.state.conduct.told:
        _decide(driver, address, "tell", seen)
    text = (
        f"Not begun: {seen.text}. It leads nowhere: do something else, or say what is done and what is missing. "
        "If this goes on, the run is stopped."
    )
    because = f"stuck: {seen.reason}: {seen.text}"
    return Failure(FailureKind.REFUSED, "Stuck", text, text, because=because, code=REFUSED_CODE)


def facts(failure: Failure) -> dict[str, Any]:
    """Of a refusal: for its outcome."""
    return failure.facts() | {"stuck": failure.because.split(": ")[1]}


async def _ended(driver: Calls, call: Call, address: Address, rule: Stuck | None, seen: Seen | None) -> None:
    """Stop, or ask a person and wait. Comes back only when the person lets it go on."""
    if rule is None or rule.then == "ask" or seen is None:
        await _asked(driver, call, address, seen)
        stop = driver.state.conduct.stopped_by
        if stop is None:
            return
        by = stop.facts.get("by") or "a person"
        reason = "same_call" if seen is None else seen.reason
        driver.stop(Status.STOPPED, f"{by} stopped it: the agent was stuck", {"by": by, "stuck": reason})
    else:
        _decide(driver, address, "stop", seen)
        told = "" if call.step is StepKind.MODEL else " It had been told, and went on."
        driver.stop(Status.STOPPED, f"stuck: {seen.reason}: {seen.text}.{told}", {"stuck": seen.reason})
    await driver.never()


async def _asked(driver: Calls, call: Call, address: Address, seen: Seen | None) -> None:
    """Ask, unless it was asked in an earlier life, and wait for the answer."""
    question = _question(driver, address)
    if not question and seen is not None and driver.state.conduct.stopped_by is None:
        _decide(driver, address, "ask", seen)
        question = fresh_question_id(driver, address)
        facts = meta(
            id=question,
            about="stuck",
            text=f"The agent seems to be stuck: {seen.text}. Shall it go on?",
            options=[GO_ON, STOP],
            to=driver.agent.escalate or None,
        )
        driver.record.note_step(Kind.QUESTION_ASKED, address, call.step, call.effect, meta=facts, body=call.shown)
        await driver.write()
    if question:
        with driver.silence.waits(address, Why.QUESTION, None):
            await driver.waits.answered(question)


def _question(driver: Calls, address: Address) -> str:
    """The id of the question whether it goes on, while it is open."""
    slot = driver.state.slots.get(address)
    facts = slot.doubt.facts if slot is not None and slot.doubt is not None else {}
    return str(facts["id"]) if facts.get("about") == "stuck" else ""


def _decide(driver: Calls, address: Address, choice: str, seen: Seen) -> None:
    facts = meta(what="stuck", choice=choice, because=seen.text, reason=seen.reason, loop=seen.loop)
    driver.record.add(Event(Kind.DECIDED, driver.record.now(), address, meta=facts))


# --- what an outcome says about it -----------------------------------------------------------------------------


def marks(driver: Calls, plan: Attempts) -> dict[str, Any]:
    """More for the outcome of a tool: that it polls, and how far the agent has come."""
    rule: Stuck | None = driver.agent.stuck
    if rule is None or plan.call.step is not StepKind.TOOL:
        return {}
    marked: dict[str, Any] = {"polls": True} if plan.polls else {}
    return marked if driver.measure is None else marked | {"progress": _progress(driver.measure)}


def _progress(measure: Any) -> str:
    """A digest of the agent's progress; one that cannot be measured is the same until it can."""
    try:
        value = measure()
    except Exception as error:  # the user's function: what it raises is what it says
        value = f"raised {facts_of(error).error}: {facts_of(error).text}"
    try:
        return digest(encode(value))[:MARK_CHARACTERS]
    except (Unencodable, ValueError) as error:
        return digest(encode(f"no plain value: {error}"))[:MARK_CHARACTERS]
