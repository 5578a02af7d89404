"""Retry decisions (R4): every wait within its bounds, every loop bounded, nothing repeated on a guess.

If these fail, a run hammers a provider, waits for ever, or does an effect twice.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Effect
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.policy import RECOVERIES_MIN, Again, GiveUp, InDoubt, Retry, after_crash, after_failure, backoff_s
from holdfast.core.policy import seconds as to_seconds
from holdfast.errors import PolicyInvalid

READ, IDEMPOTENT, ONCE = Effect.READ, Effect.IDEMPOTENT, Effect.ONCE
TRANSIENT, PERMANENT = FailureKind.TRANSIENT, FailureKind.PERMANENT
DRAWS = st.floats(0, 1, exclude_max=True)
DAY = 86_400.0


def failure(kind: FailureKind = TRANSIENT, *, is_definite: bool = True, retry_after_s: float | None = None) -> Failure:
    """A failed attempt."""
    return Failure(kind, "E", "text", "E('text')", is_definite, retry_after_s=retry_after_s, because="HTTP 503")


def decide(effect: Effect, failed: Failure, retry: Retry | None = None, **more: Any) -> Again | GiveUp | InDoubt:
    """`after_failure` of a first attempt just begun, unless `more` says otherwise."""
    facts: dict[str, Any] = {"attempt": 1, "elapsed_s": 0.0, "window_s": DAY, "draw": 0.5}
    return after_failure(effect, failed, retry or Retry(), **facts | more)


# --- waits --------------------------------------------------------------------------------------------------------


@given(st.floats(0.001, 100), st.floats(0.001, 1000), st.integers(1, 100), DRAWS)
def test_law_a_wait_is_within_zero_and_the_smaller_of_cap_and_doubled_base(
    wait: float, wait_max: float, attempt: int, draw: float
) -> None:
    """Lost: R4; waits without a cap, or a fixed wait that makes every client come back at once."""
    waited = backoff_s(Retry(wait=wait, wait_max=wait_max), attempt, draw)
    assert 0 <= waited <= min(wait_max, wait * 2.0 ** (attempt - 1)) < math.inf


def test_full_jitter_maps_the_draw_evenly() -> None:
    """Lost: the jitter is equal or absent, and retries of many runs come in waves."""
    retry = Retry(wait=1.0, wait_max=8.0)
    for attempt, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (100, 8.0)]:
        waits = [backoff_s(retry, attempt, n / 100) for n in range(100)]
        assert waits == pytest.approx([ceiling * n / 100 for n in range(100)])


@given(st.floats(0, 60), DRAWS, st.integers(1, 2))
def test_law_retry_after_is_a_floor(floor: float, draw: float, attempt: int) -> None:
    """Lost: a provider that asked for 40 s is asked again after 300 ms, and blocks the key."""
    found = decide(READ, failure(retry_after_s=floor), attempt=attempt, draw=draw)
    assert isinstance(found, Again)
    assert found.wait_s == max(floor, backoff_s(Retry(), attempt, draw))


def test_the_total_bounds_the_beginning_of_the_next_attempt() -> None:
    """Lost: R4's total time; a Retry-After of an hour holds a step that was to take two minutes."""
    assert isinstance(decide(READ, failure(retry_after_s=60.0), elapsed_s=60.0), Again)
    for found in (
        decide(READ, failure(retry_after_s=60.0), elapsed_s=60.1),
        decide(READ, failure(retry_after_s=math.inf)),
    ):
        assert isinstance(found, GiveUp) and "total=120 s" in found.because


@pytest.mark.parametrize("attempts", [None, 0, -1, True, False, 101, 3.0, "3", math.nan, math.inf])
def test_attempts_without_a_usable_bound_are_refused(attempts: Any) -> None:
    """Lost: the $2,400 bug; a policy without an end."""
    with pytest.raises(PolicyInvalid, match="never retries without one"):
        Retry(attempts=attempts)


@pytest.mark.parametrize("attempts", [1, 100])
def test_the_bounds_of_attempts_themselves_are_fine(attempts: int) -> None:
    """Lost: "no retry" cannot be said."""
    assert Retry(attempts=attempts).attempts == attempts


@pytest.mark.parametrize("name", ["wait", "wait_max", "total"])
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -1, "-1s", "nan", "inf", "soon", None, True, 10**400], ids=lambda v: str(v)[:9]
)
def test_times_without_a_bound_are_refused(name: str, value: Any) -> None:
    """Lost: a total that is no number bounds nothing."""
    with pytest.raises(PolicyInvalid, match=name):
        Retry(**{name: value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        ("250ms", 0.25),
        ("20s", 20.0),
        ("20 s", 20.0),
        (" 20s ", 20.0),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("45", 45.0),
        (timedelta(minutes=2, milliseconds=500), 120.5),
    ],
)
def test_durations_are_read(text: Any, value: float) -> None:
    """Lost: "30m" is thirty milliseconds, or thirty of something else."""
    assert to_seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "s", "20x", "1h30m", "--1s", "20S", [], b"20s", timedelta(seconds=-1), 1 + 2j, object()]
)
def test_what_is_no_duration_is_refused_by_name(text: Any) -> None:
    """Lost: a typing error becomes a time nobody meant, or an error that does not say where."""
    with pytest.raises(PolicyInvalid, match=r"timeout="):
        to_seconds(text, "timeout=")


# --- after a failed attempt ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "kind", "is_definite", "attempt", "elapsed_s", "expected"),
    [
        (READ, TRANSIENT, True, 1, 0, Again),
        (READ, TRANSIENT, True, 3, 0, GiveUp),
        (READ, PERMANENT, True, 1, 0, GiveUp),
        (READ, TRANSIENT, True, 1, 500, GiveUp),
        (IDEMPOTENT, TRANSIENT, True, 1, 0, Again),
        (IDEMPOTENT, TRANSIENT, True, 3, 0, GiveUp),
        (IDEMPOTENT, PERMANENT, True, 1, 0, GiveUp),
        (IDEMPOTENT, TRANSIENT, False, 1, 0, Again),
        (IDEMPOTENT, PERMANENT, False, 1, 0, Again),  # the same key again is safe, and may tell what happened
        (IDEMPOTENT, TRANSIENT, False, 3, 0, InDoubt),
        (IDEMPOTENT, TRANSIENT, False, 1, 90, InDoubt),  # as old as the window
        (ONCE, TRANSIENT, True, 1, 0, Again),  # certainly not done
        (ONCE, TRANSIENT, True, 3, 0, GiveUp),
        (ONCE, PERMANENT, True, 1, 0, GiveUp),
        (ONCE, TRANSIENT, False, 1, 0, InDoubt),
        (ONCE, PERMANENT, False, 1, 0, InDoubt),
        (ONCE, TRANSIENT, False, 3, 500, InDoubt),
    ],
)
def test_after_failure(
    effect: Effect, kind: FailureKind, is_definite: bool, attempt: int, elapsed_s: float, expected: type[Any]
) -> None:
    """Lost: P4, P5; an effect that may have happened is repeated or called failed."""
    found = decide(effect, failure(kind, is_definite=is_definite), attempt=attempt, elapsed_s=elapsed_s, window_s=90.0)
    assert type(found) is expected and found.because


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_definite_failure_is_retried_just_when_its_kind_may_pass(kind: FailureKind) -> None:
    """Lost: R3; a 401 is tried three times, or a 503 once."""
    assert isinstance(decide(READ, failure(kind)), Again) is kind.is_retryable


@given(
    st.sampled_from([IDEMPOTENT, ONCE]),
    st.sampled_from(list(FailureKind)),
    st.integers(1, 4),
    st.floats(0, 130),
    st.floats(0, 130),
    DRAWS,
    st.none() | st.floats(0, 60),
)
def test_law_unknown_is_never_called_failed(
    effect: Effect,
    kind: FailureKind,
    attempt: int,
    elapsed_s: float,
    window_s: float,
    draw: float,
    retry_after_s: float | None,
) -> None:
    """Lost: P4, P5; and an idempotent effect is sent again only while its receiver still knows the key."""
    failed = failure(kind, is_definite=False, retry_after_s=retry_after_s)
    found = decide(effect, failed, attempt=attempt, elapsed_s=elapsed_s, window_s=window_s, draw=draw)
    assert not isinstance(found, GiveUp)
    if isinstance(found, Again):
        assert effect is IDEMPOTENT and elapsed_s + found.wait_s < window_s


@given(st.sampled_from(list(Effect)), st.booleans(), st.integers(1, 100), st.integers(1, 200), st.floats(0, 1e4), DRAWS)
def test_law_attempts_and_total_are_never_exceeded(
    effect: Effect, is_definite: bool, attempts: int, attempt: int, elapsed_s: float, draw: float
) -> None:
    """Lost: R4; a cap on the wait without a cap on the number."""
    retry = Retry(attempts=attempts)
    found = decide(effect, failure(is_definite=is_definite), retry, attempt=attempt, elapsed_s=elapsed_s, draw=draw)
    if isinstance(found, Again):
        assert attempt < attempts and elapsed_s + found.wait_s <= 120.0


# --- after a crash ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "attempt", "age_s", "expected"),
    [
        (READ, 1, 0, Again),
        (READ, 1, 1e9, Again),
        (READ, 3, 0, GiveUp),
        (IDEMPOTENT, 1, 0, Again),
        (IDEMPOTENT, 2, 89.9, Again),
        (IDEMPOTENT, 1, 90, InDoubt),
        (IDEMPOTENT, 3, 0, InDoubt),
        (ONCE, 1, 0, InDoubt),
        (ONCE, 1, 1e9, InDoubt),
    ],
)
def test_after_crash(effect: Effect, attempt: int, age_s: float, expected: type[Any]) -> None:
    """Lost: P4–P6 at a crash; or a step that kills its process is begun for ever."""
    found = after_crash(effect, Retry(attempts=1), attempt=attempt, age_s=age_s, window_s=90.0)
    assert type(found) is expected and found.because
    if isinstance(found, Again):
        assert found.wait_s == 0.0


def test_a_crash_does_not_use_up_a_small_number_of_attempts() -> None:
    """Lost: `attempts=1` makes one deploy the end of a run; more attempts than the minimum are kept."""
    for attempts, last in ((1, RECOVERIES_MIN), (7, 7)):
        retry = Retry(attempts=attempts)
        assert isinstance(after_crash(READ, retry, attempt=last - 1, age_s=0, window_s=DAY), Again)
        assert isinstance(after_crash(READ, retry, attempt=last, age_s=0, window_s=DAY), GiveUp)


def test_why_an_unknown_effect_is_tried_again_is_that_nobody_knows() -> None:
    """Lost: a reason that says "does not go away by itself" for making the attempt again."""
    failure = Failure(FailureKind.PERMANENT, "ValueError", "x", "x", is_definite=False, because="does not go away")
    decision = after_failure(
        Effect.IDEMPOTENT, failure, Retry(attempts=3), attempt=1, elapsed_s=0, window_s=60, draw=0.5
    )
    assert isinstance(decision, Again)
    assert "nobody knows whether it happened" in decision.because and "go away" not in decision.because
