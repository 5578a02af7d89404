"""A request is read by what is new in it: the short way must say what the long way says, for any bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.models.body import Body, common, difference, read

TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
MESSAGE = VALUE | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": VALUE})
HEAD = st.dictionaries(TEXT | st.sampled_from(["model", "tools"]), VALUE, max_size=4)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t \r\n"])


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """This value as some client could write it: any spaces, any escapes, keys of an object in its order."""
    space = draw(SPACE)
    if isinstance(value, dict):
        members = [f"{space}{draw(written(key))}{space}:{draw(written(item))}" for key, item in value.items()]
        return f"{{{f'{draw(SPACE)},'.join(members)}{draw(SPACE)}}}"
    if isinstance(value, list):
        items = [f"{draw(SPACE)}{draw(written(item))}" for item in value]
        return f"[{f'{space},'.join(items)}{draw(SPACE)}]"
    is_plain = isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
    return json.dumps(value, ensure_ascii=not (is_plain and draw(st.booleans())))


@st.composite
def request_bytes(draw: st.DrawFn, messages: list[Any], head: dict[str, Any]) -> bytes:
    """A request of this conversation, the conversation anywhere among the members."""
    members = list(head.items())
    members.insert(draw(st.integers(0, len(members))), ("messages", messages))
    return draw(written(dict(members))).encode()


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two requests, the second often goes on from the first, byte for byte or not."""
    messages, head = draw(st.lists(MESSAGE, max_size=5)), draw(HEAD)
    earlier = draw(request_bytes(messages, head))
    match draw(st.sampled_from(["grown", "appended", "cut", "rewritten", "other"])):
        case "grown":  # as an SDK sends it: the same bytes, and more
            at = draw(st.integers(0, len(messages)))
            fresh = [*messages[:at], *draw(st.lists(MESSAGE, max_size=3))]
            return _plain(messages, head), _plain(fresh, head | draw(HEAD) if draw(st.booleans()) else head)
        case "appended":
            return earlier, earlier + draw(st.binary(max_size=3))
        case "cut":
            return earlier, earlier[: draw(st.integers(0, len(earlier)))]
        case "rewritten":
            place = draw(st.integers(0, len(earlier)))
            return earlier, earlier[:place] + draw(st.binary(max_size=2)) + earlier[place + 1 :]
        case _:
            return earlier, draw(request_bytes(draw(st.lists(MESSAGE, max_size=3)), draw(HEAD)))


def _plain(messages: list[Any], head: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **head}).encode()


def said(body: Body | None) -> Any:
    """All that a body says, but for how much of it was fresh."""
    if body is None:
        return None
    return (
        repr(sorted(body.head.items())),
        repr(sorted(body.before.items())),
        body.begin,
        body.ends,
        body.history,
        body.sha,
        body.head_size,
        body.digest("m"),
        body.tail(),
        repr(body.messages()),
    )


# --- read ------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(conversations())
def test_what_is_read_does_not_depend_on_what_was_read_before(pair: tuple[bytes, bytes]) -> None:
    """Else a call would have another address after a crash, when nothing was read before it, and be paid again."""
    earlier, later = pair
    since = read(earlier, "messages")
    assert said(read(later, "messages", since)) == said(read(later, "messages"))
    other = read(earlier, "contents")
    assert said(read(later, "messages", other)) == said(read(later, "messages"))


@settings(max_examples=40)
@given(st.lists(MESSAGE, max_size=4), HEAD, st.data())
def test_the_digest_does_not_depend_on_how_it_is_written(
    messages: list[Any], head: dict[str, Any], data: st.DataObject
) -> None:
    """Else a dict that a framework builds in another order, or writes with other spaces, would be a new call."""
    bodies = [read(data.draw(request_bytes(messages, head)), "messages") for _ in range(2)]
    one, other = bodies
    assert one is not None and other is not None
    assert one.digest() == other.digest() and one.history == other.history
    assert (len(one.ends), one.tail()) == (len(messages), other.tail())


@settings(max_examples=40)
@given(st.lists(MESSAGE, max_size=4), HEAD, st.lists(MESSAGE, max_size=4), HEAD)
def test_different_requests_have_different_digests(
    messages: list[Any], head: dict[str, Any], others: list[Any], other_head: dict[str, Any]
) -> None:
    """Else an agent would be given the answer to another question."""
    one, other = read(_plain(messages, head), "messages"), read(_plain(others, other_head), "messages")
    if one is None or other is None:
        return  # the head names the conversation once more
    is_equal = _canonical([one.head, messages]) == _canonical([other.head, others])
    assert (one.digest() == other.digest()) == is_equal
    assert one.digest("m") != one.digest("n") and one.digest("m") != one.digest("m", "stream")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
@example(b'{1: 2, "a": 3}')
@example(b"{[1]: 2}")
@example(b'{{"a": 1}: 2}')
@example(b'{"a": 1,}')
@example(b'{"messages": [1,]}')
@example(b'{"messages": []}x')
@example(b'{"a": 1' + b"1" * 5000 + b"}")
@example(b"[" * 100_000)
@example(b'{"messages": [' + b"[" * 100_000)
@example(b'{"messages": [' + b"[" * 5_000 + b"]" * 5_000 + b"]}")
@example('{"messages": ["\ud800"]}'.encode("utf-8", "surrogatepass"))
@example(b'\xef\xbb\xbf{"a": 1}')
@example(json.dumps({"a": 1}).encode("utf-16"))
def test_any_bytes_are_read_or_are_none(raw: bytes) -> None:
    """What strangers' code sends must not end in an error of ours; and what JSON is, the standard library says."""
    body = read(raw, "messages")
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        assert body is None
    elif body is not None:
        assert body.digest() and body.head.items() <= value.items()


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"messages": [1], "messages": [2]}', None),
        (b'{"messages": [1], "mess\\u0061ges": [2]}', None),
        (b'{"messages": [], "messages": 3}', None),
        (b'{"a": 1, "a": 2, "messages": [1]}', {"a": 2}),
        (b'{"messages": "text"}', {"messages": "text"}),
        (b"{}", {}),
    ],
)
def test_a_conversation_that_is_named_twice_is_no_request(raw: bytes, found: Any) -> None:
    """Which of the two the provider would read, nobody knows; so neither is addressed."""
    body = read(raw, "messages")
    assert (None if body is None else body.head) == found


def test_numbers_may_go_on() -> None:
    """`[1` is the beginning of `[12`, and another message."""
    earlier = read(b'{"messages":[1', "messages")
    assert earlier is None
    whole = read(b'{"messages":[1,2]}', "messages")
    grown = read(b'{"messages":[1,23]}', "messages", whole)
    assert grown is not None and grown.messages() == [1, 23]


# --- the difference --------------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=200), st.binary(max_size=60))
def test_a_difference_gives_the_request_back(head: bytes, new: bytes, base: bytes, tail: bytes) -> None:
    """What is stored of a request is all that is left of it."""
    for raw, other in ((head + new + tail, head + tail), (head + base, base + tail), (new, base), (base, base * 2)):
        change = difference(raw, other)
        assert change.applied(other) == raw
        assert min(change.head, change.tail) >= 0 and change.head + change.tail <= min(len(raw), len(other))
    assert difference(base, base).new == b""


@settings(max_examples=40)
@given(conversations())
def test_a_difference_of_text_is_text(pair: tuple[bytes, bytes]) -> None:
    """People read what is stored, and the journal has no bytes that are half a character."""
    earlier, later = pair
    try:
        later.decode()
    except UnicodeDecodeError:
        return
    difference(later, earlier).new.decode()


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(60_000, 70_000))
def test_the_common_beginning_is_as_long_as_it_is(rest: bytes, at: int, far: int) -> None:
    """A byte too many would be another request; too few only costs."""
    for start in (b"", b"x" * far):
        one = start + rest
        other = one[: len(start) + at] + b"\x01" + one[len(start) + at + 1 :]
        longest = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        assert common(one, other) == common(other, one) == min(longest, len(one), len(other))


# --- what it costs ---------------------------------------------------------------------------------------------


def test_a_turn_parses_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the 800th turn costs eighty times the tenth."""
    parsed: list[int] = []
    whole: Callable[..., Any] = json.JSONDecoder().raw_decode

    def counting(text: str, at: int) -> Any:
        found, end = whole(text, at)
        parsed.append(end - at)
        return found, end

    monkeypatch.setattr("holdfast.models.body._raw_decode", counting)
    messages: list[Any] = []
    since: Body | None = None
    costs = []
    for turn in range(60):
        messages.append({"role": "user", "content": f"{turn:04d}é" * 200})
        parsed.clear()
        since = read(_plain(messages, {"tools": [1, 2]}), "messages", since)
        assert since is not None
        costs.append((len(parsed), sum(parsed)))
    assert max(costs[1:]) == min(costs[1:]), "each turn costs the same"
    assert since is not None and since.known == 59
