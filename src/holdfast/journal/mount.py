"""What kind of file system a file is on, and whether SQLite can be trusted there.

SQLite's write-ahead log needs locks that hold, and memory that all processes share. On a file system that several
machines mount, each of two can believe that it writes alone, and both are told that they have written.

Where the system does not tell (no /proc), nothing is refused.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from holdfast.errors import UsageError

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "gfs2", "ocfs2", "beegfs"}
    | {"davfs", "acfs", "pvfs2", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone"}
    | {"fuse.gcsfuse", "fuse.goofys", "fuse.ceph", "fuse.cephfs", "fuse.mfs"}
)
MOUNTS = "/proc/self/mountinfo"


class Mount(NamedTuple):
    """Where something is mounted, and what."""

    at: str
    kind: str
    source: str


def mount_of(path: str, mounts: str = MOUNTS) -> Mount | None:
    """What the path is on; None when the system does not tell. mounts: the file that lists them."""
    real = os.path.realpath(path)
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            holding = [mount for line in lines if (mount := _read(line, real)) is not None]
    except OSError:
        return None
    return max(holding, key=lambda mount: len(mount.at), default=None)


def _read(line: str, real: str) -> Mount | None:
    """The mount of this line, if that path is on it: a machine may have thousands of others."""
    left = line.split(" ", 5)
    at = _plain(left[4]) if len(left) > 5 else ""
    if not at or not (real == at or real.startswith(at.rstrip("/") + "/")):
        return None
    right = line.partition(" - ")[2].split(" ")
    return Mount(at, right[0], _plain(right[1])) if len(right) > 1 else None


def _plain(name: str) -> str:
    """The name; the kernel writes spaces, tabs, line ends and backslashes as three octal digits."""
    if "\\" not in name:
        return name
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def refuse_network(path: str, mounts: str = MOUNTS) -> None:
    """`UsageError` when the directory of the file is on a network file system."""
    mount = mount_of(os.path.dirname(os.path.abspath(path)), mounts)
    if mount is not None and mount.kind in NETWORK:
        raise UsageError(
            f"{path} is on a network file system ({mount.kind}, {mount.source} at {mount.at}). Nothing was made or "
            f"changed: SQLite's locks do not hold there, and two machines could both believe that they write alone. "
            f"Name a file on a disk of this machine, or use a store in Postgres."
        )
