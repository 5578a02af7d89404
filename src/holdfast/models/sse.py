"""Server-sent events out of chunks of bytes, as they come. Pure, in linear time.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

Invariants
1. The slices that were handed out and `rest`, one after another, are the bytes that came in, bit for bit.
2. The events do not depend on where the chunks were cut.
3. A slice ends with the blank line of its event. What comes without data (comments, `retry:`) is an event too, with
   empty data; so nothing waits for what follows.
4. An event of more than `EVENT_MAX` bytes raises; it is not collected without end.
"""

from __future__ import annotations

import re

from holdfast.models.call import Sse

EVENT_MAX = 64 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
LF = 0x0A
_LINE_END = re.compile(rb"[\r\n]")


class EventTooLarge(ValueError):
    """One event of a stream is larger than `EVENT_MAX`."""


class Splitter:
    """Feed it chunks; it hands out whole events, each with the raw bytes that it was made of."""

    def __init__(self, event_max: int = EVENT_MAX) -> None:
        self._max = event_max
        self._open = bytearray()
        """What belongs to no whole event yet."""
        self._line = 0
        """Where its last line begins: all before it are whole lines."""
        self._seen = 0
        """How far it was searched for the end of that line."""
        self._lines: list[bytes] = []
        self._is_first = True

    @property
    def rest(self) -> bytes:
        """The bytes of the event that is not over yet."""
        return bytes(self._open)

    def feed(self, chunk: bytes) -> list[tuple[bytes, Sse]]:
        """The events that this chunk completes. On `EventTooLarge` all that was not handed out is in `rest`."""
        if chunk.endswith(b"\n\n") and self._is_simple(chunk):
            self._is_first = False
            return [(part + b"\n\n", _event(part.split(b"\n"))) for part in chunk[:-2].split(b"\n\n")]
        self._open += chunk
        done: list[tuple[bytes, Sse]] = []
        begin = 0
        while (end := self._line_end()) is not None:
            line, self._line = bytes(self._open[self._line : end[0]]), end[1]
            self._seen = self._line
            self._check(self._line - begin)
            if line and not (line == BOM and self._is_first and not self._lines):
                self._lines.append(line)
                continue
            done.append((bytes(self._open[begin : self._line]), _event(self._lines, is_first=self._is_first)))
            begin, self._lines, self._is_first = self._line, [], False
        self._check(len(self._open) - begin)
        del self._open[:begin]
        self._line, self._seen = self._line - begin, self._seen - begin
        return done

    def _is_simple(self, chunk: bytes) -> bool:
        """Whether it is nothing but whole events after whole events, as providers mostly send them: an event is then
        what stands between two blank lines."""
        if self._open or self._lines or len(chunk) > self._max or (self._is_first and chunk.startswith(BOM)):
            return False
        return not (b"\r" in chunk or b"\n\n\n" in chunk or chunk.startswith(b"\n"))

    def _check(self, size: int) -> None:
        if size > self._max:
            raise EventTooLarge(f"an event of the stream has more than {self._max} bytes")

    def _line_end(self) -> tuple[int, int] | None:
        """Where the line ends and the next begins; None when that cannot be said yet."""
        data = self._open
        found = _LINE_END.search(data, self._seen)
        if found is None:
            self._seen = len(data)
            return None
        end = found.start()
        if data[end] == LF:
            return end, end + 1
        if end + 1 == len(data):  # a line feed may follow in the next chunk, and would belong to this line
            self._seen = end
            return None
        return end, end + 1 + (data[end + 1] == LF)


def events(raw: bytes, event_max: int = EVENT_MAX) -> list[Sse]:
    """The whole events of a recorded stream; none when one of them is too large."""
    splitter, end = (
        Splitter(event_max),
        b"\n" if raw.endswith(b"\r") else b"",
    )  # now it is certain that no line feed follows
    try:
        return [event for _, event in splitter.feed(raw + end)]
    except EventTooLarge:
        return []


def _event(lines: list[bytes], *, is_first: bool = False) -> Sse:
    if len(lines) == 2 and lines[0].startswith(b"event: ") and lines[1].startswith(b"data: "):  # the most of them
        return Sse(lines[0][7:].decode("utf-8", "replace"), lines[1][6:])
    name, data = b"", []
    for number, line in enumerate(lines):
        field, _, value = (line.removeprefix(BOM) if is_first and number == 0 else line).partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Sse(name.decode("utf-8", "replace"), b"\n".join(data))
