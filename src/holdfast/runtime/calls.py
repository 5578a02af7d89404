"""The calls that an agent's code makes, and their answers: the half of a driver that the agent sees.

A call is put to the machine; what the machine says is carried out by the step's `Performance`, and the caller is
told when the outcome is written and it is its turn. `Driver` adds how the run begins, rests, closes and ends.

Invariants
1. Nothing is told to the agent, and no effect is begun, before the commit that holds the reason for it.
2. While the run is open a step that may not go on does not return: it waits, and unwinds when the run is closed.
3. An effect in flight is never cancelled by its caller, by a stop or by a close; its outcome is recorded.
4. The parts of a run do not hold it, and it lets go of its agent's task at its end: nothing of a run that is over waits
   for the garbage collector, which would have to look through all that lives to find it.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import proxy, ref

from holdfast.core.address import idempotency_key
from holdfast.core.budget import Excess, first_excess
from holdfast.core.command import Ask, Block, Call, Execute, Use
from holdfast.core.events import Address, Charge, Event, Kind
from holdfast.core.heads import Status
from holdfast.core.landing import fence
from holdfast.core.machine import Machine
from holdfast.core.scope import is_of_attempt, is_within
from holdfast.core.state import State
from holdfast.errors import InternalError, JournalError
from holdfast.protocols import Lease
from holdfast.runtime import senders
from holdfast.runtime.deadline import RunTime
from holdfast.runtime.ending import Pace
from holdfast.runtime.notices import Notices
from holdfast.runtime.record import Record
from holdfast.runtime.rest import Silence
from holdfast.runtime.settings import Services
from holdfast.runtime.thread import Bridge, forget, is_at_home, loop_elsewhere
from holdfast.runtime.waits import Waits

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.attempts import Performance
    from holdfast.runtime.steps import Attempting
    from holdfast.runtime.undo import Undo

_Answer = asyncio.Future[Use | Execute]

REFUSALS_MAX = 1_000
"""A task that goes on asking while its run closes is left waiting after so many refusals."""


class Calls(ABC):
    """Answers the calls of one run."""

    def __init__(self, services: Services, lease: Lease, agent: Agent[Any, Any], state: State) -> None:
        self.services = services
        self.agent = agent
        self.lease = lease
        record = self.record = Record(services, lease, state)
        self.machine = self._made_machine()
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        """The one that runs the loop."""
        here: Calls = proxy(self)  # see invariant 4
        self.time = RunTime(here)
        self.silence = Silence(services.clock, lambda: record.is_writing, lambda silence_s: here._on_silence(silence_s))
        self.waits = Waits(
            self.loop,
            services.clock,
            self.silence.touch,
            lambda asked: asked in record.state.questions,
            lambda question: here._expire(question),
        )
        self.latest_at = 0.0
        """Time of the latest event handed to the run: what `run.now` tells."""
        self.allowance = state.allowance
        """Reads that may be under way without an intent, as it is committed."""
        self.reads_at_once = 0
        """Reads under way, with an intent or without."""
        self.reads_cut = 0
        """Reads without an intent that were cut short as the run closed, and that nothing in the record tells of."""
        self.open_reads: set[Attempting] = set()
        """Reads under way without an intent; the allowance covers one."""
        self.is_closing = False
        itself = ref(self)
        self.bridge = Bridge(self.loop, lambda: (driver := itself()) is None or driver.is_closing)
        self.pace = Pace(here)
        self.measure: Callable[[], Any] | None = None
        """The agent's own measure of its progress."""
        self.live_errors: dict[Address, BaseException] = {}
        """What tools raised in this process, for `__cause__`."""
        self.notices = Notices()
        self.undos: dict[tuple[str, str], Undo] = {}
        """What undoes the steps of the tools that were called here, by their name and its own."""
        self.unwinding = asyncio.Lock()
        """Held while steps are undone: they are undone one after the other."""
        self.senders: set[senders.Sender] = set()
        """Of effects that were begun, or are waited for, here."""
        self._waiting: dict[Ask, _Answer] = {}
        self._alike: dict[tuple[str, ...], dict[Ask, _Answer]] = {}
        """The same, by what is asked for."""
        self.counts: dict[tuple[str, str], int] = {}
        """Generators and UUIDs made so far, by scope and name."""
        self._writes: set[asyncio.Task[Any]] = set()
        self._callers: set[asyncio.Task[Any]] = set()
        """The agent's tasks that perform a step of theirs."""
        self._readers: set[asyncio.Future[None]] = set()
        """What the agent's code waits for in the middle of an answer."""
        self._refusals = 0
        self._is_active = False
        self.is_shutting_down = False
        """This process leaves: it begins nothing more."""

    def _made_machine(self) -> Machine:
        """One that looks at the record as it is now."""
        machine = Machine(self.record.state, on_drift=self.agent.on_drift)
        self.record.asked = machine.asked_in
        return machine

    @property
    def state(self) -> State:
        """What the log says."""
        return self.record.state

    @property
    @abstractmethod
    def is_stopping(self) -> bool:
        """Whether the run is about to be stopped or cancelled."""

    @property
    @abstractmethod
    def is_ending(self) -> bool:
        """Whether the run is about to be stopped or cancelled."""

    @abstractmethod
    def leave_behind(self) -> None:
        """Wait no longer for what was cut short and goes on all the same."""

    @abstractmethod
    def stop(self, outcome: Status, why: str, facts: dict[str, Any] | None = None) -> None:
        """Begin nothing more; when what is under way is recorded, the run ends so."""

    @abstractmethod
    async def _expire(self, question: str) -> None:
        """The time of a question has come."""

    @abstractmethod
    async def read_mail(self) -> None:
        """Read what has arrived for the run."""

    @abstractmethod
    async def blocked(self, block: Block) -> NoReturn:
        """The code and the record do not match (P10); does not return."""

    @abstractmethod
    def _on_silence(self, silence_s: float) -> None:
        """Nothing has moved for so long."""

    @abstractmethod
    def _unwind(self) -> None:
        """Begin to close: the agent's code is cancelled."""

    def _set_active(self, is_active: bool) -> None:
        if is_active != self._is_active:
            self._is_active = is_active
            self.services.scribe.active += 1 if is_active else -1

    # --- steps -----------------------------------------------------------------------------------------------

    def replayed(self, call: Call) -> Event | None:
        """The call's outcome when it is next in the record and nothing else is under way; otherwise ask for a step."""
        if self.is_closing or self._waiting or self.record.has_unwritten or not is_at_home(self.thread, self.loop):
            return None
        outcome = self.machine.replay(call)
        if outcome is not None and outcome.at > self.latest_at:
            self.latest_at = outcome.at
        return outcome

    async def step(self, performance: Performance) -> Event:
        """Ask for a step; comes back with its outcome, when it has one and it is its turn."""
        if loop_elsewhere(self.thread, self.loop) is not None:  # a framework's own loop in a thread: asked for on ours
            return await self.bridge.reach(self.step(performance))
        if self.is_closing:
            await self._refuse()
        what = performance.call[:3]
        if what in self._alike:
            self._see_cancelled(self._alike[what])
        ask, command = self.machine.ask(performance.call)
        if isinstance(command, Use) and not self._waiting and not self.record.has_unwritten:
            return self._handed_out(command)
        future: _Answer = self.loop.create_future()
        alike = self._alike.setdefault(what, {})
        self._waiting[ask] = alike[ask] = future
        self._count_callers(len(self._waiting))
        try:
            return await self._answer(ask, command, future, performance, alike)
        except asyncio.CancelledError:
            self._gave_up(ask)
            raise
        finally:
            self._waiting.pop(ask, None)
            del alike[ask]
            if not alike:
                del self._alike[what]
            self._count_callers(len(self._waiting))

    def _see_cancelled(self, alike: dict[Ask, _Answer]) -> None:
        """Callers of the same that were cancelled and have not run since: they gave up before this call."""
        for ask, future in alike.items():
            if future.cancelled():
                self._gave_up(ask)

    def _gave_up(self, ask: Ask) -> None:
        """A caller no longer waits. It is recorded, unless it was us who cancelled it."""
        if not self.is_closing and self.machine.gave_up(ask):
            call = ask.call
            self.record.note_step(Kind.STEP_ABANDONED, ask.address, call.step, call.effect)

    def _count_callers(self, count: int) -> None:
        self.silence.callers = count
        self.record.is_lone = count <= 1

    async def _answer(
        self,
        ask: Ask,
        command: Use | Execute | None,
        future: _Answer,
        performance: Performance,
        alike: dict[Ask, _Answer],
    ) -> Event:
        """command: what the machine said at once. It comes by the future when it could not."""
        self._pump()
        self.silence.touch()
        if command is None:
            command = await future
        while isinstance(command, Execute):
            if self.is_closing:
                await self._refuse()
            is_inner = is_of_attempt(command.address.scope)  # a body that was begun must come to its end
            if (self.is_stopping or self.is_shutting_down) and not is_inner:
                await self.never()
            if future.done():
                future = self._waiting[ask] = alike[ask] = self.loop.create_future()
            self._set_active(True)
            self.machine.performing(command.address, is_performed=True)
            if performance.is_write:
                _ = self._apart(performance.perform(self, command))
            else:
                await self._here(performance, command)
            command = await future
        if self.record.has_unwritten:
            await self.write()
        outcome = self._handed_out(command)
        self._pump()
        return outcome

    async def _here(self, performance: Performance, command: Execute) -> None:
        """Perform in the caller's task: cancelled with it."""
        caller = asyncio.current_task(self.loop)
        assert caller is not None
        self._callers.add(caller)
        try:
            await performance.perform(self, command)
        except JournalError as error:  # a store that could not be read: the run goes on where it can
            await self.lost(error)
        except Exception as bug:  # what the world does is a fact, and returned; so this is ours
            await self.lost_by(bug)
        finally:
            self._callers.discard(caller)
            self.machine.performing(command.address, is_performed=False)

    async def performed(self, performance: Performance, command: Execute) -> None:
        """Carry out a step that no code of the agent asks for; it is not cancelled with whoever waits here."""
        await asyncio.wait({self._apart(performance.perform(self, command))})

    def _apart(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Perform in a task of ours: an effect is not cancelled with its caller."""
        task = self.loop.create_task(coroutine, name=f"effect of {self.lease.run_id}")
        self._writes.add(task)
        task.add_done_callback(self._apart_done)
        return task

    def _apart_done(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            bug = InternalError(f"A step could not be carried on: {error!r}. Its outcome is unknown.")
            self._lose(error if isinstance(error, JournalError) else bug)
        self.silence.touch()

    def _handed_out(self, command: Use) -> Event:
        outcome = command.outcome
        if outcome.at > self.latest_at:
            self.latest_at = outcome.at
        return outcome

    def _pump(self) -> None:
        if not self.machine.is_awaited:
            return
        for ask, command in self.machine.ready():
            self._tell(ask, command)

    def _tell(self, ask: Ask, command: Use | Execute) -> None:
        future = self._waiting.get(ask)
        if future is not None and not future.done():
            future.set_result(command)
        self.silence.touch()

    def conclude(self, address: Address) -> None:
        """An outcome of this step was written: its caller may have it, and others may come next."""
        found = self.machine.recorded(address)
        if found is not None:
            self._tell(*found)
        self._pump()

    async def _refuse(self) -> NoReturn:
        """A closing run begins nothing: cancelled after one turn of the loop, and in the end left waiting."""
        self._refusals += 1
        if self._refusals >= REFUSALS_MAX:
            forget(asyncio.current_task(self.loop))  # named, as collected coroutines ask without a running loop
            await self.never()
        await asyncio.sleep(0)
        raise asyncio.CancelledError(f"run {self.lease.run_id} is closing; the step was not begun")

    async def never(self) -> NoReturn:
        """Wait for the end of the run: what may not go on does not return."""
        while True:
            await self.loop.create_future()

    async def heard(self, news: asyncio.Future[None]) -> None:
        """Wait for more of an answer that is being read; unwinds when the run is closed."""
        if self.is_closing:
            await self._refuse()
        self._readers.add(news)
        try:
            await news
        finally:
            self._readers.discard(news)

    def _unwind_readers(self) -> None:
        for news in list(self._readers):
            news.cancel()

    # --- for steps -------------------------------------------------------------------------------------------

    @property
    def is_priced(self) -> bool:
        """Whether some budget that this run pays from has a cap in dollars, so that what a call costs must be known."""
        state = self.state
        return state.limits.usd_nano is not None or state.books.is_priced or self.services.caps.is_priced

    @property
    def used(self) -> Charge:
        """Spent, reserved, under way as a read without a reservation, or kept apart for steps that undo."""
        state = self.record.state
        used = state.used.plus(state.conduct.fenced) if state.conduct.undoable else state.used
        return used.plus(self.unnoted) if self.open_reads or self.reads_cut else used

    @property
    def reads_open(self) -> int:
        """How many reads are under way without an intent."""
        return len(self.open_reads)

    @property
    def unnoted(self) -> Charge:
        """Reads that were begun without an intent, and that the record does not tell of."""
        return Charge(tool_calls=self.reads_open + self.reads_cut)

    def excess(self, charge: Charge, marks: Mapping[str, Any], address: Address) -> Excess | None:
        """Why this charge of a step with these marks does not fit; None when it does."""
        used, state = self.used, self.record.state
        if "undoes" in marks:
            used = used.minus(state.conduct.fenced)
        elif "undo" in marks and address not in state.conduct.undoable:
            used = used.plus(fence(1))
        return first_excess(state.limits, used, charge)

    def sends(self, address: Address, logical: int, number: int) -> senders.Sender:
        """An effect is about to begin: known as long as its body may act."""
        sender = senders.begins(self._place(address), logical, number)
        self.senders.add(sender)
        return sender

    def left(self, sender: senders.Sender) -> None:
        """Nothing more is to be heard of it here, unless it lives on."""
        sender.left()
        if sender.is_alive:
            sender.when_over(partial(senders.wake, self.loop, self.silence.touch))
        else:
            self.senders.discard(sender)

    def sending(self, address: Address) -> senders.Sender | None:
        """Who in this process may still act for this step, or did so after whoever waited had left."""
        sender = senders.known(self._place(address))
        if sender is not None:
            self.senders.add(sender)
        return sender

    def _place(self, address: Address) -> senders.Place:
        services = self.services
        store = services.journal.hash_key
        return senders.Place(store, services.tenant, self.lease.run_id, address, senders.process.get())

    async def write(self) -> None:
        """Commit what was added; does not come back when the run is lost."""
        if not await self.record.write() and self.record.refusal is not None:
            await self.lost(self.record.refusal)

    async def lost(self, error: JournalError | InternalError) -> NoReturn:
        """The run is no longer ours: nothing more is begun or written, and this does not return."""
        self._lose(error)
        await self.never()

    async def lost_by(self, bug: Exception) -> NoReturn:
        """Our own code failed: the run is given back with an error that says so. The agent, or an SDK, which would
        call it a connection error and try again, never sees it."""
        error = InternalError(f"A step of run {self.lease.run_id} could not be carried on: {bug!r}.")
        error.__cause__ = bug
        await self.lost(error)

    def _lose(self, error: JournalError | InternalError) -> None:
        self.record.refusal = self.record.refusal or error
        if not self.is_closing:
            self._unwind()

    def key_for(self, address: Address, logical: int) -> str:
        """The idempotency key of this logical attempt."""
        services = self.services
        return idempotency_key(services.journal.hash_key, services.tenant, self.lease.run_id, address, logical)

    def begins(self, scope: str) -> None:
        """The body of a composite begins: as on every replay of it."""
        self.machine.begins(scope)
        for key in [key for key in self.counts if is_within(key[0], scope)]:
            del self.counts[key]
