"""Time, chance and ids: the only module of holdfast that meets them.

Everything else takes a `Clock` (see `protocols`), so a test can own time. Random values that an agent sees are
derived from its run's seed and are therefore equal on every replay.

What belongs to a loop is loaded with one: a command that only reads needs the time and no event loop.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

Random = random.Random
T = TypeVar("T")


class SystemClock:
    """The machine's clock and chance."""

    now = staticmethod(time.time)
    """Seconds since the epoch, UTC."""

    monotonic = staticmethod(time.monotonic)
    """Seconds that never go back; they go on while the process is stopped."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the running loop after `delay_s` seconds; gives the function that calls it off."""
        import asyncio  # loaded already: there is a loop

        return asyncio.get_running_loop().call_later(delay_s, callback).cancel

    def beat(self, every_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call again and again from a daemon thread; gives the function that ends it, and waits for its end."""
        ended = threading.Event()

        def body() -> None:
            while not ended.wait(every_s):
                call()

        thread = threading.Thread(target=body, name="holdfast lease", daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            thread.join()

        return end

    async def aside(self, name: str, work: Callable[[], T]) -> T:
        """Do `work` in a daemon thread."""
        from holdfast.runtime.thread import in_thread  # loads asyncio

        done: T = await in_thread(name, work)
        return done

    def draw(self) -> float:
        """A random number in [0, 1)."""
        return random.random()

    def fresh_id(self) -> str:
        """32 hex digits that nobody else has."""
        return uuid.uuid4().hex


class StoreTime(SystemClock):
    """The machine's clock, with the time of a store that has its own: what machines share is timed by one of them."""

    now: Callable[[], float]  # asked several times a step, so nothing stands between
    """The store's time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now


def derived_bytes(seed: str, scope: str, nth: int) -> bytes:
    """32 bytes that depend on nothing but their arguments."""
    return hashlib.sha256(f"{seed}\x1f{scope}\x1f{nth}".encode()).digest()


def derived_random(seed: str, scope: str, nth: int) -> random.Random:
    """A generator that gives the same numbers on every replay."""
    return random.Random(derived_bytes(seed, scope, nth))


def derived_uuid(seed: str, scope: str, nth: int) -> uuid.UUID:
    """A UUID (version 4 layout) that is the same on every replay."""
    return uuid.UUID(bytes=derived_bytes(seed, scope, nth)[:16], version=4)
