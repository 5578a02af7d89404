"""Ordinary steps of several runs in one statement, which is its own transaction: one message to the server and back.

As `quick` does it for one run: what the statement needs to know of each run, its writer knows since its last append or
its claim, and the statement looks all of it up in the runs' rows. A run of which anything differs is left as it is, the
others are written; the general way (`log`) then says why, or finds out what is known wrongly. The end of a run, which
gives it back, is written here too: nobody is woken by it.

The rows come in the order of the runs' ids, as everybody locks them. Should the server take them in another order, two
writers may lock each other out: then it takes one of them back, and that one begins again.

Never: writes mail, accounts, cells or blobs, or wakes anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from holdfast.journal import refusal, rows
from holdfast.journal.postgres import log, server
from holdfast.journal.postgres.arrays import blobs, floats, ints, texts
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.quick import Known, is_ordinary
from holdfast.journal.postgres.server import Db
from holdfast.protocols import Append

_RUN = (
    *(("run_no", ints), ("known_worker", texts), ("known_epoch", ints), ("known_count", ints), ("known_chain", blobs)),
    *(("known_posted", ints), ("is_end", ints)),
    *(("to_worker", texts), ("to_count", ints), ("to_chain", blobs), ("to_read", ints), ("to_status", texts)),
    *(("to_wake_at", floats), ("to_head", texts), ("to_seal", blobs)),
)
_EVENT = (
    *(ints, floats, texts, texts, texts, texts, ints, texts, texts, ints, ints, ints, ints, ints, ints, ints),
    *(texts, texts, ints, texts, blobs, blobs),
)
_TYPES = {ints: "int8[]", floats: "float8[]", texts: "text[]", blobs: "bytea[]"}
_PACKERS = (*(packer for _, packer in _RUN), *_EVENT)
_ARRAYS = ", ".join(f"${place}::{_TYPES[packer]}" for place, packer in enumerate(_PACKERS, 3))
_STEPS = (
    f"WITH grown AS (UPDATE runs SET worker_id = to_worker, count = to_count, chain = to_chain, mail_read = to_read,"
    f" status = to_status, wake_at = to_wake_at, due_at = to_wake_at, head = to_head, seal = to_seal"
    f" FROM store, unnest({_ARRAYS}) AS given({', '.join(name for name, _ in _RUN)},"
    f" {', '.join('event_' + name for name in rows.EVENT_COLUMNS.split(', '))})"
    f" WHERE runs.run_no = given.run_no AND runs.tenant = $1 AND store.id = $2 AND store.moved_to IS NULL"
    f" AND worker_id = known_worker AND epoch = known_epoch AND count = known_count AND chain = known_chain"
    f" AND mail_read <= to_read AND mail_posted >= known_posted AND (is_end = 0 OR mail_posted <= to_read)"
    f" RETURNING runs.run_no, {', '.join('event_' + name for name in rows.EVENT_COLUMNS.split(', '))}),"
    f" added AS (INSERT INTO events (run_no, {rows.EVENT_COLUMNS}) SELECT * FROM grown)"
    f" SELECT run_no FROM grown"
)


class Steps:
    """One event each of several runs, and which of them were written."""

    def __init__(self, tenant: str, store_id: str, pairs: Sequence[tuple[Append, Held]]) -> None:
        """pairs: each append with its run's row as it is known."""
        self._tenant = tenant
        self._store_id = store_id
        self._known = [known for _, known in pairs]
        self.runs: list[Held] = []
        """The rows of the runs after it."""
        self.proofs: list[log.Written] = []
        self.written: set[int | None] = set()
        """Numbers of the runs whose event is in the store."""
        table = [self._row(append, known) for append, known in pairs]
        self._columns = [packer(column) for packer, column in zip(_PACKERS, zip(*table, strict=True), strict=True)]

    def _row(self, append: Append, known: Held) -> rows.Row:
        run, [event] = known.copied(), append.events
        assert known.run_no is not None
        row = rows.event_row(known.run_no, run.chain, run.count + 1, event, self._tenant)
        run.count, run.chain = run.count + 1, row[-1]
        log.move(run, append, self._tenant, 0.0)
        self.runs.append(run)
        self.proofs.append(log.proof(run, append))
        before = (known.run_no, known.worker_id, known.epoch, known.count, known.chain)
        after = (run.worker_id, run.count, run.chain, run.mail_read, run.status, run.wake_at, run.head, run.seal)
        return (*before, run.mail_read, append.head.status.is_end, *after, *row[1:])

    def write(self, db: Db) -> set[int | None]:
        """Send the statement; the numbers of the runs that it found as they were known."""
        return {run_no for (run_no,) in server.rows(db, _STEPS, self._tenant, self._store_id, *self._columns)}

    def stand(self, db: Db) -> bool:
        """Whether the transaction is in the store; then `written` tells what it wrote."""
        found = log.standing(db, self._tenant, self.proofs)
        self.written = {run.run_no for run, stands in zip(self.runs, found, strict=True) if stands}
        return bool(self.written)


def prepared(known: Known, tenant: str, store_id: str, appends: Sequence[Append]) -> Steps | None:
    """The statement for these appends; None when they take the general way, all of them."""
    pairs = []
    for append in appends:
        run = known.get(append.lease.run_id)
        if run is None or run.run_no is None or not (is_ordinary(append) or _is_ordinary_end(append)):
            return None
        counts = (run.worker_id, run.epoch, run.count, max(run.mail_posted, append.mail_read), run.mail_read)
        if refusal.refuse_append(append, *counts) is not None:
            return None
        pairs.append((append, run))
    if len({run.run_no for _, run in pairs}) < len(pairs):
        return None
    pairs.sort(key=lambda pair: pair[1].run_id)
    return Steps(tenant, store_id, pairs)


def _is_ordinary_end(append: Append) -> bool:
    """Whether it gives back a run that nothing wakes but mail, of which there is none."""
    gives_back = append.releases and append.head.status.is_end and append.head.wake_at is None
    return gives_back and is_ordinary(replace(append, releases=False))
