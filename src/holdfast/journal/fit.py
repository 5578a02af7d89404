"""Whether a value is of the type that was declared for it, where no adapter of pydantic looks at it.

Bytes bring such values back whatever they are, so nothing else would notice. `fits` says it fast, by a check that is
made once for each annotation; `misfit` says in words why not.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

from holdfast.journal.tags import told
from holdfast.journal.typed import TRIVIAL

Check = Callable[[Any], bool]
_CHECKS_MAX: Final = 512
_CHECKS: Final[dict[int, tuple[Any, Check]]] = {}
"""By identity, which needs no hash; the annotation is kept, so that its identity stays taken."""
_ALSO: Final[dict[Any, tuple[Any, ...]]] = {
    float: (float, int),
    list: (list, tuple),
    Decimal: (Decimal, int),
    bytes: (bytes, bytearray),
}
"""Types of values that count as this one."""


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return (type(None),) if annotation is None else _ALSO.get(annotation, (annotation,))


def misfit(annotation: Any, value: Any, path: str = "$") -> str:
    """Why a value is not of the declared type, empty when it is."""
    if annotation is Any or annotation is object or (annotation is None and path == "$"):
        return ""
    if any(annotation is kind for kind in TRIVIAL):
        return "" if isinstance(value, _kinds(annotation)) else _differs(annotation, value, path)
    if is_typeddict(annotation):
        return _misfit_fields(annotation, value, path)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return "" if any(not misfit(kind, value, "…") for kind in inner) else _differs(annotation, value, path)
    if origin in (Required, NotRequired):
        return misfit(inner[0], value, path)
    if not isinstance(value, _ALSO.get(origin, (origin,))):
        return _differs(annotation, value, path)
    children = _children(origin, inner, value, path)
    return next((why for where, kind, child in children if (why := misfit(kind, child, where))), "")


def _children(origin: Any, inner: tuple[Any, ...], value: Any, path: str) -> Iterable[tuple[str, Any, Any]]:
    if origin is not dict:
        return ((f"{path}[{place}]", inner[0], child) for place, child in enumerate(value))
    keys = ((f"a key of {path}", inner[0], key) for key in value)
    return chain(keys, ((f"{path}[{key!r}]", inner[1], child) for key, child in value.items()))


def _misfit_fields(annotation: Any, value: Any, path: str) -> str:
    if not isinstance(value, dict):
        return _differs(annotation, value, path)
    fields = get_type_hints(annotation, include_extras=True)
    missing = sorted(annotation.__required_keys__ - value.keys())
    missing = [
        name for name in missing if get_origin(fields[name]) is not NotRequired
    ]  # written as text, it is not seen
    if missing:
        return f"it has no {missing[0]!r} (at {path})"
    known = ((f"{path}.{name}", fields[name], child) for name, child in value.items() if name in fields)
    return next((why for where, kind, child in known if (why := misfit(kind, child, where))), "")


def _differs(annotation: Any, value: Any, path: str) -> str:
    wanted = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    return f"{type(value).__name__} is not {wanted or told(lambda: str(annotation))} (at {path})"


# --- fast --------------------------------------------------------------------------------------------------------


def fits(annotation: Any, value: Any) -> bool:
    """Whether it is of that type."""
    known = _CHECKS.get(id(annotation))
    if known is None:
        if len(_CHECKS) >= _CHECKS_MAX:
            _CHECKS.clear()
        known = _CHECKS[id(annotation)] = (annotation, _check(annotation))
    return known[1](value)


def _check(annotation: Any) -> Check:
    if annotation is Any or annotation is object:
        return lambda value: True
    if any(annotation is kind for kind in TRIVIAL):
        kinds = _kinds(annotation)
        return lambda value: isinstance(value, kinds)
    if get_origin(annotation) is dict:
        key, child = (_check(inner) for inner in get_args(annotation))
        return lambda value: isinstance(value, dict) and all(map(key, value)) and all(map(child, value.values()))
    if get_origin(annotation) is list:
        (item,) = (_check(inner) for inner in get_args(annotation))
        return lambda value: isinstance(value, (list, tuple)) and all(map(item, value))
    if get_origin(annotation) in (Union, types.UnionType):
        choices = [_check(inner) for inner in get_args(annotation)]
        return lambda value: any(choice(value) for choice in choices)
    return lambda value: not misfit(annotation, value, "$.")  # a TypedDict, which may be made of itself
