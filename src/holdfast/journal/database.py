"""Two connections to one store, and how a transaction of holdfast ends.

Invariants
1. One connection writes, and one thread at a time uses it; a commit happens on the thread of its caller.
2. A transaction whose outcome is not known is looked up on a new connection, then tried once more, then given up
   with `StoreUnreachable`. It is never repeated without having been looked up.
3. Reading never waits for a commit: it has a connection of its own.
4. After an error of the disk the log is written again before anything is added to it, looked up in it, or moved into
   the file by a checkpoint or by closing.
5. No connection is used in a process other than the one that opened it.
6. Who is hasty waits for no other writer, of this process or another, and for no checkpoint.

Never: knows a table.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import apsw

from holdfast.errors import JournalCorrupt, JournalError, OthersWriting, StoreUnreachable, UsageError
from holdfast.journal import file
from holdfast.journal.checkpoint import Checkpointer
from holdfast.journal.haste import is_hasty
from holdfast.journal.turn import Turn

T = TypeVar("T")
_FAILURES = (apsw.Error, UnicodeDecodeError)


class Database:
    """An open store."""

    def __init__(
        self, path: str, commit: Callable[[], None], check: Callable[[apsw.Connection], None] = lambda writer: None
    ) -> None:
        """check: raises when the store must not be written to. Asked within each transaction that comes after somebody
        else has written, so that it costs nothing where nobody has."""
        self.path = path
        self._end = commit
        self._check = check
        self._process = os.getpid()
        self._writing = Turn()
        self._reading = threading.Lock()
        self._writer: apsw.Connection | None = None
        self._reader: apsw.Connection | None = None
        self._is_closed = False
        self._is_durable = True
        self._busy_ms = file.BUSY_MS
        self.known: dict[Any, Any] = {}
        """What the last transactions wrote and read, while nobody else has written; emptied when somebody has."""
        self._version = -1
        """Of the store after our last commit, as SQLite counts changes; -1 while that is not known."""
        self._checkpointer = Checkpointer(path, self._writing)
        with file.explained(path):
            self._open_writer()

    def write(
        self,
        work: Callable[[apsw.Connection], T],
        stands: Callable[[apsw.Connection, T], bool] | None = None,
        *,
        is_durable: bool = True,
        keeps_known: bool = False,
        is_upkeep: bool = False,
        when_full: Callable[[], None] | None = None,
    ) -> T:
        """Do `work` in a transaction that nobody else writes in. `stands` says whether its outcome is in the store;
        without it, work that may be done twice. Unless `is_durable`, a power cut may take it back. Only work that
        maintains `known` may keep it. Upkeep judges by itself where the store stands. `when_full` makes room on a full
        disk, for what must be written."""
        self._check_usable()
        if not self._writing.take(waits=not is_hasty()):
            raise self._busy()
        try:
            self._check_usable()  # it may have been closed meanwhile
            done: list[T] = []
            try:
                return self._transact(work, done, is_durable, keeps_known, is_upkeep)
            except _FAILURES as error:
                if when_full is not None and isinstance(error, apsw.FullError):
                    when_full()  # before a connection is opened, which may need room too
                if self._stands_after(error, stands, done):
                    return done[0]
            try:
                return self._transact(work, done, is_durable, keeps_known, is_upkeep)
            except _FAILURES as error:
                if self._stands_after(error, stands, done):
                    return done[-1]
                raise file.meaning(error, self.path) from error
        finally:
            self._writing.leave()

    def _busy(self) -> OthersWriting:
        return OthersWriting(
            f"Somebody else writes to {self.path}. Nothing was written; it is tried again in a moment."
        )

    def _begin(self, writer: apsw.Connection) -> None:
        busy_ms = 0 if is_hasty() else file.BUSY_MS
        if busy_ms != self._busy_ms:
            writer.set_busy_timeout(busy_ms)
            self._busy_ms = busy_ms
        try:
            writer.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            if busy_ms:
                raise
            raise self._busy() from error

    def _transact(
        self,
        work: Callable[[apsw.Connection], T],
        done: list[T],
        is_durable: bool,
        keeps_known: bool,
        is_upkeep: bool,
    ) -> T:
        """One attempt; what `work` gave is in `done` as soon as only the commit is missing."""
        self._heed_checkpoint()
        writer = self._writer or self._open_writer()
        if is_durable is not self._is_durable:
            writer.execute("PRAGMA synchronous = FULL" if is_durable else "PRAGMA synchronous = NORMAL")
            self._is_durable = is_durable
        self._begin(writer)
        try:
            is_alone = self._version != -1 and writer.data_version("main") == self._version
            if not keeps_known or not is_alone:
                self.known.clear()
            self._version = -1
            if not (is_alone or is_upkeep):
                self._check(writer)
            result = work(writer)
            done.append(result)
            self._end()
            if not is_upkeep:
                self._version = writer.data_version("main")
            return result
        finally:
            if self._version == -1 and writer.in_transaction:
                writer.execute("ROLLBACK")

    def alone(self, work: Callable[[apsw.Connection], T]) -> T:
        """Do `work` outside of a transaction while nobody else of this process writes; it may be done again."""
        self._check_usable()
        with self._writing, file.explained(self.path):
            self._check_usable()
            self._version = -1
            return work(self._writer or self._open_writer())

    def _stands_after(
        self, error: Exception, stands: Callable[[apsw.Connection, T], bool] | None, done: list[T]
    ) -> bool:
        """Whether the transaction is in the store although its attempt failed; raises when trying again is no use."""
        self._drop_writer()
        self._checkpointer.is_log_doubtful |= isinstance(error, apsw.IOError)
        if done and stands is not None and self._is_standing(stands, done[-1], error):
            return True
        if isinstance(error, file.DAMAGE) or (isinstance(error, apsw.BusyError) and not done):
            raise file.meaning(error, self.path) from error
        return False

    def commit(self) -> None:
        """End the writer's transaction."""
        assert self._writer is not None
        self._writer.execute("COMMIT")

    def _is_standing(self, stands: Callable[[apsw.Connection, T], bool], done: T, cause: Exception) -> bool:
        try:
            return stands(self._open_writer(), done)
        except _FAILURES as error:
            raise StoreUnreachable(
                f"A commit to {self.path} failed ({cause}), and whether it was written could not be read back "
                f"({error}). Nothing was repeated. What was in flight is decided from the record when its run goes on."
            ) from error

    def _open_writer(self) -> apsw.Connection:
        writer = file.connect(self.path)
        with file.given_up_on_failure(writer):
            file.use_log(writer)
            if self._checkpointer.is_log_doubtful:
                file.write_log_again(writer)
                self._checkpointer.is_log_doubtful = False
        self._checkpointer.watch(writer)
        self._is_durable = True
        self._busy_ms = file.BUSY_MS
        self._writer = writer
        return writer

    def _heed_checkpoint(self) -> None:
        """A checkpoint that failed puts the log in doubt."""
        if self._checkpointer.has_failed:
            self._checkpointer.is_log_doubtful = True
            self._checkpointer.has_failed = False
            self._drop_writer()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            file.give_up(writer)

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Do `work`, which only reads, on one state of the store."""
        self._check_usable()
        with self._reading:
            self._check_usable()
            try:
                reader = self._reader or self._open_reader()
                reader.execute("BEGIN")
                try:
                    return work(reader)
                finally:
                    if reader.in_transaction:  # an error may have ended it
                        reader.execute("COMMIT")
            except JournalCorrupt:
                self._drop_reader()  # as long as anybody has the error, its rows are open, and keep this state in view
                raise
            except _FAILURES as error:
                self._drop_reader()
                raise file.meaning(error, self.path) from error

    def _open_reader(self) -> apsw.Connection:
        self._reader = file.connect(self.path)
        self._reader.execute("PRAGMA query_only = ON")
        return self._reader

    def _drop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            file.give_up(reader)

    def _check_usable(self) -> None:
        if self._is_closed:
            raise UsageError(f"The journal of {self.path} has been closed. Open it anew with open_journal().")
        if os.getpid() != self._process:
            raise UsageError(
                f"The journal of {self.path} was opened in process {self._process} and is used in {os.getpid()}. "
                f"Nothing was done: SQLite's locks do not cross a fork. Open the journal in the child, after the fork."
            )

    def close(self) -> None:
        """Close the connections; the last one that closes a store moves the log into the file."""
        if self._is_closed or os.getpid() != self._process:
            return
        self._is_closed = True
        with file.explained(self.path), ExitStack() as stack:  # each is closed, also when another cannot be
            stack.callback(self._close_writer)
            stack.callback(self._close_reader)
            stack.callback(self._settle_log)
            stack.callback(self._checkpointer.close)

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Close all when the block fails, which is told and not what comes of closing."""
        try:
            yield
        except BaseException:
            with suppress(JournalError):
                self.close()
            raise

    def _settle_log(self) -> None:
        """A log in doubt is not left to whoever moves it into the file next, which nobody tells of the doubt."""
        with self._writing:
            self._heed_checkpoint()
            if self._checkpointer.is_log_doubtful:
                self._drop_writer()
                self._open_writer()

    def _close_writer(self) -> None:
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _close_reader(self) -> None:
        with self._reading:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()
