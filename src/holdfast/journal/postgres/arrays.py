"""Columns of values as Postgres takes them, packed here: element by element, psycopg takes longer than the server.

A column has one type whatever is in it, so that a statement is prepared once. `None` is NULL.

Never: knows a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, error, pack
from typing import Final

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
    pieces = _Pieces()
    return _head(1, None in values, 25, len(values), 1) + b"".join([pieces[value] for value in values])


class _Pieces(dict[str | None, bytes]):
    """Each text as it is sent, worked out once."""

    def __missing__(self, text: str | None) -> bytes:
        data = b"" if text is None else str.encode(text)
        piece = self[text] = _NULL if text is None else _size(len(data)) + data
        return piece


def blobs(values: Sequence[bytes | None]) -> bytes:
    """Bytes, a `bytea[]`."""
    pieces = [_NULL if value is None else _size(len(value)) + value for value in values]
    return _head(1, None in values, 17, len(values), 1) + b"".join(pieces)
