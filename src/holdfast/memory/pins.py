"""Files that a check is made of: kept when the list is frozen, and put back before it is performed.

An agent that edits the test instead of the program changes nothing: what runs is what a person has frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from holdfast.errors import UsageError
from holdfast.memory import plain_file
from holdfast.memory.git import Git, blob_of

RUNS: Final = "+x"
"""Behind the id of a file that may be executed."""


def pinned(pins: Iterable[str], git: Git) -> dict[str, str]:
    """The ids of these files as they are now, by path from the top of the tree; their content is kept in git."""
    return {path: _kept(path, git) for path in pins}


def _kept(path: str, git: Git) -> str:
    there = plain_file.seen(git.directory, path)
    if there.data is None:
        what = there.what or "a file that is too large or cannot be read"
        raise UsageError(
            f"{path!r} is pinned by a check, and is {what}. Nothing was frozen. Name plain files, by their path from "
            "the top of the working tree."
        )
    return git.put(there.data) + (RUNS if there.mode & 0o111 else "")


def edited(pins: Mapping[str, str], git: Git) -> list[str]:
    """The paths of those that are not what they were; nothing is changed."""
    return [path for path, pin in pins.items() if not _is_right(path, pin, git, git.directory)]


def put_back(pins: Mapping[str, str], git: Git, directory: Path | None = None) -> list[str]:
    """Make these files what they were, and give the paths of those that were not: another content, not executable any
    more, a link in their place, or gone. directory: a checkout; the working tree when left out. `UsageError`: what one
    was is lost, so its check must not be performed."""
    top = directory or git.directory
    return [path for path, pin in pins.items() if not _is_right(path, pin, git, top) and _restored(path, pin, git, top)]


def _is_right(path: str, pin: str, git: Git, directory: Path) -> bool:
    there, blob = plain_file.seen(directory, path), pin.removesuffix(RUNS)
    if there.data is None or there.links > 1:
        return False
    return blob_of(there.data, len(blob)) == blob and bool(there.mode & 0o100) == pin.endswith(RUNS)


def _restored(path: str, pin: str, git: Git, directory: Path) -> bool:
    data = git.get(pin.removesuffix(RUNS))
    if data is None:
        raise UsageError(
            f"What {path!r} was when the list was frozen is gone from the repository, so its check cannot be trusted "
            "and was not performed. Put the file back and freeze the list anew."
        )
    plain_file.put(directory, path, data, 0o755 if pin.endswith(RUNS) else plain_file.MODE)
    return True
