"""Columns that are packed here arrive as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from holdfast.core.events import Kind
from holdfast.journal.postgres import address, arrays, server
from holdfast.journal.postgres.direct import Statement
from holdfast.testing.postgres_server import PostgresServer

PUT = {
    kind: Statement(f"put {kind}", f"INSERT INTO packed ({kind}) VALUES ($1)", (f"{kind}[]",))
    for kind in ("int8", "float8", "text", "bytea")
}


@pytest.fixture
def db(postgres: PostgresServer) -> Iterator[server.Db]:
    with closing(server.connect(address.read(postgres.url("arrays")))) as db:
        db.execute("CREATE TEMPORARY TABLE packed (int8 int8[], float8 float8[], text text[], bytea bytea[])")
        yield db


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int8", [0, 1, -1, 2**63 - 1, -(2**63)]),
        ("int8", [True, False]),
        ("int8", [None, 7, None]),
        ("float8", [0.1, -0.0, 1e308, 1_700_000_000.123456, 5e-324]),
        ("float8", [None, 1.5]),
        ("text", ["", "NULL", "a,b", '{"x":"\\\\"}', "é", "\U0001f600", "a" * 70_000, ""]),
        ("text", [None, "a", None, "a"]),
        ("bytea", [b"", b"\0\xff", b"x" * 70_000]),
        ("bytea", [None, b"\\x00"]),
        ("text", [None]),
    ],
)
def test_what_is_packed_is_what_arrives(db: server.Db, kind: str, values: list[Any]) -> None:
    """J11. Without it a step would be recorded with another value than it had."""
    assert PUT[kind].run(db, [values]) == 1
    for is_binary in (False, True):
        [given] = db.execute(f"SELECT {kind} FROM packed", binary=is_binary).fetchone() or ()
        assert given == values
        assert [*map(str, given)] == [str(int(v)) if isinstance(v, bool) else str(v) for v in values]


@pytest.mark.parametrize(
    ("packer", "value"),
    [
        (arrays.ints, 2**63),
        (arrays.ints, "1"),
        (arrays.floats, "1"),
        (arrays.texts, "\ud800"),
        (arrays.texts, b"x"),
        (arrays.blobs, 7),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(packer: Any, value: Any) -> None:
    """J9. Without it one value of ours would take the whole group, and the loop, with it."""
    for others in ([], [None]):
        with pytest.raises((ValueError, OverflowError, TypeError)):
            packer([value, *others])


@pytest.mark.parametrize(
    "values",
    [[1, None, 2.5], [True, False], [Kind.STEP_FAILED, None, "a"], [b"x", None], [None, None], []],
)
def test_lists_are_taken_by_what_is_in_them(db: server.Db, values: list[Any]) -> None:
    """J11. Without it a column of several sorts of values would be refused, or arrive as another one."""
    wanted = {int: "int8", float: "float8", bool: "bool", bytes: "bytea"}
    sort = next((wanted.get(type(value), "text") for value in values if isinstance(value, float | str)), None)
    kind = sort or (wanted[type(values[0])] if values and values[0] is not None else "text")
    [given] = db.execute(f"SELECT $1::{kind}[]", (values,), binary=True).fetchone() or ()
    assert given == values
