"""Taking back outcomes when a run is resumed: which steps are open again, and what that means for all others.

Called by `State` for a `RunResumed`, and by nobody else: it is the only way in which an outcome goes away.

Invariants
1. With a composite, the steps that made it fail are reopened.
2. An outcome that is certain is tried again under a new key; one that is not may have happened, and keeps its key.
3. What was recorded after the earliest outcome that is taken back need not be asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.core import approval
from holdfast.core import scope as scopes
from holdfast.core.events import Address, Effect
from holdfast.core.slot import Slot
from holdfast.core.slots import Slots


def reopen(slots: Slots, addresses: Iterable[Any]) -> None:
    """The run is resumed, and these steps are to be tried again."""
    reopened = causes(slots.known, addresses)
    if any(slot.outcome is not None for slot in reopened):
        _excuse(slots, min(slot.outcome_no for slot in reopened if slot.outcome is not None))
    for slot in reopened:
        _reopen(slots, slot)
    for slot in slots.known.values():
        if slot.is_in_flight and slot.verdicts and slot.verdicts[-1].facts.get("choice") == "abort":
            slot.verdicts = ()  # it was the answer to that stop; resumed, the question is open again
        if slot.outcome is None and slot.grant is not None and slot.grant.facts.get("choice") == approval.STOP:
            slot.approval = slot.grant = None


def causes(known: Mapping[Address, Slot], addresses: Iterable[Any]) -> list[Slot]:
    """These steps, and of a composite among them the steps that made it fail."""
    found: dict[Address, Slot] = {}
    left = [Address(*parts) for parts in addresses]
    while left:
        slot = known[left.pop(0)]
        if slot.address not in found and (slot.outcome is not None or slot.failures):  # or: it stopped the run
            found[slot.address] = slot
            facts = slot.outcome.facts if slot.outcome is not None else {}
            left += [Address(*parts) for parts in facts.get("cause", ())]
    return list(found.values())


def _excuse(slots: Slots, since: int) -> None:
    """What was recorded after the outcome that is taken back may not be asked for again."""
    for slot in slots.known.values():
        slot.abandonments = tuple(number for number in slot.abandonments if number < since)
        slot.is_excused = slot.is_excused or slot.first_no > since
        if slot.effect is Effect.COMPOSITE and slot.outcome is None and not slot.abandonments:
            slots.closed.discard(scopes.inside(slot.address))


def _reopen(slots: Slots, slot: Slot) -> None:
    outcome, slot.outcome = slot.outcome, None
    slot.verdicts = ()
    slot.served = ""
    slots.unverified.pop(slot.address[:3], None)
    slot.repeats = (0, 0)
    if slot.effect is Effect.COMPOSITE:
        slots.closed.discard(scopes.inside(slot.address))
    slot.approval = slot.grant = slot.appeal = slot.ruling = slot.retry_at = slot.again_at = None
    slot.is_unknown = slot.is_in_flight = outcome is not None and not outcome.facts.get("is_definite", True)
    if not slot.is_unknown:  # otherwise it may have happened: no new key, it is in doubt again
        slot.logical += 1
        slot.attempt = 0
        slot.begun_at = None
        slot.intent = None
    if slot.order >= 0:
        slots.order.remove(slot)
        slot.order = -1
        for place, other in enumerate(slots.order):
            other.order = place
