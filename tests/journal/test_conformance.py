"""The public contract suite against each engine that comes with holdfast."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from psycopg import sql

from holdfast.journal.memory import MemoryJournal
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal, Worker
from holdfast.testing.conformance import Damage, JournalConformance, Moment, OpenEngine
from holdfast.testing.postgres_server import PostgresServer


class TestMemory(JournalConformance):
    """The engine for tests, which must not be kinder than the real one."""

    not_applicable = {  # noqa: RUF012 - the base class annotates it
        "J10": "it ends with its process",
        "J12": "it keeps objects, no bytes",
        "J13": "it has no commit that could fail",
        "J14": "it has no file",
    }

    @pytest.fixture
    def open_engine(self) -> OpenEngine:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
            return MemoryJournal(clock=clock, is_dead=is_dead)

        return open_engine


class FailingSqlite(SqliteJournal):
    """Its commits fail at the moments that are planned."""

    moments: Sequence[Moment] = ()

    def _commit(self) -> None:
        if not self.moments:
            return super()._commit()
        moment, *self.moments = self.moments
        if moment == "after":
            super()._commit()
        raise apsw.IOError("planned by the test")


WAYS: dict[Damage, str] = {
    "body": "UPDATE events SET body = x'00' WHERE {second}",
    "meta": "UPDATE events SET meta = '{{\"n\":9}}' WHERE {second}",
    "kind": "UPDATE events SET kind = 'StepFailed' WHERE {second}",
    "missing": "DELETE FROM events WHERE {second}",
    "swapped": "UPDATE events SET number = 5 - number + 1000 WHERE number IN (2, 3) AND {of_run};"
    "UPDATE events SET number = number - 1000 WHERE number > 1000",
    "tail": "DELETE FROM events WHERE number = 3 AND {of_run}",
    "head": "UPDATE runs SET head = replace(head, 'running', 'stopped') WHERE run_id = 'r1'",
    "mail": "UPDATE mail SET meta = replace(meta, 'ada', 'eve') WHERE {second}",
    "mail missing": "DELETE FROM mail WHERE {second}",
    "blob": "UPDATE pieces SET bytes = CAST(x'ff' || substr(bytes, 2) AS BLOB) WHERE number = 1",
    "blob missing": "DELETE FROM blobs",
    "cell": "UPDATE cells SET value = 'on' WHERE name = 'a'",
    "account": "UPDATE accounts SET usd_nano = 0 WHERE key = 'a'",
}
OF_RUN = "run_no = (SELECT run_no FROM runs WHERE run_id = 'r1')"


class TestSqlite(JournalConformance):
    """The engine that users get."""

    model_runs = 20

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path

    @pytest.fixture
    def open_engine(self) -> OpenEngine:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
            return FailingSqlite(self.path / f"{name}.db", clock=clock, is_dead=is_dead)

        return open_engine

    def change(self, name: str, sql: str) -> None:
        connection = apsw.Connection(str(self.path / f"{name}.db"))
        connection.execute(sql)
        connection.close()

    def damage(self, name: str, damage: Damage) -> None:
        self.change(name, WAYS[damage].format(second=f"number = 2 AND {OF_RUN}", of_run=OF_RUN))

    def fail_commits(self, journal: Journal, moments: Sequence[Moment]) -> None:
        assert isinstance(journal, FailingSqlite)
        journal.moments = moments

    def make_newer(self, name: str) -> None:
        self.change(name, "PRAGMA user_version = 99")

    def make_foreign(self, name: str) -> None:
        self.change(name, "PRAGMA application_id = 1")

    def fingerprint(self, name: str) -> object:
        return {path.name: path.read_bytes() for path in self.path.iterdir()}


class FailingPostgres(PostgresJournal):
    """Its commits fail at the moments that are planned, as when the connection breaks."""

    moments: Sequence[Moment] = ()

    def _finish(self, end: Callable[[], Any]) -> Any:
        if not self.moments:
            return super()._finish(end)
        moment, *self.moments = self.moments
        if moment == "after":
            super()._finish(end)
        raise psycopg.OperationalError("planned by the test")


IN_POSTGRES: dict[Damage, str] = WAYS | {
    "body": "UPDATE events SET body = '\\x00' WHERE {second}",
    "meta": "UPDATE events SET meta = '{{\"n\":9}}' WHERE {second}",
    "swapped": "UPDATE events SET number = 5 - number + 1000 WHERE number IN (2, 3) AND {of_run};"
    "UPDATE events SET number = number - 1000 WHERE number > 1000",
    "blob": "UPDATE pieces SET bytes = set_byte(bytes, 0, get_byte(bytes, 0) # 255) WHERE number = 1",
}
STORES = itertools.count()
CLEAN: list[str] = []
"""Schemas that tests are done with, emptied: making one costs ten times as much."""
TABLES = ("runs", "events", "mail", "workers", "blobs", "pieces", "cells", "accounts")
EMPTY = "".join(f"DELETE FROM {table};" for table in TABLES) + (
    "UPDATE store SET application = 'holdfast', schema = 1, moved_to = NULL, id = md5(random()::text),"
    " hash_key = sha256(random()::text::bytea)"
)


class TestPostgres(JournalConformance):
    """The engine for several machines, against a real server."""

    model_runs = 10

    @pytest.fixture(autouse=True)
    def server(self, postgres: PostgresServer) -> Iterator[None]:
        self.postgres = postgres
        self.names: dict[str, str] = {}
        yield
        for name, schema in self.names.items():
            self.change(name, EMPTY)
            CLEAN.append(schema)

    def url(self, name: str) -> str:
        """A schema of its own for each store of each test."""
        if name not in self.names:
            self.names[name] = CLEAN.pop() if CLEAN else f"conformance_{next(STORES)}"
        return self.postgres.url(self.names[name])

    @pytest.fixture
    def open_engine(self, server: None) -> OpenEngine:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
            return FailingPostgres(self.url(name), clock=clock, is_dead=is_dead, owns_clock=True)

        return open_engine

    def change(self, name: str, statement: str) -> list[Any]:
        url, _, schema = self.url(name).rpartition("&schema=")
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def damage(self, name: str, damage: Damage) -> None:
        self.change(name, IN_POSTGRES[damage].format(second=f"number = 2 AND {OF_RUN}", of_run=OF_RUN))

    def fail_commits(self, journal: Journal, moments: Sequence[Moment]) -> None:
        assert isinstance(journal, FailingPostgres)
        journal.moments = moments

    def make_newer(self, name: str) -> None:
        self.change(name, "UPDATE store SET schema = 99")

    def make_foreign(self, name: str) -> None:
        self.change(name, "UPDATE store SET application = 'another'")

    def fingerprint(self, name: str) -> object:
        tables = self.change(name, "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()")
        return {table: self.change(name, f"SELECT t::text FROM {table} t ORDER BY 1") for (table,) in sorted(tables)}
