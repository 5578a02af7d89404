"""The events of runs in Postgres: adding them in groups, and reading them. All of it inside a transaction.

Invariants
1. An append is judged by the locked row of its run (fencing, unread mail), its accounts and cells; what is refused
   writes nothing (J6–J8, J21).
2. Rows are locked in one order, the same for everybody: runs by id (those of the appends and those they post to),
   then cells by name, then accounts by key.
3. An append that turns out not to be writable takes the whole group back, which then goes again without it (J9).
4. A run's events are handed out when all of them, up to the count and the link in its row, have been checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import psycopg

from holdfast.core.accounts import charged
from holdfast.core.events import Event
from holdfast.errors import BudgetRefused, JournalCorrupt, JournalError
from holdfast.journal import refusal, rows
from holdfast.journal.postgres import blobs, held, server
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.mailbox import Delivery
from holdfast.journal.postgres.server import Db
from holdfast.journal.postgres.shared import Shared
from holdfast.protocols import BODY_IN_ROW_MAX, Append

_ADD_EVENTS = (
    f"INSERT INTO events (run_no, {rows.EVENT_COLUMNS}) SELECT * FROM unnest($1::int8[], $2::int8[], $3::float8[],"
    " $4::text[], $5::text[], $6::text[], $7::text[], $8::int8[], $9::text[], $10::text[], $11::int8[], $12::int8[],"
    " $13::int8[], $14::int8[], $15::int8[], $16::int8[], $17::int8[], $18::text[], $19::text[], $20::int8[],"
    " $21::text[], $22::bytea[], $23::bytea[])"
)
_READ_RUN = (
    "SELECT run_no, count, chain, (SELECT chain FROM events WHERE events.run_no = runs.run_no AND number = $3)"
    " FROM runs WHERE tenant = $1 AND run_id = $2"
)
_READ_EVENTS = (
    f"SELECT {', '.join('events.' + name for name in rows.EVENT_COLUMNS.split(', '))} FROM events"
    " JOIN runs USING (run_no) WHERE runs.tenant = $1 AND run_id = $2 AND number > $3 ORDER BY number LIMIT $4"
)
_STANDING = (
    "SELECT run_id, events.number, events.chain FROM unnest($2::text[], $3::int8[]) AS given(run_id, number)"
    " JOIN runs USING (run_id) JOIN events USING (run_no, number) WHERE runs.tenant = $1"
)


class Unfit(Exception):
    """The append at `place` of its group cannot be written, for this `reason`. Without a place: one of them cannot,
    and only writing them one by one tells which."""

    def __init__(self, place: int | None, reason: JournalError | None) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason


class Written(NamedTuple):
    """What an append leaves in the store, by which to see whether its transaction stands."""

    run_id: str
    events: int
    chain: bytes
    seal: bytes
    worker_id: str | None
    epoch: int
    has_events: bool


class Group:
    """One attempt to write a group of appends: judged one after the other, written together."""

    def __init__(self, db: Db, tenant: str, now: float, appends: Sequence[Append]) -> None:
        self.results: list[JournalError | None] = []
        self.written: list[Written] = []
        self.known: dict[str, Held] = {}
        """The rows of its runs, as they are after it."""
        self.is_heard = False
        """Whether it leaves mail, or a run that may be claimed now."""
        self._db = db
        self._tenant = tenant
        self._now = now
        self._events: list[rows.Row] = []
        posts = [post for append in appends for post in append.posts]
        asked = held.ask(db, tenant, {append.lease.run_id for append in appends} | {post.run_id for post in posts})
        self._delivery = Delivery(db, tenant, now, posts)
        self._shared = Shared(db, tenant, *_names(appends))
        self._delivery.look(held.taken(asked))
        self._runs = self._delivery.runs

    def write(self, appends: Sequence[Append], unfit: dict[int, JournalError], *, one_by_one: bool) -> None:
        """Write what can be written of `appends`, without those known to be unfit."""
        for place, append in enumerate(appends):
            refused = unfit.get(place)
            if refused is None:
                try:
                    refused = self._take(append)
                    if one_by_one:
                        self._flush()
                except UNFIT as error:
                    raise Unfit(place, reason(append, error)) from error
            self.results.append(refused)
        try:
            self._flush()
        except UNFIT as error:
            raise Unfit(None, None) from error

    def _take(self, append: Append) -> JournalError | None:
        """Get one append ready to be written, or say why it must not be."""
        run_id = append.lease.run_id
        run = self._runs.get(run_id)
        if run is None or run.run_no is None:
            return refusal.no_run(run_id)
        counts = (run.worker_id, run.epoch, run.count, run.mail_posted, run.mail_read)
        refused = refusal.refuse_append(append, *counts)
        if refused is None and append.charges:
            refused = self._charge(append)
        if refused is not None:
            return refused
        for name, value in append.cells.items():
            self._shared.set_cell(name, value)
        for event in append.events:
            blob = self._blob(append, run.count, event)
            row = rows.event_row(run.run_no, run.chain, run.count + 1, event, self._tenant, blob)
            self._events.append(row)
            run.count, run.chain = run.count + 1, row[-1]
        move(run, append, self._tenant, self._now)
        self._delivery.changed[run_id] = self.known[run_id] = run
        for post in append.posts:  # what is refused stores nothing, and nobody is told: the run has said it, too late
            self.is_heard |= self._delivery.deliver(post).is_stored
        self.is_heard |= append.releases and run.due_at is not None and run.due_at <= self._now
        self.written.append(proof(run, append))
        return None

    def _charge(self, append: Append) -> BudgetRefused | None:
        """Get its charges ready to be written, or say why they must not be."""
        try:
            self._shared.set_accounts(charged(self._shared.account, append.charges).items())
        except BudgetRefused as error:
            return error
        return None

    def _blob(self, append: Append, count: int, event: Event) -> bytes | None:
        """The hash of a large body's blob, which is put here unless the append names it."""
        if event.body is None or len(event.body) <= BODY_IN_ROW_MAX:
            return None
        ref = append.blobs.get(count - append.after)
        if ref is None:
            return blobs.put(self._db, self._tenant, event.body, self._now)
        return blobs.named(self._db, self._tenant, ref, len(event.body))

    def _flush(self) -> None:
        add(self._db, self._events)
        self._events.clear()
        self._delivery.flush()
        self._shared.flush()


def add(db: Db, events: Sequence[rows.Row]) -> None:
    """Insert events, each with the number of its run first."""
    if events:
        db.execute(_ADD_EVENTS, held.columns(events))


def _names(appends: Iterable[Append]) -> tuple[set[str], set[str]]:
    """The cells and the accounts that these appends read and write."""
    cells, keys = set[str](), set[str]()
    for append in appends:
        cells.update(name for name, value in append.cells.items() if refusal.fits_cell(name, value))
        keys.update(name for charge in append.charges for name in (charge.key, charge.cap) if name)
    return cells, keys


def move(run: Held, append: Append, tenant: str, now: float) -> None:
    """The run's row after the events of an append."""
    head = append.head
    run.head = rows.head_text(head)
    run.seal = rows.seal(tenant, run.run_id, run.head)
    run.mail_read = max(run.mail_read, append.mail_read)
    run.status, run.wake_at = head.status.value, None if head.wake_at is None else float(head.wake_at)
    run.due_at = head.wake_at  # unread mail counts again when the run is released
    if append.releases:
        run.worker_id = None
        run.due_at = head.wake_at if run.mail_posted == run.mail_read else now


def proof(run: Held, append: Append) -> Written:
    """By what to see later whether the append stands."""
    return Written(run.run_id, run.count, run.chain, run.seal, run.worker_id, run.epoch, bool(append.events))


UNFIT = (*refusal.UNWRITABLE, psycopg.DataError, JournalCorrupt)


def reason(append: Append, error: Exception) -> JournalError:
    """Why an append cannot be written."""
    if isinstance(error, JournalCorrupt):  # the row of a run that it posts to, or of an account
        return error
    return refusal.unwritable(f"An append to run {append.lease.run_id}", error)


def standing(db: Db, tenant: str, written: Sequence[Written]) -> list[bool]:
    """For each append whether it is in the store; waits for whoever is still writing to these runs."""
    asked = held.ask(db, tenant, {one.run_id for one in written})
    names = [(one.run_id, one.events) for one in written]
    found = server.rows(db, _STANDING, tenant, *held.columns(names)) if names else []
    links, runs = {(run_id, number, chain) for run_id, number, chain in found}, held.taken(asked)
    return [
        (one.run_id, one.events, one.chain) in links if one.has_events else _is_at(runs.get(one.run_id), one)
        for one in written
    ]


def _is_at(run: Held | None, one: Written) -> bool:
    """Whether the row is what an append without events makes it."""
    return run is not None and (run.count, run.seal, run.worker_id, run.epoch) == (
        one.events, one.seal, one.worker_id, one.epoch
    )  # fmt: skip


def read(db: Db, tenant: str, run_id: str, after: int, limit: int | None = None) -> list[Event]:
    """The run's events with a number above `after`, checked; at most the first `limit` of them."""
    wanted = None if limit is None else max(limit, 0)
    looked = db.execute(_READ_RUN, (tenant, run_id, after), binary=True)
    asked = db.execute(_READ_EVENTS, (tenant, run_id, after, wanted), binary=True)
    run: Any = looked.fetchone()
    if run is None or after > run[1]:
        return []
    _, count, chain, before = run
    if after == 0:
        before = rows.root(tenant, run_id)
    elif before is None:
        raise rows.corrupt_event(run_id, after)
    end = count if wanted is None else min(count, after + wanted)
    events, number, last = rows.read_events(run_id, before, after, asked.fetchall(), blobs.reader(db, tenant))
    if number != end or (end == count and last != chain):
        raise rows.corrupt_event(run_id, min(number, end) + 1 if number != end else end)
    return events
