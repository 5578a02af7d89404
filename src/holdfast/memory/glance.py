"""What git says of a working tree, with nothing changed: for whoever reads a brief.

What a repository brings along is not run (`memory.repository`), and no object, index or lock is written. Where git is
not there, or has no answer in time, that is said instead; a brief does not fail for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.errors import UsageError
from holdfast.memory.repository import GitFailed, Repository

VIEWS: Final = frozenset({"features.json", "progress.md"})
"""At the top of the tree: holdfast writes them itself."""
_STATUS: Final = ("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=dirty")

_WIP: Final = ("for-each-ref", "--format=%(refname:lstrip=2) %(committerdate:unix)", "refs/heads/holdfast/wip")


class Glance(NamedTuple):
    """A working tree as it is now."""

    commit: str = ""
    """Empty: there is none yet, or it is not known."""
    branch: str = ""
    """Empty: the head is detached, or it is not known."""
    dirty: tuple[str, ...] = ()
    """Paths that are not as the last commit has them, without our views; of a new directory only its name."""
    put_aside: Mapping[str, float] = {}
    """Branches of unfinished work, and when it was put on them."""
    why: str = ""
    """Why nothing of that is known; empty: it is."""


def glance(directory: Path, *, with_branches: bool = False) -> Glance:
    """Look at the working tree whose top is `directory`. with_branches: at what was put aside, too."""
    try:
        repository = Repository(directory)
        repository.without_own_programs()
        seen = _read(repository.call(*_STATUS).out.decode("utf-8", "surrogateescape"))
        listed = repository.call(*_WIP).text.splitlines() if with_branches else ()
        pairs = (line.rpartition(" ")[::2] for line in listed)
        return seen._replace(put_aside={name: float(at) for name, at in pairs})
    except (UsageError, GitFailed) as error:
        return Glance(why=str(error))


def _read(told: str) -> Glance:
    commit = branch = ""
    dirty: list[str] = []
    for line in _lines(told):
        if line.startswith("# branch.oid "):
            commit = line.removeprefix("# branch.oid ").replace("(initial)", "")
        elif line.startswith("# branch.head "):
            branch = line.removeprefix("# branch.head ").replace("(detached)", "")
        elif not line.startswith("#") and (path := _path(line)) not in VIEWS:
            dirty.append(path)
    return Glance(commit, branch, tuple(dirty))


def _lines(told: str) -> Iterator[str]:
    """Without the second part of a renaming, which is the name that it had."""
    parts = iter(told.split("\0"))
    for line in parts:
        if line:
            yield line
        if line.startswith("2 "):
            next(parts, None)


def _path(line: str) -> str:
    """What is told of a path stands before it, in as many words as its first one says."""
    words = {"1": 8, "2": 9, "u": 10}.get(line[:1], 1)
    return line.split(" ", words)[-1]
