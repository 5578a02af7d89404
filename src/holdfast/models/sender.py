"""How one request is sent: by our own client on the run's loop, or by the caller's client where that lives.

A sender answers with `Opened`: status, headers, and the body as it comes in. It is called on the run's loop, and so
are the methods of what it gives. It knows nothing of models, records or policies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from holdfast.models.pool import ordinary
from holdfast.runtime.thread import in_thread


class Variant(NamedTuple):
    """A request in place of the caller's: to another model."""

    url: str
    content: bytes
    headers: Mapping[str, str]
    """Laid over the caller's; names in lower case."""
    without: frozenset[str] = frozenset()
    """Headers of the caller's that it does not get."""


class Opened(Protocol):
    """A response whose body is still to come."""

    status: int
    headers: Mapping[str, str]
    """Their names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, decoded, as it comes in."""

    async def close(self) -> None:
        """Close it, and with it the connection unless all was read."""


Send = Callable[[Variant | None], Awaitable[Opened]]
_FRAMING = frozenset({"content-length", "transfer-encoding"})


def own(package: ModuleType, request: Any, options: dict[str, Any]) -> Send:
    """By the pooled async client of the run's loop, also where the caller is sync: it can be called off."""

    async def send(variant: Variant | None) -> Opened:
        client = await ordinary(package)
        return _Here(await client.send(varied(package, request, variant), stream=True, **options))

    return send


def theirs(package: ModuleType, original: Callable[..., Any], request: Any, options: dict[str, Any]) -> Send:
    """By the caller's async client, on the loop that it lives on."""
    home = asyncio.get_running_loop()

    async def send(variant: Variant | None) -> Opened:
        sent = original(varied(package, request, variant), stream=True, **options)
        if asyncio.get_running_loop() is home:
            return _Here(await sent)
        return _There(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(sent, home)), home)

    return send


def theirs_sync(package: ModuleType, original: Callable[..., Any], request: Any, options: dict[str, Any]) -> Send:
    """By the caller's sync client, in threads."""

    async def send(variant: Variant | None) -> Opened:
        sent = varied(package, request, variant)
        return _Threaded(await in_thread("model call", lambda: original(sent, stream=True, **options)))

    return send


def varied(package: ModuleType, request: Any, variant: Variant | None) -> Any:
    """The request that is sent: the caller's, or the variant of it."""
    if variant is None:
        return request
    left_out = {*_FRAMING, *variant.without, "host"}
    headers = {name: value for name, value in request.headers.items() if name not in left_out} | {**variant.headers}
    return package.Request(
        request.method, variant.url, headers=headers, content=variant.content, extensions=request.extensions
    )


class _Here:
    """An async response on this loop."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    def chunks(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self.response.aiter_bytes()
        return chunks

    async def close(self) -> None:
        await self.response.aclose()


class _There(_Here):
    """An async response on another loop."""

    def __init__(self, response: Any, home: asyncio.AbstractEventLoop) -> None:
        super().__init__(response)
        self.home = home

    async def chunks(self) -> AsyncIterator[bytes]:
        parts = self.response.aiter_bytes()

        async def more() -> bytes | None:
            return await anext(parts, None)

        while (part := await self.hop(more())) is not None:
            yield part

    async def close(self) -> None:
        await self.hop(self.response.aclose())

    async def hop(self, coroutine: Any) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.home))


class _Threaded(_Here):
    """A sync response, read in threads."""

    async def chunks(self) -> AsyncIterator[bytes]:
        parts = self.response.iter_bytes()
        while (part := await in_thread("model call", lambda: next(parts, None))) is not None:
            yield part

    async def close(self) -> None:
        await in_thread("model call", self.response.close)
