"""The ladder: what is tried when a step has failed for good, rung after rung, and why. Pure.

Order of everything: classify, retry, then the rungs as they were declared (another tool, the last good result, a
person, a stop), and in the end the failure is told to the agent. What ended unknown is in doubt first (`core.doubt`);
only a definite failure climbs.

What passes a rung over
1. A request that is wrong (`invalid`) is told to the agent at once: only who wrote it can mend it.
2. An answer that stays the same elsewhere (a status such as 404) makes neither another tool nor an old result right.
3. A rung `escalation` is there for `unauthorised` alone: keys and money are a person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from holdfast.core.duration import span
from holdfast.core.events import Event
from holdfast.core.failure import FINE, Failure, FailureKind
from holdfast.core.fallback import next_way
from holdfast.core.policy import Again, GiveUp, InDoubt
from holdfast.core.rung import AnyRung, Ask, Cached, Escalation, Model, Other, Rung, Stop
from holdfast.errors import PolicyInvalid

TELL: Final = "tell the agent"
"""What follows the last rung: the failure is the step's outcome."""
DEFAULTS: Final = ("tell_the_agent", "abort")
"""What may be taken when nobody answers. To try again without end is no default."""
SKEW_S: Final = 1.0
"""How far ahead of us the clock of the process that recorded a result may have been."""


class Climb(NamedTuple):
    """Where a failed step goes on."""

    further: int
    """How many places after this one; 0: the failure is told to the agent."""
    because: str
    passed: tuple[tuple[str, str], ...] = ()
    """Rungs that were not taken, each with why."""


def ladder_of(fallback: Sequence[Rung], escalate: str) -> tuple[AnyRung, ...]:
    """The rungs after the tool itself, with whoever the agent names where nobody else would be asked about keys."""
    rungs: list[AnyRung] = list(fallback)
    if escalate and not any(isinstance(rung, Ask) for rung in rungs):
        place = next((n for n, rung in enumerate(rungs) if isinstance(rung, (Cached, Stop))), len(rungs))
        rungs.insert(place, Escalation(escalate))
    return tuple(rungs)


def next_rung(
    failure: Failure,
    decision: Again | GiveUp | InDoubt,
    here: AnyRung,
    rest: Sequence[AnyRung],
    passed: tuple[tuple[str, str], ...] = (),
) -> Climb | None:
    """Where this failure goes on; None while it does not climb. rest: the rungs after this one, in order.

    passed: rungs that were reached and could not help.
    """
    if isinstance(here, Model):
        others = [rung.account for rung in rest if isinstance(rung, Model)]
        following = next_way(failure, decision, here.account, others)
        return _escalated(failure, decision, rest) if following is None else Climb(*following)
    if not isinstance(decision, GiveUp):
        return None
    for further, rung in enumerate(rest, 1):
        why = _why_not(rung, failure)
        if not why:
            return Climb(further, decision.because, passed)
        passed += ((rung.name, why),)
    return Climb(0, decision.because, passed)


def _escalated(failure: Failure, decision: Again | GiveUp | InDoubt, rest: Sequence[AnyRung]) -> Climb | None:
    """No other model can help: whether somebody is asked."""
    if isinstance(decision, GiveUp) and failure.kind is FailureKind.UNAUTHORISED:
        for further, rung in enumerate(rest, 1):
            if isinstance(rung, Escalation):
                return Climb(further, decision.because)
    return None


def _why_not(rung: AnyRung, failure: Failure) -> str:
    """Why this rung is passed over; empty when it is climbed."""
    if failure.kind is FailureKind.INVALID:
        return "the request is wrong; only who wrote it can mend it"
    if isinstance(rung, Escalation) and failure.kind is not FailureKind.UNAUTHORISED:
        return "asked about keys and money alone"
    is_answer = failure.kind is FailureKind.PERMANENT and failure.status is not None
    if is_answer and isinstance(rung, (Other, Cached)):
        return f"HTTP {failure.status} is an answer, which neither another tool nor an old result makes wrong"
    return ""


# --- the last good result ----------------------------------------------------------------------------------------


class Served(NamedTuple):
    """Whether a recorded result may stand in, by its age."""

    age_s: float
    refused: str
    """Why not; empty when it may."""


def by_age(recorded_at: float, now: float, max_age_s: float) -> Served:
    """A result of the future (a clock was set back) has no age, so it is not served."""
    age_s = now - recorded_at
    if age_s < -SKEW_S:
        return Served(age_s, f"it was recorded {span(-age_s)} after now: a clock was set, so its age is not known")
    age_s = max(0.0, age_s)
    return Served(age_s, f"it is {span(age_s)} old, max_age is {span(max_age_s)}" if age_s > max_age_s else "")


# --- what a person says ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TryAgain:
    """From the first rung on, in the same logical attempt."""

    by: str


@dataclass(frozen=True, slots=True)
class Take:
    """The result that a person gives, in the codec's bytes."""

    by: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Tell:
    """The failure is told to the agent."""

    by: str


@dataclass(frozen=True, slots=True)
class Abort:
    """The run is stopped."""

    by: str


@dataclass(frozen=True, slots=True)
class Nobody:
    """No answer in time, and no default: the next rung."""


Ruling = TryAgain | Take | Tell | Abort | Nobody


def ruled(closed: Event) -> Ruling:
    """What the closing of a question about a failed step means."""
    facts = closed.facts
    by = facts.get("by") or ("person" if facts.get("outcome") == "answered" else "its default")
    match facts.get("choice"):
        case "try_again":
            return TryAgain(by)
        case "take_this_result":
            return Take(by, closed.body)
        case "tell_the_agent":
            return Tell(by)
        case "abort":
            return Abort(by)
        case _:
            return Nobody()


# --- declarations ------------------------------------------------------------------------------------------------


def checked_rungs(tool: str, rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The ladder, when each of its rungs can be reached and none is there twice; otherwise `PolicyInvalid`."""
    seen: set[str] = set()
    for place, rung in enumerate(rungs):
        if not isinstance(rung, (Other, Cached, Ask, Stop)):
            raise PolicyInvalid(
                f"{tool}: fallback holds {rung!r}, which is no rung. Give another tool, Cached(max_age=…), Ask(who) or "
                '"stop".'
            )
        if rung.name in seen:
            raise PolicyInvalid(f"{tool}: fallback names {rung.name!r} twice. Each rung is climbed once.")
        seen.add(rung.name)
        if isinstance(rung, Ask):
            _check_asking(tool, rung, rungs[place + 1 :])
        if isinstance(rung, Stop) and place + 1 < len(rungs):
            after = rungs[place + 1].name
            raise PolicyInvalid(f'{tool}: fallback has {after!r} after "stop", where nothing can come. Put it before.')
    return tuple(rungs)


def _check_asking(tool: str, rung: Ask, after: Sequence[Rung]) -> None:
    if rung.valid is not None:
        raise PolicyInvalid(f"{tool}: valid= of {rung.name!r} is for approve=, which comes before the tool is called.")
    if rung.approvers or rung.quorum > 1 or rung.quorum_opaque is not None:
        raise PolicyInvalid(
            f"{tool}: approvers= and quorum= of {rung.name!r} are for approve=; here they would not hold."
        )
    if rung.default is not None and rung.default not in DEFAULTS:
        raise PolicyInvalid(f"{tool}: {rung.default!r} cannot be a default here. Choose one of: {', '.join(DEFAULTS)}.")
    never = [other.name for other in after if not isinstance(other, Stop)] if rung.within is None else []
    if rung.default is not None and after:
        raise PolicyInvalid(
            f"{tool}: fallback has {after[0].name!r} after {rung.name!r} with a default: never reached."
        )
    if never:  # a stop may end every ladder
        raise PolicyInvalid(f"{tool}: {rung.name!r} waits for ever (no within=), so {never[0]!r} is never reached.")


def checked_table(table: Mapping[Any, Any]) -> dict[str, str]:
    """A table of `classify` by text: statuses, names of error classes and provider codes to kinds of failure."""
    kinds = {str(kind) for kind in FailureKind} | {FINE}
    checked: dict[str, str] = {}
    for what, kind in table.items():
        name = what.__name__ if isinstance(what, type) else str(what)
        if str(kind) not in kinds or not name:
            raise PolicyInvalid(f"classify: {name!r} cannot be {kind!r}. Choose one of: {', '.join(sorted(kinds))}.")
        checked[name] = str(kind)
    return checked
