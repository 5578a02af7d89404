"""A model call that has no record at its address: which recorded call it is, if that is certain. Pure functions.

Prompts drift: a clock in the system text, another tool list, a reworded instruction. What such a call is *about* is
in its tail (the messages from the last assistant turn on, what is generated masked), and so it is found again.

Rules
1. It takes the **one** recorded call of its scope with its tail that nobody has asked for, and only when no other
   call that is held there has that tail, or had it until its caller gave up: the record may be that one's. Where
   there are several of either, nothing is certain, and nobody gets it.
2. A record counts as long as nobody asked for it, also one whose caller gave up then: it may still be asked for.
3. A record that was begun after an outcome (or after the giving up of a call) that nobody has got yet is not given:
   it may belong to the branch that waits for that. Nor one whose outcome came after more calls than were made now:
   one of those to come may be its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from holdfast.core.command import Ask, Call, Command
from holdfast.core.events import Address, StepKind
from holdfast.core.places import Places
from holdfast.core.slot import Slot
from holdfast.core.state import State
from holdfast.core.unused import is_held_sort


class Match(NamedTuple):
    """A call was found to be a recorded step."""

    ask: Ask
    asked: Address
    """Where it had no record; `ask.address` is the step now."""
    command: Command | None
    """None: it waits for its turn."""


def matches(
    held: Sequence[Ask], gone: Sequence[Ask], records: Iterable[Slot], *, before: float, asked: Callable[[str], int]
) -> list[tuple[Ask, Slot]]:
    """The calls that certainly are recorded steps, in recorded order.

    gone: calls that were held until their caller gave up. records: model calls that nobody asked for. before: number
    of the first event that somebody may still wait for. asked: calls made so far in a scope.
    """
    asks: defaultdict[tuple[str, str], list[Ask]] = defaultdict(list)
    for ask in (*held, *gone):
        if ask.call.step is StepKind.MODEL and ask.call.tail:
            asks[ask.call.scope, ask.call.tail].append(ask)
    slots: defaultdict[tuple[str, str], list[Slot]] = defaultdict(list)
    for slot in records if asks else ():
        slots[slot.address.scope, slot.tail].append(slot)
    found = []
    for key, (ask, *more) in asks.items():
        likely = [slot for slot in slots[key] if slot.address[:3] != ask.address[:3]]  # another n is rule 1's to give
        made = asked(ask.call.scope)
        if not more and ask not in gone and len(likely) == 1 and _is_certain(ask.call, likely[0], before, made):
            found.append((ask, likely[0]))
    return sorted(found, key=lambda pair: pair[1].first_no)


def _is_certain(call: Call, slot: Slot, before: float, asked: int) -> bool:
    if (slot.address.name, slot.effect) != (call.name, call.effect):  # another provider's answer cannot be read
        return False
    return slot.first_no < before and (slot.order < 0 or slot.asked <= asked)


def awaited_no(state: State, places: Places, unanswered: Iterable[Address]) -> float:
    """Number of the first event that a branch may still wait for, infinite when there is none.

    Of a step that is asked for and `unanswered`, or not asked for yet, that is its outcome, or the first part of its
    stream; of a call that its caller gave up then, it is that, since here the caller's own timer may not have rung yet.
    """
    numbers = [slot.heard_no for slot in map(state.slots.__getitem__, unanswered) if slot.order >= 0]
    for live in places.voids():
        numbers += state.slots[live.address].abandonments[live.asks - 1 :]
    numbers += [slot.abandonments[0] for slot in forsaken(state, places)]
    return min(numbers, default=float("inf"))


def forsaken(state: State, places: Places) -> list[Slot]:
    """Effects, questions and model calls whose call was given up then, and that nobody has asked for yet."""
    given_up = (slot for slot in state.slots.values() if slot.abandoned and not slot.is_excused)
    held = (slot for slot in given_up if is_held_sort(slot.step, slot.effect))
    return [slot for slot in held if places.is_vacant(slot.address) and not state.is_closed(slot.address.scope)]


def has_grown(call: Call, due: Slot, asked_for: Iterable[Slot]) -> bool:
    """Whether the conversation of `call` goes on from that of the recorded call that is due, as if it had its answer.

    asked_for: recorded model calls of the scope that were asked for. Where one of them had the same conversation,
    this one goes on from that, and all is well.
    """
    begun = due.history
    if begun is None or due.address.name != call.name:
        return False
    count, digest = begun
    goes_on = 0 < count < len(call.history) and call.history[count - 1] == digest
    return goes_on and all(slot.history != begun for slot in asked_for)
