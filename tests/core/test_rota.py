"""Who is on call: a wrong name here is a night in which the wrong telephone rings, or none."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.rota import Leave, Rota, Shift

ZURICH, SAMOA, LORD_HOWE = ZoneInfo("Europe/Zurich"), ZoneInfo("Pacific/Apia"), ZoneInfo("Australia/Lord_Howe")
ZONES = [ZoneInfo("UTC"), ZURICH, SAMOA, LORD_HOWE, ZoneInfo("America/New_York")]
H, D = 3600.0, 86400.0
WEEK = timedelta(days=7)
MONDAY = datetime(2026, 1, 5, 9)


def at(*when: int, zone: ZoneInfo = ZURICH, fold: int = 0) -> float:
    """A wall clock there, as a time."""
    return datetime(*when, tzinfo=zone, fold=fold).timestamp()  # type: ignore[misc,arg-type]


def weekly(*people: str, leaves: tuple[Leave, ...] = ()) -> Rota:
    """Turns of a week from Monday, 9:00, in Zurich."""
    return Rota(people, MONDAY, WEEK, ZURICH, leaves)


def test_turns_follow_one_another_to_the_second() -> None:
    """Lost: at the hand-over both are called, or neither."""
    rota = weekly("ada", "bob", "eve")
    assert rota.on_call(at(2026, 1, 5, 9)) == "ada"
    assert rota.on_call(at(2026, 1, 12, 9) - 1) == "ada"
    assert rota.on_call(at(2026, 1, 12, 9)) == "bob"
    assert rota.on_call(at(2026, 1, 19, 9)) == "eve"
    assert rota.on_call(at(2026, 1, 26, 9)) == "ada"


def test_nobody_is_on_call_before_it_begins() -> None:
    """Lost: somebody is called for weeks for which the team has another plan."""
    assert weekly("ada").on_call(at(2026, 1, 5, 9) - 1) == ""
    assert weekly("ada").gaps(at(2026, 1, 4, 9), at(2026, 1, 6, 9)) == [Shift("", at(2026, 1, 4, 9), at(2026, 1, 5, 9))]


@pytest.mark.parametrize("change", [(2026, 3, 30, 9), (2026, 10, 26, 9)], ids=["summer time", "winter time"])
def test_a_turn_begins_at_the_same_hour_of_the_wall_clock_all_year(change: tuple[int, ...]) -> None:
    """Lost: after the clocks were changed the hand-over is at 8 or at 10, and people meet a silent hour."""
    rota = weekly("ada", "bob")
    before, after = rota.on_call(at(*change) - 1), rota.on_call(at(*change))
    assert {before, after} == {"ada", "bob"}


def test_a_turn_that_would_begin_in_the_hour_that_comes_twice_begins_once() -> None:
    """Lost: who handed over at 2:30 is on call again for half an hour when the clock shows it a second time."""
    rota = Rota(("ada", "bob"), datetime(2026, 10, 24, 2, 30), timedelta(days=1), ZURICH)
    first = at(2026, 10, 25, 2, 30)
    assert [rota.on_call(first + H * part / 4) for part in range(-1, 8)] == ["ada", *["bob"] * 8]


def test_a_turn_that_would_begin_in_the_skipped_hour_begins_then() -> None:
    """Lost: nobody, or the one before, is on call for that day."""
    rota = Rota(("ada", "bob"), datetime(2026, 3, 28, 2, 30), timedelta(days=1), ZURICH)
    assert rota.on_call(at(2026, 3, 29, 1, 59)) == "ada"
    assert rota.on_call(at(2026, 3, 29, 3, 30)) == "bob"


def test_a_day_that_a_country_skipped() -> None:
    """Lost: where the clock jumps by a day, whoever is called is a turn late for ever."""
    rota = Rota(("ada", "bob", "eve"), datetime(2011, 12, 29), timedelta(days=1), SAMOA)
    assert rota.on_call(at(2011, 12, 29, 12, zone=SAMOA)) == "ada"
    assert rota.on_call(at(2011, 12, 31, 12, zone=SAMOA)) == "eve"


def test_the_next_who_is_there_stands_in_for_who_is_on_leave() -> None:
    """Lost: the telephone of somebody on a beach rings."""
    leave = Leave("bob", at(2026, 1, 13, 0), at(2026, 1, 15, 0))
    rota = weekly("ada", "bob", "eve", leaves=(leave,))
    assert rota.shifts(at(2026, 1, 12, 9), at(2026, 1, 19, 9)) == [
        Shift("bob", at(2026, 1, 12, 9), at(2026, 1, 13, 0)),
        Shift("eve", at(2026, 1, 13, 0), at(2026, 1, 15, 0)),
        Shift("bob", at(2026, 1, 15, 0), at(2026, 1, 19, 9)),
    ]


def test_when_everybody_is_away_that_is_a_gap_and_said() -> None:
    """Lost: a chain that names somebody who is not there, and a configuration that looks whole."""
    leaves = tuple(Leave(who, at(2026, 1, 6), at(2026, 1, 8)) for who in ("ada", "bob"))
    rota = weekly("ada", "bob", leaves=leaves)
    assert rota.on_call(at(2026, 1, 7)) == ""
    assert rota.gaps(at(2026, 1, 5, 9), at(2026, 2, 5)) == [Shift("", at(2026, 1, 6), at(2026, 1, 8))]


moments = st.floats(at(2026, 1, 1), at(2026, 12, 31), allow_nan=False)
spans = st.builds(lambda begin, length: (begin, begin + length), moments, st.floats(H, 40 * D))
rotas = st.builds(
    lambda people, zone, hours, leaves: Rota(
        tuple(people), MONDAY, timedelta(hours=hours), zone, tuple(Leave(who, *span) for who, span in leaves)
    ),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4),
    st.sampled_from(ZONES),
    st.sampled_from([1, 7, 12, 24, 36, 168]),
    st.lists(st.tuples(st.sampled_from("abcd"), spans), max_size=4),
)


@given(rotas, moments, st.floats(H, 20 * D))
def test_shifts_say_what_on_call_says(rota: Rota, begin: float, length: float) -> None:
    """Lost: the table that people plan by is another one than what happens."""
    shifts = rota.shifts(begin, begin + length)
    assert shifts[0].begins_at == begin and shifts[-1].ends_at == begin + length
    for shift, following in itertools.pairwise(shifts):
        assert shift.ends_at == following.begins_at and shift.who != following.who
    for who, begins_at, ends_at in shifts:
        assert {rota.on_call(begins_at + (ends_at - begins_at) * part) for part in (0.0, 0.5, 0.999)} == {who}


@given(rotas, moments)
def test_nobody_who_is_away_is_named_and_somebody_is_when_somebody_is_there(rota: Rota, moment: float) -> None:
    """Lost: silence while somebody could be called."""
    away = {leave.who for leave in rota.leaves if leave.begins_at <= moment < leave.ends_at}
    there = set(rota.people) - away
    has_begun = moment >= MONDAY.replace(tzinfo=rota.zone).timestamp()
    assert (rota.on_call(moment) in there) if there and has_begun else rota.on_call(moment) == ""


@given(st.sampled_from(ZONES), st.sampled_from([1, 8, 24, 168]), moments, st.floats(0, 30 * D))
def test_turns_never_go_back(zone: ZoneInfo, hours: int, begin: float, length: float) -> None:
    """Lost: when the clock is set back, a turn that was over begins again."""
    people = tuple(f"p{number}" for number in range(10_000))
    rota = Rota(people, datetime(2026, 1, 1), timedelta(hours=hours), zone)
    said = [rota.on_call(begin + length * part / 20) for part in range(21)]
    numbers = [int(who[1:]) if who else -1 for who in said]
    assert numbers == sorted(numbers)
