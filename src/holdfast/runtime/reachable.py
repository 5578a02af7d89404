"""What a function can get at: what its closure holds, what its code names, and what stands in these.

For looking up by name what a record only names. Several things of one name may be alive in a process: an earlier
declaration, those of another agent, the ones that a factory has made for another customer. Those that the agent's own
code can reach are the ones that it had called.

It calls nothing of what it looks at: no property, no `__getattr__`. It gives up after a bounded number of objects.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST: Final = 10_000
"""Objects that are looked at."""
ATOMS: Final = (str, bytes, bytearray, int, float, complex, bool, type(None), type, CodeType)
"""What nothing stands in."""
CLOSED: Final = ("holdfast.runtime.app",)
"""Modules whose objects are not looked into: an app holds every agent, not what this one uses."""


def reachable(root: object, kind: type[T]) -> list[T]:
    """All objects of this kind that can be reached from here, the nearest first."""
    found: list[T] = []
    seen: dict[int, object] = {}  # the objects too, so that no number is used twice
    waiting: deque[object] = deque([root])
    while waiting and len(seen) < MOST:
        value = waiting.popleft()
        if isinstance(value, ATOMS) or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, kind):
            found.append(value)
        if value is root or not _is_elsewhere(value):
            waiting.extend(_within(value))
    return found


def _is_elsewhere(value: object) -> bool:
    """A function of the library or of Python: what it gets at is not the agent's."""
    if isinstance(value, FunctionType):
        package = (value.__module__ or "").partition(".")[0]
        return package == "holdfast" or package in sys.stdlib_module_names
    return type(value).__module__ in CLOSED


def _within(value: object) -> Iterable[object]:
    if isinstance(value, FunctionType):
        return _of_function(value)
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, *value.args, *value.keywords.values()
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, ModuleType):
        return ()  # only what the code names of it
    return _of_object(value)


def _of_object(value: object) -> list[object]:
    held: list[object] = list(getattr(value, "__dict__", {}).values())
    if dataclasses.is_dataclass(value):
        held += [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return held


def _of_function(fn: FunctionType) -> list[object]:
    names = set(_names(fn.__code__))
    held = [cell.cell_contents for cell in fn.__closure__ or () if not _is_empty(cell)]
    given = (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values())
    return [*held, *_named(fn.__globals__, names), *given, *vars(fn).values()]


def _is_empty(cell: Any) -> bool:
    """Whether its variable is not assigned yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _names(code: CodeType) -> Iterator[str]:
    """Globals and attributes that the code uses, and that of the functions in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _named(space: dict[str, Any], names: set[str]) -> list[object]:
    """What has one of these names, here or in a module that has one."""
    found: list[object] = []
    spaces, seen = [space], {id(space)}
    while spaces:
        space = spaces.pop()
        for name in names & space.keys():
            value = space[name]
            found.append(value)
            if isinstance(value, ModuleType) and id(vars(value)) not in seen:
                seen.add(id(vars(value)))
                spaces.append(vars(value))
    return found
