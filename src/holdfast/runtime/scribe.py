"""Group commit: the appends of one tick of the event loop are one transaction.

A lone step commits at once, on the loop's thread; otherwise the batch is written when the tick ends. Nobody is
answered before the commit that holds what they are told.
Messages that are posted in one tick share a commit too. Each run's events keep their order, and a run whose
append is refused fails alone. Where an account has no room for what an append asks for, it goes again without that.
A large body is put on a thread before the append or post that names it: meanwhile its run waits, and no other run does.

The loop waits for no other writer, and not for a slow disk: when calls of late took more than a few milliseconds
(`pace`), or another writer is at work (`OthersWriting`), the batch is written on a thread. One is at a time; what comes
meanwhile is the next. Whatever is written for a run is written in the order in which it was added, its release last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from holdfast.core.accept import Posted
from holdfast.errors import BudgetRefused, JournalError, OthersWriting, StoreUnreachable
from holdfast.journal.haste import hasty
from holdfast.protocols import BODY_IN_ROW_MAX, Append, Clock, Journal, Lease, Post
from holdfast.runtime.batch import Batch, Given
from holdfast.runtime.collector import uncollected
from holdfast.runtime.pace import Pace
from holdfast.runtime.thread import in_thread

T = TypeVar("T")

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
        self._pace = Pace()
        self._dirty: dict[Writer, list[asyncio.Future[None]]] = {}
        self._posts: list[tuple[Post, asyncio.Future[Posted]]] = []
        self._releases: list[Given] = []
        self._is_scheduled = False
        self._aside: asyncio.Task[None] | None = None
        """The batch that is written on a thread; nothing else is begun before it is over."""
        self._held: dict[Writer, list[asyncio.Future[None]]] = {}
        self._putting: set[asyncio.Task[None]] = set()
        self._yielded_at = clock.monotonic()
        self.active = 0
        """Runs in memory that are not suspended; kept by the drivers."""
        self._owed: list[Given] = []
        """Releases that failed."""

    async def write(self, writer: Writer) -> None:
        """Come back when everything that the writer had to write is committed or refused."""
        if self.active <= 1 and writer.is_lone and not self._dirty and not writer.large and self._is_free():
            is_done, now = self._commit_alone(writer)
            if is_done:
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

    def release(self, lease: Lease, wake_at: float | None, *, after: Writer | None = None) -> None:
        """Give a run back, at once where that is quick and `after` has nothing to write. What fails is owed."""
        if self._is_free() and not self._releases and after not in self._dirty:
            self._write_here(_Work({}, [], [(lease, wake_at)]))
        else:
            self._releases.append((lease, wake_at))
            self._schedule()

    def take_owed(self) -> list[Given]:
        """What could not be given back; it is the caller's now."""
        owed, self._owed = self._owed, []
        return owed

    async def do(self, call: Callable[[], T]) -> T:
        """What else the store is asked that may have to wait for writers: here when it is quick, else on a thread."""
        if self._is_free():
            try:
                with hasty(), uncollected():
                    return call()
            except OthersWriting:
                self._pace.was_busy()
        return await self._clock.aside("store", call)

    async def settled(self) -> None:
        """Wait until all that is to be written is."""
        while self._aside is not None or self._is_scheduled:
            if self._aside is None:
                await asyncio.sleep(0)
            else:
                await asyncio.wait({self._aside})

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

    # --- where it is written ---------------------------------------------------------------------------------

    def _is_free(self) -> bool:
        """Whether the loop may write now."""
        return self._aside is None and not self._pace.is_slow(self._clock.monotonic())

    def _schedule(self) -> None:
        if not self._is_scheduled and self._aside is None:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        while self._aside is None and (self._dirty or self._posts or self._releases):
            dirty, self._dirty = self._dirty, {}
            for writer in [writer for writer in dirty if writer.large]:
                self._hold(writer, dirty.pop(writer))
            work = self._gathered(dirty)
            if self._is_free():
                with uncollected():
                    self._write_here(work)
            else:
                self._write_aside(work)

    def _gathered(self, dirty: dict[Writer, list[asyncio.Future[None]]]) -> _Work:
        posts = [(post, future) for post, future in self._posts if not future.done()]
        releases, self._posts, self._releases = self._releases, [], []
        return _Work(dirty, posts, releases)

    def _commit_alone(self, writer: Writer) -> tuple[bool, float]:
        """As `_write_here` does it for several; whether it is done, and the time. Otherwise it goes with the others."""
        append, began = writer.take(), self._clock.monotonic()
        if append is None:
            return True, began
        result: JournalError | None
        try:
            with hasty():
                result = self._journal.append([append])[0]
        except OthersWriting:
            self._pace.was_busy()
            return False, began
        except JournalError as error:
            result = error
        now = self._clock.monotonic()
        self._pace.took(now - began, 1)
        if isinstance(result, BudgetRefused) and writer.retake(result):
            return False, now
        writer.written(result)
        return True, now

    def _write_here(self, work: _Work) -> None:
        began, size = self._clock.monotonic(), work.batch.size
        try:
            with hasty():
                work.batch.perform(self._journal)
        except OthersWriting:
            self._pace.was_busy()
            self._write_aside(work)
            return
        self._pace.took(self._clock.monotonic() - began, size)
        self._settle(work)

    def _write_aside(self, work: _Work) -> None:
        self._aside = asyncio.get_running_loop().create_task(self._insist(work))

    async def _insist(self, work: _Work) -> None:
        began, size = self._clock.monotonic(), work.batch.size
        failure = StoreUnreachable("A commit was given up while it was under way; what it wrote is in the record.")
        try:
            await self._clock.aside("store", partial(work.batch.insist, self._journal, self._clock))
            self._pace.took(self._clock.monotonic() - began, size)
        except Exception as bug:  # of the engine: whoever waits for it is told, as on the loop
            failure = StoreUnreachable(f"The store failed in a way that holdfast does not know: {bug!r}.")
            failure.__cause__ = bug
        finally:
            work.batch.fail(failure)
            self._aside = None
            self._settle(work)
            if self._dirty or self._posts or self._releases:
                self._schedule()

    def _settle(self, work: _Work) -> None:
        """Tell everybody what became of theirs; who asked an account for too much writes again without that."""
        for writer, futures in work.settle():
            self._dirty[writer] = futures + self._dirty.get(writer, [])
        self._owed += work.batch.releases


class _Work:
    """A batch, and who waits for what of it."""

    def __init__(
        self,
        dirty: dict[Writer, list[asyncio.Future[None]]],
        posts: list[tuple[Post, asyncio.Future[Posted]]],
        releases: list[Given],
    ) -> None:
        self._dirty = dirty
        self._posts = [future for _, future in posts]
        taken = [(writer, append) for writer in dirty if (append := writer.take()) is not None]
        self._writers = [writer for writer, _ in taken]
        self.batch = Batch([post for post, _ in posts], [append for _, append in taken], releases)

    def settle(self) -> list[tuple[Writer, list[asyncio.Future[None]]]]:
        """Tell everybody; those that have to write again, since an account refused what they asked for."""
        self._tell_posts()
        results = self.batch.appended
        assert results is not None
        if isinstance(results, JournalError):
            results = [results] * len(self._writers)
        again = []
        for writer, result in zip(self._writers, results, strict=True):
            if isinstance(result, BudgetRefused) and writer.retake(result):
                again.append((writer, self._dirty.pop(writer)))
            else:
                writer.written(result)
        for futures in self._dirty.values():
            _tell(futures)
        return again

    def _tell_posts(self) -> None:
        posted = self.batch.posted
        for number, future in enumerate(self._posts):
            if future.done():
                continue
            if isinstance(posted, list):
                future.set_result(posted[number])
            else:
                assert posted is not None
                future.set_exception(posted)


def _tell(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
