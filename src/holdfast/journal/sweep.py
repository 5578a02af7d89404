"""Removing what nothing in an SQLite store names any more, and giving its space back.

Invariants
1. What is named is looked up while others write; a blob goes in a transaction of its own that looks once more when it
   was last put. Whoever writes a row that names a blob has put it before, so it is not old then (U7).
2. Which workers are gone is found out while others write; a row goes only if it is what it was then, and no run names
   it. Who is proven dead stays so, and who renews a lease or takes a run changes what it was (U11).
3. The file is made anew only when a good part of it is free: it costs the time and, beside it, the space of what is in
   it. It is not begun while somebody else writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import apsw

from holdfast.journal import file
from holdfast.journal.rows import IN_BLOB
from holdfast.protocols import Worker

SHARE: Final = 0.1
"""From this part of free pages on it is worth it."""
PATIENCE_MS: Final = 250
"""How long somebody else's transaction is waited for."""

_UNKNOWN = "UPDATE blobs SET put_at = ? WHERE tenant = ? AND put_at IS NULL"
_NAMED = (
    f"SELECT body FROM events WHERE tenant = ?1 AND format = {IN_BLOB} "
    f"UNION SELECT body FROM mail WHERE tenant = ?1 AND format = {IN_BLOB}"
)
_OLD = f"SELECT blob_no FROM blobs WHERE tenant = ?1 AND put_at < ?2 AND hash NOT IN ({_NAMED})"
_SIZE = "SELECT size FROM blobs WHERE blob_no = ? AND put_at < ?"
_NO_RUN = "NOT EXISTS (SELECT 1 FROM runs r WHERE r.tenant = workers.tenant AND r.worker_id = workers.worker_id)"
_IDLE = (
    "SELECT worker_id, boot_id, pid_namespace, pid, started, host, expires_at FROM workers"
    f" WHERE tenant = ? AND {_NO_RUN} ORDER BY 1"
)
_DISMISS = (
    "DELETE FROM workers WHERE tenant = ? AND worker_id = ? AND boot_id = ? AND pid_namespace = ? AND pid = ?"
    f" AND started = ? AND host = ? AND expires_at = ? AND {_NO_RUN}"
)


def date(db: apsw.Connection, tenant: str, now: float) -> None:
    """A blob whose time is not known was put now."""
    db.execute(_UNKNOWN, (now, tenant))


def candidates(db: apsw.Connection, tenant: str, put_before: float) -> list[int]:
    """Blobs that no row names and that were put before then."""
    return [blob_no for (blob_no,) in db.execute(_OLD, (tenant, put_before))]


def remove(db: apsw.Connection, blob_no: int, put_before: float) -> int | None:
    """Remove a blob unless it was put again; its size, None when it stays."""
    found: Any = db.execute(_SIZE, (blob_no, put_before)).fetchone()
    if found is None:
        return None
    db.execute("DELETE FROM pieces WHERE blob_no = ?", (blob_no,))
    db.execute("DELETE FROM blobs WHERE blob_no = ?", (blob_no,))
    return int(found[0])


class Idle(NamedTuple):
    """A worker that no run names, and when its lease ends or has ended."""

    worker: Worker
    expires_at: float


def idle(db: apsw.Connection, tenant: str) -> list[Idle]:
    """All of them."""
    return [Idle(Worker(*row[:-1]), row[-1]) for row in db.execute(_IDLE, (tenant,))]


def dismiss(db: apsw.Connection, tenant: str, workers: Iterable[Idle]) -> list[Idle]:
    """Remove the rows of those that are still what they were; which it was."""
    return [seen for seen in workers if _dismissed(db, tenant, *seen)]


def _dismissed(db: apsw.Connection, tenant: str, worker: Worker, expires_at: float) -> bool:
    process = (worker.boot_id, worker.pid_namespace, worker.pid, worker.started, worker.host)
    db.execute(_DISMISS, (tenant, worker.id, *process, expires_at))
    return db.changes() > 0


def compact(db: apsw.Connection) -> None:
    """Make the file anew without its free pages, and end the log; later, while others are at work or a disk is full."""
    temporary = db.pragma("temp_store")
    db.set_busy_timeout(PATIENCE_MS)
    try:
        if int(db.pragma("freelist_count")) > SHARE * int(db.pragma("page_count")):
            db.pragma("temp_store", "FILE")  # the copy is as large as what is in the store
            db.execute("VACUUM")
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.LockedError, apsw.FullError):
        pass  # nothing is lost: what is free is used again, and the next one tries again
    finally:
        db.set_busy_timeout(file.BUSY_MS)
        db.pragma("temp_store", temporary)
