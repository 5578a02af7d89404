"""A statement that is sent often: prepared once on each connection, sent and answered by libpq itself.

psycopg's own way (a cursor, values adapted by their types, a wait in Python) costs about 50 µs a statement, as much as
the server needs for two rows. Here each value is written as the bytes of its declared type.

Invariants
1. All values go in binary. A text is its bytes and their number, so a NUL in it is refused by the server, not cut off;
   a number that does not fit is refused before anything is sent.
2. A connection of which not all was heard is closed.

Never: knows a table, begins a transaction (each statement is its own), reads rows.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from math import isinf
from struct import Struct
from typing import Any, Final

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from holdfast.journal.postgres.server import SILENT, Db

_TYPES = psycopg.adapters.types
_DOUBLE = Struct("!d")


def _int8(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _float8(value: float) -> bytes:
    return _DOUBLE.pack(value + 0.0)  # a TypeError for what is no number


def _bytea(value: bytes) -> bytes:
    return b"".join((value,))  # `bytes` would make zeros of a number


_WRITTEN: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "int8": _int8,
    "float8": _float8,
    "text": str.encode,
    "bytea": _bytea,
    "bool": Struct("!?").pack,
}


class Statement:
    """One statement and the types of its parameters."""

    def __init__(self, name: str, text: str, types: Sequence[str]) -> None:
        self._name = name.encode()
        self._text = text.encode()
        self._oids = [_TYPES[kind].oid for kind in types]
        self._written = [_WRITTEN[kind] for kind in types]
        self._formats = [1] * len(types)

    def run(self, db: Db, values: Sequence[Any]) -> int:
        """Send it; how many rows it wrote. `ValueError`, `OverflowError`, `TypeError`: nothing was sent."""
        written = [None if value is None else kind(value) for kind, value in zip(self._written, values, strict=True)]
        connection = db.pgconn
        try:
            if self._name not in db.prepared:
                connection.send_prepare(self._name, self._text, self._oids)
                _answer(connection, db.answer_s)
                db.prepared |= {self._name}
            connection.send_query_prepared(self._name, written, self._formats)
            return _answer(connection, db.answer_s).command_tuples or 0
        except BaseException:
            db.close()
            raise


def _answer(connection: PGconn, answer_s: float) -> PGresult:
    """What came of what was sent; heard to its end."""
    waiting = select.poll()
    waiting.register(connection.socket, select.POLLIN | select.POLLOUT)
    patience_ms = None if isinf(answer_s) else answer_s * 1_000
    while connection.flush():
        _wait(waiting, patience_ms)
        connection.consume_input()
    waiting.register(connection.socket, select.POLLIN)
    answer: PGresult | None = None
    while True:
        while connection.is_busy():
            _wait(waiting, patience_ms)
            connection.consume_input()
        heard = connection.get_result()
        if heard is None:
            break
        answer = answer or heard
    if answer is None:
        raise psycopg.OperationalError("the connection to the server is closed")
    if answer.status != ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(answer, "utf-8")
    return answer


def _wait(waiting: select.poll, patience_ms: float | None) -> None:
    if not waiting.poll(patience_ms):
        raise psycopg.OperationalError(SILENT)
