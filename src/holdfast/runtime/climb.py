"""The rungs of a step's ladder, performed: the last good result is looked up, a person is asked, the run is stopped.

What is climbed and why is decided in `core.ladder`. Where a step stands on its ladder is in the record before anything
is done there, so a crash on a rung goes on at that rung.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from holdfast.core import ladder
from holdfast.core.accept import FAILED_OPTIONS
from holdfast.core.command import describe
from holdfast.core.events import NOTHING, Address, Event, Kind, meta
from holdfast.core.failure import Failure
from holdfast.core.heads import Status, Why
from holdfast.core.policy import GiveUp
from holdfast.core.rung import AnyRung, Ask, Cached, Escalation, Stop
from holdfast.core.slot import Slot
from holdfast.errors import JournalCorrupt
from holdfast.journal.codec import encode
from holdfast.runtime.pauses import fresh_question_id
from holdfast.runtime.way import Attempted, Way

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls


class Climbing(ABC):
    """The half of a step's performance that goes on when the step has failed for good."""

    driver: Calls
    plan: Attempts
    address: Address
    number: int
    place: int
    base: int

    @abstractmethod
    async def _conclude(self, kind: Kind, attempted: Attempted, facts: dict[str, Any]) -> None:
        """Write the outcome, and tell it."""

    @abstractmethod
    def _event(self, kind: Kind, **more: Any) -> Event:
        """An event about this attempt."""

    def _rungs(self) -> list[AnyRung]:
        """This one and those after it."""
        return [way.rung if isinstance(way, Way) else way for way in self.plan.ways[self.place :]]

    def _move(self, climb: ladder.Climb) -> dict[str, Any]:
        """Take the place that was decided; the facts by which the record knows it."""
        self.place, self.base = self.place + climb.further, self.number
        return self._standing() | {"because": climb.because, "next": self._rungs()[0].name}

    def _standing(self) -> dict[str, Any]:
        """Where on the ladder it stands; nothing while that is its beginning."""
        return {"way": [self.place, self.base]} if self.place or self.base else {}

    def _decided(self, choice: str, climb: ladder.Climb) -> None:
        """Write which rungs were not taken, and why."""
        left_out = "; ".join(f"{name}: {why}" for name, why in climb.passed)
        because = f"{climb.because}. Not taken: {left_out}" if left_out else climb.because
        passed = [list(each) for each in climb.passed] or None
        facts = meta(what="rung", choice=choice, because=because, passed=passed, way=[self.place, self.base])
        self.driver.record.add(self._event(Kind.DECIDED, meta=facts))

    def _failure(self) -> tuple[Failure, dict[str, Any]]:
        """What it failed with last, as it is recorded."""
        facts = self.driver.state.slots[self.address].failures[-1].facts
        return Failure.from_facts(facts), facts

    def _because(self) -> str:
        """Why the tool itself has not given it, in one line."""
        failed, facts = self._failure()
        return f"{failed.error}: {facts.get('because') or failed.because}"

    async def _on_rung(self, rung: Cached | Ask | Escalation | Stop) -> bool:
        """Do what this rung is for. True: go on where `place` points now; False: the step has its outcome."""
        match rung:
            case Cached():
                return await self._serve(rung)
            case Ask() | Escalation():
                return await self._appeal(rung)
            case Stop():
                await self._stop(f"{self.plan.call.name} has failed, and must not be missing (its ladder ends in stop)")
                return True

    async def _climb_on(self, why_not: str) -> bool:
        """This rung could not help."""
        failure, facts = self._failure()
        rungs = self._rungs()
        decision = GiveUp(facts.get("because", failure.because))
        climb = ladder.next_rung(failure, decision, rungs[0], rungs[1:], ((rungs[0].name, why_not),))
        if climb is None or not climb.further:
            self._decided(ladder.TELL, climb or ladder.Climb(0, decision.because))
            await self._tell(failure, {})
            return False
        self._move(climb)
        self._decided(self._rungs()[0].name, climb)
        return True

    async def _tell(self, failure: Failure, more: dict[str, Any]) -> None:
        facts = self._failure()[1]
        told = failure.facts() | {"because": facts.get("because")} | more
        body = self.driver.state.slots[self.address].failures[-1].body
        await self._conclude(Kind.STEP_FAILED, Attempted(body, NOTHING, failure), told)

    # --- the last good result --------------------------------------------------------------------------------

    async def _serve(self, rung: Cached) -> bool:
        found, why_not = self._last_good(rung)
        if found is None:
            return await self._climb_on(why_not)
        event, index, age_s = found
        if why_not := await self.plan.unfit(event.body):
            return await self._climb_on(f"it would not do now: {why_not}")
        degraded = {"rung": rung.name, "age_s": round(age_s, 3), **index, "because": self._because()}
        told = {"degraded": degraded, "served": rung.name}
        await self._conclude(Kind.STEP_SUCCEEDED, Attempted(event.body, NOTHING), told)
        return False

    def _last_good(self, rung: Cached) -> tuple[tuple[Event, dict[str, Any], float] | None, str]:
        """The event that holds it, where that is, and its age; or why there is none to serve."""
        journal, call = self.driver.services.journal, self.plan.call
        cell = journal.cell(self.plan.last_good)
        if cell is None or not cell.value:  # emptied: it was damaged, and nothing else tells it
            return None, "there is no earlier result"
        index = json.loads(cell.value)
        try:
            events = journal.events(index["run"], after=index["number"] - 1, limit=1)
        except JournalCorrupt as corrupt:
            return None, f"its record cannot be read: {corrupt}"
        event = events[0] if events else None
        if event is None or event.kind is not Kind.STEP_SUCCEEDED or event.address is None:
            return None, f"its record (event {index['number']} of {index['run']}) is not there any more"
        if event.address[1:3] != (call.name, call.digest):
            return None, f"event {index['number']} of {index['run']} is not a result of this call"
        served = ladder.by_age(event.at, self.driver.record.now(), rung.max_age_s)
        return (None, served.refused) if served.refused else ((event, index, served.age_s), "")

    def _note_good(self) -> None:
        """Its result is the last good one from the moment in which it is recorded."""
        if self.plan.last_good:
            index = {"number": self.driver.state.count, "run": self.driver.lease.run_id}
            self.driver.record.set_cell(self.plan.last_good, json.dumps(index, sort_keys=True))

    # --- a person --------------------------------------------------------------------------------------------

    async def _appeal(self, rung: Ask | Escalation) -> bool:
        """Ask what to do about it, wait, and do it."""
        if self.driver.state.slots[self.address].appeal is None:
            await self._ask_about(rung, "")
        await self._heard()
        while (is_over := await self._rule(rung)) is None:
            await self._heard()
        return not is_over

    async def _rule(self, rung: Ask | Escalation) -> bool | None:
        """Do what the answer says. True: the step has its outcome; None: it was no answer, and another is asked for."""
        closed = self.driver.state.slots[self.address].ruling
        match ladder.Nobody() if closed is None else ladder.ruled(closed):
            case ladder.TryAgain(by):
                climb = ladder.Climb(-self.place, f"{by} said so")
                self._move(climb)
                self._decided("try again", climb)
                return False
            case ladder.Take(by, body):
                return await self._take(rung, by, encode(None) if body is None else body)
            case ladder.Tell(by):
                self._decided(ladder.TELL, ladder.Climb(0, f"{by} said so"))
                await self._tell(self._failure()[0], {"by": by})
                return True
            case ladder.Abort(by):
                await self._stop(f"{by} stopped it: {describe(self.plan.call)} has failed", by=by)
                return True
            case ladder.Nobody():
                return not await self._climb_on("nobody answered in time")

    async def _take(self, rung: Ask | Escalation, by: str, body: bytes) -> bool | None:
        """A person's result, if it can be the step's."""
        if why_not := await self.plan.unfit(body):
            await self._ask_about(rung, f"The result that {by} gave does not fit: {why_not}. ")
            return None
        told = {"degraded": {"rung": rung.name, "by": by, "because": self._because()}, "served": f"person {by}"}
        await self._conclude(Kind.STEP_SUCCEEDED, Attempted(body, NOTHING), told)
        return True

    async def _ask_about(self, rung: Ask | Escalation, remark: str) -> None:
        driver, failed = self.driver, self._failure()[0]
        if driver.is_stopping:
            await driver.never()
        before = driver.state.slots[self.address].appeal
        expires_at = None if rung.within_s is None else driver.record.now() + rung.within_s
        if before is not None:
            expires_at = before.facts.get("expires_at")
        what = f"{describe(self.plan.call)} has failed: {failed.error}: {failed.text[:500]} ({failed.because})"
        facts = meta(
            id=fresh_question_id(driver, self.address),
            about="failed",
            text=f"{remark}{what}. What now?",
            options=list(FAILED_OPTIONS),
            to=rung.who,
            expires_at=expires_at,
            default=rung.default,
            urgent=(isinstance(rung, Ask) and rung.urgent) or None,
            way=[self.place, self.base],
            next=rung.name,  # by which it is found again when other code declares other rungs
        )
        driver.record.add(self._event(Kind.QUESTION_ASKED, meta=facts, body=self.plan.args))
        await driver.write()

    async def _heard(self) -> None:
        """Wait until the question about it is closed."""
        driver, slot = self.driver, self.driver.state.slots[self.address]
        if slot.appeal is None or slot.ruling is not None:
            return
        asked = slot.appeal.facts
        with driver.silence.waits(self.address, Why.QUESTION, asked.get("expires_at")):
            await driver.waits.answered(asked["id"], asked.get("expires_at"))

    # --- stop ------------------------------------------------------------------------------------------------

    async def _stop(self, why: str, **facts: Any) -> None:
        """The run ends here, with everything kept; resumed, the step is tried again. Does not return."""
        failure = self._failure()[0]
        await self.driver.write()
        more = {"cause": [list(self.address)], "failure": failure.facts(), **facts}
        self.driver.stop(Status.STOPPED, f"{why}: {failure.error}: {failure.text}", more)
        await self.driver.never()


def place_in(slot: Slot | None, names: list[str]) -> tuple[int, int]:
    """Which way or rung it had come to, and how many attempts were made before that; the last one where the record
    names one that the code no longer has."""
    if slot is None:
        return 0, 0
    event = slot.appeal or _latest(slot)
    if event is None or '"way"' not in event.meta:
        return 0, 0
    facts = event.facts
    place, base = facts["way"]
    name = facts.get("next") or facts.get("by")
    if name is None or (place < len(names) and names[place] == name):
        return min(place, len(names) - 1), base
    return (names.index(name), base) if name in names else (min(place, len(names) - 1), base)


def _latest(slot: Slot) -> Event | None:
    """The latest event of this logical attempt that says where it stands."""
    failed = [event for event in slot.failures if event.logical == slot.logical]
    latest, intent = failed[-1] if failed else None, slot.intent
    is_newer = latest is not None and (intent is None or latest.attempt >= intent.attempt)
    return latest if is_newer else intent
