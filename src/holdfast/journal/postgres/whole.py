"""Whole runs in Postgres, for upkeep: read at once, made at once, condensed, and given a new head. All of it inside a
transaction of the caller's.

Invariants
1. What is read is checked in all its parts, also the columns that repeat what the head says (U2).
2. Nothing is changed of a run that somebody holds who may be alive (`is_living`), or whose log has grown since it was
   looked at (U4, U5).
3. A run that was installed reads as the record that it was made of; its chain begins anew in its store (U3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.journal import rows
from holdfast.journal.postgres import blobs, held, log, mailbox, server
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.server import Db
from holdfast.protocols import BODY_IN_ROW_MAX, Letter, Record

_NAMED = "SELECT key, agent FROM runs WHERE run_no = $1"
_LETTERS = f"SELECT {rows.MAIL_COLUMNS} FROM mail WHERE run_no = $1 ORDER BY number"
_IDS = "SELECT run_id FROM runs WHERE tenant = $1 AND run_no > $2 ORDER BY run_no LIMIT $3"
_NUMBER = "SELECT run_no FROM runs WHERE tenant = $1 AND run_id = $2"
_MAKE = (
    "INSERT INTO runs (tenant, run_id, key, agent, status, wake_at, due_at, worker_id, epoch, count, chain,"
    " mail_posted, mail_read, head, seal, format, key_id)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14, $15, $16) RETURNING run_no"
)
_GROW = "UPDATE runs SET count = $2, chain = $3 WHERE run_no = $1"
_MEND = "UPDATE runs SET key = $2, agent = $3 WHERE run_no = $1"
_FENCE = "UPDATE runs SET epoch = epoch + 1 WHERE run_no = $1"
_FIRST_UNREAD = "SELECT at FROM mail WHERE run_no = $1 AND number > $2 ORDER BY number LIMIT 1"


IsLiving = Callable[[Db], bool]
"""Whether the worker that holds the run may be alive."""


def ids(db: Db, tenant: str, after: str, limit: int) -> list[str]:
    """Ids in the order in which the runs were made."""
    number = 0
    if after:
        found = server.row(db, _NUMBER, tenant, after)
        if found is None:
            return []
        number = found[0]
    return [run_id for (run_id,) in server.rows(db, _IDS, tenant, number, max(limit, 0))]


def read(db: Db, tenant: str, run_id: str) -> Record | None:
    """All of a run, checked. The transaction only reads, and sees one state of the store."""
    run = held.look(db, tenant, run_id)
    if run is None:
        return None
    head = run.read_head(tenant)
    key, agent = server.row(db, _NAMED, run.run_no)
    has_mail, is_held = run.mail_posted > run.mail_read, run.worker_id is not None
    is_right = rows.is_due_right(run.due_at, run.wake_at, has_mail=has_mail, is_held=is_held)
    if (head.key, head.agent, head.status) != (key, agent, run.status) or not is_right:
        raise rows.corrupt_head(run_id)
    events = log.read(db, tenant, run_id, 0)
    found = server.rows(db, _LETTERS, run.run_no)
    mail = rows.read_mail(tenant, run_id, 0, found, blobs.reader(db, tenant))
    letters = [Letter(one, row[2], row[3]) for one, row in zip(mail, found, strict=True)]
    if len(letters) != (0 if head.is_forgotten else run.mail_posted):
        raise rows.corrupt_mail(run_id, min(len(letters), run.mail_posted) + 1)
    return Record(head, run.epoch, events, letters, run.mail_read, run.worker_id or "")


def _due_at(head: Head, unread: list[float]) -> float | None:
    """Since when it may be claimed; unread: the time of its first unread message, if there is one."""
    return min([*unread, *([] if head.wake_at is None else [head.wake_at])], default=None)


def install(db: Db, tenant: str, record: Record, now: float) -> bool:
    """Make the run, unless it is there."""
    head, run_id = record.head, record.head.run_id
    if server.row(db, _NUMBER, tenant, run_id) is not None:
        return False
    text = rows.head_text(head)
    unread = [letter.mail.at for letter in record.letters if letter.mail.number > record.mail_read]
    posted = max(record.mail_read, len(record.letters))
    place = (head.status, head.wake_at, _due_at(head, unread[:1]), record.holder or None)
    chain, sealed = rows.root(tenant, run_id), rows.seal(tenant, run_id, text)
    counts = (record.epoch, chain, posted, record.mail_read)
    names = (tenant, run_id, head.key, head.agent)
    [run_no] = server.row(db, _MAKE, *names, *place, *counts, text, sealed, rows.FORMAT, rows.KEY_ID)
    chain = _add(db, tenant, run_no, chain, record.events, now)
    db.execute(_GROW, (run_no, len(record.events), chain))
    mail = [
        (run_id, *rows.mail_row(tenant, run_id, *letter.mail[:2], letter.message_id, letter.subject,
                                letter.mail.message, _blob(db, tenant, letter.mail.message.body, now)))
        for letter in record.letters
    ]  # fmt: skip
    mailbox.add(db, tenant, mail)
    return True


def _add(db: Db, tenant: str, run_no: int, chain: bytes, events: Sequence[Event], now: float) -> bytes:
    """Write a log from its first event on; the link of its last."""
    table = []
    for number, event in enumerate(events, 1):
        row = rows.event_row(run_no, chain, number, event, tenant, _blob(db, tenant, event.body, now))
        table.append(row)
        chain = row[-1]
    log.add(db, table)
    return chain


def _blob(db: Db, tenant: str, body: bytes | None, now: float) -> bytes | None:
    return None if body is None or len(body) <= BODY_IN_ROW_MAX else blobs.put(db, tenant, body, now)


def is_there(db: Db, tenant: str, run_id: str) -> bool:
    """Whether there is such a run."""
    return server.row(db, _NUMBER, tenant, run_id) is not None


def condense(
    db: Db,
    tenant: str,
    run_id: str,
    after: int,
    events: Sequence[Event],
    head: Head,
    now: float,
    is_living: IsLiving,
) -> bytes | None:
    """Replace the log of an ended run; the link of its last event, None when it must not be done."""
    run = _unheld(db, tenant, run_id, after, is_living)
    if run is None or run.run_no is None or run.mail_posted != run.mail_read:
        return None
    if not run.read_head(tenant).status.is_end or not head.status.is_end:
        return None
    db.execute("DELETE FROM events WHERE run_no = $1", (run.run_no,))
    db.execute("DELETE FROM mail WHERE run_no = $1", (run.run_no,))
    run.chain = _add(db, tenant, run.run_no, rows.root(tenant, run_id), events, now)
    run.count, run.head, run.status = len(events), rows.head_text(head), head.status.value
    run.seal, run.wake_at, run.due_at = rows.seal(tenant, run_id, run.head), None, None
    if run.worker_id is not None:
        run.worker_id = None
        db.execute(_FENCE, (run.run_no,))
    held.write(db, tenant, [run])
    return run.chain


def _unheld(db: Db, tenant: str, run_id: str, after: int, is_living: IsLiving) -> Held | None:
    """The run's row, locked, if nobody who may be alive holds the run and its log is as long as it was."""
    run = held.taken(held.ask(db, tenant, [run_id])).get(run_id)
    if run is None or run.count != after or (run.worker_id is not None and is_living(db)):
        return None
    return run


def ends_with(db: Db, tenant: str, run_id: str, chain: bytes) -> bool:
    """Whether this is the link of the run's last event; waits for whoever is writing to it."""
    run: Any = held.taken(held.ask(db, tenant, [run_id])).get(run_id)
    return run is not None and run.chain == chain


def mend(db: Db, tenant: str, run_id: str, after: int, head: Head, is_living: IsLiving) -> bool:
    """Write the head, if nobody who may be alive holds the run and its log is as long as it was."""
    run = _unheld(db, tenant, run_id, after, is_living)
    if run is None:
        return False
    has_mail = run.mail_posted > run.mail_read
    unread = [at for (at,) in server.rows(db, _FIRST_UNREAD, run.run_no, run.mail_read)] if has_mail else []
    run.head, run.status, run.wake_at = rows.head_text(head), head.status.value, head.wake_at
    run.seal, run.due_at = rows.seal(tenant, run_id, run.head), _due_at(head, unread)
    held.write(db, tenant, [run])
    db.execute(_MEND, (run.run_no, head.key, head.agent))
    return True
