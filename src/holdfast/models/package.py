"""The HTTP packages that SDKs speak through: httpx2, and httpx from which it was forked.

Both have the same names, so everything here takes the package as a module. It is imported when somebody asks for it;
none of them is a dependency of holdfast.
"""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta
from types import ModuleType
from typing import Any, Literal, TypeVar

from holdfast.errors import UsageError
from holdfast.models.answer import Broken, Reply
from holdfast.runtime.facts import ADDRESS, mark

E = TypeVar("E", bound=Exception)
PackageName = Literal["httpx2", "httpx"]
NAMES: tuple[PackageName, ...] = ("httpx2", "httpx")
TIMEOUT_S, CONNECT_S = 600.0, 5.0
"""What the SDKs themselves set."""
CONNECTIONS, KEPT_ALIVE = 1000, 100
SDK_ERRORS = (("anthropic", "AnthropicError"), ("openai", "OpenAIError"))
"""Of each SDK that is loaded: errors of this class it lets pass; all others it calls connection errors."""


def package_of(name: str) -> ModuleType:
    """The package; `UsageError` when it is unknown or not installed."""
    if name not in NAMES:
        raise UsageError(f"package={name!r} is no HTTP package that holdfast knows. Use one of: {', '.join(NAMES)}.")
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise UsageError(
            f"http_client() needs the package {name!r}, which is not installed. Nothing was sent. Install it with: "
            f"pip install {name}   (the anthropic and openai SDKs bring httpx2; LiteLLM brings httpx)"
        ) from missing


def home_of(instance: Any) -> ModuleType:
    """The package that a client or request belongs to."""
    names = (cls.__module__.partition(".")[0] for cls in type(instance).__mro__)
    return sys.modules[next(name for name in names if name in NAMES)]


def response_of(package: ModuleType, reply: Reply, request: Any) -> Any:
    """The response that the record says, as one of this package.

    One that failed names its step, and asks the SDK not to try again: that was done.
    """
    response = package.Response(
        reply.status,
        headers=reply.headers,
        content=reply.body,
        request=request,
        extensions={ADDRESS: reply.address} if reply.is_failed else {},
    )
    response.elapsed = timedelta(0)
    return response


def error_of(package: ModuleType, broken: Broken, request: Any) -> Exception:
    """The error that the record says, as one of this package."""
    error: Exception = getattr(package, broken.error)(broken.text, request=request)
    mark(error, broken.address)
    return error


def surfaced(error: E) -> E:
    """The same error, such that the SDKs let it pass: all but their own they wrap, and try again."""
    cls = type(error)
    loaded = [getattr(sys.modules[sdk], name) for sdk, name in SDK_ERRORS if hasattr(sys.modules.get(sdk), name)]
    if not loaded:
        return error
    passing: type[E] = type(cls.__name__, (cls, *loaded), {"__module__": cls.__module__})
    return passing(*error.args).with_traceback(error.__traceback__)
