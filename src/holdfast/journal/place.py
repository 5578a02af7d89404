"""Where a store's file is, and whether it is still the one that it was.

A copy of a store has the same runs in it. Whoever drives both does everything twice, and a backup that was put back
does again what was done since. So a file that is not certainly the one it was is only read, until somebody says what
it is (`holdfast adopt`).

It is the same file when its inode and its birth are the same, and its device or its path is: renamed, with a directory
above it or by itself, under another mount or name, in another container that has the same volume, after a restart of
the machine that numbers its disks anew. A copy, a move to another disk, a restored backup is another inode, or the same
number born anew.

Where inodes do not last (`WITHOUT_INODES`), the path alone decides. A snapshot of a whole disk or machine cannot be
told from the original.
"""

from __future__ import annotations

import functools
import json
import os
import struct
from typing import Any, NamedTuple

from holdfast.journal.mount import mount_of

WITHOUT_INODES = frozenset(
    {"vfat", "msdos", "exfat", "fuseblk", "fuse", "fuse.grpcfuse", "fakeowner", "virtiofs", "9p"}
)
"""File systems that number their files anew when they are mounted."""
_HERE, _BIRTH = -100, 0x800
"""What `statx` is asked: of a path as it is, for the birth."""


class Place(NamedTuple):
    """Of a file."""

    path: str
    device: int
    inode: int
    """0 where it does not last."""
    born: int = 0
    """In nanoseconds; 0 where the system does not tell."""

    def text(self) -> str:
        """As it is stored."""
        return json.dumps(self._asdict())

    def is_same(self, other: Place) -> bool:
        """Whether what is here now is certainly the file that was at `other`."""
        if 0 in (self.inode, other.inode):
            return self.path == other.path
        is_file = self.inode == other.inode and (0 in (self.born, other.born) or self.born == other.born)
        return is_file and (self.device == other.device or self.path == other.path)

    def stands(self, recorded: str | None) -> bool:
        """Whether a store that says so of itself may be written here; one that says nothing may."""
        return recorded is None or self.is_same(of_text(recorded))


def of_text(text: str) -> Place:
    """The place that was stored; what cannot be read is nowhere."""
    try:
        facts = json.loads(text)
        numbers = [facts[name] for name in ("device", "inode", "born")]
        if isinstance(facts["path"], str) and all(type(number) is int for number in numbers):
            return Place(facts["path"], *numbers)
    except (ValueError, TypeError, KeyError):
        pass
    return Place("a place that cannot be read", -1, -1)


def of_file(path: str) -> Place:
    """The place of the file."""
    real = os.path.realpath(path)
    found, mount = os.stat(real), mount_of(real)
    if mount is not None and mount.kind in WITHOUT_INODES:
        return Place(real, found.st_dev, 0)
    return Place(real, found.st_dev, found.st_ino, _born(real, found))


def _born(path: str, found: os.stat_result) -> int:
    """When the file was made. Numbers of inodes are given again, soon after a file was removed."""
    birth: float | None = getattr(found, "st_birthtime", None)
    if birth is not None:
        return int(birth * 1e9)
    import ctypes  # loaded when a store is opened

    ask = _statx()
    answer = ctypes.create_string_buffer(256)
    if ask is None or ask(_HERE, os.fsencode(path), 0, _BIRTH, answer) != 0:
        return 0
    (told,) = struct.unpack_from("I", answer, 0)
    seconds, nanoseconds = struct.unpack_from("qI", answer, 80)
    return int(seconds) * 1_000_000_000 + int(nanoseconds) if told & _BIRTH else 0


@functools.cache
def _statx() -> Any:
    """The system's call, which Python does not have; None where there is none."""
    import ctypes

    return getattr(ctypes.CDLL(None), "statx", None) if os.name == "posix" else None
