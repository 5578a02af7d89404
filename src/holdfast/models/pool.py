"""The ordinary HTTP client below ours: the SDK's own default one, shared by everything on one event loop.

Connections belong to a loop, so each loop has one client; `http_client()` can then be made anywhere, as often as
one likes, and need not be closed. It is closed when its loop shuts down (`asyncio.run` and every other runner that
calls `shutdown_asyncgens`), because the generator that holds it is one of the loop's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from weakref import WeakKeyDictionary

import httpx2
from anthropic import DefaultAsyncHttpxClient

_Keeper = AsyncGenerator[httpx2.AsyncClient, None]
_keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[httpx2.AsyncClient, _Keeper]] = WeakKeyDictionary()


async def ordinary() -> httpx2.AsyncClient:
    """The client of the running loop: the SDK's own time limits, connections, proxies and keep-alive."""
    loop = asyncio.get_running_loop()
    kept = _keepers.get(loop)
    if kept is None:
        keeper = _keep(loop, DefaultAsyncHttpxClient())
        kept = _keepers[loop] = (await anext(keeper), keeper)  # the loop learns of the generator by this `anext`
    return kept[0]


async def _keep(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> _Keeper:
    try:
        yield client
    finally:
        _keepers.pop(loop, None)
        await client.aclose()
