"""A world in which processes die: one store, and as many short-lived processes on it as a test needs.

`world.run(agent, …)` is one process: an event loop and an `App` of its own. `Crash`, raised by a tool or at an
append, is the death of that process: its loop never turns again, nothing of it can write, its worker is proven
dead. The next `run` is the next process; give it another function with the same agent name, and it is a deploy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from ctypes import py_object, pythonapi
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.address import run_id
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Head
from holdfast.core.state import State, fold
from holdfast.errors import JournalError
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Journal, Worker
from holdfast.runtime import current
from holdfast.runtime.clock import SystemClock

FAST = {"quiet_s": 0.02, "park_s": 0.06, "close_s": 0.5, "poll_s": 0.02, "settle_s": 0.02, "drain_s": 0.5}
TURNS_AT_EXIT = 10


def _keep(task: asyncio.Task[Any]) -> None:
    """A task of a dead process: never collected, also not as this one ends, since its `finally` blocks would run. No
    other loop looks at it: each `all_tasks` would, and thousands of them come to lie here."""
    asyncio.tasks._unregister_task(task)  # type: ignore[attr-defined]
    pythonapi.Py_IncRef(py_object(task))


class Crash(KeyboardInterrupt):
    """The process dies here. A subclass of the one exception that asyncio lets through at once."""


class Mortal:
    """The store as one process sees it. `on_append` is called before and after each transaction."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_dead = False
        self.workers: set[str] = set()
        self.transactions = 0
        self.before: Callable[[Sequence[Append]], None] = lambda appends: None
        self.after: Callable[[Sequence[Append]], None] = lambda appends: None

    def __getattr__(self, name: str) -> Any:
        if self.is_dead:
            raise Crash
        return getattr(self._journal, name)

    def register(self, worker: Worker, ttl_s: float) -> None:
        """Renewed by a thread, which must not fail loudly when its process is dead."""
        self.workers.add(worker.id)
        if not self.is_dead:
            self._journal.register(worker, ttl_s)

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """One transaction."""
        if self.is_dead:
            raise Crash
        self.before(appends)
        results = self._journal.append(appends)
        self.transactions += 1
        self.after(appends)
        return results

    def die_at(self, number: int, *, is_written: bool) -> None:
        """Die at the transaction of this number (from 1), before or after it is written."""

        def hook(appends: Sequence[Append]) -> None:
            if self.transactions == (number if is_written else number - 1):
                raise Crash

        self.after, self.before = (hook, self.before) if is_written else (self.after, hook)


class Ahead(SystemClock):
    """The machine's clock, set on by a test."""

    by_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return super().now() + self.by_s


class World:
    """One store, and what was done to the world outside."""

    Crash = Crash

    def __init__(self, path: Path | None) -> None:
        self.clock = Ahead()
        """The machine's clock, and how far a test has set it on: time that passes while no process runs."""
        self.dead: set[str] = set()
        self.path = path
        self.effects: list[Any] = []
        """For tools to write to: survives every crash, as the world does."""
        self.store: Journal = (
            MemoryJournal(clock=self.clock.now, is_dead=self._is_dead)
            if path is None
            else SqliteJournal(path, clock=self.clock.now, is_dead=self._is_dead)
        )
        self.journal: Mortal | None = None
        """The store as the latest process sees it."""

    def _is_dead(self, worker: Worker) -> bool:
        return worker.id in self.dead

    # --- processes -------------------------------------------------------------------------------------------

    def run(
        self, agent: Any, given: Any = None, *, key: str = "k", wait: Any = 5.0, budget: Any = None, **how: Any
    ) -> Any:
        """One process that starts or goes on with this run; the result."""
        return self.play(lambda app: app.run(agent, given, key=key, wait=wait, budget=budget), **how)

    def play(
        self,
        scenario: Callable[[hf.App], Awaitable[Any]],
        *,
        agents: Sequence[Any] = (),
        serves: bool = False,
        prepare: Callable[[Mortal], None] = lambda journal: None,
        may_leak: bool = False,
        clock: Any = None,
        on_emit: Any = None,
        policies: Any = None,
        inbox: Any = None,
        **settings: Any,
    ) -> Any:
        """One process that plays this scenario. Raises `Crash` when it died, and fails when it left a task behind."""
        journal = self.journal = Mortal(self.store)
        prepare(journal)
        app = hf.App(
            journal,
            agents=agents,
            serves=serves,
            settings=hf.Settings(**{**FAST, **settings}),
            clock=clock or self.clock,
            on_emit=on_emit,
            policies=policies,
            inbox=inbox,
        )

        async def main() -> Any:
            async with app:
                return await scenario(app)

        loop = asyncio.new_event_loop()
        left: list[asyncio.Task[Any]] = []
        try:
            return loop.run_until_complete(main())
        except Crash:
            self._bury(journal, app, loop)
            raise
        finally:
            if not journal.is_dead:
                for _ in range(TURNS_AT_EXIT):
                    loop.run_until_complete(asyncio.sleep(0))
                left = list(asyncio.all_tasks(loop))
                if left and not may_leak:  # a thread that was just then asking for something has still to hear the end
                    loop.run_until_complete(loop.shutdown_default_executor())
                    left = list(asyncio.all_tasks(loop))
                for task in left:
                    task.cancel()
                for _ in range(TURNS_AT_EXIT):
                    loop.run_until_complete(asyncio.sleep(0))
                loop.run_until_complete(loop.shutdown_default_executor())
                for task in asyncio.all_tasks(loop):
                    _keep(task)
            loop.close()
            assert may_leak or not left, f"left behind: {left}"

    def _bury(self, journal: Mortal, app: hf.App, loop: asyncio.AbstractEventLoop) -> None:
        journal.is_dead = True
        self.dead |= journal.workers
        current.app_closed(app)
        for driver in app._worker.drivers.values() if app._worker is not None else ():
            driver.bridge.unwind()  # a dead process has no threads; here they would keep pytest from ending
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            _keep(task)

    # --- the record ------------------------------------------------------------------------------------------

    def id(self, key: str = "k") -> str:
        """The id of the run that this key names."""
        return run_id(self.store.hash_key, "default", key)

    def events(self, *kinds: Kind, key: str = "k") -> list[Event]:
        """The record, of these kinds or all."""
        return [event for event in self.store.events(self.id(key)) if not kinds or event.kind in kinds]

    def kinds(self, key: str = "k") -> list[Kind]:
        """The record's kinds."""
        return [event.kind for event in self.events(key=key)]

    def state(self, key: str = "k") -> State:
        """The folded record."""
        return fold(self.store.events(self.id(key)))

    def head(self, key: str = "k") -> Head:
        """The run's head."""
        head = self.store.head(self.id(key))
        assert head is not None
        return head

    def question(self, key: str = "k") -> str:
        """The id of the one open question."""
        (question,) = self.head(key).questions
        return question.id

    def answer(self, value: Any, agent: Any, *, key: str = "k", **more: Any) -> None:
        """Another process answers the one open question."""
        question = self.question(key)
        self.play(lambda app: app.answer(self.id(key), question, value, by="ann", **more))

    def resume(self, *, key: str = "k", budget: Any = None) -> None:
        """Another process reopens the run."""
        self.play(lambda app: app.resume(self.id(key), by="ann", budget=budget))


class Shop:
    """Tools that act on the world, and a switch that kills the process in the middle of one."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done = world.effects
        self.dies_at: Any = None
        """Argument at which `pay` kills the process after its effect."""

        @hf.tool(effect="read")
        async def look(what: Any) -> Any:
            self.done.append(("look", what))
            return {"found": what}

        @hf.tool(effect="once")
        async def pay(what: Any, *, idempotency_key: str = hf.INJECTED) -> str:
            self.done.append(("pay", what, idempotency_key))
            if what == self.dies_at:
                self.dies_at = None
                raise Crash
            return f"paid {what} ({len(self.paid(what))})"

        self.look = look
        self.pay = pay

    def paid(self, *what: Any) -> list[Any]:
        """Arguments of the payments made, in order; only these arguments when given."""
        return [done[1] for done in self.done if done[0] == "pay" and (not what or done[1] in what)]

    def keys(self, what: Any) -> set[str]:
        """Idempotency keys of the payments made with this argument."""
        return {done[2] for done in self.done if done[0] == "pay" and done[1] == what}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world on a real SQLite file."""
    made = World(tmp_path / "h.db")
    yield made
    made.store.close()


@pytest.fixture
def quick() -> World:
    """A world in memory, where many runs are needed."""
    return World(None)


@pytest.fixture
def shop(world: World) -> Shop:
    """Tools that act on the world."""
    return Shop(world)
