"""Large values in Postgres: kept in pieces, found by tenant and SHA-256. All of it inside a transaction.

The invariants are those of `journal.blobs`, whose pieces and names these are.

Never: copies a value whole, except once to hand it out.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

from holdfast.journal.blobs import corrupt, hash_of, pieces
from holdfast.journal.postgres.server import Db, row, rows
from holdfast.journal.rows import FORMAT, IN_BLOB, KEY_ID, Fetch

_FIND = "SELECT blob_no, size, is_whole FROM blobs WHERE tenant = $1 AND hash = $2"
_BEGIN = (
    "INSERT INTO blobs (tenant, hash, size, is_whole, put_at, format, key_id) VALUES ($1, $2, $3, 0, $4, $5, $6)"
    " ON CONFLICT (tenant, hash) DO UPDATE SET put_at = excluded.put_at RETURNING blob_no, is_whole"
)
_ADD = (
    "INSERT INTO pieces (blob_no, number, bytes) VALUES ($1, $2, $3)"
    " ON CONFLICT (blob_no, number) DO UPDATE SET bytes = excluded.bytes"
)
_HAS_PIECE = "SELECT 1 FROM pieces WHERE blob_no = $1 AND number = $2 AND bytes = $3"
_FINISH = "UPDATE blobs SET is_whole = 1 WHERE blob_no = $1"
_READ = "SELECT bytes FROM pieces WHERE blob_no = $1 ORDER BY number"
_CENSUS = "SELECT count(*), coalesce(sum(size), 0)::int8 FROM blobs WHERE tenant = $1 AND is_whole = 1"
_SHORT = (
    "SELECT hash FROM blobs WHERE tenant = $1 AND is_whole = 1 AND size <> "
    "(SELECT coalesce(sum(length(bytes)), 0) FROM pieces WHERE pieces.blob_no = blobs.blob_no)"
)
_LOST = "NOT EXISTS (SELECT 1 FROM blobs WHERE tenant = $1 AND is_whole = 1 AND hash = body)"
_MISSING = (
    "SELECT run_id, 'event'::text, number FROM events JOIN runs USING (run_no) "
    f"WHERE events.tenant = $1 AND events.format = {IN_BLOB} AND {_LOST} "
    "UNION ALL SELECT run_id, 'message'::text, number FROM mail JOIN runs USING (run_no) "
    f"WHERE mail.tenant = $1 AND mail.format = {IN_BLOB} AND {_LOST}"
)


def begin(db: Db, tenant: str, name: bytes, size: int, now: float) -> int | None:
    """The number under which the pieces are written; None when they are there already. Either way it was put now."""
    blob_no, is_whole = row(db, _BEGIN, tenant, name, size, now, FORMAT, KEY_ID)
    return None if is_whole else blob_no


def add_piece(db: Db, blob_no: int, number: int, piece: memoryview) -> None:
    """Write one piece, over one that a writer who died may have left."""
    db.execute(_ADD, (blob_no, number, piece))


def finish(db: Db, blob_no: int) -> None:
    """All pieces are written."""
    db.execute(_FINISH, (blob_no,))


def has_begun(db: Db, tenant: str, name: bytes) -> bool:
    """Whether its transaction stands. What is still under way is met by whoever does it again."""
    return row(db, _FIND, tenant, name) is not None


def has_piece(db: Db, blob_no: int, number: int, piece: memoryview) -> bool:
    """Whether its transaction stands, or that of an earlier writer of the same bytes."""
    return row(db, _HAS_PIECE, blob_no, number, piece) is not None


def is_whole(db: Db, tenant: str, name: bytes) -> bool:
    """Whether its transaction stands."""
    found = row(db, _FIND, tenant, name)
    return found is not None and found[2] == 1


def put(db: Db, tenant: str, data: bytes, now: float) -> bytes:
    """Write all of a value in the caller's one transaction; its name."""
    name = hash_of(data)
    blob_no = begin(db, tenant, name, len(data), now)
    if blob_no is not None:
        for number, piece in pieces(data):
            add_piece(db, blob_no, number, piece)
        finish(db, blob_no)
    return name


def named(db: Db, tenant: str, ref: str, size: int) -> bytes:
    """The name behind `ref`; ValueError when no such blob of that size is whole: the row would name nothing."""
    name = bytes.fromhex(ref)
    found = row(db, _FIND, tenant, name)
    if found is None or tuple(found[1:]) != (size, 1):
        raise ValueError(f"no blob {ref} of {size} bytes is in the store")
    return name


def read(db: Db, tenant: str, name: bytes) -> bytes:
    """All of its bytes, checked."""
    found = row(db, _FIND, tenant, name)
    if found is None or not found[2]:
        raise corrupt(name.hex(), "is not in the store")
    whole, digest = io.BytesIO(), hashlib.sha256()  # BytesIO gives its bytes away without a copy
    for (piece,) in rows(db, _READ, found[0]):
        whole.write(piece)
        digest.update(piece)
    if digest.digest() != name:
        raise corrupt(name.hex(), "is not what was written")
    return whole.getvalue()


def reader(db: Db, tenant: str) -> Fetch:
    """`read`, for rows of this tenant."""
    return lambda name: read(db, tenant, name)


def census(db: Db, tenant: str) -> tuple[int, int]:
    """How many blobs there are, and their bytes."""
    count, size = row(db, _CENSUS, tenant)
    return int(count), int(size)


def problems(db: Db, tenant: str) -> list[str]:
    """Rows whose blob is missing and blobs that miss a piece, as sentences. Bytes are not hashed: reading does that."""
    found = [f"blob {bytes(name).hex()} has lost a piece" for (name,) in rows(db, _SHORT, tenant)]
    missing: list[Any] = rows(db, _MISSING, tenant)
    return found + [f"the blob of {what} {number} of run {run_id} is missing" for run_id, what, number in missing]
