"""A question that is not asked while nobody can be reached: how long it is withheld, when is looked again. Pure.

1. What was found out is an event, with its reason, and so is what follows: no replay looks at what is known now.
2. It is withheld for no longer than the question could be answered (`within`), counted from when it was to be asked
   first, also through crashes; then its declared default is taken. Without `within` it waits until somebody is there.
3. Once it can be asked it has its whole time: nobody is asked for the minute that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from holdfast.core.approval import DECLINE, STOP, Refused
from holdfast.core.duration import span
from holdfast.core.events import Event

WHAT: Final = "reach"
"""What is decided by the `Decided` that says that it is withheld."""
OUTCOME: Final = "unreachable"
LOOK_MIN_S: Final = 30.0
LOOK_MAX_S: Final = 600.0
_AGE_PART: Final = 0.1


@dataclass(frozen=True, slots=True)
class Ask:
    """It can be asked."""


@dataclass(frozen=True, slots=True)
class Withhold:
    """Not yet."""

    because: str
    since: float
    until: float | None
    """When its default is taken; None: never."""
    look_at: float
    """When to look again."""
    is_news: bool
    """The record does not say so yet."""


Ruling = Ask | Withhold | Refused


def ruled(held: Event | None, because: str, within_s: float | None, default: str | None, now: float) -> Ruling:
    """What follows. held: what was decided last, while it is withheld. because: why nobody can be reached; empty when
    somebody can."""
    facts = held.facts if held is not None else {}
    since = float(facts.get("since", now))
    until = facts.get("until") if held is not None else None if within_s is None else now + within_s
    if until is not None and now >= until:
        return lapsed(since, until, str(facts.get("because", because)), default)
    if not because:
        return Ask()
    look_at = now + min(LOOK_MAX_S, max(LOOK_MIN_S, _AGE_PART * (now - since)))
    return Withhold(
        because,
        since,
        until,
        look_at if until is None else min(look_at, until),
        facts.get("because") != because,
    )


def lapsed(since: float, until: float, because: str, default: str | None) -> Refused:
    """Its time is over, and nobody was asked."""
    stops = default == STOP
    taken = "the run is stopped" if stops else DECLINE + "d"
    text = f"for {span(until - since)} nobody could be reached ({because}); by default: {taken}"
    return Refused(OUTCOME, "", text, stops)


def facts(decided: Withhold, to: str) -> dict[str, Any]:
    """For the record."""
    return {
        "what": WHAT,
        "choice": "wait",
        "because": decided.because,
        "to": to,
        "since": decided.since,
        "until": decided.until,
    }
