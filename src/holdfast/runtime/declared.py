"""What is declared at a call of `run.step`: worked out once for a function that is stepped again and again.

A run keeps its own, at most `SPECS_MAX`: declaring reads a signature, which takes longer than a step. What is kept is
found by the function and by everything that was declared, so a changed option is a declaration of its own. An agent
keeps, for all its runs, those of functions that live as long as their modules, and that hold nothing of a run.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from holdfast.core.breaker import Breaker
from holdfast.core.policy import Retry
from holdfast.core.rung import Ask, Other
from holdfast.errors import PolicyInvalid
from holdfast.runtime.signature import INJECTED, injected
from holdfast.runtime.spec import Spec, check_cached, make_spec

Specs = dict[tuple[Any, ...], tuple[Spec, tuple[str, ...]]]
SPECS_MAX = 64
"""Declarations of `run.step` that a run keeps; a lambda made anew for each call is declared anew."""


_PLAIN = (str, int, float, timedelta, Retry, Breaker, Ask)


class Kept:
    """Declarations."""

    __slots__ = ("latest", "specs")

    def __init__(self) -> None:
        self.specs: Specs = {}
        self.latest: dict[tuple[Any, str], tuple[tuple[Any, ...], tuple[Spec, tuple[str, ...]]]] = {}
        """What was declared last for a function under a name: mostly the very same is declared again."""


class Declared:
    """The declarations of one run of this agent."""

    def __init__(self, agent: str, lasting: Kept) -> None:
        """lasting: the declarations that all runs of the agent share."""
        self._agent = agent
        self._lasting = lasting
        self._own = Kept()

    def spec(self, fn: Callable[..., Any], name: str, *declared: Any) -> tuple[Spec, tuple[str, ...]]:
        """What was declared, and where the key goes."""
        is_fixed = declared[-2:] == (None, ())  # a table, or a list, may have changed since
        if is_fixed:
            for kept in (self._lasting, self._own):
                latest = kept.latest.get((fn, name))
                if latest is not None and latest[0] == declared:
                    return latest[1]
        kept = self._lasting if _is_of_module(fn) and all(map(_is_plain, declared)) else self._own
        found = self._found(kept, fn, name, *declared)
        kept.latest[fn, name] = (declared, found)
        return found

    def _found(
        self,
        kept: Kept,
        fn: Callable[..., Any],
        name: str,
        *declared: Any,
    ) -> tuple[Spec, tuple[str, ...]]:
        effect, retry, breaker, timeout, verify, raises, definite, window, check, within, *rest = declared
        approve, heartbeat, classify, fallback = rest
        declared = (*declared[:-2], _hashable(classify), tuple(fallback))
        found = kept.specs.get((fn, name, *declared))
        if found is None:
            spec = make_spec(
                fn,
                name=name,
                effect=effect,
                retry=retry,
                breaker=breaker,
                shared=f"{self._agent}.{name}",
                timeout=timeout,
                verify=verify,
                raises=raises,
                definite=definite,
                window=window,
                check=check,
                classify=classify,
                fallback=fallback,
                within=within,
                heartbeat=heartbeat,
                approve=approve,
            )
            spec = replace(spec, is_tool=False)
            check_cached(spec, spec.policy.fallback)
            _check_others(spec)
            if len(kept.specs) >= SPECS_MAX:
                kept.specs.clear()
                kept.latest.clear()
            found = kept.specs[fn, name, *declared] = (spec, _injected(fn))
        return found


def _is_of_module(fn: Callable[..., Any]) -> bool:
    """Whether it is what its module has under its name."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    return getattr(module, getattr(fn, "__name__", ""), None) is fn


def _is_plain(declared: Any) -> bool:
    """Whether it holds nothing of the run at which it was declared."""
    return declared is None or declared == () or isinstance(declared, _PLAIN)


def _hashable(classify: Any) -> Any:
    return tuple(classify.items()) if isinstance(classify, Mapping) else classify


def _check_others(spec: Spec) -> None:
    """What is no tool has no arguments by name that another could be called with."""
    for rung in spec.policy.fallback:
        if isinstance(rung, Other):
            raise PolicyInvalid(
                f"run.step({spec.name!r}) cannot fall back to {rung.name!r}. Nothing was begun. Declare the function "
                "as a tool, whose arguments have names."
            )


def _injected(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Parameters for the key; looked at only where a default could be the mark, since signatures are slow."""
    defaults = (*(getattr(fn, "__defaults__", None) or ()), *(getattr(fn, "__kwdefaults__", None) or {}).values())
    if hasattr(fn, "__code__") and not any(value is INJECTED for value in defaults):
        return ()
    return injected(inspect.signature(fn))
