"""A step whose attempts follow a policy, as it is asked for: the ways to get it, and what holds for them.

A `Performance` says how its kind of step is carried out once the machine has said `Execute`; the loop over the attempts
is in `runtime.steps`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.core.command import Call, Execute
from holdfast.core.events import Address, Effect, StepKind
from holdfast.core.policy import Policy
from holdfast.core.rung import Ask, Cached, Escalation, Stop
from holdfast.core.slot import Slot
from holdfast.runtime.steps import Attempting
from holdfast.runtime.way import Attempted, Verdict, Way

if TYPE_CHECKING:
    from holdfast.runtime.calls import Calls


async def _fits(body: bytes | None) -> str:
    return ""


class Performance(Protocol):
    """One step that the agent asks for, and how to carry it out."""

    call: Call

    @property
    def is_write(self) -> bool:
        """Performed in a task of the driver, so that its caller cannot cancel it."""

    async def perform(self, driver: Calls, command: Execute) -> None:
        """Carry the step out; its outcome is written when this returns."""


@dataclass(slots=True, kw_only=True)
class Attempts:
    """A tool or a model call: attempts under a policy."""

    call: Call
    args: bytes
    policy: Callable[[], Policy]
    """The policy in force, asked anew for each attempt."""
    ways: tuple[Way | Cached | Ask | Escalation | Stop, ...]
    """The tool or model itself, and then the rungs of its ladder."""
    inside: Effect | None = None
    """Effect of the step whose body makes this call; None for a step of the agent's."""
    needs_key: bool = True
    """False: the attempt gets an empty key, which saves making it."""
    window_s: float = float("inf")
    verify: Callable[[str], Awaitable[Verdict]] | None = None
    settle_s: float | None = None
    """Time between two answers "not done" of `verify`; None: the app's."""
    marks: dict[str, Any] = field(default_factory=dict)
    """Facts of every intent: which step it undoes."""
    unfit: Callable[[bytes | None], Awaitable[str]] = _fits
    """Why a result that somebody else gave, or gave not, cannot be this step's; empty when it can."""
    last_good: str = ""
    """Name of the cell that says where its last good result is recorded; empty when nobody asks for it."""
    intent: Callable[[Address], tuple[bytes | None, dict[str, Any]]] | None = None
    """Body and facts of an intent; the arguments and none when absent."""
    tried: int = 0
    """Attempts that equal calls before this one have made for it."""
    cut_off: Callable[[Slot], Attempted] | None = None
    """What it came to when the process ended after the caller had had part of it."""
    is_stream: bool = False
    """Its answer is read while it comes in."""
    polls: bool = False
    """Asking again and again is what it is for."""
    essence: Callable[[bytes | None], Any] = lambda body: body
    """What counts of a result when it is compared with another."""

    @property
    def is_write(self) -> bool:
        """Performed apart from its caller."""
        return self.call.effect.is_write

    @property
    def needs_intent(self) -> bool:
        """Whether an intent is written even when no other read is under way."""
        return self.call.effect.is_write or self.call.step is StepKind.MODEL

    @property
    def is_undo(self) -> bool:
        """Whether it undoes another step."""
        return "undoes" in self.marks

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        await Attempting(driver, self, command).run()


@dataclass(slots=True, kw_only=True)
class Settlement:
    """A step in flight or in doubt that is only to be settled: what did not happen is not begun again."""

    call: Call
    plan: Attempts
    is_write = True

    async def perform(self, driver: Calls, command: Execute) -> None:
        """See `Performance`."""
        await Attempting(driver, self.plan, command).only_settle()
