"""The journal in Postgres: for runs that several machines share.

Invariants (J1–J23 in `protocols` bind; these are how)
1. Whatever decides is read in the transaction that writes, from locked rows: the run's row, its mail, the accounts.
2. `post`, `claim` and `append` are synced to the server's disk before they return. `release`, `register` and `retire`
   are not: all that a crash of the server can take from them is that a claim comes back as a takeover.
3. Rows are checked by `rows` before they are handed out, and a run's events are counted against its row.
4. A blob is whole in the store before a row names it, in the same transaction or in earlier ones.
5. Time is the server's (`clock.py`), unless whoever opens the journal owns the clock.

Never: makes tables where another program has some, crosses a fork, puts a value into the text of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from holdfast.core.accept import Message, Posted
from holdfast.core.accounts import Account, countable
from holdfast.core.budget import Limits
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.errors import JournalError, NotFound
from holdfast.journal import refusal, rows
from holdfast.journal.blobs import corrupt, hash_of, pieces
from holdfast.journal.postgres import (
    address,
    blobs,
    bulk,
    census,
    doorbell,
    leases,
    log,
    mailbox,
    quick,
    server,
    shared,
)
from holdfast.journal.postgres.clock import StoreClock
from holdfast.journal.postgres.database import Database
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.search import PostgresIndex
from holdfast.journal.postgres.server import Db
from holdfast.journal.postgres.upkeep import PostgresUpkeep
from holdfast.journal.process import proven_dead
from holdfast.protocols import Append, Cell, Claim, Lease, Mail, Post, Worker

_UNWRITABLE = (*refusal.UNWRITABLE, psycopg.DataError)


class PostgresJournal:
    """A `Journal` in the schema that `url` names, which is made when it does not exist (its database is not)."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        tenant: str = "default",
        is_dead: Callable[[Worker], bool] = proven_dead,
        owns_clock: bool = False,
        must_exist: bool = False,
    ) -> None:
        """owns_clock: `clock` is the store's own time, as in a test; otherwise the server's time counts."""
        self.address = address.read(url)
        self.tenant = tenant
        self._is_dead = is_dead
        self._clock = StoreClock(clock, is_shared=not owns_clock)
        self.now: Callable[[], float] = self._clock.now  # asked several times a step, so nothing stands between
        """The server's time, or that of the clock which this journal's maker owns."""
        self._database = Database(
            self.address, self._open(must_exist), lambda end: self._finish(end), self._refuse_moved
        )
        with self._database.closed_on_failure():
            self._id, self._hash_key = self._database.read(census.identity)
        self._doorbell = doorbell.Doorbell(self.address, tenant)
        self._known = quick.Known(tenant, self._id)

    def _open(self, must_exist: bool) -> Db:
        try:
            db = server.connect(self.address)
            try:
                if must_exist and not server.is_there(db, self.address):
                    raise NotFound(
                        f"There is no store at {self.address.shown}. Nothing was made. Name it with --store."
                    )
                self._clock.measure(db)
                server.open_store(db, self.address, self._clock.now())
            except BaseException:
                db.close()
                raise
            return db
        except psycopg.Error as error:
            raise server.meaning(error, self.address) from error

    @property
    def url(self) -> str:
        """The URL of the store, without a password."""
        return self.address.shown

    def upkeep(self) -> PostgresUpkeep:
        """The same store, for whoever keeps it."""
        return PostgresUpkeep(self._database, self.url, self.tenant, self.now, self._is_dead)

    def index(self) -> PostgresIndex:
        """The same store, for whoever searches it."""
        return PostgresIndex(self._database, self.tenant)

    def _refuse_moved(self, db: Db) -> None:
        """Refuse to write to a store whose runs go on elsewhere, or that has become another one since it was opened."""
        store_id, standing = census.stands(db)
        if not standing.is_open:
            raise refusal.moved(standing, self.url)
        if store_id != self._id:
            raise refusal.became_another(self.url)

    def _finish(self, end: Callable[[], Any]) -> Any:
        """Send what commits a transaction. Tests of J13 put a failing network here."""
        return end()

    @property
    def hash_key(self) -> bytes:
        """The store's own 32 random bytes."""
        return self._hash_key

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        """Offer a message to a run (J1–J3)."""
        return self.post_all([Post(run_id, message_id, message)])[0]

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        """Offer several messages in one transaction."""
        if not posts:
            return []
        now = self.now()

        def stands(db: Db, posted: list[Posted]) -> bool:
            stored = [post for post, one in zip(posts, posted, strict=True) if one.is_stored]
            return bool(stored) and bool(mailbox.standing(db, self.tenant, stored[:1]))

        def work(db: Db) -> list[Posted]:
            posted = mailbox.deliver(db, self.tenant, posts, now)
            if any(one.is_stored for one in posted):
                self._ring(db)
            return posted

        try:
            return self._database.write(work, stands, again=_first_stored)
        except _UNWRITABLE as error:
            what = f"A message to run {posts[0].run_id}" if len(posts) == 1 else f"One of {len(posts)} messages"
            raise refusal.unwritable(what, error) from error

    def unread(self, worker_id: str) -> list[str]:
        """Ids of the runs that this worker holds and that have unread mail (J16)."""
        return self._database.read(lambda db: leases.with_mail(db, self.tenant, worker_id), is_one=True)

    def held(self, worker_id: str) -> list[Lease]:
        """The leases of the runs that this worker holds (J23)."""
        return self._database.read(lambda db: leases.of_worker(db, self.tenant, worker_id))

    def mail(self, run_id: str) -> list[Mail]:
        """The run's unread mail, oldest first."""
        return self._database.read(lambda db: mailbox.unread(db, self.tenant, run_id), is_one=True)

    def register(self, worker: Worker, ttl_s: float) -> None:
        """Create or renew the worker's row; it expires `ttl_s` seconds from the server's now."""

        def work(db: Db) -> None:
            self._clock.measure(db)
            leases.register(db, self.tenant, worker, self.now() + ttl_s)

        self._database.write(work, is_durable=False, session=self._database.side)

    def retire(self, worker_id: str) -> None:
        """Remove the worker's row; what it still holds may be claimed at once."""
        self._database.write(lambda db: leases.retire(db, self.tenant, worker_id), is_durable=False)

    def claim(
        self,
        worker_id: str,
        *,
        run_ids: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[Claim]:
        """Take runs that may be taken (J4, J5), the longest due first; none for a worker whose row is not valid."""

        def search(db: Db) -> leases.Search:
            return leases.Search(self.tenant, worker_id, self.now(), self._is_dead, run_ids, agents, limit)

        def look(db: Db) -> bool:
            self._clock.measure(db)
            return search(db).has_any(db)

        if not self._database.read(look):  # an idle worker asks each second: leave the writers alone
            return []
        taken = self._database.write(
            lambda db: search(db).take(db), lambda db, claims: leases.stands(db, self.tenant, claims)
        )
        self._known.keep([run for _, run in taken])
        return [claim for claim, _ in taken]

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """Give a run back (J15); a stale lease changes nothing."""
        now = self.now()

        def work(db: Db) -> None:
            due_at = leases.release(db, self.tenant, lease, wake_at, now)
            if due_at is not None and due_at <= now:
                self._ring(db)

        self._database.write(work, is_durable=False)

    def owner(self, run_id: str) -> tuple[Worker, float] | None:
        """Who holds the run, and until when; None when nobody does, or its holder has gone without a trace."""
        return self._database.read(lambda db: leases.owner(db, self.tenant, run_id), is_one=True)

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """Write a group in one transaction; for each append None or why it was refused (J6–J10).

        Raises when the store itself failed: StoreUnreachable (nothing was repeated blindly) or JournalCorrupt.
        """
        if self._append_quickly(appends):
            return [None]
        done = self._append_together(appends)
        rest = [append for append in appends if append.lease.run_id not in done]
        others = iter(self._append_generally(rest))
        return [None if append.lease.run_id in done else next(others) for append in appends]

    def _append_generally(self, appends: Sequence[Append]) -> list[JournalError | None]:
        unfit: dict[int, JournalError] = {}
        one_by_one = len(appends) == 1
        while appends:
            try:
                return self._append(appends, unfit, one_by_one).results
            except log.Unfit as error:  # all was taken back; the others go again
                one_by_one = True
                if error.place is not None and error.reason is not None:
                    unfit[error.place] = error.reason
            except psycopg.DataError as error:  # only the server could tell; one by one it tells of which
                if one_by_one and len(appends) == 1:
                    return [log.reason(appends[0], error)]
                one_by_one = True
        return []

    def _append_quickly(self, appends: Sequence[Append]) -> bool:
        """Write an ordinary step with one statement; False when it was not, and the general way is to say why."""

        def attempt(db: Db, done: list[Held | None]) -> Held | None:
            prepared = self._known.prepared(appends)
            if prepared is None:
                return None
            run, values = prepared
            done.append(run)
            if not self._finish(lambda: quick.write(db, values)):
                self._known.forget(run.run_id)
                return None
            self._known.keep([run])
            return run

        def stands(db: Db, run: Held | None) -> bool:
            return run is not None and all(log.standing(db, self.tenant, [log.proof(run, appends[0])]))

        try:
            return self._database.settle(attempt, stands) is not None
        except _UNWRITABLE:
            return False

    def _append_together(self, appends: Sequence[Append]) -> set[str]:
        """Write ordinary steps of several runs with one statement; the runs whose append is written. None of those that
        are not, and none at all unless each is of that sort, has changed anything."""
        if len(appends) < 2:
            return set()

        def attempt(db: Db, done: list[bulk.Steps | None]) -> bulk.Steps | None:
            steps = bulk.prepared(self._known, self.tenant, self._id, appends)
            if steps is None:
                return None
            done.append(steps)
            steps.written = self._finish(lambda: steps.write(db))
            return steps

        def stands(db: Db, steps: bulk.Steps | None) -> bool:
            return steps is not None and steps.stand(db)

        try:
            steps = self._database.settle(attempt, stands)
        except _UNWRITABLE:
            return set()
        if steps is None:
            return set()
        written = [run for run in steps.runs if run.run_no in steps.written]
        for run in steps.runs:
            self._known.forget(run.run_id)
        self._known.keep(written)
        return {run.run_id for run in written}

    def _append(self, appends: Sequence[Append], unfit: dict[int, JournalError], one_by_one: bool) -> log.Group:
        now = self.now()

        def work(db: Db) -> log.Group:
            group = log.Group(db, self.tenant, now, appends)
            group.write(appends, unfit, one_by_one=one_by_one)
            if group.is_heard:
                self._ring(db)
            return group

        group = self._database.write(work, lambda db, group: any(log.standing(db, self.tenant, group.written)))
        self._known.keep(list(group.known.values()))
        return group

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The run's events with a number above `after`, in order, at most the first `limit` of them (J11, J12)."""
        return self._database.read(lambda db: log.read(db, self.tenant, run_id, after, limit))

    def account(self, key: str) -> Account | None:
        """What was charged to an account, and its caps (J20)."""
        return self._database.read(lambda db: shared.account(db, self.tenant, key), is_one=True)

    def cap(self, key: str, limits: Limits) -> None:
        """Set the caps of an account outside of any append."""

        def stands(db: Db, _: None) -> bool:
            account = shared.account(db, self.tenant, key)
            return account is not None and account.limits == countable(limits)

        self._database.write(lambda db: shared.cap(db, self.tenant, key, limits), stands)

    def cell(self, name: str) -> Cell | None:
        """A cell, None when there is none (J19)."""
        return self._database.read(lambda db: shared.cell(db, self.tenant, name), is_one=True)

    def swap(self, name: str, version: int, value: str) -> bool:
        """Write a cell if its version is still `version`; whether it did (J19)."""
        if not refusal.fits_cell(name, value):
            raise refusal.no_cell(name)

        tenant = self.tenant

        def stands(db: Db, done: str | None) -> bool:
            return done is not None and shared.wrote(db, tenant, name, done)

        def again(first: str | None, last: str | None) -> str | None:
            return first if last is None and self._database.read(lambda db: stands(db, first)) else last

        def work(db: Db) -> str | None:
            return shared.swap(db, tenant, name, version, value)

        return self._database.write(work, stands, again=again) is not None

    def put_blob(self, data: bytes) -> str:
        """Keep bytes under their SHA-256 (J10, J17): a transaction for each piece, on a connection of their own."""
        tenant, name, now, side = self.tenant, hash_of(data), self.now(), self._database.side
        blob_no = self._database.write(
            lambda db: blobs.begin(db, tenant, name, len(data), now),
            lambda db, _: blobs.has_begun(db, tenant, name),
            session=side,
        )
        if blob_no is not None:
            for number, piece in pieces(data):
                self._add_piece(blob_no, number, piece)
            self._database.write(
                lambda db: blobs.finish(db, blob_no), lambda db, _: blobs.is_whole(db, tenant, name), session=side
            )
        return name.hex()

    def _add_piece(self, blob_no: int, number: int, piece: memoryview) -> None:
        self._database.write(
            lambda db: blobs.add_piece(db, blob_no, number, piece),
            lambda db, _: blobs.has_piece(db, blob_no, number, piece),
            session=self._database.side,
        )

    def get_blob(self, ref: str) -> bytes:
        """The bytes of that name (J12, J17)."""
        if re.fullmatch(r"[0-9a-f]{64}", ref) is None:
            raise corrupt(ref, "is no name that put_blob gives, so it")
        return self._database.read(lambda db: blobs.read(db, self.tenant, bytes.fromhex(ref)))

    def head(self, run_id: str) -> Head | None:
        """The run's head, None when there is no such run."""
        found = self._database.read(lambda db: census.head(db, self.tenant, run_id), is_one=True)
        return None if found is None else rows.read_head(self.tenant, *found)

    def heads(
        self, *, prefix: str = "", key: str | None = None, status: str | None = None, limit: int = 200
    ) -> list[Head]:
        """Heads by exact key, by the beginning of their id, or by status; newest first."""
        found = self._database.read(
            lambda db: census.heads(db, self.tenant, prefix, key, status, max(limit, 0)), is_one=True
        )
        return [rows.read_head(self.tenant, *row) for row in found]

    def _ring(self, db: Db) -> None:
        doorbell.ring(db, self.address, self.tenant)

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Call `ring` when there may be work (J22)."""
        return self._doorbell.listen(ring)

    def facts(self) -> dict[str, Any]:
        """What `doctor` prints."""
        stored = self._database.read(lambda db: census.facts(db, self.tenant), seconds_max=census.SECONDS_MAX)
        return {"engine": "postgres", "url": self.address.shown, "store": self._id, "tenant": self.tenant, **stored}

    def close(self) -> None:
        """Close connections; a second call does nothing."""
        self._doorbell.close()
        self._database.close()


def _first_stored(first: list[Posted], last: list[Posted]) -> list[Posted]:
    """What to tell after two attempts: what the second one found may be what the first one stored."""
    return [early if early.is_stored and not late.refused else late for early, late in zip(first, last, strict=True)]
