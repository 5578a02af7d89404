"""A run that has come to a cap, and a person who may raise it: what they are asked, and what an answer is worth. Pure.

1. One cap is asked about at a time: the one that stopped the run. Nothing is begun meanwhile, and nothing above it is
   ever spent: the cap is raised first.
2. "Raise" is worth half of the cap, or what is needed next if that is more, or the amount that is given with it.
3. Silence is no raise: the run is stopped, as it is where nobody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from holdfast.core.budget import TIMES, USD_NANO, Limits
from holdfast.core.duration import span

ABOUT: Final = "budget"
RAISE, STOP = "raise", "stop"
OPTIONS: Final = (RAISE, STOP)


class _Unit(NamedTuple):
    """How people name an amount of one part."""

    field: str
    of: int
    """How much of the part one of it is."""
    title: str
    step: float
    """What is the least of it, and what amounts are rounded up to."""
    most: int


_UNITS: Final[Mapping[str, _Unit]] = {
    "tool_calls": _Unit("tool_calls", 1, "More tool calls", 1, 10**6),
    "model_calls": _Unit("model_calls", 1, "More model calls", 1, 10**6),
    "tokens": _Unit("tokens", 1, "More tokens", 1, 10**10),
    "usd_nano": _Unit("usd", USD_NANO, "More US dollars", 0.01, 10**6),
    "active_ms": _Unit("minutes", 60_000, "More minutes at work", 1, 10**6),
    "wall_ms": _Unit("minutes", 60_000, "More minutes, from the answer on", 1, 10**6),
}


def schema(name: str, cap: int, needs: int) -> dict[str, Any]:
    """The form by which this cap is raised. needs: what the next call asks for beyond it."""
    unit = _UNITS[name]
    steps = math.ceil(max(cap / 2, needs, 1) / unit.of / unit.step)
    amount = min(unit.most, round(steps * unit.step, 2))
    is_whole = unit.of == 1
    field = {
        "type": "integer" if is_whole else "number",
        "title": unit.title,
        "minimum": int(unit.step) if is_whole else unit.step,
        "maximum": unit.most,
        "default": int(amount) if is_whole else amount,
    }
    return {"type": "object", "properties": {unit.field: field}}


def raised(name: str, values: Mapping[str, Any], limits: Limits, passed_ms: int) -> Limits:
    """The caps after an answer that fills in the form so. passed_ms: since the run was accepted; of that, what is over
    its cap was waited for this very answer."""
    unit = _UNITS[name]
    more = math.floor(values[unit.field] * unit.of + 0.5)
    late = max(0, passed_ms - (limits.wall_ms or 0)) if name == "wall_ms" else 0
    place = Limits._fields.index(name)
    return limits.raised([more + late if number == place else 0 for number in range(len(limits))])


def text(name: str, cap: int, used: int, needs: int) -> str:
    """The question, in our words."""
    more = f", and what comes next needs {shown(name, needs)} more than that" if needs else ""
    what = {"active_ms": " at work", "wall_ms": " since it was accepted"}.get(name, "")
    return (
        f"The run has come to its cap: {shown(name, used)} of {shown(name, cap)}{what} are used{more}. "
        "Nothing more is begun. Shall the cap be raised?"
    )


def shown(name: str, amount: int) -> str:
    """An amount of a part, as people read it."""
    if name in TIMES:
        return span(amount / 1000)
    if name == "usd_nano":
        return f"${amount / USD_NANO:.4f}"
    words = name.replace("_", " ")
    return f"{amount} {words if amount != 1 else words.removesuffix('s')}"
