"""Which store a project of a directory is in, opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.cli.store import configured
from holdfast.errors import NotFound, UsageError
from holdfast.memory.git import Git
from holdfast.memory.place import named, place_of, write_name
from holdfast.memory.project import Project


@contextmanager
def made(directory: str, name: str | None, store: str | None, config: str | None) -> Iterator[Project]:
    """The project of this directory, made when there is none yet, for as long as the block lasts."""
    from holdfast.journal.open import open_journal  # loads the engine
    from holdfast.runtime.clock import SystemClock  # loads asyncio

    place = place_of(directory)
    try:
        known = named(place)
    except NotFound:
        known = None
    if known is not None and (name or known.name, store or known.store) != (known.name, known.store):
        raise UsageError(
            f"{place.directory} is project {known.name!r} in {known.store} already. Nothing was changed. Leave --name "
            f"and --store out; to begin anew, remove {place.config}."
        )
    if known is None:
        Git(place.directory)  # refuses what is no working tree with a commit, before anything is made
        place.config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = known.store if known is not None else _absolute(store or configured(config)) or _own(place.config)
    journal = open_journal(url, clock=SystemClock().now)
    try:
        if known is None:
            write_name(place, name or place.directory.name, url)
        yield Project(journal, place.directory)
    finally:
        journal.close()


def _own(config: Path) -> str:
    return f"sqlite:///{config.parent / 'holdfast.db'}"


def _absolute(url: str | None) -> str:
    """A store in a file by its whole path: it is opened from other directories, too."""
    if not url:
        return ""
    scheme, colon, path = url.partition(":///")
    if not colon:
        return os.path.abspath(url) if url.endswith(".db") else url
    return f"{scheme}:///{os.path.abspath(path)}" if scheme == "sqlite" else url
