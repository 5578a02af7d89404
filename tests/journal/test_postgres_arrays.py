"""Columns that are packed here arrive as they were."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from holdfast.journal.postgres import address, arrays, server
from holdfast.testing.postgres_server import PostgresServer


@pytest.mark.parametrize(
    ("packer", "kind", "values"),
    [
        (arrays.ints, "int8[]", [0, 1, -1, 2**63 - 1, -(2**63)]),
        (arrays.ints, "int8[]", [True, False]),
        (arrays.ints, "int8[]", [None, 7, None]),
        (arrays.floats, "float8[]", [0.1, -0.0, 1e308, 1_700_000_000.123456, 5e-324]),
        (arrays.floats, "float8[]", [None, 1.5]),
        (arrays.texts, "text[]", ["", "NULL", "a,b", '{"x":"\\\\"}', "é", "\U0001f600", "a" * 70_000, ""]),
        (arrays.texts, "text[]", [None, "a", None, "a"]),
        (arrays.blobs, "bytea[]", [b"", b"\0\xff", b"x" * 70_000]),
        (arrays.blobs, "bytea[]", [None, b"\\x00"]),
        (arrays.texts, "text[]", [None]),
    ],
)
def test_what_is_packed_is_what_arrives(postgres: PostgresServer, packer: Any, kind: str, values: list[Any]) -> None:
    """J11. Without it a step would be recorded with another value than it had."""
    with closing(server.connect(address.read(postgres.url("arrays")))) as db:
        for is_binary in (False, True):
            [given] = db.execute(f"SELECT $1::{kind}", (packer(values),), binary=is_binary).fetchone() or ()
            assert given == values and [*map(str, given)] == [
                str(int(v)) if isinstance(v, bool) else str(v) for v in values
            ]
