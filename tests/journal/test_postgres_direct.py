"""A statement that libpq is given by us: what goes over the wire comes back equal, or is refused. A real server."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from holdfast.journal.postgres import address, direct, server
from holdfast.journal.postgres.direct import Statement
from holdfast.testing.postgres_server import PostgresServer

KINDS = ("int8", "float8", "text", "bytea", "bool")
PUT = Statement("put", "INSERT INTO direct VALUES ($1, $2, $3, $4, $5)", KINDS)
SLOW = Statement("slow", "INSERT INTO direct (a) SELECT $1 FROM pg_sleep(60)", ("int8",))


@pytest.fixture
def db(postgres: PostgresServer) -> Iterator[server.Db]:
    with closing(server.connect(address.read(postgres.url("direct")))) as db:
        db.execute("CREATE TEMPORARY TABLE direct (a int8, b float8, c text, d bytea, e bool)")
        yield db


@pytest.mark.parametrize(
    "values",
    [
        (0, 0.0, "", b"", False),
        (2**63 - 1, 0.1 + 0.2, "gärtner 🌱 $1 '); --", bytes(range(256)), True),
        (-(2**63), math.inf, "\x01\x7f\u2028", b"\0\0", True),
        (None, None, None, None, None),
    ],
)
def test_what_is_sent_is_what_is_kept(db: server.Db, values: tuple[Any, ...]) -> None:
    """Lost: a number rounded, a text or a body changed on its way, and so a link that no longer fits."""
    for _ in range(2):
        assert PUT.run(db, values) == 1
    assert server.rows(db, "SELECT * FROM direct") == [values, values]


@pytest.mark.parametrize(
    "values",
    [
        (2**63, 0.0, "", b"", False),
        (0, "1", "", b"", False),
        (0, 0.0, "\ud800", b"", False),
        (0, 0.0, "", 7, False),
        (0, 0.0, b"x", b"", False),
        (0, 0.0, "", b""),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(db: server.Db, values: tuple[Any, ...]) -> None:
    """Lost: the connection, for a value of ours; or the value, made into another one."""
    with pytest.raises((ValueError, OverflowError, TypeError)):
        PUT.run(db, values)
    assert PUT.run(db, (1, 1.0, "x", b"x", True)) == 1
    assert server.rows(db, "SELECT a FROM direct") == [(1,)]


def test_a_text_with_a_nul_is_refused_and_not_cut_off(db: server.Db) -> None:
    """Lost: what stands behind the NUL."""
    with pytest.raises(psycopg.DataError):
        PUT.run(db, (0, 0.0, "before\0after", b"", False))
    assert db.closed, "of which not all was heard, nothing more is asked"


def test_a_server_that_says_nothing_is_given_up(db: server.Db) -> None:
    """Lost: the loop, for as long as a dead server holds the connection open."""
    db.answer_s = 0.05
    with pytest.raises(psycopg.OperationalError, match="has not answered in time"):
        SLOW.run(db, (1,))
    assert db.closed


def test_a_session_that_is_ended_under_way_is_told_so(db: server.Db, postgres: PostgresServer) -> None:
    """Lost: a commit of unknown outcome that passes for one that was made."""
    pid = db.info.backend_pid

    def end() -> None:
        with psycopg.connect(postgres.url("direct").partition("&schema")[0].partition("?schema")[0]) as other:
            found = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
            while other.execute(found, (pid,)).fetchone() != (1,):
                other.rollback()
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(psycopg.OperationalError):
        SLOW.run(db, (1,))
    thread.join()
    assert db.closed


def test_what_is_sent_together_is_there_together(db: server.Db, postgres: PostgresServer) -> None:
    """Lost: all or nothing, where a statement is sent several times while the rest of it is made."""
    rows = [(number, 0.5, "x", b"y", True) for number in range(3)]
    found = PUT.ask_all(db, (PUT.written(row) for row in rows))
    assert [result.command_tuples for result in found] == [1, 1, 1]
    assert PUT.run(db, rows[0]) == 1, "the connection is as it was"
    assert server.rows(db, "SELECT a FROM direct") == [(0,), (1,), (2,), (0,)]
    assert PUT.ask_all(db, iter(())) == []
    assert server.rows(db, "SELECT count(*) FROM direct") == [(4,)]


@pytest.mark.parametrize("wrong", [(0, 0.0, "before\0after", b"", False), (0, 0.0, "", 7, False)])
def test_of_what_is_sent_together_nothing_is_there_when_one_is_refused(
    postgres: PostgresServer, wrong: tuple[Any, ...]
) -> None:
    """Lost: whether it is in the store, when only some of it is."""
    url, name = postgres.url("direct_together"), f"together_{len(str(wrong))}"
    put = Statement(name, f"INSERT INTO {name} VALUES ($1, $2, $3, $4, $5)", KINDS)
    with closing(server.connect(address.read(url))) as db, closing(server.connect(address.read(url))) as other:
        for each in (db, other):
            each.execute("SET search_path = public")
        db.execute(f"CREATE TABLE {name} (a int8, b float8, c text, d bytea, e bool)")
        rows = [(1, 0.0, "", b"", False), wrong, (2, 0.0, "", b"", False)]
        with pytest.raises((psycopg.DataError, TypeError)):
            put.ask_all(db, (put.written(row) for row in rows))
        assert db.closed
        assert server.rows(other, f"SELECT * FROM {name}") == []


def test_one_that_is_left_before_it_is_heard_is_closed(db: server.Db, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the answer to somebody else's statement, which a connection still has that was interrupted."""
    PUT.run(db, (1, 1.0, "", b"", False))

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(direct, "_heard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PUT.run(db, (2, 1.0, "", b"", False))
    assert db.closed
