"""Streams are cut where the network likes, and recorded bit for bit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.call import Sse
from holdfast.models.sse import EventTooLarge, Splitter, events

STREAM = (
    b'\xef\xbb\xbfevent: a\ndata: {"x":\xc3\xa9}\n\n'
    b": a comment\r\n\r\n"
    b"data: one\rdata:two\r\rid: 7\ndata\ndata:  three\n\n"
    b"\nretry: 5\n\nevent: b\r\ndata: \xf0\x9f\x98\x80\r\n\r\ndata: not over"
)
EXPECTED = [
    Sse("a", b'{"x":\xc3\xa9}'),
    Sse("", b""),
    Sse("", b"one\ntwo"),
    Sse("", b"\n three"),
    Sse("", b""),
    Sse("", b""),
    Sse("b", b"\xf0\x9f\x98\x80"),
]


def cut(raw: bytes, at: list[int]) -> list[bytes]:
    """These bytes in chunks that end at these places."""
    places = [0, *sorted(at), len(raw)]
    return [raw[begin:end] for begin, end in pairwise(places)]


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_do_not_depend_on_where_the_chunks_were_cut(at: list[int]) -> None:
    """Otherwise a replay of the recorded bytes would differ from what the agent saw."""
    splitter, got = Splitter(), []
    for chunk in cut(STREAM, at):
        got += splitter.feed(chunk)
    assert [event for _, event in got] == EXPECTED
    assert b"".join(raw for raw, _ in got) + splitter.rest == STREAM
    assert splitter.rest == b"data: not over"


_lines = st.sampled_from([b"data: x", b"data:", b"event: e", b":", b"", b"\xef\xbb\xbf", b"\xff", b"data"])
_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(_lines, _ends)), st.lists(st.integers(0, 200)), st.binary(max_size=30))
def test_any_bytes_give_the_same_slices_in_any_chunks(
    lines: list[tuple[bytes, bytes]], at: list[int], tail: bytes
) -> None:
    """The record is put together from the slices: not a byte may be lost or moved."""
    raw = b"".join(line + end for line, end in lines) + tail
    whole, pieces = Splitter(), Splitter()
    expected, got = whole.feed(raw), []
    for chunk in cut(raw, [min(place, len(raw)) for place in at]):
        got += pieces.feed(chunk)
    assert got == expected
    assert b"".join(piece for piece, _ in got) + pieces.rest == raw


def test_a_recorded_stream_that_ends_with_a_carriage_return_is_whole() -> None:
    """While it runs a line feed may follow; in a record none does."""
    assert Splitter().feed(b"data: x\r\r") == []
    assert events(b"data: x\r\r") == [Sse("", b"x")]


@pytest.mark.parametrize("chunks", [[b"data: " + b"x" * 10], [b"data: ", b"x" * 10], [b"data: xx\n", b"data: x\n\n"]])
def test_an_event_without_an_end_is_not_collected_for_ever(chunks: list[bytes]) -> None:
    """A broken server could fill the memory of a worker; what came before it is kept."""
    splitter, got = Splitter(event_max=12), []
    with pytest.raises(EventTooLarge):
        for chunk in [b"data: 1\n\n", *chunks]:
            got += splitter.feed(chunk)
    assert b"".join(raw for raw, _ in got) + splitter.rest == b"data: 1\n\n" + b"".join(chunks)


@pytest.mark.parametrize("line", [b"\r", b"data: x\r", b"data: x\n"])
def test_many_lines_in_one_chunk_are_split_in_linear_time(line: bytes) -> None:
    """Counted in bytes looked at, not in seconds: 200,000 lines in quadratic time would take minutes."""
    raw = line * 200_000 + b"x"
    assert sum(len(piece) for piece, _ in Splitter().feed(raw)) <= len(raw)


def test_a_recorded_stream_with_too_large_an_event_reads_as_none() -> None:
    """Readers of records never raise."""
    assert events(b"data: 1234\n\n", event_max=4) == []
