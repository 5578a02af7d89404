"""Users' values to canonical JSON bytes, and back.

What JSON knows is written as it is; a few other types as an object with one key, a tag that starts with `$`.
An annotation brings models back as themselves (pydantic); without one they come back as plain dicts.

This module is the door and the writing half; `tags` holds the table and the reading half, `typed` the annotations.

It never imports, calls or looks up what bytes name, and has no second serialiser to fall back on. It loads
pydantic only when a model, or an annotation that says more than JSON does, asks for it. It does no I/O.

C1  Equal values of equal types give equal bytes: keys sorted, UTF-8; sets and maps sorted by encoded key.
C2  The tags are those in `tags`; another, or a payload that `encode` does not write, is `JournalCorrupt`.
C3  A user's key that starts with `$` gets one more, so no user value can read as a tag.
C4  Limits: 100 MiB, 100 levels of text (a tagged value takes two, a map three), integers of 4,096 bits; no
    cycle, NUL or lone surrogate. `encode` says where (`Unencodable`); foreign bytes are `JournalCorrupt`.
C5  `encode(decode(data)) == data` for every `data` that `encode` wrote.
C6  Subclasses are written by value, an enum as its value, a time zone as its offset. Types that only an
    annotation can bring back from text (paths, IP addresses, URLs) are written only under one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final, NoReturn

from holdfast.core import small_json
from holdfast.errors import Unencodable
from holdfast.journal.tags import DEPTH_MAX, INT_END, SINGLES, SIZE_MAX, UNSAFE, is_plain, parse, told, type_name, untag
from holdfast.journal.tags import Opaque as Opaque
from holdfast.journal.typed import TEXT_MODULES, adapter_of, dump

FORMAT: Final = 1
"""Version of this encoding; it changes when old bytes would read as something else."""

_TOO_LARGE: Final = "more than 100 MiB once encoded"
_encoder: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


_dumps: Final = small_json.writer(_encoder)
_quoted: Final = json.encoder.encode_basestring


def encode(value: Any, annotation: Any = None) -> bytes:
    """Canonical bytes of `value`, dumped as `annotation` says; raises `Unencodable` and nothing else."""
    typed = annotation is not None and type(value) is not Opaque and adapter_of(annotation) is not None
    if not typed and (data := _encode_plain(value)) is not None:
        return data
    tagger = _Tagger(typed)
    try:
        if typed:
            value = dump(annotation, value, round_trip=True)
        data = _dumps(tagger.tag(value)).encode()
    except Unencodable:
        raise
    except Exception as error:  # fields, serialisers and time zones are the user's code
        what = f"a value that cannot be read: {type(error).__name__}: {told(error.__str__)}"
        raise Unencodable(what, tagger.path()) from error
    if len(data) > SIZE_MAX:
        tagger.refuse(_TOO_LARGE)
    return data


def decode(data: bytes, annotation: Any = None) -> Any:
    """What `encode` was given, as `annotation` says; an `Opaque` is itself under any annotation.

    Raises `JournalCorrupt` for bytes that `encode` did not write, `Unencodable` for an annotation without a
    schema, and pydantic's `ValidationError` (a `ValueError`) when sound bytes do not fit the annotation: the
    code has changed, or the value never fitted.
    """
    tree = parse(data)
    if annotation is None or type(tree) is Opaque or (adapter := adapter_of(annotation)) is None:
        return tree
    return adapter.validate_python(tree, by_alias=False, by_name=True)


def digest(data: bytes) -> str:
    """The first 32 hex characters of SHA-256: how the arguments of a step are addressed."""
    return hashlib.sha256(data).hexdigest()[:32]


def opaque(value: object) -> Opaque:
    """What to record when `value` cannot be encoded; never raises, whatever its `repr` does."""
    return Opaque(type_name(value), told(lambda: repr(value)))


# Plain values: one walk, then the C encoder.


def _encode_plain(value: Any) -> bytes | None:
    """The bytes of a value that needs no tag and breaks no limit; `None`: the tagger must decide."""
    if type(value) is str:
        return _encode_text(value)
    try:
        is_flat = _is_flat(value)
        if not is_flat and not is_plain(value):
            return None
        text = _dumps(value)
        if is_flat and len(text) > _SHORT and not is_plain(value):
            return None
        data = text.encode()
    except (ValueError, RecursionError):  # NaN, a lone surrogate: the tagger knows where
        return None
    dollar = "$" in text and ('{"$' in text or ',"$' in text)
    if dollar or len(data) > SIZE_MAX or ("\\" in text and "\\u0000" in text):
        return None
    return data


def _encode_text(value: str) -> bytes | None:
    """The same for a text: in one, a `$` is never the beginning of a key."""
    text = _quoted(value)
    try:
        data = text.encode()
    except ValueError:  # a lone surrogate
        return None
    return None if len(data) > SIZE_MAX or ("\\" in text and "\\u0000" in text) else data


_SHORT: Final = 1_000
"""Characters: so short a text holds no integer of too many bits."""
_ATOMS: Final = frozenset({int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
_FEW: Final = 64
"""Values, each of them no longer text than this times `_SHORT`: nothing that it would hurt to write down whole."""


def _is_flat(value: Any) -> bool:
    """Whether it is, or holds, nothing but a few of JSON's own scalars. A cheap look: most arguments are like that."""
    kind = type(value)
    if kind is list:
        held = value
    elif kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        held = (*value, *value.values()) if len(value) <= _FEW else ()
    else:
        return kind in _ATOMS
    if len(value) > _FEW:
        return False
    for each in held:
        if type(each) is str:
            if len(each) > _FEW * _SHORT:
                return False
        elif type(each) not in _ATOMS:
            return False
    return True


class _Tagger:
    """One encoding: turns a value into the tree that is written, and knows where it is."""

    def __init__(self, typed: bool) -> None:
        self.typed = typed
        self.trail: list[Any] = []
        self.open: set[int] = set()
        self.depth = self.size = 0
        self.built: dict[tuple[int, int], tuple[Any, Any, int]] = {}
        """By identity and depth: the value (which keeps its identity taken), its tree and its size."""

    def tag(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.string(value)
        if kind is bool or value is None:
            return value
        if issubclass(kind, Enum):
            return self.tag(value.value)
        if issubclass(kind, str):
            return self.string(str.__str__(value))
        if issubclass(kind, int):
            if not -INT_END < int.__int__(value) < INT_END:
                self.refuse("an integer of more than 4,096 bits; write it as text")
            return int.__int__(value)
        if issubclass(kind, float) and math.isfinite(value):
            return float.__float__(value)
        if issubclass(kind, dict | list | tuple | set | frozenset):
            return self.container(value, kind)
        for kinds, tag, write, _ in SINGLES:
            if issubclass(kind, kinds):
                return self.single(tag, write(value))
        return self.foreign(value, kind)

    def string(self, text: str) -> str:
        if "\0" in text or (not text.isascii() and UNSAFE.search(text)):
            self.refuse("text with " + ("NUL" if "\0" in text else "a lone surrogate"))
        self.grow(len(text))
        return text

    def single(self, tag: str, payload: Any) -> dict[str, Any]:
        parts, levels = (payload, 2) if type(payload) is list else ([payload], 1)
        self.deepen(levels)
        for part in parts:
            if type(part) is str:
                self.string(part)
        self.depth -= levels
        return {tag: payload}

    def container(self, value: Any, kind: type) -> Any:
        if issubclass(kind, list):
            return self.inside(value, 1, lambda: self.array(list.__iter__(value)))
        if issubclass(kind, tuple):
            return self.inside(value, 2, lambda: {"$tuple": self.array(tuple.__iter__(value))})
        if issubclass(kind, dict):
            named = all(issubclass(type(key), str) for key in dict.keys(value))
            build = self.object if named else self.map
            return self.inside(value, 1 if named else 3, lambda: build(dict.items(value)))
        base, tag = (set, "$set") if issubclass(kind, set) else (frozenset, "$frozenset")
        return self.inside(value, 2, lambda: {tag: self.elements(base.__iter__(value))})

    def inside(self, value: Any, levels: int, build: Callable[[], Any]) -> Any:
        """The tree of a container, which is built once however often it occurs at this depth."""
        key = (id(value), self.depth)
        if key in self.built:
            _, tree, size = self.built[key]
            self.grow(size)
            return tree
        if id(value) in self.open:
            self.refuse("a value that contains itself")
        self.deepen(levels)
        self.open.add(id(value))
        self.trail.append(None)
        before = self.size
        self.grow(1)
        tree = build()
        self.trail.pop()
        self.open.remove(id(value))
        self.depth -= levels
        self.built[key] = (value, tree, self.size - before)
        return tree

    def at(self, step: Any, value: Any) -> Any:
        self.trail[-1] = step
        self.grow(1)
        return self.tag(value)

    def array(self, values: Iterable[Any]) -> list[Any]:
        return [self.at(index, value) for index, value in enumerate(values)]

    def object(self, items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in items:
            name = self.at(str.__str__(key), key)
            name = f"${name}" if name[:1] == "$" else name
            if name in tree:
                self.refuse("a key whose text occurs twice")
            tree[name] = self.tag(value)
        return tree

    def map(self, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        rows = [[self.at(key, key), self.tag(value)] for key, value in items]
        self.check_distinct([key for key, _ in rows])
        return {"$map": sorted(rows, key=lambda row: _dumps(row[0]))}

    def elements(self, values: Iterable[Any]) -> list[Any]:
        trees = [self.at(..., value) for value in values]
        self.check_distinct(trees)
        return sorted(trees, key=_dumps)

    def check_distinct(self, trees: list[Any]) -> None:
        """Refuse keys or elements that would be fewer, or not hashable, once they are read back."""
        self.trail[-1] = None
        try:
            count = len(set(map(untag, trees)))
        except TypeError:
            self.refuse("a key or element that is not hashable once read back; use tuples")
        if count != len(trees):
            self.refuse("two keys or elements that are equal once read back")

    def foreign(self, value: Any, kind: type) -> Any:
        """A record without an annotation as a dict; text types under one as text; all else is refused."""
        if hasattr(kind, "__pydantic_fields__"):
            return self.inside(value, 0, lambda: self.at(None, dump(kind, value, round_trip=False)))
        if dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind) if hasattr(value, field.name)]
            return self.inside(value, 1, lambda: self.object((name, getattr(value, name)) for name in names))
        if self.typed and kind.__module__ in TEXT_MODULES:
            return self.string(str(value))
        else_hint = "use its str()" if kind.__module__ in TEXT_MODULES else "use a dict or a dataclass"
        hint = next((hint for kinds, hint in _HINTS if issubclass(kind, kinds)), else_hint)
        self.refuse(f"{type_name(value)}: {hint}")

    def deepen(self, levels: int) -> None:
        self.depth += levels
        if self.depth > DEPTH_MAX:
            self.refuse("nested deeper than 100 levels")

    def grow(self, size: int) -> None:
        """Count the least size it can have, so that the text of an exploding value is never made."""
        self.size += size
        if self.size > SIZE_MAX:
            self.refuse(_TOO_LARGE)

    def refuse(self, what: str) -> NoReturn:
        raise Unencodable(what, self.path())

    def path(self) -> str:
        return "$" + "".join(map(_step, self.trail))


_HINTS: Final[tuple[tuple[Any, str], ...]] = (
    (Awaitable, "await it first"),
    (io.IOBase, "read it, or name it by its path"),
    ((Iterator, AsyncIterator), "make it a list"),
    (Callable, "name it by a string"),
)


def _step(step: Any) -> str:
    if type(step) is str:
        plain = step.isidentifier() and step.isascii() and len(step) < 60
        return f".{step}" if plain else f"[{step[:60]!a}]"
    if type(step) is int and step.bit_length() < 64:
        return f"[{step}]"
    return "" if step is None else "{*}" if step is ... else f"[<{type(step).__name__}>]"
