"""How long people take. If these fail, a chain that nobody answers looks quick."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.response import Response, Sample, response


def answered(after_s: float, taken_s: float | None = None) -> Sample:
    """A question that was answered so long after it was asked."""
    return Sample(100.0, "answered", 100.0 + after_s, None if taken_s is None else 100.0 + taken_s)


def test_half_of_them_and_nearly_all() -> None:
    """Lost: the numbers by which a team sees whether its chain is fit for what it is used for."""
    found = response([answered(each) for each in range(1, 101)])
    assert found == Response(100, 0, 50.0, 95.0, 50.0, 95.0)


def test_whoever_acknowledges_has_taken_it() -> None:
    """Lost: the difference between nobody there and somebody who needs time to decide."""
    found = response([answered(600.0, taken_s=30.0)])
    assert (found.taken_p50_s, found.answered_p50_s) == (30.0, 600.0)


def test_what_nobody_answered_was_missed_and_what_was_withdrawn_says_nothing() -> None:
    """Lost: a chain whose questions all expire, with a splendid median of the one that did not."""
    missed = [Sample(0.0, "expired", 60.0), Sample(0.0, "undeliverable", 60.0, taken_at=5.0)]
    found = response([answered(10.0), *missed, Sample(0.0, "withdrawn", 60.0)])
    assert (found.asked, found.missed, found.missed_share) == (3, 2, 2 / 3)
    assert found.answered_p95_s == 10.0 and found.taken_p95_s == 10.0 and found.taken_p50_s == 5.0
    assert response([]) == Response(0, 0, None, None, None, None) and response([]).missed_share == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_they_are_times_that_were_measured_and_in_order(lengths: list[float]) -> None:
    """Lost: a percentile of numbers that nobody has seen."""
    found = response([Sample(0.0, "answered", each) for each in lengths])
    assert found.answered_p50_s in lengths and found.answered_p95_s in lengths
    assert found.answered_p50_s <= found.answered_p95_s <= max(lengths)  # type: ignore[operator]
