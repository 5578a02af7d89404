"""What attempts say about the health of a tool, counted in slices of time. Pure.

A count lives in the slice of the clock in which its attempt ended; slices that are older than the window, or that lie
in the future because a clock was set back, no longer count.

Invariants
1. A failure that says nothing about the other side (a wrong argument, a refusal of ours) counts neither way.
2. Adding observations in any order gives the same counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from holdfast.core.failure import Failure, FailureKind, is_overloaded

SLICES = 6
"""So finely is the window cut: what leaves it leaves in sixths."""
_NOT_ABOUT_HEALTH = frozenset({409, 425, 429})
"""A conflict, a request that came too early, or a limit of this caller: the other side is well."""
_LATE_STATUS = frozenset({408, 504})


class Said(StrEnum):
    """What one attempt says about the other side."""

    WELL = "well"
    ILL = "ill"
    LATE = "late"
    """Ill, in that it did not answer in time."""
    NOTHING = "nothing"


def said_by(failure: Failure | None) -> Said:
    """What an attempt that ended so says."""
    if failure is None:
        return Said.WELL
    if is_overloaded(failure.status, failure.code):
        return Said.ILL
    if failure.kind is not FailureKind.TRANSIENT:
        return Said.WELL if _has_answered(failure) else Said.NOTHING
    if failure.status in _NOT_ABOUT_HEALTH:
        return Said.NOTHING
    is_late = failure.status in _LATE_STATUS or "timeout" in failure.error.lower()
    return Said.LATE if is_late else Said.ILL


def _has_answered(failure: Failure) -> bool:
    """Whether the other side read the request and said what is wrong with it."""
    return failure.status is not None and failure.status < 500 and failure.status not in _NOT_ABOUT_HEALTH


class Count(NamedTuple):
    """Attempts that ended in one slice of time."""

    slice: int
    calls: int
    errors: int


class Seen(NamedTuple):
    """Observations, added up."""

    counts: tuple[Count, ...] = ()
    late: int = 0
    """Timeouts in a row, at the end of them."""
    has_other: bool = False
    """Whether something else than a timeout came before those."""

    def and_then(self, said: Said, now: float, window_s: float) -> Seen:
        """With one more observation, made now."""
        if said is Said.NOTHING:
            return self
        place, errors = slice_of(now, window_s), int(said is not Said.WELL)
        if self.counts and self.counts[-1].slice == place:  # as nearly always
            before = self.counts[-1]
            counts = (*self.counts[:-1], Count(place, before.calls + 1, before.errors + errors))
        else:
            counts = merged(self.counts, (Count(place, 1, errors),), place)
        return Seen(counts, self.late + 1, self.has_other) if said is Said.LATE else Seen(counts, 0, True)

    def and_well(self, place: int, times: int) -> Seen:
        """With so many more that went well, all in this slice: what `and_then` comes to for each of them."""
        if self.counts and self.counts[-1].slice == place:
            before = self.counts[-1]
            return Seen((*self.counts[:-1], Count(place, before.calls + times, before.errors)), 0, True)
        return Seen(merged(self.counts, (Count(place, times, 0),), place), 0, True)


def slice_of(now: float, window_s: float) -> int:
    """The slice of the clock that `now` is in."""
    return int(now * SLICES // window_s)


def left_s(now: float, window_s: float) -> float:
    """Seconds until the next slice begins."""
    return (slice_of(now, window_s) + 1) * window_s / SLICES - now


def merged(one: Iterable[Count], other: Iterable[Count], latest: int) -> tuple[Count, ...]:
    """Both together, as far as they are in the window that ends with slice `latest`."""
    sums: dict[int, tuple[int, int]] = {}
    for place, calls, errors in (*one, *other):
        if latest - SLICES < place <= latest:
            before = sums.get(place, (0, 0))
            sums[place] = (before[0] + calls, before[1] + errors)
    return tuple(Count(place, *sums[place]) for place in sorted(sums))
