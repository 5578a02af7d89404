"""Who may work on which run, in SQLite: workers, claims and releases. All of it inside a transaction.

Invariants
1. A run is given to a worker only when it is due or has unread mail, and nobody holds it, or its holder's row is
   gone, has expired by the store's clock, or names a process that is proven dead (J4, J5).
2. Each claim raises the run's epoch by one. A worker never takes over from itself.
3. What is free, what has mail and what is held is found by indexes; the number of sleeping runs costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apsw

from holdfast.errors import JournalCorrupt
from holdfast.journal import mailbox, rows
from holdfast.protocols import Claim, Lease, Worker

_COLUMNS = "run_no, run_id, head, seal, wake_at, due_at, worker_id, epoch, mail_posted, mail_read"
_OF_AGENTS = " AND agent IN (SELECT value FROM json_each(:agents))"
_DUE = (
    f"SELECT {_COLUMNS} FROM runs WHERE tenant = :tenant AND worker_id IS NULL"
    " AND (mail_posted > mail_read) = 0 AND due_at <= :now"
)
_WITH_MAIL = (
    f"SELECT {_COLUMNS} FROM runs WHERE tenant = :tenant AND worker_id IS NULL"
    " AND (mail_posted > mail_read) = 1 AND due_at IS NOT NULL"
)
_ABANDONED = (
    f"SELECT {_COLUMNS} FROM runs WHERE tenant = :tenant AND worker_id IN (SELECT value FROM json_each(:lost))"
    " AND (due_at <= :now OR mail_posted > mail_read)"
)
_BY_ID = (
    f"SELECT {_COLUMNS} FROM runs WHERE tenant = :tenant AND run_id IN (SELECT value FROM json_each(:run_ids))"
    " AND (due_at <= :now OR mail_posted > mail_read)"
    " AND (worker_id IS NULL OR worker_id IN (SELECT value FROM json_each(:lost)))"
)
_LONGEST_DUE_FIRST = " ORDER BY due_at LIMIT :limit"
_HOLDERS = """
    WITH RECURSIVE holder(id) AS (
        SELECT min(worker_id) FROM runs WHERE tenant = :tenant AND worker_id IS NOT NULL
        UNION ALL
        SELECT (SELECT min(worker_id) FROM runs WHERE tenant = :tenant AND worker_id IS NOT NULL
                AND worker_id > holder.id)
        FROM holder WHERE holder.id IS NOT NULL
    )
    SELECT holder.id, w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host, w.expires_at
    FROM holder LEFT JOIN workers w ON w.tenant = :tenant AND w.worker_id = holder.id
    WHERE holder.id IS NOT NULL AND holder.id <> :me
"""
_REGISTER = "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_RETIRE = "DELETE FROM workers WHERE tenant = ? AND worker_id = ?"
_HELD = (
    "SELECT run_no, head, seal, wake_at, due_at, mail_posted > mail_read FROM runs"
    " WHERE tenant = ? AND run_id = ? AND worker_id = ? AND epoch = ?"
)
_TAKE = "UPDATE runs SET worker_id = ?, epoch = ? WHERE run_no = ?"
_RELEASE = "UPDATE runs SET worker_id = NULL, wake_at = ?, due_at = ?, head = ?, seal = ? WHERE run_no = ?"
_HELD_WITH_MAIL = "SELECT run_id FROM runs WHERE tenant = ? AND worker_id = ? AND mail_posted > mail_read"
_OF_WORKER = "SELECT run_id, worker_id, epoch FROM runs WHERE tenant = ? AND worker_id = ? ORDER BY run_no"
_OWNER = (
    "SELECT w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host, w.expires_at"
    " FROM runs r JOIN workers w ON w.tenant = r.tenant AND w.worker_id = r.worker_id"
    " WHERE r.tenant = ? AND r.run_id = ?"
)


def register(db: apsw.Connection, tenant: str, worker: Worker, expires_at: float) -> None:
    """Create or renew the worker's row."""
    process = (worker.boot_id, worker.pid_namespace, worker.pid, worker.started, worker.host)
    db.execute(_REGISTER, (tenant, worker.id, *process, expires_at))


def retire(db: apsw.Connection, tenant: str, worker_id: str) -> None:
    """Remove the worker's row."""
    db.execute(_RETIRE, (tenant, worker_id))


@dataclass(frozen=True, slots=True)
class Search:
    """One worker's wish for runs, at one time."""

    tenant: str
    worker_id: str
    now: float
    is_dead: Callable[[Worker], bool]
    run_ids: Sequence[str] | None
    agents: Sequence[str] | None
    limit: int

    def has_any(self, db: apsw.Connection) -> bool:
        """Whether there is a run to take."""
        return bool(self._candidates(db, 1, self._lost(db)))

    def take(self, db: apsw.Connection) -> list[Claim]:
        """Take what may be taken."""
        claims = []
        lost = self._lost(db)
        for row in self._candidates(db, self.limit, lost):
            claim = self._claim(row, lost)
            if claim is not None:
                run_no, run_id, *_, posted, read = row
                db.execute(_TAKE, (self.worker_id, claim.lease.epoch, run_no))
                claims.append(replace(claim, mail=mailbox.brought(db, self.tenant, run_id, run_no, posted, read)))
        return claims

    def _candidates(self, db: apsw.Connection, limit: int, lost: dict[str, float | None]) -> list[tuple[Any, ...]]:
        if limit <= 0 or not self._is_registered(db):
            return []
        values = {
            "tenant": self.tenant,
            "now": self.now,
            "limit": limit,
            "lost": json.dumps(list(lost)),
            "run_ids": json.dumps(list(self.run_ids or ())),
            "agents": json.dumps(list(self.agents or ())),
        }
        queries = (_DUE, _WITH_MAIL, _ABANDONED) if self.run_ids is None else (_BY_ID,)
        filtered = (sql if self.agents is None else sql + _OF_AGENTS for sql in queries)
        found = {row[0]: row for sql in filtered for row in db.execute(sql + _LONGEST_DUE_FIRST, values)}
        return sorted(found.values(), key=lambda row: (row[5] or 0.0, row[0]))[:limit]

    def _is_registered(self, db: apsw.Connection) -> bool:
        sql = "SELECT 1 FROM workers WHERE tenant = ? AND worker_id = ? AND expires_at > ?"
        return db.execute(sql, (self.tenant, self.worker_id, self.now)).fetchone() is not None

    def _lost(self, db: apsw.Connection) -> dict[str, float | None]:
        """Holders of runs who may be replaced now, and when their leases end, where it is known."""
        holders: list[Any] = db.execute(_HOLDERS, {"tenant": self.tenant, "me": self.worker_id}).fetchall()
        return {
            holder: expires_at
            for holder, *worker, expires_at in holders
            if expires_at is None or expires_at <= self.now or self.is_dead(Worker(*worker))
        }

    def _claim(self, row: tuple[Any, ...], lost: dict[str, float | None]) -> Claim | None:
        _, run_id, text, sealed, wake_at, _, holder, epoch, posted, read = row
        try:
            head = rows.read_head(self.tenant, run_id, text, sealed, wake_at)
        except JournalCorrupt:
            if self.run_ids is not None:
                raise
            return None  # `head` and `facts` tell of it; the other runs go on
        if posted == read and (head.wake_at is None or head.wake_at > self.now):
            return None  # its row says that it is due, its head does not: never wake early
        lease = Lease(run_id, self.worker_id, epoch + 1)
        return Claim(lease, head, is_takeover=holder is not None, held_until=lost.get(holder))


def stands(db: apsw.Connection, tenant: str, claims: list[Claim]) -> bool:
    """Whether the transaction that made these claims is in the store."""
    return bool(claims) and db.execute(_HELD, (tenant, *claims[0].lease)).fetchone() is not None


def release(db: apsw.Connection, tenant: str, lease: Lease, wake_at: float | None, now: float) -> bool:
    """Give the run back, if the lease is the newest; whether it may be claimed at once."""
    held = db.execute(_HELD, (tenant, *lease)).fetchone()
    if held is None:
        return False
    run_no, text, sealed, was, due_at, has_mail = held
    if wake_at != was:
        head = rows.read_head(tenant, lease.run_id, text, sealed, was)._replace(wake_at=wake_at)
        text = rows.head_text(head)
        sealed = rows.seal(tenant, lease.run_id, text)
    due = (now if due_at is None else due_at) if has_mail else wake_at
    db.execute(_RELEASE, (wake_at, due, text, sealed, run_no))
    return due is not None and due <= now


def with_mail(db: apsw.Connection, tenant: str, worker_id: str) -> list[str]:
    """Ids of the runs that this worker holds and that have unread mail."""
    return [run_id for (run_id,) in db.execute(_HELD_WITH_MAIL, (tenant, worker_id))]


def of_worker(db: apsw.Connection, tenant: str, worker_id: str) -> list[Lease]:
    """The leases of the runs that this worker holds."""
    return [Lease(*row) for row in db.execute(_OF_WORKER, (tenant, worker_id))]


def owner(db: apsw.Connection, tenant: str, run_id: str) -> tuple[Worker, float] | None:
    """Who holds the run, and until when."""
    row = db.execute(_OWNER, (tenant, run_id)).fetchone()
    return None if row is None else (Worker(*row[:-1]), row[-1])
