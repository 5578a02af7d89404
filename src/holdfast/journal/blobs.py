"""Large values in SQLite: kept in pieces, found by tenant and SHA-256. All of it inside a transaction of the caller's.

Invariants
1. A blob is named by the SHA-256 of its bytes and never changes. It counts when all of it is written (`is_whole`).
2. What is read is hashed before it is handed out; no tenant is told whether another has the bytes (J17).
3. `begin`, each `add_piece` and `finish` may be done twice, and each can be a transaction of its own: whoever dies
   between them leaves space that is used again when the same bytes come, and that no reader sees.

4. A blob that no row names is removed only by `sweep`, and only when it was last put long ago: whoever puts it again
   finds it there, and says when.

Never: copies a value whole, except once to hand it out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any, Final

import apsw

from holdfast.errors import JournalCorrupt
from holdfast.journal.rows import FORMAT, IN_BLOB, KEY_ID, Fetch

PIECE: Final = 1 << 20
"""Bytes of a piece, and so what another writer waits for: 5 ms where 100 MB take 200 ms."""

_FIND = "SELECT blob_no, size, is_whole FROM blobs WHERE tenant = ? AND hash = ?"
_BEGIN = "INSERT INTO blobs (tenant, hash, size, is_whole, format, key_id, put_at) VALUES (?, ?, ?, 0, ?, ?, ?)"
_PUT_AGAIN = "UPDATE blobs SET put_at = ? WHERE blob_no = ?"
_ADD = "INSERT INTO pieces VALUES (NULL, ?, ?, ?) ON CONFLICT (blob_no, number) DO UPDATE SET bytes = excluded.bytes"
_HAS_PIECE = "SELECT 1 FROM pieces WHERE blob_no = ? AND number = ? AND bytes = ?"
_FINISH = "UPDATE blobs SET is_whole = 1 WHERE blob_no = ?"
_READ = "SELECT bytes FROM pieces WHERE blob_no = ? ORDER BY number"
_CENSUS = "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE tenant = ? AND is_whole = 1"
_SHORT = (
    "SELECT hash FROM blobs WHERE tenant = ? AND is_whole = 1 AND size <> "
    "(SELECT coalesce(sum(length(bytes)), 0) FROM pieces WHERE pieces.blob_no = blobs.blob_no)"
)
_LOST = "body NOT IN (SELECT hash FROM blobs WHERE tenant = ?1 AND is_whole = 1)"
_MISSING = (
    "SELECT run_id, 'event', number FROM events JOIN runs USING (run_no) "
    f"WHERE events.tenant = ?1 AND events.format = {IN_BLOB} AND {_LOST} "
    "UNION ALL SELECT run_id, 'message', number FROM mail JOIN runs USING (run_no) "
    f"WHERE mail.tenant = ?1 AND mail.format = {IN_BLOB} AND {_LOST}"
)


def hash_of(data: bytes) -> bytes:
    """The name of these bytes."""
    return hashlib.sha256(data).digest()


def begin(db: apsw.Connection, tenant: str, name: bytes, size: int, now: float) -> int | None:
    """The number under which the pieces are written; None when they are there already. Either way it was put now."""
    found: Any = db.execute(_FIND, (tenant, name)).fetchone()
    if found is None:
        db.execute(_BEGIN, (tenant, name, size, FORMAT, KEY_ID, now))
        return db.last_insert_rowid()
    blob_no, _, is_whole = found
    db.execute(_PUT_AGAIN, (now, blob_no))
    return None if is_whole else blob_no


def pieces(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """The numbered pieces of a value; nothing is copied."""
    view = memoryview(data)
    for number, start in enumerate(range(0, len(data), PIECE)):
        yield number, view[start : start + PIECE]


def add_piece(db: apsw.Connection, blob_no: int, number: int, piece: memoryview) -> None:
    """Write one piece, over one that a writer who died may have left."""
    db.execute(_ADD, (blob_no, number, piece))


def finish(db: apsw.Connection, blob_no: int) -> None:
    """All pieces are written."""
    db.execute(_FINISH, (blob_no,))


def has_begun(db: apsw.Connection, tenant: str, name: bytes) -> bool:
    """Whether its transaction stands."""
    return db.execute(_FIND, (tenant, name)).fetchone() is not None


def has_piece(db: apsw.Connection, blob_no: int, number: int, piece: memoryview) -> bool:
    """Whether its transaction stands, or that of an earlier writer of the same bytes."""
    return db.execute(_HAS_PIECE, (blob_no, number, piece)).fetchone() is not None


def is_whole(db: apsw.Connection, tenant: str, name: bytes) -> bool:
    """Whether its transaction stands."""
    found: Any = db.execute(_FIND, (tenant, name)).fetchone()
    return found is not None and found[2] == 1


def put(db: apsw.Connection, tenant: str, data: bytes, now: float) -> bytes:
    """Write all of a value in the caller's one transaction; its name."""
    name = hash_of(data)
    blob_no = begin(db, tenant, name, len(data), now)
    if blob_no is not None:
        for number, piece in pieces(data):
            add_piece(db, blob_no, number, piece)
        finish(db, blob_no)
    return name


def named(db: apsw.Connection, tenant: str, ref: str, size: int) -> bytes:
    """The name behind `ref`; ValueError when no such blob of that size is whole: the row would name nothing."""
    name = bytes.fromhex(ref)
    found: Any = db.execute(_FIND, (tenant, name)).fetchone()
    if found is None or found[1:] != (size, 1):
        raise ValueError(f"no blob {ref} of {size} bytes is in the store")
    return name


def read(db: apsw.Connection, tenant: str, name: bytes) -> bytes:
    """All of its bytes, checked."""
    found: Any = db.execute(_FIND, (tenant, name)).fetchone()
    if found is None or not found[2]:
        raise corrupt(name.hex(), "is not in the store")
    whole, digest = io.BytesIO(), hashlib.sha256()  # BytesIO gives its bytes away without a copy
    for (piece,) in db.execute(_READ, (found[0],)):
        if not isinstance(piece, bytes):
            break
        whole.write(piece)
        digest.update(piece)
    if digest.digest() != name:
        raise corrupt(name.hex(), "is not what was written")
    return whole.getvalue()


def reader(db: apsw.Connection, tenant: str) -> Fetch:
    """`read`, for rows of this tenant."""
    return lambda name: read(db, tenant, name)


def corrupt(ref: str, what: str) -> JournalCorrupt:
    """What is raised for a blob that is not there or not itself."""
    return JournalCorrupt(
        f"Blob {ref[:64]} {what}: it was changed or removed behind holdfast's back, the disk lost it, or nobody of "
        f"this tenant ever put it. Nothing of it was handed out. Copy the store away, see `holdfast doctor`, and "
        f"restore it from a backup."
    )


def census(db: apsw.Connection, tenant: str) -> tuple[int, int]:
    """How many blobs there are, and their bytes."""
    count, size = db.execute(_CENSUS, (tenant,)).fetchone() or (0, 0)
    return int(count), int(size)


def problems(db: apsw.Connection, tenant: str) -> list[str]:
    """Rows whose blob is missing and blobs that miss a piece, as sentences. Bytes are not hashed: reading does that."""
    found = [f"blob {bytes(name).hex()} has lost a piece" for (name,) in db.execute(_SHORT, (tenant,))]
    for run_id, what, number in db.execute(_MISSING, (tenant,)):
        found.append(f"the blob of {what} {number} of run {run_id} is missing")
    return found
