"""The world of one seed: its time, its processes, its store, and what happens in it.

Invariants
1. One thing happens at a time, drawn by the seed; nothing depends on a hash, an address or a real clock.
2. Time goes on only when no process has anything to do.
3. After `TROUBLE_S` the faults stop and people answer; what has not ended by `END_S` is wrong.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from holdfast.core.events import Event
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import Random
from holdfast.testing import simulated_fault
from holdfast.testing.oracle import Oracle
from holdfast.testing.receiver import Receiver
from holdfast.testing.simulated_journal import unreachable
from holdfast.testing.simulated_loop import Timer
from holdfast.testing.simulated_people import People
from holdfast.testing.simulated_process import Process

if TYPE_CHECKING:
    from holdfast.testing.simulation import Scenario

BEGAN_AT: Final = 1_700_000_000.0
TROUBLE_S: Final = 60.0
"""For so long things go wrong; then they stop."""
END_S: Final = 400.0
"""By then every run must have ended."""
TURNS_MAX: Final = 20_000
"""A world that turns more often goes round in circles."""
RESTART_S_MAX: Final = 4.0
"""A process that is gone is started again after so long at most; mostly at once, as supervisors do it."""
INSTANTS_IN_S: Final = 2**20
"""Time goes on in such steps, so that sums of times, also on the calendar, are exact."""


class World:
    """One seed's world."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.chance = Random(seed)
        self.context = contextvars.copy_context()
        """Of code that belongs to nobody: processes are started in the middle of what others do."""
        self.now_s = 0.0
        self.shuffles = self.chance.random() < 0.7
        self._calendar = BEGAN_AT
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._turns = 0
        self.points = 0
        self.happened: list[tuple[float, str]] = []
        """All of it, with its times."""
        self._proven_dead: set[str] = set()
        self.store = MemoryJournal(clock=self.now, is_dead=lambda worker: worker.id in self._proven_dead)
        self.oracle = Oracle(self.store, self._appended)
        may_replace = self.chance.random() < 0.5
        self.receiver = Receiver(checks_epochs=may_replace)
        lease_s = scenario.settings.lease_s
        self._faults = simulated_fault.drawn(self.chance, scenario.faults_max, lease_s, may_replace=may_replace)
        self._hearing = self.chance.choice((0.0, 0.2, 1.0))
        self.version = 0
        self.processes: list[Process] = []
        self._dead: list[Process] = []
        self._started = 0
        self.starts = list(scenario.starts(self.chance))
        self.people = People(self)
        self._told: dict[tuple[str, str], str] = {}
        for _ in range(self.chance.randint(2, max(2, scenario.workers))):
            self._start_process()
        for start in self.starts:
            self.after(start.at_s, lambda start=start: self.people.want(start))  # type: ignore[misc]

    # --- time ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The calendar, seconds since the epoch."""
        return self._calendar + self.now_s

    def set_calendar(self, by_s: float) -> None:
        """Somebody sets the clock of every machine."""
        self.oracle.latest()
        self._calendar += _instant(by_s)

    def at(self, when_s: float, timer: Timer) -> None:
        """See `simulated_loop.Time`."""
        self._numbers += 1
        heapq.heappush(self._timers, (_instant(when_s), self._numbers, timer.ring))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Something of the world happens then, whatever becomes of any process."""
        self._numbers += 1
        heapq.heappush(self._timers, (_instant(self.now_s + delay_s), self._numbers, call))

    def run(self, until_s: float, is_over: Callable[[], bool]) -> None:
        """Let the world go on until then, or until it is over."""
        while not is_over() and self._turns < TURNS_MAX:
            ready = [each for each in self.processes if each.loop.ready and not each.is_frozen]
            if ready:
                self._turns += 1
                ready[self.chance.randrange(len(ready)) if len(ready) > 1 else 0].turn()
            elif not self._timers or self._timers[0][0] > until_s:
                self.now_s = max(self.now_s, _instant(until_s))
                return
            else:
                when_s, _, call = heapq.heappop(self._timers)
                self.now_s = max(self.now_s, when_s)
                call()

    def freeze(self, process: Process, span_s: float, *, is_whole: bool) -> None:
        """The process stands still in the middle of what it does, and the others go on."""
        if process.is_frozen:
            return
        process.is_frozen, process.is_paused = True, is_whole
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self.run(self.now_s + span_s, lambda: False)
        finally:
            asyncio._set_running_loop(outer)
        process.go_on()
        if process.is_dead:
            process.reach("dead")

    # --- what happens ----------------------------------------------------------------------------------------

    def happen(self) -> None:
        """From the beginning to the end of this world."""
        self.run(TROUBLE_S, self.is_done)
        self._faults.clear()
        for process in self.processes:
            process.down_until = 0.0
        rounds = 0
        while not self.is_done() and self.now_s < END_S and self._turns < TURNS_MAX:
            self.people.help(rounds)
            rounds += 1
            self.run(self.now_s + 15.0, self.is_done)
        self._end()

    def is_done(self) -> bool:
        """Whether every run that was wanted was accepted, and has ended."""
        if self.oracle.open_count or self.people.plans:
            return False
        return len(self.people.accepted) == len(self.starts)

    def put_version(self, version: int) -> None:
        """Every process is to run this version of the code."""
        if version != self.version:
            self.version = version
            for process in list(self.processes):
                process.stop()

    def _end(self) -> None:
        for run in self.oracle.open_runs:
            head, owner = self.store.head(run), self.store.owner(run)
            what = f"{head.status} {head.why}" if head is not None else "not there"
            self.oracle.wrong(f"P2: {run} never ended: {what}, wake {head and head.wake_at}, owner {owner}")
        if self._turns >= TURNS_MAX:
            self.oracle.wrong("it goes round in circles")
        for start in self.starts:
            if start.key not in self.people.accepted:
                self.oracle.wrong(f"P1: {start.key} was never accepted")
        self.oracle.finish()
        self._check_effects()
        for problem in self.scenario.check(self):
            self.oracle.wrong(problem)

    def _check_effects(self) -> None:
        """P4, P5, P7 by what has arrived."""
        for key, there in self.receiver.arrived.items():
            if len(there) > 1:
                self.oracle.wrong(f"P4: {there[0].name} of {there[0].run} happened {len(there)} times under {key[:8]}")
        for key, arguments in self.receiver.arguments.items():
            if len(arguments) > 1:
                self.oracle.wrong(f"P5: key {key[:8]} was sent with {sorted(arguments)}")
        for run, bodies in self.receiver.bodies.items():
            state = self.oracle.states[run]
            charged = state.spent.tool_calls + state.reserved.tool_calls
            if bodies > charged:
                self.oracle.wrong(f"P7: {run} began {bodies} bodies and was charged {charged} calls")
        self._check_caps()
        self.count("stale_refused", self.receiver.stale)
        self.count("deduplicated", self.receiver.deduplicated)

    def _check_caps(self) -> None:
        """P7: no family began more bodies than its first run has a cap for."""
        begun: dict[str, int] = {}
        for run, bodies in self.receiver.bodies.items():
            root, states = run, self.oracle.states
            while states[root].parent and not states[root].is_detached:
                root = states[root].parent
            begun[root] = begun.get(root, 0) + bodies
        for root, bodies in begun.items():
            cap = self.oracle.states[root].limits.tool_calls
            if cap is not None and bodies > cap:
                self.oracle.wrong(f"P7: {root} has a cap of {cap} calls, and it and its children began {bodies}")

    # --- processes -------------------------------------------------------------------------------------------

    def _start_process(self) -> None:
        self._started += 1
        self.processes.append(Process(self, self._started, self.scenario.agents(self.version)))

    def kill(self, process: Process) -> None:
        """SIGKILL; another process is started a while later."""
        self.trace(f"{process.name} dies")
        self.count("crash")
        process.die()
        if self.chance.random() < 0.6:
            self._proven_dead.update(process.journal.workers)
        self._gone(process)

    def ended(self, process: Process) -> None:
        """It has ended by itself."""
        process.die()
        self._gone(process)

    def _gone(self, process: Process) -> None:
        self.processes.remove(process)
        self._dead.append(process)
        self.after(self.chance.random() ** 3 * RESTART_S_MAX, self._start_process)

    def deploy(self) -> None:
        """Every process that is started from now on has the next version of the code, and one is started at once."""
        self.version += 1
        if self.processes:
            self.processes[0].stop()

    def reach(self, process: Process, label: str) -> None:
        """A process has come to a point; see `simulated_journal.Place`."""
        self.points += 1
        if label.endswith(("after", "sent")):
            self.trace(f"{process.name} {label}")
        if self._faults and self._faults[0].at <= self.points:
            self._strike(process, label)
        if process.down_until > self.now_s and not label.startswith("effect"):
            raise unreachable(label)

    def hears(self) -> bool:
        """Whether a doorbell that is rung now is heard: it is a hint, and may be lost."""
        is_heard = self.chance.random() < self._hearing
        self.count("bells_heard" if is_heard else "bells_lost")
        return is_heard

    def _strike(self, process: Process, label: str) -> None:
        fault = self._faults.pop(0)
        self.trace(f"{fault.kind} at {process.name} {label}")
        if not simulated_fault.strike(self, process, fault, label):
            self._faults.insert(0, fault)

    def told(self, run: str, what: str, result: Any) -> None:
        """An agent tells what one of its operations came to: what it was told once it must be told ever after."""
        text = repr(result)
        if self._told.setdefault((run, what), text) != text:
            self.oracle.wrong(f"replay: {what} of {run} was {self._told[run, what]} and is {text}")

    def _appended(self, run: str, event: Event) -> None:
        self.trace(f"{run[:8]} {event.kind} {event.address and event.address.name} {event.logical}.{event.attempt}")
        self.people.see(run, event)

    # --- the record of this world ----------------------------------------------------------------------------

    def count(self, what: str, times: int = 1) -> None:
        """Something was seen."""
        self.oracle.seen[what] += times

    def trace(self, line: str) -> None:
        """Something happened."""
        self.happened.append((self.now_s, line))

    def close(self) -> None:
        """Nothing of this world goes on."""
        for process in self.processes:
            process.die()
        for process in (*self._dead, *self.processes):
            process.bury()


def _instant(at_s: float) -> float:
    """The first instant that is not before this time."""
    return ceil(at_s * INSTANTS_IN_S) / INSTANTS_IN_S
