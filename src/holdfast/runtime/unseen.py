"""HTTP clients that holdfast cannot see: a call of a model through one of them, inside a run, is refused.

It would be neither recorded nor charged, and made again at each resume; and nobody would be told. What is guarded is
the narrowest place of each package that all its requests pass, once it is loaded and a run begins; requests to other
hosts, outside every run, within a tool's body or `detached` pass untouched.

Invariants
1. Nothing is imported here, and nothing is changed in a package before a run begins.
2. A package of another shape than the expected one is left alone.
3. What stands below a client of ours (a transport on aiohttp) passes: its call is a step already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from holdfast.core.hosts import is_model_host
from holdfast.errors import UsageError
from holdfast.runtime import current

REFUSED = (
    "{0} was used to ask {1} inside a run. holdfast cannot see this client, so the call would be neither recorded nor "
    "charged, and made again at each resume. Nothing was sent. Use an SDK that takes `holdfast.http_client()`, or make "
    "the call in a tool (@holdfast.tool), or within `with holdfast.detached():` if it belongs to no run."
)
Host = Callable[..., str]
"""Of the arguments of a guarded method: the host that is asked, "" for what is no POST."""


class _Narrow(NamedTuple):
    """Where all requests of a package pass."""

    module: str
    owner: str
    method: str
    host: Host


def _of_session(session: Any, method: Any = "", url: Any = "", *rest: Any, **more: Any) -> str:
    """aiohttp: `ClientSession._request(method, url)`; the address may be relative to the session's."""
    if str(method).upper() != "POST":
        return ""
    base = getattr(session, "_base_url", None)
    return urlsplit(str(url)).hostname or (urlsplit(str(base)).hostname if base is not None else None) or ""


def _of_request(sender: Any, request: Any = None, *rest: Any, **more: Any) -> str:
    """requests and botocore: `send(request)`."""
    if str(getattr(request, "method", "")).upper() != "POST":
        return ""
    return urlsplit(str(getattr(request, "url", ""))).hostname or ""


def _of_pool(pool: Any, method: Any = "", *rest: Any, **more: Any) -> str:
    """urllib3: a pool has one host."""
    return str(getattr(pool, "host", "")) if str(method).upper() == "POST" else ""


_NARROW = (
    _Narrow("aiohttp", "ClientSession", "_request", _of_session),
    _Narrow("botocore.httpsession", "URLLib3Session", "send", _of_request),
    _Narrow("requests", "Session", "send", _of_request),
    _Narrow("urllib3", "HTTPConnectionPool", "urlopen", _of_pool),
)
_is_seen: ContextVar[bool] = ContextVar("holdfast_is_seen", default=False)


@contextmanager
def seen() -> Iterator[None]:
    """Within the block a request is one of ours, whatever package carries it in the end."""
    token = _is_seen.set(True)
    try:
        yield
    finally:
        _is_seen.reset(token)


def guard() -> None:
    """Guard those of the packages that are loaded by now; cheap, and harmless when repeated."""
    for narrow in _NARROW:
        owner = getattr(sys.modules.get(narrow.module), narrow.owner, None)
        original = getattr(owner, narrow.method, None)
        if owner is not None and callable(original) and not hasattr(original, "is_guarded_by_holdfast"):
            setattr(owner, narrow.method, _guarded(narrow, original))


def _guarded(narrow: _Narrow, original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def passing(*args: Any, **kwargs: Any) -> Any:
        _check(narrow, args, kwargs)
        return original(*args, **kwargs)

    passing.is_guarded_by_holdfast = True  # type: ignore[attr-defined]
    return passing


def _check(narrow: _Narrow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    here = current.place()
    if here is None or here.inside is not None or _is_seen.get() or current.is_detached():
        return
    host = narrow.host(*args, **kwargs)
    if is_model_host(host):
        raise UsageError(REFUSED.format(narrow.module.partition(".")[0], host))
