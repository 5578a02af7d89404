"""The journal in memory: the contract of `protocols.Journal` in few lines, for tests and trials.

Invariants: J1–J9, J11, J15 to J23 as everywhere; one lock makes each call a transaction. Never: outlives its process
(J10), has bytes that could change (J12), a commit that could fail (J13) or a file that could be foreign (J14).
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holdfast.core.accept import Message, Posted, accept
from holdfast.core.accounts import Account, charged, countable
from holdfast.core.budget import Limits
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.errors import BudgetRefused, JournalCorrupt, JournalError
from holdfast.journal import refusal
from holdfast.journal.memory_run import Run, Shelf
from holdfast.journal.memory_upkeep import MemoryUpkeep
from holdfast.protocols import BODY_IN_ROW_MAX, Append, Cell, Claim, Journal, Lease, Letter, Mail, Post, Worker

if TYPE_CHECKING:
    from holdfast.journal.search import SqliteIndex


class MemoryJournal(Journal):
    """A `Journal` that ends with its process."""

    hash_key = hashlib.sha256(b"holdfast memory").digest()
    """The same in every store of this kind, so that tests repeat; it guards nothing that outlives a process."""

    def __init__(self, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool] = lambda worker: False) -> None:
        self._clock = clock
        self._is_dead = is_dead
        self._lock = threading.Lock()
        self._shelf = shelf = Shelf()
        self._runs, self._workers, self._blobs = shelf.runs, shelf.workers, shelf.blobs
        self._cells, self._accounts = shelf.cells, shelf.accounts
        self._listeners: list[Callable[[], None]] = []
        self._index: SqliteIndex | None = None

    def upkeep(self) -> MemoryUpkeep:
        """The same store, for whoever keeps it."""
        return MemoryUpkeep(self._shelf, self._lock, self._clock, self._is_dead, self.hash_key)

    def index(self) -> SqliteIndex:
        """The same store, for whoever searches it; it is in memory too, and lasts as long as this journal."""
        if self._index is None:
            from holdfast.journal.search import SqliteIndex  # loads apsw

            self._index = SqliteIndex("", "memory", "default", self._marks)
        return self._index

    def _marks(self) -> dict[str, str]:
        with self._lock:
            return {i: f"{len(run.events)}/{hash(tuple(run.events[-1:]))}" for i, run in self._runs.items()}

    def _check_open(self) -> None:
        """For each write: a store whose runs go on elsewhere takes none."""
        if (refused := self._shelf.refused) is not None:
            raise refused

    def now(self) -> float:
        return self._clock()

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        return self.post_all([Post(run_id, message_id, message)])[0]

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        with self._lock:
            self._check_open()
            for post in posts:
                if not self._has_blob(post.message.body, post.blob):
                    raise refusal.unwritable(f"A message to run {post.run_id}", ValueError(f"no blob {post.blob}"))
            posted = [self._deliver(post) for post in posts]
        self._ring(any(one.is_stored for one in posted))
        return posted

    def _deliver(self, post: Post) -> Posted:
        run_id, message_id, message = post.run_id, post.message_id, post.message
        run, now = self._runs.get(run_id), self._clock()
        if run is not None and message_id in run.message_ids:
            return Posted(False)
        posted = accept(run.head if run else None, run_id, message, now)
        if not posted.is_stored:
            return posted
        if run is None:
            assert posted.head is not None
            run = self._runs[run_id] = Run(posted.head, len(self._runs))
        if posted.subject in run.subjects:
            first = run.subjects[posted.subject]
            return Posted(False, refusal.had_already(run_id, posted.subject, first), posted.subject)
        run.take(Letter(Mail(run.posted + 1, now, message), message_id, posted.subject))
        self._keep(message.body)
        return posted

    def _has_blob(self, body: bytes | None, ref: str | None) -> bool:
        """Whether what is said to be in a blob is in one."""
        return not ref or body is None or len(body) <= BODY_IN_ROW_MAX or len(self._blobs.get(ref, b"")) == len(body)

    def _keep(self, body: bytes | None) -> None:
        if body is not None and len(body) > BODY_IN_ROW_MAX:
            self._put(hashlib.sha256(body).hexdigest(), body)

    def _put(self, ref: str, data: bytes) -> None:
        self._blobs.setdefault(ref, data)
        self._shelf.put_at[ref] = self._clock()

    def register(self, worker: Worker, ttl_s: float) -> None:
        with self._lock:
            self._check_open()
            self._workers[worker.id] = (worker, self._clock() + ttl_s)

    def retire(self, worker_id: str) -> None:
        with self._lock:
            self._check_open()
            self._workers.pop(worker_id, None)

    def claim(
        self,
        worker_id: str,
        *,
        run_ids: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Claim]:
        with self._lock:
            now = self._clock()
            if worker_id not in self._workers or self._workers[worker_id][1] <= now:
                return []
            found = []
            for run_id, run in self._runs.items():
                is_wanted = (run_ids is None or run_id in run_ids) and (agents is None or run.head.agent in agents)
                due_at = run.due_at(now)
                if is_wanted and due_at is not None and self._is_free(run, worker_id, now):
                    found.append((due_at, run.place, run))
            if found:
                self._check_open()
            return [
                _take(run, worker_id, self._workers)
                for _, _, run in sorted(found, key=lambda item: item[:2])[: max(limit, 0)]
            ]

    def _is_free(self, run: Run, worker_id: str, now: float) -> bool:
        if run.worker_id is None or run.worker_id not in self._workers:
            return run.worker_id != worker_id
        holder, expires_at = self._workers[run.worker_id]
        return run.worker_id != worker_id and (expires_at <= now or self._is_dead(holder))

    def release(self, lease: Lease, wake_at: float | None) -> None:
        with self._lock:
            self._check_open()
            run = self._runs.get(lease.run_id)
            if run is not None and (run.worker_id, run.epoch) == lease[1:]:
                run.worker_id, run.head = None, run.head._replace(wake_at=wake_at)
            is_due = run is not None and run.worker_id is None and run.due_at(self._clock()) is not None
        self._ring(is_due)

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        with self._lock:
            self._check_open()
            results = [self._append(append) for append in appends]
            done = [append for append, refused in zip(appends, results, strict=True) if refused is None]
            wakes = any(append.posts or (append.releases and self._is_due(append.lease.run_id)) for append in done)
        self._ring(wakes)
        return results

    def _is_due(self, run_id: str) -> bool:
        return self._runs[run_id].due_at(self._clock()) is not None

    def _append(self, append: Append) -> JournalError | None:
        run = self._runs.get(append.lease.run_id)
        if run is None:
            return refusal.no_run(append.lease.run_id)
        counts = (len(run.events), run.posted, run.read)
        refused = refusal.refuse_append(append, run.worker_id, run.epoch, *counts)
        if refused is None and not all(
            self._has_blob(event.body, append.blobs.get(place)) for place, event in enumerate(append.events)
        ):
            refused = refusal.unwritable(f"An append to run {append.lease.run_id}", ValueError("a blob is not there"))
        if refused is None:
            try:
                if append.charges:
                    self._accounts.update(charged(self._accounts.get, append.charges))
            except BudgetRefused as error:
                refused = error
        if refused is None:
            run.events.extend(append.events)
            for name, value in append.cells.items():
                self._set_cell(name, value)
            for event in append.events:
                self._keep(event.body)
            run.head, run.read = append.head, max(run.read, append.mail_read)
            if append.releases:
                run.worker_id = None
            for post in append.posts:
                self._deliver(post)
        return refused

    def put_blob(self, data: bytes) -> str:
        ref = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._check_open()
            self._put(ref, bytes(data))
        return ref

    def get_blob(self, ref: str) -> bytes:
        with self._lock:
            if ref not in self._blobs:
                raise JournalCorrupt(f"Blob {ref[:64]} is not in the store. Nothing of it was handed out.")
            return self._blobs[ref]

    def account(self, key: str) -> Account | None:
        with self._lock:
            return self._accounts.get(key)

    def cap(self, key: str, limits: Limits) -> None:
        with self._lock:
            self._check_open()
            self._accounts[key] = self._accounts.get(key, Account())._replace(limits=countable(limits))

    def cell(self, name: str) -> Cell | None:
        with self._lock:
            return self._cells.get(name)

    def swap(self, name: str, version: int, value: str) -> bool:
        if not refusal.fits_cell(name, value):
            raise refusal.no_cell(name)
        with self._lock:
            self._check_open()
            is_same = version == (self._cells[name].version if name in self._cells else 0)
            if is_same:
                self._set_cell(name, value)
            return is_same

    def _set_cell(self, name: str, value: str) -> None:
        self._cells[name] = Cell(self._cells[name].version + 1 if name in self._cells else 1, value)

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        with self._lock:
            events = self._runs[run_id].events[after:] if run_id in self._runs else []
        return events if limit is None else events[: max(limit, 0)]

    def mail(self, run_id: str) -> list[Mail]:
        with self._lock:
            return self._runs[run_id].unread if run_id in self._runs else []

    def unread(self, worker_id: str) -> list[str]:
        with self._lock:
            return [i for i, run in self._runs.items() if run.worker_id == worker_id and run.unread]

    def held(self, worker_id: str) -> list[Lease]:
        with self._lock:
            return [Lease(i, worker_id, run.epoch) for i, run in self._runs.items() if run.worker_id == worker_id]

    def head(self, run_id: str) -> Head | None:
        with self._lock:
            return self._runs[run_id].head if run_id in self._runs else None

    def heads(
        self, *, prefix: str = "", key: str | None = None, status: str | None = None, limit: int = 200
    ) -> list[Head]:
        with self._lock:
            heads = [run.head for run in reversed(self._runs.values()) if run.head.run_id.startswith(prefix)]
        return [head for head in heads if key in (None, head.key) and status in (None, head.status)][: max(limit, 0)]

    def owner(self, run_id: str) -> tuple[Worker, float] | None:
        with self._lock:
            run = self._runs.get(run_id)
            return None if run is None or run.worker_id is None else self._workers.get(run.worker_id)

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners.append(ring)
        return lambda: self._hush(ring)

    def _hush(self, ring: Callable[[], None]) -> None:
        with self._lock:
            if ring in self._listeners:
                self._listeners.remove(ring)

    def _ring(self, is_due: bool) -> None:
        for ring in list(self._listeners) if is_due else ():
            ring()

    def facts(self) -> dict[str, Any]:
        with self._lock:
            counts = Counter(run.head.status.value for run in self._runs.values())
            events = sum(len(run.events) for run in self._runs.values())
            blobs = {"blobs": len(self._blobs), "blob_bytes": sum(map(len, self._blobs.values()))}
        return {"engine": "memory", "runs": dict(counts), "events": events, **blobs, "integrity": "ok", "problems": []}

    def close(self) -> None:
        pass  # nothing is open


def _take(run: Run, worker_id: str, workers: Mapping[str, tuple[Worker, float]]) -> Claim:
    owner, run.worker_id, run.epoch = run.worker_id, worker_id, run.epoch + 1
    _, held_until = workers.get(owner or "", (None, None))
    return Claim(Lease(run.head.run_id, worker_id, run.epoch), run.head, owner is not None, held_until, run.unread)
