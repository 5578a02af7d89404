"""The cyclic garbage collector rests where holdfast makes many objects at once that all live.

Loading a long record, or writing for a thousand runs in one transaction, makes tens of thousands of objects. Looking
through them again and again for garbage took a third of the time of loading and a sixth of that of writing.

Runs that are at work together hold some hundred objects each, and those of a run that ends are freed without the
collector. So while there are many, it looks only after as many new objects as would be garbage worth the look.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakSet

MANY = 32
"""Runs at work together from which on the collector looks seldom; it looks as before when half of them are left."""
SELDOM = 50_021
"""New objects between two looks then: a few megabytes. A number that nobody else would take."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block nothing is collected; for short blocks that never wait."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Crowds:
    """Who has many runs at work in this process, and how often the collector looked before any of them had."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._crowded: WeakSet[object] = WeakSet()
        self._before: int | None = None
        """What we have put SELDOM in the place of."""

    def count(self, who: object, runs: int) -> None:
        """So many runs are at work there now."""
        if (who in self._crowded) == (runs >= MANY if who not in self._crowded else runs > MANY // 2):
            return
        with self._lock:
            if who in self._crowded:
                self._crowded.discard(who)
                if not self._crowded:
                    self._as_before()
            else:
                if 0 < gc.get_threshold()[0] < SELDOM:  # 0: somebody wants no collector
                    self._before = gc.get_threshold()[0]
                    self._set(SELDOM)
                self._crowded.add(who)

    def _as_before(self) -> None:
        """But what somebody else has set meanwhile stays."""
        if self._before is not None and gc.get_threshold()[0] == SELDOM:
            self._set(self._before)
        self._before = None

    def _set(self, first: int) -> None:
        gc.set_threshold(first, *gc.get_threshold()[1:])


crowds = Crowds()
"""Of this process, which has one collector."""
