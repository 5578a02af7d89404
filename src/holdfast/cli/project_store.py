"""Which store a project of a directory is in, opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.cli import project_order
from holdfast.cli.store import configured
from holdfast.errors import NotFound
from holdfast.memory.place import Place, named, place_of
from holdfast.memory.project import Project, absolute


@contextmanager
def made(directory: str, name: str | None, store: str | None, config: str | None) -> Iterator[Project]:
    """The project of this directory, made when there is none yet, for as long as the block lasts."""
    project_order.check()
    place = place_of(directory)
    with Project.opened(_url(place, store, config), place.directory, name=name or "") as project:
        yield project


def _url(place: Place, store: str | None, config: str | None) -> str:
    """What was said; else that of the project as it is; else the file's or the environment's; else one of its own."""
    if store:
        return absolute(store)
    try:
        return named(place).store
    except NotFound:
        said = configured(config)
    return absolute(said) if said else f"sqlite:///{place.config.parent / 'holdfast.db'}"
