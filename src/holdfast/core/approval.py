"""Approvals: what a person's "approve" is bound to, and whether it counts when the effect is about to begin. Pure.

An approval is for one logical attempt of one step, with exactly these arguments, as it was asked. Its digest says all
of that, and is worked out again from what is about to be done, just before it is: whatever differs is asked anew.

1. Two times: until when it can be answered, and how long an "approve" holds from then on. A retry within that time
   needs no other one; a later one does, unless the attempt before may have happened: then it is the same intent.
2. Nothing but a person's "approve" begins anything. "Declined", "nobody answered", "nobody could be reached" and
   "withdrawn" are four different outcomes, and each is told as what it is.
3. It is the word of somebody who may give it (`core.approvers`), when it is given and just before the effect.
4. A grant for a list of calls (`run.approve`) is used once for each of them, and the record says by which step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from holdfast.core.approvers import ANYBODY, Agreed, Approvers, counts
from holdfast.core.duration import seconds, span
from holdfast.core.events import Address, Event
from holdfast.core.rung import Ask
from holdfast.errors import PolicyInvalid

ABOUT: Final = "approve"
APPROVE, DECLINE, STOP = "approve", "decline", "stop"
OPTIONS: Final = (APPROVE, DECLINE)
DEFAULTS: Final = (DECLINE, STOP)
"""What may be taken when nobody answers: nothing is ever done because nobody said no."""
SKEW_S: Final = 1.0
"""How far ahead of us the clock of the process that took an answer may be."""
VALID: Final = "1h"
"""How long an "approve" holds, where nothing else is declared."""


class Subject(NamedTuple):
    """What is to be approved."""

    tenant: str
    run: str
    address: Address
    logical: int
    tool: str
    version: str
    """What the tool takes, and what its call does to the world."""
    args: bytes
    """As they are recorded and handed to the tool."""
    who: str
    valid_s: float
    default: str
    expires_at: float | None
    approvers: Approvers = ANYBODY
    """Who may agree to it."""


def digest(subject: Subject) -> str:
    """SHA-256 over all of it, in hexadecimal digits. Parts are framed as JSON: no two subjects share a text."""
    args = hashlib.sha256(subject.args).hexdigest()
    what = [subject.tool, subject.version, args, subject.who, subject.valid_s, subject.default, subject.expires_at]
    whose = _whose(subject.approvers)
    return _hashed([subject.tenant, subject.run, *subject.address, subject.logical, *what, *whose])


def digest_of_calls(
    tenant: str, run: str, calls: list[list[str]], who: str, valid_s: float, approvers: Approvers = ANYBODY
) -> str:
    """The same of a list of calls, each a tool, what it takes, and the digest of its arguments."""
    return _hashed([tenant, run, calls, who, valid_s, *_whose(approvers)])


def _whose(approvers: Approvers) -> list[Any]:
    """One part more where not everybody may agree: no list with it is one without."""
    return [] if approvers == ANYBODY else [list(approvers)]


def _hashed(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def valid_s(ask: Ask) -> float:
    """How long an "approve" holds, in seconds."""
    return seconds(VALID if ask.valid is None else ask.valid)


def checked(tool: str, ask: Any) -> Ask:
    """What a tool declares as `approve`, when it can be kept."""
    if not isinstance(ask, Ask):
        raise PolicyInvalid(f'{tool}: approve={ask!r} names nobody. Write approve=Ask("finance", within="30m").')
    if ask.default is not None and ask.default not in DEFAULTS:
        raise PolicyInvalid(
            f"{tool}: when nobody answers, {ask.default!r} cannot be taken. Choose one of: {', '.join(DEFAULTS)}. "
            "Nothing is ever done because nobody said no."
        )
    return ask


# --- what a person said ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """It may begin now."""

    by: str
    until: float
    """The store's time from which on this no longer counts."""
    question: str = ""
    """Which question it was the answer to."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It does not begin; the agent is told why. outcome: declined, expired, undeliverable or withdrawn."""

    outcome: str
    by: str
    because: str
    stops: bool = False
    """The declared default is to stop the run."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The question is open."""


@dataclass(frozen=True, slots=True)
class AskAnew:
    """There is no question, or its answer is about something else or too old, or others must agree, too. because: empty
    for the first one."""

    because: str = ""
    agreed: tuple[Agreed, ...] = ()
    """Who has agreed to the same."""


Ruling = Granted | Refused | Waiting | AskAnew
_SILENCE: Final = {
    "expired": "nobody answered in time",
    "undeliverable": "no channel could tell anybody of it in time",
}


def ruled(
    asked: Event | None, closed: Event | None, wanted: str, now: float, members: Collection[str] | None = None
) -> Ruling:
    """What may be done now. asked, closed: the latest question about it and how it ended. wanted: the digest of what is
    about to be done, as that question would have to name it. members: whom the question's approvers stand for now;
    None: that does not matter."""
    if asked is None:
        return AskAnew()
    facts = asked.facts
    if facts.get("digest") != wanted:
        return AskAnew("what is to be done is not what was asked about")
    if closed is None:
        return Waiting()
    said = closed.facts
    by = said.get("by") or "a person"
    outcome, choice = said.get("outcome"), said.get("choice")
    if outcome == "answered" and choice == APPROVE:
        given_at, until = _times(facts, closed)
        if not counts(facts, said.get("by") or "", members):
            return AskAnew(f"{by} approved it, and may not do so any more", _standing(facts, now, members))
        if given_at <= now < until:  # before it was given: a clock was set back, and nobody knows how old it is
            return _agreed(facts, Agreed(by, until), now, members)
        return AskAnew(f"{by} approved it at {_shown(given_at)}, which held for {span(until - given_at)}")
    if outcome == "answered":
        return Refused("declined", by, f"{by} declined it")
    if outcome in _SILENCE:
        stops = choice == STOP
        default = "the run is stopped" if stops else "declined"
        return Refused(outcome, "", f"{_SILENCE[outcome]}; by default: {default}", stops)
    return Refused(str(outcome), said.get("by") or "", f"it was {outcome}")


def _agreed(facts: dict[str, Any], latest: Agreed, now: float, members: Collection[str] | None) -> Ruling:
    """Somebody agrees: whether they are enough."""
    wanted, agreed = facts.get("quorum", 1), (*_standing(facts, now, members), latest)
    if len(agreed) >= wanted:
        names = ", ".join(one.by for one in agreed)
        return Granted(names, min(one.until for one in agreed), facts["id"])
    said = ", ".join(one.by for one in agreed)
    return AskAnew(f"{said} approved it, and {wanted - len(agreed)} more must", agreed)


def _standing(facts: dict[str, Any], now: float, members: Collection[str] | None) -> tuple[Agreed, ...]:
    """Who has agreed before, where that holds still."""
    agreed = [Agreed(*each) for each in facts.get("agreed", ())]
    return tuple(one for one in agreed if now < one.until and (members is None or one.by in members))


def ahead(closed: Event | None, grants: Iterable[Grant], now: float) -> float | None:
    """Until when to wait before it is looked at, since an answer was given a moment ahead of us by the clock of another
    process; None when there is no such answer."""
    given = [each.given_at for each in grants]
    if closed is not None:
        given.append(_times({}, closed)[0])
    latest = max(given, default=now)
    return latest if now < latest <= now + SKEW_S else None


def _times(asked: dict[str, Any], closed: Event) -> tuple[float, float]:
    """When the answer was given, and until when it holds: a run may read it long after."""
    given_at = float(closed.facts.get("answered_at", closed.at))
    return given_at, given_at + float(asked.get("valid_s", 0.0))


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds")


# --- grants for a list of calls ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Grant:
    """One call that a person approved in a list, until a step has used it."""

    question: str
    tool: str
    version: str
    args: str
    """Digest of its arguments."""
    by: str
    given_at: float
    until: float
    used: tuple[Address, int] | None = None
    """The step, and its logical attempt, that used it."""
    approvers: tuple[str, ...] = ()
    """Whose word it had to be, as it is declared."""


def grants_of(asked: dict[str, Any], closed: Event) -> list[Grant]:
    """What this answer grants."""
    said = closed.facts
    if asked.get("about") != ABOUT or said.get("outcome") != "answered" or said.get("choice") != APPROVE:
        return []
    given_at, until = _times(asked, closed)
    if not counts(asked, said.get("by") or "", None):
        return []
    by, names = said.get("by") or "a person", tuple(asked.get("approvers", ()))
    return [
        Grant(asked["id"], tool, version, args, by, given_at, until, approvers=names)
        for tool, version, args in asked.get("calls", ())
    ]


def usable(
    grants: Iterable[Grant],
    tool: str,
    version: str,
    address: Address,
    logical: int,
    now: float,
    is_word: Callable[[Grant], bool] = lambda grant: True,
) -> Grant | None:
    """The grant by which this step may begin: the one that it used already, or the oldest that nobody has. is_word:
    whether it is the word of somebody who may give it."""
    wanted = (tool, version, address.digest)
    alike = [each for each in grants if (each.tool, each.version, each.args) == wanted]
    found = [each for each in alike if each.given_at <= now < each.until and is_word(each)]
    own = [each for each in found if each.used == (address, logical)]
    return next(iter([*own, *(each for each in found if each.used is None)]), None)
