"""An ordinary step of one run in one statement, which is its own transaction: one message to the server and back.

What the statement needs to know of the run, its writer knows since its last append or its claim. The statement looks
all of it up in the run's row: lease, count, link, mail, and that the store takes writes. Where anything differs it
writes nothing, and the general way (`log`) says why, or finds out what is known wrongly.

Never: writes mail, accounts, cells or blobs, gives a run back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from holdfast.journal import refusal, rows
from holdfast.journal.postgres import direct
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.server import Db
from holdfast.protocols import BODY_IN_ROW_MAX, Append

KNOWN_MAX = 10_000
"""Runs that are remembered; each is some hundred bytes."""

_EVENT = (
    *("float8", "text", "text", "text", "text", "int8", "text", "text", "int8", "int8", "int8"),
    *("int8", "int8", "int8", "int8", "text", "bytea"),
)
"""From `at` to `meta`, and the body."""
_STEP = direct.Statement(
    "holdfast step",
    "WITH grown AS (UPDATE runs SET count = $1, chain = $2, mail_read = $3, status = $4, wake_at = $5, due_at = $5,"
    " head = $6, seal = $7 FROM store WHERE run_no = $8 AND tenant = $9 AND worker_id = $10 AND epoch = $11"
    " AND count = $1 - 1 AND chain = $12 AND mail_read <= $3 AND mail_posted >= $3 AND store.id = $13"
    " AND store.moved_to IS NULL AND (mail_posted <= $3 OR NOT $14) RETURNING run_no)"
    f" INSERT INTO events (run_no, {rows.EVENT_COLUMNS})"
    f" SELECT run_no, $1, {', '.join(f'${place}' for place in range(15, 31))}, $9, {rows.FORMAT}, '{rows.KEY_ID}', $31,"
    " $2 FROM grown",
    (
        *("int8", "bytea", "int8", "text", "float8", "text", "bytea", "int8", "text", "text", "int8", "bytea", "text"),
        *("bool", *_EVENT),
    ),
)


class Known:
    """Rows of runs as this journal wrote or claimed them last."""

    def __init__(self, tenant: str, store_id: str) -> None:
        self._tenant = tenant
        self._store_id = store_id
        self._lock = threading.Lock()
        self._runs: dict[str, Held] = {}

    def keep(self, runs: Sequence[Held]) -> None:
        """Remember these rows, those that somebody holds."""
        with self._lock:
            for run in runs:
                self._runs.pop(run.run_id, None)
                if run.worker_id is not None:
                    self._runs[run.run_id] = run
            while len(self._runs) > KNOWN_MAX:
                self._runs.pop(next(iter(self._runs)))

    def get(self, run_id: str) -> Held | None:
        """The row, if it is remembered; not to be changed."""
        return self._runs.get(run_id)

    def prepared(self, appends: Sequence[Append]) -> tuple[Held, tuple[Any, ...]] | None:
        """The run's row after these appends, and what the statement takes; None when they take the general way."""
        if len(appends) != 1 or not is_ordinary(appends[0]):
            return None
        [append] = appends
        known = self._runs.get(append.lease.run_id)
        if known is None or known.run_no is None:
            return None
        counts = (known.worker_id, known.epoch, known.count, max(known.mail_posted, append.mail_read), known.mail_read)
        if refusal.refuse_append(append, *counts) is not None:
            return None
        run, row = stepped(known, append, self._tenant)
        after = (run.count, run.chain, run.mail_read, run.status, run.wake_at, run.head, run.seal)
        before = (run.run_no, self._tenant, run.worker_id, run.epoch, known.chain)
        return run, (*after, *before, self._store_id, append.head.status.is_end, *row[2:18], row[21])

    def forget(self, run_id: str) -> None:
        """What is known of this run is wrong."""
        with self._lock:
            self._runs.pop(run_id, None)


def stepped(known: Held, append: Append, tenant: str) -> tuple[Held, rows.Row]:
    """The run's row after an ordinary append, and the columns of its event."""
    assert known.run_no is not None
    head, [event], count = append.head, append.events, known.count + 1
    row = rows.event_row(known.run_no, known.chain, count, event, tenant)
    text = rows.head_text(head)
    wake_at = None if head.wake_at is None else head.wake_at + 0.0
    names = (known.run_id, known.run_no, None if append.releases else known.worker_id, known.epoch)
    counts = (count, row[-1], known.mail_posted, max(known.mail_read, append.mail_read))
    place = (head.status.value, wake_at, wake_at)  # mail counts again when the run is given back; here there is none
    return Held(*names, *counts, *place, text, rows.seal(tenant, known.run_id, text)), row


def is_ordinary(append: Append) -> bool:
    """Whether it is one event of a run, and nothing besides."""
    if append.posts or append.charges or append.cells or append.releases or append.blobs or len(append.events) != 1:
        return False
    body = append.events[0].body
    return body is None or len(body) <= BODY_IN_ROW_MAX


def write(db: Db, values: tuple[Any, ...]) -> bool:
    """Send the statement; whether it found all as it was known."""
    return _STEP.run(db, values) == 1
