"""Room that is kept for the day on which the disk is full: a file beside the store that holds nothing.

Who works on runs has it made when it registers. When the disk is full it is removed for what must still be written:
ends, suspensions, outcomes of effects in flight, answers, leases. While it is gone nothing new is begun, so that what
was made free lasts for what is under way.

Invariants
1. Its room is really taken, or it is not there: half a ballast is removed at once.
2. It is made again only where as much room is left beside it: what its own removal has made free is not taken back.
3. It decides nothing about what is in the store, and a store without it is whole: copies and moves may leave it.

Never: is made by those who only read, holds a descriptor, raises.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import apsw

from holdfast.core.events import Kind, StepKind
from holdfast.errors import JournalError, StoreFull
from holdfast.protocols import Append

SIZE = 1 << 20
"""Bytes: some hundred outcomes and ends."""
_ACTS = frozenset({StepKind.TOOL, StepKind.MODEL, StepKind.CHILD, StepKind.VERIFY})
"""What asks the world for something; other steps wait."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PART = 1 << 16


def begins(append: Append) -> bool:
    """Whether the append begins something that can as well begin later."""
    return any(event.kind is Kind.STEP_INTENDED and event.step in _ACTS for event in append.events)


class Ballast:
    """The ballast of the store at `store`."""

    def __init__(self, store: str) -> None:
        self._store = store
        self.path = store + "-ballast"
        self._is_wanted = False
        """This process works on runs, and a ballast can be had here."""

    @property
    def size(self) -> int:
        """Bytes that it holds; 0 when it is not there."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    @property
    def is_gone(self) -> bool:
        """Whether this process is to begin nothing."""
        return self._is_wanted and not os.path.exists(self.path)

    def is_back(self) -> bool:
        """Whether something may begin, perhaps since there is room again."""
        if self.is_gone:
            self.keep()
        return not self.is_gone

    def keep(self) -> None:
        """Make it when it is not there and there is room."""
        if os.path.exists(self.path):
            self._is_wanted = True
            return
        try:
            self._is_wanted = True
            if self._has_room():
                _make(self.path)
        except OSError as error:  # full is what it is for; whatever else: no ballast can be had here
            self._is_wanted = error.errno in _FULL or isinstance(error, FileExistsError)

    def give(self) -> None:
        """Make its room free, for what must be written."""
        try:
            os.unlink(self.path)
        except OSError:
            pass  # somebody else has, or nobody can: what is to be written is tried all the same

    def refusals(self, appends: Sequence[Append]) -> dict[int, JournalError]:
        """By place, the appends that must not be written now."""
        beginning = [place for place, append in enumerate(appends) if begins(append)]
        if not beginning or not self.is_gone:
            return {}
        return {place: self._refused(appends[place].lease.run_id) for place in beginning}

    def _refused(self, run_id: str) -> StoreFull:
        return StoreFull(
            f"The disk of {self._store} is full, so run {run_id} begins nothing new. Nothing was begun; the room that "
            f"was kept in {self.path} was made free for what is under way. Make room on the disk: runs go on by "
            f"themselves within seconds."
        )

    def problems(self) -> list[str]:
        """What `doctor` says while the disk is full, whoever asks."""
        if os.path.exists(self.path) or self._has_room():
            return []
        return [
            f"the disk of {self._store} is full: less than {2 * SIZE >> 20} MiB are free, and the room "
            f"that is kept for what must still be written ({self.path}) is gone. Workers begin nothing new. Make room; "
            f"they go on by themselves."
        ]

    def _has_room(self) -> bool:
        try:
            disk = os.statvfs(os.path.dirname(self.path))
        except OSError:
            return True
        return disk.f_blocks == 0 or disk.f_bavail * disk.f_frsize >= 2 * SIZE  # some file systems tell nothing


def _make(path: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        try:
            os.fchmod(descriptor, 0o600)
            _fill(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        os.unlink(path)
        raise


def _fill(descriptor: int) -> None:
    """Take the room, so that nobody else can; where the file system cannot promise it, by what cannot be packed."""
    try:
        os.posix_fallocate(descriptor, 0, SIZE)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        for _ in range(0, SIZE, _PART):
            if os.write(descriptor, apsw.randomness(_PART)) < _PART:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
