"""A statement that is sent often: prepared once on each connection, sent and answered by libpq itself.

psycopg's own way (a cursor, values adapted by their types, a wait in Python) costs about 50 µs a statement, as much as
the server needs for two rows. Here each value is written as the bytes of its declared type.

Invariants
1. All values go in binary, columns of them packed by `arrays`. A text is its bytes and their number, so a NUL in it is
   refused by the server, not cut off; a number that does not fit is refused before anything is sent.
2. A connection of which not all was heard is closed.
3. What is sent together (`ask_all`) is one transaction, which ends with the last of it: left before, nothing of it is
   there.

Never: knows a table, begins a transaction that it does not end.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isinf
from struct import Struct
from typing import Any, Final

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from holdfast.journal.postgres import arrays
from holdfast.journal.postgres.server import SILENT, Db

_TYPES = psycopg.adapters.types
_CLOSED = "the connection to the server is closed"
_DOUBLE = Struct("!d")
_INT8 = Struct("!q")


def _float8(value: float) -> bytes:
    return _DOUBLE.pack(value + 0.0)  # a TypeError for what is no number


def _int8(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _bytea(value: bytes) -> bytes:
    return b"".join((value,))  # `bytes` would make zeros of a number


_WRITTEN: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "int8": _int8,
    "float8": _float8,
    "text": str.encode,
    "bytea": _bytea,
    "bool": Struct("!?").pack,
    "int8[]": arrays.ints,
    "float8[]": arrays.floats,
    "text[]": arrays.texts,
    "bytea[]": arrays.blobs,
}


class Statement:
    """One statement and the types of its parameters."""

    def __init__(self, name: str, text: str, types: Sequence[str]) -> None:
        self._name = name.encode()
        self._text = text.encode()
        self._oids = [_oid(kind) for kind in types]
        self._written = [_WRITTEN[kind] for kind in types]
        self._formats = [1] * len(types)

    def written(self, values: Sequence[Any]) -> list[bytes | None]:
        """The values as they are sent. `ValueError`, `OverflowError`, `TypeError`: one of them cannot be."""
        return [None if value is None else kind(value) for kind, value in zip(self._written, values, strict=True)]

    def run(self, db: Db, values: Sequence[Any]) -> int:
        """Send it and wait; how many rows it wrote."""
        return self.ask(db, self.written(values)).command_tuples or 0

    def ask(self, db: Db, written: Sequence[bytes | None]) -> PGresult:
        """Send it, and wait for what comes of it. A connection that is left before all of that is heard is closed."""
        try:
            self._send(db, written)
            return _heard(db, db.pgconn)
        except BaseException:
            db.close()
            raise

    def ask_all(self, db: Db, parts: Iterable[Sequence[bytes | None]]) -> list[PGresult]:
        """Send it once for each part in one transaction, and wait for all of it: the server works on one part while the
        next is made. Whatever is raised, also by who makes the parts, closes the connection, and nothing is there."""
        connection = db.pgconn
        try:
            self._prepare(db)
            connection.enter_pipeline_mode()
            count = 0
            for count, written in enumerate(parts, 1):
                if count == 1:
                    connection.send_query_params(b"BEGIN", None)
                connection.send_query_prepared(self._name, written, self._formats, result_format=1)
                _sync(db, connection)
            found = self._committed(db, connection, count) if count else []
            connection.exit_pipeline_mode()
            return found
        except BaseException:
            db.close()
            raise

    def _committed(self, db: Db, connection: PGconn, count: int) -> list[PGresult]:
        connection.send_query_params(b"COMMIT", None)
        _sync(db, connection)
        _heard(db, connection)
        found = [_synced(db, connection) for _ in range(count)]
        _synced(db, connection)
        return found

    def _send(self, db: Db, written: Sequence[bytes | None]) -> None:
        self._prepare(db)
        connection = db.pgconn
        connection.send_query_prepared(self._name, written, self._formats, result_format=1)
        _flush(db, connection)

    def _prepare(self, db: Db) -> None:
        if self._name not in db.prepared:
            connection = db.pgconn
            connection.send_prepare(self._name, self._text, self._oids)
            _flush(db, connection)
            _heard(db, connection)
            db.prepared |= {self._name}


def _oid(kind: str) -> int:
    found = _TYPES[kind.removesuffix("[]")]
    return found.array_oid if kind.endswith("[]") else found.oid


def numbers(result: PGresult) -> list[int]:
    """The first column of its rows, an `int8`."""
    found = [result.get_value(row, 0) for row in range(result.ntuples)]
    return [_INT8.unpack(value)[0] for value in found if value is not None]


def _flush(db: Db, connection: PGconn) -> None:
    """See that all of it is on its way: what libpq keeps, the server would wait for."""
    while connection.flush():
        _wait(db, connection, select.POLLIN | select.POLLOUT)
        connection.consume_input()


def _sync(db: Db, connection: PGconn) -> None:
    """What was sent is a whole: the server knows that it waits for us now, and for how long it may
    (`idle_in_transaction_session_timeout`)."""
    connection.pipeline_sync()
    _flush(db, connection)


def _synced(db: Db, connection: PGconn) -> PGresult:
    """Hear the answer to what was sent as a whole."""
    found = _heard(db, connection)
    end = _next(db, connection)
    if end is None or end.status != ExecStatus.PIPELINE_SYNC:
        raise psycopg.OperationalError(_CLOSED)
    return found


def _next(db: Db, connection: PGconn) -> PGresult | None:
    while connection.is_busy():
        _wait(db, connection, select.POLLIN)
        connection.consume_input()
    return connection.get_result()


def _heard(db: Db, connection: PGconn) -> PGresult:
    result: PGresult | None = None
    while True:
        heard = _next(db, connection)
        if heard is None:
            break
        result = result or heard
    if result is None:
        raise psycopg.OperationalError(_CLOSED)
    if result.status not in _DONE:
        raise psycopg.errors.error_from_result(result, "utf-8")
    return result


_DONE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


def _wait(db: Db, connection: PGconn, events: int) -> None:
    waiting, patience_ms = select.poll(), None if isinf(db.answer_s) else db.answer_s * 1_000
    waiting.register(connection.socket, events)
    if not waiting.poll(patience_ms):
        raise psycopg.OperationalError(SILENT)
