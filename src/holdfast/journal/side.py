"""A database in a file beside the store, which is a cache: whatever is wrong with it, it is made anew, or is in memory.

Invariants
1. It has mode 0600 before a byte is in it, and is put in its place when it is whole.
2. A file that is not this cache (damaged, of another sort or version, about something else, a link) is replaced. A link
   is not followed.
3. A file that cannot be made, opened or written, or that somebody keeps for too long, is left as it is; the database is
   in memory then, until it is closed.
4. There is a rollback journal and no write-ahead log: one file, and nothing beside it that could be taken for a part of
   its successor.

Never: knows a table, reads or writes the store, keeps what was deleted readable in the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import apsw

from holdfast.errors import UsageError
from holdfast.journal import file

T = TypeVar("T")
_SETTINGS: dict[str, str] = {
    "synchronous": "NORMAL",
    "secure_delete": "ON",
    "temp_store": "MEMORY",
    "trusted_schema": "OFF",
    "cell_size_check": "ON",
}
_DAMAGE = (*file.DAMAGE, ValueError)


class SideFile:
    """The database at `path`; only in memory, and kept to the end of the process, when that is empty."""

    def __init__(self, path: str, script: str, application_id: int, about: str, busy_ms: int = file.BUSY_MS) -> None:
        """script: what makes its tables. about: of what it is a cache, and of which version."""
        self.path = path
        self._script = script
        self._application_id = application_id
        self._about = about
        self._busy_ms = busy_ms
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._db: apsw.Connection | None = None
        self._is_fit = bool(path)

    @property
    def is_made(self) -> bool:
        """Whether there is something; to ask makes nothing."""
        return os.path.lexists(self.path) if self.path else self._db is not None

    def attempt(self, work: Callable[[apsw.Connection], T]) -> T | None:
        """Do `work`; None when that is not possible with what is there: the next time it is done with an empty one."""
        if self._process != os.getpid():
            raise UsageError("This index was opened in another process. Nothing was done. Open it after the fork.")
        with self._lock:
            try:
                return work(self._opened())
            except (apsw.Error, *_DAMAGE) as error:
                is_in_memory = self._db is None or not self._db.filename
                self._drop()
                if is_in_memory:
                    raise file.meaning(error, self.path or "the index in memory") from error
                if isinstance(error, _DAMAGE):
                    self._remove()
                else:
                    self._is_fit = False
                return None

    def close(self) -> None:
        """Close it; what is only in memory stays."""
        with self._lock:
            if self.path and self._process == os.getpid():
                self._drop()

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            file.give_up(db)

    def _opened(self) -> apsw.Connection:
        if self._db is None:
            self._db = (self._in_file() if self._is_fit else None) or self._made(":memory:")
        return self._db

    def _in_file(self) -> apsw.Connection | None:
        """The file, opened or made; None when it can be neither."""
        try:
            return self._found() or self._put_in_place()
        except (OSError, apsw.Error):
            self._is_fit = False
            return None

    def _found(self) -> apsw.Connection | None:
        """The file that is there, if it is this cache."""
        if not os.path.lexists(self.path):
            return None
        if os.path.isfile(self.path) and not os.path.islink(self.path):
            try:
                db = self._connect(self.path, apsw.SQLITE_OPEN_READWRITE)
                with file.given_up_on_failure(db):
                    if self._is_this(db):
                        return db
                file.give_up(db)
            except _DAMAGE:
                pass  # it is not
        self._remove()
        return None

    def _is_this(self, db: apsw.Connection) -> bool:
        is_ours = db.pragma("application_id") == self._application_id
        return is_ours and db.execute("SELECT about FROM about").fetchall() == [(self._about,)]

    def _put_in_place(self) -> apsw.Connection:
        fresh = f"{self.path}.{apsw.randomness(8).hex()}"
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            os.chmod(fresh, 0o600)
            self._made(fresh).close()
            os.replace(fresh, self.path)
        except BaseException:
            os.unlink(fresh)
            raise
        return self._connect(self.path, apsw.SQLITE_OPEN_READWRITE)

    def _made(self, path: str) -> apsw.Connection:
        db = self._connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        with file.given_up_on_failure(db), transaction(db):
            db.execute(self._script)
            db.execute("CREATE TABLE about (about TEXT NOT NULL) STRICT")
            db.execute("INSERT INTO about VALUES (?)", (self._about,))
            db.pragma("application_id", self._application_id)
        return db

    def _connect(self, path: str, flags: int) -> apsw.Connection:
        db = apsw.Connection(path, flags=flags)
        with file.given_up_on_failure(db):
            db.set_busy_timeout(self._busy_ms)
            for name, value in _SETTINGS.items():
                db.pragma(name, value)
        return db

    def _remove(self) -> None:
        """What is left of a transaction in it first, which would be taken for one of the next file."""
        for name in (self.path + "-journal", self.path):
            try:
                os.unlink(name)
            except FileNotFoundError:
                pass
            except OSError:
                self._is_fit = False


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """All of the block, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
