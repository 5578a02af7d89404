"""What an unwinding undoes, and in which order. Pure.

A step can be undone when its tool declares `undo=`, it succeeded, and nothing has undone it yet. The last one to
succeed is undone first: later steps were made on top of earlier ones, also by parallel branches. When an undo fails,
those after it are not begun, for the same reason: they would take away what still stands on them.

What is in flight or in doubt is neither undone nor passed over: it is settled first. Whether a step happened of which
the agent was told that nobody knows (`Unverified`) is not decided here; it is named.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.events import Address, Kind
from holdfast.core.scope import is_within
from holdfast.core.slot import Slot
from holdfast.core.state import State


class Plan(NamedTuple):
    """What is to be undone, in this order, and what may have happened and is left."""

    undo: tuple[Address, ...]
    left: tuple[Address, ...]


def plan(state: State, scope: str = "") -> Plan:
    """The steps within this scope, which is the whole run when empty."""
    standing = [slot for slot in reversed(state.order) if slot.undo and is_in(slot, scope) and not slot.is_undone]
    done = tuple(slot.address for slot in standing if _has(slot, Kind.STEP_SUCCEEDED))
    left = tuple(slot.address for slot in standing if is_unverified(slot))
    return Plan(done, left)


def unsettled(state: State, scope: str = "") -> list[Slot]:
    """Steps that could be undone and may just be happening, or are in doubt."""
    return [
        slot
        for slot in state.slots.values()
        if slot.undo and slot.outcome is None and slot.begun_at is not None and is_in(slot, scope)
    ]


def is_in(slot: Slot, scope: str) -> bool:
    """Whether the step was made within this scope."""
    return not scope or is_within(slot.address.scope, scope)


def is_unverified(slot: Slot) -> bool:
    """Whether its outcome is that nobody knows."""
    return _has(slot, Kind.STEP_FAILED) and slot.outcome is not None and not slot.outcome.facts.get("is_definite", True)


def undoing(state: State, address: Address) -> Slot | None:
    """The latest step that was to undo this one."""
    found = [slot for slot in state.slots.values() if slot.undoes == address]
    return found[-1] if found else None


def to_reopen(state: State) -> list[Address]:
    """Outcomes that an operator's unwinding does not take for granted: undos that failed, and what nobody knew."""
    failed = [s for s in state.order if s.undoes and not state.slots[s.undoes].is_undone and _has(s, Kind.STEP_FAILED)]
    unknown = [slot for slot in state.order if slot.undo and is_unverified(slot)]
    return [slot.address for slot in (*failed, *unknown)]


def _has(slot: Slot, kind: Kind) -> bool:
    return slot.outcome is not None and slot.outcome.kind is kind
