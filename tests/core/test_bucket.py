"""The shared retry budget: a leak here is a retry storm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.bucket import REFILL_S, UNIT, Bucket, from_text, take, to_text

START = 1_800_000_000.0


def test_a_full_bucket_gives_its_capacity_and_no_more() -> None:
    bucket: Bucket | None = None
    for _ in range(20):
        taken = take(bucket, 20, START, 0)
        assert taken.is_granted
        bucket = taken.bucket
    refused = take(bucket, 20, START, 0)
    assert not refused.is_granted
    assert refused.because == "all 20 shared retries are used up; 10 a minute come back"


def test_time_and_success_refill_it() -> None:
    empty = Bucket(0, START)
    assert not take(empty, 20, START + 5.9, 0).is_granted
    assert take(empty, 20, START + 6.0, 0).is_granted
    assert not take(empty, 20, START, 9).is_granted
    assert take(empty, 20, START, 10).is_granted


def test_small_steps_of_time_add_up() -> None:
    """A process that asks every millisecond must not keep the bucket empty by rounding."""
    bucket = Bucket(0, START)
    for step in range(1, 6_100):
        taken = take(bucket, 20, START + step / 1_000, 0)
        if taken.is_granted:
            assert step >= 6_000
            return
        bucket = taken.bucket
    raise AssertionError("never refilled")


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 5), st.booleans()), max_size=150),
)
def test_no_more_is_taken_than_capacity_time_and_success_give(
    capacity: int, steps: list[tuple[float, int, bool]]
) -> None:
    """Whoever asks whenever: also where the loser of a race asks again with what it had read."""
    bucket: Bucket | None = None
    now, granted, successes = START, 0, 0
    for wait, went_well, is_lost in steps:
        now += wait
        taken = take(bucket, capacity, now, went_well)
        if is_lost:
            continue
        if taken.is_granted:
            bucket, granted, successes = taken.bucket, granted + 1, successes + went_well
        most = capacity + capacity * (now - START) / REFILL_S + successes / 10
        assert granted <= most + 1e-6


@given(st.integers(1, 50), st.lists(st.floats(-90_000.0, 90_000.0), max_size=60))
def test_a_jumping_clock_gives_at_most_the_capacity_at_each_jump(capacity: int, jumps: list[float]) -> None:
    bucket, now = Bucket(0, START), START
    for jump in jumps:
        now += jump
        granted = 0
        while (taken := take(bucket, capacity, now, 0)).is_granted:
            bucket, granted = taken.bucket, granted + 1
        assert granted <= (capacity if jump > 0 else 0)


def test_a_smaller_capacity_counts_at_once() -> None:
    assert take(Bucket(100 * UNIT, START), 2, START, 0).bucket.left == UNIT


def test_it_comes_back_from_its_text() -> None:
    assert from_text(to_text(Bucket(1_500, START))) == Bucket(1_500, START)
    assert from_text("") is None


@pytest.mark.parametrize("text", ["x", "{}", "[1]", "[-1, 5]", '["1", 5]', "[1, NaN]", "[1.5, 2]", "[1, -2]", "7"])
def test_what_is_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_text(text)


def test_a_busy_tool_with_a_few_failures_keeps_its_retries() -> None:
    """What time alone refills is used up by any busy tool; then one failure of a hundred is for good."""
    bucket: Bucket | None = None
    refused = 0
    for second in range(600):  # 100 calls a second, of which two fail
        for _ in range(2):
            taken = take(bucket, 20, START + second, 49)
            bucket, refused = taken.bucket, refused + (not taken.is_granted)
    assert refused == 0
