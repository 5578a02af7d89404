"""Keeping an SQLite store: what `holdfast gc`, `migrate` and `doctor --rebuild` do to it (`protocols.Upkeep`).

Invariants: U1–U11. What decides is read in the transaction that writes; a commit whose outcome is not known is read
back, never repeated blindly. Never: called by a running agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw

from holdfast.core.accounts import Account
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.standing import Passage, Standing, may_become
from holdfast.errors import JournalCorrupt
from holdfast.journal import leases, refusal, shared, sweep, whole
from holdfast.journal.database import Database
from holdfast.protocols import Cell, Identity, Record, Worker

_TENANTS = "SELECT tenant FROM runs UNION SELECT tenant FROM cells UNION SELECT tenant FROM accounts ORDER BY 1"
_LIVING = (
    "SELECT w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host FROM workers w WHERE w.expires_at > ? "
    "AND EXISTS (SELECT 1 FROM runs r WHERE r.tenant = w.tenant AND r.worker_id = w.worker_id) ORDER BY 1"
)
_MARK = "SELECT count(*), sum(epoch), sum(count) FROM runs WHERE tenant = ?"
_STANDING = "SELECT moved_to FROM store"
_IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM runs UNION ALL SELECT 1 FROM cells UNION ALL SELECT 1 FROM accounts)"


class SqliteUpkeep:
    """An open SQLite store, for whoever keeps it."""

    def __init__(
        self, database: Database, url: str, tenant: str, clock: Callable[[], float], is_dead: Callable[[Worker], bool]
    ) -> None:
        self._database = database
        self._url = url
        self._tenant = tenant
        self._clock = clock
        self._is_dead = is_dead

    def tenants(self) -> list[str]:
        """The tenants that have anything here."""
        return self._database.read(lambda db: [name for (name,) in db.execute(_TENANTS)])

    def run_ids(self, after: str = "", limit: int = 1_000) -> list[str]:
        """Ids in the order in which the runs were made (U1)."""
        return self._database.read(lambda db: whole.ids(db, self._tenant, after, limit))

    def record(self, run_id: str) -> Record | None:
        """All of a run, checked (U2)."""
        return self._database.read(lambda db: whole.read(db, self._tenant, run_id))

    def install(self, record: Record) -> bool:
        """Make a run in a store that is being filled (U3)."""
        now, run_id = self._clock(), record.head.run_id

        def work(db: apsw.Connection) -> bool:
            self._need(db, Passage.FILLING)
            return whole.install(db, self._tenant, record, now)

        try:
            return self._database.write(
                work, lambda db, done: done and whole.is_there(db, self._tenant, run_id), is_upkeep=True
            )
        except refusal.UNWRITABLE as error:
            raise refusal.unwritable(f"The record of run {run_id}", error) from error

    def condense(self, run_id: str, after: int, events: Sequence[Event], head: Head) -> bool:
        """Replace the log of an ended run (U4)."""
        now = self._clock()

        def work(db: apsw.Connection) -> bytes | None:
            self._need(db, Passage.OPEN)
            return whole.condense(db, self._tenant, run_id, after, events, head, now, self._is_held(run_id))

        def stands(db: apsw.Connection, chain: bytes | None) -> bool:
            return chain is not None and whole.ends_with(db, self._tenant, run_id, chain)

        return self._database.write(work, stands, is_upkeep=True) is not None

    def mend(self, run_id: str, after: int, head: Head) -> bool:
        """Write a head (U5)."""

        def work(db: apsw.Connection) -> bool:
            self._need(db, Passage.OPEN)
            return whole.mend(db, self._tenant, run_id, after, head, self._is_held(run_id))

        return self._database.write(work, is_upkeep=True)

    def _is_held(self, run_id: str) -> Callable[[apsw.Connection], bool]:
        def is_held(db: apsw.Connection) -> bool:
            owner = leases.owner(db, self._tenant, run_id)
            return owner is not None and owner[1] > self._clock() and not self._is_dead(owner[0])

        return is_held

    def accounts(self) -> dict[str, Account | None]:
        """All accounts, None for one that is damaged (U6)."""
        return self._database.read(lambda db: shared.accounts(db, self._tenant))

    def put_account(self, key: str, before: Account | None, account: Account, mark: str = "") -> bool:
        """Write an account over `before` or what is damaged (U6)."""

        def work(db: apsw.Connection) -> bool:
            self._need(db, Passage.OPEN, Passage.FILLING)
            if mark and _mark(db, self._tenant) != mark:
                return False
            return shared.put_account(db, self._tenant, key, before, account)

        return self._database.write(
            work, lambda db, done: done and shared.is_account(db, self._tenant, key, account), is_upkeep=True
        )

    def cells(self) -> dict[str, Cell | None]:
        """All cells, None for one that is damaged (U6)."""
        return self._database.read(lambda db: shared.cells(db, self._tenant))

    def put_cell(self, name: str, before: Cell | None, cell: Cell) -> bool:
        """Write a cell over `before` or what is damaged (U6)."""

        def work(db: apsw.Connection) -> bool:
            self._need(db, Passage.OPEN, Passage.FILLING)
            return shared.put_cell(db, self._tenant, name, before, cell)

        return self._database.write(
            work, lambda db, done: done and shared.is_cell(db, self._tenant, name, cell), is_upkeep=True
        )

    def mark(self) -> str:
        """Another text when a log may have changed (U6)."""
        return self._database.read(lambda db: _mark(db, self._tenant))

    def sweep_blobs(self, put_before: float) -> tuple[int, int]:
        """Remove blobs that nothing names (U7)."""
        now, removed = self._clock(), []

        def begin(db: apsw.Connection) -> None:
            self._need(db, Passage.OPEN)
            sweep.date(db, self._tenant, now)

        self._database.write(begin, is_upkeep=True)
        for blob_no in self._database.read(lambda db: sweep.candidates(db, self._tenant, put_before)):
            size = self._database.write(lambda db: sweep.remove(db, blob_no, put_before))  # noqa: B023 - called at once
            if size is not None:
                removed.append(size)
        return len(removed), sum(removed)

    def sweep_workers(self, expired_before: float, *, is_trial: bool = False) -> int:
        """Remove the rows of workers that are gone (U11). Who is gone is found out while others write."""
        idle = self._database.read(lambda db: sweep.idle(db, self._tenant))
        gone = [seen for seen in idle if seen.expires_at < expired_before or self._is_dead(seen.worker)]
        if is_trial:
            return len(gone)

        def work(db: apsw.Connection) -> list[sweep.Idle]:
            self._need(db, Passage.OPEN)
            return sweep.dismiss(db, self._tenant, gone)

        def stands(db: apsw.Connection, removed: list[sweep.Idle]) -> bool:
            return bool(removed) and removed[0] not in sweep.idle(db, self._tenant)

        return len(self._database.write(work, stands, is_durable=False, is_upkeep=True))

    def compact(self) -> None:
        """Give free pages back (U8)."""
        self._database.alone(sweep.compact)

    def living(self) -> list[Worker]:
        """Workers that hold a run and may be alive."""
        return self._database.read(self._living)

    def _living(self, db: apsw.Connection) -> list[Worker]:
        found = [Worker(*row) for row in db.execute(_LIVING, (self._clock(),))]
        return [worker for worker in found if not self._is_dead(worker)]

    def standing(self) -> Standing:
        """Where the store stands (U9)."""
        return self._database.read(_standing)

    def pass_on(self, before: Standing, after: Standing) -> bool:
        """Change where it stands (U9)."""

        def work(db: apsw.Connection) -> bool:
            if _standing(db) != before or not may_become(before, after):
                return False
            if after.passage is Passage.LEAVING and self._living(db):
                return False
            if after.passage is Passage.FILLING and not _is_empty(db):
                return False
            db.execute("UPDATE store SET moved_to = ?", (after.text(),))
            return True

        return self._database.write(work, lambda db, done: done and _standing(db) == after, is_upkeep=True)

    def identity(self) -> Identity:
        """What the store is known by."""
        return self._database.read(_identity)

    def take_identity(self, identity: Identity) -> bool:
        """Become the store of that identity (U10)."""

        def work(db: apsw.Connection) -> bool:
            if _standing(db).passage is not Passage.FILLING or not _is_empty(db):
                return False
            db.execute("UPDATE store SET id = ?, hash_key = ?", identity)
            return True

        return self._database.write(work, lambda db, done: done and _identity(db) == identity, is_upkeep=True)

    def _need(self, db: apsw.Connection, *passages: Passage) -> None:
        now = _standing(db)
        if now.passage not in passages:
            raise refusal.not_filling(self._url) if now.is_open else refusal.moved(now, self._url)


def _standing(db: apsw.Connection) -> Standing:
    row: Any = db.execute(_STANDING).fetchone()
    return Standing.of(row[0] if row is not None else None)


def _identity(db: apsw.Connection) -> Identity:
    row: Any = db.execute("SELECT id, hash_key FROM store").fetchone()
    if row is None:
        raise JournalCorrupt("The store's own row is gone. Nothing was changed. Restore the file from a backup.")
    return Identity(*row)


def _is_empty(db: apsw.Connection) -> bool:
    return db.execute(_IS_EMPTY).fetchone() == (1,)


def _mark(db: apsw.Connection, tenant: str) -> str:
    return "/".join(map(str, db.execute(_MARK, (tenant,)).fetchone() or ()))
