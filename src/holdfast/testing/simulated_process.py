"""One simulated process: an event loop, a clock, a store handle and an `App`, which can die or stand still anywhere.

A death is final: the loop never turns again, the store handle raises for ever, and what the process had under way
stays as it was. A process that stands still goes on later as if nothing had been, which is what SIGSTOP does; one whose
loop alone is stuck still renews its lease, for as long as the runtime lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import holdfast as hf
from holdfast.errors import JournalError
from holdfast.runtime import current, senders
from holdfast.runtime.clock import Random
from holdfast.testing.simulated_journal import Death, SimulatedJournal
from holdfast.testing.simulated_loop import SimulatedLoop

if TYPE_CHECKING:
    from holdfast.testing.simulated_world import World

_T = TypeVar("_T")


class SimulatedClock:
    """`holdfast.protocols.Clock` of one process: the world's time, and chance of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._chance = Random(f"{process.world.seed}/{process.name}")
        self._ids = itertools.count(1)

    def now(self) -> float:
        """Seconds since the epoch by the world's calendar, which an operator may set."""
        return self._world.now()

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self._world.now_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        """A timer of the process's loop."""
        return self._process.loop.call_later(delay_s, callback).cancel

    def beat(self, every_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Not on the loop: it goes on while that is stuck, and stands still with the process."""
        return self._process.beat(every_s, call)

    async def aside(self, name: str, work: Callable[[], _T]) -> _T:
        """Here, after others had their turn: a thread would have an order of its own."""
        await asyncio.sleep(0)
        return work()

    def draw(self) -> float:
        """From the process's chance."""
        return self._chance.random()

    def fresh_id(self) -> str:
        """32 hex digits that no other process of this world makes."""
        return f"{self._process.number:08x}{next(self._ids):024x}"


class Process:
    """A process of the world, from its start to its end."""

    def __init__(self, world: World, number: int, agents: tuple[hf.Agent[Any, Any], ...]) -> None:
        self.world = world
        self.number = number
        self.name = f"p{number}"
        self.is_dead = False
        self.is_frozen = False
        """Its loop does not turn."""
        self.is_paused = False
        """Nothing of it goes on, beats of its lease included."""
        self.down_until = 0.0
        """It cannot reach the store before."""
        self.is_open = False
        self.agents = agents
        chance = world.chance if world.shuffles else None
        self.loop = SimulatedLoop(world, chance, self._complain)  # type: ignore[abstract]  # no sockets, no signals
        self.loop.owner = self
        self.journal = SimulatedJournal(world.store, self, world.oracle)
        self.app = hf.App(
            self.journal, agents=agents, settings=world.scenario.settings, clock=SimulatedClock(self), config=None
        )
        self._context = world.context.copy()
        self._context.run(senders.process.set, self.name)
        self._stop: asyncio.Future[None] = self.loop.create_future()
        self._callers: set[asyncio.Task[None]] = set()
        self._late: list[Callable[[], None]] = []
        """Beats that came while it stood still."""
        self.main = self.spawn(self._live())

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process."""
        return self.loop.create_task(coroutine, context=self._context.copy())

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Somebody outside of the app calls it, and waits as long as the process lives."""
        self._callers.add(self.spawn(coroutine))

    async def _live(self) -> None:
        try:
            async with self.app:
                self.is_open = True
                await self._stop
        except JournalError as error:  # a store that cannot be reached as it starts or stops: its supervisor goes on
            self.world.trace(f"{self.name} ended with {type(error).__name__}")
        finally:
            self.is_open = False

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.done()

    def stop(self) -> None:
        """SIGTERM."""
        if not self._stop.done():
            self._stop.set_result(None)

    def die(self) -> None:
        """SIGKILL: nothing of it goes on. Its body is disposed of by `bury`."""
        self.is_dead = True
        self.is_open = False
        self.journal.hush()
        self.loop.close()
        current.app_closed(self.app)

    def turn(self) -> None:
        """Let the loop turn once."""
        try:
            self.loop.turn()
        except Death:
            assert self.is_dead
        if self.main.done() and not self.is_dead:
            self._check_end()

    def _check_end(self) -> None:
        """It has ended by itself: nothing may be left of it."""
        for _ in range(10):
            if not self.is_dead:
                self.loop.turn()
        if left := [task for task in self.loop.pending if task not in self._callers]:
            self._complain(f"left behind at its end: {left}")
        self.world.ended(self)

    def reach(self, label: str) -> None:
        """See `simulated_journal.Place`."""
        if self.is_dead:
            raise Death
        self.world.reach(self, label)

    def hears(self) -> bool:
        """See `simulated_journal.Place`."""
        return self.world.hears()

    def _complain(self, problem: str) -> None:
        self.world.oracle.wrong(f"{self.name}: {problem}")

    # --- beats -----------------------------------------------------------------------------------------------

    def beat(self, every_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """See `SimulatedClock.beat`."""
        is_over = False

        def ring() -> None:
            if is_over or self.is_dead:
                return
            if self.is_paused:
                self._late.append(ring)
                return
            self.world.after(every_s, ring)
            try:
                call()
            except Death:
                assert self.is_dead

        def end() -> None:
            nonlocal is_over
            is_over = True

        self.world.after(every_s, ring)
        return end

    def go_on(self) -> None:
        """SIGCONT."""
        self.is_frozen = self.is_paused = False
        late, self._late = self._late, []
        for ring in late:
            ring()

    def bury(self) -> None:
        """Dispose of what it had under way, so that nothing of it runs or is told when it is collected."""
        for task in self.loop.pending:  # a list that grows as code on its way out begins others
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(BaseException):  # whatever it does then: it is dead
                task.get_coro().close()
