"""Users' values to canonical JSON bytes, and back.

What JSON knows is written as it is; a few other types as an object with one key, a tag that starts with `$`.
An annotation brings models back as themselves (pydantic); without one they come back as plain dicts.

It never imports, calls or looks up what bytes name, and has no second serialiser to fall back on. It loads
pydantic only when a model, or an annotation that says more than JSON does, asks for it. It does no I/O.

C1  Equal values of equal types give equal bytes: keys sorted, UTF-8; sets and maps sorted by encoded key.
C2  The tags are those in this file; another, or a payload that `encode` does not write, is `JournalCorrupt`.
C3  A user's key that starts with `$` gets one more, so no user value can read as a tag.
C4  Limits: 64 MiB, 100 levels of text (a tagged value takes two, a map three), integers of 4,096 bits; no
    cycle, NUL or lone surrogate. `encode` says where (`Unencodable`); foreign bytes are `JournalCorrupt`.
C5  `encode(decode(data)) == data` for every `data` that `encode` wrote.
C6  Subclasses are written by value, an enum as its value, a time zone as its offset. Types that only an
    annotation can bring back from text (paths, IP addresses, URLs) are written only under one.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import math
import re
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NoReturn,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

from holdfast.errors import JournalCorrupt, Unencodable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT: Final = 1
"""Version of this encoding; it changes when old bytes would read as something else."""

_SIZE_MAX: Final = 64 * 1024 * 1024
_TOO_LARGE: Final = "more than 64 MiB once encoded"
_DEPTH_MAX: Final = 100
_INT_END: Final = 1 << 4096
_INT_DIGITS_MAX: Final = 1_234
_TEXT_MAX: Final = 2_000
_CROWD: Final = 10_000
_ADAPTERS_MAX: Final = 512
_UNSAFE: Final = re.compile("[\x00\ud800-\udfff]")
_FOREIGN_ESCAPE: Final = re.compile(r"\\u(?!00[01][0-9a-f])|\\u0000")
"""By number `encode` escapes control characters only; so NUL, surrogates and a hidden `$` stand out."""
_KEYS: Final = frozenset({str})
_ATOMS: Final = frozenset({float, bool, type(None)})
_dumps: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Opaque:
    """Stands for a result that could not be encoded after its effect had happened."""

    type_name: str
    text: str
    """The result's `repr`: at most 2,000 characters, NUL and lone surrogates replaced."""


def encode(value: Any, annotation: Any = None) -> bytes:
    """Canonical bytes of `value`, dumped as `annotation` says; raises `Unencodable` and nothing else."""
    typed = annotation is not None and type(value) is not Opaque and _adapter(annotation) is not None
    if not typed and (data := _encode_plain(value)) is not None:
        return data
    tagger = _Tagger(typed)
    try:
        if typed:
            value = _dump(annotation, value, round_trip=True)
        data = _dumps(tagger.tag(value)).encode()
    except Unencodable:
        raise
    except Exception as error:  # fields, serialisers and time zones are the user's code
        what = f"a value that cannot be read: {type(error).__name__}: {_told(error.__str__)}"
        raise Unencodable(what, tagger.path()) from error
    if len(data) > _SIZE_MAX:
        tagger.refuse(_TOO_LARGE)
    return data


def decode(data: bytes, annotation: Any = None) -> Any:
    """What `encode` was given, as `annotation` says; an `Opaque` is itself under any annotation.

    Raises `JournalCorrupt` for bytes that `encode` did not write, `Unencodable` for an annotation without a
    schema, and pydantic's `ValidationError` (a `ValueError`) when sound bytes do not fit the annotation: the
    code has changed, or the value never fitted.
    """
    tree = _parse(data)
    if annotation is None or type(tree) is Opaque or (adapter := _adapter(annotation)) is None:
        return tree
    return adapter.validate_python(tree, by_alias=False, by_name=True)


def digest(data: bytes) -> str:
    """The first 32 hex characters of SHA-256: how the arguments of a step are addressed."""
    return hashlib.sha256(data).hexdigest()[:32]


def opaque(value: object) -> Opaque:
    """What to record when `value` cannot be encoded; never raises, whatever its `repr` does."""
    return Opaque(_type_name(value), _told(lambda: repr(value)))


def _type_name(value: object) -> str:
    kind = type(value)
    return _told(lambda: f"{kind.__module__}.{kind.__qualname__}")


def _told(tell: Callable[[], str]) -> str:
    try:
        text = str.__str__(tell())
    except BaseException:  # an effect has happened: nothing that user code does may lose its record
        text = "<its own code raised>"
    return _UNSAFE.sub("\ufffd", text[:_TEXT_MAX])


# Plain values: one walk, then the C encoder.


def _encode_plain(value: Any) -> bytes | None:
    """The bytes of a value that needs no tag and breaks no limit; `None`: the tagger must decide."""
    try:
        if type(value) is not str and not _is_plain(value):
            return None
        text = _dumps(value)
        data = text.encode()
    except (ValueError, RecursionError):  # NaN, a lone surrogate: the tagger knows where
        return None
    dollar = "$" in text and ('{"$' in text or ',"$' in text)
    if dollar or len(data) > _SIZE_MAX or ("\\" in text and "\\u0000" in text):
        return None
    return data


def _is_plain(value: Any) -> bool:
    """Whether it has JSON's own types only, no huge integer, and the depth and about the size allowed.

    Walks level by level; gives up when a crowded level holds one container twice: shared parts can explode.
    """
    level: list[Any] = [[value]]
    size = 0
    for _ in range(_DEPTH_MAX + 1):
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
                    if not -_INT_END < child < _INT_END:
                        return False
                elif kind not in _ATOMS:
                    return False
            if size > _SIZE_MAX:
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


_SINGLES: Final[tuple[tuple[tuple[type, ...], str, Callable[[Any], Any], Callable[[Any], Any]], ...]] = (
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
_READ_SINGLE: Final = {tag: (write, read) for _, tag, write, read in _SINGLES}
_READ_MANY: Final[dict[str, Callable[[Any], Any]]] = {
    "$tuple": tuple, "$set": set, "$frozenset": frozenset, "$map": dict
}  # fmt: skip


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
            if not -_INT_END < int.__int__(value) < _INT_END:
                self.refuse("an integer of more than 4,096 bits; write it as text")
            return int.__int__(value)
        if issubclass(kind, float) and math.isfinite(value):
            return float.__float__(value)
        if issubclass(kind, dict | list | tuple | set | frozenset):
            return self.container(value, kind)
        for kinds, tag, write, _ in _SINGLES:
            if issubclass(kind, kinds):
                return self.single(tag, write(value))
        return self.foreign(value, kind)

    def string(self, text: str) -> str:
        if "\0" in text or (not text.isascii() and _UNSAFE.search(text)):
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
            count = len(set(map(_untag, trees)))
        except TypeError:
            self.refuse("a key or element that is not hashable once read back; use tuples")
        if count != len(trees):
            self.refuse("two keys or elements that are equal once read back")

    def foreign(self, value: Any, kind: type) -> Any:
        """A record without an annotation as a dict; text types under one as text; all else is refused."""
        if hasattr(kind, "__pydantic_fields__"):
            return self.inside(value, 0, lambda: self.at(None, _dump(kind, value, round_trip=False)))
        if dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind) if hasattr(value, field.name)]
            return self.inside(value, 1, lambda: self.object((name, getattr(value, name)) for name in names))
        if self.typed and kind.__module__ in _TEXT_MODULES:
            return self.string(str(value))
        else_hint = "use its str()" if kind.__module__ in _TEXT_MODULES else "use a dict or a dataclass"
        hint = next((hint for kinds, hint in _HINTS if issubclass(kind, kinds)), else_hint)
        self.refuse(f"{_type_name(value)}: {hint}")

    def deepen(self, levels: int) -> None:
        self.depth += levels
        if self.depth > _DEPTH_MAX:
            self.refuse("nested deeper than 100 levels")

    def grow(self, size: int) -> None:
        """Count the least size it can have, so that the text of an exploding value is never made."""
        self.size += size
        if self.size > _SIZE_MAX:
            self.refuse(_TOO_LARGE)

    def refuse(self, what: str) -> NoReturn:
        raise Unencodable(what, self.path())

    def path(self) -> str:
        return "$" + "".join(map(_step, self.trail))


_TEXT_MODULES: Final = frozenset({"pathlib", "pathlib._local", "ipaddress", "pydantic.networks"})
"""Home of types that pydantic leaves as they are when it dumps, and reads from text."""
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


# Annotations: pydantic, and only where it has something to say.

_JSON: Final = (None, type(None), Any, object, str, int, float, bool, dict, list)
_TRIVIAL: Final = (*_JSON, bytes, datetime, date, time, timedelta, Decimal, UUID)
_TRANSPARENT: Final = (Union, types.UnionType, dict, list, Required, NotRequired)
_ADAPTERS: Final[dict[int, tuple[Any, TypeAdapter[Any] | None]]] = {}
"""By identity, which needs no hash; the annotation is kept, so that its identity stays taken."""


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
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
        what = f"no schema for {_told(lambda: repr(annotation))}: {_told(error.__str__)}"
        raise Unencodable(what) from error


def _is_trivial(annotation: Any, outer: tuple[Any, ...]) -> bool:
    """Also for a TypedDict of such types, of which pydantic knows nothing before Python 3.12."""
    if any(annotation is kind for kind in (*_TRIVIAL, *outer)):
        return True
    if is_typeddict(annotation):
        fields = get_type_hints(annotation, include_extras=True).values()
        return all(_is_trivial(field, (*outer, annotation)) for field in fields)
    return get_origin(annotation) in _TRANSPARENT and all(_is_trivial(a, outer) for a in get_args(annotation))


def _dump(annotation: Any, value: Any, *, round_trip: bool) -> Any:
    """`value` in Python's own types, by field name; `round_trip` leaves out what reading would not take."""
    adapter = _adapter(annotation)
    return adapter and adapter.dump_python(value, by_alias=False, round_trip=round_trip, warnings=False)


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
    if len(text) < _INT_DIGITS_MAX or (len(text) <= _INT_DIGITS_MAX + 1 and abs(int(text)) < _INT_END):
        return int(text)
    raise ValueError("an integer of more than 4,096 bits")


_decoder_of = partial(json.JSONDecoder, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
_decode_short: Final = _decoder_of().raw_decode
"""For a text that is too short to hold an integer of too many bits; most are, and it is faster."""
_decode_long: Final = _decoder_of(parse_int=_bounded).raw_decode


def _parse(data: bytes) -> Any:
    try:
        if len(data) > _SIZE_MAX:
            raise ValueError("more than 64 MiB")
        text = data.decode()
        if "\\" in text and _FOREIGN_ESCAPE.search(text.replace("\\\\", "")):
            raise ValueError("an escape that encode does not write")
        tree, end = _decode_short(text) if len(text) < _INT_DIGITS_MAX else _decode_long(text)
        if end != len(text):
            raise ValueError(f"something follows the value, at {end}")
        if text.count("[") + text.count("{") > _DEPTH_MAX and not _is_plain(tree):
            raise ValueError("nested deeper than 100 levels")
        return _untag(tree) if "$" in text and '"$' in text else tree
    except (ValueError, RecursionError) as error:
        what = f"These bytes are no value that holdfast wrote: {str(error)[:200]}. Nothing of them was used."
        raise JournalCorrupt(what) from None


def _untag(tree: Any) -> Any:
    kind = type(tree)
    if kind is list:
        return [_untag(child) for child in tree]
    if kind is not dict:
        return tree
    if len(tree) == 1:
        ((key, payload),) = tree.items()
        if key[:1] == "$" and key[:2] != "$$":
            return _read(key, payload)
    return {_unescape(key): _untag(child) for key, child in tree.items()}


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
            value = _READ_MANY[tag](_untag(payload))
            pairs = tag != "$map" or all(type(row) is list and len(row) == 2 for row in payload)
            exact = type(payload) is list and len(value) == len(payload) and pairs
    except (TypeError, ArithmeticError, AttributeError, LookupError):
        value, exact = None, False
    if not exact:
        raise ValueError(f"the tag {tag[:40]!a}, or its payload, is none that encode writes")
    return value
