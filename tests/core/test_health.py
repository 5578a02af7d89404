"""What an attempt says about the other side. A wrong verdict here opens a breaker on our own mistakes, or never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Effect
from holdfast.core.failure import Facts, Failure, FailureKind, classify
from holdfast.core.health import SLICES, Count, Said, Seen, merged, said_by, slice_of


def failed(status: int | None = None, error: str = "APIError", code: str = "") -> Failure:
    return classify(Facts(error, "text", "repr", (error,), status=status, code=code), Effect.READ)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (None, Said.WELL),
        (failed(500), Said.ILL),
        (failed(503), Said.ILL),
        (failed(529), Said.ILL),
        (failed(429, code="slow_down"), Said.ILL),
        (failed(504), Said.LATE),
        (failed(408), Said.LATE),
        (failed(error="TimeoutError"), Said.LATE),
        (failed(error="ConnectTimeout"), Said.LATE),
        (failed(error="ConnectionRefusedError"), Said.ILL),
        (failed(429), Said.NOTHING),
        (failed(409), Said.NOTHING),
        (failed(404), Said.WELL),
        (failed(400), Said.WELL),
        (failed(401), Said.WELL),
        (failed(error="ValueError"), Said.NOTHING),
        (Failure(FailureKind.REFUSED, "BreakerOpen", "", ""), Said.NOTHING),
        (Failure(FailureKind.INTERRUPTED, "CancelledError", "", ""), Said.NOTHING),
        (Failure(FailureKind.TRANSIENT, "ToolError", "", "", status=200), Said.ILL),
    ],
)
def test_what_a_failure_says(failure: Failure | None, said: Said) -> None:
    assert said_by(failure) is said


def test_only_timeouts_in_a_row_are_counted_as_a_row() -> None:
    """An answer, or a quick error, in between ends the row."""
    seen = Seen()
    for said in (Said.LATE, Said.LATE, Said.NOTHING, Said.LATE):
        seen = seen.and_then(said, 100.0, 60.0)
    assert (seen.late, seen.has_other) == (3, False)
    seen = seen.and_then(Said.ILL, 100.0, 60.0).and_then(Said.LATE, 100.0, 60.0)
    assert (seen.late, seen.has_other) == (1, True)
    assert seen.counts == (Count(slice_of(100.0, 60.0), 5, 5),)


counts = st.lists(st.builds(Count, st.integers(0, 30), st.integers(0, 9), st.integers(0, 9)), max_size=12)


@given(counts, counts, counts, st.integers(0, 30))
def test_counts_add_up_in_any_order(one: list[Count], two: list[Count], three: list[Count], latest: int) -> None:
    """Processes write when they like; what is counted must not depend on who was first."""
    left = merged(merged(one, two, latest), three, latest)
    assert left == merged(one, merged(two, three, latest), latest)
    assert all(latest - SLICES < count.slice <= latest for count in left)
    kept = [count for count in (*one, *two, *three) if latest - SLICES < count.slice <= latest]
    assert sum(count.calls for count in left) == sum(count.calls for count in kept)


@given(
    st.lists(st.sampled_from(Said), max_size=8),
    st.integers(0, 3),
    st.integers(1, 5),
)
def test_successes_that_are_counted_first_are_those_that_are_added_one_by_one(
    before: list[Said], later: int, times: int
) -> None:
    """Otherwise a tool's share of failures would depend on how its successes were kept, and open its breaker early."""
    seen, window_s = Seen(), 60.0
    for said in before:
        seen = seen.and_then(said, 0.0, window_s)
    now, one_by_one = later * window_s / SLICES, seen
    for _ in range(times):
        one_by_one = one_by_one.and_then(Said.WELL, now, window_s)
    assert seen.and_well(slice_of(now, window_s), times) == one_by_one
