"""Quiet hours: what goes wrong here wakes people for nothing, or lets a question lie for a day."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.quiet import Quiet

ZURICH = ZoneInfo("Europe/Zurich")
NIGHT = Quiet(time(22), time(7), ZURICH)


def at(*when: int, fold: int = 0) -> float:
    """A wall clock in Zurich, as a time."""
    return datetime(*when, tzinfo=ZURICH, fold=fold).timestamp()  # type: ignore[misc,arg-type]


def test_over_midnight() -> None:
    """Lost: quiet until the wrong morning."""
    assert NIGHT.until(at(2026, 1, 5, 21, 59)) is None
    assert NIGHT.until(at(2026, 1, 5, 22)) == at(2026, 1, 6, 7)
    assert NIGHT.until(at(2026, 1, 6, 6, 59)) == at(2026, 1, 6, 7)
    assert NIGHT.until(at(2026, 1, 6, 7)) is None


def test_within_a_day() -> None:
    """Lost: a nap that lasts until the next one."""
    noon = Quiet(time(12), time(14), ZURICH)
    assert noon.until(at(2026, 1, 5, 13)) == at(2026, 1, 5, 14)
    assert noon.until(at(2026, 1, 5, 14)) is None and noon.until(at(2026, 1, 5, 11, 59)) is None


def test_the_nights_in_which_clocks_are_changed() -> None:
    """Lost: quiet is over an hour early, by the clock on the wall."""
    assert NIGHT.until(at(2026, 3, 29, 1)) == at(2026, 3, 29, 7)
    assert NIGHT.until(at(2026, 10, 25, 2, 30, fold=1)) == at(2026, 10, 25, 7)
    early = Quiet(time(22), time(2, 30), ZURICH)
    assert early.until(at(2026, 10, 25, 2, 10, fold=1)) == at(2026, 10, 25, 2, 30, fold=1)


@given(
    st.times().map(lambda each: each.replace(microsecond=0)),
    st.times().map(lambda each: each.replace(microsecond=0)),
    st.floats(at(2026, 1, 1), at(2026, 12, 31)),
)
def test_it_ends_within_a_day_and_later_than_now(begins: time, ends: time, moment: float) -> None:
    """Lost: a question that is held for ever."""
    until = Quiet(begins, ends, ZURICH).until(moment)
    assert until is None or moment < until <= moment + 25 * 3600 + 1
