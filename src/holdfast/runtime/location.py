"""Where a function stands in this process's own code, so that another process can find it by name.

What cannot be found so is refused when it is declared.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core.events import Effect
from holdfast.errors import PolicyInvalid


class Location(NamedTuple):
    """Where a function stands in this process's own code."""

    module: str
    """Empty: it stands in the script that was started."""
    file: str
    name: str
    code: str
    """Digest of its byte code: another process has to find the same."""


def locate(fn: Callable[..., Any], effect: Effect, name: str) -> Location:
    """Where it stands; `PolicyInvalid` when a new process could not find it, or not run it as what it is."""
    why = _why_not(fn, effect)
    if why:
        raise PolicyInvalid(
            f"{name} cannot be isolated: {why}. Its body runs in a new process, which finds it by its name in its "
            "file: write a plain `def` at the top level of a module, and give it what it needs as arguments."
        )
    home = fn.__globals__
    module = home["__name__"]
    if module == "__main__":
        module = getattr(home.get("__spec__"), "name", "")
    return Location(module, str(Path(home["__file__"]).resolve()), fn.__name__, digest_of(fn))


def _why_not(fn: Any, effect: Effect) -> str:
    if not inspect.isfunction(fn):
        return "it is no function"
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        return "it is no plain `def` (an async body can be cancelled where it is)"
    if fn.__name__ == "<lambda>":
        return "a lambda has no name"
    if "<locals>" in fn.__qualname__:
        return "it stands inside another function"
    if fn.__qualname__ != fn.__name__:
        return "it is a method"
    if effect is Effect.COMPOSITE:
        return "a composite makes steps of its run, and there is no run in another process"
    if not fn.__globals__.get("__file__") or getattr(sys, "frozen", False):
        return "its module has no file (a console, a notebook, a frozen program)"
    return ""


def digest_of(fn: Callable[..., Any]) -> str:
    """A digest of the function's byte code."""
    return hashlib.sha256(fn.__code__.co_code).hexdigest()[:16]
