"""From a store's name to its journal. The engines are imported when they are first used."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from holdfast.errors import NotFound, UsageError
from holdfast.protocols import Index, Journal, Upkeep

ACCEPTED = (
    "sqlite:///relative.db, sqlite:////absolute/path.db, a path that ends in .db, "
    "postgresql://user@host/database?schema=holdfast, or memory: (for tests; it is gone with its process)"
)


def open_journal(
    url: str,
    *,
    clock: Callable[[], float],
    tenant: str = "default",
    must_exist: bool = False,
    owns_clock: bool = False,
) -> Journal:
    """The journal at `url`. With `must_exist`, NotFound instead of a new store; UsageError for what is no such name.

    owns_clock: `clock` is the time of the store even where a server has its own, as in a test."""
    if url == "memory:":
        from holdfast.journal.memory import MemoryJournal

        return MemoryJournal(clock=clock)
    if _is_in_postgres(url):
        return _in_postgres(url, clock=clock, tenant=tenant, must_exist=must_exist, owns_clock=owns_clock)
    path = file_of(url, must_exist=must_exist)
    from holdfast.journal.sqlite import SqliteJournal  # loads apsw

    return SqliteJournal(path, clock=clock, tenant=tenant)


def file_of(url: str, *, must_exist: bool) -> str:
    """The file of a store that is one; UsageError for another. With `must_exist`, NotFound when it is not there."""
    if _is_in_postgres(url):
        raise UsageError("This store is a schema of a Postgres database, not a file. Nothing was done.")
    path = _path(url)
    if must_exist and not os.path.exists(path):
        raise NotFound(f"There is no store at {os.path.abspath(path)}. Nothing was made. Name it with --store.")
    return path


def upkeep_of(journal: Journal) -> Upkeep:
    """The same store, for whoever keeps it; UsageError for an engine that offers none."""
    upkeep = getattr(journal, "upkeep", None)
    if upkeep is None:
        raise UsageError(f"The engine {type(journal).__name__} offers no upkeep. Nothing was done.")
    found: Upkeep = upkeep()
    return found


def index_of(journal: Journal) -> Index:
    """The same store, for whoever searches it, to be closed; UsageError for an engine that offers no search."""
    index = getattr(journal, "index", None)
    if index is None:
        raise UsageError(f"The engine {type(journal).__name__} offers no search. Nothing was done.")
    found: Index = index()
    return found


def _is_in_postgres(url: str) -> bool:
    return url.partition("://")[0] in ("postgresql", "postgres")


def _in_postgres(url: str, **options: Any) -> Journal:
    try:
        import psycopg  # noqa: F401 - optional, and heavy
    except ImportError as error:
        raise UsageError(
            f"A store in Postgres needs psycopg ({error}). Nothing was done. "
            f"Install it: pip install 'holdfast[postgres]'"
        ) from None
    from holdfast.journal.postgres.engine import PostgresJournal  # loads psycopg

    return PostgresJournal(url, **options)


def _path(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator:
        path = rest.removeprefix("/") if scheme == "sqlite" and rest.startswith("/") and "?" not in rest else ""
    else:
        path = url if url.endswith(".db") and not url.startswith("file:") else ""
    if not path or "\0" in path:
        named = url if not separator or scheme == "sqlite" else f"{scheme}://…"  # the rest may hold a password
        raise UsageError(f"{named!r} names no store that holdfast knows. Accepted: {ACCEPTED}.")
    return path
