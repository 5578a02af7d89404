"""A model provider for the rows: canned answers of 1 KB, from this process, over a socket or from memory.

The server shares the loop with whoever asks it, so both sides of a comparison pay for it alike. It knows HTTP as far
as the SDK speaks it: one request after the other on a connection, with a content-length.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from bench.measure import kilobyte

MODEL = "claude-sonnet-5"
STREAM = {"x-bench-stream": "1"}
"""Asks the server for a stream."""
EVENTS = 200
"""Pieces of text of a streamed answer."""


def turn(number: int) -> list[dict[str, Any]]:
    """One turn of a conversation: what the user said, and what the model answered; 1 KB together."""
    said = kilobyte(number)
    return [{"role": "user", "content": said[:512]}, {"role": "assistant", "content": said[512:]}]


def turns(count: int, name: str = "") -> list[dict[str, Any]]:
    """A conversation of so many turns, whose last one is still to be answered."""
    opening = {"role": "user", "content": f"This is conversation {name}."}
    return [opening, *(message for number in range(1, count) for message in reversed(turn(number)))]


def _message(text: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 300, "output_tokens": 250},
    }


def _event(name: str, **more: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **more})}\n\n".encode()


def _streamed(pieces: int) -> list[bytes]:
    """A stream of so many pieces of text, and the events around them."""
    begun = _message("") | {"content": [], "stop_reason": None}
    delta = {"type": "text_delta", "text": "word "}
    return [
        _event("message_start", message=begun),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(_event("content_block_delta", index=0, delta=delta) for _ in range(pieces)),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": pieces}),
        _event("message_stop"),
    ]


ANSWER = json.dumps(_message(kilobyte(0))).encode()
HEADERS = {"content-type": "application/json", "request-id": "req_1"}


class Transport(httpx2.AsyncBaseTransport):
    """Answers from memory, without a socket."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The same answer to every request."""
        await request.aread()
        return httpx2.Response(200, headers=HEADERS, content=ANSWER)


@asynccontextmanager
async def server(pieces: int = EVENTS) -> AsyncIterator[str]:
    """The provider on this loop; gives its URL. A request with `STREAM` is answered with a stream."""
    loop, events = asyncio.get_running_loop(), [_chunk(event) for event in _streamed(pieces)]
    opened: list[_Connection] = []

    def connection() -> _Connection:
        opened.append(_Connection(loop, events))
        return opened[-1]

    async with await loop.create_server(connection, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for each in opened:
            each.transport.abort()


def _chunk(event: bytes) -> bytes:
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


class _Connection(asyncio.Protocol):
    """One connection, asked one thing at a time."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, events: list[bytes]) -> None:
        self._loop = loop
        self._events = events
        self._head = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            head, _, data = (self._head + data).partition(b"\r\n\r\n")
            self._head, self._missing = head.lower(), _length(head.lower())
        self._missing -= len(data)
        if not self._missing:
            head, self._head = self._head, b""
            self._answer(is_stream=b"\nx-bench-stream:" in head)

    def _answer(self, *, is_stream: bool) -> None:
        if is_stream:
            self.transport.write(_answer_head("text/event-stream", "transfer-encoding: chunked"))
            self._stream(0)
        else:
            self.transport.write(_answer_head("application/json", f"content-length: {len(ANSWER)}") + ANSWER)

    def _stream(self, place: int) -> None:
        """One event at a time, each when the reader has had its turn with the one before."""
        if place == len(self._events):
            self.transport.write(b"0\r\n\r\n")
        else:
            self.transport.write(self._events[place])
            self._loop.call_soon(self._stream, place + 1)


def _length(head: bytes) -> int:
    return int(head.partition(b"\ncontent-length:")[2].partition(b"\r")[0])


def _answer_head(kind: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nrequest-id: req_1\r\n{framing}\r\n\r\n".encode()
