"""Mail in SQLite: storing a message if it can count, and reading what is unread. All of it inside a transaction.

Invariants
1. A message is looked for by its id before it is judged: what stands already stays, whatever the run is now (J2).
2. `accept` decides; a refused message stores nothing (J1). Of each subject the first message counts (J3).
3. Messages of a run are numbered 1, 2, 3 …; a gap below the run's count is damage.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from holdfast.core.accept import Posted, accept
from holdfast.errors import JournalCorrupt
from holdfast.journal import blobs, refusal, rows
from holdfast.protocols import BODY_IN_ROW_MAX, Mail, Post

_FIND_RUN = (
    "SELECT run_no, head, seal, wake_at, due_at, mail_posted, mail_read FROM runs WHERE tenant = ? AND run_id = ?"
)
_ADD_RUN = "INSERT INTO runs VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, NULL, 0, 0, ?, 1, 0, ?, ?, ?, ?)"
_ADD_MAIL = f"INSERT INTO mail (run_no, {rows.MAIL_COLUMNS}) VALUES (?{', ?' * 11})"
_COUNT_MAIL = "UPDATE runs SET mail_posted = ?, due_at = ? WHERE run_no = ?"
_HAS_MESSAGE = "SELECT 1 FROM mail WHERE run_no = ? AND message_id = ?"
_FIRST_OF_SUBJECT = f"SELECT {rows.MAIL_COLUMNS} FROM mail WHERE run_no = ? AND subject = ?"
_UNREAD = f"SELECT {rows.MAIL_COLUMNS} FROM mail WHERE run_no = ? AND number > ? ORDER BY number"


def deliver(db: apsw.Connection, tenant: str, post: Post, now: float) -> Posted:
    """Store the message for the run if it can count."""
    run_id, message_id, message = post.run_id, post.message_id, post.message
    run = db.execute(_FIND_RUN, (tenant, run_id)).fetchone()
    if run is None:
        posted = accept(None, run_id, message, now)
        if posted.is_stored:
            _begin_run(db, tenant, posted, post, now)
        return posted
    run_no, text, sealed, wake_at, due_at, count, _ = run
    if db.execute(_HAS_MESSAGE, (run_no, message_id)).fetchone():
        return Posted(False)
    posted = accept(rows.read_head(tenant, run_id, text, sealed, wake_at), run_id, message, now)
    if not posted.is_stored:
        return posted
    refused = _taken(db, tenant, run_no, run_id, posted.subject)
    if refused:
        return Posted(False, refused, posted.subject)
    row = rows.mail_row(
        tenant, run_id, count + 1, now, message_id, posted.subject, message, _blob(db, tenant, post, now)
    )
    db.execute(_ADD_MAIL, (run_no, *row))
    db.execute(_COUNT_MAIL, (count + 1, now if due_at is None else min(due_at, now), run_no))
    return posted


def _blob(db: apsw.Connection, tenant: str, post: Post, now: float) -> bytes | None:
    """The hash of the message's blob, which is put here unless the post names it; None for a small body."""
    body = post.message.body
    if body is None or len(body) <= BODY_IN_ROW_MAX:
        return None
    return blobs.named(db, tenant, post.blob, len(body)) if post.blob else blobs.put(db, tenant, body, now)


def _begin_run(db: apsw.Connection, tenant: str, posted: Posted, post: Post, now: float) -> None:
    head = posted.head
    assert head is not None
    text = rows.head_text(head)
    due_at = now if head.wake_at is None else min(head.wake_at, now)
    names = (tenant, head.run_id, head.key, head.agent, head.status, head.wake_at, due_at)
    chain, sealed = rows.root(tenant, head.run_id), rows.seal(tenant, head.run_id, text)
    db.execute(_ADD_RUN, (*names, chain, text, sealed, rows.FORMAT, rows.KEY_ID))
    run_no, blob = db.last_insert_rowid(), _blob(db, tenant, post, now)
    row = rows.mail_row(tenant, head.run_id, 1, now, post.message_id, posted.subject, post.message, blob)
    db.execute(_ADD_MAIL, (run_no, *row))


def _taken(db: apsw.Connection, tenant: str, run_no: int, run_id: str, subject: str | None) -> str:
    """Why no second message of that subject counts; empty when there is no first."""
    row = db.execute(_FIRST_OF_SUBJECT, (run_no, subject)).fetchone()
    if row is None:
        return ""
    [first] = rows.read_mail(tenant, run_id, row[0] - 1, [row], blobs.reader(db, tenant))
    return refusal.had_already(run_id, subject, first)


def has_message(db: apsw.Connection, tenant: str, run_id: str, message_id: str) -> bool:
    """Whether the message stands in the store."""
    run = db.execute(_FIND_RUN, (tenant, run_id)).fetchone()
    return run is not None and db.execute(_HAS_MESSAGE, (run[0], message_id)).fetchone() is not None


def unread(db: apsw.Connection, tenant: str, run_id: str) -> list[Mail]:
    """The run's unread mail, oldest first."""
    run = db.execute(_FIND_RUN, (tenant, run_id)).fetchone()
    if run is None:
        return []
    run_no, posted, read = run[0], run[5], run[6]
    found = rows.read_mail(tenant, run_id, read, db.execute(_UNREAD, (run_no, read)), blobs.reader(db, tenant))
    if read + len(found) != posted:
        raise rows.corrupt_mail(run_id, min(read + len(found), posted) + 1)
    return found


def brought(
    db: apsw.Connection, tenant: str, run_id: str, run_no: int, posted: int, read: int
) -> Sequence[Mail] | None:
    """What a claim brings along of a run's unread mail. None: it is large or damaged, and told of when read."""
    if posted == read:
        return ()
    table = db.execute(_UNREAD, (run_no, read)).fetchall()
    try:
        return rows.read_small_mail(tenant, run_id, read, posted, table)
    except JournalCorrupt:
        return None
