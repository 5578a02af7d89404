"""What a run's steps wait for besides their own work: an answer, a message, a time of the store's clock.

Nothing here is durable and nothing is written: a wait that a crash cuts short begins anew from the record, with the
deadline that stands there.

Invariants
1. A wait ends when what it is for has come, and not before; one for a time never ends early.
2. Each wait takes its alarm back when it ends, however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from holdfast.core.events import Address
from holdfast.protocols import Clock


class Waits:
    """The waits of one run in this process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        touch: Callable[[], None],
        is_open: Callable[[str], bool],
        expire: Callable[[str], Awaitable[None]],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._touch = touch
        """Something has moved."""
        self._is_open = is_open
        """Whether this question is open."""
        self._expire = expire
        """The time of this question has come."""
        self._questions: dict[str, asyncio.Future[None]] = {}
        self._news: dict[Address, tuple[str, asyncio.Future[None]]] = {}
        """Steps that wait for a message, and what it is about."""

    def wake(self, question: str) -> None:
        """This question may have been closed."""
        self._touch()
        future = self._questions.pop(question, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def answered(self, question: str, expires_at: float | None = None) -> None:
        """Wait until the question is closed; at its time close it with its default."""
        clock = self._clock
        while self._is_open(question):
            future = self._questions[question] = self._loop.create_future()
            delay_s = None if expires_at is None else max(0.0, expires_at - clock.now())
            call_off = None if delay_s is None else clock.call_later(delay_s, lambda: self.wake(question))
            try:
                await future
            finally:
                if call_off is not None:
                    call_off()
            if expires_at is not None and clock.now() >= expires_at:
                await self._expire(question)

    def tell(self, about: str) -> None:
        """A message about this was read."""
        for what, news in self._news.values():
            if what == about:
                self._touch()
                _settle(news)

    async def news(self, address: Address, about: str, until: float | None = None) -> None:
        """Wait until a message about this was read, at most until then."""
        clock = self._clock
        future: asyncio.Future[None] = self._loop.create_future()
        self._news[address] = (about, future)
        delay_s = None if until is None else max(0.0, until - clock.now())
        call_off = None if delay_s is None else clock.call_later(delay_s, partial(_settle, future))
        try:
            await future
        finally:
            del self._news[address]
            if call_off is not None:
                call_off()

    async def until(self, at: float) -> None:
        """Wait for a time of the store's clock; never early."""
        clock = self._clock
        while (left_s := at - clock.now()) > 0:
            woken: asyncio.Future[None] = self._loop.create_future()
            call_off = clock.call_later(left_s, partial(_settle, woken))
            try:
                await woken
            finally:
                call_off()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
