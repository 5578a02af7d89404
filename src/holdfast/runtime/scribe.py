"""Group commit: the appends of one tick of the event loop are one transaction.

A lone step commits at once, on the loop's thread; otherwise the batch is written when the tick ends. Nobody is
answered before the commit that holds what they are told.
Messages that are posted in one tick share a commit too. Each run's events keep their order, and a run whose
append is refused fails alone.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from holdfast.core.accept import Posted
from holdfast.errors import InternalError, JournalError
from holdfast.protocols import Append, Clock, Journal, Post
from holdfast.runtime.collector import uncollected

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
        self._dirty: dict[Writer, list[asyncio.Future[None]]] = {}
        self._posts: list[tuple[Post, asyncio.Future[Posted]]] = []
        self._is_scheduled = False
        self._yielded_at = clock.monotonic()
        self.active = 0
        """Runs in memory that are not suspended; kept by the drivers."""

    async def write(self, writer: Writer) -> None:
        """Come back when everything that the writer had to write is committed or refused."""
        if self.active <= 1 and writer.is_lone and not self._dirty:
            self._commit([writer])
            now = self._clock.monotonic()
            if now - self._yielded_at > YIELD_EVERY_S:
                self._yielded_at = now
                await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._dirty.setdefault(writer, []).append(future)
        self._schedule()
        await future

    async def post(self, post: Post) -> Posted:
        """Offer a message; come back when it is stored or refused."""
        future: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()
        self._posts.append((post, future))
        self._schedule()
        return await future

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        posts, self._posts = self._posts, []
        if posts:
            self._deliver(posts)
        dirty, self._dirty = self._dirty, {}
        if dirty:
            with uncollected():
                self._commit(list(dirty))
            for futures in dirty.values():
                for future in futures:
                    if not future.done():
                        future.set_result(None)

    def _deliver(self, posts: list[tuple[Post, asyncio.Future[Posted]]]) -> None:
        waiting = [(post, future) for post, future in posts if not future.done()]
        try:
            results = self._journal.post_all([post for post, _ in waiting])
        except (JournalError, InternalError) as error:
            for _, future in waiting:
                future.set_exception(error)
            return
        for (_, future), posted in zip(waiting, results, strict=True):
            future.set_result(posted)

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
