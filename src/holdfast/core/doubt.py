"""A step in doubt: its effect was begun and nobody knows whether it happened. What to do next, as a pure decision.

The tool's `verify` is asked first. *Done* is believed at once. *Not done* is believed when it was said twice,
`settle` apart by the store's clock and by one that nobody sets, because a request may still be on its way; then the
same intent begins again, under the same key. It is not asked at all while the sender may live (`runtime.senders`).
Anything else goes to a person, who has four answers (`accept.DOUBT_OPTIONS`). Nothing is repeated or skipped
without one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.core.events import Event, Kind

SAID_DONE, SAID_NOT_DONE, SAID_UNKNOWN = "done", "not_done", "unknown"
VERIFY_TRIES = 5
"""After so many answers of `verify` without a conclusion a person is asked."""


@dataclass(frozen=True, slots=True)
class AskVerify:
    """Ask the tool's `verify`, not before this time."""

    not_before: float


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Ask a person."""

    because: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """The effect happened; `by` says who knows, `body` is the result they gave."""

    by: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Repeat:
    """The effect did not happen: the same intent begins again."""

    by: str


@dataclass(frozen=True, slots=True)
class Tell:
    """The agent is told that nobody knows."""

    by: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The run is stopped."""

    by: str


Decision = AskVerify | AskPerson | Conclude | Repeat | Tell | Abort


def decide(verdicts: Sequence[Event], *, has_verify: bool, settle_s: float, now: float) -> Decision:
    """What follows from what `verify` and people have said since the attempt in doubt was begun."""
    last = verdicts[-1] if verdicts else None
    if last is not None and last.kind is Kind.QUESTION_CLOSED:
        return _by_person(last)
    if not has_verify:
        return AskPerson("the tool has no `verify`")
    if last is None:
        return AskVerify(now)
    said = last.facts.get("verdict", SAID_UNKNOWN)
    if said == SAID_DONE:
        return Conclude("verify", last.body)
    if said == SAID_UNKNOWN:
        return AskPerson("`verify` cannot tell: " + last.facts.get("text", "unknown"))
    first = first_of_the_noes(verdicts)
    if last.at - first.at >= settle_s and last is not first:
        return Repeat("verify")
    if len(verdicts) >= VERIFY_TRIES:
        return AskPerson(f"`verify` gave {len(verdicts)} answers without a conclusion")
    return AskVerify(min(max(now, first.at + settle_s), now + settle_s))  # a clock that was set back costs no more


def first_of_the_noes(verdicts: Sequence[Event]) -> Event:
    """The first of the answers "not done" since any other; the last answer when that was another."""
    first = verdicts[-1]
    for event in reversed(verdicts):
        if event.kind is Kind.QUESTION_CLOSED or event.facts.get("verdict") != SAID_NOT_DONE:
            break
        first = event
    return first


def _by_person(closed: Event) -> Decision:
    facts = closed.facts
    by = facts.get("by", "person")
    match facts.get("choice"):
        case "it_happened":
            return Conclude(by, closed.body)
        case "it_did_not":
            return Repeat(by)
        case "tell_the_agent":
            return Tell(by)
        case "abort":
            return Abort(by)
        case _:
            return AskPerson("the question was closed without an answer")
