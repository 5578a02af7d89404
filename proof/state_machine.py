"""Every engine against the model in fifty lines, in programs of all calls of the contract in any order.

A trial is a batch of programs of one engine, drawn from a seed of its own; what the model did not foresee is told with
the program that did it. Where the engine can have one, commits fail in the middle, before and after they are written.

All stores lie in memory: what is compared is what calls give and leave behind, also over a restart of the process. No
machine stops here; what is left on a disk then is for the parts that cut its power.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import apsw
import psycopg
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import get_state_machine_test

from holdfast.core import accept
from holdfast.errors import StoreBusy, StoreMoved
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.migrate import Place, migrate
from holdfast.journal.postgres.engine import PostgresJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.testing.conformance_engine import Moment
from holdfast.testing.conformance_model import AgainstModel
from holdfast.testing.conformance_store import OpenEngine, Store
from holdfast.testing.postgres_server import PostgresServer
from proof.part import Plan, Seen, in_memory

WANTED = {
    "programs": 900,
    "programs of memory": 300,
    "programs of sqlite": 300,
    "programs of postgres": 300,
    "append": 600,
    "LeaseLost": 1_000,
    "MailWaiting": 50,
    "BudgetRefused": 50,
    "takeover": 40,
    "worker swept": 60,
    "restart": 300,
    "answer stored": 15,
    "answer refused": 500,
    "cancel stored": 200,
    "swap": 200,
    "migration": 60,
    "migration refused": 20,
    "commit failed before": 100,
    "commit failed after": 100,
    "commit failed before after": 100,
}
COST = 110
WAITS = True
"""Half of it the server uses."""
BATCH = 30
STEPS = 50
TRIALS = 30
PLAIN = settings(
    max_examples=BATCH,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    derandomize=False,
    phases=[Phase.generate],
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


class Failing:
    """The moments at which the next commits of a journal fail."""

    moments: Sequence[Moment] = ()

    def fail(self, end: Callable[[], Any], error: Exception) -> Any:
        """End a transaction, or fail as planned."""
        if not self.moments:
            return end()
        moment, *self.moments = self.moments
        if moment == "after":
            end()
        raise error


class FailingSqlite(Failing, SqliteJournal):
    """Its disk fails."""

    def _commit(self) -> None:
        self.fail(super()._commit, apsw.IOError("planned by the proof"))


class FailingPostgres(Failing, PostgresJournal):
    """Its network fails."""

    def _finish(self, end: Callable[[], Any]) -> Any:
        return self.fail(lambda: super(FailingPostgres, self)._finish(end), psycopg.OperationalError("planned"))


def run(plan: Plan) -> Seen:
    """All engines in turn."""
    seen = Seen()
    with _engines(plan) as engines:
        for trial in plan.trials(TRIALS):
            name = list(engines)[trial % len(engines)]
            explore(name, engines, trial + plan.seed * TRIALS, seen)
    return seen


@contextmanager
def _engines(plan: Plan) -> Iterator[dict[str, OpenEngine]]:
    with in_memory(plan.directory) as place, PostgresServer() as server:
        yield {
            "memory": lambda name, *, clock, is_dead: MemoryJournal(clock=clock, is_dead=is_dead),
            "sqlite": lambda name, *, clock, is_dead: FailingSqlite(place / f"{name}.db", clock=clock, is_dead=is_dead),
            "postgres": lambda name, *, clock, is_dead: FailingPostgres(
                server.url(name), clock=clock, is_dead=is_dead, owns_clock=True
            ),
        }


def explore(name: str, engines: Mapping[str, OpenEngine], number: int, seen: Seen) -> None:
    """One batch of programs; counts what they did, and tells where the engine and the model part."""
    stores = itertools.count()

    class Counted(AgainstModel):
        def open_store(self) -> Store:
            seen.count("programs")
            seen.count(f"programs of {name}")
            self.engine, self.left = name, list[Store]()
            return self._new()

        def _new(self) -> Store:
            return Store(engines[self.engine], f"{name}_{number}_{next(stores)}")

        def reopen(self) -> None:
            if self.engine != "memory":
                self.store.reopen()

        def move(self) -> Store | None:
            before, left = self.engine, self.store
            places = [engine for engine in engines if engine != "memory"]  # which would end with the move
            if not places:
                return None
            self.engine = places[next(stores) % len(places)]
            filled = self._new()
            filled.time, filled.dead = left.time, left.dead
            try:
                migrate(Place(f"{left.name}:", left.again), Place(f"{filled.name}:", filled.again), "attempt")
            except StoreBusy:
                self.engine = before
                filled.close()
                raise
            self.left.append(left)
            for run_id in self.model.runs:
                try:
                    left.journal.post(run_id, "late", accept.pause(by="ada"))
                except StoreMoved:
                    continue
                raise AssertionError("a store that was left takes a message")
            seen.count(f"moved from {before} to {self.engine}")
            filled.reopen()  # it was open before it had its identity
            return filled

        def teardown(self) -> None:
            for store in (self.store, *self.left):
                store.close()

        def fail_commit(self, moments: Sequence[Moment]) -> bool:
            journal: Journal = self.store.journal
            if isinstance(journal, Failing):
                journal.moments = moments
            return isinstance(journal, Failing)

        def saw(self, what: str) -> None:
            seen.count(what)

    try:
        seed(number)(get_state_machine_test(Counted, settings=PLAIN))()
    except Exception as error:  # whatever a program comes to is what the part is there to find
        told = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        seen.problems.append(f"{name}, batch {number}: {told[:3000]}")
