"""One run in memory: performs what the machine decides, and writes what happened.

The driver owns the run's task and answers the agent's calls; decisions are in `core`, the writing is in `record`,
the performing of one step in `steps`, mail in `mailroom`, silence in `rest`.

Invariants
1. Nothing is told to the agent, and no effect is begun, before the commit that holds the reason for it.
2. While the run is open a step that may not go on does not return: it waits, and unwinds when the run is closed.
3. An effect in flight is never cancelled by its caller, by a stop or by a close; its outcome is recorded.
4. After the lease is lost nothing more is begun or written.
5. The run leaves this process exactly once; `on_change` is told with `is_gone` set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.core.address import idempotency_key
from holdfast.core.budget import first_excess
from holdfast.core.events import Address, Charge, Event, Kind, meta
from holdfast.core.heads import Status, Why
from holdfast.core.machine import Ask, Block, Call, Execute, Machine, Use
from holdfast.core.state import State
from holdfast.errors import InternalError, JournalError
from holdfast.protocols import Claim
from holdfast.runtime import current, mailroom
from holdfast.runtime.record import Record
from holdfast.runtime.rest import Silence
from holdfast.runtime.settings import Services
from holdfast.runtime.thread import Bridge

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent
    from holdfast.runtime.steps import Performance

_Answer = asyncio.Future[Use | Execute]

REFUSALS_MAX = 1_000
"""A task that goes on asking while its run closes is left waiting after so many refusals."""


class Driver:
    """Drives one claimed run until it ends, waits, or is lost."""

    def __init__(self, services: Services, claim: Claim, agent: Agent[Any, Any], state: State) -> None:
        self.services = services
        self.agent = agent
        self.lease = claim.lease
        self.was_taken_over = claim.is_takeover or state.status is Status.RUNNING
        """Whether the last owner left it in the middle; also an owner in this process can, when its store fails."""
        self.record = Record(services, claim.lease, state)
        self.machine = Machine(state)
        self.record.asked = lambda: self.machine.asked
        self.loop = asyncio.get_running_loop()
        self.bridge = Bridge(self.loop)
        self.silence = Silence(services.clock, self._on_silence)
        self.latest_at = 0.0
        """Time of the latest event handed to the run: what `run.now` tells."""
        self.reads_open = 0
        """Reads under way without an intent; the allowance covers one."""
        self.has_rested = False
        """Whether it came to rest here: before that, "suspended" only tells how the last owner left it."""
        self.is_closing = False
        self.is_gone = False
        self.error: BaseException | None = None
        """What the agent raised, or why the run was lost."""
        self.live_errors: dict[Address, BaseException] = {}
        """What tools raised in this process, for `__cause__`."""
        self._waiting: dict[Ask, _Answer] = {}
        self._alike: dict[tuple[str, ...], dict[Ask, _Answer]] = {}
        """The same, by what is asked for."""
        self._questions: dict[str, asyncio.Future[None]] = {}
        self._writes: set[asyncio.Task[Any]] = set()
        self._callers: set[asyncio.Task[Any]] = set()
        """The agent's tasks that perform a step of theirs."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stop: tuple[Status, str, dict[str, Any]] | None = None
        self._root: asyncio.Task[Any] | None = None
        self._stuck: asyncio.Future[None] = self.loop.create_future()
        """Done when the agent's code did not unwind in time."""
        self._main: asyncio.Task[None] | None = None
        self._refusals = 0
        self._is_active = False
        self._is_shutting_down = False

    @property
    def state(self) -> State:
        """What the log says."""
        return self.record.state

    @property
    def is_waiting(self) -> bool:
        """Whether the run came to rest here and waits for a message or a time."""
        return self.has_rested and self.state.status is Status.SUSPENDED

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to drive, in a task of its own."""
        self._main = self.loop.create_task(self._drive(), name=f"holdfast {self.lease.run_id}")

    async def finished(self) -> None:
        """Wait until the run has left this process."""
        if self._main is not None:
            await asyncio.wait({self._main})

    async def _drive(self) -> None:
        self._set_active(True)
        try:
            await mailroom.open_mail(self)
            is_blocked = self.state.status is Status.SUSPENDED and self.state.why in (Why.DRIFT, Why.HOLD)
            if self._stop is not None:
                await self._end_stopped()
            elif self.record.refusal is not None or self.state.status.is_end or is_blocked:
                self._release(None)
            else:
                await self._run_agent()
        except JournalError as error:
            self.record.refusal = self.record.refusal or error
            self._unwind()
            await self._unwound()
        except Exception as bug:  # the run is given back, and whoever waits for it is told
            self.record.refusal = InternalError(f"Run {self.lease.run_id} could not be driven on: {bug!r}.")
            self.record.refusal.__cause__ = bug
            self._unwind()
            await self._unwound()
        finally:
            self._leave()

    async def _run_agent(self) -> None:
        self.latest_at = self.state.created_at
        self._root = self.loop.create_task(
            self.agent.begin(self),
            name=f"agent {self.lease.run_id}",
            context=current.copied(current.Place(self)),
        )
        self.silence.listen(self.services.settings.quiet_s)
        await asyncio.wait({self._root, self._stuck}, return_when=asyncio.FIRST_COMPLETED)
        await self.silence.until(self._is_settled)
        if self.record.refusal is not None:
            await self._unwound()
        elif self._stop is not None:
            await self._end_stopped()
        elif self.is_closing:
            self._release(self.state.wake_at)
        else:
            await self._end(self._root)

    def _is_settled(self) -> bool:
        """Effects in flight or in doubt, also abandoned ones, get their outcome before the run ends."""
        if self.record.refusal is not None or self.is_closing:
            return True
        return self._is_idle() if self._stop is not None else not self._writes

    def _leave(self) -> None:
        self._set_active(False)
        self.silence.stop()
        self.is_closing = True
        for task in (*self._tasks, *self._writes, *self._callers):
            task.cancel()
        for future in self._waiting.values():  # of tasks and threads that outlive their agent
            future.cancel()
        self.bridge.unwind()
        if self._root is not None and self._root.done() and not self._root.cancelled():
            self._root.exception()  # seen, so that the loop does not report it again
        self.is_gone = True
        self.error = self.error or self.record.refusal
        self.services.on_change(self)

    def _set_active(self, is_active: bool) -> None:
        if is_active != self._is_active:
            self._is_active = is_active
            self.services.scribe.active += 1 if is_active else -1

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- steps -----------------------------------------------------------------------------------------------

    def replayed(self, call: Call) -> Event | None:
        """The call's outcome when it is next in the record and nothing else is under way; otherwise ask for a step."""
        if self.is_closing or self._waiting or self.record.has_unwritten:
            return None
        outcome = self.machine.replay(call)
        if outcome is not None and outcome.at > self.latest_at:
            self.latest_at = outcome.at
        return outcome

    async def step(self, performance: Performance) -> Event:
        """Ask for a step; comes back with its outcome, when it has one and it is its turn."""
        if self.is_closing:
            await self._refuse()
        what = performance.call[:3]
        self._see_cancelled(self._alike.get(what, {}))
        ask, command = self.machine.ask(performance.call)
        if isinstance(command, Use) and not self._waiting and not self.record.has_unwritten:
            return self._handed_out(command)
        future: _Answer = self.loop.create_future()
        alike = self._alike.setdefault(what, {})
        self._waiting[ask] = alike[ask] = future
        self._count_callers()
        if command is not None:
            future.set_result(command)
        try:
            return await self._answer(ask, future, performance, alike)
        except asyncio.CancelledError:
            self._gave_up(ask)
            raise
        finally:
            self._waiting.pop(ask, None)
            del alike[ask]
            if not alike:
                del self._alike[what]
            self._count_callers()

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

    def _count_callers(self) -> None:
        self.silence.callers = len(self._waiting)
        self.record.is_lone = len(self._waiting) <= 1

    async def _answer(self, ask: Ask, future: _Answer, performance: Performance, alike: dict[Ask, _Answer]) -> Event:
        self._pump()
        self.silence.touch()
        command = await future
        while isinstance(command, Execute):
            if self.is_closing:
                await self._refuse()
            if self._stop is not None or self._is_shutting_down:
                await self.never()
            future = self._waiting[ask] = alike[ask] = self.loop.create_future()
            self._set_active(True)
            self.machine.performing(command.address, is_performed=True)
            if performance.is_write:
                self._apart(performance.perform(self, command))
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
        caller = asyncio.current_task()
        assert caller is not None
        self._callers.add(caller)
        try:
            await performance.perform(self, command)
        finally:
            self._callers.discard(caller)
            self.machine.performing(command.address, is_performed=False)

    def _apart(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Perform in a task of ours: an effect is not cancelled with its caller."""
        task = self.loop.create_task(coroutine, name=f"effect of {self.lease.run_id}")
        self._writes.add(task)
        task.add_done_callback(self._apart_done)

    def _apart_done(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(InternalError(f"A step could not be carried on: {error!r}. Its outcome is unknown."))
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
            _forget(asyncio.current_task(self.loop))  # named, as collected coroutines ask without a running loop
            await self.never()
        await asyncio.sleep(0)
        raise asyncio.CancelledError(f"run {self.lease.run_id} is closing; the step was not begun")

    async def never(self) -> NoReturn:
        """Wait for the end of the run: what may not go on does not return."""
        while True:
            await self.loop.create_future()

    # --- writing, budget, stop -------------------------------------------------------------------------------

    async def write(self) -> None:
        """Commit what was added; does not come back when the run is lost."""
        if not await self.record.write() and self.record.refusal is not None:
            await self.lost(self.record.refusal)

    async def lost(self, error: JournalError | InternalError) -> NoReturn:
        """The run is no longer ours: nothing more is begun or written, and this does not return."""
        self._lose(error)
        await self.never()

    def _lose(self, error: JournalError | InternalError) -> None:
        self.record.refusal = self.record.refusal or error
        if not self.is_closing:
            self._unwind()

    async def reserve(self, charge: Charge) -> None:
        """Come back when `charge` fits; otherwise the run is stopped and this does not return."""
        used = self.state.used
        if self.reads_open:
            used = used.plus(Charge(tool_calls=self.reads_open))
        excess = first_excess(self.state.limits, used, charge)
        if excess is not None:
            how = f"holdfast resume {self.lease.run_id} --raise {excess.raise_flag}"
            why = f"budget: {excess}. Nothing was sent. Go on with `{how}`."
            self.stop(Status.STOPPED, why, {"limit": excess.name})
            await self.never()

    def stop(self, outcome: Status, why: str, facts: dict[str, Any] | None = None) -> None:
        """Begin nothing more; when what is under way is recorded, the run ends so. A cancel outranks a limit."""
        is_first = self._stop is None
        if is_first or outcome is Status.CANCELLED:
            self._stop = (outcome, why, facts or {})
        if is_first:
            self._in_background(self._close_when_idle())
        self.silence.touch()

    @property
    def is_stopping(self) -> bool:
        """Whether the run is about to be stopped or cancelled."""
        return self._stop is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel was read; nothing that arrives after it counts."""
        return self._stop is not None and self._stop[0] is Status.CANCELLED

    def _is_idle(self) -> bool:
        """Effects are over, and before a stop also reads and model calls."""
        return not (self.silence.moving_writes if self.is_cancelled else self.silence.moving)

    async def _close_when_idle(self) -> None:
        await self.silence.until(self._is_idle)
        await self.close()

    # --- the end ---------------------------------------------------------------------------------------------

    async def _end(self, root: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError("the agent was cancelled") if root.cancelled() else root.exception()
        how = "nothing more: it returned" if error is None else f"nothing more: it raised {error!r}"
        block = self.machine.unexplained(how)
        if block is not None:
            await self._block(block)
            return
        for address in self.machine.unused_reads():
            self.record.note(Kind.DRIFT_FOUND, meta(rule="unused"), address=address)
        if error is None:
            encoded, error = self.agent.encoded(root.result())
            if error is None:
                await self._write_end(meta(outcome=Status.SUCCEEDED), encoded)
                return
        self.error = error
        await self._write_end(self.agent.failure(error), None)

    async def _end_stopped(self) -> None:
        if self._stop is not None:
            outcome, why, facts = self._stop
            await self._write_end(meta(outcome=outcome, why=why, **facts), None)

    async def _write_end(self, facts: str, body: bytes | None) -> None:
        self.is_closing = True  # a task that outlives its agent begins nothing any more
        while True:
            self.record.mail_read = self.record.mail_seen
            self.record.note(Kind.RUN_ENDED, facts, body=body)
            self.record.is_last = True
            if await self.record.write() or not self.record.take_back_end():
                break
            self.record.is_last = False
            await mailroom.open_mail(self)
            if self._stop is not None:
                outcome, why, more = self._stop
                facts, body = meta(outcome=outcome, why=why, **more), None
        self._release(None)

    async def _block(self, block: Block) -> None:
        """Suspend: the code and the record do not match; both sides are kept for a person."""
        is_over = self._root is None or self._root.done()
        self.is_closing = self.is_closing or is_over
        why = Why.HOLD if block.is_hold else Why.DRIFT
        difference = {"asked": block.asked, "recorded": list(block.recorded)}
        self.record.note(Kind.RUN_SUSPENDED, meta(why=why, difference=difference))
        await self.record.write()
        if is_over:
            self._release(None)
        else:
            await self.close()

    async def unfit(self, what: str, recorded: str, error: Exception) -> NoReturn:
        """A recorded value does not fit the type that the code declares now: blocked (P10); does not return."""
        self._in_background(self._block(Block(False, f"{what}: {error}", (recorded,))))
        await self.never()

    # --- rest and close --------------------------------------------------------------------------------------

    def _on_silence(self, silence_s: float) -> None:
        if self.is_closing or self._stop is not None:
            return
        found = self.machine.rest_order()
        if found is not None:
            ask, use, skipped = found
            facts = meta(rule="order", asked=str(ask.address), recorded=[str(address) for address in skipped])
            self.record.note(Kind.DRIFT_FOUND, facts, address=ask.address)
            self._tell(ask, use)
            self.silence.listen(self.services.settings.quiet_s)
        else:
            self._in_background(self._rest(silence_s))

    async def _rest(self, silence_s: float) -> None:
        settings = self.services.settings
        await self._suspend()
        block = self.machine.rest_block() if silence_s >= settings.park_s else None
        if silence_s < settings.park_s:
            self.silence.listen(settings.quiet_s if silence_s + settings.quiet_s < settings.park_s else settings.park_s)
        elif block is not None:
            await self._block(block)
        elif (void := self.machine.rest_void()) is not None:
            self.record.note(Kind.DRIFT_FOUND, meta(rule="abandoned"), address=void[0].address)
            self._tell(*void)
            self.silence.listen(settings.quiet_s)
        else:
            await self.close()

    async def _suspend(self) -> None:
        """Write why the run waits, when it waits on us and that is news."""
        found = self.silence.reason()
        if found is None:
            return
        if (self.state.why, self.state.wake_at) != found:
            self.record.note(Kind.RUN_SUSPENDED, meta(why=found[0], until=found[1]))
        await self.write()
        self.has_rested = True
        self._set_active(False)
        self.services.on_change(self)

    async def close(self) -> None:
        """Unwind the agent's code; `_run_agent` then gives the run back."""
        if self.is_closing or self._root is None:
            return
        self._unwind()
        await self._unwound()
        if not self._root.done() and not self._stuck.done():
            self._stuck.set_result(None)

    def close_soon(self) -> None:
        """Close in the background: there are too many parked runs."""
        self._in_background(self.close())

    def _unwind(self) -> None:
        self.is_closing = True
        self.silence.touch()
        if self._root is not None:
            self._root.cancel()
        for future in list(self._waiting.values()):
            future.cancel()
        self.bridge.unwind()

    async def _unwound(self) -> None:
        if self._root is not None:
            await asyncio.wait({self._root}, timeout=self.services.settings.close_s)

    async def shut_down(self) -> None:
        """SIGTERM: effects in flight finish, the rest unwinds, the run is due at once elsewhere."""
        self._is_shutting_down = True
        if not self.is_closing and not self.is_gone:
            give_up = self.services.clock.monotonic() + self.services.settings.drain_s
            call_off = self.services.clock.call_later(self.services.settings.drain_s, self.silence.touch)
            await self.silence.until(
                lambda: not self.silence.moving_writes or self.services.clock.monotonic() >= give_up
            )
            call_off()
            if self.state.status is Status.RUNNING and self._stop is None:
                self.record.note(Kind.RUN_SUSPENDED, meta(why=Why.SHUTDOWN, until=self.record.now()))
                await self.record.write()
            await self.close()
        await self.finished()

    def _release(self, wake_at: float | None) -> None:
        if self.record.refusal is None and not self.record.is_given_back:
            self.services.journal.release(self.lease, wake_at)

    # --- for steps -------------------------------------------------------------------------------------------

    def key_for(self, address: Address, logical: int) -> str:
        """The idempotency key of this logical attempt."""
        services = self.services
        return idempotency_key(services.journal.hash_key, services.tenant, self.lease.run_id, address, logical)

    def wake(self, question: str) -> None:
        """This question may have been closed."""
        future = self._questions.pop(question, None)
        if future is not None and not future.done():
            future.set_result(None)

    async def answered(self, question: str, expires_at: float | None = None) -> None:
        """Wait until the question is closed; at its time close it with its default."""
        clock = self.services.clock
        while question in self.state.questions:
            future = self._questions[question] = self.loop.create_future()
            delay_s = None if expires_at is None else max(0.0, expires_at - clock.now())
            call_off = None if delay_s is None else clock.call_later(delay_s, lambda: self.wake(question))
            try:
                await future
            finally:
                if call_off is not None:
                    call_off()
            if expires_at is not None and clock.now() >= expires_at:
                await mailroom.expire(self, question)

    async def until(self, at: float) -> None:
        """Wait for a time of the store's clock; never early."""
        clock = self.services.clock
        while (left_s := at - clock.now()) > 0:
            woken: asyncio.Future[None] = self.loop.create_future()
            call_off = clock.call_later(left_s, partial(_settle, woken))
            try:
                await woken
            finally:
                call_off()


def _forget(task: asyncio.Task[Any] | None) -> None:
    """Nobody waits for this task at exit: it swallows every cancellation, and `asyncio.run` would never return."""
    if task is not None:
        asyncio.tasks._unregister_task(
            task
        )  # documented under "Extending asyncio", for tasks `all_tasks` shall not see
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio does for tasks it gives up


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
