"""The search index of a store in Postgres: one table beside the others, made by the first who searches.

Invariants (I1–I6 in `protocols` bind; these are how)
1. Words are those of `core.words`, put into a `tsvector` with their places; no configuration of the server parses or
   drops any. A query names them in a `tsquery` that holds letters and digits only, in a bound value.
2. It is a cache: what is wrong with the table is answered by making it anew. Its commits wait for no disk.
3. The name of the table says its version; a newer holdfast makes another one.

A word that stands in a run more than 256 times is found by the first of them, so a phrase of such words may be missed.

Never: part of the schema of the store, or of what `migrate` takes along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from holdfast.core.document import Document
from holdfast.core.query import Query
from holdfast.core.words import Part, words
from holdfast.errors import JournalCorrupt
from holdfast.journal import entry
from holdfast.journal.postgres import server
from holdfast.journal.postgres.database import Database
from holdfast.journal.postgres.server import Db
from holdfast.protocols import Behind

T = TypeVar("T")
TABLE: Final = "search_1"
_IS_MADE = f"SELECT to_regclass('{TABLE}') IS NOT NULL"
_MAKE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} ("
    ' tenant TEXT COLLATE "C" NOT NULL, run_id TEXT COLLATE "C" NOT NULL, mark TEXT NOT NULL,'
    ' is_there BOOLEAN NOT NULL, key TEXT COLLATE "C" NOT NULL, agent TEXT COLLATE "C" NOT NULL, outcome TEXT NOT NULL,'
    " tools TEXT[] NOT NULL, errors TEXT[] NOT NULL, usd_nano BIGINT NOT NULL, created_at DOUBLE PRECISION NOT NULL,"
    " updated_at DOUBLE PRECISION NOT NULL, facts TEXT NOT NULL, text TEXT NOT NULL, seal BYTEA NOT NULL,"
    " words TSVECTOR NOT NULL, PRIMARY KEY (tenant, run_id))",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_words ON {TABLE} USING gin (words)",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_agent ON {TABLE} (tenant, agent, updated_at)",
)
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('holdfast ' || current_schema() || ' search', 0))"
_DROP = f"DROP TABLE IF EXISTS {TABLE}"
_GONE = (
    f"DELETE FROM {TABLE} s WHERE s.tenant = $1"
    " AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.tenant = s.tenant AND r.run_id = s.run_id)"
)
_BEHIND = (
    "SELECT r.run_id::text, encode(r.chain, 'hex') FROM runs r"
    f" LEFT JOIN {TABLE} s ON s.tenant = r.tenant AND s.run_id = r.run_id"
    " WHERE r.tenant = $1 AND s.mark IS DISTINCT FROM encode(r.chain, 'hex') ORDER BY r.run_no"
)
_PUT = (
    f"INSERT INTO {TABLE} VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9::text[], $10, $11, $12, $13, $14, $15,"
    " $16::text::tsvector) ON CONFLICT (tenant, run_id) DO UPDATE SET mark = excluded.mark,"
    " is_there = excluded.is_there, key = excluded.key, agent = excluded.agent, outcome = excluded.outcome,"
    " tools = excluded.tools, errors = excluded.errors, usd_nano = excluded.usd_nano,"
    " created_at = excluded.created_at, updated_at = excluded.updated_at, facts = excluded.facts,"
    " text = excluded.text, seal = excluded.seal, words = excluded.words"
)
_FIND = f"SELECT run_id::text, mark, facts, text, seal FROM {TABLE} WHERE tenant = $1 AND is_there"
_ORDERS = {
    "rank": " ORDER BY ts_rank(words, $2::text::tsquery, 1) DESC, updated_at DESC, run_id",
    "newest": " ORDER BY updated_at DESC, run_id",
    "cost": " ORDER BY usd_nano DESC, updated_at DESC, run_id",
}
_NOT_OWN = " AND left(agent, 1) <> '@'"


class PostgresIndex:
    """The index of one tenant."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    @property
    def is_made(self) -> bool:
        """Whether there is one; to ask makes none."""
        return self._database.read(_is_made, is_one=True)

    def behind(self) -> list[Behind]:
        """What has to be put (I1); what the store does not hold any more goes."""

        def work(db: Db) -> list[Behind]:
            _make(db)
            db.execute(_GONE, (self._tenant,))
            return [Behind(*row) for row in server.rows(db, _BEHIND, self._tenant)]

        done = self._try(lambda: self._write(work))
        return self._write(work) if done is None else done

    def put(self, documents: Sequence[Document]) -> bool:
        """Put documents (I2). False: the index is made anew, and all is behind."""

        def work(db: Db) -> bool:
            for document in sorted(documents, key=lambda document: document.run_id):  # locked in order
                db.execute(_PUT, self._values(document))
            return True

        return self._try(lambda: self._write(work)) or False

    def _values(self, document: Document) -> tuple[Any, ...]:
        facts = entry.facts(document)
        return (
            self._tenant,
            document.run_id,
            document.mark,
            not document.is_forgotten,
            document.key,
            document.agent,
            document.outcome,
            list(document.tools),
            list(document.errors),
            document.spent.usd_nano,
            document.created_at,
            document.updated_at,
            facts,
            document.text,
            entry.seal(self._tenant, document.run_id, document.mark, facts, document.text),
            "" if document.is_forgotten else _vector(document.words),
        )

    def find(self, query: Query) -> list[Document] | None:
        """What matches (I3). None: the index is made anew, and all is behind."""
        sql, values = _statement(self._tenant, query)

        def work(db: Db) -> list[Document]:
            found = [entry.read(self._tenant, *row) for row in server.rows(db, sql, *values)]
            kept = [each for each in found if each is not None]
            if len(kept) < len(found):
                raise JournalCorrupt("An entry of the search index is not what was written.")
            return kept

        return self._try(lambda: self._database.read(work, is_one=True))

    def clear(self) -> None:
        """Let all be behind."""
        if self.is_made:
            self._write(lambda db: db.execute(_DROP))

    def close(self) -> None:
        """It has nothing of its own that is open."""

    def _write(self, work: Callable[[Db], T]) -> T:
        return self._database.write(work, is_durable=False, is_upkeep=True)

    def _try(self, call: Callable[[], T]) -> T | None:
        """None when the table is not as it was made; it is removed then."""
        try:
            return call()
        except JournalCorrupt:
            self._write(lambda db: db.execute(_DROP))
            return None


def _is_made(db: Db) -> bool:
    return bool(server.row(db, _IS_MADE)[0])


def _make(db: Db) -> None:
    if not _is_made(db):
        db.execute(_LOCK)  # of several who make it, one after the other
        for statement in _MAKE:
            db.execute(statement)


def _vector(text: str) -> str:
    """Words with their places, as a `tsvector` is written."""
    places: dict[str, list[str]] = {}
    for number, word in enumerate(words(text), 1):
        places.setdefault(word.text, []).append(str(number))
    return " ".join(f"'{word}':{','.join(found)}" for word, found in places.items())


# --- queries -------------------------------------------------------------------------------------------------------


def _statement(tenant: str, query: Query) -> tuple[str, list[Any]]:
    """Constant pieces in an order of ours, with the numbers of the values that belong to them."""
    values: list[Any] = [tenant]
    clauses = [_FIND]
    for clause, value in _asked(query):
        if value is not None:
            values.append(value)
            clauses.append(clause.replace("$n", f"${len(values)}"))
    if query.agent is None:
        clauses.append(_NOT_OWN)
    values.append(query.limit)
    return "".join([*clauses, _ORDERS[query.sort], f" LIMIT ${len(values)}"]), values


def _asked(query: Query) -> list[tuple[str, Any]]:
    return [
        (" AND words @@ $n::text::tsquery", " & ".join(map(_string, query.wanted)) or None),  # $2, if at all
        (" AND NOT (words @@ $n::text::tsquery)", " | ".join(map(_string, query.unwanted)) or None),
        (" AND agent = $n::text", query.agent),
        (" AND outcome = $n::text", query.outcome),
        (" AND $n::text = ANY (tools)", query.tool),
        (" AND $n::text = ANY (errors)", query.error),
        (" AND starts_with(key, $n::text)", query.key),
        (" AND updated_at >= $n", query.since),
        (" AND created_at <= $n", query.until),
        (" AND usd_nano >= $n", query.nano_min),
        (" AND usd_nano <= $n", query.nano_max),
    ]


def _string(part: Part) -> str:
    """Letters and digits in quotes: nothing of it is an operator."""
    *firsts, last = (f"'{word}'" for word in part.words)
    return f"({' <-> '.join([*firsts, f'{last}:*' if part.is_open else last])})"
