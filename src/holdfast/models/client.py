"""`http_client()` and `instrument()`: what makes the model calls of unmodified code durable, budgeted and traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from holdfast.core.policy import Duration, Retry
from holdfast.models.options import TIMEOUT_S, Fallback, options_of

if TYPE_CHECKING:
    import httpx
    import httpx2

Stream = Literal["events", "whole"]
Capture = Literal["all", "digests"]
EffectOfCalls = Literal["read", "once"]


@overload
def http_client(
    *,
    sync: Literal[False] = False,
    package: Literal["httpx2"] = "httpx2",
    retry: Retry | None = None,
    stream: Stream = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: EffectOfCalls | None = None,
    capture: Capture = "all",
) -> httpx2.AsyncClient: ...
@overload
def http_client(
    *,
    sync: Literal[True],
    package: Literal["httpx2"] = "httpx2",
    retry: Retry | None = None,
    stream: Stream = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: EffectOfCalls | None = None,
    capture: Capture = "all",
) -> httpx2.Client: ...
@overload
def http_client(
    *,
    sync: Literal[False] = False,
    package: Literal["httpx"],
    retry: Retry | None = None,
    stream: Stream = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: EffectOfCalls | None = None,
    capture: Capture = "all",
) -> httpx.AsyncClient: ...
@overload
def http_client(
    *,
    sync: Literal[True],
    package: Literal["httpx"],
    retry: Retry | None = None,
    stream: Stream = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: EffectOfCalls | None = None,
    capture: Capture = "all",
) -> httpx.Client: ...
def http_client(
    *,
    sync: bool = False,
    package: str = "httpx2",
    retry: Retry | None = None,
    stream: str = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: str | None = None,
    capture: str = "all",
) -> Any:
    """An HTTP client for an unmodified SDK: inside a run each call of a model through it is a step.

    sync, package: which client the SDK wants; `httpx2` for anthropic ≥ 2 and openai ≥ 3, `httpx` for older code.
    retry: the one policy for these calls; the SDK's own retries are neutralised. stream: `events` passes a stream on
    as it comes in, and its last event when the answer is recorded; `whole` reads it to its end first, and may try it
    again. fallback: models to ask, in order, when one cannot answer. timeout: of one attempt in all. effect: what the
    calls do, where the request's own tools do not tell it right. capture: `digests` keeps no requests; answers are
    always kept.

    Outside a run it is an ordinary client with the SDK's own limits. Its connections are shared and closed with their
    event loop, so it may be made as often as you like and need not be closed.
    """
    from holdfast.models.clients import client_class  # heavy: needs the HTTP package

    options = options_of(retry=retry, stream=stream, fallback=fallback, timeout=timeout, effect=effect, capture=capture)
    return client_class(package, sync)(options)


def instrument(
    *,
    retry: Retry | None = None,
    stream: Stream = "events",
    fallback: Sequence[str | Fallback] | str | Fallback = (),
    timeout: Duration = TIMEOUT_S,
    effect: EffectOfCalls | None = None,
    capture: Capture = "all",
) -> None:
    """Make the model calls of every httpx and httpx2 client of this process steps, also of those that exist already.

    For code that builds its own clients. The options are those of `http_client`, and hold for all; a client made by
    `http_client` keeps its own. Calling it again changes the options.
    """
    from holdfast.models.clients import patch  # heavy: needs the HTTP packages

    patch(options_of(retry=retry, stream=stream, fallback=fallback, timeout=timeout, effect=effect, capture=capture))


def uninstrument() -> None:
    """Undo `instrument`; without it this does nothing."""
    from holdfast.models.clients import unpatch  # heavy: needs the HTTP packages

    unpatch()
