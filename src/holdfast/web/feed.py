"""News for pages that are open: what is open now, whenever that has changed (server-sent events).

However many listen, the store is read once in `every_s`. A stream ends with its session, and all when the server does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from holdfast.errors import JournalError
from holdfast.protocols import Clock, Journal
from holdfast.web.row import read
from holdfast.web.session import Session, Sessions

LISTENERS_MAX: Final = 50
_PING_S: Final = 15.0


class Feed:
    """The news of one store."""

    def __init__(self, journal: Journal, clock: Clock, sessions: Sessions, every_s: float = 1.0) -> None:
        self._journal, self._clock, self._sessions, self._every_s = journal, clock, sessions, every_s
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._state: dict[str, Any] = {}
        self._closing = asyncio.Event()
        self.listeners = 0

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def stream(self, session: Session) -> AsyncIterator[str]:
        """The text of one stream, until its session or the server ends."""
        self.listeners += 1
        try:
            told, pinged = None, self._clock.monotonic()
            while not self._closing.is_set() and self._sessions.is_open(session):
                state = await self._now()
                if state is not None and _what(state) != told:
                    told = _what(state)
                    yield f"event: rows\ndata: {json.dumps(state)}\n\n"
                elif self._clock.monotonic() - pinged >= _PING_S:
                    pinged = self._clock.monotonic()
                    yield ": still here\n\n"
                await self._pause()
        finally:
            self.listeners -= 1

    async def _now(self) -> dict[str, Any] | None:
        """What is open; None while the store cannot be read."""
        async with self._reading:
            if self._clock.monotonic() - self._read_at >= self._every_s:
                self._read_at = self._clock.monotonic()
                try:
                    self._state = await run_in_threadpool(read, self._journal)
                except JournalError:  # the page itself says what is wrong; a stream tries again
                    return None
            return self._state

    async def _pause(self) -> None:
        """Until it is time to look again, or the server ends."""
        woken = asyncio.ensure_future(self._closing.wait())

        def time_is_up() -> None:
            woken.cancel()

        call_off = self._clock.call_later(self._every_s, time_is_up)
        try:
            await asyncio.wait([woken])
        finally:
            call_off()
            woken.cancel()


def _what(state: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """What makes a state news: not how old its rows are."""
    return [(row["id"], row["is_posted"], row["state"].partition(" ")[0]) for row in state["rows"]]
