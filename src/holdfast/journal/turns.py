"""A lock that is given in the order in which it was asked for.

`threading.Lock` may go to the thread that has just let go of it, again and again: a thread that writes a large value
piece by piece would keep the event loop from writing a step between two pieces.

Invariants
1. At most one thread is inside; who leaves hands the lock to whoever waits longest, before anybody new can take it.
2. A thread that is inside must not enter again.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """First come, first served."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._mutex:
            if not self._is_taken:
                self._is_taken = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        turn.acquire()  # until the one before us leaves

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False
