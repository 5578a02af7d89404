"""The journal in one SQLite file: what holdfast uses unless it is told otherwise.

Invariants (J1–J23 in `protocols` bind; these are how)
1. Whatever decides is read in the transaction that writes: the run's row, its mail, the workers' leases.
2. `post`, `claim` and `append` are synced to the disk before they return. `release`, `register` and `retire` are
   not: all that a power cut can take from them is that a claim comes back as a takeover, which is always safe.
3. Rows are checked by `rows` before they are handed out, and a run's events are counted against its row.
4. A blob is whole in the store before a row names it, in the same transaction or in earlier ones.
5. Time is the store's: `clock` is asked once per call.

Never: opens a file that is not a store of ours, checkpoints on a caller's thread, crosses a fork, puts a value into
the text of a statement.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw

from holdfast.core.accept import Message, Posted
from holdfast.core.accounts import Account, countable
from holdfast.core.budget import Limits
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.core.standing import Standing
from holdfast.errors import JournalCorrupt, JournalError
from holdfast.journal import blobs, file, leases, log, mailbox, place, refusal, rows, shared
from holdfast.journal.ballast import SIZE, Ballast, begins
from holdfast.journal.database import Database
from holdfast.journal.doorbell import NAME_MAX, Doorbell
from holdfast.journal.process import proven_dead
from holdfast.journal.search import SqliteIndex
from holdfast.journal.upkeep import SqliteUpkeep
from holdfast.protocols import Append, Cell, Claim, Lease, Mail, Post, Worker


class SqliteJournal:
    """A `Journal` in the file at `path`, which is made when it does not exist (its directory is not)."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float],
        tenant: str = "default",
        is_dead: Callable[[Worker], bool] = proven_dead,
        is_wherever: bool = False,
    ) -> None:
        """is_wherever: write also to a file that was copied, as it is; for those who test copies."""
        self._is_wherever = is_wherever
        self.path = os.path.abspath(os.fspath(path))
        self.tenant = tenant
        self._clock = clock
        self._is_dead = is_dead
        file.open_file(self.path, clock())
        self._place = place.of_file(self.path)
        self._is_placed = False
        self._database = Database(self.path, lambda: self._commit(), self._refuse_moved)
        with self._database.closed_on_failure():
            self._id, self._hash_key = self._database.read(_identity)
        self._doorbell = Doorbell(self.path)
        self._ballast = Ballast(self.path)

    def _commit(self) -> None:
        """End a transaction. Tests of J13 put a failing disk here."""
        self._database.commit()

    @property
    def url(self) -> str:
        """The URL by which this store is opened, from wherever."""
        return f"sqlite:///{self.path}"

    def upkeep(self) -> SqliteUpkeep:
        """The same store, for whoever keeps it."""
        return SqliteUpkeep(self._database, self.url, self.tenant, self._clock, self._is_dead)

    def index(self) -> SqliteIndex:
        """The same store, for whoever searches it; to be closed."""
        return SqliteIndex(self.path, self._id, self.tenant, lambda: self._database.read(self._marks))

    def _marks(self, db: apsw.Connection) -> dict[str, str]:
        return dict(db.execute(_MARKS, (self.tenant,)))

    def _refuse_moved(self, db: apsw.Connection) -> None:
        """Refuse to write to a store whose runs go on elsewhere, or that has become another one since it was opened."""
        store_id, moved_to, stood = db.execute(_WHERE).fetchone() or (None, None, None)
        if moved_to is not None:
            raise refusal.moved(Standing.of(moved_to), self.url)
        if store_id != self._id:
            raise refusal.became_another(self.url)
        if stood != self._place.text():
            self._see_place(db, stood)

    def _see_place(self, db: apsw.Connection, stood: str | None) -> None:
        if self._is_wherever:
            return
        if not self._place.stands(stood):
            raise refusal.displaced(self.path, place.of_text(stood or "").path)
        if not self._is_placed:  # once: two containers may call one place by two names
            db.execute("UPDATE store SET place = ?", (self._place.text(),))
            self._is_placed = True

    @property
    def hash_key(self) -> bytes:
        """The store's own 32 random bytes."""
        return self._hash_key

    def now(self) -> float:
        """The time by the clock that was passed in."""
        return self._clock()

    def post(self, run_id: str, message_id: str, message: Message) -> Posted:
        """Offer a message to a run (J1–J3)."""
        return self.post_all([Post(run_id, message_id, message)])[0]

    def post_all(self, posts: Sequence[Post]) -> list[Posted]:
        """Offer several messages in one transaction."""
        now = self._clock()

        def work(db: apsw.Connection) -> list[Posted]:
            return [mailbox.deliver(db, self.tenant, post, now) for post in posts]

        def stands(db: apsw.Connection, posted: list[Posted]) -> bool:
            stored = next((post for post, one in zip(posts, posted, strict=True) if one.is_stored), None)
            return stored is not None and mailbox.has_message(db, self.tenant, stored.run_id, stored.message_id)

        try:
            posted = self._database.write(work, stands, when_full=self._ballast.give)
        except refusal.UNWRITABLE as error:
            what = f"A message to run {posts[0].run_id}" if len(posts) == 1 else f"One of {len(posts)} messages"
            raise refusal.unwritable(what, error) from error
        if any(one.is_stored for one in posted):
            self._doorbell.ring()
        return posted

    def unread(self, worker_id: str) -> list[str]:
        """Ids of the runs that this worker holds and that have unread mail (J16)."""
        return self._database.read(lambda db: leases.with_mail(db, self.tenant, worker_id))

    def held(self, worker_id: str) -> list[Lease]:
        """The leases of the runs that this worker holds (J23)."""
        return self._database.read(lambda db: leases.of_worker(db, self.tenant, worker_id))

    def mail(self, run_id: str) -> list[Mail]:
        """The run's unread mail, oldest first."""
        return self._database.read(lambda db: mailbox.unread(db, self.tenant, run_id))

    def register(self, worker: Worker, ttl_s: float) -> None:
        """Create or renew the worker's row; it expires `ttl_s` seconds from now."""
        expires_at = self._clock() + ttl_s
        work = partial(leases.register, tenant=self.tenant, worker=worker, expires_at=expires_at)
        self._database.write(work, is_durable=False, when_full=self._ballast.give)
        self._ballast.keep()

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
        search = leases.Search(self.tenant, worker_id, self._clock(), self._is_dead, run_ids, agents, limit)
        if not self._database.read(search.has_any):  # an idle worker asks each second: leave the writers alone
            return []
        if not self._ballast.is_back():  # what is free is for what is under way
            return []
        return self._database.write(search.take, lambda db, claims: leases.stands(db, self.tenant, claims))

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """Give a run back (J15); a stale lease changes nothing."""
        now = self._clock()
        work = partial(leases.release, tenant=self.tenant, lease=lease, wake_at=wake_at, now=now)
        if self._database.write(work, is_durable=False, when_full=self._ballast.give):
            self._doorbell.ring()

    def owner(self, run_id: str) -> tuple[Worker, float] | None:
        """Who holds the run, and until when; None when nobody does, or its holder has gone without a trace."""
        return self._database.read(lambda db: leases.owner(db, self.tenant, run_id))

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """Write a group in one transaction; for each append None or why it was refused (J6–J10).

        Raises when the store itself failed: StoreUnreachable (nothing was repeated blindly) or JournalCorrupt.
        """
        unfit: dict[int, JournalError] = {}
        one_by_one = len(appends) == 1
        while True:
            try:
                group = self._append(appends, unfit, one_by_one)
                if group.wakes:
                    self._doorbell.ring()
                return group.results
            except log.Unfit as error:  # all was taken back; the others go again
                one_by_one = True
                if error.place is not None and error.reason is not None:
                    unfit[error.place] = error.reason

    def _append(self, appends: Sequence[Append], unfit: dict[int, JournalError], one_by_one: bool) -> log.Group:
        now = self._clock()

        def work(db: apsw.Connection) -> log.Group:
            group = log.Group(db, self.tenant, now, self._database.known)
            group.write(appends, {**self._ballast.refusals(appends), **unfit}, one_by_one=one_by_one)
            return group

        gives = self._ballast.give if not all(map(begins, appends)) else None
        return self._database.write(work, log.stands, keeps_known=True, when_full=gives)

    def events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The run's events with a number above `after`, in order, at most the first `limit` of them (J11, J12)."""
        return self._database.read(lambda db: log.read(db, self.tenant, run_id, after, limit))

    def account(self, key: str) -> Account | None:
        """What was charged to an account, and its caps (J20)."""
        return self._database.read(lambda db: shared.account(db, self.tenant, key))

    def cap(self, key: str, limits: Limits) -> None:
        """Set the caps of an account outside of any append."""

        def stands(db: apsw.Connection, _: None) -> bool:
            account = shared.account(db, self.tenant, key)
            return account is not None and account.limits == countable(limits)

        self._database.write(lambda db: shared.cap(db, self.tenant, key, limits), stands)

    def cell(self, name: str) -> Cell | None:
        """A cell, None when there is none (J19)."""
        return self._database.read(lambda db: shared.cell(db, self.tenant, name))

    def swap(self, name: str, version: int, value: str) -> bool:
        """Write a cell if its version is still `version`; whether it did (J19)."""
        if not refusal.fits_cell(name, value):
            raise refusal.no_cell(name)
        return self._database.write(
            lambda db: shared.swap(db, self.tenant, name, version, value),
            lambda db, done: done and shared.cell(db, self.tenant, name) == Cell(version + 1, value),
            keeps_known=True,  # of runs and accounts it changes nothing
        )

    def put_blob(self, data: bytes) -> str:
        """Keep bytes under their SHA-256 (J10, J17): a transaction for each piece, so that appends come between."""
        tenant, name, now = self.tenant, blobs.hash_of(data), self._clock()
        gives = self._ballast.give if len(data) <= SIZE // 2 else None  # it may be an outcome
        write = partial(self._database.write, keeps_known=True, when_full=gives)
        blob_no = write(
            lambda db: blobs.begin(db, tenant, name, len(data), now), lambda db, _: blobs.has_begun(db, tenant, name)
        )
        if blob_no is not None:
            for number, piece in blobs.pieces(data):
                self._add_piece(blob_no, number, piece, gives)
            write(lambda db: blobs.finish(db, blob_no), lambda db, _: blobs.is_whole(db, tenant, name))
        return name.hex()

    def _add_piece(self, blob_no: int, number: int, piece: memoryview, gives: Callable[[], None] | None) -> None:
        self._database.write(
            lambda db: blobs.add_piece(db, blob_no, number, piece),
            lambda db, _: blobs.has_piece(db, blob_no, number, piece),
            keeps_known=True,  # of runs it changes nothing
            when_full=gives,
        )

    def get_blob(self, ref: str) -> bytes:
        """The bytes of that name (J12, J17)."""
        if re.fullmatch(r"[0-9a-f]{64}", ref) is None:
            raise blobs.corrupt(ref, "is no name that put_blob gives, so it")
        return self._database.read(lambda db: blobs.read(db, self.tenant, bytes.fromhex(ref)))

    def head(self, run_id: str) -> Head | None:
        """The run's head, None when there is no such run."""
        found = self._database.read(lambda db: db.execute(_HEADS + " AND run_id = ?", (self.tenant, run_id)).fetchone())
        return None if found is None else self._head((run_id, *found[1:]))  # a damaged index leads to another's row

    def heads(
        self, *, prefix: str = "", key: str | None = None, status: str | None = None, limit: int = 200
    ) -> list[Head]:
        """Heads by exact key, by the beginning of their id, or by status; newest first."""
        clauses: list[str] = []
        values: list[str | int] = [self.tenant]
        for clause, value in ((" AND key = ?", key), (" AND status = ?", status)):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if prefix:
            clauses.append(" AND run_id >= ? AND run_id < ?")
            values += [prefix, prefix + "\U0010ffff"]
        sql = (_HEADS if clauses else _ALL_HEADS) + "".join(clauses) + " ORDER BY run_no DESC LIMIT ?"
        found = self._database.read(lambda db: db.execute(sql, (*values, max(limit, 0))).fetchall())
        heads = [self._head(row) for row in found]
        for head in heads:
            if (key is not None and head.key != key) or (status is not None and head.status != status):
                raise rows.corrupt_head(head.run_id)  # a damaged index leads to another's row
        return heads

    def _head(self, row: tuple[Any, ...]) -> Head:
        return rows.read_head(self.tenant, *row)

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Call `ring` when there may be work (J22)."""
        return self._doorbell.listen(apsw.randomness(NAME_MAX // 2).hex(), ring)

    def facts(self) -> dict[str, Any]:
        """What `doctor` prints."""
        stored = self._database.read(lambda db: _census(db, self.tenant))
        problems = self._database.read(lambda db: blobs.problems(db, self.tenant))
        wal = self.path + "-wal"
        return {
            "engine": "sqlite",
            "sqlite": apsw.sqlite_lib_version(),
            "path": self.path,
            "store": self._id,
            "tenant": self.tenant,
            "schema": file.SCHEMA,
            "format": rows.FORMAT,
            "bytes": os.path.getsize(self.path),
            "wal_bytes": os.path.getsize(wal) if os.path.exists(wal) else 0,
            "ballast_bytes": self._ballast.size,
            **stored,
            "problems": file.problems(self.path) + self._displaced() + self._ballast.problems() + problems,
        }

    def _displaced(self) -> list[str]:
        row: Any = self._database.read(lambda db: db.execute(_WHERE).fetchone())
        stood = row[2]
        if self._is_wherever or self._place.stands(stood):
            return []
        return [str(refusal.displaced(self.path, place.of_text(stood).path))]

    def close(self) -> None:
        """Close connections; a second call does nothing."""
        self._doorbell.close()
        self._database.close()


_MARKS = "SELECT run_id, hex(chain) FROM runs WHERE tenant = ? ORDER BY run_no"
_WHERE = "SELECT id, moved_to, place FROM store"
_HEADS = "SELECT run_id, head, seal, wake_at FROM runs WHERE tenant = ?"
_ALL_HEADS = "SELECT run_id, head, seal, wake_at FROM runs WHERE +tenant = ?"
"""The plus keeps SQLite from sorting all runs by an index of the tenant: the newest are the last rows."""


def _identity(db: apsw.Connection) -> tuple[str, bytes]:
    row: Any = db.execute("SELECT id, hash_key FROM store").fetchone()
    if row is None:
        raise JournalCorrupt("The store's own row is gone. Nothing was changed. Restore the file from a backup.")
    return row[0], row[1]


def _census(db: apsw.Connection, tenant: str) -> dict[str, Any]:
    sql = "SELECT status, count(*), sum(count) FROM runs WHERE tenant = ? GROUP BY status ORDER BY status"
    counts: list[Any] = db.execute(sql, (tenant,)).fetchall()
    count, size = blobs.census(db, tenant)
    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]  # quick_check looks into no index
    return {
        "runs": {status: runs for status, runs, _ in counts},
        "events": sum(events for _, _, events in counts),
        "blobs": count,
        "blob_bytes": size,
        "integrity": "ok" if found == ["ok"] else "; ".join(found),
    }
