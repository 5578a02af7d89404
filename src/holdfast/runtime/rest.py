"""When is a run at rest? A silence: nothing of ours moves, and nothing was asked for, for a while.

Rest is a silence, never a proof, so what follows from it can be taken back. Inspecting the
loop was tried and cannot tell a queue from a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.core.events import Address
from holdfast.core.heads import Why
from holdfast.protocols import Clock


class Silence:
    """Counts what moves and waits in one run, and tells how long it has been silent."""

    def __init__(self, clock: Clock, is_writing: Callable[[], bool], on_silence: Callable[[float], None]) -> None:
        self._clock = clock
        self._is_writing = is_writing
        self._on_silence = on_silence
        self._monotonic = clock.monotonic
        self._since = clock.monotonic()
        self._call_off: Callable[[], None] | None = None
        self._wait_s = 1.0
        self._due = 0.0
        self._changed = asyncio.Event()
        """Set when anything moves while somebody waits for a condition."""
        self._is_watched = False
        self.moving = 0
        """Bodies, model calls and threads that we started and that have not ended."""
        self.moving_writes = 0
        """Those of them whose effect is no read."""
        self.callers = 0
        """Calls of the agent that wait for an answer."""
        self.waiting_for: dict[Address, tuple[Why, float | None]] = {}
        """Steps that wait on us for a message or a time."""

    def listen(self, wait_s: float) -> None:
        """Tell of silences that last so long."""
        self._wait_s = wait_s
        if self._call_off is None:
            self._arm(wait_s)

    def stop(self) -> None:
        """Tell no more."""
        if self._call_off is not None:
            self._call_off()
            self._call_off = None

    def touch(self) -> None:
        """Something was asked, handed out, begun or ended: the silence starts anew."""
        self._since = self._monotonic()
        if self._is_watched:
            self._changed.set()

    def is_broken(self, silence_s: float) -> bool:
        """Whether anything has moved since it had been silent for so long."""
        return self._clock.monotonic() - self._since < silence_s

    def began(self, *, is_write: bool) -> None:
        """A body, model call or thread of ours is under way."""
        self.moving += 1
        self.moving_writes += is_write
        self.touch()

    def ended(self, *, is_write: bool) -> None:
        """It is over."""
        self.moving -= 1
        self.moving_writes -= is_write
        self.touch()

    @contextmanager
    def moves(self) -> Iterator[None]:
        """Within the block something of ours is under way, such as a wait for a turn."""
        self.began(is_write=False)
        try:
            yield
        finally:
            self.ended(is_write=False)

    @contextmanager
    def waits(self, address: Address, why: Why, until: float | None) -> Iterator[None]:
        """Within the block this step waits on us."""
        self.waiting_for[address] = (why, until)
        self.touch()
        try:
            yield
        finally:
            del self.waiting_for[address]
            self.touch()

    def reason(self) -> tuple[Why, float | None] | None:
        """Why the run waits, and until when; None when no step waits on us."""
        whys = {why for why, _ in self.waiting_for.values()}
        if not whys:
            return None
        times = [until for _, until in self.waiting_for.values() if until is not None]
        order = (Why.IN_DOUBT, Why.QUESTION, Why.UNREACHABLE, Why.SIGNAL, Why.CHILD, Why.SLEEP, Why.RETRY)
        return next(why for why in order if why in whys), min(times, default=None)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition that only changes when something moves."""
        while not is_so():
            self._changed.clear()
            self._is_watched = True
            await self._changed.wait()

    def _arm(self, delay_s: float) -> None:
        self._due = self._clock.monotonic() + delay_s
        self._call_off = self._clock.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._call_off = None
        now = self._clock.monotonic()
        is_late = now - self._due > self._wait_s / 2  # the loop was stuck: what is ready to run has had no chance
        if is_late or self._is_writing():
            self.touch()
        silence_s = now - self._since
        if self.moving or not (self.callers or self.waiting_for):
            self._arm(self._wait_s)
        elif silence_s >= self._wait_s:
            self._on_silence(silence_s)
        else:
            self._arm(self._wait_s - silence_s)
