"""The file of an SQLite store: made, recognised and opened; and what an SQLite error means.

Invariants
1. A file that is not ours, or is newer than we are, is not changed by one byte; it is recognised before SQLite
   takes a lock or writes beside it.
2. The file has mode 0600 before a byte is in it, whatever the umask. SQLite gives `-wal` and `-shm` the same mode.
3. The file itself is never opened except through SQLite: closing any other descriptor of it would drop the locks
   that this process holds on it (POSIX), and two processes could then both believe that they write alone.
4. A store is made in one transaction: whoever finds it half made (a crash, a race) finds an empty file and begins.

Never: makes directories, keeps a connection, reads or writes runs.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from urllib.parse import quote

import apsw

from holdfast.errors import (
    JournalCorrupt,
    JournalError,
    OthersWriting,
    SchemaNewer,
    StoreForeign,
    StoreFull,
    StoreUnreachable,
)
from holdfast.journal import mount, place

SCHEMA = 4
"""The newest schema that this code knows; `schema/NNNN.sql` leads to each."""
APPLICATION_ID = 0x484F4C44
"""`HOLD`, at offset 68 of the file."""
BUSY_MS = 5_000
"""How long a writer waits for another process's transaction."""
AGAIN_MAX = 20
"""How often it is tried again to change to the log, each time that somebody else wrote."""

_SETTINGS_OF_SCHEMA: dict[str, str | int] = {
    "synchronous": "FULL",
    "cache_size": -16_000,  # KiB: a group of a thousand appends is not written twice
}
_SETTINGS: dict[str, str | int] = {
    "wal_autocheckpoint": 0,
    "temp_store": "MEMORY",
    "trusted_schema": "OFF",
    "cell_size_check": "ON",
}
if sys.platform == "darwin":  # its fsync leaves the data in the disk's own cache
    _SETTINGS |= {"fullfsync": "ON", "checkpoint_fullfsync": "ON"}

_MAKE_STORE = (
    "INSERT INTO store (only_row, application, id, hash_key, created_at, place) "
    "VALUES (1, 'holdfast', lower(hex(randomblob(16))), randomblob(32), ?, ?)"
)
_MAGIC = b"SQLite format 3\x00"
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_PART = 1 << 16
"""Bytes of one read or write of ours: SQLite's unix layer takes less than 128 KiB at once."""
_OPENING = threading.Lock()
"""Held from making a file until its last other descriptor is closed (invariant 3, for threads)."""
DAMAGE = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.FormatError,
    apsw.SQLError,  # our statements are constants: a table is not as we made it
    apsw.ConstraintError,  # a number or name that stands already where the run's row says that it is free
    apsw.MismatchError,
    UnicodeDecodeError,
)


def open_file(path: str, created_at: float) -> None:
    """Make sure that a store of our schema is at `path`; make it or bring it up to date when need be."""
    mount.refuse_network(path)
    with _OPENING, explained(path):
        _make_file(path)
        if os.stat(path).st_size:
            _recognise(path)
        connection = opened(path)
        with given_up_on_failure(connection):
            if schema_of(connection, path) < SCHEMA:
                _settle(connection)
                _upgrade(connection, path, created_at)
        connection.close()


def _make_file(path: str) -> None:
    if os.path.isdir(path):
        raise StoreForeign(
            f"{path} is a directory, not a holdfast store. Name a file in it, such as {path}/holdfast.db."
        )
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        _refuse_emptied(path)
        return
    except FileNotFoundError as error:
        parent = os.path.dirname(os.path.abspath(path))
        raise StoreUnreachable(
            f"There is no directory {parent}. Nothing was made. Make it: mkdir -p {parent}"
        ) from error
    except OSError as error:
        raise StoreUnreachable(f"{path} cannot be made: {error.strerror}. Nothing was changed.") from error
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _refuse_emptied(path: str) -> None:
    """An empty file is a store that was begun, unless a log beside it says that it was more once."""
    if not os.path.exists(path):
        raise StoreUnreachable(f"{path} is a link to nothing. Nothing was made. Remove the link, or make its target.")
    log = os.path.exists(path + "-wal") and os.stat(path + "-wal").st_size  # looked at first: another process may just
    if log and os.stat(path).st_size == 0:  # be making the store, and a file has its first bytes before it has a log
        raise JournalCorrupt(
            f"{path} is empty, but {path}-wal is not: the store was emptied behind holdfast's back. Nothing was "
            f"changed. Restore both from a backup, or move both away to begin a new store."
        )


def _recognise(path: str) -> None:
    """Refuse what is not ours, or newer, by the file's first bytes; no lock is taken, nothing is written."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{quote(os.path.abspath(path))}?immutable=1", flags=flags)
    try:
        _, start = connection.read("main", 0, 0, 100)
    finally:
        connection.close()
    if not start.startswith(_MAGIC):
        if _was_being_made(path):
            return
        raise StoreForeign(
            f"{path} is not an SQLite file, so no holdfast store. Nothing was changed. Name another file."
        )
    if int.from_bytes(start[68:72]) != APPLICATION_ID and os.stat(path).st_size >= 100:
        raise StoreForeign(
            f"{path} is an SQLite database of another program (application_id {int.from_bytes(start[68:72])}, "
            f"holdfast has {APPLICATION_ID}). Nothing was changed. Name another file."
        )
    _refuse_newer(int.from_bytes(start[60:64]), path)


def _was_being_made(path: str) -> bool:
    """Whether the power went while a database was made here: the journal beside the file says that it was empty
    before. Some of its sectors may be missing, the first too; whoever opens it with SQLite finds it empty again."""
    try:
        with open(path + "-journal", "rb") as journal:
            start = journal.read(20)
    except FileNotFoundError:
        return False
    return start.startswith(_JOURNAL_MAGIC) and start[16:20] == bytes(4)


def _refuse_newer(schema: int, path: str) -> None:
    if schema > SCHEMA:
        raise SchemaNewer(
            f"{path} was written by holdfast schema {schema}, this one knows {SCHEMA}. Nothing was changed. "
            f"Upgrade holdfast."
        )


def schema_of(connection: apsw.Connection, path: str) -> int:
    """The schema of the open store, 0 when nothing is in the file yet; a newer one is refused."""
    schema = int(connection.pragma("user_version"))
    _refuse_newer(schema, path)
    return schema


def _upgrade(connection: apsw.Connection, path: str, created_at: float) -> None:
    """Apply the schema files that are missing, in one transaction; then change to the write-ahead log."""
    connection.execute("BEGIN EXCLUSIVE")
    schema = schema_of(connection, path)  # another process may have been faster
    if schema == 0:
        if connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise StoreForeign(f"{path} is another program's database by now. Nothing was changed. Name another file.")
        connection.pragma("application_id", APPLICATION_ID)
    for number in range(schema + 1, SCHEMA + 1):
        script = resources.files("holdfast.journal") / "schema" / f"{number:04}.sql"
        connection.execute(script.read_text(encoding="utf-8"))
    if schema == 0:
        connection.execute(_MAKE_STORE, (created_at, place.of_file(path).text()))
    connection.pragma("user_version", SCHEMA)
    connection.execute("COMMIT")
    use_log(connection)


def connect(path: str) -> apsw.Connection:
    """A connection as holdfast wants it; it makes no file."""
    connection = opened(path)
    with given_up_on_failure(connection):
        _settle(connection)
    return connection


def opened(path: str) -> apsw.Connection:
    """A connection with the settings that cost nothing, for one look and the checkpoint that may come of closing it."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    with given_up_on_failure(connection):
        connection.set_busy_timeout(BUSY_MS)
        for name, value in _SETTINGS.items():
            connection.pragma(name, value)
    return connection


def _settle(connection: apsw.Connection) -> None:
    """The settings for which SQLite reads the whole schema."""
    for name, value in _SETTINGS_OF_SCHEMA.items():
        connection.pragma(name, value)


@contextmanager
def given_up_on_failure(connection: apsw.Connection) -> Iterator[None]:
    """Close the connection when the block fails: the error holds on to it, and it to the file, for as long as somebody
    looks at the error and perhaps tries again."""
    try:
        yield
    except BaseException:
        give_up(connection)
        raise


def give_up(connection: apsw.Connection) -> None:
    """Close what has failed. What it says of its own end is no news: SQLite lets go of it all the same."""
    try:
        connection.close(True)
    except apsw.Error:
        pass


def use_log(connection: apsw.Connection) -> None:
    """Write-ahead log from here on; a store whose making was cut short just before this has none yet."""
    for _ in range(AGAIN_MAX):
        if connection.pragma("journal_mode") == "wal":
            return
        try:
            connection.pragma("journal_mode", "wal")
        except apsw.BusyError:  # somebody writes, such as who makes it too: SQLite waits for them only at a BEGIN
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
    connection.pragma("journal_mode", "wal")


def write_log_again(connection: apsw.Connection) -> None:
    """Write all of the log over itself and sync it.

    After a sync that failed, systems take the pages that could not be written for clean ones: what they hold, also of
    commits that were not to be synced, never gets to the disk. Each handle that was open is told by its next sync;
    after that, and of a handle that is opened later, each sync says that all is well. A power cut would then end the
    log there, with all commits that came after. (https://www.usenix.org/conference/atc20/presentation/rebello)
    """
    connection.execute("BEGIN IMMEDIATE")  # nobody adds to it or begins it anew meanwhile
    try:
        log = apsw.VFSFile("", connection.filename_wal, [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL, 0])
        try:
            size = log.xFileSize()
            for offset in range(0, size, _PART):
                log.xWrite(log.xRead(min(_PART, size - offset), offset), offset)
            log.xSync(apsw.SQLITE_SYNC_FULL)
        finally:
            log.xClose()
    finally:
        connection.execute("ROLLBACK")


def problems(path: str) -> list[str]:
    """What is wrong with the files of the store, as sentences."""
    found = []
    for name in (path, path + "-wal", path + "-shm", path + "-search"):
        try:
            mode = stat.S_IMODE(os.stat(name).st_mode)
        except FileNotFoundError:
            continue
        if mode & 0o077:
            found.append(f"{name} has mode {mode:04o}: other users can read what runs said. Do: chmod 600 {name}")
    return found


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what SQLite raises into an error of ours that says what to do."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError) as error:
        raise meaning(error, path) from error


def meaning(error: Exception, path: str) -> JournalError:
    """The error of ours for one of SQLite's."""
    if isinstance(error, DAMAGE):
        return JournalCorrupt(
            f"SQLite finds {path} damaged ({error}). Nothing more was read or changed. Copy the file, its -wal and its "
            f"-shm away, then restore it from a backup; `holdfast doctor` says how much is hit."
        )
    if isinstance(error, apsw.BusyError):
        return OthersWriting(
            f"Another process has been writing to {path} for more than {BUSY_MS // 1000} s. Nothing was written. "
            f"Look for a stopped process (`lsof {path}`) or an open transaction in a database tool."
        )
    if isinstance(error, apsw.FullError):
        return StoreFull(
            f"The disk of {path} is full. Nothing was written. Make room on the disk: runs go on by themselves within "
            f"seconds."
        )
    return StoreUnreachable(
        f"SQLite could not use {path} ({type(error).__name__}: {error}). Check the disk and the file's rights."
    )
