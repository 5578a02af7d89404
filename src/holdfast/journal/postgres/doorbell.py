"""The doorbell of a store in Postgres (J22): NOTIFY, on a channel that is named after the store's schema.

Invariants
1. Whoever leaves mail or makes a run due notifies in that very transaction, so the server tells of it after the commit.
2. One connection of a journal listens, on a thread of its own, whose only work is to ring. It is opened again when it
   is lost, and rings then: something may have come meanwhile.

Never: decides anything. A ring that is lost costs a second, one too many a look.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

import psycopg
from psycopg import sql

from holdfast.journal.postgres import server
from holdfast.journal.postgres.address import Address
from holdfast.journal.postgres.server import Db

_NOTIFY = "SELECT pg_notify($1, $2)"
AGAIN_S = 1.0
"""Between attempts to listen again."""


def ring(db: Db, address: Address, tenant: str) -> None:
    """Let everybody who listens know, if the transaction commits."""
    db.execute(_NOTIFY, (address.schema, tenant))


class Doorbell:
    """Those of one journal who want to be called."""

    def __init__(self, address: Address, tenant: str) -> None:
        self._address = address
        self._tenant = tenant
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._ringing = threading.RLock()
        """Held while somebody is called: whoever has ended is called no more."""
        self._rings: dict[object, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._ear, self._mouth = -1, -1
        """A pipe, so that `close` need not wait for a notification."""

    def listen(self, ring: Callable[[], None]) -> Callable[[], None]:
        """Call `ring` when something has come; the function that ends it. From here on nothing is missed."""
        name = object()
        with self._lock:
            if self._thread is None:
                self._start()
            self._rings[name] = ring
        return lambda: self._end(name)

    def _end(self, name: object) -> None:
        with self._ringing:
            self._rings.pop(name, None)

    def _start(self) -> None:
        with ExitStack() as undo:
            ear, mouth = os.pipe()
            undo.callback(os.close, ear)
            undo.callback(os.close, mouth)
            db: Db | None = None
            with suppress(psycopg.Error):  # the thread goes on trying
                db = self._open()
                undo.callback(db.close)
            thread = threading.Thread(target=self._work, args=(db,), name="holdfast-doorbell", daemon=True)
            self._ear, self._mouth = ear, mouth
            thread.start()  # may find that there are too many
            self._thread = thread
            undo.pop_all()

    def _open(self) -> Db:
        db = server.connect(self._address)
        try:
            db.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._address.schema)))
        except BaseException:
            db.close()
            raise
        return db

    def _work(self, db: Db | None) -> None:
        while not self._closing.is_set():
            try:
                if db is None:
                    db = self._open()
                    self._ring()
                self._hear(db)
            except psycopg.Error:
                if db is not None:
                    db.close()
                    db = None
                self._closing.wait(AGAIN_S)
        if db is not None:
            db.close()

    def _hear(self, db: Db) -> None:
        poll = select.poll()
        for source in (db.fileno(), self._ear):
            poll.register(source, select.POLLIN)
        poll.poll()
        if not self._closing.is_set():
            payloads = {told.payload for told in db.notifies(timeout=0)}
            if self._tenant in payloads:
                self._ring()

    def _ring(self) -> None:
        for name, ring in list(self._rings.items()):
            with self._ringing:
                if name in self._rings:
                    ring()

    def close(self) -> None:
        """Call nobody any more."""
        if os.getpid() != self._process:
            return
        self._closing.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            os.write(self._mouth, b"!")
            if thread is not threading.current_thread():
                thread.join()
            os.close(self._ear)
            os.close(self._mouth)
