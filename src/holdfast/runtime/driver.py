"""One run in memory, from its claim until it leaves this process.

The driver owns the run's task: how it begins, rests, is closed and ended. The agent's calls and their answers are in
`calls`, how the run is brought to a stop in `stopping`, the writing in `record`, the performing of one step in `steps`
and `pauses`, mail in `mailroom`, silence in `rest`; what may happen next is decided in `core`.

Invariants (those of `calls` and `stopping` hold too)
1. After the lease is lost nothing more is begun or written.
2. A run with an effect in flight or in doubt does not end; one whose record is not explained is blocked.
3. The run leaves this process exactly once; `on_change` is told with `is_gone` set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.core.blemish import with_blemishes
from holdfast.core.command import Block
from holdfast.core.events import Event, Kind, meta
from holdfast.core.heads import MISMATCHED, Status, Why
from holdfast.core.state import State
from holdfast.errors import InternalError, JournalError, LeaseLost, StoreFull
from holdfast.protocols import Claim
from holdfast.runtime import (
    chapter,
    child,
    crashloop,
    current,
    ending,
    mailroom,
    mismatch,
    overdraft,
    salvage,
    unseen,
    unwind,
)
from holdfast.runtime.facts import causes
from holdfast.runtime.settings import Services
from holdfast.runtime.stopping import Stopping
from holdfast.runtime.thread import let_go, loop_elsewhere

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent

KEPT = "the run stays with its process until the body or the process has ended"


class Driver(Stopping):
    """Drives one claimed run until it ends, waits, or is lost."""

    def __init__(self, services: Services, claim: Claim, agent: Agent[Any, Any], state: State) -> None:
        super().__init__(services, claim.lease, agent, state)
        self.was_taken_over = claim.is_takeover or state.status is Status.RUNNING
        """Whether the last owner left it in the middle; also an owner in this process can, when its store fails."""
        self.alive_until = None if claim.held_until is None else claim.held_until - services.settings.lease_s
        """Of a takeover: when its last owner last renewed its lease, if that is known."""
        self.has_begun = False
        """Whether it has read the mail that it was claimed with: before that, the store says that there is some."""
        self.has_rested = False
        """Whether it came to rest here: before that, "suspended" only tells how the last owner left it."""
        self.told: str | None = None
        """What was last told to people about it here: the same again is no news."""
        self.error: BaseException | None = None
        """What the agent raised, or why the run was lost."""
        self._brought = claim.mail
        """The mail that came with the claim, until it is read."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_to_close = False
        self._is_leaving = False
        """The time of a shutdown is over: what has not ended yet is not waited for."""
        self._next: bytes | None = None
        """The input of the next chapter, when the agent has asked for one and its effects are over."""
        self._over: asyncio.Future[None] = self.loop.create_future()
        """Done when the agent's code has ended, or did not unwind in time."""
        self._main: asyncio.Task[None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the run came to rest here and waits for a message or a time."""
        return self.has_rested and self.state.status is Status.SUSPENDED

    @property
    def is_parked(self) -> bool:
        """Whether it waits here, and nobody has told it to leave."""
        return self.state.status is Status.SUSPENDED and not (self.is_closing or self._is_to_close)

    @property
    def is_kept(self) -> bool:
        """Whether it left while an effect of it was under way: it is given back when the effect's body has ended."""
        is_ours = not self.record.is_given_back and not isinstance(self.record.refusal, LeaseLost)
        return is_ours and bool(self.living)

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to drive, in a task of its own."""
        self._set_active(True)
        self._main = self.loop.create_task(self._drive(), name=f"holdfast {self.lease.run_id}")

    async def finished(self) -> None:
        """Wait until the run has left this process."""
        if self._main is not None:
            await asyncio.wait({self._main})

    async def _drive(self) -> None:
        try:
            await self._drive_on()
            if isinstance(self.record.refusal, StoreFull):
                await salvage.outcomes(self.record)
        finally:
            self._leave()

    async def _drive_on(self) -> None:
        try:
            brought, self._brought = self._brought, None
            await mailroom.open_mail(self, brought)
            self.has_begun = True
            overdraft.settle(self)
            mismatch.settle(self)
            crashloop.settle(self)
            if self._stop is not None:
                await self._end_stopped()
            elif self.state.paused is not None and self.record.refusal is None:
                await self._note_paused()
                self._release(self.state.wake_at)
            elif self.record.refusal is not None or await self._is_shut():
                self._release(self.state.wake_at)
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

    async def _is_shut(self) -> bool:
        """Whether only a message lets the run go on: it is over, does not match its record, or kills its processes."""
        is_blocked = self.state.status is Status.SUSPENDED and self.state.why in MISMATCHED
        is_shut = self.state.status.is_end or is_blocked or overdraft.is_set_aside(self)
        return is_shut or await crashloop.is_set_aside(self)

    async def _run_agent(self) -> None:
        self.latest_at = self.state.created_at
        if self.state.resumes:  # the mail may have reopened what the machine took for done
            self.machine = self._made_machine()
        unseen.guard()
        self._root = self.loop.create_task(
            self.agent.begin(self) if self.state.unwinding is None else unwind.unwound(self),
            name=f"agent {self.lease.run_id}",
            context=current.copied(current.Place(self)),
        )
        self.silence.listen(self.services.settings.quiet_s)
        self._root.add_done_callback(partial(let_go, self._over))
        await self._over
        await self.silence.until(self._is_settled)
        if self.record.refusal is not None:
            await self._unwound()
        elif self._is_leaving and self._has_effects:
            pass  # neither ended nor given back: see `is_kept`
        elif self._stop is not None:
            await self._end_stopped()
        elif self._next is not None and self.state.paused is None:
            await self._end_chapter()
        elif self.is_closing:
            if self.state.paused is not None:
                await self._note_paused()
            self._release(self.state.due_at)
        else:
            await self._end(self._root)

    def _is_settled(self) -> bool:
        """Effects in flight or in doubt, also abandoned ones, get their outcome before the run ends."""
        if self.record.refusal is not None or self._is_leaving:
            return True
        if self._stop is not None:
            return self._is_idle()
        return not (self._has_effects if self.is_closing else self._writes)

    def _leave(self) -> None:
        self._set_active(False)
        self.silence.stop()
        self.time.stop()
        self.is_closing = True
        for task in (*self._tasks, *self._writes, *self._callers):
            task.cancel()
        for future in self._waiting.values():  # of tasks and threads that outlive their agent
            future.cancel()
        self._unwind_readers()
        self.bridge.unwind()
        if self._root is not None and self._root.done() and not self._root.cancelled():
            self._root.exception()  # seen, so that the loop does not report it again
        self._root = self.measure = None
        self.is_gone = True
        self.error = self.error or self.record.refusal
        self.services.on_change(self)

    async def read_mail(self) -> None:
        """See `Calls`."""
        await mailroom.open_mail(self)

    async def _expire(self, question: str) -> None:
        await mailroom.expire(self, question)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the end ---------------------------------------------------------------------------------------------

    async def _end(self, root: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError("the agent was cancelled") if root.cancelled() else root.exception()
        if self.state.unwinding is not None:
            await self._write_end(unwind.facts_of_end(self, error), None)
            return
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
        stop = ending.stop_by(self.state, causes(error))
        if stop is not None:
            self.stop(Status.STOPPED, *stop)
            await self._end_stopped()
            return
        self.error = error
        await self._write_end(self.agent.failure(error), None)

    async def continue_as(self, input: bytes) -> NoReturn:
        """End this chapter when its effects are over, and begin the next one with this input; does not return."""
        if loop_elsewhere(self.thread, self.loop) is not None:
            await self.bridge.reach(self.continue_as(input))
        self._in_background(self._turn_over(input))
        await self.never()

    async def _turn_over(self, input: bytes) -> None:
        await self.silence.until(lambda: not self._writes or self._stop is not None or self.is_closing)
        if self._stop is None and not self.is_closing:
            self._next = input
            await self.close()

    async def _end_chapter(self) -> None:
        block = self.machine.unexplained("nothing more: it goes on as its next chapter")
        if block is not None:
            await self._block(block)
            return
        for address in self.machine.unused_reads():
            self.record.note(Kind.DRIFT_FOUND, meta(rule="unused"), address=address)
        following = chapter.following(self)
        await self._write_end(meta(outcome=Status.SUCCEEDED, continued=following), None)

    async def _end_stopped(self) -> None:
        if self._is_hurried:
            await self._cut_off()
        if self._stop is not None and overdraft.asks(self, self._stop[0], self._stop[2]):
            self.is_closing = True
            await overdraft.set_aside(self, *self._stop[1:])
            self._release(self.state.wake_at)
        elif self._stop is not None:
            self._note_living("it was cut short and has not ended")
            await self._write_end(self._stopped(*self._stop), None)

    async def _cut_off(self) -> None:
        """Leave effects in flight in doubt; what ends on the way out is recorded."""
        for task in self._writes:
            task.cancel()
        if self._writes:
            await asyncio.wait(self._writes, timeout=self.services.settings.close_s)

    def _stopped(self, outcome: Status, why: str, facts: dict[str, Any]) -> str:
        """The facts of the end; a cancel tells what nobody will now find out."""
        if outcome is Status.CANCELLED:
            left = [str(s.address) for s in self.state.slots.values() if s.is_in_flight and s.effect.is_write]
            why += f". In doubt, and left so: {', '.join(left)}" if left else ""
        elif outcome is Status.STOPPED:
            return ending.stopped(self.state, why, facts)
        return meta(outcome=outcome, why=why, **facts)

    async def _write_end(self, facts: str, body: bytes | None) -> None:
        self.is_closing = True  # a task that outlives its agent begins nothing any more
        while True:
            answered, self.record.mail_read = self.record.mail_read, self.record.mail_seen
            told, now = with_blemishes(facts, self.state), self.record.now()
            self.record.add(Event(Kind.RUN_ENDED, now, charge=self.unnoted, meta=told, body=body))
            child.tell_end(self)
            if self._next is not None:
                chapter.begin_next(self, self._next)
            self.record.is_last = not self.living  # otherwise the lease stays here until they have ended
            if await self.record.write() or not self.record.take_back_end():
                break
            self.record.is_last, self.record.mail_read = False, answered
            await mailroom.open_mail(self)
            if self._stop is not None:
                facts, body = self._stopped(*self._stop), None
            elif self._next is not None and self.state.paused is not None:  # the next chapter would know of no pause
                await self._note_paused()
                self._release(self.state.wake_at)
                return
        if not self.is_kept:
            self._release(None)

    async def _block(self, block: Block) -> None:
        """Suspend: the code and the record do not match; both sides are kept for a person."""
        is_over = self._root is None or self._root.done()
        self.is_closing = self.is_closing or is_over
        difference = {"asked": block.asked, "recorded": list(block.recorded)}
        mismatch.ask(self, block)
        self.record.note(Kind.RUN_SUSPENDED, meta(why=block.why, difference=difference))
        await self.record.write()
        if is_over:
            self._release(None)
        else:
            await self.close()

    async def unfit(self, what: str, recorded: str, error: Exception) -> NoReturn:
        """A recorded value does not fit the type that the code declares now: blocked; does not return."""
        await self.blocked(Block(False, f"{what}: {error}", (recorded,)))

    async def blocked(self, block: Block) -> NoReturn:
        """See `Calls`."""
        if loop_elsewhere(self.thread, self.loop) is not None:
            await self.bridge.reach(self.blocked(block))
        self._in_background(self._block(block))
        await self.never()

    # --- rest and close --------------------------------------------------------------------------------------

    def _on_silence(self, silence_s: float) -> None:
        if self.is_closing or self.is_stopping:
            return
        if self._found_by_tail() or self._found_in_order():
            self.silence.listen(self.services.settings.quiet_s)
        else:
            self._in_background(self._rest(silence_s))

    def _found_by_tail(self) -> bool:
        """Model calls whose prompt has drifted are recorded ones; before the order, which may pass over theirs."""
        found = self.machine.rest_tail()
        for ask, asked, command in found:
            self.record.note(Kind.DRIFT_FOUND, meta(rule="tail", asked=list(asked)), address=ask.address)
            if command is not None:
                self._tell(ask, command)
        if found:
            self._pump()
        return bool(found)

    def _found_in_order(self) -> bool:
        """A recorded outcome is handed out though others before it were not asked for."""
        found = self.machine.rest_order()
        if found is None:
            return False
        ask, use, skipped = found
        facts = meta(rule="order", asked=str(ask.address), recorded=[str(address) for address in skipped])
        self.record.note(Kind.DRIFT_FOUND, facts, address=ask.address)
        self._tell(ask, use)
        return True

    def _begun_afresh(self) -> bool:
        """Model calls that nothing recorded explains begin as new, where the agent says so."""
        given_up = self.machine.rest_fresh()
        if given_up:
            self.record.note(Kind.DRIFT_FOUND, meta(rule="fresh", recorded=[list(address) for address in given_up]))
            self._pump()
        return bool(given_up)

    async def _rest(self, silence_s: float) -> None:
        if self._is_pausing:
            return
        settings = self.services.settings
        if not self.silence.is_broken(silence_s):
            await self._suspend()
        if self.silence.is_broken(silence_s):  # what was read since then must be told first: nothing else wakes the run
            self.silence.listen(settings.quiet_s)
        elif silence_s < settings.park_s:
            self.silence.listen(settings.quiet_s if silence_s + settings.quiet_s < settings.park_s else settings.park_s)
        elif self._begun_afresh():
            self.silence.listen(settings.quiet_s)
        elif (block := self.machine.rest_block()) is not None:
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
        root = self._root
        if self.is_closing or root is None:
            return
        self._unwind()
        await self._unwound()
        if not root.done():
            let_go(self._over)

    def close_soon(self) -> None:
        """Close in the background: there are too many parked runs."""
        self._is_to_close = True
        self._in_background(self.close())

    def _unwind(self) -> None:
        self.is_closing = True
        self.silence.touch()
        if self._root is not None:
            self._root.cancel()
        for future in list(self._waiting.values()):
            future.cancel()
        self._unwind_readers()
        self.bridge.unwind()

    async def _unwound(self) -> None:
        if self._root is not None:
            await asyncio.wait({self._root}, timeout=self.services.settings.close_s)

    async def shut_down(self) -> None:
        """SIGTERM: effects in flight finish, the rest unwinds, the run is due at once elsewhere."""
        self.is_shutting_down = True
        if not self.is_closing and not self.is_gone:
            give_up = self.services.clock.monotonic() + self.services.settings.drain_s
            call_off = self.services.clock.call_later(self.services.settings.drain_s, self.silence.touch)
            await self.silence.until(lambda: not self._has_effects or self.services.clock.monotonic() >= give_up)
            call_off()
            self._is_leaving = True
            self._note_living(f"it did not end within {self.services.settings.drain_s:g} s of a shutdown")
            if self.state.status is Status.RUNNING and self._stop is None:
                facts = meta(why=Why.SHUTDOWN, until=self.record.now())
                self.record.add(Event(Kind.RUN_SUSPENDED, self.record.now(), charge=self.unnoted, meta=facts))
                await self.record.write()
            await self.close()
        await self.finished()

    def _note_living(self, because: str) -> None:
        for sender in self.living:
            facts = meta(what="sender", choice="keep", because=f"{because}: {KEPT}")
            self.record.note(Kind.DECIDED, facts, address=sender.place.address)

    def _release(self, wake_at: float | None) -> None:
        if self.record.refusal is None and not self.record.is_given_back:
            self.services.scribe.release(self.lease, wake_at, after=self.record)
