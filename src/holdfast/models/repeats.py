"""Which call is only tried again, by an SDK or by a retry loop around it: it is told the same failure once more.

A call is a repeat when the same one has just failed and the agent has asked for nothing else since, or when the SDK
counts its own retries and says so. It costs no request and no step, but is recorded (`StepRepeated`, with the next
append): what else was asked for in between depends on how fast other branches are, and on replay they are faster.

Invariants
1. While the record says so, a call is a repeat, or is none: as it was live, whatever was asked for in between.
2. What is remembered here is a cache: with nothing in it, policies multiply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.command import Call
from holdfast.core.events import Address, Event, Kind, meta

if TYPE_CHECKING:
    from holdfast.runtime.driver import Driver

FAILURES_MAX = 64


class Caller(NamedTuple):
    """Who asks."""

    id: int
    """Its task or thread: an SDK tries again in the one that it is called in."""
    is_sdk_retry: bool


class _Failed(NamedTuple):
    """How a call ended."""

    outcome: Event
    asked: int
    """How many calls the agent had made then."""


@dataclass(slots=True)
class Repeats:
    """The failures of one run that may be asked for again."""

    _failures: dict[tuple[str, ...], dict[int, _Failed]] = field(default_factory=dict)
    """By what was asked for, and by caller: how the latest call ended."""
    _told: dict[Address | None, list[int]] = field(default_factory=dict)
    """How often each was told again by this process: to others, to its own caller."""

    def before(self, call: Call, caller: Caller, driver: Driver) -> Event | None:
        """How this very call has just ended, when it is a repeat."""
        failures = self._failures.get(call[:3])
        if failures is None:
            return None
        if (mine := failures.get(caller.id)) is not None and caller.is_sdk_retry:
            return mine.outcome
        known = list(self._known(call, caller))
        for failed, is_own in known:
            if self._left(failed.outcome, driver)[is_own] > 0:
                return failed.outcome
        if driver.machine.expects(call):
            return None
        for failed, _ in known:
            if failed.asked == driver.machine.asked or any(left > 0 for left in self._left(failed.outcome, driver)):
                return failed.outcome
        return None

    def told(self, call: Call, caller: Caller, driver: Driver, outcome: Event) -> None:
        """A repeat was told this failure again."""
        mine = self._failures.get(call[:3], {}).get(caller.id)
        is_own = mine is not None and mine.outcome is outcome
        if is_own and caller.is_sdk_retry:  # it says so by itself, each time
            return
        left = self._left(outcome, driver)
        if left[is_own] <= 0 < left[not is_own]:  # a thread of a pool has another number every time
            is_own = not is_own
        if left[is_own] <= 0 and not driver.is_closing and outcome.address is not None:
            address, step, effect = outcome.address, outcome.step or call.step, outcome.effect or call.effect
            driver.record.note_step(Kind.STEP_REPEATED, address, step, effect, meta=meta(own=is_own))
        self._told.setdefault(outcome.address, [0, 0])[is_own] += 1

    def ended(self, call: Call, caller: Caller, outcome: Event, asked: int) -> None:
        """A call has ended so."""
        what = call[:3]
        if outcome.kind is not Kind.STEP_FAILED:
            self._failures.pop(what, None)
            return
        failures = self._failures.setdefault(what, {})
        failures[caller.id] = _Failed(outcome, asked)
        for known in (self._failures, failures):
            while len(known) > FAILURES_MAX:
                del known[next(iter(known))]  # type: ignore[arg-type]

    def _known(self, call: Call, caller: Caller) -> Iterator[tuple[_Failed, bool]]:
        """Failures of this call, its own caller's first."""
        failures = self._failures.get(call[:3], {})
        if caller.id in failures:
            yield failures[caller.id], True
        yield from ((failed, False) for id, failed in failures.items() if id != caller.id)

    def _left(self, outcome: Event, driver: Driver) -> tuple[int, int]:
        """How often it was told again by then, and was not by this process yet: to others, to its own caller."""
        slot = driver.state.slots.get(outcome.address) if outcome.address is not None else None
        others, own = self._told.get(outcome.address, (0, 0))
        return (slot.repeats[0] - others, slot.repeats[1] - own) if slot is not None else (0, 0)
