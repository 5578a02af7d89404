"""The search index of a store in SQLite: FTS5 in a file beside it, or in memory.

Invariants (I1–I6 in `protocols` bind; these are how)
1. The file is a cache in a file of its own (`side`): nothing of the store depends on it, and neither the store's file
   nor its backups grow by it.
2. It holds words as `core.words` makes them, joined by spaces, so that its tokenizer decides nothing; a query names
   them as strings of FTS5, which hold letters and digits only, in a bound value.
3. Whoever is behind says so by the marks that the store gives, so a file that came along with a copy or a backup is
   right, or is put right.

Never: reads or writes the store, puts a value into the text of a statement.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import apsw

from holdfast.core.document import Document
from holdfast.core.query import Query
from holdfast.core.words import Part, words
from holdfast.journal import entry, file
from holdfast.journal.side import SideFile, transaction
from holdfast.protocols import Behind

SUFFIX: Final = "-search"
VERSION: Final = 1
APPLICATION_ID: Final = 0x484F4C53
"""`HOLS`."""
_SCHEMA = """
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
        place = os.path.realpath(path) + SUFFIX if path else ""
        self._side = SideFile(place, _SCHEMA, APPLICATION_ID, f"{store_id}/{_TOKENS}", busy_ms)
        self._tenant = tenant
        self._marks = marks

    @property
    def is_made(self) -> bool:
        """Whether there is one; to ask makes none."""
        return self._side.is_made

    def behind(self) -> list[Behind]:
        """What has to be put (I1); what the store does not hold any more goes."""
        marks = self._marks()

        def work(db: apsw.Connection) -> list[Behind]:
            sql = "SELECT run_id, mark FROM documents WHERE tenant = ?"
            kept: dict[str, str] = dict(db.execute(sql, (self._tenant,)))
            gone = [run_id for run_id in kept if run_id not in marks]
            if gone:
                with transaction(db):
                    for run_id in gone:
                        self._remove(db, run_id)
            return [Behind(run_id, mark) for run_id, mark in marks.items() if kept.get(run_id) != mark]

        done = self._side.attempt(work)
        return [Behind(*each) for each in marks.items()] if done is None else done

    def put(self, documents: Sequence[Document]) -> bool:
        """Put documents (I2). False: the index is made anew, and all is behind."""

        def work(db: apsw.Connection) -> bool:
            with transaction(db):
                for document in documents:
                    self._remove(db, document.run_id)
                    self._add(db, document)
            return True

        return self._side.attempt(work) or False

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

        return self._side.attempt(work)

    def clear(self) -> None:
        """Let all be behind."""

        def work(db: apsw.Connection) -> None:
            with transaction(db):
                sql = "SELECT run_id FROM documents WHERE tenant = ?"
                for (run_id,) in db.execute(sql, (self._tenant,)).fetchall():
                    self._remove(db, str(run_id))

        if self.is_made:
            self._side.attempt(work)

    def close(self) -> None:
        """Close the file; what is only in memory stays."""
        self._side.close()


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
