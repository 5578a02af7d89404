"""The codec: exact round trips, one text per value, typed refusals, and nothing but errors from hostile bytes."""

import collections
import dataclasses
import decimal
import enum
import io
import ipaddress
import math
import os
import pathlib
import subprocess
import sys
import threading
import tracemalloc
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Optional, Required, TypedDict
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    RootModel,
    SecretStr,
    ValidationError,
    computed_field,
    field_serializer,
)
from typing_extensions import TypedDict as TypedDictForPydantic

from holdfast.errors import JournalCorrupt, Unencodable
from holdfast.journal.codec import FORMAT, Opaque, decode, digest, encode, opaque

MIB = 1024 * 1024


# Values of every supported type.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
awkward = st.sampled_from(["", "$", "$$", "$bytes", "$$x", "$map", '"$', "\\u0000", '{"$', "\x1f", "\u2028", "😀"])
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
moments = st.datetimes(timezones=st.none() | offsets | st.just(UTC))
times = st.times(timezones=st.none() | offsets)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**4096) + 1, 2**4096 - 1),
    st.integers(),
    st.floats(),
    texts | awkward,
    st.binary(max_size=20),
    moments | st.builds(lambda at: at.replace(fold=1), moments),
    times | st.builds(lambda at: at.replace(fold=1), times),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.builds(Opaque, texts, texts),
)
keys = st.recursive(
    hashables, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
)
values = st.recursive(
    hashables | st.decimals(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts | awkward, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
    ),
    max_leaves=12,
)


def exact(value: Any) -> str:
    """A text that differs wherever two values differ, be it in type, sign, zone, fold or NaN."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return f"{kind}{sorted((exact(key), exact(item)) for key, item in value.items())}"
    if isinstance(value, set | frozenset):
        return f"{kind}{sorted(map(exact, value))}"
    if isinstance(value, list | tuple):
        return f"{kind}{[exact(item) for item in value]}"
    return f"{kind} {value!r}"


def stack_height() -> int:
    frame, height = sys._getframe(), 0
    while frame.f_back:
        frame, height = frame.f_back, height + 1
    return height


def refused(value: Any, annotation: Any = None) -> Unencodable:
    with pytest.raises(Unencodable) as caught:
        encode(value, annotation)
    assert type(caught.value) is Unencodable
    return caught.value


def nest(levels: int, inner: Any, wrap: Callable[[Any], Any] = lambda value: [value]) -> Any:
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@given(values)
def test_every_value_comes_back_exactly(value: Any) -> None:
    """Else an agent reads after a crash something other than what its step returned."""
    data = encode(value)
    again = decode(data)
    assert exact(again) == exact(value)
    assert encode(again) == data


@given(st.dictionaries(texts | awkward, values, max_size=5), st.randoms())
def test_equal_dicts_give_equal_bytes(value: dict[str, Any], chance: Any) -> None:
    """Else a replayed step with the same arguments has another address, and its effect runs a second time."""
    items = list(value.items())
    chance.shuffle(items)
    assert encode(dict(items)) == encode(value)


@given(st.lists(keys, max_size=5, unique=True), st.randoms())
def test_sets_and_maps_give_equal_bytes_in_any_order(elements: list[Any], chance: Any) -> None:
    """Else the order of a hash table, which changes with each process, changes a step's address."""
    shuffled = list(elements)
    chance.shuffle(shuffled)
    assert encode(set(shuffled)) == encode(set(elements))
    assert encode(dict.fromkeys(shuffled)) == encode(dict.fromkeys(elements))


@given(st.dictionaries(awkward, awkward | st.lists(awkward), max_size=3))
def test_keys_that_look_like_tags_stay_data(value: dict[str, Any]) -> None:
    """Else text from a model becomes an object of its choosing."""
    assert decode(encode(value)) == value
    assert decode(encode([value, b""])) == [value, b""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"b": [1, True, 1.0], "a": "é"}, '{"a":"é","b":[1,true,1.0]}'),
        (b"\x00\xff", '{"$bytes":"AP8="}'),
        (datetime(2026, 11, 23, 4, 5, 6, 7, UTC), '{"$datetime":"2026-11-23T04:05:06.000007+00:00"}'),
        (datetime(2026, 10, 25, 2, 30, fold=1), '{"$datetime":["2026-10-25T02:30:00",1]}'),
        (date(2026, 11, 23), '{"$date":"2026-11-23"}'),
        (time(4, 5), '{"$time":"04:05:00"}'),
        (timedelta(days=-1, microseconds=3), '{"$timedelta":[-1,0,3]}'),
        (Decimal("1.10"), '{"$decimal":"1.10"}'),
        (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (math.nan, '{"$float":"nan"}'),
        (-math.inf, '{"$float":"-inf"}'),
        ((1, (2,)), '{"$tuple":[1,{"$tuple":[2]}]}'),
        ({"b", "a", 1}, '{"$set":["a","b",1]}'),
        (frozenset([b"b", b"a"]), '{"$frozenset":[{"$bytes":"YQ=="},{"$bytes":"Yg=="}]}'),
        ({2: "b", "a": 1, 1: "a"}, '{"$map":[["a",1],[1,"a"],[2,"b"]]}'),
        (Opaque("a.B", "<B>"), '{"$opaque":["a.B","<B>"]}'),
        ({"$bytes": "$", "$$x": 1}, '{"$$$x":1,"$$bytes":"$"}'),
    ],
)
def test_the_bytes_of_format_1(value: Any, text: str) -> None:
    """Else a journal that an older version wrote reads as something else, with `FORMAT` unchanged."""
    assert FORMAT == 1
    assert encode(value).decode() == text
    assert exact(decode(text.encode())) == exact(value)


def test_numbers_that_python_calls_equal_stay_apart() -> None:
    """Else `f(1)` takes the recorded answer of `f(True)`, or a negative zero changes sign on replay."""
    assert len({encode(1), encode(True), encode(1.0)}) == 3
    assert encode(-0.0) == b"-0.0"
    assert math.copysign(1, decode(b"-0.0")) == -1


# Subclasses and records, by value.


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    DOLLAR = "$bytes"


class Text(str):
    def __str__(self) -> str:
        return "not the value"


class Number(int):
    def __repr__(self) -> str:
        return "not the value"


class Point(NamedTuple):
    x: int
    label: bytes


@dataclasses.dataclass
class Parcel:
    price: Decimal
    sent_at: datetime
    parts: list["Parcel"] = dataclasses.field(default_factory=list)


class Invoice(BaseModel):
    number: int
    scan: bytes
    due_at: datetime
    total: Decimal
    lines: list[Parcel] = []


class Options(TypedDict, total=False):
    deadline: Required[datetime]
    key: bytes | None
    inner: list["Options"]


NOW = datetime(2026, 11, 23, 4, 0, tzinfo=timezone(timedelta(hours=1)))
PARCEL = Parcel(Decimal("1.10"), NOW, [Parcel(Decimal("-0"), NOW)])
INVOICE = Invoice(number=1, scan=b"\xff", due_at=NOW, total=Decimal("1E+3"), lines=[PARCEL])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Colour.PAIR, (1, 2)),
        (Level.LOW, 1),
        ({Word.DOLLAR: Word.DOLLAR}, {"$bytes": "$bytes"}),
        ({Colour.RED: 1}, {"red": 1}),
        (Text("value"), "value"),
        ([Number(7)], [7]),
        (collections.OrderedDict(b=1, a=2), {"a": 2, "b": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (type("Rows", (list,), {})([1]), [1]),
        (type("Ratio", (float,), {})(0.5), 0.5),
        (type("Gap", (timedelta,), {"days": 9})(1), timedelta(1)),
        (bytearray(b"a"), b"a"),
        (Point(1, b"a"), (1, b"a")),
        ({Point(1, b"a")}, {(1, b"a")}),
        (
            datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("UTC")),
            datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=UTC),
        ),
        ([PARCEL.parts[0]], [{"price": Decimal("-0"), "sent_at": NOW, "parts": []}]),
        (RootModel[bytes](b"a"), b"a"),
        (RootModel[int](1), 1),
    ],
)
def test_subclasses_and_records_are_written_by_value(value: Any, plain: Any) -> None:
    """Else the same argument, as an enum or as its value, is two steps."""
    assert exact(decode(encode(value))) == exact(plain)


def test_a_model_without_an_annotation_is_a_dict_of_its_fields() -> None:
    """Else a step without annotations cannot return a model at all."""
    read = decode(encode({"invoices": [INVOICE, INVOICE]}))["invoices"][1]
    assert read["scan"] == b"\xff" and read["lines"][0]["parts"][0]["price"].as_tuple().sign == 1


# Annotations.


class Ledger(TypedDictForPydantic):
    invoice: Invoice


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)
    net: int = Field(validation_alias="in", serialization_alias="out")

    @computed_field
    def gross(self) -> int:
        return self.net * 2


class Linked(BaseModel):
    page: HttpUrl
    path: pathlib.PurePosixPath
    address: ipaddress.IPv6Address
    colour: Colour


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (INVOICE, Invoice),
        ([INVOICE, INVOICE], list[Invoice]),
        ({"a": INVOICE}, dict[str, Invoice]),
        (PARCEL, Parcel),
        (Options(deadline=NOW, key=b"\x00", inner=[Options(deadline=NOW)]), Options),
        ([Options(deadline=NOW)], list[Options]),
        (Ledger(invoice=INVOICE), Ledger),
        (Point(1, b"\xff"), Point),
        ({Point(1, b"\xff")}, set[Point]),
        ("b", Literal["a", "b"]),
        (None, Optional[Invoice]),  # noqa: UP045 - the old spelling must work, too
        (INVOICE, Invoice | None),
        (Colour.PAIR, Colour),
        (Level.LOW, Level),
        ((1, b"a"), tuple[int, bytes]),
        (frozenset([NOW]), frozenset[datetime]),
        ({1: b"a"}, dict[int, bytes]),
        (Decimal("0.10"), Decimal),
        (3, Annotated[int, Field(gt=2), ["unhashable"]]),
        ([1, 2], Iterable[int]),
        (Aliased.model_validate({"in": 1}), Aliased),
        (
            Linked(
                page=HttpUrl("https://a.example/?q=1"),
                path=pathlib.PurePosixPath("/a"),
                address=ipaddress.IPv6Address("::1"),
                colour=Colour.RED,
            ),
            Linked,
        ),
        ({1: [b"a"]}, Any),
        ({"a": [1, None]}, dict[str, list[int | None]]),
    ],
)
def test_an_annotation_brings_the_value_back_as_itself(value: Any, annotation: Any) -> None:
    """Else a typed agent gets dicts, strings for bytes, or a rounded amount, but only on replay."""
    data = encode(value, annotation)
    again = decode(data, annotation)
    assert again == value and type(again) is type(value)
    assert encode(again, annotation) == data


def test_sound_bytes_that_do_not_fit_the_annotation_are_no_corruption() -> None:
    """Else a changed return type looks like a broken disk, or goes through as a half-made model."""
    with pytest.raises(ValidationError):
        decode(encode({"number": 1}), Invoice)


def test_an_annotation_without_a_schema_is_refused_with_its_name() -> None:
    """Else pydantic's own error, which no caller expects, ends the run after an effect."""
    assert "Thread" in str(refused(1, threading.Thread))


def test_many_annotations_do_not_pile_up() -> None:
    """Else annotations made in a loop leak schemas, or a stale one is taken for a new one of the same identity."""
    for length in range(1, 600):
        assert decode(encode("a", Literal["a"])) == "a"
        narrow = Annotated[str, Field(max_length=length)]
        assert decode(encode("x" * length, narrow), narrow) == "x" * length
        if length % 100 == 0:
            with pytest.raises(ValidationError):
                decode(encode("x" * length + "x"), narrow)


# Limits: each names its place.


class Angry(BaseModel):
    @computed_field
    def total(self) -> int:
        raise ZeroDivisionError("no items")


class Shouting(BaseModel):
    word: str

    @field_serializer("word")
    def loud(self, word: str) -> str:
        raise LookupError("not today")


class Vault(BaseModel):
    key: SecretStr


@dataclasses.dataclass(frozen=True)
class Frozen:
    number: int


class Flavour(enum.Enum):
    ONE = 1


class Own(str):
    """Text that is equal to itself only."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Nowhere(tzinfo):
    """A time zone that knows no offset, and says so by an error."""

    def utcoffset(self, at: datetime | None) -> timedelta | None:
        raise NotImplementedError

    dst = utcoffset

    def tzname(self, at: datetime | None) -> str | None:
        return None


class Nano(datetime):
    """Like pandas: finer than a datetime can say."""

    def isoformat(self, *_: Any) -> str:
        return super().isoformat() + "001"


class Awkward:
    """Nothing that a hint knows."""


class Awaited:
    def __await__(self) -> Iterator[None]:
        yield


def looped() -> list[Any]:
    ring: list[Any] = [1]
    ring.append({"self": ring})
    return ring


def shared(levels: int) -> Any:
    return nest(levels, [], lambda value: [value, value])


@dataclasses.dataclass
class Node:
    name: str
    next: Any = None


def ring_of_nodes() -> Node:
    node = Node("a")
    node.next = Node("b", [node])
    return node


MEBI_TEXT = "x" * MIB
SAME = "equal once read back"
HASH = "not hashable once read back"
REFUSALS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "object": (lambda: {"items": [0, 1, 2, {"price": object()}]}, "$.items[3].price", "builtins.object"),
    "surrogate": (lambda: "\udfff", "$", "surrogate"),
    "surrogate in an odd place": (lambda: {"a b": "\ud800"}, "$['a b']", "surrogate"),
    "surrogate in a key": (lambda: {"\ud800": 1}, "$['\\ud800']", "surrogate"),
    "surrogate in an opaque": (lambda: [Opaque("a", "\ud800")], "$[0]", "surrogate"),
    "NUL": (lambda: {"a": ["b\0"]}, "$.a[0]", "NUL"),
    "NUL in a key": (lambda: {"a\0": 1}, "$['a\\x00']", "NUL"),
    "NUL in a map": (lambda: {1: {2: "\0"}}, "$[1][2]", "NUL"),
    "NUL in a set in a map": (lambda: {b"k": {"\0"}}, "$[<bytes>]{*}", "NUL"),
    "integer": (lambda: [2**4096], "$[0]", "4,096 bits"),
    "negative integer": (lambda: [b"", -(2**4096)], "$[1]", "4,096 bits"),
    "integer of too many digits to print": (lambda: {10**5000: 1}, "$[<int>]", "4,096 bits"),
    "lists": (lambda: nest(101, 1), "$" + "[0]" * 100, "100 levels"),
    "dicts": (lambda: nest(101, 1, lambda value: {"a": value}), "$" + ".a" * 100, "100 levels"),
    "tagged leaf": (lambda: nest(100, b"a"), "$" + "[0]" * 100, "100 levels"),
    "tuples": (lambda: nest(51, 1, lambda value: (value,)), "$" + "[0]" * 50, "100 levels"),
    "maps": (lambda: nest(34, 1, lambda value: {1: value}), "$" + "[1]" * 33, "100 levels"),
    "very deep": (lambda: nest(100_000, 1), "$" + "[0]" * 100, "100 levels"),
    "cycle": (looped, "$[1].self", "itself"),
    "cycle of dataclasses": (ring_of_nodes, "$.next.next[0]", "itself"),
    "text": (lambda: "x" * (100 * MIB - 1), "$", "100 MiB"),
    "text once escaped": (lambda: "\x01" * 17 * MIB, "$", "100 MiB"),
    "sum of texts": (lambda: {"a": [MEBI_TEXT] * 101}, "$.a[99]", "100 MiB"),
    "generator": (lambda: {"a": (n for n in [1])}, "$.a", "make it a list"),
    "function": (lambda: len, "$", "name it by a string"),
    "class": (lambda: [Colour], "$[0]", "name it by a string"),
    "file": (io.BytesIO, "$", "read it"),
    "awaitable": (lambda: {"a": Awaited()}, "$.a", "await it first"),
    "path": (lambda: [pathlib.PurePath("a")], "$[0]", "use its str()"),
    "mapping": (lambda: MappingProxyType({}), "$", "mappingproxy"),
    "secret": (lambda: {"key": SecretStr("a")}, "$.key", "SecretStr"),
    "field that raises": (lambda: {"a": [Angry()]}, "$.a[0]", "no items"),
    "zone that raises": (lambda: [datetime(2026, 1, 1, tzinfo=Nowhere())], "$[0]", "NotImplementedError"),
    "plain object": (lambda: [Awkward()], "$[0]", "use a dict or a dataclass"),
    "more than a datetime": (lambda: [Nano(2026, 1, 1)], "$[0]", "no exact datetime"),
    "offset that is lost": (lambda: time(tzinfo=timezone(timedelta(microseconds=1))), "$", "no exact time"),
    "keys that become one": (lambda: [{Colour.RED: 1, "red": 2}], "$[0]", SAME),
    "keys of one text": (lambda: [{Own("red"): 1, "red": 2}], "$[0].red", "occurs twice"),
    "elements that become one": (lambda: {Flavour.ONE, True}, "$", SAME),
    "element that becomes a dict": (lambda: {Frozen(1)}, "$", HASH),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_written_is_refused_and_named(case: str) -> None:
    """Else a limit surfaces as a RecursionError, a UnicodeEncodeError or a full disk, with no word about where."""
    make, path, what = REFUSALS[case]
    error = refused(make())
    assert what in error.what
    assert error.path == path


LIMITS: dict[str, Callable[[], Any]] = {
    "lists": lambda: nest(100, 1),
    "tagged leaf": lambda: nest(99, b"a"),
    "tuples": lambda: nest(50, 1, lambda value: (value,)),
    "maps": lambda: nest(33, 1, lambda value: {1: value}),
    "integers": lambda: [2**4096 - 1, 1 - 2**4096],
    "text": lambda: "x" * (100 * MIB - 2),
    "many": lambda: [[] for _ in range(MIB)],
    "shared": lambda: shared(12),
    "shared twice": lambda: [shared(5), {"a": shared(5)}],
}
"""Made when they are needed: a million lists in memory slow down every other test."""


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_themselves_are_allowed_both_ways(name: str) -> None:
    """Else something is written that can never be read back."""
    value = LIMITS[name]()
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "many", [lambda text: [text] * 60, lambda text: {f"{n}": text for n in range(60)}], ids=["list", "dict"]
)
def test_what_is_too_large_is_refused_before_it_is_written_down(many: Callable[[str], Any]) -> None:
    """Else one long text that a list holds a thousand times takes all memory before anybody says no."""
    value = many("x" * 2 * MIB)
    tracemalloc.start()
    try:
        assert "100 MiB" in refused(value).what
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()


def test_shared_parts_are_counted_not_walked() -> None:
    """Else sixty small lists that contain each other twice keep a worker busy for years."""
    assert "100 MiB" in refused(shared(60)).what
    assert "100 MiB" in refused((shared(60),)).what
    assert "100 levels" in refused(shared(1000)).what


@pytest.mark.parametrize(
    ("value", "annotation", "path", "what"),
    [
        ({"a": b"\0", "b": ["\0"]}, dict[str, bytes | list[str]], "$.b[0]", "NUL"),
        (Vault(key=SecretStr("a")), Vault, "$.key", "SecretStr"),
        ({Frozen(1)}, set[Frozen], "$", "unhashable"),
        ([looped()], list[list[Any] | bytes], "$[0][1].self", "itself"),
        (Opaque("a", "\0"), Invoice, "$", "NUL"),
        (Shouting(word="a"), Shouting, "$", "not today"),
        (threading.Lock(), Any, "$", "lock"),
    ],
)
def test_an_annotation_lifts_no_limit(value: Any, annotation: Any, path: str, what: str) -> None:
    """Else a typed step writes what an untyped one may not, or raises pydantic's errors instead of ours."""
    error = refused(value, annotation)
    assert what in error.what and error.path == path


def test_a_stack_that_is_nearly_used_up_is_no_recursion_error() -> None:
    """Else a deep framework turns a good value into a crash after its effect."""

    def sink(levels: int) -> bytes:
        return sink(levels - 1) if levels else encode(nest(90, b""))

    with pytest.raises(Unencodable):
        sink(sys.getrecursionlimit() - stack_height() - 60)


# Bytes that nobody here wrote.

TOO_LONG = b"longer than what is read"
"""Stands for a text of that length, which is made when it is needed."""
HOSTILE: list[bytes] = [
    b"",
    b" ",
    b"nul",
    b"{",
    b"1 2",
    b"[1]\n",
    b" 1",
    b"[1],",
    b"\xff",
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf1",
    '"a"'.encode("utf-16"),
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    str(2**4096).encode(),
    str([-(2**4096)]).encode(),
    b"'a'",
    b'"a\x00b"',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\uD83D\\uDE00"',
    b'{"\\u0024bytes":"QQ=="}',
    b'"\\\\\\u0041"',
    b'{"a":1,"a":1}',
    b'{"$bytes":"QQ==","$bytes":"QQ=="}',
    b"[" * 101 + b"]" * 101,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 5000,
    b'{"$tuple":[' * 60 + b"]}" * 60,
    b'{"$tuple":[' * 50_000 + b"]}" * 50_000,
    TOO_LONG,
    b'{"$":1}',
    b'{"$nope":1}',
    b'{"$pickle":"gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAZ0cnVlIHiUhZRSlC4="}',
    b'{"$import":"os"}',
    b'{"$type":"builtins.eval","args":["1"]}',
    b'{"py/object":1,"$bytes":"QQ=="}',
    b'{"$bytes":"QQ==","a":1}',
    b'{"$bytes":"QQ"}',
    b'{"$bytes":"QR=="}',
    b'{"$bytes":"Q Q=="}',
    b'{"$bytes":1}',
    b'{"$bytes":["QQ=="]}',
    b'{"$datetime":"2026"}',
    b'{"$datetime":"20261123T040000"}',
    b'{"$datetime":["2026-11-23T04:00:00",2]}',
    b'{"$datetime":["2026-11-23T04:00:00",true]}',
    b'{"$datetime":{"a":1}}',
    b'{"$date":"2026-W01-1"}',
    b'{"$date":null}',
    b'{"$time":"25:00"}',
    b'{"$timedelta":[1,2]}',
    b'{"$timedelta":[true,0,0]}',
    b'{"$timedelta":[0,0,1e300]}',
    b'{"$timedelta":[999999999999,0,0]}',
    b'{"$decimal":"one"}',
    b'{"$decimal":1}',
    b'{"$decimal":" 1_0"}',
    b'{"$decimal":[0,[1],0]}',
    b'{"$uuid":"1"}',
    b'{"$uuid":1}',
    b'{"$uuid":"{00000000-0000-0000-0000-000000000001}"}',
    b'{"$float":"1.5"}',
    b'{"$float":"NaN"}',
    b'{"$float":[]}',
    b'{"$tuple":"ab"}',
    b'{"$tuple":{"a":1}}',
    b'{"$set":[[1]]}',
    b'{"$set":[1,1]}',
    b'{"$set":[1,true]}',
    b'{"$frozenset":[{"a":1}]}',
    b'{"$frozenset":5}',
    b'{"$map":{"a":1}}',
    b'{"$map":["ab"]}',
    b'{"$map":[[1]]}',
    b'{"$map":[[1,2,3]]}',
    b'{"$map":[{"$tuple":[1,2]}]}',
    b'{"$map":[[1,2],[1,3]]}',
    b'{"$map":[[[],1]]}',
    b'{"$opaque":"ab"}',
    b'{"$opaque":["a",1]}',
    b'{"$opaque":["a","b","c"]}',
]


def written(data: bytes) -> bytes:
    """What stands in the row."""
    return b'"' + b"x" * (100 * MIB) + b'"' if data is TOO_LONG else data


@pytest.mark.parametrize("annotation", [None, Invoice], ids=["untyped", "typed"])
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_bytes_are_corrupt_and_nothing_else(number: int, annotation: Any) -> None:
    """Else who can write a row can crash a worker, or hand it a value of a type of his choosing (S17, S33)."""
    with pytest.raises(JournalCorrupt) as caught:
        decode(written(HOSTILE[number]), annotation)
    assert type(caught.value) is JournalCorrupt
    assert len(str(caught.value)) < 500


@given(values.map(encode), st.data())
def test_damaged_bytes_are_corrupt_or_another_plain_value(data: bytes, draw: st.DataObject) -> None:
    """Else one flipped byte ends the process with an error that nobody catches."""
    at = draw.draw(st.integers(0, len(data) - 1))
    damaged = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    try:
        value = decode(damaged)
    except JournalCorrupt:
        return
    assert exact(decode(encode(value))) == exact(value)


def test_hostile_bytes_import_open_and_run_nothing() -> None:
    """Else stored bytes reach code: the way of CVE-2025-64439 and CVE-2026-28277 (S17)."""
    watching = False
    seen: list[str] = []
    watched = {"import", "open", "exec", "compile", "os.system", "subprocess.Popen", "socket.connect"}

    def watch(event: str, _: tuple[Any, ...]) -> None:
        if watching and event in watched:
            seen.append(event)

    sys.addaudithook(watch)
    corrupt = 0
    watching = True
    for data in HOSTILE:
        try:
            decode(written(data))
        except JournalCorrupt:
            corrupt += 1
    watching = False
    assert seen == []
    assert corrupt == len(HOSTILE) >= 25


# Opaque.


class Sullen:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class Nameless(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Sullen(ValueError()),
        Sullen(SystemExit()),
        Sullen(KeyboardInterrupt()),
        type("NotText", (), {"__repr__": lambda self: 5})(),
        type("Sly", (), {"__repr__": lambda self: Text("a" * 9000)})(),
        Nameless("Odd", (), {})(),
        "\ud800\0" * 4000,
        nest(100_000, 1),
        threading.Lock(),
        10**5000,
    ],
    ids=lambda value: type(value).__name__.encode("ascii", "replace").decode(),
)
def test_opaque_never_raises_and_is_always_written(value: Any) -> None:
    """Else an effect that happened leaves no record, and happens again."""
    stands_for = opaque(value)
    assert len(stands_for.text) <= 2000
    assert decode(encode(stands_for)) == stands_for
    assert decode(encode([{"a": stands_for}])) == [{"a": stands_for}]


@pytest.mark.parametrize("annotation", [None, Any, int, Invoice, list[Invoice], Literal["a"], Optional[bytes]])  # noqa: UP045
def test_opaque_passes_under_any_annotation(annotation: Any) -> None:
    """Else the record of an effect cannot be read back because its step promised another type."""
    stands_for = opaque(PARCEL)
    assert stands_for.type_name.endswith(".Parcel") and "1.10" in stands_for.text
    assert decode(encode(stands_for, annotation), annotation) == stands_for


# The rest.


def test_digest_is_the_head_of_sha_256() -> None:
    """Else recorded steps are no longer found at their address."""
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb924"


def test_a_decimal_does_not_depend_on_the_context() -> None:
    """Else the caller's decimal settings change a step's address, or round what it returned."""
    number = Decimal("1.23456789E+40")
    with decimal.localcontext(prec=3, capitals=0):
        data = encode(number)
        assert decode(data) == number
    assert data == encode(number)


def test_plain_values_do_not_load_pydantic() -> None:
    """Else `import holdfast`, and every short-lived command, pays for a library that it does not use."""
    script = """
import sys
from typing import Any
from holdfast.journal.codec import decode, encode, opaque
for annotation in (None, Any, dict, dict[str, list[int | None]], str | None):
    for value in ({"a": [1, None, 2.5, "$"]}, "text", b"bytes", {1: (2,)}, opaque(object())):
        assert decode(encode(value, annotation), annotation) == value
assert "pydantic" not in sys.modules and "pydantic_core" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": os.pathsep.join(sys.path)}, timeout=50)
    assert done.returncode == 0
