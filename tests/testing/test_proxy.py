"""The proxy before a Postgres: what it cuts is cut there and nowhere else, and it says what has happened."""

from __future__ import annotations

import select
from collections.abc import Callable

import psycopg
import pytest

from holdfast.testing.postgres_server import PostgresServer
from holdfast.testing.proxy import Commit, Cut, Proxy

PATIENCE_S = 1.0


@pytest.fixture
def table(postgres: PostgresServer) -> str:
    """An empty table of its own."""
    if not postgres.is_ours:
        pytest.skip("HOLDFAST_TEST_POSTGRES is a URL, and a proxy needs the server's socket")
    with psycopg.connect(postgres.url("x").partition("&schema")[0], autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS cut_here (n int)")
        db.execute("TRUNCATE cut_here")
    return "cut_here"


def through(proxy: Proxy) -> psycopg.Connection[tuple[int]]:
    """A connection through the proxy."""
    return psycopg.connect(proxy.url("x").partition("?")[0], autocommit=True, prepare_threshold=1)


def write(db: psycopg.Connection[tuple[int]], table: str, n: int, *, is_pipelined: bool) -> None:
    """One transaction."""
    if is_pipelined:
        with db.pipeline():
            for statement in ("BEGIN", f"INSERT INTO {table} VALUES ({n})", "COMMIT"):
                db.execute(statement)  # type: ignore[call-overload]
    else:
        for statement in ("BEGIN", f"INSERT INTO {table} VALUES ({n})", "COMMIT"):
            db.execute(statement)  # type: ignore[call-overload]


def numbers(postgres: PostgresServer, table: str) -> list[int]:
    """What the server has."""
    with psycopg.connect(postgres.url("x").partition("&schema")[0]) as db:
        return [n for (n,) in db.execute(f"SELECT n FROM {table} ORDER BY n")]  # type: ignore[call-overload]


def at(number: int, cut: Cut) -> Callable[[Commit], Cut | None]:
    """Cut at the COMMIT of this number."""
    return lambda commit: cut if commit.number == number else None


@pytest.mark.parametrize("is_pipelined", [False, True])
@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_cut_is_where_it_was_planned(postgres: PostgresServer, table: str, cut: Cut, is_pipelined: bool) -> None:
    """Lost: a proof that says that commits of unknown outcome were resolved, of which none was unknown."""
    with Proxy(postgres.socket, at(3, cut)) as proxy:
        db = through(proxy)
        for n in (1, 2):
            write(db, table, n, is_pipelined=is_pipelined)
        with pytest.raises(psycopg.OperationalError):
            write(db, table, 3, is_pipelined=is_pipelined)
        assert numbers(postgres, table) == ([1, 2, 3] if cut.is_written else [1, 2])
        assert proxy.cuts == {cut: 1}
        with through(proxy) as again:
            write(again, table, 4, is_pipelined=is_pipelined)
        db.close()
    assert numbers(postgres, table)[-1] == 4


@pytest.mark.parametrize("cut", [Cut.SILENT_BEFORE, Cut.SILENT_AFTER])
def test_in_a_silence_both_sides_stay_connected(postgres: PostgresServer, table: str, cut: Cut) -> None:
    """Lost: the only fault that no error tells of, which a client must find by itself."""
    with Proxy(postgres.socket, at(1, cut)) as proxy:
        db = through(proxy)
        for statement in ("BEGIN", f"INSERT INTO {table} VALUES (1)"):
            db.execute(statement)  # type: ignore[call-overload]
        db.pgconn.send_query(b"COMMIT")
        db.pgconn.flush()
        assert not _has_anything(db), "nothing comes, and nothing is closed"
        assert proxy.cuts == {cut: 1}
        assert numbers(postgres, table) == ([1] if cut.is_written else [])
        db.close()


def _has_anything(db: psycopg.Connection[tuple[int]]) -> bool:
    return bool(select.select([db.pgconn.socket], [], [], PATIENCE_S)[0])


def test_what_only_reads_is_left_alone(postgres: PostgresServer, table: str) -> None:
    """Lost: cuts spent where nothing could be unknown."""
    asked: list[Commit] = []
    with Proxy(postgres.socket, lambda commit: asked.append(commit)) as proxy, through(proxy) as db:  # type: ignore[func-returns-value]
        for statement in ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT 1", "COMMIT"):
            db.execute(statement)  # type: ignore[call-overload]
        write(db, table, 1, is_pipelined=True)
        write(db, table, 2, is_pipelined=True)
    assert [commit.number for commit in asked] == [1, 2]
    assert asked[1].statements == ("BEGIN", f"INSERT INTO {table} VALUES (2)")


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_a_statement_that_is_its_own_transaction_is_cut_too(postgres: PostgresServer, table: str, cut: Cut) -> None:
    """Lost: the most frequent write of all, which says no COMMIT."""
    with Proxy(postgres.socket, at(2, cut)) as proxy, through(proxy) as db:
        db.execute("SELECT 1")
        db.execute(f"INSERT INTO {table} VALUES (1)")  # type: ignore[call-overload]
        with pytest.raises(psycopg.OperationalError):
            db.execute(f"INSERT INTO {table} VALUES (2)")  # type: ignore[call-overload]
        assert numbers(postgres, table) == ([1, 2] if cut.is_written else [1])
        assert proxy.cuts == {cut: 1}
