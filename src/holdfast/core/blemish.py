"""What the end of a run must say beside its outcome: which steps failed or were not what they should be. Pure.

An agent may swallow a failure and report success; what stands here cannot be swallowed.
"""

from __future__ import annotations

import json
from typing import Final

from holdfast.core.events import Kind, StepKind, meta
from holdfast.core.state import State

NAMED_MAX: Final = 100
"""So many steps are named; there may be more."""


def blemishes(state: State) -> dict[str, list[str]]:
    """By fact of `RunEnded`: the steps that were served from elsewhere, and those that failed."""
    degraded: list[str] = []
    failed: list[str] = []
    for slot in state.order:
        outcome = slot.outcome
        if outcome is None:
            continue
        if outcome.kind is Kind.STEP_FAILED and slot.step in (StepKind.TOOL, StepKind.MODEL):
            failed.append(str(slot.address))
        elif '"degraded"' in outcome.meta:
            degraded.append(str(slot.address))
    found = {"degraded": degraded[:NAMED_MAX], "failed_steps": failed[:NAMED_MAX]}
    return {name: steps for name, steps in found.items() if steps}


def with_blemishes(facts: str, state: State) -> str:
    """The facts of an end, with these."""
    found = blemishes(state)
    return meta(**(json.loads(facts) | found)) if found else facts
