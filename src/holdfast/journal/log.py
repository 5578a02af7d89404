"""The events of runs in SQLite: adding them in groups, and reading them. All of it inside a transaction.

Invariants
1. An append is judged by the run's row as this transaction sees it; what is refused writes nothing (J6–J8).
2. An append that turns out not to be writable takes the whole group back, which then goes again without it (J9).
3. A run's events are handed out when all of them, up to the count and the link in its row, have been checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from holdfast.core.accounts import Account, charged
from holdfast.core.events import Event
from holdfast.errors import BudgetRefused, JournalCorrupt, JournalError
from holdfast.journal import blobs, mailbox, refusal, rows, shared
from holdfast.protocols import BODY_IN_ROW_MAX, Append

_FIND_RUN = (
    "SELECT run_no, worker_id, epoch, count, chain, mail_posted, mail_read, status, wake_at, due_at, head, seal "
    "FROM runs WHERE tenant = ? AND run_id = ?"
)
ADD_EVENT = f"INSERT INTO events (run_no, {rows.EVENT_COLUMNS}) VALUES (?{', ?' * 22})"
_GROW = "UPDATE runs SET count = ?, chain = ?, mail_read = ?, head = ?, seal = ? WHERE run_no = ?"
"""Names no column that held runs are found by, so that an ordinary step touches no index of them."""
_GROW_AND_MOVE = (
    "UPDATE runs SET count = ?, chain = ?, mail_read = ?, head = ?, seal = ?, status = ?, wake_at = ?, due_at = ? "
    "WHERE run_no = ?"
)
_GIVE_BACK = "UPDATE runs SET worker_id = NULL, due_at = ? WHERE run_no = ?"
_READ_RUN = "SELECT run_no, count, chain FROM runs WHERE tenant = ? AND run_id = ?"
_READ_EVENTS = f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE run_no = ? AND number > ? ORDER BY number LIMIT ?"
_READ_CHAIN = "SELECT chain FROM events WHERE run_no = ? AND number = ?"


ACCOUNT = "account"
"""With a key, the name of an account among what is `known`; of a run it is the id alone."""


class Unfit(Exception):
    """The append at `place` of its group cannot be written, for this `reason`. Without a place: one of them cannot,
    and only writing them one by one tells which."""

    def __init__(self, place: int | None, reason: JournalError | None) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason


class Group:
    """One attempt to write a group of appends: judged one after the other, written together.

    `known` are rows of runs, and accounts, as this connection wrote them last, while nobody else has written anything.
    """

    def __init__(self, db: apsw.Connection, tenant: str, now: float, known: dict[Any, Any]) -> None:
        self.results: list[JournalError | None] = []
        self.proof = (0, 0, b"")
        """Run, number and link of one event, by which to see whether the transaction stands."""
        self.wakes = False
        """Whether there is mail now that was not there, or a free run that is due."""
        self._db = db
        self._tenant = tenant
        self._now = now
        self._known = known
        self._events: list[rows.Row] = []
        self._grown: dict[int, rows.Row] = {}
        self._moved: dict[int, rows.Row] = {}
        self._given_back: dict[int, rows.Row] = {}
        self._accounts: dict[str, rows.Row] = {}

    def write(self, appends: Sequence[Append], unfit: dict[int, JournalError], *, one_by_one: bool) -> None:
        """Write what can be written of `appends`, without those known to be unfit."""
        for place, append in enumerate(appends):
            refused = unfit.get(place)
            if refused is None:
                try:
                    refused = self._take(append)
                    if one_by_one:
                        self._flush()
                except _UNFIT as error:
                    raise Unfit(place, _reason(append, error)) from error
            self.results.append(refused)
        try:
            self._flush()
        except _UNFIT as error:
            raise Unfit(None, None) from error

    def _take(self, append: Append) -> JournalError | None:
        """Get one append ready to be written, or say why it must not be."""
        run_id, tenant = append.lease.run_id, self._tenant
        run: Any = self._known.get(run_id) or self._find(run_id)
        if run is None:
            return refusal.no_run(run_id)
        run_no, worker_id, epoch, count, chain, posted, read, status, wake_at, due_at = run
        refused = refusal.refuse_append(append, worker_id, epoch, count, posted, read)
        if refused is None and append.charges:
            refused = self._charge(append)
        if refused is not None:
            return refused
        for name, value in append.cells.items():
            shared.set_cell(self._db, tenant, name, value)
        for event in append.events:
            count += 1
            body = event.body
            blob = None if body is None or len(body) <= BODY_IN_ROW_MAX else self._put(append, count, body)
            row = rows.event_row(run_no, chain, count, event, tenant, blob)
            self._events.append(row)
            chain = row[-1]
            self.proof = (run_no, count, chain)
        head = append.head
        text = rows.head_text(head)
        read = max(read, append.mail_read)
        grown = (count, chain, read, text, rows.seal(tenant, run_id, text))
        place = (head.status, head.wake_at, head.wake_at)  # unread mail counts again when the run is released
        if place == (status, wake_at, due_at) and run_no not in self._moved:
            self._grown[run_no] = (*grown, run_no)
        else:
            self._moved[run_no] = (*grown, *place, run_no)
        self._known[run_id] = (run_no, worker_id, epoch, count, chain, posted, read, *place)
        if append.releases:
            due = head.wake_at if posted == read else self._now
            self._given_back[run_no] = (due, run_no)
            self.wakes = self.wakes or (due is not None and due <= self._now)
            self._known[run_id] = (run_no, None, epoch, count, chain, posted, read, head.status, head.wake_at, due)
        if append.posts:
            self._deliver(append)
            self.wakes = True
        return None

    def _find(self, run_id: str) -> rows.Row | None:
        """The run's row; what a damaged index has led to is another's, which would grow by what is not its own."""
        found: Any = self._db.execute(_FIND_RUN, (self._tenant, run_id)).fetchone()
        if found is None:
            return None
        *row, head, sealed = found
        if not isinstance(head, str) or rows.seal(self._tenant, run_id, head) != sealed:
            raise rows.corrupt_head(run_id)
        return tuple(row)

    def _charge(self, append: Append) -> BudgetRefused | None:
        """Get its charges ready to be written, or say why they must not be."""
        try:
            accounts = charged(self._account, append.charges)
        except BudgetRefused as error:
            return error
        for key, account in accounts.items():
            self._known[ACCOUNT, key] = account
            self._accounts[key] = shared.account_row(self._tenant, key, account)
        return None

    def _account(self, key: str) -> Account | None:
        if (ACCOUNT, key) not in self._known:
            self._known[ACCOUNT, key] = shared.account(self._db, self._tenant, key)
        account: Account | None = self._known[ACCOUNT, key]
        return account

    def _put(self, append: Append, number: int, body: bytes) -> bytes:
        """The hash of the blob of event `number`, which is put here unless the append names it."""
        ref = append.blobs.get(number - append.after - 1)
        if ref is None:
            return blobs.put(self._db, self._tenant, body, self._now)
        return blobs.named(self._db, self._tenant, ref, len(body))

    def _deliver(self, append: Append) -> None:
        """What is refused stores nothing, and nobody is told: the run has said it, too late."""
        self._flush()
        self._known.clear()
        for post in append.posts:
            mailbox.deliver(self._db, self._tenant, post, self._now)

    def _flush(self) -> None:
        for sql, pending in (
            (ADD_EVENT, self._events),
            (_GROW, self._grown),
            (_GROW_AND_MOVE, self._moved),
            (_GIVE_BACK, self._given_back),
            (shared.SET_ACCOUNT, self._accounts),
        ):
            if pending:
                self._db.executemany(sql, pending.values() if isinstance(pending, dict) else pending)
                pending.clear()


_UNFIT = (*refusal.UNWRITABLE, apsw.TooBigError, apsw.ConstraintError, JournalCorrupt)


def _reason(append: Append, error: Exception) -> JournalError:
    match error:
        case JournalCorrupt():  # the row of a run that it posts to
            return error
        case UnicodeDecodeError():
            return rows.corrupt_head(append.lease.run_id)
        case apsw.ConstraintError():
            return rows.corrupt_event(append.lease.run_id, append.after + 1)
        case _:
            return refusal.unwritable(f"An append to run {append.lease.run_id}", error)


def stands(db: apsw.Connection, group: Group) -> bool:
    """Whether the group's transaction is in the store; False also when it wrote no event: it may go again."""
    run_no, number, chain = group.proof
    found = db.execute(_READ_CHAIN, (run_no, number)).fetchone()
    return found is not None and found[0] == chain


def read(db: apsw.Connection, tenant: str, run_id: str, after: int, limit: int | None = None) -> list[Event]:
    """The run's events with a number above `after`, checked; at most the first `limit` of them."""
    run: Any = db.execute(_READ_RUN, (tenant, run_id)).fetchone()
    if run is None or after > run[1]:
        return []
    run_no, count, chain = run
    before = rows.root(tenant, run_id)
    if after:
        last_link = db.execute(_READ_CHAIN, (run_no, after)).fetchone()
        if last_link is None:
            raise rows.corrupt_event(run_id, after)
        before = last_link[0]
    end = count if limit is None else min(count, after + max(limit, 0))
    found = db.execute(_READ_EVENTS, (run_no, after, -1 if limit is None else max(limit, 0)))
    events, number, last = rows.read_events(run_id, before, after, found, blobs.reader(db, tenant))
    if number != end or (end == count and last != chain):
        raise rows.corrupt_event(run_id, min(number, end) + 1 if number != end else end)
    return events
