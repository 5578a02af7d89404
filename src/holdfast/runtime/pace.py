"""Whether a store is so slow, or so busy, that an event loop should not wait for it. Pure.

What counts is the mean of what the last calls took, beyond what an append costs in computing: that time is the same on
a thread, and dearer. Where the mean is moderate, one call a second is made on the loop all the same, to see whether it
would be quick now: measured from a thread, a process that computes much looks like a slow disk.
"""

from __future__ import annotations

SLOW_S = 0.005
"""A mean above this is slow."""
STUCK_S = 0.05
"""Above this nothing is tried on the loop: each try would stop all runs for as long."""
TRY_AFTER_S = 1.0
APPEND_S = 0.000_2
"""What an append of a group may take in computing."""
WEIGHT = 0.2
"""Of the newest call: one commit of 25 ms among quick ones makes no slow disk, two do."""


class Pace:
    """The pace of one store, as one loop sees it."""

    def __init__(self) -> None:
        self._mean_s = 0.0
        self._slow_since: float | None = None

    def took(self, spent_s: float, count: int) -> None:
        """A call that wrote `count` things took so long."""
        waited_s = max(0.0, spent_s - count * APPEND_S)
        self._mean_s += (waited_s - self._mean_s) * WEIGHT

    def was_busy(self) -> None:
        """A call found another writer at work, and would have had to wait."""
        self._mean_s = max(self._mean_s, 2 * SLOW_S)

    def is_slow(self, now: float) -> bool:
        """Whether what is written now belongs on a thread. now: any clock that never goes back."""
        if self._mean_s <= SLOW_S:
            self._slow_since = None
            return False
        if self._slow_since is None:
            self._slow_since = now
        if self._mean_s > STUCK_S or now - self._slow_since < TRY_AFTER_S:
            return True
        self._slow_since = now
        return False
