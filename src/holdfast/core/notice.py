"""What a model is to read beside the outcome of a step: that a result is old, or from elsewhere. Pure.

A notice is made of what the record says up to that step's outcome and never of what came later, so it is the same
text live and on every replay.
"""

from __future__ import annotations

from typing import Any

from holdfast.core.duration import span
from holdfast.core.events import Address
from holdfast.core.state import State


def notices(state: State, address: Address) -> tuple[str, ...]:
    """The texts that belong to this step's outcome, in order; mostly none."""
    slot = state.slots.get(address)
    if slot is None or slot.outcome is None:
        return ()
    degraded = slot.outcome.facts.get("degraded") if '"degraded"' in slot.outcome.meta else None
    told = (_degraded(address.name, degraded),) if degraded is not None else ()
    return told + state.conduct.remarks.get(address, ())


def _degraded(name: str, facts: dict[str, Any]) -> str:
    """That a result did not come from the tool itself, now."""
    why = f"{name} failed now ({facts.get('because', 'for good')})"
    if "age_s" in facts:
        return f"Not fresh: {why}. This is its last good result, {span(facts['age_s'])} old."
    return f"Not from {name} itself: {why}. This was given by {facts.get('by', 'something else')}."


def told(notice: str) -> str:
    """A notice in the form in which a model reads it."""
    return f"[holdfast: {notice}]"
