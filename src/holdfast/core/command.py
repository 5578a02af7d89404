"""What an agent asks for, and what the machine may say to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from holdfast.core.events import Address, Effect, Event, StepKind
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


class Ask:
    """One call that waits for its answer."""

    __slots__ = ("address", "call", "is_answered", "is_void")

    def __init__(self, call: Call, address: Address) -> None:
        self.call = call
        self.address = address
        self.is_void = False
        """It was abandoned when it was first made, so on replay it does not complete (rule 6)."""
        self.is_answered = False


@dataclass(frozen=True, slots=True)
class Use:
    """Answer the call with this recorded outcome."""

    outcome: Event


@dataclass(frozen=True, slots=True)
class Execute:
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

    def __str__(self) -> str:
        listed = ", ".join(self.recorded) or "nothing"
        return f"the code asked for {self.asked}; the record has, and nobody asked for: {listed}"


Command = Use | Execute


def describe(call: Call) -> str:
    """A call as a person reads it."""
    sort = call.effect if call.step is StepKind.TOOL else call.step
    shown = call.shown[:200].decode("utf-8", "replace")
    return f"{sort} {call.name}({shown}{'…' if len(call.shown) > 200 else ''})"
