"""The store's clock: the server's, as far as this process can tell it without asking each time.

Machines that share a store must agree on when a lease ends and a timer is due. So the server's time counts, and each
process knows how far its own clock is off: measured whenever it renews its lease or looks for work.

Never: goes back by less than `JUMP_S`; more than that is a clock that was set.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.journal.postgres import server
from holdfast.journal.postgres.server import Db

JUMP_S = 1.0
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class StoreClock:
    """What time it is for the store."""

    def __init__(self, clock: Callable[[], float], *, is_shared: bool) -> None:
        self._clock = clock
        self._is_shared = is_shared
        self.now: Callable[[], float] = self._told if is_shared else clock
        """Seconds since the epoch, UTC."""
        self._ahead_s = 0.0
        self._latest = 0.0

    def measure(self, db: Db) -> None:
        """Ask the server, unless the clock that was given is the store's own."""
        if not self._is_shared:
            return
        before = self._clock()
        [found] = server.row(db, _NOW)
        self._ahead_s = float(found) - (before + self._clock()) / 2

    def _told(self) -> float:
        found = self._clock() + self._ahead_s
        latest = self._latest  # nothing is called from here on: the interpreter's lock lets no other thread in between
        if latest - JUMP_S < found < latest:
            return latest
        self._latest = found
        return found
