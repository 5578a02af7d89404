"""The connection to a store in Postgres: how it is set, what is refused, how its tables are made.

Invariants
1. A schema that is not ours, or is newer than we are, is not changed: it is recognised before anything is written.
2. Each connection is synced to the disk before a commit returns, reads what is committed, and gives up on a lock
   after `LOCK_S` and on a server that says nothing after `Address.answer_s`. A server, database or role that is set
   to lose commits is refused, not overruled: what it says is what its other programs, and its operator, live by.
3. Tables are made and brought up to date in one transaction, under one lock: of several processes one does it.

Never: keeps a connection, reads or writes runs. Statements are constants; values are always parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from math import inf
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.errors import (
    DataError,
    InsufficientPrivilege,
    IntegrityError,
    InvalidCatalogName,
    LockNotAvailable,
    ProgrammingError,
    ReadOnlySqlTransaction,
)
from psycopg.types.numeric import Int8BinaryDumper

from holdfast.errors import JournalCorrupt, JournalError, SchemaNewer, StoreForeign, StoreUnreachable
from holdfast.journal.postgres import arrays
from holdfast.journal.postgres.address import Address

SCHEMA = 1
"""The newest schema that this code knows; `schema/postgres/NNNN.sql` leads to each."""
VERSION_MIN = 140_000
LOCK_S = 5
"""How long a transaction waits for another one's rows."""
IDLE_S = 10
"""After this, the server ends a transaction that waits for a process which stopped in the middle of it."""
TRANSACTION_S = 30
"""After this, it ends a transaction whatever it waits for, from Postgres 17 on; upkeep may take longer."""
READ_S = 60

TICK_S = 0.1
SILENT = "the server holds the connection open and has not answered in time"
T = TypeVar("T")


class Db(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when nothing comes for `answer_s`, though the other side holds it open."""

    answer_s = inf
    prepared: frozenset[bytes] = frozenset()
    """Names of the statements that `direct` has prepared on it."""
    pipe: psycopg.Pipeline | None = None
    """What it sends, while that goes through a pipeline."""

    def wait(self, gen: PQGen[T], interval: float = TICK_S, timeout: float | None = None) -> T:
        """See `psycopg.Connection.wait`."""
        turns = self.answer_s / interval if interval else inf
        try:
            return super().wait(_heard(gen, turns), interval, timeout)
        except psycopg.OperationalError:
            self.close()  # whatever ends its pipeline would wait as long again
            raise


class _Cursor(psycopg.RawCursor[tuple[Any, ...]]):
    """One whose answers, in a pipeline, come with the end of all that was asked for. As long as the server has not seen
    such an end it takes itself to be at work, and who stops now keeps the rows that he has locked for ever."""

    def fetchone(self) -> tuple[Any, ...] | None:
        self._settle()
        return super().fetchone()

    def fetchall(self) -> list[tuple[Any, ...]]:
        self._settle()
        return super().fetchall()

    def _settle(self) -> None:
        pipe = self.connection.pipe if isinstance(self.connection, Db) else None
        if pipe is not None and self.pgresult is None:
            pipe.sync()


def _heard(gen: PQGen[T], turns: float) -> PQGen[T]:
    """The same, unless nothing happens for so many turns."""
    silent = 0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silent = 0 if ready else silent + 1
            if silent >= turns:
                raise psycopg.OperationalError(SILENT)
            wanted = gen.send(ready)
    except StopIteration as end:
        given: T = end.value
        return given


_LOSSY = ("off", "local")
_LOOK = (
    "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_encoding'),"
    " current_setting('server_version_num')::int"
)
_SET = (
    "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS given(name, value)"
    " WHERE current_setting(name, true) IS NOT NULL"
)
UNHURRIED = (
    "SELECT set_config('transaction_timeout', '0', $1) WHERE current_setting('transaction_timeout', true) <> '0'"
)
"""Takes whether only this transaction may take as long as it needs, or all that follow."""
SETTINGS = {
    "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "transaction_timeout": f"{TRANSACTION_S}s",
    # A statement that is cancelled while its commit waits for a standby has committed, and says so as if all were well.
    "statement_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "extra_float_digits": "1",
    "jit": "off",
}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_RELATIONS = "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1"
_FIND_STORE = "SELECT application, schema FROM store"
_MAKE_STORE = (
    "INSERT INTO store (only_row, application, schema, id, hash_key, created_at)"
    " SELECT 1, 'holdfast', $1, replace(gen_random_uuid()::text, '-', ''), sha256(convert_to("
    "gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')), $2"
)
DAMAGE = (IntegrityError, ProgrammingError)
"""Our statements are constants: a table is not as we made it, or a row stands where none can."""


def rows(db: Db, statement: str, *values: Any) -> list[Any]:
    """What a statement gives."""
    return db.execute(statement, values, binary=True).fetchall()


def row(db: Db, statement: str, *values: Any) -> Any:
    """The first row that a statement gives, or None."""
    return db.execute(statement, values, binary=True).fetchone()


def piped(db: Db, work: Callable[[], T]) -> T:
    """Do `work` in one pipeline: what is asked for is sent when an answer is waited for, and at the end. Raises the
    first thing that went wrong."""
    failure: BaseException | None = None
    given: list[T] = []
    try:
        with db.pipeline() as db.pipe:
            try:
                given.append(work())
            except BaseException as error:  # raised below: leaving a pipeline with it would log what follows from it
                failure = error
    except psycopg.Error as error:
        failure = failure or error
    finally:
        db.pipe = None
    if failure is not None:
        raise failure
    return given[0]


def send_part(db: Db) -> None:
    """Have the server do what was asked for so far in a pipeline, and wait for nothing. It knows that it waits for us
    then (see `_Cursor`); the answers come with the next one that is waited for."""
    if db.pipe is not None:
        db.pipe.pgconn.pipeline_sync()
        db.pipe.result_queue.append(None)


def connect(address: Address) -> Db:
    """A connection as holdfast wants it."""
    db = Db.connect(**address.parameters, autocommit=True, prepare_threshold=1, cursor_factory=_Cursor)
    db.answer_s = address.answer_s
    try:
        db.adapters.register_dumper(int, Int8BinaryDumper)  # one type, so that a statement is prepared once
        arrays.register(db.adapters)
        piped(db, lambda: _set_up(db, address))
    except BaseException:
        db.close()
        raise
    return db


def _set_up(db: Db, address: Address) -> None:
    settings = SETTINGS | {"lock_timeout": f"{LOCK_S:g}s", "search_path": f"{address.schema}, pg_temp"}
    looked = db.execute(_LOOK, binary=True)
    db.execute(_SET, (list(settings), list(settings.values())))
    _check(address, *(looked.fetchone() or ()))


def _check(address: Address, synchronous: str, fsync: str, encoding: str, version: int) -> None:
    """Refuse a server that would lose what it has promised to keep."""
    if synchronous in _LOSSY or fsync == "off":
        _refuse(
            address,
            f"loses commits in a crash: synchronous_commit is {synchronous} and fsync is {fsync} (set at the server, "
            f"the database or the role)",
            "Set both to on, such as: ALTER ROLE … SET synchronous_commit = on",
        )
    if encoding != "UTF8":
        _refuse(address, f"has the encoding {encoding}", "Use a database that was made with ENCODING 'UTF8'")
    if version < VERSION_MIN:
        _refuse(address, f"is Postgres {version // 10_000}", f"Use {VERSION_MIN // 10_000} or newer")


def _refuse(address: Address, what: str, advice: str) -> NoReturn:
    raise StoreUnreachable(f"The database at {address.shown} {what}. Nothing was written. {advice}.")


def is_there(db: Db, address: Address) -> bool:
    """Whether a store of our schema, or an older one, is in its schema; another program's or a newer one is refused."""
    return _schema_of(db, address) > 0


def open_store(db: Db, address: Address, created_at: float) -> None:
    """Make sure that a store of our schema is there; make it or bring it up to date when need be."""
    if _schema_of(db, address) == SCHEMA:
        return
    with db.transaction():
        db.execute(UNHURRIED, (True,))
        db.execute(_LOCK, (f"holdfast {address.schema}",))
        schema = _schema_of(db, address)  # another process may have been faster
        if schema == 0:
            db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(address.schema)))
        for number in range(schema + 1, SCHEMA + 1):
            script = resources.files("holdfast.journal") / "schema" / "postgres" / f"{number:04}.sql"
            db.execute(script.read_bytes())
        if schema == 0:
            db.execute(_MAKE_STORE, (SCHEMA, created_at))
        elif schema < SCHEMA:
            db.execute("UPDATE store SET schema = $1", (SCHEMA,))


def _schema_of(db: Db, address: Address) -> int:
    """The schema of the store, 0 when nothing is there yet."""
    names = {name for (name,) in rows(db, _RELATIONS, address.schema)}
    if not names:
        return 0
    found = row(db, _FIND_STORE) if "store" in names and "runs" in names else None
    if found is None or found[0] != "holdfast":
        raise StoreForeign(
            f"The schema {address.schema} at {address.shown} holds tables of another program. Nothing was changed. "
            f"Name another schema in the URL, such as ?schema=holdfast."
        )
    if found[1] > SCHEMA:
        raise SchemaNewer(
            f"{address.shown} was written by holdfast schema {found[1]}, this one knows {SCHEMA}. Nothing was changed. "
            f"Upgrade holdfast."
        )
    return int(found[1])


def meaning(error: psycopg.Error, address: Address) -> JournalError:
    """The error of ours for one of Postgres'."""
    said = " ".join(str(error).split()) or type(error).__name__
    match error:
        case LockNotAvailable():
            return StoreUnreachable(
                f"Another session has kept rows of {address.shown} locked for more than {LOCK_S} s ({said}). Nothing "
                f"was written. Look for an open transaction: SELECT * FROM pg_stat_activity WHERE state LIKE 'idle in%'"
            )
        case InsufficientPrivilege():
            return StoreUnreachable(
                f"The role may not use {address.shown} as a store ({said}). Nothing was written. Grant it CREATE on "
                f"the database, or make the schema {address.schema} and let the role own it."
            )
        case ReadOnlySqlTransaction():
            return StoreUnreachable(f"{address.shown} takes no writes ({said}). Nothing was written. Name the primary.")
        case InvalidCatalogName():
            return StoreUnreachable(f"{address.shown}: {said}. Nothing was made. Make the database: createdb.")
        case DataError() | IntegrityError() | ProgrammingError():
            return JournalCorrupt(
                f"Postgres finds the tables of {address.shown} other than they were made ({said}). Nothing more was "
                f"read or changed. Restore the schema {address.schema} from a backup; see `holdfast doctor`."
            )
        case _:
            return StoreUnreachable(
                f"Postgres at {address.shown} could not be used ({said}). Nothing was repeated. Check the server, the "
                f"network and the URL; what was in flight is decided from the record when its run goes on."
            )
