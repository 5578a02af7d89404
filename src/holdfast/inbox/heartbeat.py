"""Telling somebody outside that holdfast lives: a request to a URL of whoever alarms when none comes.

It is told so only after a look at ourselves; what is wrong is told to `URL/fail`, in one harmless line, and then nobody
is told that all is well. That the receiver is down is no failure of ours: it is kept, and tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from holdfast.errors import JournalCorrupt
from holdfast.inbox import guard
from holdfast.inbox.directory import FromEnvironment, Heartbeat
from holdfast.protocols import Journal, Undelivered

CELL: Final = "heartbeat"


class Pulse:
    """The URL, as this process has it."""

    def __init__(
        self, settings: Heartbeat, environ: Mapping[str, str], resolve: guard.Resolve = guard.resolved
    ) -> None:
        url = settings.url
        self._url = environ[url.name] if isinstance(url, FromEnvironment) else url
        self._allow = settings.allow
        self._resolve = resolve
        self.every_s = settings.every_s

    def tell(self, wrong: Sequence[str]) -> None:
        """That all is well, or what is not. `Undelivered` when nobody took it; called on a thread."""
        where = guard.target(_failed(self._url) if wrong else self._url, self._allow, self._resolve)
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "holdfast"}
        status = guard.post(where, headers, "; ".join(wrong).encode())
        if not 200 <= status < 300:
            raise Undelivered(f"{where.host} answered {status}")


def _failed(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))


@dataclass(frozen=True, slots=True)
class Told:
    """What became of it last; in a cell that the run `@watch` alone writes."""

    told_at: float | None = None
    """When somebody outside was told last that all is well."""
    tried_at: float | None = None
    refusal: str = ""
    """Why the last one was not taken; empty when it was."""
    wrong: tuple[str, ...] = ()
    """What was found at that time."""

    def text(self) -> str:
        """For the cell."""
        return json.dumps(asdict(self), sort_keys=True)


def told(journal: Journal | None) -> Told:
    """What the cell says."""
    try:
        cell = journal.cell(CELL) if journal is not None else None
        facts = json.loads(cell.value) if cell is not None and cell.value else {}
    except (JournalCorrupt, ValueError):
        facts = {}
    known = {name: facts[name] for name in Told.__dataclass_fields__ if name in facts}
    return Told(**known | {"wrong": tuple(known.get("wrong", ()))})
