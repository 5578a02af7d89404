"""Files below a directory, opened without following a link in any part of their path, and without ever waiting.

What an agent can write may be anything by the time we look: a link out of the tree, a pipe nobody writes to, a
directory. Only a plain file is read, and what is written goes into a new file that then takes the name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

READ_MAX: Final = 64 << 20
"""Bytes; of a larger file nothing is read."""
MODE: Final = 0o644
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class Seen(NamedTuple):
    """What lies under a name."""

    what: str
    """Empty: a plain file. Else missing, a symbolic link, a directory, a pipe, a socket, a device, or "below …" when a
    part of the path is no directory."""
    mode: int = 0
    """Its permissions."""
    links: int = 1
    data: bytes | None = None
    """None: it is too large, or we may not read it."""


def seen(directory: Path, path: str, most: int = READ_MAX) -> Seen:
    """What lies there; a plain file with its content."""
    try:
        with _folder(directory, path) as (folder, name):
            return _seen(folder, name, most)
    except FileNotFoundError:
        return Seen("missing")
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return Seen("below what is no directory")
        raise


def _seen(folder: int, name: str, most: int) -> Seen:
    there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    what = kind_of(there.st_mode)
    found = Seen(what, stat.S_IMODE(there.st_mode), there.st_nlink)
    if what or there.st_size > most:
        return found
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except PermissionError:
        return found
    with open(fd, "rb") as file:
        if kind_of(os.fstat(fd).st_mode):  # changed meanwhile
            return found
        data = file.read(most + 1)
    return found._replace(data=data if len(data) <= most else None)


def kind_of(mode: int) -> str:
    """What is no plain file, in words; empty for one."""
    if stat.S_ISREG(mode):
        return ""
    return next((what for is_it, what in _SPECIAL if is_it(mode)), "a device")


def put(directory: Path, path: str, data: bytes, mode: int = MODE) -> None:
    """Write a file, in the place of whatever is there: a directory, and what stands where one is needed, is renamed and
    stays, anything else goes. Where it leads to, and other names of the same file, are not touched."""
    _clear(directory, path)
    with _folder(directory, path) as (folder, name):
        fresh = f".{name}.holdfast"
        try:
            os.unlink(fresh, dir_fd=folder)  # left by a kill
        except FileNotFoundError:
            pass
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)  # whatever the umask
            os.fsync(fd)
        os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def _folder(directory: Path, path: str) -> Iterator[tuple[int, str]]:
    """The folder of a file, opened step by step, and the file's name."""
    *steps, name = PurePosixPath(path).parts
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps:
            inner = os.open(step, _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd, name
    finally:
        os.close(fd)


def _clear(directory: Path, path: str) -> None:
    """Make folders of all that leads there, and no directory of the file itself."""
    place = directory
    *steps, name = PurePosixPath(path).parts
    for step in steps:
        place = place / step
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            _aside(place)
        place.mkdir(exist_ok=True)
    there = place / name
    if there.is_dir() and not there.is_symlink():
        _aside(there)


def _aside(place: Path) -> None:
    """A link goes, as what it leads to stays; everything else gets another name."""
    if place.is_symlink():
        place.unlink()
        return
    for number in range(1_000):
        other = place.with_name(f"{place.name}.not-ours{number or ''}")
        if not os.path.lexists(other):
            place.rename(other)
            return
    raise OSError(errno.EEXIST, "there is no free name to put aside what is there", str(place))
