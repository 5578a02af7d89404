"""What is still written for a run whose append was refused because the disk is full: what its steps came to.

An append that also begins something is refused as a whole, and with it outcomes for which the kept room is meant. When
the run leaves this process they are written alone, to the record as it stands in the store; what was to begin is given
up, and begins when there is room.

Invariants
1. Only an outcome of the very attempt that the store has in flight is written: nothing that hangs on what was given up.
2. It begins nothing, gives nothing back, and answers no message: those who come after read them anew.

Never: raises for a store that fails once more; then the steps are in doubt, as after a crash.
"""

from __future__ import annotations

from contextlib import suppress

from holdfast.core.events import Effect, Event, Kind, StepKind
from holdfast.core.state import State, fold
from holdfast.errors import JournalError
from holdfast.runtime.record import Record

_OVER = frozenset({Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.ATTEMPT_FAILED})
_WORLDLY = frozenset({StepKind.TOOL, StepKind.MODEL, StepKind.VERIFY})
"""What was asked of the world; of all other steps nothing is lost that a message or the clock does not say again."""


async def outcomes(record: Record) -> None:
    """Write what steps under way came to, of what `record` could not write any more."""
    with suppress(JournalError):
        stored = fold(record.services.journal.events(record.lease.run_id))
        fresh, added = Record(record.services, record.lease, stored), 0
        for event, blob in record.left():
            if _is_awaited(event, stored):
                fresh.add_heard(event)
                if blob:
                    fresh.put(added, blob)
                added += 1
        await fresh.write()


def _is_awaited(event: Event, state: State) -> bool:
    if event.kind not in _OVER or event.step not in _WORLDLY or event.effect is Effect.COMPOSITE:
        return False
    slot = state.slots.get(event.address) if event.address is not None else None
    return slot is not None and slot.is_in_flight and (event.logical, event.attempt) == (slot.logical, slot.attempt)
