"""Stores that are kept, by somebody who may die at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core import accept
from holdfast.core.events import Event, Kind, meta
from holdfast.core.state import fold
from holdfast.journal.migrate import Place
from holdfast.journal.open import upkeep_of
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Journal, Post, Upkeep, Worker

WRITES = frozenset(
    {
        "install",
        "condense",
        "mend",
        "put_account",
        "put_cell",
        "sweep_blobs",
        "sweep_workers",
        "compact",
        "pass_on",
        "take_identity",
    }
)


class Died(BaseException):
    """The process that keeps the store ends here."""


class Mortality:
    """When that is: before or after one of its writes."""

    def __init__(self, at: int | None = None, *, is_written: bool = True) -> None:
        self.at = at
        self.is_written = is_written
        self.writes: list[str] = []

    def of(self, upkeep: Upkeep) -> Any:
        """The store, for somebody who will die so."""
        return _Mortal(upkeep, self)


class _Mortal:
    def __init__(self, upkeep: Upkeep, mortality: Mortality) -> None:
        self._upkeep = upkeep
        self._mortality = mortality

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._upkeep, name)
        return self._dying(name, method) if name in WRITES else method

    def _dying(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            fate = self._mortality
            fate.writes.append(name)
            if len(fate.writes) != fate.at:
                return method(*arguments, **options)
            if fate.is_written:
                method(*arguments, **options)
            raise Died

        return write


class MortalJournal:
    """A journal whose upkeep is done by somebody who will die; all else is the store's own."""

    def __init__(self, journal: Journal, mortality: Mortality) -> None:
        self._journal = journal
        self._mortality = mortality

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def upkeep(self) -> Any:
        return self._mortality.of(upkeep_of(self._journal))


def place(url: str, open_store: Callable[[str], Journal], mortality: Mortality | None = None) -> Place:
    """A store of a migration."""
    fate = mortality or Mortality()

    def opened(tenant: str) -> Any:
        return MortalJournal(open_store(tenant), fate)

    return Place(url, opened)


def run(journal: Journal, run_id: str, events: Sequence[Event] = (), *, agent: str = "a") -> None:
    """A run with this record, given back."""
    runs(journal, {run_id: events}, agent=agent)


def runs(journal: Journal, logs: Mapping[str, Sequence[Event]], *, agent: str = "a") -> None:
    """Runs with these records, given back; written together."""
    start = {i: accept.start(agent=agent, key=i, input_digest="d", limits=None, body=b"1") for i in logs}
    journal.post_all([Post(i, "start", message) for i, message in start.items()])
    journal.register(Worker("maker", pid=1), 30.0)
    appends = []
    for claim in journal.claim("maker", run_ids=list(logs), limit=len(logs)):
        run_id = claim.lease.run_id
        begun = meta(run=run_id, agent=agent, key=run_id, input_digest="d", seed="s")
        log = [Event(Kind.RUN_STARTED, 0.0, meta=begun, body=b"1"), *logs[run_id]]
        appends.append(Append(claim.lease, 0, log, fold(log).head(), 1, releases=True))
    assert journal.append(appends) == [None] * len(logs)
    journal.retire("maker")


def end(at: float, outcome: str = "succeeded") -> Event:
    """The end of a run."""
    return Event(Kind.RUN_ENDED, at, meta=meta(outcome=outcome), body=b'"done"')


def sqlite(path: Path, clock: Callable[[], float]) -> Callable[[str], Journal]:
    """Opens a file's store."""
    return lambda tenant: SqliteJournal(path, clock=clock, tenant=tenant)
