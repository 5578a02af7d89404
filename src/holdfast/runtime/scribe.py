"""Group commit: the appends of one tick of the event loop are one transaction.

A lone step commits at once, on the loop's thread; otherwise the batch is written when the tick ends. Nobody is
answered before the commit that holds what they are told. Each run's events keep their order, and a run whose
append is refused fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from holdfast.errors import JournalError
from holdfast.protocols import Append, Clock, Journal

YIELD_EVERY_S = 0.02
"""A lone run that never waits still lets the loop turn this often, so that its lease is renewed."""


class Writer(Protocol):
    """One run with events to write."""

    is_lone: bool
    """Nothing else of this run is under way, so waiting for the end of the tick would gain nothing."""

    def take(self) -> Append | None:
        """What is to be written now."""

    def written(self, error: JournalError | None) -> None:
        """What became of it."""


class Scribe:
    """Writes for all runs of one event loop."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._dirty: dict[Writer, asyncio.Future[None]] = {}
        self._is_scheduled = False
        self._yielded_at = clock.monotonic()
        self.active = 0
        """Runs in memory that are not suspended; kept by the drivers."""
        self.on_commit: Callable[[int], None] | None = None

    async def write(self, writer: Writer) -> None:
        """Come back when everything that the writer had to write is committed or refused."""
        if self.active <= 1 and writer.is_lone and not self._dirty:
            self._commit([writer])
            if self._clock.monotonic() - self._yielded_at > YIELD_EVERY_S:
                await asyncio.sleep(0)
                self._yielded_at = self._clock.monotonic()
            return
        future = self._dirty.get(writer)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._dirty[writer] = loop.create_future()
            if not self._is_scheduled:
                self._is_scheduled = True
                loop.call_soon(self._flush)
        await asyncio.shield(future)

    def _flush(self) -> None:
        self._is_scheduled = False
        dirty, self._dirty = self._dirty, {}
        self._commit(list(dirty))
        for future in dirty.values():
            if not future.done():
                future.set_result(None)

    def _commit(self, writers: list[Writer]) -> None:
        taken = [(writer, append) for writer in writers if (append := writer.take()) is not None]
        if not taken:
            return
        results: list[JournalError | None]
        try:
            results = self._journal.append([append for _, append in taken])
        except JournalError as error:
            results = [error] * len(taken)
        for (writer, _), result in zip(taken, results, strict=True):
            writer.written(result)
        if self.on_commit is not None:
            self.on_commit(len(taken))
