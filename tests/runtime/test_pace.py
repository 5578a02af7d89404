"""When a store counts as slow. Each test says what would be lost."""

from __future__ import annotations

from holdfast.runtime.pace import SLOW_S, STUCK_S, TRY_AFTER_S, Pace


def paced(*calls_s: float, count: int = 1) -> Pace:
    """A store whose calls took so long."""
    pace = Pace()
    for spent_s in calls_s:
        pace.took(spent_s, count)
    return pace


def test_one_slow_commit_is_no_slow_store_and_two_are() -> None:
    """Lost: the speed of a quick disk at each hiccup, or the loop at a disk that has become slow."""
    assert not paced(0.001, 0.02, 0.001).is_slow(0.0)
    assert paced(0.001, 0.02, 0.02).is_slow(0.0)


def test_a_large_group_may_take_its_time() -> None:
    """Lost: a thousand appends at once, whose time is computing, are written on a thread at nearly half the speed."""
    assert not paced(0.15, 0.15, 0.15, count=1_000).is_slow(0.0)
    assert paced(0.3, 0.3, 0.3, count=1_000).is_slow(0.0)


def test_it_is_quick_again_when_its_calls_are() -> None:
    """Lost: one bad minute makes a process slow for the rest of its life."""
    pace = paced(*[0.02] * 10)
    assert pace.is_slow(0.0)
    for _ in range(10):
        pace.took(0.001, 1)
    assert not pace.is_slow(0.1)


def test_a_store_that_looks_slow_is_tried_once_a_second() -> None:
    """Lost: a process whose threads compute measures its own threads, and never finds out that the disk is quick."""
    pace = paced(*[4 * SLOW_S] * 20)
    assert pace.is_slow(10.0) and pace.is_slow(10.0 + TRY_AFTER_S / 2)
    assert not pace.is_slow(10.0 + TRY_AFTER_S)
    assert pace.is_slow(10.1 + TRY_AFTER_S), "one try, then again a second of threads"


def test_a_store_that_hangs_is_not_tried() -> None:
    """Lost: a disk that takes seconds for a commit stops all runs for seconds, again and again."""
    pace = paced(*[4 * STUCK_S] * 20)
    assert all(pace.is_slow(float(second)) for second in range(60))


def test_a_busy_store_is_slow_until_a_call_says_otherwise() -> None:
    """Lost: each commit is tried on the loop first, in vain, while many processes write."""
    pace = Pace()
    pace.was_busy()
    assert pace.is_slow(0.0)
    for _ in range(4):
        pace.took(0.001, 1)
    assert not pace.is_slow(0.1)
