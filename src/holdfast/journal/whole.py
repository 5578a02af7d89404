"""Whole runs in SQLite, for upkeep: read at once, made at once, condensed, and given a new head. All of it inside a
transaction of the caller's.

Invariants
1. What is read is checked in all its parts, also the columns that repeat what the head says (U2).
2. Nothing is changed of a run that somebody holds who may be alive (`is_living`), or whose log has grown since it was
   looked at (U4, U5).
3. A run that was installed reads as the record that it was made of; its chain begins anew in its store (U3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import apsw

from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.journal import blobs, log, rows
from holdfast.protocols import BODY_IN_ROW_MAX, Letter, Record

_FIND = (
    "SELECT run_no, key, agent, status, wake_at, due_at, worker_id, epoch, count, mail_posted, mail_read, head, seal "
    "FROM runs WHERE tenant = ? AND run_id = ?"
)
_LETTERS = f"SELECT {rows.MAIL_COLUMNS} FROM mail WHERE run_no = ? ORDER BY number"
_IDS = "SELECT run_id FROM runs WHERE tenant = ? AND run_no > ? ORDER BY run_no LIMIT ?"
_NUMBER = "SELECT run_no FROM runs WHERE tenant = ? AND run_id = ?"
_MAKE = f"INSERT INTO runs VALUES (NULL{', ?' * 17})"
_ADD_MAIL = f"INSERT INTO mail (run_no, {rows.MAIL_COLUMNS}) VALUES (?{', ?' * 11})"
_CONDENSE = (
    "UPDATE runs SET count = ?, chain = ?, head = ?, seal = ?, status = ?, wake_at = NULL, due_at = NULL, "
    "epoch = epoch + (worker_id IS NOT NULL), worker_id = NULL WHERE run_no = ?"
)
_MEND = "UPDATE runs SET key = ?, agent = ?, status = ?, wake_at = ?, due_at = ?, head = ?, seal = ? WHERE run_no = ?"
_FIRST_UNREAD: Final = "SELECT at FROM mail WHERE run_no = ? AND number > ? ORDER BY number LIMIT 1"
_CHAIN = "SELECT chain FROM runs WHERE tenant = ? AND run_id = ?"


IsLiving = Callable[[apsw.Connection], bool]
"""Whether the worker that holds the run may be alive."""


def ids(db: apsw.Connection, tenant: str, after: str, limit: int) -> list[str]:
    """Ids in the order in which the runs were made."""
    number = 0
    if after:
        found: Any = db.execute(_NUMBER, (tenant, after)).fetchone()
        if found is None:
            return []
        number = found[0]
    return [run_id for (run_id,) in db.execute(_IDS, (tenant, number, max(limit, 0)))]


def read(db: apsw.Connection, tenant: str, run_id: str) -> Record | None:
    """All of a run, checked."""
    found: Any = db.execute(_FIND, (tenant, run_id)).fetchone()
    if found is None:
        return None
    run_no, key, agent, status, wake_at, due_at, holder, epoch, _, posted, was_read, text, sealed = found
    head = rows.read_head(tenant, run_id, text, sealed, wake_at)
    is_right = rows.is_due_right(due_at, wake_at, has_mail=posted > was_read, is_held=holder is not None)
    if (head.key, head.agent, head.status) != (key, agent, status) or not is_right:
        raise rows.corrupt_head(run_id)
    events = log.read(db, tenant, run_id, 0)
    letters = _letters(db, tenant, run_id, run_no)
    if len(letters) != (0 if head.is_forgotten else posted):
        raise rows.corrupt_mail(run_id, min(len(letters), posted) + 1)
    return Record(head, epoch, events, letters, was_read, holder or "")


def _letters(db: apsw.Connection, tenant: str, run_id: str, run_no: int) -> list[Letter]:
    found: Any = db.execute(_LETTERS, (run_no,)).fetchall()
    mail = rows.read_mail(tenant, run_id, 0, found, blobs.reader(db, tenant))
    return [Letter(one, row[2], row[3]) for one, row in zip(mail, found, strict=True)]


def _due_at(head: Head, unread: list[float]) -> float | None:
    """Since when it may be claimed; unread: the time of its first unread message, if there is one."""
    return min([*unread, *([] if head.wake_at is None else [head.wake_at])], default=None)


def install(db: apsw.Connection, tenant: str, record: Record, now: float) -> bool:
    """Make the run, unless it is there."""
    head, run_id = record.head, record.head.run_id
    if db.execute(_NUMBER, (tenant, run_id)).fetchone() is not None:
        return False
    text = rows.head_text(head)
    unread = [letter.mail.at for letter in record.letters if letter.mail.number > record.mail_read]
    posted = max(record.mail_read, len(record.letters))
    names = (
        tenant,
        run_id,
        head.key,
        head.agent,
        head.status,
        head.wake_at,
        _due_at(head, unread[:1]),
        record.holder or None,
    )
    chain, sealed = rows.root(tenant, run_id), rows.seal(tenant, run_id, text)
    counts = (record.epoch, 0, chain, posted, record.mail_read)
    db.execute(_MAKE, (*names, *counts, text, sealed, rows.FORMAT, rows.KEY_ID))
    run_no = db.last_insert_rowid()
    chain = _add(db, tenant, run_no, chain, record.events, now)
    db.execute("UPDATE runs SET count = ?, chain = ? WHERE run_no = ?", (len(record.events), chain, run_no))
    for letter in record.letters:
        number, at, message = letter.mail
        named = (letter.message_id, letter.subject, message, _blob(db, tenant, message.body, now))
        db.execute(_ADD_MAIL, (run_no, *rows.mail_row(tenant, run_id, number, at, *named)))
    return True


def _add(db: apsw.Connection, tenant: str, run_no: int, chain: bytes, events: Sequence[Event], now: float) -> bytes:
    """Write a log from its first event on; the link of its last."""
    for number, event in enumerate(events, 1):
        row = rows.event_row(run_no, chain, number, event, tenant, _blob(db, tenant, event.body, now))
        db.execute(log.ADD_EVENT, row)
        chain = row[-1]
    return chain


def _blob(db: apsw.Connection, tenant: str, body: bytes | None, now: float) -> bytes | None:
    return None if body is None or len(body) <= BODY_IN_ROW_MAX else blobs.put(db, tenant, body, now)


def is_there(db: apsw.Connection, tenant: str, run_id: str) -> bool:
    """Whether there is such a run."""
    return db.execute(_NUMBER, (tenant, run_id)).fetchone() is not None


def condense(
    db: apsw.Connection,
    tenant: str,
    run_id: str,
    after: int,
    events: Sequence[Event],
    head: Head,
    now: float,
    is_living: IsLiving,
) -> bytes | None:
    """Replace the log of an ended run; the link of its last event, None when it must not be done."""
    found: Any = db.execute(_FIND, (tenant, run_id)).fetchone()
    if found is None:
        return None
    run_no, _, _, _, wake_at, _, holder, _, count, posted, was_read, text, sealed = found
    was = rows.read_head(tenant, run_id, text, sealed, wake_at)
    if (
        (holder and is_living(db))
        or count != after
        or posted != was_read
        or not was.status.is_end
        or not head.status.is_end
    ):
        return None
    db.execute("DELETE FROM events WHERE run_no = ?", (run_no,))
    db.execute("DELETE FROM mail WHERE run_no = ?", (run_no,))
    chain = _add(db, tenant, run_no, rows.root(tenant, run_id), events, now)
    text = rows.head_text(head)
    grown = (len(events), chain, text, rows.seal(tenant, run_id, text), head.status)
    db.execute(_CONDENSE, (*grown, run_no))
    return chain


def ends_with(db: apsw.Connection, tenant: str, run_id: str, chain: bytes) -> bool:
    """Whether this is the link of the run's last event."""
    return db.execute(_CHAIN, (tenant, run_id)).fetchone() == (chain,)


def mend(db: apsw.Connection, tenant: str, run_id: str, after: int, head: Head, is_living: IsLiving) -> bool:
    """Write the head, if nobody who may be alive holds the run and its log is as long as it was."""
    found: Any = db.execute(_FIND, (tenant, run_id)).fetchone()
    if found is None or found[8] != after or (found[6] is not None and is_living(db)):
        return False
    run_no, posted, was_read, text = found[0], found[9], found[10], rows.head_text(head)
    unread = [at for (at,) in db.execute(_FIRST_UNREAD, (run_no, was_read))] if posted > was_read else []
    columns = (head.key, head.agent, head.status, head.wake_at, _due_at(head, unread))
    db.execute(_MEND, (*columns, text, rows.seal(tenant, run_id, text), run_no))
    return True
