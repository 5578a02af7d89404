"""Finding out whether an effect happened, when nobody knows: `verify` is asked, then a person.

What to do is decided in `core.doubt`; here it is done. Nothing is begun again before the record says that it may be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from holdfast.core import doubt
from holdfast.core.accept import DOUBT_OPTIONS
from holdfast.core.command import describe
from holdfast.core.events import ONE_TOOL_CALL, Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind, unfit
from holdfast.core.heads import Status, Why
from holdfast.core.slot import Slot
from holdfast.runtime.pauses import fresh_question_id
from holdfast.runtime.way import Attempted, Terms

STILL = "its body has not ended in this process: until then it is neither verified nor begun again"

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls


class Settling(ABC):
    """The half of a step's performance that settles a doubt."""

    driver: Calls
    plan: Attempts
    address: Address
    effect: Effect
    logical: int
    number: int

    @property
    @abstractmethod
    def terms(self) -> Attempts | Terms:
        """What holds for the attempt that is in doubt."""

    @abstractmethod
    async def _conclude(self, kind: Kind, attempted: Attempted, facts: dict[str, Any]) -> None:
        """Write the outcome, and tell it."""

    @abstractmethod
    def _event(self, kind: Kind, **more: Any) -> Event:
        """An event about this attempt."""

    @abstractmethod
    async def _wait(self, why: Why, until: float) -> None:
        """Wait for a time."""

    async def _late(self) -> Attempted | None:
        """What an attempt came to whose body outlived whoever waited for it; None: there is none, or nobody knows."""
        driver = self.driver
        sender = driver.sending(self.address) if self.effect.is_write else None
        if sender is None:
            return None
        slot = driver.state.slots[self.address]
        if sender.is_alive:
            driver.record.note(Kind.DECIDED, meta(what="sender", choice="wait", because=STILL), address=self.address)
            await driver.write()
            driver.silence.began(is_write=True)
            try:
                await sender.end()
            finally:
                driver.silence.ended(is_write=True)
        came = sender.take(slot.logical, slot.attempt)
        driver.left(sender)
        if came is None or not slot.is_in_flight:
            return None
        if came.failure is None and (wrong := await self.plan.unfit(came.body)):
            failure = unfit("InvalidOutput", wrong, "its late result must not be used", self.effect)
            came = came._replace(body=None, failure=failure)
        return came._replace(charge=slot.reservation, facts=(came.facts or {}) | {"late": True})

    async def _settle(self) -> bool:
        """Find out whether the effect happened. True: it did not, and the same intent begins again."""
        driver = self.driver
        slot = driver.state.slots[self.address]
        settle_s = self.terms.settle_s if self.terms.settle_s is not None else driver.services.settings.settle_s
        while True:
            decision = doubt.decide(
                slot.verdicts,
                has_verify=self.terms.verify is not None,
                settle_s=settle_s,
                now=driver.record.now(),
            )
            match decision:
                case doubt.AskVerify(not_before):
                    await self._ask_verify(not_before, settle_s)
                case doubt.AskPerson(because):
                    await self._ask_person(slot, because)
                case doubt.Repeat():
                    return True
                case doubt.Conclude(by, body) if wrong := await self.plan.unfit(body):
                    await self._ask_person(slot, f"the result that {by} gave does not fit: {wrong}")
                case doubt.Conclude(by, body):
                    await self._conclude(Kind.STEP_SUCCEEDED, Attempted(body, slot.reservation), {"by": by})
                    return False
                case doubt.Tell(by):
                    text = f"{describe(self.plan.call)}: whether it happened is not known ({by} could not say)"
                    failure = Failure(FailureKind.INTERRUPTED, "Unverified", text, text, is_definite=False)
                    await self._conclude(
                        Kind.STEP_FAILED, Attempted(None, slot.reservation, failure), failure.facts() | {"by": by}
                    )
                    return False
                case doubt.Abort(by):
                    driver.stop(Status.STOPPED, f"{by} stopped it: {describe(self.plan.call)} is in doubt", {"by": by})
                    await driver.never()

    async def _ask_verify(self, not_before: float, settle_s: float) -> None:
        driver, verify, clock = self.driver, self.terms.verify, self.driver.services.clock
        if verify is None or driver.is_stopping:
            await driver.never()
        await self._wait(Why.IN_DOUBT, not_before)
        heard = driver.services.noes.get(self._first_no())
        while heard is not None and (left_s := heard + settle_s - clock.monotonic()) > 0:
            await self._wait(Why.IN_DOUBT, driver.record.now() + left_s)  # the store's clock was set forward
        driver.silence.began(is_write=False)
        try:
            verdict = await verify(driver.key_for(self.address, self.logical))
        finally:
            driver.silence.ended(is_write=False)
        facts = meta(verdict=verdict.said, text=verdict.text or None)
        event = Event(
            Kind.STEP_SUCCEEDED,
            driver.record.now(),
            self.address,
            StepKind.VERIFY,
            self.effect,
            self.logical,
            self.number,
            ONE_TOOL_CALL,
            facts,
            verdict.body,
        )
        driver.record.add(event)
        if verdict.said == doubt.SAID_NOT_DONE:
            driver.services.hear_no(self._first_no())
        await driver.write()

    def _first_no(self) -> tuple[str, Address, float]:
        """Which "not done" counts as the first one."""
        verdicts = self.driver.state.slots[self.address].verdicts
        return self.driver.lease.run_id, self.address, doubt.first_of_the_noes(verdicts).at if verdicts else 0.0

    async def _ask_person(self, slot: Slot, because: str) -> None:
        driver = self.driver
        if slot.doubt is None:
            driver.record.add(
                self._event(
                    Kind.QUESTION_ASKED,
                    meta=meta(
                        id=fresh_question_id(driver, self.address),
                        about="in_doubt",
                        text=f"Did this happen? {describe(self.plan.call)} ({because})",
                        options=list(DOUBT_OPTIONS),
                        to=driver.agent.escalate or None,
                    ),
                    body=self.plan.args,
                )
            )
            await driver.write()
        asked = slot.doubt.facts["id"] if slot.doubt is not None else ""
        with driver.silence.waits(self.address, Why.IN_DOUBT, None):
            await driver.waits.answered(asked)
