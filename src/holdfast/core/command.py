"""What an agent asks for, and what the machine may say to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from holdfast.core.events import Address, Effect, Event, StepKind
from holdfast.core.heads import Why
from holdfast.core.slot import Slot


class Call(NamedTuple):
    """What the agent asks for."""

    scope: str
    name: str
    digest: str
    step: StepKind
    effect: Effect
    shown: bytes = b""
    """The arguments as UTF-8 text, for a person who reads a difference."""
    tail: str = ""
    """Of a model call: digest of what it is about, whatever else of its prompt has drifted (`models.tail`)."""
    history: Sequence[str] = ()
    """Of a model call: at k - 1 the digest over the first k messages of its conversation. Shared, never copied."""

    def intended(self) -> dict[str, Any]:
        """The facts by which it is found again when its prompt has drifted."""
        history = {"history": [len(self.history), self.history[-1]]} if self.history else {}
        return {"tail": self.tail, **history} if self.tail else history


class Ask:
    """One call that waits for its answer."""

    __slots__ = ("address", "call", "is_answered", "is_open", "is_void")

    def __init__(self, call: Call, address: Address) -> None:
        self.call = call
        self.address = address
        self.is_void = False
        """It was abandoned when it was first made, so on replay it does not complete (rule 6)."""
        self.is_answered = False
        self.is_open = False
        """Answered with the beginning of a stream, whose end is not recorded yet."""


class Use(NamedTuple):
    """Answer the call with this recorded outcome."""

    outcome: Event


class Execute(NamedTuple):
    """Perform the step. `recovered` is what the log knows of it, when it was begun before."""

    address: Address
    recovered: Slot | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """The code and the record do not match: both sides, for a person."""

    is_hold: bool
    """Blocked on a model call."""
    asked: str
    recorded: tuple[str, ...]
    has_grown: bool = False
    """The conversation of the call goes on from the recorded one that is due, as if it had its answer."""

    @property
    def why(self) -> Why:
        """What the suspension says."""
        if self.has_grown:
            return Why.HISTORY_GREW
        return Why.HOLD if self.is_hold else Why.DRIFT

    def __str__(self) -> str:
        listed = ", ".join(self.recorded) or "nothing"
        return f"the code asked for {self.asked}; the record has, and nobody asked for: {listed}"


Command = Use | Execute


def describe(call: Call) -> str:
    """A call as a person reads it."""
    sort = call.effect if call.step is StepKind.TOOL else call.step
    shown = call.shown[:200].decode("utf-8", "replace")
    return f"{sort} {call.name}({shown}{'…' if len(call.shown) > 200 else ''})"
