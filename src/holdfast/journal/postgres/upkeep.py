"""Keeping a store in Postgres: what `holdfast gc`, `migrate` and `doctor --rebuild` do to it (`protocols.Upkeep`).

Invariants: U1–U11. What decides is read in the transaction that writes, from locked rows; a commit whose outcome is
not known is read back, never repeated blindly. Where the store stands is changed under a lock that waits for every
transaction of every process: each of them reads it first. Never: called by a running agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg

from holdfast.core.accounts import Account
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.standing import Passage, Standing, may_become
from holdfast.journal import refusal
from holdfast.journal.postgres import census, leases, server, shared, sweep, whole
from holdfast.journal.postgres.database import Database
from holdfast.journal.postgres.server import Db
from holdfast.protocols import Cell, Identity, Record, Worker

T = TypeVar("T")

_TENANTS = (
    "SELECT tenant::text FROM runs UNION SELECT tenant::text FROM cells UNION SELECT tenant::text FROM accounts"
    " ORDER BY 1"
)
_LIVING = (
    "SELECT w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host FROM workers w WHERE w.expires_at > $1"
    " AND EXISTS (SELECT 1 FROM runs r WHERE r.tenant = w.tenant AND r.worker_id = w.worker_id) ORDER BY 1"
)
_MARK = "SELECT count(*), sum(epoch)::int8, sum(count)::int8 FROM runs WHERE tenant = $1"
_IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM runs UNION ALL SELECT 1 FROM cells UNION ALL SELECT 1 FROM accounts)"
_ALONE = "LOCK TABLE store IN ACCESS EXCLUSIVE MODE"
_STILL = "LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE"
"""No claim, append or start meanwhile: they write rows of runs."""
_UNWRITABLE = (*refusal.UNWRITABLE, psycopg.DataError)


class PostgresUpkeep:
    """An open store in Postgres, for whoever keeps it."""

    def __init__(
        self, database: Database, url: str, tenant: str, clock: Callable[[], float], is_dead: Callable[[Worker], bool]
    ) -> None:
        self._database = database
        self._url = url
        self._tenant = tenant
        self._clock = clock
        self._is_dead = is_dead

    def _read(self, work: Callable[[Db], T]) -> T:
        return self._database.read(work, seconds_max=census.SECONDS_MAX)

    def _write(self, work: Callable[[Db], T], stands: Callable[[Db, T], bool] | None = None) -> T:
        return self._database.write(work, stands, is_upkeep=True)

    def tenants(self) -> list[str]:
        """The tenants that have anything here."""
        return self._read(lambda db: [name for (name,) in server.rows(db, _TENANTS)])

    def run_ids(self, after: str = "", limit: int = 1_000) -> list[str]:
        """Ids in the order in which the runs were made (U1)."""
        return self._read(lambda db: whole.ids(db, self._tenant, after, limit))

    def record(self, run_id: str) -> Record | None:
        """All of a run, checked (U2)."""
        return self._read(lambda db: whole.read(db, self._tenant, run_id))

    def install(self, record: Record) -> bool:
        """Make a run in a store that is being filled (U3)."""
        now, run_id = self._clock(), record.head.run_id

        def work(db: Db) -> bool:
            self._need(db, Passage.FILLING)
            return whole.install(db, self._tenant, record, now)

        try:
            return self._write(work, lambda db, done: done and whole.is_there(db, self._tenant, run_id))
        except _UNWRITABLE as error:
            raise refusal.unwritable(f"The record of run {run_id}", error) from error

    def condense(self, run_id: str, after: int, events: Sequence[Event], head: Head) -> bool:
        """Replace the log of an ended run (U4)."""
        now = self._clock()

        def work(db: Db) -> bytes | None:
            self._need(db, Passage.OPEN)
            return whole.condense(db, self._tenant, run_id, after, events, head, now, self._is_held(run_id))

        def stands(db: Db, chain: bytes | None) -> bool:
            return chain is not None and whole.ends_with(db, self._tenant, run_id, chain)

        return self._write(work, stands) is not None

    def mend(self, run_id: str, after: int, head: Head) -> bool:
        """Write a head (U5)."""

        def work(db: Db) -> bool:
            self._need(db, Passage.OPEN)
            return whole.mend(db, self._tenant, run_id, after, head, self._is_held(run_id))

        return self._write(work)

    def _is_held(self, run_id: str) -> Callable[[Db], bool]:
        def is_held(db: Db) -> bool:
            owner = leases.owner(db, self._tenant, run_id)
            return owner is not None and owner[1] > self._clock() and not self._is_dead(owner[0])

        return is_held

    def accounts(self) -> dict[str, Account | None]:
        """All accounts, None for one that is damaged (U6)."""
        return self._read(lambda db: shared.accounts(db, self._tenant))

    def put_account(self, key: str, before: Account | None, account: Account, mark: str = "") -> bool:
        """Write an account over `before` or what is damaged (U6)."""

        def work(db: Db) -> bool:
            self._need(db, Passage.OPEN, Passage.FILLING)
            if mark:
                db.execute(_STILL)
                if _mark(db, self._tenant) != mark:
                    return False
            return shared.put_account(db, self._tenant, key, before, account)

        return self._write(work, lambda db, done: done and shared.is_account(db, self._tenant, key, account))

    def cells(self) -> dict[str, Cell | None]:
        """All cells, None for one that is damaged (U6)."""
        return self._read(lambda db: shared.cells(db, self._tenant))

    def put_cell(self, name: str, before: Cell | None, cell: Cell) -> bool:
        """Write a cell over `before` or what is damaged (U6)."""

        def work(db: Db) -> bool:
            self._need(db, Passage.OPEN, Passage.FILLING)
            return shared.put_cell(db, self._tenant, name, before, cell)

        return self._write(work, lambda db, done: done and shared.is_cell(db, self._tenant, name, cell))

    def mark(self) -> str:
        """Another text when a log may have changed (U6)."""
        return self._read(lambda db: _mark(db, self._tenant))

    def sweep_blobs(self, put_before: float) -> tuple[int, int]:
        """Remove blobs that nothing names (U7)."""
        now, removed = self._clock(), []

        def begin(db: Db) -> None:
            self._need(db, Passage.OPEN)
            sweep.date(db, self._tenant, now)

        self._write(begin)
        for blob_no in self._read(lambda db: sweep.candidates(db, self._tenant, put_before)):
            size = self._database.write(lambda db: sweep.remove(db, blob_no, put_before))  # noqa: B023 - called at once
            if size is not None:
                removed.append(size)
        return len(removed), sum(removed)

    def sweep_workers(self, expired_before: float, *, is_trial: bool = False) -> int:
        """Remove the rows of workers that are gone (U11). Who is gone is found out while others write."""
        idle = self._read(lambda db: sweep.idle(db, self._tenant))
        gone = [seen for seen in idle if seen.expires_at < expired_before or self._is_dead(seen.worker)]
        if is_trial:
            return len(gone)

        def work(db: Db) -> list[str]:
            self._need(db, Passage.OPEN)
            return sweep.dismiss(db, self._tenant, gone)

        def stands(db: Db, removed: list[str]) -> bool:
            return bool(removed) and not sweep.is_there(db, self._tenant, removed[0])

        return len(self._write(work, stands))

    def compact(self) -> None:
        """Make the space of removed rows usable again, and give the end of each table back (U8). The server does so by
        itself, later."""
        self._database.alone(sweep.compact)

    def living(self) -> list[Worker]:
        """Workers that hold a run and may be alive."""
        return self._read(self._living)

    def _living(self, db: Db) -> list[Worker]:
        found = [Worker(*row) for row in server.rows(db, _LIVING, self._clock())]
        return [worker for worker in found if not self._is_dead(worker)]

    def standing(self) -> Standing:
        """Where the store stands (U9)."""
        return self._read(lambda db: census.stands(db)[1])

    def pass_on(self, before: Standing, after: Standing) -> bool:
        """Change where it stands (U9)."""

        def work(db: Db) -> bool:
            db.execute(_ALONE)
            if census.stands(db)[1] != before or not may_become(before, after):
                return False
            if after.passage is Passage.LEAVING and self._living(db):
                return False
            if after.passage is Passage.FILLING and not _is_empty(db):
                return False
            db.execute("UPDATE store SET moved_to = $1", (after.text(),))
            return True

        return self._write(work, lambda db, done: done and census.stands(db)[1] == after)

    def identity(self) -> Identity:
        """What the store is known by."""
        return Identity(*self._read(census.identity))

    def take_identity(self, identity: Identity) -> bool:
        """Become the store of that identity (U10)."""

        def work(db: Db) -> bool:
            db.execute(_ALONE)
            if census.stands(db)[1].passage is not Passage.FILLING or not _is_empty(db):
                return False
            db.execute("UPDATE store SET id = $1, hash_key = $2", tuple(identity))
            return True

        return self._write(work, lambda db, done: done and census.identity(db) == identity)

    def _need(self, db: Db, *passages: Passage) -> None:
        now = census.stands(db)[1]
        if now.passage not in passages:
            raise refusal.not_filling(self._url) if now.is_open else refusal.moved(now, self._url)


def _is_empty(db: Db) -> bool:
    return bool(server.row(db, _IS_EMPTY) == (True,))


def _mark(db: Db, tenant: str) -> str:
    return "/".join(map(str, server.row(db, _MARK, tenant) or ()))
