"""How long people take: from when a question was asked until somebody took it, and until it was answered. Pure.

Whoever acknowledges has taken it, and whoever answers without a word before. A question that nobody answered in its
time was missed; one that was withdrawn says nothing of anybody, and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final, NamedTuple

ANSWERED: Final = "answered"
MISSED: Final = ("expired", "undeliverable")


class Sample(NamedTuple):
    """One question that is closed."""

    asked_at: float
    outcome: str
    closed_at: float
    taken_at: float | None = None
    """When somebody acknowledged it."""


class Response(NamedTuple):
    """Of several questions: seconds at which half of them, and 95 of 100, were taken and answered; None without any."""

    asked: int
    missed: int
    taken_p50_s: float | None
    taken_p95_s: float | None
    answered_p50_s: float | None
    answered_p95_s: float | None

    @property
    def missed_share(self) -> float:
        """From 0 to 1."""
        return self.missed / self.asked if self.asked else 0.0


def response(samples: Iterable[Sample]) -> Response:
    """What these questions come to."""
    counted = [each for each in samples if each.outcome == ANSWERED or each.outcome in MISSED]
    answered = sorted(each.closed_at - each.asked_at for each in counted if each.outcome == ANSWERED)
    taken = sorted(at - each.asked_at for each in counted if (at := _taken_at(each)) is not None)
    return Response(
        len(counted),
        sum(each.outcome in MISSED for each in counted),
        _at(taken, 0.5),
        _at(taken, 0.95),
        _at(answered, 0.5),
        _at(answered, 0.95),
    )


def _taken_at(sample: Sample) -> float | None:
    if sample.taken_at is not None:
        return sample.taken_at
    return sample.closed_at if sample.outcome == ANSWERED else None


def _at(lengths: Sequence[float], share: float) -> float | None:
    """The length that so many of them do not exceed (nearest rank)."""
    return max(0.0, lengths[ceil(share * len(lengths)) - 1]) if lengths else None
