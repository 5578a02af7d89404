"""A few connections to one store in Postgres, and how a transaction of holdfast ends.

Invariants
1. One thread at a time uses a connection; a commit happens on the thread of its caller.
2. A transaction whose outcome is not known is looked up on a new connection, then tried once more, then given up with
   `StoreUnreachable`. It is never repeated without having been looked up. What looks it up locks the rows that it
   wrote: as long as the server still works on it, the look waits.
3. Reading never waits for a commit, and a lease never for a value of many megabytes: each has its connection.
4. No connection is used in a process other than the one that opened it.
5. Whatever fails, its connection is given up: no later transaction meets what is left of an earlier one.

A transaction is one pipeline: what it reads is a round trip, what it writes goes with the commit.

Never: knows a table.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg.errors import (
    DataError,
    DeadlockDetected,
    LockNotAvailable,
    QueryCanceled,
    SerializationFailure,
    UniqueViolation,
)

from holdfast.errors import StoreUnreachable, UsageError
from holdfast.journal.postgres import server
from holdfast.journal.postgres.address import Address
from holdfast.journal.postgres.server import Db
from holdfast.journal.turn import Turn

T = TypeVar("T")
Finish = Callable[[Callable[[], Any]], Any]

AGAIN_MAX = 5
"""Attempts of a transaction that the server has said to have taken back, because another one was faster."""
PATIENCE = (0.0, 0.1, 0.2, 0.4, 0.8, 1.5, 2.0, 2.0, 2.0)
"""Seconds before each attempt to find again a server that was there: longer than a restart, shorter than a lease."""
LOOK_S = server.IDLE_S + server.LOCK_S
"""How long a lost commit is waited for: longer than the server keeps a transaction whose process is gone."""
_WAIT = "SELECT set_config('lock_timeout', $1, true)"
_LIMIT_SESSION = "SELECT set_config('statement_timeout', $1, false)"
_LIMIT = "SELECT set_config('statement_timeout', $1, true)"
_OVERTAKEN = (DeadlockDetected, SerializationFailure, UniqueViolation)
_TAKEN_BACK = (*_OVERTAKEN, *server.DAMAGE, LockNotAvailable)
"""The server has said that the transaction is not in the store: there is nothing to look up. Looked up all the same, an
equal value that another writer put there would pass for ours."""


class Session:
    """One connection, opened when it is first needed and after each failure; one thread at a time."""

    def __init__(self, connect: Callable[[], Db], first: Db | None = None) -> None:
        self._connect = connect
        self._turn = Turn()
        self._db = first

    def __enter__(self) -> Session:
        self._turn.take()
        return self

    def __exit__(self, *_: object) -> None:
        self._turn.leave()

    def get(self) -> Db:
        """The connection."""
        if self._db is None or self._db.closed:
            self.drop()
            self._db = self._connect()
        return self._db

    def drop(self) -> None:
        """Give the connection up."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def end(self, refuse: Callable[[], Db]) -> None:
        """Give the connection up for good. refuse: tells whoever has waited for his turn meanwhile."""
        self.drop()
        self._connect = refuse


class Database:
    """An open store."""

    def __init__(self, address: Address, first: Db, finish: Finish, check: Callable[[Db], None]) -> None:
        """check: raises when the store must not be written to; asked first in each transaction that writes."""
        self.address = address
        self._check = check
        self._finish = finish
        self._process = os.getpid()
        self._closing = threading.Event()
        self.writer = Session(self.connect, first)
        self.reader = Session(self._connect_reader)
        self.side = Session(self.connect)
        """For what may take long, and for what must not wait for it."""

    def connect(self) -> Db:
        """A new connection to a server that was there; it may be starting again."""
        for wait_s in PATIENCE:
            self._closing.wait(wait_s)
            try:
                return server.connect(self.address)
            except psycopg.OperationalError:
                if self._closing.is_set():
                    raise
        return server.connect(self.address)

    def _connect_reader(self) -> Db:
        db = self.connect()
        try:
            db.execute(_LIMIT_SESSION, (f"{server.READ_S}s",))
            db.execute(server.UNHURRIED, (False,))
        except BaseException:
            db.close()
            raise
        return db

    def write(
        self,
        work: Callable[[Db], T],
        stands: Callable[[Db, T], bool] | None = None,
        *,
        again: Callable[[T, T], T] | None = None,
        is_durable: bool = True,
        is_upkeep: bool = False,
        session: Session | None = None,
    ) -> T:
        """Do `work` in a transaction. `stands` says whether its outcome is in the store; without it, work that may be
        done twice. `again`: what to tell when an attempt whose outcome was never known was followed by another one.
        Unless `is_durable`, a crash of the server may take it back. Upkeep judges by itself where the store stands."""

        def checked(db: Db) -> T:
            if is_upkeep:
                db.execute(server.UNHURRIED, (True,))
            else:
                self._check(db)
            return work(db)

        return self.settle(lambda db, done: self._transact(db, checked, done, is_durable), stands, again, session)

    def settle(
        self,
        attempt: Callable[[Db, list[T]], T],
        stands: Callable[[Db, T], bool] | None,
        again: Callable[[T, T], T] | None = None,
        session: Session | None = None,
    ) -> T:
        """Attempt something that commits; `done` gets what it would give as soon as only the commit is missing."""
        self._check_usable()
        unknown: list[T] = []
        attempts_left, is_second = AGAIN_MAX, False
        with session or self.writer as using:
            while True:
                attempts_left -= 1
                done: list[T] = []
                try:
                    given = attempt(self._connected(using), done)
                    return again(unknown[-1], given) if again is not None and unknown else given
                except psycopg.Error as error:
                    failure = error
                    using.drop()
                if isinstance(failure, DataError):
                    raise failure
                if not isinstance(failure, _TAKEN_BACK):
                    if done and stands is not None and self._is_standing(using, stands, done[-1], failure):
                        return done[-1]
                    unknown = [*unknown, *done]
                is_overtaken = isinstance(failure, _OVERTAKEN)
                if attempts_left == 0 or (not is_overtaken and (is_second or isinstance(failure, _TAKEN_BACK))):
                    raise server.meaning(failure, self.address) from failure
                is_second = is_second or not is_overtaken

    def _connected(self, using: Session) -> Db:
        """The session's connection; a server that cannot be reached again is waited for once."""
        try:
            return using.get()
        except psycopg.OperationalError as error:
            raise server.meaning(error, self.address) from error

    def _transact(self, db: Db, work: Callable[[Db], T], done: list[T], is_durable: bool) -> T:
        try:
            return server.piped(db, lambda: self._work(db, work, done, is_durable))
        except psycopg.Error:
            raise
        except BaseException:
            self._take_back(db)
            raise

    def _work(self, db: Db, work: Callable[[Db], T], done: list[T], is_durable: bool) -> T:
        db.execute("BEGIN")
        if not is_durable:
            db.execute("SET LOCAL synchronous_commit = off")
        done.append(work(db))
        self._finish(lambda: db.execute("COMMIT"))
        return done[-1]

    def _take_back(self, db: Db) -> None:
        """After an error of ours: nothing was sent to commit."""
        try:
            db.execute("ROLLBACK")
        except psycopg.Error:
            db.close()

    def _is_standing(self, using: Session, stands: Callable[[Db, T], bool], done: T, cause: Exception) -> bool:
        try:
            db = self._connected(using)
            with db.transaction():
                db.execute(_WAIT, (f"{LOOK_S:g}s",))
                return server.piped(db, lambda: stands(db, done))
        except (psycopg.Error, StoreUnreachable) as error:
            using.drop()
            raise StoreUnreachable(
                f"A commit to {self.address.shown} failed ({cause}), and whether it was written could not be read back "
                f"({error}). Nothing was repeated. What was in flight is decided from the record when its run goes on."
            ) from error

    def read(self, work: Callable[[Db], T], *, seconds_max: int = server.READ_S, is_one: bool = False) -> T:
        """Do `work`, which only reads, on one state of the store. `is_one`: it is one statement, which sees one state
        by itself and needs no transaction around it."""
        self._check_usable()
        with self.reader as using:
            for is_last in (False, True):
                db = self._connected(using)
                try:
                    db.answer_s = max(self.address.answer_s, seconds_max + server.LOCK_S)
                    return work(db) if is_one else server.piped(db, partial(self._look, db, work, seconds_max))
                except psycopg.Error as error:
                    using.drop()
                    is_lost = isinstance(error, psycopg.OperationalError) and not isinstance(error, QueryCanceled)
                    if is_last or not is_lost:
                        raise server.meaning(error, self.address) from error
                except BaseException:
                    using.drop()
                    raise
        raise AssertionError("the second attempt has given or raised")

    def _look(self, db: Db, work: Callable[[Db], T], seconds_max: int) -> T:
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if seconds_max != server.READ_S:
            db.execute(_LIMIT, (f"{seconds_max}s",))
        result = work(db)
        db.execute("COMMIT")
        return result

    def alone(self, work: Callable[[Db], None]) -> None:
        """Do `work` outside of a transaction; it may take long, and may be done again."""
        self._check_usable()
        with self.side as using:
            db = self._connected(using)
            try:
                db.answer_s = inf
                db.execute(server.UNHURRIED, (False,))
                work(db)
            except psycopg.Error as error:
                raise server.meaning(error, self.address) from error
            finally:
                using.drop()

    def _check_usable(self) -> None:
        if self._closing.is_set():
            self._refuse_closed()
        if os.getpid() != self._process:
            raise UsageError(
                f"The journal of {self.address.shown} was opened in process {self._process} and is used in "
                f"{os.getpid()}. Nothing was done: a connection does not cross a fork. Open the journal in the child, "
                f"after the fork."
            )

    def _refuse_closed(self) -> NoReturn:
        raise UsageError(f"The journal of {self.address.shown} has been closed. Open it anew with open_journal().")

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Close all when the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections, each when whoever uses it is done; none is opened again."""
        if self._closing.is_set() or os.getpid() != self._process:
            return
        self._closing.set()
        for session in (self.side, self.reader, self.writer):
            with session:
                session.end(self._refuse_closed)
