"""Where a project is: the working tree that somebody stands in, and what is written beside its repository.

All that holdfast keeps of a project lies in git's own directory, which all working trees of a repository share: no
checkout, clean, add or reset touches it. It is found by looking at files; no program is run for that.

Never: creates a repository, or reads a store.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.errors import NotFound, UsageError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_HOW: Final = "`holdfast project init LIST` makes one, in a directory that is under git (`git init`)."
_HERE: Final = "{git}"
"""In a store's URL: git's own directory, wherever that has been moved to."""


class Place(NamedTuple):
    """A working tree."""

    directory: Path
    """Its top, without links."""
    common: Path
    """The directory of git that all working trees of the repository share."""
    id: str
    """By which a session is told from those of other working trees: the host, and the path."""

    @property
    def config(self) -> Path:
        """The file that names the project of the repository."""
        return self.common / "holdfast" / "project.json"


class Named(NamedTuple):
    """What that file says."""

    name: str
    store: str
    """An absolute URL."""


def place_of(directory: str | os.PathLike[str]) -> Place:
    """The working tree that `directory` is in; `NotFound` when it is in none."""
    start = Path(directory).resolve()
    if not start.is_dir():
        raise NotFound(f"There is no directory {start}. Nothing was done.")
    for top in (start, *start.parents):
        if (common := _common(top)) is not None:
            return Place(top, common, f"{os.uname().nodename}:{top}")
    raise NotFound(f"{start} is in no git repository, so there is no project. Nothing was done. {_HOW}")


def is_gone(place: str) -> bool:
    """Whether a place, by its id, is one of this host that is no working tree any more."""
    host, _, path = place.partition(":")
    return host == os.uname().nodename and not os.path.lexists(os.path.join(path, ".git"))


def _common(top: Path) -> Path | None:
    """The shared directory of git, when this is the top of a working tree."""
    found = top / ".git"
    if found.is_file():  # of a further working tree, or of a submodule
        said = _line(found)
        if not said.startswith("gitdir: "):
            return None
        found = (top / said.removeprefix("gitdir: ")).resolve()
    if not (found / "HEAD").is_file():
        return None
    shared = _line(found / "commondir")
    return (found / shared).resolve() if shared else found.resolve()


def _line(path: Path) -> str:
    """The one line of a file of git's; empty when it has none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def named(place: Place) -> Named:
    """The project of this place; `NotFound` when it has none."""
    try:
        text = place.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"{place.directory} has no project. Nothing was done. {_HOW}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{place.config} cannot be read: {error}. Nothing was done.") from error
    try:
        found = json.loads(text)
        name, store = found["name"], found["store"]
    except (ValueError, KeyError, TypeError):
        name, store = None, None
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(store, str) or not store:
        raise UsageError(f"{place.config} names no project and store. Nothing was done. {_HOW}")
    return Named(name, store.replace(_HERE, str(place.common), 1))


def check_name(name: str) -> None:
    """Whether a project can be called so; UsageError when it cannot."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} names no project: 1 to 80 of a-z, 0-9, dot, dash and underscore, and the first is a letter or "
            "a figure. Nothing was done."
        )


def write_name(place: Place, name: str, store: str) -> None:
    """Say which project this place has, and where its store is; UsageError when it has another one."""
    check_name(name)
    place.config.parent.mkdir(mode=0o700, exist_ok=True)
    if place.config.exists() and (known := named(place)).name != name:
        raise UsageError(f"{place.directory} has the project {known.name!r} already. Nothing was done.")
    draft = place.config.with_name(f"project.json.{os.getpid()}")
    kept = store.replace(f":///{place.common}/", f":///{_HERE}/", 1)
    draft.write_text(json.dumps({"name": name, "store": kept}, indent=2) + "\n", encoding="utf-8")
    draft.replace(place.config)


def claim_name(place: Place, name: str, store: str) -> None:
    """The same for a place that had no project when somebody looked: who comes second of two takes what the first one
    has said, or is refused where that is something else."""
    check_name(name)
    place.config.parent.mkdir(mode=0o700, exist_ok=True)
    with place.config.with_name("project.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a death
        if not place.config.exists():
            write_name(place, name, store)
        elif (known := named(place)) != (name, store):
            raise UsageError(
                f"Somebody else has just made {place.directory} the project {known.name!r} in {known.store}. Nothing "
                "of this one was frozen. Look at it (`holdfast project status`) before you freeze another list."
            )
