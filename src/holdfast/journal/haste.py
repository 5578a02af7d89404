"""Whether this thread may wait for other writers of a store.

The loop of a process must not: it renews leases, and all its runs stand still while it waits. What it writes it tries
in haste first; what somebody else keeps it from is written on a thread, which has time.

Within `hasty()` a write that would have to wait for another writer of the store raises `OthersWriting`, and has changed
nothing. An engine that cannot tell, or has no others to wait for, need not look here.
"""

from __future__ import annotations

import threading
from types import TracebackType


class _Thread(threading.local):
    is_hasty = False


_thread = _Thread()


def is_hasty() -> bool:
    """Whether a write on this thread is to fail rather than to wait."""
    return _thread.is_hasty


class hasty:
    """A block in which this thread does not wait for other writers; there is none within another."""

    __slots__ = ()

    def __enter__(self) -> None:
        _thread.is_hasty = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _thread.is_hasty = False
