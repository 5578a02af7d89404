"""The search index of a store in SQLite: FTS5 in a file beside it, or in memory.

Invariants (I1–I6 in `protocols` bind; these are how)
1. The file is a cache in a file of its own: nothing of the store depends on it, and the store's file never grows by
   it. Whatever is wrong with it (it is not there, damaged, of another store or version, not to be written), it is made
   anew, or the index is in memory for this time.
2. It has mode 0600 before a byte is in it. What goes from it is overwritten.
3. It holds words as `core.words` makes them, joined by spaces, so that its tokenizer decides nothing; a query names
   them as strings of FTS5, which hold letters and digits only, in a bound value.
4. Whoever is behind says so by the marks that the store gives, so a file that came along with a copy or a backup is
   right, or is put right.

Never: reads or writes the store, puts a value into the text of a statement.
"""

from __future__ import annotations

import json
import os
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import apsw

from holdfast.core.document import Document
from holdfast.core.query import Query
from holdfast.core.words import Part, words
from holdfast.errors import UsageError
from holdfast.journal import entry, file
from holdfast.protocols import Behind

T = TypeVar("T")
SUFFIX: Final = "-search"
VERSION: Final = 1
APPLICATION_ID: Final = 0x484F4C53
"""`HOLS`."""
_SCHEMA = """
CREATE TABLE about (store TEXT NOT NULL, words TEXT NOT NULL) STRICT;
CREATE TABLE documents (
    doc_no     INTEGER PRIMARY KEY,
    tenant     TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    mark       TEXT NOT NULL,
    is_there   INTEGER NOT NULL,
    key        TEXT NOT NULL,
    agent      TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    tools      TEXT NOT NULL,
    errors     TEXT NOT NULL,
    usd_nano   INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    facts      TEXT NOT NULL,
    text       TEXT NOT NULL,
    seal       BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX documents_by_run ON documents (tenant, run_id);
CREATE INDEX documents_by_agent ON documents (tenant, agent, updated_at);
CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = 'ascii');
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
"""
_TOKENS = f"{unicodedata.unidata_version}/{VERSION}"
"""Other Unicode tables, other words."""
_PUT = (
    "INSERT INTO documents (tenant, run_id, mark, is_there, key, agent, outcome, tools, errors, usd_nano, created_at,"
    " updated_at, facts, text, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING doc_no"
)
_FIND = "SELECT run_id, mark, facts, text, seal FROM documents"
_RANKED = " JOIN words ON words.rowid = doc_no"
_THERE = " WHERE tenant = ? AND is_there"
_ORDERS = {
    "rank": " ORDER BY words.rank, updated_at DESC, run_id",
    "newest": " ORDER BY updated_at DESC, run_id",
    "cost": " ORDER BY usd_nano DESC, updated_at DESC, run_id",
}
_NOT_OWN = " AND substr(agent, 1, 1) <> '@'"
_MATCH = " AND words MATCH ?"
_NO_MATCH = " AND doc_no NOT IN (SELECT rowid FROM words WHERE words MATCH ?)"


class SqliteIndex:
    """The index of one tenant, beside the store at `path`; in memory, and kept, when that is empty."""

    def __init__(
        self,
        path: str,
        store_id: str,
        tenant: str,
        marks: Callable[[], Mapping[str, str]],
        *,
        busy_ms: int = file.BUSY_MS,
    ) -> None:
        """marks: of all runs of the tenant that the store holds now. busy_ms: how long to wait for who writes."""
        self.path = os.path.realpath(path) + SUFFIX if path else ""
        self._store_id = store_id
        self._tenant = tenant
        self._marks = marks
        self._busy_ms = busy_ms
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._db: apsw.Connection | None = None
        self._is_file_fit = bool(path)

    @property
    def is_made(self) -> bool:
        """Whether there is one; to ask makes none."""
        return os.path.lexists(self.path) if self.path else self._db is not None

    def behind(self) -> list[Behind]:
        """What has to be put (I1); what the store does not hold any more goes."""
        marks = self._marks()

        def work(db: apsw.Connection) -> list[Behind]:
            sql = "SELECT run_id, mark FROM documents WHERE tenant = ?"
            kept: dict[str, str] = dict(db.execute(sql, (self._tenant,)))
            gone = [run_id for run_id in kept if run_id not in marks]
            if gone:
                with _transaction(db):
                    for run_id in gone:
                        self._remove(db, run_id)
            return [Behind(run_id, mark) for run_id, mark in marks.items() if kept.get(run_id) != mark]

        done = self._try(work)
        return [Behind(*each) for each in marks.items()] if done is None else done

    def put(self, documents: Sequence[Document]) -> bool:
        """Put documents (I2). False: the index is made anew, and all is behind."""

        def work(db: apsw.Connection) -> bool:
            with _transaction(db):
                for document in documents:
                    self._remove(db, document.run_id)
                    self._add(db, document)
            return True

        return self._try(work) or False

    def _remove(self, db: apsw.Connection, run_id: str) -> None:
        sql = "DELETE FROM documents WHERE tenant = ? AND run_id = ? RETURNING doc_no"
        for (doc_no,) in db.execute(sql, (self._tenant, run_id)).fetchall():
            db.execute("DELETE FROM words WHERE rowid = ?", (doc_no,))

    def _add(self, db: apsw.Connection, document: Document) -> None:
        facts = entry.facts(document)
        sealed = entry.seal(self._tenant, document.run_id, document.mark, facts, document.text)
        values = (
            self._tenant,
            document.run_id,
            document.mark,
            not document.is_forgotten,
            document.key,
            document.agent,
            document.outcome,
            json.dumps(document.tools),
            json.dumps(document.errors),
            document.spent.usd_nano,
            document.created_at,
            document.updated_at,
            facts,
            document.text,
            sealed,
        )
        [(doc_no,)] = db.execute(_PUT, values).fetchall()
        if not document.is_forgotten:
            body = " ".join(word.text for word in words(document.words))
            db.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (doc_no, body))

    def find(self, query: Query) -> list[Document] | None:
        """What matches (I3). None: the index is made anew, and all is behind."""
        sql, values = _statement(self._tenant, query)

        def work(db: apsw.Connection) -> list[Document] | None:
            rows: list[Any] = db.execute(sql, values).fetchall()
            found = [entry.read(self._tenant, *row) for row in rows]
            if any(each is None for each in found):
                raise apsw.CorruptError("an entry is not what was written")
            return [each for each in found if each is not None]

        return self._try(work)

    def clear(self) -> None:
        """Let all be behind."""

        def work(db: apsw.Connection) -> None:
            with _transaction(db):
                sql = "SELECT run_id FROM documents WHERE tenant = ?"
                for (run_id,) in db.execute(sql, (self._tenant,)).fetchall():
                    self._remove(db, str(run_id))

        if self.is_made:
            self._try(work)

    def close(self) -> None:
        """Close the file; what is kept in memory stays."""
        with self._lock:
            if self.path and self._process == os.getpid():
                self._drop()

    # --- the file --------------------------------------------------------------------------------------------

    def _try(self, work: Callable[[apsw.Connection], T]) -> T | None:
        """Do `work`; None when that cannot be done with what is there, which is left or removed then."""
        if self._process != os.getpid():
            raise UsageError("This index was opened in another process. Nothing was done. Open it after the fork.")
        with self._lock:
            try:
                return work(self._opened())
            except (apsw.Error, UnicodeDecodeError, ValueError) as error:
                is_in_file = self._db is not None and bool(self._db.filename)
                self._drop()
                if not is_in_file:
                    raise file.meaning(error, self.path or "the index in memory") from error
                if isinstance(error, (*file.DAMAGE, ValueError)):
                    self._remove_file()
                else:  # it cannot be written, or somebody else writes for too long
                    self._is_file_fit = False
                return None

    def _opened(self) -> apsw.Connection:
        if self._db is None:
            self._db = (self._in_file() if self._is_file_fit else None) or _made(":memory:", self._store_id)
        return self._db

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            file.give_up(db)

    def _in_file(self) -> apsw.Connection | None:
        """The file, opened or made; None when it can be neither."""
        try:
            return self._found() or self._put_in_place() or None
        except (OSError, apsw.Error):
            self._is_file_fit = False
            return None

    def _found(self) -> apsw.Connection | None:
        """The file that is there, if it is ours."""
        if not os.path.lexists(self.path):
            return None
        if os.path.islink(self.path) or not os.path.isfile(self.path):
            self._remove_file()
            return None
        try:
            db = _connect(self.path, apsw.SQLITE_OPEN_READWRITE, self._busy_ms)
        except file.DAMAGE:
            self._remove_file()
            return None
        try:
            if self._is_ours(db):
                return db
        except file.DAMAGE:
            pass  # it is not
        file.give_up(db)
        self._remove_file()
        return None

    def _is_ours(self, db: apsw.Connection) -> bool:
        if (db.pragma("application_id"), db.pragma("user_version")) != (APPLICATION_ID, VERSION):
            return False
        return db.execute("SELECT store, words FROM about").fetchall() == [(self._store_id, _TOKENS)]

    def _put_in_place(self) -> apsw.Connection:
        """Made whole under another name first: nobody finds it half made."""
        fresh = f"{self.path}.{apsw.randomness(8).hex()}"
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            os.chmod(fresh, 0o600)
            _made(fresh, self._store_id).close()
            os.replace(fresh, self.path)
        except BaseException:
            os.unlink(fresh)
            raise
        return _connect(self.path, apsw.SQLITE_OPEN_READWRITE, self._busy_ms)

    def _remove_file(self) -> None:
        """What is left of a transaction in it first, which would be taken for one of the next file."""
        for name in (self.path + "-journal", self.path):
            try:
                os.unlink(name)
            except FileNotFoundError:
                pass
            except OSError:
                self._is_file_fit = False


def _connect(path: str, flags: int, busy_ms: int = file.BUSY_MS) -> apsw.Connection:
    db = apsw.Connection(path, flags=flags)
    with file.given_up_on_failure(db):
        db.set_busy_timeout(busy_ms)
        for name, value in _SETTINGS.items():
            db.pragma(name, value)
    return db


_SETTINGS: dict[str, str] = {
    "synchronous": "NORMAL",
    "secure_delete": "ON",
    "temp_store": "MEMORY",
    "trusted_schema": "OFF",
    "cell_size_check": "ON",
}


def _made(path: str, store_id: str) -> apsw.Connection:
    db = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    with file.given_up_on_failure(db), _transaction(db):
        db.execute(_SCHEMA)
        db.execute("INSERT INTO about VALUES (?, ?)", (store_id, _TOKENS))
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", VERSION)
    return db


@contextmanager
def _transaction(db: apsw.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


# --- queries -------------------------------------------------------------------------------------------------------


def _statement(tenant: str, query: Query) -> tuple[str, list[Any]]:
    """Constant pieces in an order of ours, and the values that belong to them."""
    values: list[Any] = [tenant]
    clauses = [_FIND, _RANKED if query.wanted else "", _THERE]
    for clause, value in _asked(query):
        if value is not None:
            clauses.append(clause)
            values += value if isinstance(value, list) else [value]
    if query.agent is None:
        clauses.append(_NOT_OWN)
    return "".join([*clauses, _ORDERS[query.sort], " LIMIT ?"]), [*values, query.limit]


def _asked(query: Query) -> list[tuple[str, Any]]:
    key = query.key
    return [
        (_MATCH, " AND ".join(map(_string, query.wanted)) or None),
        (_NO_MATCH, " OR ".join(map(_string, query.unwanted)) or None),
        (" AND agent = ?", query.agent),
        (" AND outcome = ?", query.outcome),
        (" AND EXISTS (SELECT 1 FROM json_each(tools) WHERE value = ?)", query.tool),
        (" AND EXISTS (SELECT 1 FROM json_each(errors) WHERE value = ?)", query.error),
        (" AND substr(key, 1, ?) = ?", None if key is None else [len(key), key]),
        (" AND updated_at >= ?", query.since),
        (" AND created_at <= ?", query.until),
        (" AND usd_nano >= ?", query.nano_min),
        (" AND usd_nano <= ?", query.nano_max),
    ]


def _string(part: Part) -> str:
    """Letters and digits in quotes: nothing of it is an operator."""
    return f'"{" ".join(part.words)}"{" *" if part.is_open else ""}'
