"""Whose turn it is, where one thread at a time may use something.

A lock alone goes to whoever asks just then: a thread that gives it back and takes it again at once, as a writer under
load does, keeps all others waiting, for as long as it goes on. Here who waits comes before who comes again.
"""

from __future__ import annotations

import threading
from types import TracebackType


class Turn:
    """A lock that is handed on to who waits for it; of several who wait, to one of them."""

    __slots__ = ("_mine", "_next")

    def __init__(self) -> None:
        self._next = threading.Lock()
        """Held by the one who waits."""
        self._mine = threading.Lock()

    def take(self, *, waits: bool = True) -> bool:
        """Take it; False when somebody else has it, or waits for it, and this one does not wait."""
        if not self._next.acquire(blocking=waits):
            return False
        try:
            return self._mine.acquire(blocking=waits)
        finally:
            self._next.release()

    def leave(self) -> None:
        """Give it back."""
        self._mine.release()

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
