"""What an HTTP client of ours was told: one policy for the model calls that go through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.events import Effect
from holdfast.core.policy import Duration, Policy, Retry, seconds
from holdfast.errors import PolicyInvalid

RETRY = Retry(attempts=4, wait=0.5, wait_max=30.0, total="5m")
"""The policy of model calls, unless another is given."""
TIMEOUT_S = 600.0
"""One attempt may take so long in all, streamed or not, unless told otherwise; the SDKs' own limit."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Another model, to be asked when the one before it cannot answer.

    base_url: the provider's other host, up to where the SDK's path begins, such as `https://eu.example.com`; empty:
    the same one. headers: laid over those of the request, for the other account's credentials; a function is called
    for each request. They are never recorded.
    """

    model: str
    base_url: str = ""
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The policy of one client."""

    retry: Retry = RETRY
    breaker: Breaker | None = BREAKER
    is_whole: bool = False
    """A stream is read to its end, recorded, and only then handed over; so it may be tried again."""
    fallback: tuple[Fallback, ...] = ()
    timeout_s: float = TIMEOUT_S
    within_s: float | None = None
    """The whole call: all its attempts and waits."""
    effect: Effect | None = None
    """What the client says of its calls, whatever the requests look like; None: by the request."""
    keeps_requests: bool = True

    def policy(self) -> Policy:
        """As an attempt asks for it."""
        return Policy(retry=self.retry, breaker=self.breaker, within_s=self.within_s)


def options_of(
    *,
    retry: Retry | None = None,
    breaker: Breaker | None = BREAKER,
    stream: str = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    within: Duration | None = None,
    effect: str | None = None,
    capture: str = "all",
) -> Options:
    """The options as they were given; `PolicyInvalid` for what cannot be kept."""
    if retry is not None and not isinstance(retry, Retry):
        raise PolicyInvalid(f"retry={retry!r} is no Retry. Write retry=holdfast.Retry(attempts=4).")
    if breaker is not None and not isinstance(breaker, Breaker):
        raise PolicyInvalid(f"breaker={breaker!r} is no Breaker. Write breaker=holdfast.Breaker(timeouts=3), or None.")
    _check("stream", stream, ("events", "whole"))
    _check("effect", effect, (None, "read", "once"))
    if capture in ("none", "meta"):
        raise PolicyInvalid(
            f"capture={capture!r} would not keep the answers, and a run without them cannot go on after a crash. "
            'Write capture="digests" to keep the answers and only digests of the requests.'
        )
    _check("capture", capture, ("all", "digests"))
    timeout_s = seconds(timeout, "timeout")
    within_s = None if within is None else seconds(within, "within")
    if within_s == 0:
        raise PolicyInvalid(f"within={within!r} leaves no time for an answer. Give more than 0 seconds.")
    if timeout_s <= 0:
        raise PolicyInvalid(f"timeout={timeout!r} leaves no time for an answer. Give more than 0 seconds.")
    return Options(
        retry=retry or RETRY,
        breaker=breaker,
        is_whole=stream == "whole",
        fallback=tuple(_fallback(each) for each in ([fallback] if isinstance(fallback, (str, Fallback)) else fallback)),
        timeout_s=timeout_s,
        within_s=within_s,
        effect=None if effect is None else Effect(effect),
        keeps_requests=capture == "all",
    )


def _fallback(given: Any) -> Fallback:
    if isinstance(given, str) and given:
        return Fallback(given)
    if isinstance(given, Fallback) and given.model:
        return given
    raise PolicyInvalid(f"fallback={given!r} is no model. Write its name, or holdfast.Fallback(model, base_url=…).")


def _check(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(repr(each) for each in allowed)
        raise PolicyInvalid(f"{name}={value!r} is not known. Use one of: {listed}.")
