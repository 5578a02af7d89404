"""Keeping a store in memory: the contract of `protocols.Upkeep` in few lines, for tests and trials.

Invariants: U1–U11 as everywhere; the journal's own lock makes each call a transaction. Never: finds damage, since its
objects cannot be damaged; gives space back, since it has none.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

from holdfast.core.accounts import Account
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.standing import Passage, Standing, may_become
from holdfast.journal import refusal
from holdfast.journal.memory_run import URL, Run, Shelf
from holdfast.protocols import BODY_IN_ROW_MAX, Cell, Identity, Record, Worker


class MemoryUpkeep:
    """An open store in memory, for whoever keeps it."""

    def __init__(
        self,
        shelf: Shelf,
        lock: threading.Lock,
        clock: Callable[[], float],
        is_dead: Callable[[Worker], bool],
        hash_key: bytes,
    ) -> None:
        self._shelf = shelf
        self._lock = lock
        self._clock = clock
        self._is_dead = is_dead
        self._identity = Identity("memory", hash_key)

    def tenants(self) -> list[str]:
        with self._lock:
            return [] if self._is_empty() else ["default"]

    def run_ids(self, after: str = "", limit: int = 1_000) -> list[str]:
        with self._lock:
            ids = list(self._shelf.runs)
        begin = 0 if not after else ids.index(after) + 1 if after in ids else len(ids)
        return ids[begin : begin + max(limit, 0)]

    def record(self, run_id: str) -> Record | None:
        with self._lock:
            run = self._shelf.runs.get(run_id)
            if run is None:
                return None
            return Record(run.head, run.epoch, run.events[:], run.letters[:], run.read, run.worker_id or "")

    def install(self, record: Record) -> bool:
        with self._lock:
            self._need(Passage.FILLING)
            runs, run_id = self._shelf.runs, record.head.run_id
            if run_id in runs:
                return False
            gone = record.mail_read if not record.letters else 0
            run = Run(record.head, len(runs), list(record.events), condensed=gone, read=record.mail_read)
            run.epoch, run.worker_id = record.epoch, record.holder or None
            for letter in record.letters:
                run.take(letter)
            for body in (*(event.body for event in run.events), *(one.mail.message.body for one in run.letters)):
                self._keep(body)
            runs[run_id] = run
            return True

    def _keep(self, body: bytes | None) -> None:
        if body is not None and len(body) > BODY_IN_ROW_MAX:
            ref = hashlib.sha256(body).hexdigest()
            self._shelf.blobs[ref], self._shelf.put_at[ref] = body, self._clock()

    def condense(self, run_id: str, after: int, events: Sequence[Event], head: Head) -> bool:
        with self._lock:
            self._need(Passage.OPEN)
            run = self._shelf.runs.get(run_id)
            if run is None or self._is_held(run) or len(run.events) != after or run.unread:
                return False
            if not run.head.status.is_end or not head.status.is_end:
                return False
            run.head, run.events, run.condensed = head, list(events), run.posted
            run.letters, run.message_ids, run.subjects = [], set(), {}
            run.epoch, run.worker_id = run.epoch + (run.worker_id is not None), None
            return True

    def mend(self, run_id: str, after: int, head: Head) -> bool:
        with self._lock:
            self._need(Passage.OPEN)
            run = self._shelf.runs.get(run_id)
            if run is None or self._is_held(run) or len(run.events) != after:
                return False
            run.head = head
            return True

    def _is_held(self, run: Run) -> bool:
        """By somebody who may be alive."""
        return run.worker_id in {worker.id for worker in self._living()}

    def accounts(self) -> dict[str, Account | None]:
        with self._lock:
            return dict(sorted(self._shelf.accounts.items()))

    def put_account(self, key: str, before: Account | None, account: Account, mark: str = "") -> bool:
        with self._lock:
            self._need(Passage.OPEN, Passage.FILLING)
            is_as_seen = self._shelf.accounts.get(key) == before and mark in ("", self._mark())
            if is_as_seen:
                self._shelf.accounts[key] = account
            return is_as_seen

    def cells(self) -> dict[str, Cell | None]:
        with self._lock:
            return dict(sorted(self._shelf.cells.items()))

    def put_cell(self, name: str, before: Cell | None, cell: Cell) -> bool:
        with self._lock:
            self._need(Passage.OPEN, Passage.FILLING)
            is_as_seen = self._shelf.cells.get(name) == before
            if is_as_seen:
                self._shelf.cells[name] = cell
            return is_as_seen

    def mark(self) -> str:
        with self._lock:
            return self._mark()

    def _mark(self) -> str:
        runs = self._shelf.runs.values()
        return f"{len(runs)}/{sum(run.epoch for run in runs)}/{sum(len(run.events) for run in runs)}"

    def sweep_blobs(self, put_before: float) -> tuple[int, int]:
        with self._lock:
            self._need(Passage.OPEN)
            named = {hashlib.sha256(body).hexdigest() for body in self._bodies() if len(body) > BODY_IN_ROW_MAX}
            old = [ref for ref, at in self._shelf.put_at.items() if at < put_before and ref not in named]
            for ref in old:
                del self._shelf.put_at[ref]
            return len(old), sum(len(self._shelf.blobs.pop(ref)) for ref in old)

    def _bodies(self) -> list[bytes]:
        bodies = [event.body for run in self._shelf.runs.values() for event in run.events]
        bodies += [letter.mail.message.body for run in self._shelf.runs.values() for letter in run.letters]
        return [body for body in bodies if body is not None]

    def sweep_workers(self, expired_before: float, *, is_trial: bool = False) -> int:
        with self._lock:
            if not is_trial:
                self._need(Passage.OPEN)
            holders, workers = {run.worker_id for run in self._shelf.runs.values()}, self._shelf.workers
            gone = [
                worker.id
                for worker, expires_at in workers.values()
                if worker.id not in holders and (expires_at < expired_before or self._is_dead(worker))
            ]
            for worker_id in () if is_trial else gone:
                del workers[worker_id]
            return len(gone)

    def compact(self) -> None:
        pass  # it has no file

    def living(self) -> list[Worker]:
        with self._lock:
            return self._living()

    def _living(self) -> list[Worker]:
        now, holders = self._clock(), {run.worker_id for run in self._shelf.runs.values()}
        held = [found for worker_id, found in sorted(self._shelf.workers.items()) if worker_id in holders]
        return [worker for worker, expires_at in held if expires_at > now and not self._is_dead(worker)]

    def standing(self) -> Standing:
        with self._lock:
            return self._shelf.standing

    def pass_on(self, before: Standing, after: Standing) -> bool:
        with self._lock:
            if self._shelf.standing != before or not may_become(before, after):
                return False
            is_kept = after.passage is Passage.LEAVING and self._living()
            if is_kept or (after.passage is Passage.FILLING and not self._is_empty()):
                return False
            self._shelf.standing = after
            return True

    def identity(self) -> Identity:
        return self._shelf.identity or self._identity

    def take_identity(self, identity: Identity) -> bool:
        with self._lock:
            if self._shelf.standing.passage is not Passage.FILLING or not self._is_empty():
                return False
            self._shelf.identity, self._shelf.is_another = identity, identity != self._identity
            return True

    def _is_empty(self) -> bool:
        return not (self._shelf.runs or self._shelf.cells or self._shelf.accounts)

    def _need(self, *passages: Passage) -> None:
        now = self._shelf.standing
        if now.passage not in passages:
            raise refusal.not_filling(URL) if now.is_open else refusal.moved(now, URL)
