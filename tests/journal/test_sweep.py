"""Workers that are gone, and whoever does something while their rows are removed: with engines that others share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.journal.open import upkeep_of
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal, Worker
from holdfast.testing.conformance_store import TTL_S, Store
from holdfast.testing.postgres_server import PostgresServer

SOON = TTL_S + 1
"""After the leases that begin now: whoever sweeps so takes each worker for long gone that nothing else speaks for."""


class Interrupted(PostgresJournal):
    """Does something when a transaction is about to commit."""

    at_commit: Callable[[], object] | None = None

    def _finish(self, end: Callable[[], Any]) -> Any:
        planned, self.at_commit = self.at_commit, None
        if planned is not None:
            planned()
        return super()._finish(end)


class Asked:
    """Says that nobody is dead, and does something when it is asked."""

    do: Callable[[], object] | None = None

    def is_dead(self, worker: Worker) -> bool:
        planned, self.do = self.do, None
        if planned is not None:
            planned()
        return False


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, asked: Asked) -> Iterator[Store]:
    """A store that several processes share."""
    url = request.getfixturevalue("postgres").url(tmp_path.name[-50:]) if request.param == "postgres" else ""

    def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
        if url:
            return PostgresJournal(url, clock=clock, is_dead=asked.is_dead, owns_clock=True)
        return SqliteJournal(tmp_path / "h.db", clock=clock, is_dead=asked.is_dead)

    store = Store(open_engine, "store")
    yield store
    store.close()


def test_who_takes_a_run_meanwhile_stays(store: Store, asked: Asked) -> None:
    """U11. Lost: who holds a run, when its worker took it between the look and the removal."""
    other = store.open()
    store.start()
    store.register("w1")
    store.time += 1
    store.register("w2")  # of whom it is asked, when w1 has been judged
    asked.do = lambda: other.claim("w1")
    assert upkeep_of(store.journal).sweep_workers(store.time + TTL_S) == 0 and asked.do is None
    assert store.journal.owner("r1") == (Worker("w1", pid=1), 1_000_000.0 + TTL_S)


def test_who_renews_its_lease_meanwhile_stays(store: Store, asked: Asked) -> None:
    """U11. Lost: the work of a process that had been stopped, and goes on just now."""
    other = store.open()
    store.register("w1")
    store.time += SOON
    store.register("w2")
    asked.do = lambda: other.register(Worker("w1", pid=1), TTL_S)
    assert upkeep_of(store.journal).sweep_workers(store.time) == 0 and asked.do is None
    store.start()
    assert store.claim("w1") == ["r1"]


@pytest.fixture
def shared(postgres: PostgresServer, tmp_path: Path) -> Iterator[Store]:
    """A store on a server, where two transactions may be under way at a time."""
    url = postgres.url(tmp_path.name[-50:])

    def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal:
        return Interrupted(url, clock=clock, is_dead=is_dead, owns_clock=True)

    store = Store(open_engine, "store")
    store.start()
    store.register("w1")
    yield store
    store.close()


def test_who_is_about_to_commit_what_it_takes_stays(shared: Store) -> None:
    """U11. Lost: who holds a run, when nobody else could see yet that its worker was taking it."""
    other, swept = shared.open(), list[int]()
    journal = shared.journal
    assert isinstance(journal, Interrupted)
    journal.at_commit = lambda: swept.append(upkeep_of(other).sweep_workers(shared.time + SOON))
    assert shared.claim("w1") == ["r1"] and swept == [0]
    assert journal.owner("r1") == (Worker("w1", pid=1), shared.time + TTL_S)


@pytest.mark.parametrize("renews", [False, True])
def test_who_comes_too_late_gets_nothing_until_it_registers(shared: Store, renews: bool) -> None:
    """U11. Lost: who holds a run, when its worker took it by a row that was being removed; or the row of a worker that
    registered at that moment."""
    other, found = shared.open(), list[Any]()
    journal = shared.journal
    assert isinstance(journal, Interrupted)

    def come() -> None:
        found.append(other.register(Worker("w1", pid=1), TTL_S) if renews else other.claim("w1"))

    late = threading.Thread(target=come)

    def removing() -> None:
        late.start()
        late.join(0.5)  # it waits for us; a machine that is too slow for that makes this test no less true

    journal.at_commit = removing
    assert upkeep_of(journal).sweep_workers(shared.time + SOON) == 1
    late.join(20)
    assert found == [None if renews else []] and journal.owner("r1") is None
    assert shared.claim("w1") == (["r1"] if renews else [])
