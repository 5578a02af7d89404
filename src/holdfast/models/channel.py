"""A model's answer that is passed on while it comes in.

The attempt that receives it and the code that reads it meet at a `Channel`, on the run's loop. The last event is
held back until the answer is recorded, so that nobody acts on an answer that a crash could take back.

Invariants
1. What is read is, byte for byte and in order, the beginning of what is recorded.
2. The end is told after the commit that holds the answer, never before.
3. A reader that closes, is cancelled or is thrown away ends the receiving; the provider's connection is closed then.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from holdfast.core.events import Address
from holdfast.models.answer import Broken
from holdfast.models.package import error_of

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

CLOSED, CANCELLED = "closed", "cancelled"
"""How a reader may end before the answer does."""


class Channel:
    """One answer on its way to one reader."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.address = Address("", "", "", 0)
        self.asked = 0
        """See `record.Stream`."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.opened: asyncio.Future[None] = driver.loop.create_future()
        self.on_break: Callable[[], None] = lambda: None
        """Told when the reader is told that it broke off."""
        self.ended_by = ""
        """`CLOSED` or `CANCELLED` once the reader has gone before the end."""
        self._data = bytearray()
        self._had = self._noted = 0
        self._is_noted = False
        self._is_over = False
        self._broken: Broken | None = None
        self._is_endless = False
        self._news: asyncio.Future[None] | None = None
        self._receiver: asyncio.Task[Any] | None = None

    # --- for the attempt ---------------------------------------------------------------------------------------

    def receive(self, address: Address) -> None:
        """This task receives it: a reader that goes away cancels it."""
        self.address = address
        self._receiver = asyncio.current_task()

    @property
    def data(self) -> bytes:
        """What was passed on."""
        return bytes(self._data)

    def open(self, status: int, headers: Mapping[str, str]) -> None:
        """The answer has begun: from here on there is a reader, who gets whatever happens."""
        self.status, self.headers = status, dict(headers)
        self.opened.set_result(None)
        self.asked = self.driver.machine.asked_in(self.address.scope)
        self.driver.machine.opened(self.address)
        self.driver.record.streams.append(self)

    def pass_on(self, data: bytes) -> None:
        """These events are complete, and more will come."""
        self._data += data
        self._tell()

    def received(self) -> None:
        """Nothing more comes from the provider."""
        self._receiver = None

    def drop(self) -> None:
        """Its caller went before there was a reader."""
        if self in self.driver.record.streams:
            self.driver.record.streams.remove(self)

    # --- for the call ------------------------------------------------------------------------------------------

    def finish(self, body: bytes, broken: Broken | None = None, ended_by: str = "") -> None:
        """The answer is recorded: all of `body` may be read, and then the end, or the error."""
        self._data += body[len(self._data) :]
        self._broken, self._is_over = broken, True
        if ended_by == CLOSED:
            text = "the record of this answer ends here: its reader closed it here"
            self._broken = Broken("ReadError", text)
        self._is_endless = ended_by == CANCELLED  # the reader's own timer ended it then, and will again
        self._tell()

    def take_part(self) -> bytes | None:
        """See `record.Stream`."""
        if self._is_noted and self._noted == self._had:
            return None
        part = bytes(self._data[self._noted : self._had])
        self._noted, self._is_noted = self._had, True
        return part

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # --- for the reader ----------------------------------------------------------------------------------------

    async def take(self) -> bytes | Broken:
        """What came since the last time, empty at the end; or how it broke off."""
        while self._had == len(self._data):
            if self._is_over and not self._is_endless:
                if self._broken is not None:
                    self.on_break()
                return self._broken or b""
            self._news = self.driver.loop.create_future()
            try:
                await self.driver.heard(self._news)
            except asyncio.CancelledError:
                self.leave(CANCELLED)
                raise
        part = bytes(self._data[self._had :])
        self._had = len(self._data)
        return part

    def leave(self, how: str) -> None:
        """The reader goes away."""
        if self._is_over or self.ended_by or self.driver.is_closing:
            return
        self.ended_by = how
        if self._receiver is not None:
            self._receiver.cancel()


# --- the reader, as the HTTP packages want it ------------------------------------------------------------------


class _Reader:
    """The body of a response, of whichever package."""

    def __init__(self, package: ModuleType, channel: Channel, request: Any) -> None:
        self._package = package
        self._channel = channel
        self._request = request
        self._loop = channel.driver.loop
        weakref.finalize(self, _leave_later, self._loop, channel)

    def _read(self, part: bytes | Broken) -> bytes:
        if isinstance(part, Broken):
            raise error_of(self._package, part, self._request)
        return part


class _AsyncReader(_Reader):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        take = self._channel.take
        is_here = asyncio.get_running_loop() is self._loop
        while part := self._read(await (take() if is_here else self._there(take))):
            yield part

    async def aclose(self) -> None:
        """The response was closed."""
        if asyncio.get_running_loop() is self._loop:
            self._channel.leave(CLOSED)
        else:
            _leave_later(self._loop, self._channel)

    async def _there(self, call: Callable[[], Any]) -> Any:
        """Asked on the run's loop: this reader lives on another."""
        return await self._channel.driver.bridge.reach(call())


class _SyncReader(_Reader):
    def __iter__(self) -> Iterator[bytes]:
        bridge = self._channel.driver.bridge
        while part := self._read(bridge.wait(self._channel.take())):
            yield part

    def close(self) -> None:
        """The response was closed."""
        _leave_later(self._loop, self._channel)


def _leave_later(loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(channel.leave, CLOSED)


@cache
def _stream_class(package: ModuleType, is_sync: bool) -> type[Any]:
    own, theirs = (_SyncReader, package.SyncByteStream) if is_sync else (_AsyncReader, package.AsyncByteStream)
    return type("Stream", (own, theirs), {})


def streaming_response(package: ModuleType, channel: Channel, request: Any, *, is_sync: bool) -> Any:
    """The response whose body is read from the channel."""
    stream = _stream_class(package, is_sync)(package, channel, request)
    response = package.Response(channel.status, headers=channel.headers, stream=stream, request=request)
    response.elapsed = timedelta(0)
    return response
