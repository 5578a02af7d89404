"""Which store, and which run in it.

The store is `--store`, else `HOLDFAST_STORE`, else `[holdfast] store` in holdfast.toml, else `[tool.holdfast] store`
in pyproject.toml, else that of the project of this directory, else holdfast.db here. A reader never makes one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import MessageRefused, NotFound, UsageError

if TYPE_CHECKING:
    from holdfast.core.accept import Message
    from holdfast.core.heads import Head
    from holdfast.protocols import Journal, Upkeep, Worker

DEFAULT = "sqlite:///holdfast.db"
_SHOWN_MAX = 10


def address(given: str | None, config: str | None = None) -> str:
    """The store's URL."""
    return given or configured(config) or _of_project() or DEFAULT


def configured(config: str | None = None) -> str:
    """The store's URL as the environment or a file says; empty when nothing does."""
    named = os.environ.get("HOLDFAST_STORE")
    if named:
        return named
    here = _table(Path(config or "holdfast.toml"), "holdfast") or _table(Path("pyproject.toml"), "tool", "holdfast")
    found = here.get("store", "")
    if not isinstance(found, str):
        raise UsageError(f"store = {found!r} in the configuration is no text. Write store = {DEFAULT!r}.")
    return found


def _of_project() -> str:
    """The store of the project that this directory belongs to; empty when it belongs to none."""
    from holdfast.memory.place import named, place_of  # not needed where a store is named

    try:
        return named(place_of(".")).store
    except NotFound:
        return ""


def _table(file: Path, *path: str) -> dict[str, Any]:
    """The table at `path` of a TOML file; empty when there is none."""
    try:
        table: Any = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise UsageError(f"{file} cannot be read: {wrong}. Nothing was done.") from wrong
    for name in path:
        table = table.get(name, {}) if isinstance(table, dict) else {}
    return table if isinstance(table, dict) else {}


@contextmanager
def opened(given: str | None) -> Iterator[Journal]:
    """The journal, which must exist, for as long as the block lasts."""
    with opened_at(address(given)) as journal:
        yield journal


@contextmanager
def opened_at(url: str) -> Iterator[Journal]:
    """The same of a store whose URL is known."""
    from holdfast.journal.open import open_journal  # loads the engine
    from holdfast.runtime.clock import SystemClock

    journal = open_journal(url, clock=SystemClock().now, must_exist=True)
    try:
        yield journal
    finally:
        journal.close()


def each_tenant(given: str | None) -> Iterator[tuple[str, Journal, Upkeep]]:
    """Each tenant that has anything in the store, which must exist; its journal, and the same for whoever keeps it."""
    from holdfast.journal.open import open_journal, upkeep_of  # loads the engine
    from holdfast.runtime.clock import SystemClock

    with opened(given) as first:
        tenants = upkeep_of(first).tenants() or ["default"]
    for tenant in tenants:
        journal = open_journal(address(given), clock=SystemClock().now, tenant=tenant, must_exist=True)
        try:
            yield tenant, journal, upkeep_of(journal)
        finally:
            journal.close()


def find(journal: Journal, name: str) -> Head:
    """The run that `name` means: its key, else its id, else the unique beginning of its id."""
    if not name.isprintable() or not name:  # no key is like that, and no store could look for stray bytes
        raise UsageError(f"{name!r} names no run. Give a key, an id, or the beginning of an id.")
    by_key = journal.heads(key=name, limit=1)
    if by_key:
        return by_key[0]
    prefix = name if name.startswith("run_") else f"run_{name}"
    found = journal.heads(prefix=prefix, limit=_SHOWN_MAX + 1)
    exact = [head for head in found if head.run_id == prefix]
    if not found:
        raise NotFound(f"There is no run with the key or id {name!r} in this store. Look with `holdfast ls`.")
    if len(found) > 1 and not exact:
        listed = ", ".join(f"{head.run_id} ({head.key})" for head in found[:_SHOWN_MAX])
        more = " and more" if len(found) > _SHOWN_MAX else ""
        raise UsageError(f"{name!r} is the beginning of several ids: {listed}{more}. Give more of it.")
    return (exact or found)[0]


def post(journal: Journal, run_id: str, message: Message) -> None:
    """Leave a message for the run; `MessageRefused` says why it cannot count."""
    from holdfast.runtime.clock import SystemClock

    posted = journal.post(run_id, SystemClock().fresh_id(), message)
    if posted.refused:
        raise MessageRefused(posted.refused)


def driver_of(journal: Journal, run_id: str) -> Worker | None:
    """The process that holds the run, unless its lease is over or it is proven dead."""
    from holdfast.journal.process import holder

    return holder(journal, run_id)


def who_goes_on(journal: Journal, head: Head) -> str:
    """What becomes of a message that was just left for the run; its head was read before."""
    worker = driver_of(journal, head.run_id)
    now = journal.head(head.run_id)
    if worker is None and now is not None and now.status.is_end and not head.status.is_end:
        return f"It has gone on with it already, and ended: {now.status}."
    if worker is None:
        return "Nobody drives the run now; the next worker or `holdfast run …` with its key goes on."
    return f"The process that holds the run (pid {worker.pid} on {worker.host or 'this host'}) goes on with it."
