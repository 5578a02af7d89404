"""The four client classes of ours (two packages, sync and async), and the same for the classes of the packages.

A client of ours owns no connection; `pool` does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from holdfast.models.door import send_async, send_sync
from holdfast.models.options import Options
from holdfast.models.package import NAMES, package_of
from holdfast.models.pool import ordinary, ordinary_sync, timeout
from holdfast.models.sender import own, theirs, theirs_sync

_originals: dict[type[Any], Callable[..., Any]] = {}
"""`send` of the classes that are instrumented."""
_options = Options()


# --- our clients -----------------------------------------------------------------------------------------------


@cache
def client_class(package: str, is_sync: bool) -> Callable[[Options], Any]:
    """The class for this package."""
    return (_sync_class if is_sync else _async_class)(package_of(package))


def _async_class(package: ModuleType) -> type[Any]:
    class AsyncPassThrough(package.AsyncBaseTransport):  # type: ignore[name-defined,misc]
        """For what goes around `send`; it owns nothing, so closing it closes nothing that others use."""

        async def handle_async_request(self, request: Any) -> Any:
            return await (await ordinary(package)).send(request, stream=True, follow_redirects=False)

    class AsyncClient(package.AsyncClient):  # type: ignore[name-defined,misc]
        """See `holdfast.http_client`."""

        is_of_holdfast = True

        def __init__(self, options: Options) -> None:
            super().__init__(transport=AsyncPassThrough(), timeout=timeout(package), follow_redirects=True)
            self._holdfast = options

        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            if self.is_closed:
                return await super().send(request)  # raises, in the package's own words

            async def straight() -> Any:
                return await (await ordinary(package)).send(request, stream=stream, **options)

            return await send_async(package, request, stream, self._holdfast, own(package, request, options), straight)

    return AsyncClient


def _sync_class(package: ModuleType) -> type[Any]:
    class PassThrough(package.BaseTransport):  # type: ignore[name-defined,misc]
        """For what goes around `send`; it owns nothing, so closing it closes nothing that others use."""

        def handle_request(self, request: Any) -> Any:
            return ordinary_sync(package).send(request, stream=True, follow_redirects=False)

    class Client(package.Client):  # type: ignore[name-defined,misc]
        """See `holdfast.http_client`."""

        is_of_holdfast = True

        def __init__(self, options: Options) -> None:
            super().__init__(transport=PassThrough(), timeout=timeout(package), follow_redirects=True)
            self._holdfast = options

        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            if self.is_closed:
                return super().send(request)  # raises, in the package's own words

            def straight() -> Any:
                return ordinary_sync(package).send(request, stream=stream, **options)

            return send_sync(package, request, stream, self._holdfast, own(package, request, options), straight)

    return Client


# --- everybody's clients ---------------------------------------------------------------------------------------


def patch(options: Options) -> None:
    """Replace `send` of the packages' classes; see `holdfast.instrument`."""
    global _options
    _options = options
    for name in NAMES:
        if importlib.util.find_spec(name) is None:
            continue
        package = package_of(name)
        for cls, make in ((package.AsyncClient, _async_send), (package.Client, _sync_send)):
            if cls not in _originals:
                _originals[cls] = cls.send
                cls.send = make(package, cls.send)


def unpatch() -> None:
    """Put the classes' own `send` back."""
    while _originals:
        cls, original = _originals.popitem()
        cls.send = original


def _async_send(package: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    async def send(self: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        async def straight() -> Any:
            return await original(self, request, stream=stream, **options)

        if _is_ours(self) or self.is_closed:
            return await straight()
        bound = original.__get__(self)
        return await send_async(package, request, stream, _options, theirs(package, bound, request, options), straight)

    return send


def _sync_send(package: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    def send(self: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        def straight() -> Any:
            return original(self, request, stream=stream, **options)

        if _is_ours(self) or self.is_closed:
            return straight()
        bound = original.__get__(self)
        return send_sync(package, request, stream, _options, theirs_sync(package, bound, request, options), straight)

    return send


def _is_ours(client: Any) -> bool:
    """Whether it is one that has been through the door, or stands behind it."""
    return getattr(client, "is_of_holdfast", False)
