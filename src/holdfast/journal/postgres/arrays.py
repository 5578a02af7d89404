"""Columns of values as Postgres takes them, packed here: element by element, psycopg takes longer than the server.

A column has one type whatever is in it, so that a statement is prepared once. `None` is NULL.

Never: knows a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack
from typing import Final

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_NULL: Final = b"\xff\xff\xff\xff"
_head = Struct("!IIIII").pack
_size = Struct("!I").pack


class Ints(bytes):
    """An `int8[]`."""


class Floats(bytes):
    """A `float8[]`."""


class Texts(bytes):
    """A `text[]`."""


class Blobs(bytes):
    """A `bytea[]`."""


def ints(values: Sequence[int | None]) -> Ints:
    """Whole numbers."""
    return Ints(_packed(20, values, "q"))


def floats(values: Sequence[float | None]) -> Floats:
    """Numbers."""
    return Floats(_packed(701, values, "d"))


def _packed(oid: int, values: Sequence[float | None], kind: str) -> bytes:
    head = _head(1, None in values, oid, len(values), 1)
    if None in values:
        one = Struct(f"!I{kind}").pack
        return head + b"".join([_NULL if value is None else one(8, value) for value in values])
    sized: list[float | None] = [8] * (2 * len(values))
    sized[1::2] = values
    return head + pack("!" + f"I{kind}" * len(values), *sized)


def texts(values: Sequence[str | None]) -> Texts:
    """Texts, of which many may be equal."""
    pieces = _Pieces()
    return Texts(_head(1, None in values, 25, len(values), 1) + b"".join([pieces[value] for value in values]))


class _Pieces(dict[str | None, bytes]):
    """Each text as it is sent, worked out once."""

    def __missing__(self, text: str | None) -> bytes:
        data = b"" if text is None else text.encode()
        piece = self[text] = _NULL if text is None else _size(len(data)) + data
        return piece


def blobs(values: Sequence[bytes | None]) -> Blobs:
    """Bytes."""
    pieces = [_NULL if value is None else _size(len(value)) + value for value in values]
    return Blobs(_head(1, None in values, 17, len(values), 1) + b"".join(pieces))


class _Packed(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _Ints(_Packed):
    oid = 1016


class _Floats(_Packed):
    oid = 1022


class _Texts(_Packed):
    oid = 1009


class _Blobs(_Packed):
    oid = 1001


def register(adapters: AdaptersMap) -> None:
    """Let a connection take them."""
    for kind, dumper in ((Ints, _Ints), (Floats, _Floats), (Texts, _Texts), (Blobs, _Blobs)):
        adapters.register_dumper(kind, dumper)
