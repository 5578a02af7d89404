"""`http_client()` and `instrument()`: what makes the model calls of unmodified code durable, budgeted and traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from holdfast.core.breaker import Breaker
from holdfast.core.policy import Duration, Retry
from holdfast.models.options import Fallback, options_of

if TYPE_CHECKING:
    import httpx
    import httpx2


class ClientOptions(TypedDict, total=False):
    """The policy of the model calls that go through a client."""

    retry: Retry | None
    """The one policy; the SDK's own retries are neutralised. Four attempts in at most five minutes, unless given."""
    breaker: Breaker | None
    """When a model is not asked at all, of one host by one account; None: it always is."""
    stream: Literal["events", "whole"]
    """`events` passes a stream on as it comes in, and its last event when the answer is recorded; `whole` reads it to
    its end first, and may try it again."""
    fallback: Sequence[str | Fallback] | str | Fallback
    """Models to ask, in order, when one cannot answer."""
    timeout: Duration
    """Of one attempt in all, streamed or not; ten minutes, unless given."""
    within: Duration | None
    """Of the whole call, all its attempts and waits; nothing starts it anew."""
    effect: Literal["read", "once"] | None
    """What the calls do, where the request's own tools do not tell it right."""
    capture: Literal["all", "digests"]
    """`digests` keeps no requests; answers are always kept."""


@overload
def http_client(
    *, sync: Literal[False] = False, package: Literal["httpx2"] = "httpx2", **options: Unpack[ClientOptions]
) -> httpx2.AsyncClient: ...
@overload
def http_client(
    *, sync: Literal[True], package: Literal["httpx2"] = "httpx2", **options: Unpack[ClientOptions]
) -> httpx2.Client: ...
@overload
def http_client(
    *, sync: Literal[False] = False, package: Literal["httpx"], **options: Unpack[ClientOptions]
) -> httpx.AsyncClient: ...
@overload
def http_client(
    *, sync: Literal[True], package: Literal["httpx"], **options: Unpack[ClientOptions]
) -> httpx.Client: ...
def http_client(*, sync: bool = False, package: str = "httpx2", **options: Unpack[ClientOptions]) -> Any:
    """An HTTP client for an unmodified SDK: inside a run each call of a model through it is a step.

    sync, package: which client the SDK wants; `httpx2` for anthropic ≥ 2 and openai ≥ 3, `httpx` for older code.
    options: see `ClientOptions`.

    Outside a run it is an ordinary client with the SDK's own limits. Its connections are shared and closed with their
    event loop, so it may be made as often as you like and need not be closed.
    """
    from holdfast.models.clients import client_class  # heavy: needs the HTTP package

    return client_class(package, sync)(options_of(**options))


def instrument(**options: Unpack[ClientOptions]) -> None:
    """Make the model calls of every httpx and httpx2 client of this process steps, also of those that exist already.

    For code that builds its own clients. The options are those of `http_client`, and hold for all; a client made by
    `http_client` keeps its own. Calling it again changes the options.
    """
    from holdfast.models.clients import patch  # heavy: needs the HTTP packages

    patch(options_of(**options))


def uninstrument() -> None:
    """Undo `instrument`; without it this does nothing."""
    from holdfast.models.clients import unpatch  # heavy: needs the HTTP packages

    unpatch()
