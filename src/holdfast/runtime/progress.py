"""Progress: what runs tell to whoever watches them in this process.

Invariants
1. Nothing of it is recorded, and no run waits for a watcher.
2. A watcher that fails or that is slow changes nothing for the run or for another watcher. A slow one loses the oldest
   and is told how many.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakSet

from holdfast.runtime.thread import is_running_here

KEPT_MAX = 1_000
"""What is kept for one watcher that is slower than its run."""

OnEmit = Callable[[str, Any], object]
"""Called with (run id, data)."""
_log = logging.getLogger("holdfast")


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that a run told."""

    data: Any
    missed: int = 0
    """How many were lost before it, because the watcher was slow."""


class Watch:
    """What one run tells from now on, in order: `async for progress in app.watch(run)`. Ends with the run."""

    def __init__(self, *, is_over: bool = False) -> None:
        self._kept: deque[Any] = deque()
        self._missed = 0
        self._is_over = is_over
        self._changed = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Progress:
        while not self._kept:
            if self._is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        missed, self._missed = self._missed, 0
        return Progress(self._kept.popleft(), missed)

    def tell(self, data: Any) -> None:
        """Keep this for the watcher."""
        if len(self._kept) >= KEPT_MAX:
            self._kept.popleft()
            self._missed += 1
        self._kept.append(data)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._is_over = True
        self._changed.set()


class Watchers:
    """Everybody who watches the runs of one app; lives on its loop."""

    def __init__(self, on_emit: OnEmit | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_emit = on_emit
        self._watches: dict[str, WeakSet[Watch]] = {}

    def watch(self, run: str, *, is_over: bool) -> Watch:
        """Watch this run from now on; forgotten when nobody holds it any more."""
        made = Watch(is_over=is_over)
        if not is_over:
            self._watches.setdefault(run, WeakSet()).add(made)
        return made

    def tell(self, run: str, data: Any) -> None:
        """Tell everybody; from any thread."""
        if self._on_emit is None and run not in self._watches:
            return
        if is_running_here(self._loop):
            self._tell(run, data)
            return
        try:
            self._loop.call_soon_threadsafe(self._tell, run, data)
        except RuntimeError:
            pass  # the loop is closed: nobody watches any more

    def _tell(self, run: str, data: Any) -> None:
        for watch in list(self._watches.get(run, ())):
            watch.tell(data)
        if self._on_emit is None:
            return
        try:
            self._on_emit(run, data)
        except Exception as error:  # the user's own callback
            _log.warning("on_emit raised %r for run %s. The run goes on.", error, run)

    def over(self, run: str) -> None:
        """The run has ended."""
        for watch in list(self._watches.pop(run, ())):
            watch.end()

    def close(self) -> None:
        """The app is closed."""
        for run in list(self._watches):
            self.over(run)
