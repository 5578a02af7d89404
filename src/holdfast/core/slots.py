"""All the steps that the log of one run knows, the order in which they were answered, and which scopes are done.

One part of `State`, which alone says what an event means. What a step costs, who asks about it and how the run behaves
are none of its business; `reopening` takes outcomes back.

Invariants
1. `order` holds exactly the steps that have a place, and each step's `order` is its index there.
2. What belongs to one attempt of another step has no place: no later process makes that attempt.
3. A scope is closed by the outcome of its composite, or by the caller who gave that up; nothing else closes it.
"""

from __future__ import annotations

from holdfast.core import scope as scopes
from holdfast.core.events import Address, Effect, Event, Kind, StepKind
from holdfast.core.slot import Slot


class Slots:
    """The steps of one run."""

    __slots__ = ("closed", "known", "moved", "order", "unverified")

    def __init__(self) -> None:
        self.known: dict[Address, Slot] = {}
        self.order: list[Slot] = []
        """Steps in the order in which their outcomes were recorded."""
        self.closed: set[str] = set()
        """Scopes of composites that have an outcome, or whose caller gave up: nobody need ask for what is in them."""
        self.moved: dict[Address, Address] = {}
        """Calls that had no record of their own, and the recorded steps that they were found to be."""
        self.unverified: dict[tuple[str, ...], Address] = {}
        """Effects whose outcome is that nobody knows whether they happened, by what was asked for."""

    def of(self, event: Event, no: int) -> Slot:
        """The step that this event, the run's `no`th, is about."""
        address = event.address
        assert address is not None
        slot = self.known.get(address)
        if slot is None:
            slot = self.known[address] = Slot(address, event.step or StepKind.TOOL, event.effect or Effect.READ)
            slot.first_no = no
        return slot

    def conclude(self, slot: Slot, event: Event, no: int) -> None:
        """This event, the run's `no`th, is the outcome of the step."""
        slot.outcome = event
        slot.outcome_no = no
        slot.appeal = slot.ruling = None
        slot.is_unknown = False
        slot.sender = None
        slot.streamed = ()
        self._take_place(slot, event, no)
        if event.kind is Kind.STEP_FAILED and slot.effect.is_write and not event.facts.get("is_definite", True):
            self.unverified[slot.address[:3]] = slot.address
        if slot.effect is Effect.COMPOSITE:
            self.closed.add(scopes.inside(slot.address))

    def streamed(self, event: Event, no: int) -> None:
        """A part of its answer was handed on."""
        slot = self.of(event, no)
        slot.streamed += (event.body or b"",)
        self._take_place(slot, event, no)

    def _take_place(self, slot: Slot, event: Event, no: int) -> None:
        """Its caller gets something from here on. What belongs to one attempt of another step has no place."""
        if slot.order < 0 and not scopes.is_of_attempt(slot.address.scope):
            slot.order, slot.asked, slot.heard_no = len(self.order), event.asked, no
            self.order.append(slot)

    def abandoned(self, event: Event, no: int) -> None:
        """A caller gave its call up."""
        slot = self.of(event, no)
        slot.abandonments += (no,)
        if slot.effect is Effect.COMPOSITE:
            self._close_given_up(scopes.inside(slot.address))

    def _close_given_up(self, scope: str) -> None:
        """The calls in it were given up with it; when it is asked for again, its body makes all of them anew."""
        self.closed.add(scope)
        for slot in self.known.values():
            if scopes.is_within(slot.address.scope, scope):
                slot.abandonments = ()

    def is_closed(self, scope: str) -> bool:
        """Whether nobody need ask for the steps of this scope."""
        if not scope:
            return False
        return scopes.is_of_attempt(scope) or not self.closed.isdisjoint(scopes.enclosing(scope))

    def drifted(self, event: Event) -> None:
        """The code asks for something else than what is recorded, and a rule says what that means."""
        facts, address = event.facts, event.address
        rule = facts.get("rule")
        if address is not None and rule == "abandoned":
            slot = self.known[address]
            slot.abandonments = slot.abandonments[:-1]
        elif address is not None and rule == "tail":
            self.moved[Address(*facts["asked"])] = address
        elif rule == "fresh":
            for parts in facts["recorded"]:
                self.known[Address(*parts)].is_excused = True
