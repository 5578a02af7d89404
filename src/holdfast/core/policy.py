"""A tool's policy, and retry as decisions: after a failed attempt, and after a crash in the middle of one.

Waits grow exponentially with *full jitter*: uniform in [0, min(wait_max, wait·2ⁿ)] (M. Brooker, "Exponential
Backoff and Jitter", AWS Architecture Blog, 2015). A provider's Retry-After is a floor under that. Attempts and
total time are always bounded; a policy without a bound is refused when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.duration import Duration as Duration
from holdfast.core.duration import seconds as seconds
from holdfast.core.events import Effect
from holdfast.core.failure import Failure
from holdfast.core.rung import Ask, Rung
from holdfast.errors import PolicyInvalid

SHARED_MAX = 10_000
RECOVERIES_MIN = 3
"""A step interrupted by crashes is begun again until its attempts, and at least this many, are used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how fast a step is tried again. Applies to one logical attempt."""

    attempts: int = 3
    """Tries in all, 1 to 100; 1 means no retry."""
    wait: Duration = 0.5
    """Upper end of the first wait; doubles with each attempt."""
    wait_max: Duration = 30.0
    """No wait is drawn from above this; Retry-After may still ask for more."""
    total: Duration = 120.0
    """From the first attempt on: a retry that would begin later is not made."""
    shared: int = 20
    """Retries of this tool that all runs and processes of a tenant have together, 1 to 10,000; in two minutes they
    come back, and a tenth of the calls that go well adds to them."""

    def __post_init__(self) -> None:
        attempts: Any = self.attempts
        if not isinstance(attempts, int) or isinstance(attempts, bool) or not 1 <= attempts <= 100:
            raise PolicyInvalid(
                f"Retry(attempts={attempts!r}) has no usable bound. holdfast never retries without one: "
                "give a whole number from 1 (no retry) to 100."
            )
        shared: Any = self.shared
        if not isinstance(shared, int) or isinstance(shared, bool) or not 1 <= shared <= SHARED_MAX:
            raise PolicyInvalid(f"Retry(shared={shared!r}) must be a whole number from 1 to {SHARED_MAX}.")
        for name in ("wait", "wait_max", "total"):
            seconds(getattr(self, name), f"Retry({name}=…)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything about a tool that its operator may set without a deploy, in one value. Times in seconds.

    Declared in Python by the options of `tool`; laid over by `holdfast.toml`, the command line and the operator's
    desk (`core.override`), and looked up anew for each attempt.
    """

    retry: Retry = Retry()
    timeout_s: float | None = None
    """One attempt."""
    within_s: float | None = None
    """The step: all its attempts and waits."""
    heartbeat_s: float | None = None
    """An attempt that has not called `heartbeat` for so long is stopped."""
    breaker: Breaker | None = BREAKER
    """When the tool is not called at all, as others have seen it fail; None: it always is."""
    approve: Ask | None = None
    """Who must agree before it is called at all (`core.approval`)."""
    fallback: tuple[Rung, ...] = ()
    """What is tried when it has failed for good, in order."""
    classify: Mapping[str, str] = field(default_factory=dict)
    """From a status, an error's class or a provider's code to a `FailureKind`, or to `ok`."""

    def __post_init__(self) -> None:
        for name in ("timeout", "within", "heartbeat"):
            if getattr(self, f"{name}_s") == 0:
                raise PolicyInvalid(f"{name}=0 leaves no time at all. Give a time, or leave it out for no limit.")
        for shorter, longer in (("heartbeat", "timeout"), ("timeout", "within"), ("heartbeat", "within")):
            short_s, long_s = getattr(self, f"{shorter}_s"), getattr(self, f"{longer}_s")
            if short_s is not None and long_s is not None and short_s > long_s:
                raise PolicyInvalid(
                    f"{shorter}={short_s:g} s is longer than {longer}={long_s:g} s, so it could never count. "
                    f"Give a shorter {shorter}, or a longer {longer}."
                )


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `wait_s`, under the same idempotency key."""

    wait_s: float
    because: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The failure is the step's outcome."""

    because: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Nobody knows whether the effect happened: `verify`, else a person."""

    because: str


def backoff_s(retry: Retry, attempt: int, draw: float) -> float:
    """The wait after attempt number `attempt` (from 1), with `draw` in [0, 1)."""
    ceiling = min(seconds(retry.wait_max), seconds(retry.wait) * 2.0 ** min(attempt - 1, 60))
    return draw * ceiling


def after_failure(
    effect: Effect,
    failure: Failure,
    retry: Retry,
    *,
    attempt: int,
    elapsed_s: float,
    window_s: float,
    draw: float,
    age_s: float | None = None,
) -> Again | GiveUp | InDoubt:
    """What follows a failed attempt. `elapsed_s` counts from the step's first attempt, or from a person's "try again";
    `age_s` always from the first, as the receiver of its key does."""
    age_s = elapsed_s if age_s is None else age_s
    if failure.is_definite:
        return _retry_or(GiveUp, failure, retry, attempt, elapsed_s, draw)
    if effect is Effect.ONCE:
        return InDoubt(f"{failure.error} after the effect was begun; a `once` effect is never repeated on a guess")
    if age_s >= window_s:
        return InDoubt(f"the key is older than its dedup window of {window_s:g} s")
    again = _retry_or(InDoubt, failure, retry, attempt, elapsed_s, draw)
    if isinstance(again, Again) and age_s + again.wait_s >= window_s:
        return InDoubt(f"the next attempt would begin when the key's dedup window of {window_s:g} s is over")
    return again


def _retry_or(
    end: type[GiveUp] | type[InDoubt],
    failure: Failure,
    retry: Retry,
    attempt: int,
    elapsed_s: float,
    draw: float,
) -> Again | GiveUp | InDoubt:
    if end is GiveUp and not failure.kind.is_retryable:
        return end(f"{failure.kind}: {failure.because}")
    if attempt >= retry.attempts:
        return end(f"attempt {attempt} of {retry.attempts} failed: {failure.because}")
    wait_s = max(backoff_s(retry, attempt, draw), failure.retry_after_s or 0.0)
    total_s = seconds(retry.total)
    if elapsed_s + wait_s > total_s:
        return end(f"the next attempt would begin after {elapsed_s + wait_s:.1f} s; total={total_s:g} s")
    floor = f", not before Retry-After {failure.retry_after_s:g} s" if failure.retry_after_s else ""
    why = failure.because if failure.is_definite else f"{failure.error}: nobody knows whether it happened; the same key"
    return Again(wait_s, f"{why}; attempt {attempt} of {retry.attempts}{floor}")


def after_crash(
    effect: Effect, retry: Retry, *, attempt: int, age_s: float, window_s: float
) -> Again | GiveUp | InDoubt:
    """What follows when a process died between a step's intent and its outcome (W1–W3).

    `age_s` counts from the first intent. Begun again means: as the next attempt, under the same key.
    """
    if effect is Effect.ONCE:
        return InDoubt("the process ended between the intent and the outcome")
    if effect is Effect.IDEMPOTENT and age_s >= window_s:
        return InDoubt(f"the key is {age_s:.0f} s old, its dedup window is {window_s:g} s")
    if attempt >= max(retry.attempts, RECOVERIES_MIN):
        because = f"interrupted {attempt} times"
        return InDoubt(because) if effect is Effect.IDEMPOTENT else GiveUp(because)
    return Again(0.0, "the process ended before the outcome was written")
