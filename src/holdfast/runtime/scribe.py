"""Group commit: the appends of one tick of the event loop are one transaction.

A lone step commits at once, on the loop's thread; otherwise the batch is written when the tick ends. Nobody is
answered before the commit that holds what they are told.
Messages that are posted in one tick share a commit too. Each run's events keep their order, and a run whose
append is refused fails alone. Where an account has no room for what an append asks for, it goes again without that.
A large body is put on a thread before the append or post that names it: meanwhile its run waits, and no other run does.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Protocol

from holdfast.core.accept import Posted
from holdfast.errors import BudgetRefused, InternalError, JournalError, StoreUnreachable
from holdfast.protocols import BODY_IN_ROW_MAX, Append, Clock, Journal, Post
from holdfast.runtime.collector import uncollected
from holdfast.runtime.thread import in_thread

YIELD_EVERY_S = 0.02
"""A lone run that never waits still lets the loop turn this often, so that its lease is renewed."""


class Writer(Protocol):
    """One run with events to write."""

    is_lone: bool
    """Nothing else of this run is under way, so waiting for the end of the tick would gain nothing."""

    large: dict[int, bytes]
    """Bodies that are blobs and were not put yet; nothing is taken before all are."""

    def put(self, place: int, blob: str) -> None:
        """The body at that place is in the store, under this name."""

    def take(self) -> Append | None:
        """What is to be written now."""

    def retake(self, refused: BudgetRefused) -> bool:
        """Take back one thing that it asked for and did not get; then it is to be written again."""

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
        self._held: dict[Writer, list[asyncio.Future[None]]] = {}
        self._putting: set[asyncio.Task[None]] = set()
        self._yielded_at = clock.monotonic()
        self.active = 0
        """Runs in memory that are not suspended; kept by the drivers."""

    async def write(self, writer: Writer) -> None:
        """Come back when everything that the writer had to write is committed or refused."""
        if self.active <= 1 and writer.is_lone and not self._dirty and not writer.large:
            self._commit_alone(writer)
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
        post = await self.put_first(post)
        future: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()
        self._posts.append((post, future))
        self._schedule()
        return await future

    async def put_first(self, post: Post) -> Post:
        """The same message, naming its blob if its body is large."""
        body = post.message.body
        if body is None or len(body) <= BODY_IN_ROW_MAX:
            return post
        return replace(post, blob=await self._put(body))

    async def _put(self, body: bytes) -> str:
        ref: str = await in_thread("blob", partial(self._journal.put_blob, body))
        return ref

    def _hold(self, writer: Writer, futures: list[asyncio.Future[None]]) -> None:
        """Let a writer wait until what is large is put; a writer that waits already waits for all of it."""
        if writer in self._held:
            self._held[writer] += futures
            return
        self._held[writer] = futures
        task = asyncio.get_running_loop().create_task(self._put_large(writer))
        self._putting.add(task)
        task.add_done_callback(self._putting.discard)

    async def _put_large(self, writer: Writer) -> None:
        """Put what is large, then let the writer write with the others, or learn that it cannot."""
        refused: JournalError | None = StoreUnreachable("A large value could not be put. Nothing was written.")
        try:
            while writer.large:
                place, body = next(iter(writer.large.items()))
                writer.put(place, await self._put(body))
            refused = None
        except JournalError as error:
            refused = error
        finally:
            futures = self._held.pop(writer)
            if refused is None:
                self._dirty.setdefault(writer, []).extend(futures)
                self._schedule()
            else:
                writer.written(refused)
                _tell(futures)

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
        for writer in [writer for writer in dirty if writer.large]:
            self._hold(writer, dirty.pop(writer))
        if dirty:
            with uncollected():
                self._commit(list(dirty))
            for futures in dirty.values():
                _tell(futures)

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

    def _commit_alone(self, writer: Writer) -> None:
        """As `_commit` does it for several."""
        append = writer.take()
        if append is None:
            return
        result: JournalError | None
        try:
            result = self._journal.append([append])[0]
        except JournalError as error:
            result = error
        if isinstance(result, BudgetRefused) and writer.retake(result):
            self._commit([writer])
        else:
            writer.written(result)

    def _commit(self, writers: list[Writer]) -> None:
        while writers:
            writers = self._commit_once(writers)

    def _commit_once(self, writers: list[Writer]) -> list[Writer]:
        """Write; those that have to write again, since an account refused what they asked for."""
        taken = [(writer, append) for writer in writers if (append := writer.take()) is not None]
        if not taken:
            return []
        results: list[JournalError | None]
        try:
            results = self._journal.append([append for _, append in taken])
        except JournalError as error:
            results = [error] * len(taken)
        again = []
        for (writer, _), result in zip(taken, results, strict=True):
            if isinstance(result, BudgetRefused) and writer.retake(result):
                again.append(writer)
            else:
                writer.written(result)
        return again


def _tell(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
