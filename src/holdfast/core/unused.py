"""What the record has and nobody has asked for yet: rules 3 and 4 of `machine`.

It never decides who gets an outcome; it says what is left, and so which new step may begin.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.command import Call
from holdfast.core.events import Address, Effect, StepKind
from holdfast.core.slot import Slot
from holdfast.core.state import State


class Unused:
    """The recorded steps that nobody has asked for."""

    def __init__(self, state: State) -> None:
        self._slots = {
            address: slot
            for address, slot in state.slots.items()
            if not (slot.abandoned or slot.is_excused or (address.scope and state.is_closed(address.scope)))
        }
        self._writes = {address for address, slot in self._slots.items() if is_write(slot.step, slot.effect)}
        self._models: dict[str, set[Address]] = {}
        for address, slot in self._slots.items():
            if slot.step is StepKind.MODEL:
                self._models.setdefault(address.scope, set()).add(address)
        self.is_news = False
        """Something was asked for since this was last set back: a call that is held may have become explained."""

    def __contains__(self, address: Address) -> bool:
        return address in self._slots

    def use(self, address: Address, slot: Slot) -> None:
        """Somebody has asked for it, or need not any more."""
        if self._slots.pop(address, None) is None:
            return
        self.is_news = True
        self._writes.discard(address)
        if slot.step is StepKind.MODEL:
            self._models[address.scope].discard(address)

    def excuse(self, scopes: Iterable[str]) -> list[Address]:
        """Nobody need ask for the model calls of these scopes any more; which they were."""
        left = sorted(address for scope in set(scopes) for address in self._models.get(scope, ()))
        for address in left:
            self.use(address, self._slots[address])
        return left

    def explains(self, call: Call) -> bool:
        """Whether a new step of this sort may begin."""
        if call.step is StepKind.MODEL:
            return not self._models.get(call.scope)
        return not (self._writes and is_write(call.step, call.effect))

    def kept(self) -> list[Address]:
        """What is handed out to nobody else, and so keeps others waiting: all but reads, sleeps and notes."""
        return [address for part in (self._writes, *self._models.values()) for address in part]

    @property
    def writes(self) -> list[Address]:
        """Effects and questions."""
        return sorted(self._writes)

    @property
    def reads(self) -> list[Address]:
        """Drift, but harmless."""
        return sorted(a for a, slot in self._slots.items() if slot.step is StepKind.TOOL and not slot.effect.is_write)

    def models(self, scope: str | None = None) -> list[Slot]:
        """Model calls, of this scope or of all, as they were begun."""
        found = self._models.values() if scope is None else [self._models.get(scope, set())]
        return sorted((self._slots[a] for part in found for a in part), key=lambda slot: slot.first_no)


def is_write(step: StepKind, effect: Effect) -> bool:
    """Whether the outcome of such a step is never given to another."""
    return step in (StepKind.QUESTION, StepKind.CHILD) or (step is StepKind.TOOL and effect.is_write)


def is_held_sort(step: StepKind, effect: Effect) -> bool:
    """Whether such a step waits while the past is unexplained."""
    return step is StepKind.MODEL or is_write(step, effect)
