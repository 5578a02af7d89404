"""The closed table of tags, the limits, and the way from bytes back to values.

`codec` writes what this table says and asks `parse` to read it; both sides of a tag stand in one row, so that
neither can change alone. What every module of the encoding needs is here too: `Opaque`, and `told`, which asks
users' objects for a text.

It never writes bytes, knows no annotation, and never imports, calls or looks up what bytes name. It does no I/O.

C2  The tags are those in this file; another, or a payload that `encode` does not write, is `JournalCorrupt`.
C3  A user's key that starts with `$` has one more in the bytes; here it loses it.
C4  Foreign bytes beyond the limits (100 MiB, 100 levels, integers of 4,096 bits, NUL, lone surrogates) are
    `JournalCorrupt` too; `parse` raises nothing else.
C5  A payload is taken only if writing what it says gives the same payload again.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

from holdfast.errors import JournalCorrupt

SIZE_MAX: Final = 100 * 1024 * 1024
DEPTH_MAX: Final = 100
INT_END: Final = 1 << 4096
_INT_DIGITS_MAX: Final = 1_234
_TEXT_MAX: Final = 2_000
_CROWD: Final = 10_000
UNSAFE: Final = re.compile("[\x00\ud800-\udfff]")
_FOREIGN_ESCAPE: Final = re.compile(r"\\u(?!00[01][0-9a-f])|\\u0000")
"""By number `encode` escapes control characters only; so NUL, surrogates and a hidden `$` stand out."""
_KEYS: Final = frozenset({str})
_ATOMS: Final = frozenset({float, bool, type(None)})


@dataclasses.dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a result that could not be encoded after its effect had happened."""

    type_name: str
    text: str
    """The result's `repr`: at most 2,000 characters, NUL and lone surrogates replaced."""


def type_name(value: object) -> str:
    """The name of its class, with the module's."""
    kind = type(value)
    return told(lambda: f"{kind.__module__}.{kind.__qualname__}")


def told(tell: Callable[[], str]) -> str:
    """What a user's object says about itself, cut and made safe to write; never raises."""
    try:
        text = str.__str__(tell())
    except BaseException:  # an effect has happened: nothing that user code does may lose its record
        text = "<its own code raised>"
    return UNSAFE.sub("\ufffd", text[:_TEXT_MAX])


def is_plain(value: Any) -> bool:
    """Whether it has JSON's own types only, no huge integer, and the depth and about the size allowed.

    Walks level by level; gives up when a crowded level holds one container twice: shared parts can explode.
    """
    level: list[Any] = [[value]]
    size = 0
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for node in level:
            children = node
            if type(node) is dict:
                if not _KEYS.issuperset(map(type, node)):
                    return False
                children = node.values()
            size += 1 + len(node)
            for child in children:
                kind = type(child)
                if kind is str:
                    size += len(child)
                elif kind is dict or kind is list:
                    below.append(child)
                elif kind is int:
                    if not -INT_END < child < INT_END:
                        return False
                elif kind not in _ATOMS:
                    return False
            if size > SIZE_MAX:
                return False
        if not below:
            return True
        if len(below) > _CROWD and len(set(map(id, below))) < len(below):
            return False
        level = below
    return False


# The closed registry.


def _moment(kind: Any, value: Any) -> Any:
    iso = kind.isoformat(value)
    # Pandas knows nanoseconds and NaT; CPython loses an offset below one second when it reads.
    if iso != value.isoformat() or iso != kind.isoformat(kind.fromisoformat(iso)):
        raise ValueError(f"{value!r} is no exact {kind.__name__}")
    return [iso, 1] if value.fold else iso


def _read_moment(kind: Any, payload: Any) -> Any:
    iso, fold = payload if type(payload) is list else (payload, 0)
    return kind.fromisoformat(iso).replace(fold=fold)


def _span(value: timedelta) -> list[int]:
    plain = timedelta.__pos__(value)  # subclasses redefine the three
    return [plain.days, plain.seconds, plain.microseconds]


SINGLES: Final[tuple[tuple[tuple[type, ...], str, Callable[[Any], Any], Callable[[Any], Any]], ...]] = (
    ((bytes, bytearray), "$bytes", lambda v: base64.b64encode(v).decode(), base64.b64decode),
    ((datetime,), "$datetime", partial(_moment, datetime), partial(_read_moment, datetime)),
    ((date,), "$date", lambda v: date.isoformat(v), date.fromisoformat),
    ((time,), "$time", partial(_moment, time), partial(_read_moment, time)),
    ((timedelta,), "$timedelta", _span, lambda p: timedelta(*p)),
    # A decimal context with capitals=0 writes a small e.
    ((Decimal,), "$decimal", lambda v: Decimal.__str__(v).replace("e", "E"), Decimal),
    ((UUID,), "$uuid", lambda v: UUID.__str__(v), UUID),
    ((float,), "$float", float.__repr__, {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.__getitem__),
    ((Opaque,), "$opaque", lambda v: [str(v.type_name), str(v.text)], lambda p: Opaque(*p)),
)
_READ_SINGLE: Final = {tag: (write, read) for _, tag, write, read in SINGLES}
_READ_MANY: Final[dict[str, Callable[[Any], Any]]] = {
    "$tuple": tuple, "$set": set, "$frozenset": frozenset, "$map": dict
}  # fmt: skip


# Back from bytes. Whatever is wrong is a ValueError in here, and JournalCorrupt outside.


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key occurs twice")
    return tree


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _bounded(text: str) -> int:
    if len(text) < _INT_DIGITS_MAX or (len(text) <= _INT_DIGITS_MAX + 1 and abs(int(text)) < INT_END):
        return int(text)
    raise ValueError("an integer of more than 4,096 bits")


_decoder_of = partial(json.JSONDecoder, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
_decode_short: Final = _decoder_of().raw_decode
"""For a text that is too short to hold an integer of too many bits; most are, and it is faster."""
_decode_long: Final = _decoder_of(parse_int=_bounded).raw_decode


def parse(data: bytes) -> Any:
    """The value that `encode` wrote as these bytes; records as dicts."""
    try:
        if len(data) > SIZE_MAX:
            raise ValueError("more than 100 MiB")
        text = data.decode()
        if "\\" in text and _FOREIGN_ESCAPE.search(text.replace("\\\\", "")):
            raise ValueError("an escape that encode does not write")
        tree, end = _decode_short(text) if len(text) < _INT_DIGITS_MAX else _decode_long(text)
        if end != len(text):
            raise ValueError(f"something follows the value, at {end}")
        if text.count("[") + text.count("{") > DEPTH_MAX and not is_plain(tree):
            raise ValueError("nested deeper than 100 levels")
        return untag(tree) if "$" in text and '"$' in text else tree
    except (ValueError, RecursionError) as error:
        what = f"These bytes are no value that holdfast wrote: {str(error)[:200]}. Nothing of them was used."
        raise JournalCorrupt(what) from None


def untag(tree: Any) -> Any:
    """The value of a tree as JSON reads it; raises `ValueError` for a tag or payload that `encode` does not write."""
    kind = type(tree)
    if kind is list:
        return [untag(child) for child in tree]
    if kind is not dict:
        return tree
    if len(tree) == 1:
        ((key, payload),) = tree.items()
        if key[:1] == "$" and key[:2] != "$$":
            return _read(key, payload)
    return {_unescape(key): untag(child) for key, child in tree.items()}


def _unescape(key: str) -> str:
    if key[:1] == "$" and key[:2] != "$$":
        raise ValueError("a tag beside other keys")
    return key[1:] if key[:1] == "$" else key


def _read(tag: str, payload: Any) -> Any:
    try:
        if tag in _READ_SINGLE:
            write, read = _READ_SINGLE[tag]
            value = read(payload)
            exact = repr(write(value)) == repr(payload)
        else:
            value = _READ_MANY[tag](untag(payload))
            pairs = tag != "$map" or all(type(row) is list and len(row) == 2 for row in payload)
            exact = type(payload) is list and len(value) == len(payload) and pairs
    except (TypeError, ArithmeticError, AttributeError, LookupError):
        value, exact = None, False
    if not exact:
        raise ValueError(f"the tag {tag[:40]!a}, or its payload, is none that encode writes")
    return value
