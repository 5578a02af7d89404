"""A disk that a test owns: it writes down what SQLite does to the files of one directory, and fails when told to.

    with Disk(tmp_path) as disk:
        journal = SqliteJournal(tmp_path / "store.db", clock=clock)
        disk.fail(3, Failing.IO, {"write", "sync"})        # the third write or sync from here on
        ...
    images = Power(disk.ops) ...                           # see holdfast.testing.power

It is an SQLite VFS between SQLite and the system's own one: locks, shared memory and the bytes are real.

Invariants
1. `ops` has every change of a file in the order in which it was made, whichever thread made it, and none that failed
   but syncs. Of a write that failed halfway it has the half that was written.
2. A fault hits exactly the call that was named; one that lasts, every such call until `heal`. `hits` tells all.
   Of a sync that failed, each other open handle of the file is told by its own next sync, which fails too.
3. Only files of the directory are written down or fail, and only of connections that are opened while it is open;
   when it is, no other may be: it reads what is there, and closing a file drops the locks that its process has on it.

Never: repairs, delays, or decides what a power cut leaves (`power` does).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

import apsw

_CREATE = 0x4
_SYNCS_DIRECTORY = 0x800 | 0x80000  # a rollback journal, a write-ahead log
CALLS: Final = frozenset({"open", "read", "write", "truncate", "sync", "delete", "size"})
"""What can fail."""


class Change(StrEnum):
    """What was done to a file or to the directory."""

    FOUND = "found"
    """It was there before, with `data` safely in it."""
    MADE = "made"
    WRITTEN = "written"
    CUT = "cut"
    """Its length is `offset` from here on."""
    SYNCED = "synced"
    SYNC_FAILED = "sync failed"
    """What was changed since the last sync may never get to the disk, and no later sync tells but the next one of each
    other handle that was open: that is how systems behave that take a page which could not be written for a clean one
    (Linux does, and since 4.13 tells each open handle of the file once: see fsync(2))."""
    REMOVED = "removed"
    DIRECTORY_SYNCED = "directory synced"


class Op(NamedTuple):
    """One change."""

    change: Change
    name: str = ""
    """Of the file, without its directory. Another file of that name may come later."""
    file: int = 0
    """Which file, whatever its name."""
    offset: int = 0
    data: bytes = b""


class Failing(StrEnum):
    """How a call fails."""

    IO = "io"
    """Nothing was done (EIO)."""
    FULL = "full"
    """No room: nothing was written (ENOSPC)."""
    SHORT = "short"
    """Half of it was written, then there was no room; of a call that writes nothing, as `IO`. (That half of what is
    there is read without an error is what a file that was cut looks like, not a fault.)"""


class Hit(NamedTuple):
    """A call that failed."""

    call: str
    name: str
    """Of the file."""
    failing: Failing
    lasts: bool
    """Whether those that follow fail too."""


class _Fault:
    """A planned fault: `left` calls of these before it hits."""

    def __init__(self, left: int, failing: Failing, calls: frozenset[str], lasts: bool) -> None:
        self.left = left
        self.failing = failing
        self.calls = calls
        self.lasts = lasts


class Disk(apsw.VFS):
    """While it is open (`with`), the default VFS of this process."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.ops: list[Op] = []
        self.hits: list[Hit] = []
        self.calls = 0
        """Calls so far that could have failed."""
        self.under = apsw.vfs_names()[0]
        self._directory = os.path.realpath(directory)
        self._fault: _Fault | None = None
        self._files: dict[str, int] = {}
        self._last = 0
        self._open: weakref.WeakSet[DiskFile] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._find()
        super().__init__("holdfast-disk", self.under, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.unregister()

    def fail(self, at: int, failing: Failing, calls: Collection[str] = CALLS, *, lasts: bool = False) -> None:
        """Plan the one fault: the `at`-th of these calls from here on, from 1; with `lasts`, all that follow too."""
        self._fault = _Fault(at, failing, frozenset(calls), lasts)

    def heal(self) -> None:
        """No call fails any more."""
        self._fault = None

    @contextmanager
    def doing(self, call: str, name: str) -> Iterator[Failing | None]:
        """Around a call: alone on the disk, and told how it fails, which it must not when None."""
        with self._lock:
            self.calls += 1
            yield self._meet(call, name)

    def _meet(self, call: str, name: str) -> Failing | None:
        fault = self._fault
        if fault is None or call not in fault.calls:
            return None
        fault.left -= 1
        if fault.left > 0:
            return None
        if not fault.lasts:
            self._fault = None
        self.hits.append(Hit(call, name, fault.failing, fault.lasts))
        return fault.failing

    def _name(self, path: str | None) -> str | None:
        """The name of a file of the directory; None for others."""
        directory, name = os.path.split(path or "")
        return name if name and os.path.realpath(directory) == self._directory else None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """SQLite opens a file."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        ours = self._name(path)
        if ours is None or path is None:
            return apsw.VFSFile(self.under, name, flags)
        with self.doing("open", ours) as failing:
            if failing is not None:
                raise apsw.CantOpenError(f"planned: {failing}")
            opened = DiskFile(self, ours, name, flags)
            opened.file = self._number(ours)
            self._open.add(opened)
            return opened

    def owe(self, failed: DiskFile) -> None:
        """A sync failed: each other handle of the file that is open now fails once."""
        for other in self._open:
            other.is_owed_failure |= other is not failed and other.file == failed.file

    def _find(self) -> None:
        for name in sorted(os.listdir(self._directory)):
            path = os.path.join(self._directory, name)
            if os.path.isfile(path) and not name.endswith("-shm"):
                with open(path, "rb") as found:
                    self._number(name, Change.FOUND, found.read())

    def _number(self, name: str, change: Change = Change.MADE, data: bytes = b"") -> int:
        """The file that has the name now."""
        if name not in self._files:
            self._last += 1
            self._files[name] = self._last
            self.ops.append(Op(change, name, self._last, data=data))
        return self._files[name]

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """SQLite removes a file."""
        name = self._name(filename)
        if name is None:
            return super().xDelete(filename, syncdir)
        with self.doing("delete", name) as failing:
            if failing is not None:
                raise apsw.IOError(f"planned: {failing}")
            super().xDelete(filename, syncdir)
            self.ops.append(Op(Change.REMOVED, name, self._files.pop(name, 0)))
            if syncdir:
                self.ops.append(Op(Change.DIRECTORY_SYNCED))

    def excepthook(
        self,
        etype: type[BaseException] | None,
        evalue: BaseException | None,
        etraceback: TracebackType | None,
    ) -> bool:
        """A planned error that SQLite itself passes over is no news."""
        return True


class DiskFile(apsw.VFSFile):
    """An open file of a `Disk`."""

    file = 0
    is_owed_failure = False
    """A sync of another handle failed since the last one of this: the system tells each."""

    def __init__(self, disk: Disk, name: str, path: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.under, path, flags)
        self._disk = disk
        self._name = name
        self._syncs_directory = bool(flags[0] & _CREATE and flags[0] & _SYNCS_DIRECTORY)
        """The system's VFS does so with the first sync of such a file: SQLite asks it to."""

    def _note(self, change: Change, offset: int = 0, data: bytes = b"") -> None:
        self._disk.ops.append(Op(change, self._name, self.file, offset, data))

    def xRead(self, amount: int, offset: int) -> bytes:
        """SQLite reads."""
        with self._disk.doing("read", self._name) as failing:
            if failing is not None:
                raise apsw.IOError(f"planned: {failing}")
            return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        """SQLite writes."""
        with self._disk.doing("write", self._name) as failing:
            if failing is Failing.IO:
                raise apsw.IOError("planned: io")
            written = data[: len(data) // 2] if failing is Failing.SHORT else data if failing is None else b""
            if written:
                super().xWrite(written, offset)
                self._note(Change.WRITTEN, offset, bytes(written))
            if failing is not None:
                raise apsw.FullError(f"planned: {failing}")

    def xTruncate(self, newsize: int) -> None:
        """SQLite changes the length."""
        with self._disk.doing("truncate", self._name) as failing:
            if failing is not None:
                raise apsw.IOError(f"planned: {failing}")
            super().xTruncate(newsize)
            self._note(Change.CUT, newsize)

    def xSync(self, flags: int) -> None:
        """SQLite waits for the disk."""
        with self._disk.doing("sync", self._name) as failing:
            is_owed, self.is_owed_failure = self.is_owed_failure, False
            if failing is not None:
                self._disk.owe(self)
            if failing is not None or is_owed:
                self._note(Change.SYNC_FAILED)
                raise apsw.IOError(f"planned: {failing or 'told of a sync that failed'}")
            super().xSync(flags)
            self._note(Change.SYNCED)
            if self._syncs_directory:
                self._syncs_directory = False
                self._disk.ops.append(Op(Change.DIRECTORY_SYNCED))

    def xFileSize(self) -> int:
        """SQLite asks for the length."""
        with self._disk.doing("size", self._name) as failing:
            if failing is not None:
                raise apsw.IOError(f"planned: {failing}")
            return super().xFileSize()
