"""When time is up, of a run and of a step: decided from the record and the time of the store's clock alone.

Four clocks, each its own: an attempt has its `timeout`; a step `within`, for all its attempts and their waits; a run
`active`, the time in which it was at work, and `wall`, the time since it was accepted; a question its own `within`.

Rules
1. A clock that was set back counts as one that stood still: what has passed is never negative.
2. One that was set forward counts. What follows is safe: the run stops, resumable, and its record says why.
3. Nothing starts a deadline anew: no retry, no other process, no takeover. A step's counts from its first begin.
4. What a dead process did after its last append is not known. It was at work until it last renewed its lease, so that
   much is charged at the takeover; what came after it was nobody's.
"""

from __future__ import annotations

from holdfast.core.budget import Excess
from holdfast.core.failure import Failure
from holdfast.core.heads import Status
from holdfast.core.policy import Again, GiveUp, InDoubt
from holdfast.core.state import State


def passed_s(since: float, now: float) -> float:
    """Seconds since then; never negative."""
    return max(0.0, now - since)


def active_s(state: State, now: float) -> float:
    """For how long the run has been at work until now."""
    return state.active_s + (passed_s(state.updated_at, now) if state.status is Status.RUNNING else 0.0)


def over(state: State, now: float) -> Excess | None:
    """The first of the run's times that is over its cap."""
    for name, cap_ms, used_s in _times(state, now):
        if cap_ms is not None and used_s * 1000 >= cap_ms:
            return Excess(name, cap_ms, int(used_s * 1000), 0)
    return None


def look_again_s(state: State, now: float, rest_s: float = 0.0) -> float | None:
    """No time of the run can be over before so many seconds; None: it has no cap on time.

    rest_s: how soon at the earliest to look whether a run that waits is at work again.
    """
    is_at_work = state.status is Status.RUNNING
    left = [
        max(cap_ms / 1000 - used_s, 0.0 if is_at_work or name == "wall_ms" else rest_s)
        for name, cap_ms, used_s in _times(state, now)
        if cap_ms is not None
    ]
    return min(left, default=None)


def _times(state: State, now: float) -> tuple[tuple[str, int | None, float], ...]:
    limits = state.limits
    return (
        ("active_ms", limits.active_ms, active_s(state, now)),
        ("wall_ms", limits.wall_ms, passed_s(state.created_at, now)),
    )


def step_left_s(within_s: float | None, began_at: float | None, now: float) -> float | None:
    """What is left of a step's time; not more than all of it, not less than nothing. None: it has no deadline."""
    if within_s is None:
        return None
    return max(0.0, within_s - (0.0 if began_at is None else passed_s(began_at, now)))


def in_time(
    decision: Again | GiveUp | InDoubt, failure: Failure, within_s: float | None, left_s: float | None
) -> Again | GiveUp | InDoubt:
    """The decision, if the attempt that it asks for would begin before the step's deadline; else what it comes to."""
    if left_s is None or not isinstance(decision, Again) or decision.wait_s < left_s:
        return decision
    because = f"{failure.because}; the next attempt would begin after the step's deadline, within={within_s:g} s"
    return GiveUp(because) if failure.is_definite else InDoubt(because)
