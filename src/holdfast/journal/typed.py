"""Annotations: pydantic's readers and writers for values, and only where it has something to say.

An annotation of JSON's own types, or of types that a tag brings back, needs none of it; whatever else a user writes
beside an argument or a result gets an adapter, made once and kept.

It never loads pydantic before such an annotation asks for it, knows neither bytes nor tags (except as what needs no
adapter), and does no I/O.

C6  Types that only an annotation can bring back from text (paths, IP addresses, URLs) are those of `TEXT_MODULES`.
C7  Adapters are found by the annotation's identity, which stays taken because the annotation is kept. At most 512
    are kept: a program that makes annotations all the time does not grow.
C8  Whatever a user's code raises while its schema is built comes out as `Unencodable`.
"""

from __future__ import annotations

import types
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

from holdfast.errors import Unencodable
from holdfast.journal.tags import told

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TEXT_MODULES: Final = frozenset({"pathlib", "pathlib._local", "ipaddress", "pydantic.networks"})
"""Home of types that pydantic leaves as they are when it dumps, and reads from text."""
_JSON: Final = (None, type(None), Any, object, str, int, float, bool, dict, list)
TRIVIAL: Final = (*_JSON, bytes, datetime, date, time, timedelta, Decimal, UUID)
_TRANSPARENT: Final = (Union, types.UnionType, dict, list, Required, NotRequired)
_ADAPTERS_MAX: Final = 512
_ADAPTERS: Final[dict[int, tuple[Any, TypeAdapter[Any] | None]]] = {}
"""By identity, which needs no hash; the annotation is kept, so that its identity stays taken."""


def adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    """pydantic's reader and writer for it; `None` where the bytes alone bring the value back."""
    known = _ADAPTERS.get(id(annotation))
    if known is None:
        if len(_ADAPTERS) >= _ADAPTERS_MAX:
            _ADAPTERS.clear()
        known = _ADAPTERS[id(annotation)] = (annotation, _new_adapter(annotation))
    return known[1]


def _new_adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        if _is_trivial(annotation, ()):
            return None
        from pydantic import TypeAdapter  # lazy: `import holdfast` must not load it

        if get_origin(annotation) is Iterable:  # pydantic would make an iterator that can be read only once
            annotation = types.GenericAlias(list, get_args(annotation))
        return TypeAdapter(annotation)
    except Exception as error:  # the user's code builds schemas, too
        what = f"no schema for {told(lambda: repr(annotation))}: {told(error.__str__)}"
        raise Unencodable(what) from error


def _is_trivial(annotation: Any, outer: tuple[Any, ...]) -> bool:
    """Also for a TypedDict of such types, of which pydantic knows nothing before Python 3.12."""
    if any(annotation is kind for kind in (*TRIVIAL, *outer)):
        return True
    if is_typeddict(annotation):
        fields = get_type_hints(annotation, include_extras=True).values()
        return all(_is_trivial(field, (*outer, annotation)) for field in fields)
    return get_origin(annotation) in _TRANSPARENT and all(_is_trivial(a, outer) for a in get_args(annotation))


def dump(annotation: Any, value: Any, *, round_trip: bool) -> Any:
    """`value` in Python's own types, by field name; `round_trip` leaves out what reading would not take."""
    adapter = adapter_of(annotation)
    return adapter and adapter.dump_python(value, by_alias=False, round_trip=round_trip, warnings=False)
