"""Keeps the write-ahead log short, on a thread and a connection of its own.

Invariants
1. No caller ever performs a checkpoint: the log's pages are copied here.
2. Only PASSIVE checkpoints. The first, beside the writers, moves nearly all; the second, while the writers of
   this process wait, moves what came meanwhile, so that the log begins anew even under constant load.
3. Nothing is moved out of a log of which something may be lost: a power cut halfway would leave a part of it in the
   database, and the rest nowhere. A system tells of a sync that failed to whoever had the file open, so the log is
   opened while nobody writes and it is not in doubt; then the checkpoint's own sync says whether all is well.

A checkpoint that fails (disk full, another process reads) costs nothing: the log grows, and the next one is due.
"""

from __future__ import annotations

import threading

import apsw

from holdfast.journal import file
from holdfast.journal.turn import Turn

PAGES_MAX = 1_000
"""Length of the log, in pages of 4 KiB, from which a checkpoint is due."""


class Checkpointer:
    """A thread that copies the log into the database when it has grown."""

    def __init__(self, path: str, writing: Turn) -> None:
        self._path = path
        self._writing = writing
        self._due = threading.Event()
        self._due_from = PAGES_MAX
        self._is_closing = False
        self.has_failed = False
        """For a failing disk, since somebody set it back: the log, which is synced first, may not be safe."""
        self.is_log_doubtful = False
        """After an error of the disk, until the log has been written again. Set, and set back, by who writes."""
        self._thread: threading.Thread | None = None
        self._connection: apsw.Connection | None = None

    def watch(self, connection: apsw.Connection) -> None:
        """Be told of the commits of this connection."""
        connection.set_wal_hook(self._on_commit)

    def _on_commit(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        if pages > self._due_from:
            self._due_from = pages + PAGES_MAX  # somebody may keep the log from beginning anew: do not ask each time
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="holdfast-checkpoint", daemon=True)
                self._thread.start()
            self._due.set()
        elif pages < PAGES_MAX:
            self._due_from = PAGES_MAX
        return apsw.SQLITE_OK

    def _work(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._is_closing:
                return
            try:
                self._checkpoint()
            except apsw.Error as error:
                self.has_failed |= isinstance(error, apsw.IOError)
                # nothing is lost, the log keeps everything; a later commit asks again

    def _checkpoint(self) -> None:
        with self._writing:
            if self.has_failed or self.is_log_doubtful:
                return
            connection = self._opened()
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        with self._writing:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _opened(self) -> apsw.Connection:
        """A connection that has the log open: its settings read, and who has read keeps it open."""
        if self._connection is None:
            self._connection = file.connect(self._path)
        return self._connection

    def close(self) -> None:
        """End the thread; the log stays as it is."""
        self._is_closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
