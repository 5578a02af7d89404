"""Undoing what a run did: by its agent (`run.unwind`), or by command for a run that has ended.

What is undone and in which order is decided in `core.undo`. Each undo is a step of its own, with its intent, its key,
its retries and its doubt, so a kill at any point neither loses nor repeats one.

Invariants
1. One after the other, the last step first. When an undo fails, those after it are not begun: they would take away
   what still stands on them. The failure is told, and the same undo can be tried again.
2. Nothing is undone while a step that could be undone is in flight or in doubt: it is settled first.
3. A step is undone by the tool of its name that the agent called, or that its code can reach; where that leaves more
   than one, by none, and the failure names them.
4. The agent's code does not run in an unwinding by command; the run ends as it had ended, and says what was undone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core import undo
from holdfast.core.command import Call, Execute
from holdfast.core.events import Address, Effect, Kind, StepKind, meta
from holdfast.core.slot import Slot
from holdfast.errors import Unverified, UsageError
from holdfast.journal.codec import digest, encode
from holdfast.runtime import current
from holdfast.runtime.attempts import Settlement
from holdfast.runtime.reachable import reachable
from holdfast.runtime.thread import loop_elsewhere
from holdfast.runtime.tool import Tool, declared_latest, planned, take_step
from holdfast.runtime.undo import Undo
from holdfast.runtime.ways import Reach

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls
    from holdfast.runtime.driver import Driver

WHAT = "unwind"


@dataclass(slots=True)
class Unwinding:
    """The decision what is to be undone: made once, when nothing of it is in flight or in doubt."""

    call: Call
    because: str
    is_write = False

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        call, scope = self.call, self.call.scope
        await driver.silence.until(lambda: not _open(driver, scope))
        plan = undo.plan(driver.state, scope)
        facts = meta(
            what=WHAT,
            choice=", ".join(str(address) for address in plan.undo) or "nothing",
            because=self.because,
            undo=[list(address) for address in plan.undo],
            left=[list(address) for address in plan.left] or None,
        )
        driver.record.note_step(Kind.DECIDED, command.address, call.step, call.effect, meta=facts)
        await driver.write()
        driver.conclude(command.address)


def _open(driver: Calls, scope: str) -> list[Slot]:
    machine = driver.machine
    return [s for s in undo.unsettled(driver.state, scope) if s.is_in_flight or machine.is_performed(s.address)]


async def unwind(where: current.Place, because: str) -> list[str]:
    """Undo what succeeded within this place; the names of what was undone, in order."""
    driver = where.driver
    if loop_elsewhere(driver.thread, driver.loop) is not None:
        return await driver.bridge.reach(unwind(where, because))
    async with driver.unwinding:
        call = Call(where.scope, WHAT, WHAT, StepKind.DECISION, Effect.READ, because.encode())
        facts = (await driver.step(Unwinding(call, because))).facts
        undone = [Address(*parts) for parts in facts["undo"]]
        for address in undone:
            await _undo(where, address)
    if left := facts.get("left"):
        named = ", ".join(str(Address(*parts)) for parts in left)
        raise Unverified(
            f"Undone: {facts['choice']}. Whether {named} happened is not known, so it was not undone. "
            f"`holdfast unwind {driver.lease.run_id}` asks again when the run has ended."
        )
    return [address.name for address in undone]


async def _undo(where: current.Place, address: Address) -> None:
    slot = where.driver.state.slots[address]
    found = _undo_of(where.driver, slot)
    outcome, intent = slot.outcome, slot.intent
    made = found.prepared(outcome.body if outcome else None, intent.body if intent else None)
    await take_step(
        found.spec,
        where,
        made.args,
        made.calling,
        made.asked,
        needs_key=made.needs_key,
        marks=_marks(address),
        found_by=_digest(address),
    )


def _marks(address: Address) -> dict[str, Any]:
    return {"undoes": list(address)}


def _digest(address: Address) -> str:
    """By which the step that undoes this one is found."""
    return digest(encode(list(address)))


def _undo_of(driver: Calls, slot: Slot) -> Undo:
    """What undoes this step; refused when it is not one and only one, for a guess may undo what is someone else's."""
    name = slot.made_by or slot.address.name
    declared = _declared(driver, name)
    fitting = [undo for undo in declared if undo.name == slot.undo] or declared
    if len(fitting) != 1:
        raise UsageError(f"{slot.address} was declared with undo={slot.undo}, and {_unfound(fitting)}")
    return fitting[0]


def _declared(driver: Calls, name: str) -> list[Undo]:
    """By the tools of this name that the agent has called here, or else its code can reach, or else that are alive."""
    used = [undo for (called, _), undo in driver.undos.items() if called == name]
    if used:
        return used
    near = [tool for tool in reachable(driver.agent.fn, Tool) if tool.name == name]
    return [tool.undo for tool in near or declared_latest(name) if tool.undo is not None]


def _unfound(fitting: list[Undo]) -> str:
    if not fitting:
        return (
            "no tool of that name with undo= can be found in this process. It was not undone. "
            "Load the module that declares it."
        )
    places = ", ".join(sorted(f"{undo.of.fn.__module__}.{undo.of.fn.__qualname__}" for undo in fitting))
    return (
        f"{len(fitting)} tools of that name with undo= can be found in this process: {places}. It was not undone, for "
        "the wrong one might undo what another agent did. Unwind it where only one is loaded, or let the agent's own "
        "code name the one that it calls."
    )


# --- by command ------------------------------------------------------------------------------------------------


async def unwound(driver: Driver) -> None:
    """Undo what an ended run did; comes back when nothing is left, or an undo has failed."""
    for slot in undo.unsettled(driver.state):
        if slot.is_in_flight:
            await _settle(driver, slot)
    for address in undo.plan(driver.state).undo:
        if not await _undo_again(driver, address):
            return


async def _settle(driver: Driver, slot: Slot) -> None:
    found = _undo_of(driver, slot)
    made = found.undone(slot.intent.body if slot.intent else None)
    call = Call(*slot.address[:3], slot.step, slot.effect, made.args)
    where = current.Place(driver, slot.address.scope)
    plan = planned(found.of, where, call, Reach(made.calling, made.asked), None, needs_key=made.needs_key)
    await driver.performed(Settlement(call=call, plan=plan), Execute(slot.address, slot))


async def _undo_again(driver: Driver, address: Address) -> bool:
    """Whether this step is undone now."""
    state = driver.state
    slot, earlier = state.slots[address], undo.undoing(state, address)
    at = earlier.address if earlier is not None else Address("", f"undo {address.name}", _digest(address), 0)
    if earlier is None or earlier.outcome is None:
        found = _undo_of(driver, slot)
        outcome, intent = slot.outcome, slot.intent
        made = found.prepared(outcome.body if outcome else None, intent.body if intent else None)
        call = Call(*at[:3], StepKind.TOOL, found.spec.effect, made.args)
        where = current.Place(driver, at.scope)
        own, marks = Reach(made.calling, made.asked), _marks(address)
        plan = planned(found.spec, where, call, own, None, needs_key=made.needs_key, marks=marks)
        await driver.performed(plan, Execute(at, state.slots.get(at)))
    return state.slots[address].is_undone


def facts_of_end(driver: Driver, error: BaseException | None) -> str:
    """The facts of the end that the run had, and what is undone and what is not."""
    state = driver.state
    ended = state.ended_as.facts if state.ended_as is not None else {}
    plan = undo.plan(state)
    undone = [list(slot.address) for slot in state.slots.values() if slot.is_undone]
    left = [list(address) for address in (*plan.undo, *plan.left)]
    by = state.unwinding.facts.get("by") if state.unwinding is not None else None
    told = {"undone": undone, "not_undone": left or None, "unwound_by": by, "unwind_failed": error and str(error)}
    return meta(**ended | told)
