"""The ordinary HTTP clients below ours, shared by everything on one event loop.

Connections belong to a loop, so each loop has one client of each package; `http_client()` can then be made anywhere,
as often as one likes, and need not be closed. A client is closed when its loop shuts down (`asyncio.run` and every
other runner that calls `shutdown_asyncgens`), because the generator that holds it is one of the loop's own. Sync
clients have no loop: there is one a package, closed with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from holdfast.models.package import CONNECT_S, CONNECTIONS, KEPT_ALIVE, TIMEOUT_S

_Keeper = AsyncGenerator[Any, None]
_keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, tuple[Any, _Keeper]]] = WeakKeyDictionary()
_sync: dict[str, Any] = {}
_lock = threading.Lock()


def timeout(package: ModuleType) -> Any:
    """The time limits that the SDKs set themselves."""
    return package.Timeout(TIMEOUT_S, connect=CONNECT_S)


async def ordinary(package: ModuleType) -> Any:
    """The package's async client of the running loop."""
    loop = asyncio.get_running_loop()
    kept = _keepers.setdefault(loop, {})
    found = kept.get(package.__name__)
    if found is None:
        keeper = _keep(loop, package.__name__, _marked(package.AsyncClient(**_options(package))))
        found = kept[package.__name__] = (await anext(keeper), keeper)  # the loop learns of the generator by `anext`
    return found[0]


def ordinary_sync(package: ModuleType) -> Any:
    """The package's sync client."""
    with _lock:
        found = _sync.get(package.__name__)
        if found is None or found.is_closed:
            found = _sync[package.__name__] = _marked(package.Client(**_options(package)))
            atexit.register(found.close)
        return found


def _marked(client: Any) -> Any:
    """Stands behind the door: `instrument` leaves it alone."""
    client.is_of_holdfast = True
    return client


def _options(package: ModuleType) -> dict[str, Any]:
    limits = package.Limits(max_connections=CONNECTIONS, max_keepalive_connections=KEPT_ALIVE)
    return {"timeout": timeout(package), "limits": limits, "follow_redirects": True}


async def _keep(loop: asyncio.AbstractEventLoop, name: str, client: Any) -> _Keeper:
    try:
        yield client
    finally:
        _keepers.get(loop, {}).pop(name, None)
        await client.aclose()
