"""How a tool or a model call is performed: attempts with retries, what is in doubt, and the rungs after them.

Order is the promise: reserve, write the intent, begin, write the outcome, and only then tell.

Invariants
1. No attempt of a write or of a model call begins before its intent is committed.
2. An attempt that ended unknown is never repeated for a `once` effect; `core.doubt` decides, with the record.
3. Every attempt is charged; what an interrupted one had reserved stays charged.
4. Waits (retry, sleep, question, doubt) are written with their time, so a crash does not shorten or restart them.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.core.accounts import excess_of
from holdfast.core.budget import ALLOWANCE_MAX
from holdfast.core.command import Execute
from holdfast.core.deadline import in_time, step_left_s
from holdfast.core.events import NOTHING, ONE_TOOL_CALL, Effect, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status, Why
from holdfast.core.ladder import TELL, next_rung
from holdfast.core.policy import Again, GiveUp, InDoubt, after_crash, after_failure
from holdfast.core.rung import Other
from holdfast.core.slot import Slot
from holdfast.errors import LeaseLost, StoreUnreachable
from holdfast.runtime import ending, guards, sharing, stuck
from holdfast.runtime.approving import Approving
from holdfast.runtime.climb import Climbing, place_in
from holdfast.runtime.deadline import RUN, Limit, outlived
from holdfast.runtime.settle import Settling
from holdfast.runtime.way import Attempted, Begun, Terms, Way

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls


class Attempting(Settling, Climbing, Approving):
    """The loop over the attempts and rungs of one step; see `runtime.attempts`."""

    logical = 1
    began_at: float | None = None
    place, base = 0, 0
    is_begun = False
    """Whether the latest attempt was begun, and not refused before."""
    is_cut_off = False
    """The run's time was up before the attempt was over."""
    has_intent = False
    """Whether it is written that the latest attempt was begun."""
    is_untold = False
    """The latest attempt was begun without an intent, and nothing was added yet that tells of it."""

    def __init__(self, driver: Calls, plan: Attempts, command: Execute) -> None:
        self.driver = driver
        self.plan = plan
        self.address = command.address
        self.effect = plan.call.effect
        slot = self.recovered = command.recovered
        self.number = plan.tried
        if slot is not None:
            self.logical, self.number, self.began_at = slot.logical, slot.attempt, slot.begun_at
            self.place, self.base = place_in(slot, [way.name for way in plan.ways])

    @property
    def way(self) -> Way:
        way = self.plan.ways[self.place]
        assert isinstance(way, Way)
        return way

    @property
    def terms(self) -> Attempts | Terms:
        """What holds for the attempts that are made here."""
        way = self.plan.ways[self.place]
        return way.terms if isinstance(way, Way) and way.terms is not None else self.plan

    async def run(self) -> None:
        if self.recovered is not None and not await self._recover(self.recovered):
            return
        plan = self.plan
        is_watched = stuck.is_watched(self.driver, self.address) and not plan.is_undo
        refusal = await stuck.refused(self.driver, plan.call, self.address, plan.essence) if is_watched else None
        if refusal is not None:
            await self._conclude(Kind.STEP_FAILED, Attempted(None, NOTHING, refusal), stuck.facts(refusal))
            return
        while True:
            rung = self.plan.ways[self.place]
            if not isinstance(rung, Way):
                if await self._on_rung(rung):
                    continue
                return
            if self.effect is Effect.IDEMPOTENT and self._is_past_window() and not await self._settle():
                return
            if self._must_be_approved() and not await self._approved():
                return
            if not await self._came(await self._attempt()):
                return

    async def only_settle(self) -> None:
        """Find out whether it happened."""
        late = await self._late()
        if late is not None and late.failure is None:
            await self._came(late)
        elif await self._settle():
            text = "it did not happen, and was not begun again"
            failure = Failure(FailureKind.INTERRUPTED, "NotDone", text, text, because="its run is unwound")
            slot = self.driver.state.slots[self.address]
            await self._conclude(Kind.STEP_FAILED, Attempted(None, slot.reservation, failure), failure.facts())

    async def _came(self, attempted: Attempted) -> bool:
        """Write what an attempt came to, and what follows. True: make the next one."""
        if attempted.failure is not None and self.is_cut_off:
            self.is_cut_off = False
            return await self._cut_off(attempted, attempted.failure)
        if attempted.failure is None:
            await self._succeeded(attempted)
        elif ending.is_final(attempted.failure):
            await self._conclude(Kind.STEP_FAILED, attempted, attempted.facts or {})
        else:
            return await self._failed(attempted, attempted.failure)
        return False

    async def _recover(self, slot: Slot) -> bool:
        """Go on after a crash. False when the step has an outcome now."""
        if (late := await self._late()) is not None:
            return await self._came(late)
        if slot.retry_at is not None:
            await self._wait(Why.RETRY, slot.retry_at)
            return True
        if not slot.is_in_flight:
            return True
        if any(slot.streamed) and self.plan.cut_off is not None:
            attempted = self.plan.cut_off(slot)
            facts = attempted.failure.facts() if attempted.failure is not None else {}
            facts["is_told"] = True
            await self._conclude(Kind.STEP_FAILED, attempted, facts)
            return False
        if slot.failures and slot.failures[-1].attempt == slot.attempt:  # it had ended unknown before the crash
            return await self._settle()
        attempt = slot.attempt - self.base
        decision = after_crash(
            self.effect, self.terms.policy().retry, attempt=attempt, age_s=self._age_s(), window_s=self.terms.window_s
        )
        if isinstance(decision, InDoubt):
            return await self._settle()
        if isinstance(decision, GiveUp):
            text = decision.because
            failure = Failure(FailureKind.INTERRUPTED, "Interrupted", text, text, because=text)
            return await self._follow(Attempted(None, slot.reservation, failure), failure, decision)
        return True

    def _is_past_window(self) -> bool:
        """Whether the receiver may have forgotten the key of an attempt that may have arrived (P5)."""
        slot = self.driver.state.slots.get(self.address)
        return slot is not None and slot.is_unknown and self._age_s() >= self.terms.window_s

    # --- one attempt -----------------------------------------------------------------------------------------

    async def _attempt(self) -> Attempted:
        driver, plan, way = self.driver, self.plan, self.way
        within_s, is_read = plan.policy().within_s, not plan.needs_intent
        driver.reads_at_once += is_read
        try:
            with driver.time.limit(within_s, self._left_s(within_s)) as limit:
                is_at_once = way.turn is None and plan.call.step is not StepKind.MODEL
                attempted = await (self._begin(way, limit, within_s) if is_at_once else self._in_turn(way, limit))
        finally:
            driver.reads_at_once -= is_read
        if attempted is None:  # others have their turn meanwhile
            await self._never()
        self.is_cut_off = limit.cut_by == RUN and not attempted.is_told
        return attempted

    async def _in_turn(self, way: Way, limit: Limit) -> Attempted | None:
        turn = way.turn
        if (refusal := guards.shut(self.driver, way, self.address, self.plan)) is not None:
            self.is_begun = False
            return Attempted(None, NOTHING, refusal)
        async with AsyncExitStack() as held:
            try:
                with limit.bounded():
                    await held.enter_async_context(self.driver.pace.turn(is_stream=self.plan.is_stream))
                    if turn is not None:
                        with self.driver.silence.moves():
                            await held.enter_async_context(turn())
            except TimeoutError:
                return None if limit.cut_by == RUN else self._out_of_time(limit.because)
            return await self._begin(way, limit, self.plan.policy().within_s)

    def _left_s(self, within_s: float | None) -> float | None:
        if within_s is None:
            return None
        return step_left_s(within_s, self._counted_from(), self.driver.record.now())

    def _counted_from(self) -> float | None:
        """Its time counts from the first attempt, or from a person's "try again": a wait for people is none of it."""
        slot = self.driver.state.slots.get(self.address)
        return slot.again_at if slot is not None and slot.again_at is not None else self.began_at

    def _out_of_time(self, because: str) -> Attempted:
        text = f"{because}; it was not begun"
        return Attempted(None, NOTHING, Failure(FailureKind.TRANSIENT, "TimeoutError", text, text, because=because))

    @property
    def _is_in_effect(self) -> bool:
        """Whether it is made in the body of an effect, which must come to its end."""
        return self.plan.inside is not None and self.plan.inside.is_write

    def _unsent(self, why: str) -> Attempted | None:
        """A call that may not be sent waits for the end of the run; in an effect it fails, so that that can end."""
        if not self._is_in_effect:
            return None
        text = f"{why}. Nothing was sent."
        return Attempted(None, NOTHING, Failure(FailureKind.REFUSED, "BudgetExceeded", text, text, because=why))

    async def _never(self) -> NoReturn:
        """Wait for the end of the run; the read in whose body it is made does not move meanwhile."""
        silence = self.driver.silence
        if self.plan.inside is None:
            await self.driver.never()
        silence.ended(is_write=False)
        try:
            await self.driver.never()
        finally:
            silence.began(is_write=False)

    async def _begin(self, way: Way, limit: Limit, within_s: float | None) -> Attempted | None:
        """None when it may not begin: the run stops."""
        driver, plan, record = self.driver, self.plan, self.driver.record
        state = record.state
        if state.limits.is_timed:
            driver.time.look()
        self.is_begun = False
        if way.refusal:
            driver.stop(Status.STOPPED, way.refusal)
            return self._unsent(way.refusal)
        if (driver.is_stopping or driver.is_shutting_down) and not self._is_in_effect:
            return None
        try:
            refusal = guards.refused(driver, plan, way, self.address)
        except StoreUnreachable as error:
            await driver.lost(error)
        if refusal is not None:
            return Attempted(None, NOTHING, refusal)
        if within_s is not None and self._left_s(within_s) == 0:
            return self._out_of_time(f"the step's time is up, within={within_s:g} s")
        if (excess := driver.excess(way.reservation, self._marks(way), self.address)) is not None:
            return ending.unfit(driver, plan, self.address, excess) or self._unsent(str(excess))
        self.number += 1
        self.is_begun = True
        if self.began_at is None:
            self.began_at = record.now()
        slot = state.slots.get(self.address)
        is_again = slot is not None and slot.is_in_flight  # the intent also settles what was reserved before a crash
        is_asked_for = within_s is not None or state.books.are_joint
        # a read that was begun before is written down: else each crash would give its retry once more
        is_noted = is_again or self.number > 1
        is_beyond = len(driver.open_reads) + record.reads_owed >= driver.allowance
        is_silent = not record.is_awake  # else whoever takes the run over believes that nothing was under way
        self.has_intent = plan.needs_intent or is_beyond or is_noted or is_asked_for or is_silent
        is_write = self.effect.is_write
        driver.silence.began(is_write=is_write)  # while its intent is written, too: who leaves waits for what follows
        try:
            return await self._go(way, limit, within_s)
        finally:
            driver.silence.ended(is_write=is_write)

    async def _go(self, way: Way, limit: Limit, within_s: float | None) -> Attempted | None:
        """Write the intent, if it needs one, and perform the attempt. None when the run's budget ran out meanwhile."""
        driver, plan, record = self.driver, self.plan, self.driver.record
        state = record.state
        if self.has_intent:
            self._intend(way)
            allowance = state.allowance
            await driver.write()
            driver.allowance = max(driver.allowance, allowance)
            if (refused := record.unpaid.pop(self.address, None)) is not None:
                self.number, self.is_begun = self.number - 1, False
                excess = excess_of(refused)
                return ending.unfit(driver, plan, self.address, excess, refused) or self._unsent(str(excess))
        if record.refusal is not None:
            await driver.lost(record.refusal)
        if driver.services.is_fenced(driver.lease):
            await driver.lost(LeaseLost("This worker's lease has run out. Nothing was begun; another worker goes on."))
        self.is_untold = not self.has_intent
        if self.is_untold:
            driver.open_reads.add(self)
        sender = driver.sends(self.address, self.logical, self.number) if self.effect.is_write else None
        try:
            key = driver.key_for(self.address, self.logical) if plan.needs_key else ""
            attempted = await self._made(way, Begun(self.address, key, self.number, sender, limit), within_s)
            if limit.cut_by != RUN:  # that the run's own time was up says nothing about the tool
                guards.observed(driver, plan, way, self.address, attempted)
            return attempted
        except asyncio.CancelledError:
            if not driver.is_closing:
                self._note_given_up()
            elif not self.has_intent:
                driver.reads_cut += 1
            raise
        finally:
            if sender is not None:
                driver.left(sender)
            driver.open_reads.discard(self)

    def intend_late(self) -> None:
        """Others pay from the same budget from here on: what this read takes of it, which is under way, is written."""
        self._intend(self.way, is_open=True)
        self.has_intent, self.is_untold = True, False
        self.driver.open_reads.discard(self)

    def _marks(self, way: Way) -> dict[str, Any]:
        """Which step it undoes, or what undoes it."""
        undo = way.terms.undo if way.terms is not None else ""
        return self.plan.marks | {"undo": undo} if undo else self.plan.marks

    async def _made(self, way: Way, begun: Begun, within_s: float | None) -> Attempted:
        """The attempt; a tool that goes on after it was cut short is left behind."""
        driver, limit = self.driver, begun.limit
        if limit is None or self.plan.call.step is not StepKind.TOOL or not self._is_timed(way, within_s):
            return await way.attempt(begun)
        attempted = await outlived(way.attempt(begun), limit, driver.services.settings.close_s)
        if attempted is not None:
            return attempted
        text = f"{limit.because}; it was cancelled, and goes on all the same"
        is_definite = not self.effect.is_write
        failure = Failure(FailureKind.TRANSIENT, "TimeoutError", text, text, is_definite, because=limit.because)
        return Attempted(None, way.reservation, failure)

    def _is_timed(self, way: Way, within_s: float | None) -> bool:
        """Whether the attempt can be cut short when a time is up."""
        policy = (way.terms or self.plan).policy()
        if within_s is not None or policy.timeout_s is not None or policy.heartbeat_s is not None:
            return True
        return self.driver.record.state.limits.is_timed

    def _intend(self, way: Way, *, is_open: bool = False) -> None:
        """Add the intent. is_open: of an attempt that was begun without, and that nobody can refuse any more."""
        plan, driver = self.plan, self.driver
        body, facts = (plan.args, {}) if plan.intent is None else plan.intent(self.address)
        facts = facts | plan.call.intended() | self._marks(way)
        if standing := self._standing():
            facts |= standing | {"by": way.name}
        at_once = 0 if plan.needs_intent else min(ALLOWANCE_MAX, driver.reads_at_once + driver.record.reads_owed)
        if at_once > driver.state.allowance:
            facts |= {"allowance": at_once}
        if is_open:
            facts |= {"is_open": True}
        written = meta(**facts) if facts else ""
        driver.record.add(self._event(Kind.STEP_INTENDED, charge=way.reservation, body=body, meta=written))

    def _note_given_up(self) -> None:
        """Its caller no longer waits, so the attempt was cut short: what was sent was sent, and stays charged."""
        text = "its caller no longer waited"
        is_read = not self.effect.is_write
        failure = Failure(FailureKind.INTERRUPTED, "CancelledError", text, text, is_definite=is_read, because=text)
        facts = meta(**failure.facts(), **self._standing())
        self._came_to(self._event(Kind.ATTEMPT_FAILED, charge=self.way.reservation, meta=facts))

    async def _cut_off(self, attempted: Attempted, failure: Failure) -> bool:
        """The run's time was up: that is no outcome of the step, which goes on when the run is resumed. It comes back
        only with the outcome of a body that goes on all the same."""
        facts = (attempted.facts or {}) | failure.facts() | self._standing() | {"because": failure.text}
        event = self._event(Kind.ATTEMPT_FAILED, charge=attempted.charge, meta=meta(**facts), body=attempted.body)
        self._came_to(event)
        await self.driver.write()
        if (late := await self._late()) is not None:
            return await self._came(late)
        await self.driver.never()

    async def _failed(self, attempted: Attempted, failure: Failure) -> bool:
        """Decide and write what follows a failed attempt. True: make the next one."""
        driver = self.driver
        clock = driver.services.clock
        slot = driver.state.slots.get(self.address)
        if slot is not None and attempted.charge is NOTHING:  # not begun: the one before keeps what it had reserved
            attempted = attempted._replace(charge=slot.reservation)
        is_late = (attempted.facts or {}).get("late", False)  # then it is about an attempt that was unknown so far
        was_unknown = slot is not None and (slot.was_unknown if is_late else slot.is_unknown and not slot.verdicts)
        if was_unknown and self.effect.is_write:
            failure = replace(failure, is_definite=False)
        decision: Again | GiveUp | InDoubt
        if attempted.is_told:
            decision = GiveUp(f"{failure.because}; its caller has had part of it")
        else:
            decision = after_failure(
                self.effect,
                failure,
                self.terms.policy().retry,
                attempt=self.number - self.base,
                elapsed_s=self._since_s(self._counted_from()),
                age_s=self._age_s(),
                window_s=self.terms.window_s,
                draw=clock.draw(),
            )
            within_s = self.plan.policy().within_s
            decision = in_time(decision, failure, within_s, self._left_s(within_s))
        return await self._follow(attempted, failure, decision)

    async def _follow(self, attempted: Attempted, failure: Failure, decision: Again | GiveUp | InDoubt) -> bool:
        """Write what was decided about a failed attempt, and do it. True: go on where `place` points then."""
        driver = self.driver
        facts = (attempted.facts or {}) | failure.facts() | self._standing() | {"because": decision.because}
        if attempted.is_told:
            facts["is_told"] = True
        rungs = self._rungs()
        climb = None if attempted.is_told else next_rung(failure, decision, rungs[0], rungs[1:])
        if climb is None and isinstance(decision, Again) and self.is_begun:
            decision = sharing.granted(driver, self.plan, self.way, self.address, failure, decision)
            climb = next_rung(failure, decision, rungs[0], rungs[1:])
            facts["because"] = decision.because
        if climb is not None and climb.further:
            facts |= self._move(climb)
        elif isinstance(decision, GiveUp):
            if climb is not None and climb.passed:
                self._decided(TELL, climb)
            await self._conclude(Kind.STEP_FAILED, attempted, facts)
            return False
        is_at_once = climb is not None and isinstance(self.plan.ways[self.place], Way)
        wait_s = 0.0 if is_at_once else decision.wait_s if isinstance(decision, Again) else None
        retry_at = None if wait_s is None else driver.services.clock.now() + wait_s
        facts["retry_at"] = retry_at
        failed = self._event(Kind.ATTEMPT_FAILED, charge=attempted.charge, meta=meta(**facts), body=attempted.body)
        self._came_to(failed)
        if climb is not None and climb.passed:
            self._decided(facts["next"], climb)
        if climb is not None and not is_at_once:
            return True  # what this rung writes is written with it
        await driver.write()
        if (late := await self._late()) is not None:
            return await self._came(late)
        if retry_at is None:
            return await self._settle()
        await self._wait(Why.RETRY, retry_at)
        return True

    async def _succeeded(self, attempted: Attempted) -> None:
        facts = attempted.facts or {}
        if self.place and isinstance(self.way.rung, Other):
            degraded = {"rung": "other", "by": self.way.name, "because": self._because()}
            facts = facts | {"degraded": degraded, "served": f"tool {self.way.name}"}
        await self._conclude(Kind.STEP_SUCCEEDED, attempted, facts)

    async def _conclude(self, kind: Kind, attempted: Attempted, facts: dict[str, Any]) -> None:
        driver = self.driver
        if attempted.error is not None:
            driver.live_errors[self.address] = attempted.error
        if marks := stuck.marks(driver, self.plan):
            facts = facts | marks
        self._came_to(
            self._event(kind, charge=attempted.charge, meta=meta(**facts) if facts else "", body=attempted.body)
        )
        if kind is Kind.STEP_SUCCEEDED and "degraded" not in facts:
            self._note_good()
        is_measured = attempted.charge is not ONE_TOOL_CALL and attempted.charge is not NOTHING
        ending.note(driver, self.address, self.plan.call.step, is_measured=is_measured)
        await driver.write()
        driver.conclude(self.address)

    def _came_to(self, event: Event) -> None:
        """Add what became of the latest attempt; until it is written, the allowance covers a read without an intent."""
        record = self.driver.record
        record.add(event)
        record.reads_owed += self.is_untold
        self.is_untold = False

    def _event(self, kind: Kind, **more: Any) -> Event:
        call = self.plan.call
        now = self.driver.record.now()
        return Event(kind, now, self.address, call.step, call.effect, logical=self.logical, attempt=self.number, **more)

    def _age_s(self) -> float:
        return self._since_s(self.began_at)

    def _since_s(self, at: float | None) -> float:
        return self.driver.record.now() - at if at is not None else 0.0

    async def _wait(self, why: Why, until: float) -> None:
        with self.driver.silence.waits(self.address, why, until):
            await self.driver.waits.until(until)
