"""What is in a store in Postgres: its own row, heads of runs, counts. All of it inside a transaction that reads."""

from __future__ import annotations

from typing import Any

from holdfast.core.standing import Standing
from holdfast.errors import JournalCorrupt
from holdfast.journal import rows
from holdfast.journal.postgres import blobs, server
from holdfast.journal.postgres.server import Db

SECONDS_MAX = 600
"""How long counting may take."""

_IDENTITY = "SELECT id, hash_key FROM store"
_STANDS = "SELECT id, moved_to FROM store"
_HEAD = "SELECT run_id, head, seal, wake_at FROM runs WHERE tenant = $1 AND run_id = $2"
_HEADS = (
    "SELECT run_id, head, seal, wake_at FROM runs WHERE tenant = $1"
    " AND ($2::text IS NULL OR run_id >= $2) AND ($3::text IS NULL OR run_id < $3)"
    " AND ($4::text IS NULL OR key = $4) AND ($5::text IS NULL OR status = $5)"
    " ORDER BY run_no DESC LIMIT $6"
)
_RUNS = "SELECT status, count(*), sum(count)::int8 FROM runs WHERE tenant = $1 GROUP BY status ORDER BY status"
_SERVER = (
    "SELECT current_setting('server_version'), current_setting('synchronous_commit'),"
    " current_setting('synchronous_standby_names'), current_setting('full_page_writes'),"
    " current_setting('data_checksums'), (SELECT schema FROM store),"
    " (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r')"
)
_INVALID = (
    "SELECT relname::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
    " WHERE relnamespace = current_schema()::regnamespace AND NOT indisvalid"
)


def identity(db: Db) -> tuple[str, bytes]:
    """The store's id and hash key."""
    found = server.row(db, _IDENTITY)
    if found is None:
        raise JournalCorrupt("The store's own row is gone. Nothing was changed. Restore the schema from a backup.")
    return found[0], found[1]


def stands(db: Db) -> tuple[str, Standing]:
    """Which store it is, and where it stands. Whoever asks within a transaction keeps both so until its end."""
    found = server.row(db, _STANDS)
    return ("", Standing()) if found is None else (found[0], Standing.of(found[1]))


def head(db: Db, tenant: str, run_id: str) -> Any:
    """The columns of a run's head, None when there is no such run."""
    return server.row(db, _HEAD, tenant, run_id)


def heads(db: Db, tenant: str, prefix: str, key: str | None, status: str | None, limit: int) -> list[Any]:
    """The columns of heads, newest first."""
    first, end = (prefix, prefix + "\U0010ffff") if prefix else (None, None)
    return server.rows(db, _HEADS, tenant, first, end, key, status, limit)


def facts(db: Db, tenant: str) -> dict[str, Any]:
    """Counts of what is there, and what is wrong with it."""
    version, synchronous, standbys, full_pages, checksums, schema, size = server.row(db, _SERVER)
    counts = server.rows(db, _RUNS, tenant)
    blob_count, blob_bytes = blobs.census(db, tenant)
    invalid = [name for (name,) in server.rows(db, _INVALID)]
    problems = [] if full_pages == "on" else ["full_page_writes is off: a power cut of the server can tear its pages"]
    return {
        "postgres": version,
        "schema": schema,
        "format": rows.FORMAT,
        "synchronous_commit": synchronous,
        "synchronous_standby_names": standbys,
        "data_checksums": checksums,
        "bytes": size,
        "runs": {status: runs for status, runs, _ in counts},
        "events": sum(events for _, _, events in counts),
        "blobs": blob_count,
        "blob_bytes": blob_bytes,
        "integrity": "ok" if not invalid else f"invalid indexes: {', '.join(invalid)}",
        "problems": problems + blobs.problems(db, tenant),
    }
