"""A child run as a step of its parent: started, waited for, ended with it, taken up again with it.

Invariants
1. The step that starts a child and the message that starts it are one append; so are its end and the message that
   tells its parent; so is the end of a parent and the messages that end its children.
2. A child that was started is never started again: after a crash its parent waits for the same one.
3. The end of a detached child is not told, and the end of its parent does not end it.
4. What a child says is its parent's data: nothing of it is read as a command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core import accept, charges, family
from holdfast.core.address import child_id
from holdfast.core.command import Call, Execute
from holdfast.core.events import Address, Event, Kind, meta
from holdfast.core.heads import Status, Why, said
from holdfast.core.slot import Slot
from holdfast.core.state import fold
from holdfast.journal.codec import encode
from holdfast.protocols import Post

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls
    from holdfast.runtime.driver import Driver


@dataclass(slots=True, kw_only=True)
class Child:
    """One call of `run.spawn`."""

    call: Call
    agent: str
    input: bytes
    input_digest: str
    limits: list[int | None] | None
    ask: dict[str, Any] | None = None
    is_detached: bool
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        address, slot = command.address, command.recovered
        if slot is not None and slot.child:
            await self._go_on(driver, address, slot)
        elif why := self._refusal(driver):
            failed = meta(**family.refused(self.call.name, why).facts())
            self._note(driver, Kind.STEP_FAILED, address, 1, failed)
            await driver.write()
        else:
            self._start(driver, address, logical=1, nth=0)
            await driver.write()
        slot = driver.state.slots[address]
        with driver.silence.waits(address, Why.CHILD, None):
            while slot.outcome is None:
                await driver.waits.news(address, about_child(slot.child))
                if slot.outcome is None:  # it was stopped with this run, which goes on
                    await self._go_on(driver, address, slot)
        driver.conclude(address)

    def _refusal(self, driver: Calls) -> str:
        settings = driver.services.settings
        return family.refusal(driver.state, depth_max=settings.depth_max, children_max=settings.children_max)

    def _start(self, driver: Calls, address: Address, *, logical: int, nth: int) -> None:
        """Add the intent, and the message that starts the run; both are written together."""
        parent, state = driver.lease.run_id, driver.state
        child = child_id(driver.services.journal.hash_key, parent, address, nth)
        key = family.key_of(state.key, self.call.name, child)
        shares = None if self.is_detached else True
        for read in () if self.is_detached or state.books.are_joint else [*driver.open_reads]:
            read.intend_late()  # otherwise the child could use what is left for it
        facts = meta(child=child, key=key, nth=nth or None, shares=shares)
        self._note(driver, Kind.STEP_INTENDED, address, logical, facts, self.input)
        shared = {} if self.is_detached else charges.shared(state)
        start = accept.start(
            agent=self.agent,
            key=key,
            input_digest=self.input_digest,
            limits=self.limits,
            ask=self.ask,
            body=self.input,
            parent=parent,
            depth=state.depth + 1,
            by=state.requester or None,
            detached=self.is_detached or None,
            **shared,
        )
        driver.record.post(Post(child, f"start {self.agent} {self.input_digest}", start))
        driver.services.adopt(child)
        if self.is_detached:
            self._note(driver, Kind.STEP_SUCCEEDED, address, logical, "", encode(child))

    async def _go_on(self, driver: Calls, address: Address, slot: Slot) -> None:
        """It was started before: wait for the same run, taken up again when it ended without a result."""
        await driver.read_mail()
        if slot.outcome is not None:
            return
        is_again, child = not slot.is_in_flight, slot.child  # again: its failure ended this run, which was resumed
        head = driver.services.journal.head(child)
        status = head.status if head is not None else Status.CANCELLED
        is_unwound = head is not None and head.is_unwound  # what it did is undone, so it cannot be taken up again
        if not is_unwound and (status is Status.STOPPED or (is_again and status is Status.FAILED)):
            attempt = slot.attempt + 1
            self._note(driver, Kind.STEP_INTENDED, address, slot.logical, slot.marks, self.input, attempt)
            told = accept.resume(by=f"run {driver.lease.run_id}")
            driver.record.post(Post(child, f"resume {address} {slot.logical}.{attempt}", told))
        elif is_again and (status is Status.CANCELLED or is_unwound):
            self._start(driver, address, logical=slot.logical, nth=slot.nth + 1)
        elif status.is_end:
            end = fold(driver.services.journal.events(child)).end
            facts = end.facts if end is not None else {"outcome": status}
            _conclude(driver, slot, facts, end.body if end is not None else None)
        elif is_again:
            self._note(driver, Kind.STEP_INTENDED, address, slot.logical, slot.marks, self.input, slot.attempt + 1)
        driver.services.adopt(slot.child)
        await driver.write()
        if is_again and not status.is_end:  # until that was written, nobody would have been told of its end
            await self._go_on(driver, address, slot)

    def _note(
        self,
        driver: Calls,
        kind: Kind,
        address: Address,
        logical: int,
        facts: str,
        body: bytes | None = None,
        attempt: int = 1,
    ) -> None:
        call, now = self.call, driver.record.now()
        event = Event(kind, now, address, call.step, call.effect, logical, attempt, meta=facts, body=body)
        driver.record.add(event)


def about_child(child: str) -> str:
    """What a message about the end of this run is about."""
    return f"child {child}"


def ended(driver: Driver, facts: dict[str, Any], body: bytes | None) -> None:
    """A run that says that it is a child of this one has ended."""
    child = facts["child"]
    slot = driver.state.children.get(child)
    if slot is not None and slot.outcome is None and slot.child == child and not facts.get("with_parent"):
        _conclude(driver, slot, facts, body)


def _conclude(driver: Calls, slot: Slot, facts: dict[str, Any], body: bytes | None) -> None:
    outcome, child = facts["outcome"], slot.child
    if outcome == Status.SUCCEEDED:
        kind, told = Kind.STEP_SUCCEEDED, meta(child=child)
    else:
        kind, told = Kind.STEP_FAILED, meta(**family.failure(child, outcome, facts.get("why", ""), facts.get("limit")))
        body = None
    now = driver.record.now()
    driver.record.add(
        Event(kind, now, slot.address, slot.step, slot.effect, slot.logical, slot.attempt, meta=told, body=body)
    )


def tell_end(driver: Driver) -> None:
    """The run's end is added: tell it to its parent and to its children, in the same append."""
    state, run_id = driver.state, driver.lease.run_id
    end, is_heard = state.end, bool(state.parent) and not state.is_detached
    if end is None or not (is_heard or state.open_children):
        return
    name, facts = f"end {run_id} {state.count}", end.facts
    if is_heard:
        told = accept.ended(
            run_id,
            outcome=state.status,
            why=state.why,
            limit=facts.get("limit"),
            with_parent=facts.get("with_parent"),
            body=end.body,
        )
        driver.record.post(Post(state.parent, name, told))
    for child in sorted(state.open_children):
        why = f"its parent {run_id} ({state.key}) {said(state.status)}"
        by, fate = facts.get("by") or f"run {run_id}", family.fate(state.status)
        driver.record.post(Post(child, name, accept.cancel(by=by, why=why, is_now=driver.is_hurried, fate=fate)))
