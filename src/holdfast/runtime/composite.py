"""A composite: a step whose body makes steps of its own and has no other effect, such as an agent used as a tool.

Nothing is written before it: after a crash its body runs again, and the steps in it are answered from the journal. Its
outcome closes its scope, so what is in it is not asked for again.

Invariants
1. It is charged nothing by itself; the steps in it are.
2. It never gets an outcome while recorded effects of its scope are unexplained: then the run is blocked.
3. The body of a sync composite cannot be cut short; it goes on when its caller gives up, and has its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core import scope as scopes
from holdfast.core.command import Call, Execute
from holdfast.core.events import NOTHING, Address, Event, Kind, meta
from holdfast.runtime import stuck
from holdfast.runtime.facts import causes
from holdfast.runtime.way import Attempted

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls


@dataclass(slots=True, kw_only=True)
class Composite:
    """One call of a composite tool."""

    call: Call
    body: Callable[[str], Awaitable[Attempted]]
    """Runs the user's function with its steps in this scope; raises nothing but cancellation."""
    is_write: bool
    """Performed apart from its caller."""

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        address, slot = command.address, command.recovered
        scope = scopes.inside(address)
        attempted = await self._refused(driver, address, scope)
        if attempted is None:
            driver.begins(scope)
            attempted = await self.body(scope)
        if driver.is_closing:
            raise asyncio.CancelledError("the run is closing")
        block = driver.machine.unexplained(f"nothing more in {self.call.name}: it is over", scope)
        if block is not None:
            await driver.blocked(block)
        if attempted.error is not None:
            driver.live_errors[address] = attempted.error
        driver.record.add(self._outcome(driver, address, slot.logical if slot else 1, attempted))
        await driver.write()
        driver.conclude(address)

    async def _refused(self, driver: Calls, address: Address, scope: str) -> Attempted | None:
        """What it comes to when it is switched off, or only goes on with a loop, and was not begun before."""
        if driver.machine.unexplained("", scope) is not None:
            return None
        switched_off = driver.services.switches.refused(self.call.name)
        if switched_off is not None:
            return Attempted(None, NOTHING, switched_off)
        refusal = await stuck.refused(driver, self.call, address)
        return None if refusal is None else Attempted(None, NOTHING, refusal, stuck.facts(refusal))

    def _outcome(self, driver: Calls, address: Address, logical: int, attempted: Attempted) -> Event:
        call, failure = self.call, attempted.failure
        facts: dict[str, Any] = attempted.facts or {}
        if failure is not None:
            made_it_fail = [list(cause) for cause in causes(attempted.error)] if attempted.error is not None else []
            facts = facts | failure.facts() | {"cause": made_it_fail or None}
        kind = Kind.STEP_SUCCEEDED if failure is None else Kind.STEP_FAILED
        now, body = driver.record.now(), attempted.body
        return Event(kind, now, address, call.step, call.effect, logical, 1, meta=meta(**facts), body=body)
