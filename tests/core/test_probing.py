"""When people are asked to confirm. If these fail, they are asked at night, each quarter of an hour, or never."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.probing import RETRY_FINAL_S, RETRY_S, due_at
from holdfast.core.quiet import Quiet
from holdfast.core.reach import Evidence

ZURICH = ZoneInfo("Europe/Zurich")
DAY = 86_400.0
WEEK = 7 * DAY


def at(text: str, zone: ZoneInfo = ZURICH) -> float:
    """A moment by the wall clock there."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


NOON = at("2026-03-04T12:00")
"""A Wednesday."""


NOTHING = Evidence()


def due(
    known: Evidence = NOTHING, now: float = NOON, *, zone: ZoneInfo | None = ZURICH, quiet: Quiet | None = None
) -> float:
    """When it is to be asked."""
    return due_at(known, WEEK, now, zone, quiet)


def test_what_nobody_knows_is_asked_at_once() -> None:
    """Lost: a new installation that stays unproven for a week."""
    assert due() == NOON


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        ("2026-03-04T03:00", "2026-03-04T09:00"),
        ("2026-03-04T16:59", "2026-03-04T16:59"),
        ("2026-03-04T17:00", "2026-03-05T09:00"),
        ("2026-03-06T18:00", "2026-03-09T09:00"),  # a Friday evening
        ("2026-03-08T11:00", "2026-03-09T09:00"),  # a Sunday
        ("2026-03-28T11:00", "2026-03-30T09:00"),  # over the night that is an hour shorter
    ],
)
def test_people_are_asked_in_working_hours(now: str, asked: str) -> None:
    """Lost: somebody's sleep, for a question that asks nothing; and then the probes are switched off."""
    assert due(now=at(now)) == at(asked)


def test_where_nobody_knows_their_zone_it_is_not_guessed() -> None:
    """Lost: a probe that waits for the office hours of a place where nobody lives."""
    night = at("2026-03-04T03:00")
    assert due(now=night, zone=None) == night
    quiet = Quiet(time(22), time(7), ZURICH)
    assert due(now=night, zone=None, quiet=quiet) == at("2026-03-04T07:00")
    assert due(now=night, quiet=quiet) == at("2026-03-04T09:00")


def test_whoever_has_taken_something_lately_is_left_in_peace() -> None:
    """Lost: a probe to somebody who answers questions each day."""
    assert due(Evidence(taken_at=NOON - DAY)) == NOON + 6 * DAY
    assert due(Evidence(probed_at=NOON - DAY)) == NOON + 6 * DAY, "nor is who was asked, and has not confirmed"
    assert due(Evidence(accepted_at=NOON - 1)) == NOON, "that a channel takes notices is no word of them"


def test_what_was_refused_is_tried_again_soon() -> None:
    """Lost: runs that wait for people who can be reached again, and nobody finds out."""
    night = at("2026-03-04T03:00")
    broken = Evidence(refused_at=night - 60)
    assert due(broken, night) == night - 60 + RETRY_S, "also at night: something may wait for it"
    assert due(Evidence(refused_at=night - 60, is_final=True), night) == night - 60 + RETRY_FINAL_S
    assert due(Evidence(refused_at=night - 9_999, probed_at=night - 60), night) == night - 60 + RETRY_S
    assert due(broken, night, quiet=Quiet(time(22), time(7), ZURICH)) == at("2026-03-04T07:00")


def test_whoever_is_never_free_is_asked_all_the_same() -> None:
    """Lost: somebody with quiet hours through all of the day, whom nobody ever finds out about."""
    assert due(quiet=Quiet(time(8), time(18), ZURICH)) > 0


moments = st.floats(at("2026-01-01T00:00"), at("2027-01-01T00:00"))


@given(moments, st.none() | moments, st.none() | moments)
def test_it_is_never_before_now_and_always_in_their_hours(
    now: float, taken: float | None, probed: float | None
) -> None:
    """Lost: rule 3, for a moment that no example names."""
    found = due(Evidence(taken_at=taken, probed_at=probed), now)
    local = datetime.fromtimestamp(found, UTC).astimezone(ZURICH)
    assert found >= now and local.weekday() < 5 and time(9) <= local.time() < time(17)
    assert due(Evidence(taken_at=taken, probed_at=probed), found) == found
