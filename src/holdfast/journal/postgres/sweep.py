"""Removing what nothing in a store in Postgres names any more, and giving its space back.

Invariants
1. What is named is looked up while others write; a blob goes in a transaction of its own that looks once more when it
   was last put. Whoever writes a row that names a blob has put it before, so it is not old then (U7).
2. Which workers are gone is found out while others write; their rows are locked then, and a row goes only if it is what
   it was and, seen after it was locked, no run names it. Who takes a run holds its own row until that is committed,
   and is passed over; so is who renews its lease (U11).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from holdfast.journal.postgres import server
from holdfast.journal.postgres.server import Db
from holdfast.journal.rows import IN_BLOB
from holdfast.protocols import Worker

_UNKNOWN = "UPDATE blobs SET put_at = $1 WHERE tenant = $2 AND put_at IS NULL"
_OLD = (
    "SELECT blob_no FROM blobs WHERE tenant = $1 AND put_at < $2 AND hash NOT IN ("
    f"SELECT body FROM events WHERE tenant = $1 AND format = {IN_BLOB} AND body IS NOT NULL "
    f"UNION SELECT body FROM mail WHERE tenant = $1 AND format = {IN_BLOB} AND body IS NOT NULL)"
)
_REMOVE = "DELETE FROM blobs WHERE blob_no = $1 AND put_at < $2 RETURNING size"
_WORKERS = "SELECT worker_id, boot_id, pid_namespace, pid, started, host, expires_at FROM workers WHERE tenant = $1"
_NO_RUN = "NOT EXISTS (SELECT 1 FROM runs r WHERE r.tenant = workers.tenant AND r.worker_id = workers.worker_id)"
_IDLE = f"{_WORKERS} AND {_NO_RUN} ORDER BY 1"
_LOCK = f"{_WORKERS} AND worker_id = ANY($2) FOR UPDATE SKIP LOCKED"
_DISMISS = f"DELETE FROM workers WHERE tenant = $1 AND worker_id = ANY($2) AND {_NO_RUN} RETURNING worker_id"
_IS_THERE = "SELECT 1 FROM workers WHERE tenant = $1 AND worker_id = $2 FOR UPDATE"
_TABLES = ("events", "mail", "runs", "workers", "blobs", "pieces")


def date(db: Db, tenant: str, now: float) -> None:
    """A blob whose time is not known was put now."""
    db.execute(_UNKNOWN, (now, tenant))


def candidates(db: Db, tenant: str, put_before: float) -> list[int]:
    """Blobs that no row names and that were put before then."""
    return [blob_no for (blob_no,) in server.rows(db, _OLD, tenant, put_before)]


def remove(db: Db, blob_no: int, put_before: float) -> int | None:
    """Remove a blob unless it was put again; its size, None when it stays."""
    found = server.row(db, _REMOVE, blob_no, put_before)
    if found is None:
        return None
    db.execute("DELETE FROM pieces WHERE blob_no = $1", (blob_no,))
    return int(found[0])


class Idle(NamedTuple):
    """A worker that no run names, and when its lease ends or has ended."""

    worker: Worker
    expires_at: float


def idle(db: Db, tenant: str) -> list[Idle]:
    """All of them."""
    return [Idle(Worker(*row[:-1]), row[-1]) for row in server.rows(db, _IDLE, tenant)]


def dismiss(db: Db, tenant: str, workers: Collection[Idle]) -> list[str]:
    """Remove the rows of those that are still what they were; whose it was."""
    locked = server.rows(db, _LOCK, tenant, [seen.worker.id for seen in workers])
    unchanged = {Idle(Worker(*row[:-1]), row[-1]) for row in locked} & set(workers)
    removed = server.rows(db, _DISMISS, tenant, [seen.worker.id for seen in unchanged])
    return [worker_id for (worker_id,) in removed]


def is_there(db: Db, tenant: str, worker_id: str) -> bool:
    """Whether there is a row of this worker; waits for who is removing it."""
    return server.row(db, _IS_THERE, tenant, worker_id) is not None


def compact(db: Db) -> None:
    """Outside of a transaction. Others go on reading and writing meanwhile."""
    for table in _TABLES:
        db.execute(f"VACUUM {table}")
