"""Columns of values as Postgres takes them, packed here: element by element, psycopg takes longer than the server.

A column has one type whatever is in it, so that a statement is prepared once. `None` is NULL.

Never: knows a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct, error, pack
from typing import Any, Final

from psycopg.adapt import AdaptersMap, Dumper, PyFormat
from psycopg.pq import Format
from psycopg.types.array import ListBinaryDumper

_NULL: Final = b"\xff\xff\xff\xff"
_head = Struct("!IIIII").pack
_size = Struct("!I").pack


def ints(values: Sequence[int | None]) -> bytes:
    """Whole numbers, an `int8[]`."""
    try:
        return _packed(20, values, "q")
    except error as cause:
        raise OverflowError(f"a whole number of more than 63 bits, or none ({cause})") from cause


def floats(values: Sequence[float | None]) -> bytes:
    """Numbers, a `float8[]`."""
    try:
        return _packed(701, values, "d")
    except error as cause:
        raise TypeError(f"no number ({cause})") from cause


def _packed(oid: int, values: Sequence[float | None], kind: str) -> bytes:
    head = _head(1, None in values, oid, len(values), 1)
    if None in values:
        one = Struct(f"!I{kind}").pack
        return head + b"".join([_NULL if value is None else one(8, value) for value in values])
    sized: list[float | None] = [8] * (2 * len(values))
    sized[1::2] = values
    return head + pack("!" + f"I{kind}" * len(values), *sized)


def texts(values: Sequence[str | None]) -> bytes:
    """Texts, of which many may be equal, a `text[]`."""
    pieces = {text: _NULL if text is None else _size(len(data := str.encode(text))) + data for text in {*values}}
    return _head(1, None in values, 25, len(values), 1) + b"".join([pieces[value] for value in values])


def blobs(values: Sequence[bytes | None]) -> bytes:
    """Bytes, a `bytea[]`."""
    pieces = [_NULL if value is None else _size(len(value)) + value for value in values]
    return _head(1, None in values, 17, len(values), 1) + b"".join(pieces)


class _Packed(Dumper):
    format = Format.BINARY

    def dump(self, obj: list[Any]) -> bytes:
        return _PACKERS[self.oid](obj)


class _Ints(_Packed):
    oid = 1016


class _Floats(_Packed):
    oid = 1022


class _Texts(_Packed):
    oid = 1009


class _Blobs(_Packed):
    oid = 1001


_PACKERS: Final[Mapping[int, Callable[[Sequence[Any]], bytes]]] = {
    _Ints.oid: ints,
    _Floats.oid: floats,
    _Texts.oid: texts,
    _Blobs.oid: blobs,
}


class _Column(ListBinaryDumper):
    """A list by what is in it; what is none of ours, psycopg dumps by itself."""

    def get_key(self, obj: list[Any], format: PyFormat) -> Any:
        return _kind_of(obj) or super().get_key(obj, format)

    def upgrade(self, obj: list[Any], format: PyFormat) -> Any:
        kind = _kind_of(obj)
        return super().upgrade(obj, format) if kind is None else kind(self.cls)


def _kind_of(values: list[Any]) -> type[_Packed] | None:
    kinds = {*map(type, values)} - {type(None)}
    if not kinds:
        return None
    if kinds == {int}:
        return _Ints
    if kinds <= {int, float}:
        return _Floats
    if kinds == {bytes}:
        return _Blobs
    return _Texts if all(issubclass(kind, str) for kind in kinds) else None


def register(adapters: AdaptersMap) -> None:
    """Let a connection take lists so."""
    adapters.register_dumper(list, _Column)
