"""When time is up (R27), decided from the record: active and wall time of a run, a step's time.

If these fail, a run that hangs is never stopped, or one that waits for a person is.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import deadline
from holdfast.core.budget import Budget, Excess, Limits
from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status, Why
from holdfast.core.policy import Again, GiveUp, InDoubt
from holdfast.core.state import State, fold
from holdfast.errors import PolicyInvalid

STEP = Address("", "look", "d", 0)
FAILURE = Failure(FailureKind.TRANSIENT, "ConnectionError", "lost", "lost", because="it may go away")


def started(at: float = 1000.0, **limits: int) -> Event:
    """The start of a run that was accepted five seconds earlier."""
    facts = meta(
        run="r",
        key="k",
        agent="a",
        seed="s",
        input_digest="d",
        limits=list(Limits(**limits)) if limits else None,
        created_at=at - 5,
    )
    return Event(Kind.RUN_STARTED, at, meta=facts)


def step(at: float, kind: Kind = Kind.STEP_SUCCEEDED) -> Event:
    """Something about the one step."""
    return Event(kind, at, STEP, StepKind.TOOL, Effect.READ, 1, 1)


def suspended(at: float, why: Why = Why.QUESTION, until: float | None = None) -> Event:
    """The run waits."""
    return Event(Kind.RUN_SUSPENDED, at, meta=meta(why=why, until=until))


def resumed(at: float, why: str, **facts: Any) -> Event:
    """The run goes on."""
    return Event(Kind.RUN_RESUMED, at, meta=meta(why=why, **facts))


def test_only_time_at_work_is_active() -> None:
    """Lost: an agent that waited a weekend for a person is stopped on Monday for having worked too long."""
    state = fold([started(1000), step(1010), suspended(1012)])
    assert state.active_s == 12 and deadline.active_s(state, 99_000) == 12
    state.apply(step(50_000))
    assert state.active_s == 12 and deadline.active_s(state, 50_003) == 15
    state.apply(Event(Kind.RUN_ENDED, 50_004, meta=meta(outcome=Status.STOPPED)))
    state.apply(resumed(90_000, "resume"))
    assert deadline.active_s(state, 90_001) == 17


def test_a_takeover_charges_until_the_dead_owner_last_showed_itself() -> None:
    """Lost: an agent that dies every ten minutes works for ever; or the hours in which nobody had it are counted."""
    state = fold([started(1000), step(1010), resumed(9000, "takeover", alive_until=1030.0)])
    assert state.active_s == 30 and deadline.active_s(state, 9001) == 31
    unknown = fold([started(1000), step(1010), resumed(9000, "takeover")])
    assert unknown.active_s == 10
    earlier = fold([started(1000), step(1010), resumed(9000, "takeover", alive_until=1004.0)])
    assert earlier.active_s == 10
    later = fold([started(1000), step(1010), resumed(1015, "takeover", alive_until=1040.0)])
    assert later.active_s == 15


def test_a_clock_that_is_set_back_stands_still_and_one_set_forward_stops_the_run() -> None:
    """Lost: time that is given back to a run, or an error in arithmetic where a stop has to be."""
    state = fold([started(1000, active_ms=60_000, wall_ms=100_000), step(500)])
    assert state.active_s == 0 and deadline.active_s(state, 400) == 0 and deadline.over(state, 400) is None
    assert deadline.passed_s(state.created_at, 400) == 0
    assert deadline.over(state, 500 + 61) == Excess("active_ms", 60_000, 61_000, 0)
    assert deadline.over(fold([started(1000, wall_ms=100_000)]), 1e9) == Excess("wall_ms", 100_000, 999_999_005_000, 0)


def test_a_time_is_over_when_it_is_reached_and_not_before() -> None:
    """Lost: a cap that is met a second early, or never by a run that is looked at just then."""
    state = fold([started(1000, active_ms=60_000)])
    assert deadline.over(state, 1059.9) is None and deadline.over(state, 1060) is not None
    assert deadline.look_again_s(state, 1059.5) == 0.5 and deadline.look_again_s(state, 1070) == 0
    assert deadline.look_again_s(fold([started(1000)]), 1e12) is None
    waiting = fold([started(1000, active_ms=60_000), suspended(1010)])
    assert deadline.over(waiting, 1e12) is None and deadline.look_again_s(waiting, 1e12) == 50


def test_a_run_that_waits_is_due_when_its_wall_time_is_over() -> None:
    """Lost: a run that waits for a person who never comes is open for ever, whatever its cap says."""
    events = [started(1000, wall_ms=60_000), suspended(1001)]
    assert fold(events).head().wake_at == 1055
    assert fold([events[0], suspended(1001, Why.SLEEP, 1020)]).head().wake_at == 1020
    assert fold([events[0], suspended(1001, Why.SLEEP, 5000)]).head().wake_at == 1055
    assert fold([events[0], suspended(1001, Why.DRIFT)]).head().wake_at is None, "it waits for another code"
    assert fold([started(1000), suspended(1001)]).head().wake_at is None


def test_limits_of_older_records_have_no_caps_on_time() -> None:
    """Lost: every run that was begun before times could be capped."""
    event = Event(Kind.RUN_STARTED, 1.0, meta=meta(run="r", key="k", agent="a", seed="s", input_digest="", limits=[5]))
    state = fold([event, Event(Kind.BUDGET_CHANGED, 2.0, meta=meta(limits=[5, None, 7, None]))])
    assert state.limits == Limits(5, None, 7, None, None, None)
    assert state.limits.raised([1, 1, 1, 1]) == Limits(6, None, 8)
    assert Limits(active_ms=5).raised([0, 0, 0, 0, 10, 10]) == Limits(active_ms=15)


@given(st.lists(st.tuples(st.floats(-50, 500), st.booleans()), max_size=20))
def test_active_time_never_falls_and_never_exceeds_what_passed(moves: list[tuple[float, bool]]) -> None:
    """Lost: a run whose clock goes back and forth works for nothing."""
    state, now, passed = fold([started(1000)]), 1000.0, 0.0
    for by, waits in moves:
        before = state.active_s
        now += by
        passed += max(0.0, by)
        state.apply(suspended(now) if waits else step(now, Kind.ATTEMPT_FAILED))
        assert before <= state.active_s <= passed + 1e-6


@pytest.mark.parametrize("name", ["active", "wall"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "0s", "5 parsecs", True, timedelta(days=-1), "0.1ms"])
def test_what_is_no_time_is_refused_by_name(name: str, value: Any) -> None:
    """Lost: a deadline of NaN, which nothing is ever past; one of zero, with which nothing ever begins."""
    with pytest.raises(PolicyInvalid, match=name):
        Budget(**{name: value})


def test_times_are_caps_like_others() -> None:
    """Lost: a run that is bounded by time alone is refused as unbounded."""
    assert Budget(active="20m", wall="2h").limits() == Limits(active_ms=1_200_000, wall_ms=7_200_000)
    excess = Excess("active_ms", 1_200_000, 1_230_500, 0)
    assert str(excess) == "active time: 1230.5 s used, cap 1200 s" and excess.raise_flag == "active=+60s"
    assert Excess("wall_ms", 1000, 7_201_000, 0).raise_flag == "wall=+7200s"


@pytest.mark.parametrize(
    ("began_at", "now", "left"), [(None, 50, 30), (100, 100, 30), (100, 120, 10), (100, 131, 0), (100, 20, 30)]
)
def test_what_is_left_of_a_step_counts_from_its_first_begin(began_at: float | None, now: float, left: float) -> None:
    """Lost: a step that gets its whole time again after each retry, or more than all of it from a clock set back."""
    assert deadline.step_left_s(30.0, began_at, now) == left
    assert deadline.step_left_s(None, began_at, now) is None


def test_no_attempt_is_planned_for_after_the_deadline_of_its_step() -> None:
    """Lost: a wait that ends when nobody may begin any more."""
    again = Again(5.0, "again")
    assert deadline.in_time(again, FAILURE, 30.0, 6.0) is again
    assert deadline.in_time(again, FAILURE, None, None) is again
    found = deadline.in_time(again, FAILURE, 30.0, 5.0)
    assert isinstance(found, GiveUp) and "within=30 s" in found.because and FAILURE.because in found.because
    unknown = Failure(FailureKind.TRANSIENT, "E", "t", "r", is_definite=False)
    assert isinstance(deadline.in_time(again, unknown, 30.0, 5.0), InDoubt)
    doubt = InDoubt("unknown")
    assert deadline.in_time(doubt, FAILURE, 30.0, 0.0) is doubt


def test_an_empty_run_has_no_time() -> None:
    """Lost: a reader that fails on a run nobody has begun."""
    assert deadline.over(State(), 5.0) is None
