"""What is asked before an attempt of a step begins, and what is told when it is over.

A refusal is a failure like any other, of which it is certain that nothing was begun: the step's policy says what
follows. Each line here asks one feature; what it says is decided in that feature's own module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.events import Address, StepKind
from holdfast.core.failure import Failure
from holdfast.runtime import sharing

if TYPE_CHECKING:
    from holdfast.runtime.attempts import Attempts
    from holdfast.runtime.calls import Calls
    from holdfast.runtime.way import Attempted, Way


def refused(driver: Calls, plan: Attempts, way: Way, address: Address) -> Failure | None:
    """Why this attempt must not begin; None when it may."""
    if plan.call.step is StepKind.TOOL:
        switched_off = driver.services.switches.refused(way.name or plan.call.name)
        if switched_off is not None:
            return switched_off
    return sharing.refused(driver, plan, way, address)


def shut(driver: Calls, way: Way, address: Address, plan: Attempts) -> Failure | None:
    """Why it is no use to wait for one's turn; asked before that, `refused` is asked after it."""
    return sharing.shut(driver, plan, way, address)


def observed(driver: Calls, plan: Attempts, way: Way, address: Address, attempted: Attempted) -> None:
    """An attempt is over."""
    sharing.observed(driver, plan, way, address, attempted)
