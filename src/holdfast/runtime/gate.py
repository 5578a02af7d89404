"""How many model calls one app has under way at once, and not before when: its providers say so in their headers.

A call waits here before its intent is written and its budget reserved, so a crash in the queue costs nothing. A
provider's word is believed for at most `WAIT_S_MAX`: an absurd one must not stop every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from holdfast.protocols import Clock

WAIT_S_MAX = 60.0


class Standing(Protocol):
    """What a provider says is left of one of its limits."""

    @property
    def what(self) -> str: ...
    @property
    def remaining(self) -> int: ...
    @property
    def resets_at(self) -> float: ...


class Gate:
    """The queue of one app's model calls."""

    def __init__(self, clock: Clock, calls_max: int) -> None:
        self._clock = clock
        self._slots = asyncio.Semaphore(calls_max)
        self._not_before: dict[str, float] = {}
        """By account: a host, and who asks it."""
        self._left: dict[str, tuple[int, float]] = {}
        """Requests that an account may still make, and until when that count holds."""
        self.waiting = 0
        """Calls in the queue."""

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[None]:
        """Within the block one call of this account may be under way."""
        await self._enter(account)
        try:
            yield
        finally:
            self._slots.release()

    async def _enter(self, account: str) -> None:
        """Come back with a slot. What was told while this call waited for one holds it too, and then without it."""
        self.waiting += 1
        try:
            while True:
                while (wait_s := self._wait_s(account)) > 0:
                    await self._sleep(wait_s)
                await self._slots.acquire()
                if self._wait_s(account) <= 0:
                    break
                self._slots.release()
        finally:
            self.waiting -= 1
        self._take(account)

    def _wait_s(self, account: str) -> float:
        """How long this account has to wait."""
        now = self._clock.now()
        left, until = self._left.get(account, (1, 0.0))
        not_before = max(self._not_before.get(account, 0.0), 0.0 if left > 0 else until)
        return min(not_before - now, WAIT_S_MAX)

    def _take(self, account: str) -> None:
        """One request of what is left."""
        left, until = self._left.get(account, (1, 0.0))
        if until > self._clock.now():
            self._left[account] = (left - 1, until)

    def told(self, account: str, standings: Sequence[Standing], retry_after_s: float | None) -> None:
        """What the provider said with an answer."""
        now = self._clock.now()
        if retry_after_s is not None:
            self._hold(account, now + min(retry_after_s, WAIT_S_MAX))
        for standing in standings:
            until = min(standing.resets_at, now + WAIT_S_MAX)
            if standing.what == "requests":
                self._left[account] = (standing.remaining, until)
            elif standing.remaining == 0:  # of tokens: how many the next call takes, nobody knows before
                self._hold(account, until)

    def _hold(self, account: str, until: float) -> None:
        self._not_before[account] = max(until, self._not_before.get(account, 0.0))

    async def _sleep(self, wait_s: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call_off = self._clock.call_later(wait_s, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            call_off()
