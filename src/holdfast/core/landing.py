"""The end of a budget, before it comes: warned, slowed down, landed, and only then stopped. Pure.

1. *Warned* once per part of the caps, when four fifths of it are used or reserved; the model reads it too.
2. *Slowed down* from there on: one model call at a time, and a pause between two.
3. *Landed*: when one more model call fits and the one after it would not, or no tool call is left, the model is told
   that this is its last turn, so that it writes what is done and what is left. A tool call that does not fit then is
   refused and told; when the model has read that and asks for one more, the run is stopped.
4. *Stopped*: what does not fit is not sent. The record, and a hand-over (`core.handover`), are kept.

A raised cap takes all of it back. Steps that undo keep their share apart (`fence`), and a question costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from holdfast.core.budget import USD_NANO, Excess, Limits, first_excess
from holdfast.core.events import NOTHING, Charge
from holdfast.core.slot import Slot

WARN_PERCENT = 80
REFUSALS_MAX = 16
"""Tool calls that are refused and told in one landing: as many as a model may ask for at once; then it is stopped."""
REFUSED_CODE = "over_budget"
"""`Failure.code` of a tool call that was refused since it does not fit."""
_BY_MODELS = ("model_calls", "tokens", "usd_nano")


class Turn(NamedTuple):
    """What a model call of this run is like: the latest one."""

    worst: Charge
    """What it reserved."""
    used: Charge
    growth: Charge
    """How much more it reserved than the one before it: its prompt grows."""


def due_warnings(limits: Limits, used: Charge, warned: Mapping[str, int]) -> list[Excess]:
    """Parts that are nearly used up, and not warned of under this cap."""
    calls, *others = used
    if not any(others) and ((most := limits.tool_calls) is None or calls * 100 < most * WARN_PERCENT):
        return []  # as nearly always
    return [
        Excess(name, cap, have, 0)
        for name, cap, have in zip(Charge._fields, limits, used, strict=False)
        if have and cap is not None and have * 100 >= cap * WARN_PERCENT and warned.get(name) != cap
    ]


def slows(limits: Limits, warned: Mapping[str, int]) -> str:
    """The part for whose sake model calls are slowed down; empty when none is."""
    return next((name for name in _BY_MODELS if name in warned and warned[name] == getattr(limits, name)), "")


def turn_of(models: Sequence[Slot]) -> Turn | None:
    """What the next model call will be like, by the latest ones that were answered; None without any."""
    known = [(slot.intent.charge, slot.outcome.charge) for slot in models if slot.intent and slot.outcome]
    if not known:
        return None
    worst, used = known[-1]
    before = known[-2][0] if len(known) > 1 else worst
    return Turn(worst, used, Charge(*(max(0, more) for more in worst.minus(before))))


def last_turn(limits: Limits, used: Charge, turn: Turn | None) -> str:
    """Why the next model call is the last one; empty while it is not, and when not even that one fits."""
    if turn is None or first_excess(limits, used, turn.worst) is not None:
        return ""
    if limits.tool_calls is not None and used.tool_calls >= limits.tool_calls:
        return f"all {limits.tool_calls} tool calls are used"
    after = used.plus(turn.used).plus(turn.growth)  # when one more like it was made
    excess = first_excess(limits, after, turn.worst.plus(turn.growth).plus(turn.growth))
    return "" if excess is None else f"{shown(excess.name, excess.limit - getattr(used, excess.name))} left"


def unfit_tool(
    limits: Limits, used: Charge, turn: Turn | None, *, refused: int, is_heard: bool
) -> Literal["tell", "stop"]:
    """What follows a tool call that does not fit. refused: how many were, since the landing. is_heard: a model call
    came after the first of them."""
    if turn is None or is_heard or refused >= REFUSALS_MAX:
        return "stop"
    return "stop" if first_excess(limits, used, turn.worst) is not None else "tell"


def fence(undoable: int) -> Charge:
    """What is kept apart so that so many steps can be undone, whatever else is used up."""
    return Charge(tool_calls=undoable) if undoable else NOTHING


# --- texts for a model -----------------------------------------------------------------------------------------


def shown(name: str, amount: int) -> str:
    """An amount of a part in words."""
    if name == "usd_nano":
        return f"${amount / USD_NANO:.4f}"
    return f"{amount} {name.replace('_', ' ')}"


def warning(name: str, cap: int, have: int) -> str:
    """What a model reads when a part is nearly used up."""
    return f"{shown(name, have)} of {shown(name, cap)} of this run are used. Come to an end."


def last_words(because: str) -> str:
    """What a model reads before its last turn."""
    return f"This is your last turn: {because}. Write what is done and what is left, and ask for no more tools."


def refusal(excess: Excess, whose: str = "this run") -> str:
    """What a model reads of a tool call that does not fit."""
    return f"Not begun: the budget of {whose} is used up ({excess}). Write what is done and what is left."
