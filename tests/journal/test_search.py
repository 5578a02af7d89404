"""The search index of each engine: the public suite, and what only a file, or only a server, can do to it."""

import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from psycopg import sql
from tests import warm

from holdfast.core.heads import Status
from holdfast.core.query import read
from holdfast.journal.lookup import search
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import index_of
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.journal.search import SUFFIX, SqliteIndex
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal, Worker
from holdfast.testing.conformance_index import IndexConformance, OpenTenant, asked, ids, put
from holdfast.testing.conformance_store import Store, step
from holdfast.testing.postgres_server import PostgresServer

IsDead = Callable[[Worker], bool]


class TestMemory(IndexConformance):
    """In memory, which must not be kinder than the real ones."""

    not_applicable = {  # noqa: RUF012 - the base class annotates it
        "I3 tenants": "a store in memory has one tenant",
        "I5": "nothing but itself can change it",
        "I6": "it belongs to its journal, and two journals are two stores",
    }

    @pytest.fixture
    def open_engine(self) -> OpenTenant:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: IsDead, tenant: str = "default") -> Journal:
            return MemoryJournal(clock=clock, is_dead=is_dead)

        return open_engine


class TestSqlite(IndexConformance):
    """FTS5 in a file beside the store."""

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path

    @pytest.fixture
    def open_engine(self) -> OpenTenant:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: IsDead, tenant: str = "default") -> Journal:
            return SqliteJournal(self.path / f"{name}.db", clock=clock, is_dead=is_dead, tenant=tenant)

        return open_engine

    def side(self, name: str) -> Path:
        return self.path / f"{name}.db{SUFFIX}"

    def damage_index(self, name: str) -> None:
        size = self.side(name).stat().st_size
        with self.side(name).open("r+b") as file:
            file.seek(4096)
            file.write(b"\x5a" * (size - 4096))

    def forge_index(self, name: str, before: str, after: str) -> None:
        connection = apsw.Connection(str(self.side(name)))
        connection.execute("UPDATE documents SET text = replace(text, ?, ?)", (before, after))
        connection.close()

    @pytest.mark.parametrize("state", ["missing", "empty", "text", "header", "version", "store", "link", "dangling"])
    def test_a_file_that_is_not_this_index_is_made_anew(self, store: Store, state: str, tmp_path: Path) -> None:
        """Lost: the search of a store that was copied, restored or upgraded; or a file elsewhere that is written to."""
        store.start("r1")
        index = index_of(store.journal)
        put(index, "r1", text="refund")
        index.close()
        side, elsewhere = self.side("store"), tmp_path / "elsewhere"
        elsewhere.write_bytes(b"of somebody else")
        match state:
            case "missing":
                side.unlink()
            case "empty":
                side.write_bytes(b"")
            case "text":
                side.write_text("no database at all, but of some length " * 200)
            case "header":
                side.write_bytes(b"SQLite format 3\0" + bytes(200))
            case "version":
                apsw.Connection(str(side)).execute("UPDATE about SET about = about || '9'").connection.close()
            case "store":
                apsw.Connection(str(side)).execute("UPDATE about SET about = 'another'").connection.close()
            case "link" | "dangling":
                side.unlink()
                side.symlink_to(elsewhere if state == "link" else tmp_path / "nowhere")
        assert [each.run_id for each in search(store.journal, asked()).found] == ["r1"]
        assert search(store.journal, asked("refund")).found == [], "it is of the log, and not what was put there"
        assert not side.is_symlink() and side.is_file() and stat.S_IMODE(side.stat().st_mode) == 0o600
        assert elsewhere.read_bytes() == b"of somebody else" and not (tmp_path / "nowhere").exists()
        assert sorted(each.name for each in self.path.glob("*search*")) == [side.name]

    @pytest.mark.parametrize("state", ["directory", "read-only file", "read-only directory"])
    def test_where_nothing_can_be_written_it_is_searched_all_the_same(self, store: Store, state: str) -> None:
        """Lost: looking into a store on a medium, or of an owner, that lets nobody write."""
        if os.geteuid() == 0 and state != "directory":
            pytest.skip("root may write everywhere: run the tests as another user")
        store.start("r1")
        side = self.side("store")
        if state == "directory":
            (side / "in it").mkdir(parents=True)
        else:
            side.touch()
            side.chmod(0o400)
            if state == "read-only directory":
                side.unlink()
                self.path.chmod(0o500)
        try:
            assert [each.run_id for each in search(store.journal, asked()).found] == ["r1"]
        finally:
            self.path.chmod(0o700)

    def test_a_file_that_somebody_keeps_is_left_and_memory_is_used(self, store: Store) -> None:
        """Lost: the search of everybody, while one process is stopped in the middle of its own."""
        store.start("r1")
        index = index_of(store.journal)
        put(index, "r1", text="refund " * 100)
        index.close()
        connection = apsw.Connection(str(self.side("store")))
        connection.execute("BEGIN EXCLUSIVE")  # nobody else may even look
        try:
            busy = SqliteIndex(str(self.path / "store.db"), "store", "default", lambda: {"r1": "mark"}, busy_ms=1)
            assert [each.run_id for each in busy.behind()] == ["r1"]
            put(busy, "r1", text="refund")
            assert ids(busy, "refund") == ["r1"]
            busy.close()
        finally:
            connection.close()

    def test_where_no_file_takes_a_byte_it_is_searched_all_the_same(self, store: Store) -> None:
        """Lost: a search on a disk that is full, or that has become read-only."""
        store.start("r1")
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); {self.searching()}"
        done = warm.run([sys.executable, "-c", code], timeout=50)
        assert done.stdout.strip() == "1", done.stderr
        assert list(self.path.glob("*search*")) == [], "what could not be made whole is not left"

    def searching(self) -> str:
        """A program that says how many runs it finds."""
        path = str(self.path / "store.db")
        return (
            "from holdfast.core.query import read; from holdfast.journal.lookup import search;"
            "from holdfast.journal.open import open_journal;"
            f"journal = open_journal({path!r}, clock=lambda: 1e6);"
            "print(len(search(journal, read('', {'limit': 100}, 1e6)).found)); journal.close()"
        )

    def test_what_is_forgotten_leaves_the_file(self, store: Store) -> None:
        """Lost: what was removed for a reason can still be read in the side file."""
        claim = store.hold("r1")
        assert store.write(claim, [step(0)], status=Status.SUCCEEDED, wake_at=None, releases=True) is None
        index = index_of(store.journal)
        put(index, "r1", text="Reykjavik9 " * 300)
        assert b"Reykjavik9" in self.side("store").read_bytes() and b"reykjavik9" in self.side("store").read_bytes()
        index.clear()
        index.close()
        left = self.side("store").read_bytes().lower()
        assert b"reykjavik9" not in left

    def test_two_processes_search_at_once(self, store: Store) -> None:
        """Lost: the second one fails, or finds half."""
        for number in range(60):
            store.start(f"r{number}")
        code = self.searching()
        begun = [warm.start([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
        assert [each.communicate(timeout=50)[0].strip() for each in begun] == ["60"] * 3
        assert len(search(store.journal, read("", {"limit": 100}, 1e6)).found) == 60

    @pytest.mark.parametrize("at", [1, 30, 55])
    def test_a_search_that_is_killed_leaves_nothing_half_done(self, store: Store, at: int) -> None:
        """Lost: runs that no search finds any more, since one has died while it put them."""
        for number in range(60):
            store.start(f"r{number}")
        dies = (
            "import os; from holdfast.journal import entry; left = [%d]; seal = entry.seal\n"
            "def dying(*facts):\n"
            "    left[0] -= 1\n"
            "    return seal(*facts) if left[0] else os.kill(os.getpid(), 9)\n"
            "entry.seal = dying\n%s"
        )
        done = warm.run([sys.executable, "-c", dies % (at, self.searching())], timeout=50)
        assert done.returncode == -9
        assert len(search(store.journal, read("", {"limit": 100}, 1e6)).found) == 60

    def test_two_tenants_share_the_file_and_nothing_in_it(self, store: Store, open_engine: OpenTenant) -> None:
        """Lost: clearing one tenant's index would take the other's, or leave text of it."""
        other = Store(lambda name, **options: open_engine(name, tenant="other", **options), "store")
        store.start("r1")
        other.start("r1")
        ours, theirs = index_of(store.journal), index_of(other.journal)
        put(ours, "r1", text="refund")
        put(theirs, "r1", text="refund")
        ours.clear()
        assert ids(ours) == [] and ids(theirs, "refund") == ["r1"]
        ours.close()
        theirs.close()
        other.close()


SCHEMAS = itertools.count()


class TestPostgres(IndexConformance):
    """A table beside the others, on a real server."""

    @pytest.fixture(autouse=True)
    def server(self, postgres: PostgresServer) -> Iterator[None]:
        self.postgres = postgres
        self.names: dict[str, str] = {}
        yield
        for name in self.names:
            self.change(name, "DROP SCHEMA {schema} CASCADE")

    def url(self, name: str) -> str:
        if name not in self.names:
            self.names[name] = f"search_{os.getpid()}_{next(SCHEMAS)}"
        return self.postgres.url(self.names[name])

    @pytest.fixture
    def open_engine(self, server: None) -> OpenTenant:
        def open_engine(name: str, *, clock: Callable[[], float], is_dead: IsDead, tenant: str = "default") -> Journal:
            return PostgresJournal(self.url(name), clock=clock, is_dead=is_dead, owns_clock=True, tenant=tenant)

        return open_engine

    def change(self, name: str, statement: str, *values: Any) -> None:
        url, _, schema = self.url(name).rpartition("&schema=")
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
            db.execute(statement.format(schema=schema).encode(), values or None)

    def damage_index(self, name: str) -> None:
        self.change(name, "ALTER TABLE search_1 DROP COLUMN seal")

    def forge_index(self, name: str, before: str, after: str) -> None:
        self.change(name, "UPDATE search_1 SET text = replace(text, %s, %s)", before, after)

    def test_several_who_make_the_table_at_once(self, store: Store) -> None:
        """Lost: the first searches of a cluster that is being started."""
        for number in range(60):
            store.start(f"r{number}")
        journals = [store.open() for _ in range(4)]
        query = read("", {"limit": 100}, 1e6)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda journal: len(search(journal, query).found), journals))
        assert found == [60] * 4
