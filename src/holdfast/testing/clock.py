"""`ManualClock`: a test owns time, chance and ids.

    clock = ManualClock()
    async with hf.App("memory:", clock=clock) as app:
        ...
        await clock.advance(60)      # every timer of the next minute, in order

Timers fire only within `advance`; nothing ever waits for real.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import TypeVar

from holdfast.runtime.clock import SystemClock

_T = TypeVar("_T")

TURNS = 25
"""Turns of the loop after each timer, so that what it woke can run before time goes on."""


class ManualClock:
    """Implements `holdfast.protocols.Clock` by hand. `draws` are given one after the other, then 0.5 for ever."""

    def __init__(self, now: float = 1_700_000_000.0, *, draws: tuple[float, ...] = ()) -> None:
        self._now = now
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._called_off: set[int] = set()
        self._numbers = itertools.count(1)
        self._draws = list(draws)
        self.waits: list[float] = []
        """Every delay that was asked for, in seconds."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """The same time; it never goes back here."""
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when `advance` has come so far; gives the function that calls it off."""
        number = next(self._numbers)
        self.waits.append(delay_s)
        heapq.heappush(self._timers, (self._now + delay_s, number, callback))
        return lambda: self._called_off.add(number)

    def beat(self, every_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """As the real clock does it: a lease is not what a test owns."""
        return SystemClock().beat(every_s, call)

    async def aside(self, name: str, work: Callable[[], _T]) -> _T:
        """Here, after the loop has turned once: a thread would have an order of its own."""
        await asyncio.sleep(0)
        return work()

    def draw(self) -> float:
        """The next of `draws`."""
        return self._draws.pop(0) if self._draws else 0.5

    def fresh_id(self) -> str:
        """32 hex digits, counted up."""
        return f"{next(self._numbers):032x}"

    def jump(self, seconds: float) -> None:
        """Move time without firing a timer: what a stopped process, or a changed clock, looks like."""
        self._now += seconds

    async def settle(self) -> None:
        """Let everything that can run, run."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: timers fire in order, each at its time."""
        end = self._now + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= end:
            at, number, callback = heapq.heappop(self._timers)
            if number in self._called_off:
                self._called_off.discard(number)
                continue
            self._now = max(self._now, at)
            callback()
            await self.settle()
        self._now = end
        await self.settle()
