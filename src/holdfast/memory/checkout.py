"""The ground that a check is performed on: a fresh checkout of one tree of git, outside of the working tree.

Invariants
1. In it is the tree, and what a person has declared to be kept (a link into the working tree): no file that git
   ignores, none that was not stored, no nested repository, no `.git`. What is kept never hides what the tree has.
2. A link of the tree that would lead into the working tree leads to the same place of the checkout; one that would lead
   to a directory above it, from where a path goes on into it, is refused. What lies outside of both is not looked at: a
   directory there may have links of its own.
3. It is gone when the check is over; what a killed process has left is removed before the next one is made. What
   cannot be removed changes no result, keeps nobody from making another one, and is not forgotten.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Final

from holdfast.errors import UsageError
from holdfast.memory.git import Git

_PREFIX: Final = "holdfast-checkout-"
_TREE: Final = "tree"
"""Beside it lies an empty file of settings, at which pytest's search for one ends."""
_NAME = re.compile(rf"{_PREFIX}[\w-]+")


class Checkout:
    """One that is there; `remove` ends it."""

    def __init__(self, git: Git, tree: str, keep: Sequence[str] = ()) -> None:
        """tree: as `Git.tree` or a commit names it. keep: paths of the working tree that it has beside that. Called in
        a thread. `GitFailed`: the tree is gone, or too large for git's deadline; `UsageError`: what is to be kept is in
        the tree, or a link leads above it."""
        if Path(tempfile.gettempdir()).resolve().is_relative_to(git.directory):
            raise UsageError(
                f"Temporary files are made in {tempfile.gettempdir()}, within the working tree, so no checkout can be "
                "made apart from it. The check was not performed. Set TMPDIR to another directory."
            )
        self._made, self._note = _begun(git.common / "holdfast" / "checkouts")
        self.directory = self._made / _TREE
        try:
            self.directory.mkdir()
            (self._made / "pytest.ini").write_text("[pytest]\n", "ascii")
            for path in git.check_out(tree, self.directory):
                _lead_back(self.directory, path, git.directory)
            for path in keep:
                _link(self.directory, path, git.directory)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove it, whatever a check has made of it. What we may not remove (of another user, say) stays, and so does
        its note: whoever makes the next one tries again."""
        with self._note, suppress(OSError):
            if _is_removed(self._made):
                Path(self._note.name).unlink(missing_ok=True)


def _lead_back(directory: Path, path: str, tree: Path) -> None:
    """A link that would lead into the working tree leads to the same place here."""
    link = directory / path
    leads_to = Path(os.path.realpath(link))
    if leads_to.is_relative_to(tree):
        link.unlink()
        link.symlink_to(directory / leads_to.relative_to(tree))
    elif tree.is_relative_to(leads_to):
        raise UsageError(
            f"The link {path!r} leads to {leads_to}, in which the working tree lies, so what no commit has could be "
            "found through it. The check was not performed. Take the link away, or declare `in_tree` for the check."
        )


def _link(directory: Path, path: str, tree: Path) -> None:
    """The same path of the working tree, where that has it."""
    if not os.path.lexists(tree / path):
        return
    *steps, name = PurePosixPath(path).parts
    place = directory
    for step in steps:
        place = place / step
        place.mkdir(exist_ok=True)
        if place.is_symlink():
            raise _hidden(path)
    there = place / name
    if there.is_dir() and not there.is_symlink() and not any(there.iterdir()):
        there.rmdir()  # as git writes a submodule
    if os.path.lexists(there):
        raise _hidden(path)
    there.symlink_to(tree / path)


def _hidden(path: str) -> UsageError:
    return UsageError(
        f"{path!r} is to be kept from the working tree, and is in the commit, or below a link of it, so the check was "
        "not performed. Name only what git ignores, by paths below it where some of it is committed."
    )


# --- what a kill leaves ------------------------------------------------------------------------------------------


def _begun(notes: Path) -> tuple[Path, IO[str]]:
    """An empty directory, and a note that says so for as long as this process lives."""
    with _alone(notes):
        _swept(notes)
        made = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        note = (notes / made.name).open("w", encoding="utf-8")
        note.write(str(made))
        note.flush()
        fcntl.flock(note, fcntl.LOCK_EX)
        return made, note


def _swept(notes: Path) -> None:
    """Remove those whose process has died."""
    for note in notes.iterdir():
        if not _NAME.fullmatch(note.name):
            continue
        with note.open(encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            left = Path(file.read())
            is_ours = left.is_absolute() and left.name == note.name and not left.is_symlink()
            if not is_ours or _is_removed(left):
                note.unlink(missing_ok=True)


@contextmanager
def _alone(notes: Path) -> Iterator[None]:
    """No other process begins or sweeps meanwhile."""
    notes.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (notes / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_removed(directory: Path) -> bool:
    """Remove it, as far as we may; whether it is gone."""
    _remove(directory)
    if os.path.lexists(directory):  # a check has made directories that may not be written
        _open_up(directory)
        _remove(directory)
    return not os.path.lexists(directory)


def _remove(directory: Path) -> None:
    with suppress(RecursionError):  # a check has made directories in each other without end
        shutil.rmtree(directory, ignore_errors=True)


def _open_up(directory: Path) -> None:
    """Each directory that is ours; what is not is passed over."""
    folders = [str(directory)]
    while folders:
        folder = folders.pop()
        with suppress(OSError):
            os.chmod(folder, 0o700)
            with os.scandir(folder) as found:
                folders += [each.path for each in found if each.is_dir(follow_symlinks=False)]
