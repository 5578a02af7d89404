"""Removing what nothing in a store in Postgres names any more, and giving its space back.

Invariant: what is named is looked up while others write; a blob goes in a transaction of its own that looks once more
when it was last put. Whoever writes a row that names a blob has put it before, so it is not old then (U7).
"""

from __future__ import annotations

from holdfast.journal.postgres import server
from holdfast.journal.postgres.server import Db
from holdfast.journal.rows import IN_BLOB

_UNKNOWN = "UPDATE blobs SET put_at = $1 WHERE tenant = $2 AND put_at IS NULL"
_OLD = (
    "SELECT blob_no FROM blobs WHERE tenant = $1 AND put_at < $2 AND hash NOT IN ("
    f"SELECT body FROM events WHERE tenant = $1 AND format = {IN_BLOB} AND body IS NOT NULL "
    f"UNION SELECT body FROM mail WHERE tenant = $1 AND format = {IN_BLOB} AND body IS NOT NULL)"
)
_REMOVE = "DELETE FROM blobs WHERE blob_no = $1 AND put_at < $2 RETURNING size"
_TABLES = ("events", "mail", "runs", "blobs", "pieces")


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


def compact(db: Db) -> None:
    """Outside of a transaction. Others go on reading and writing meanwhile."""
    for table in _TABLES:
        db.execute(f"VACUUM {table}")
