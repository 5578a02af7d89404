"""How a run in memory is brought to a stop: by a limit, an operator who cancels or pauses it, or the end of its parent.

From the moment in which that is read the run begins nothing more (`is_stopping`); what is under way gets its outcome,
and then the agent's code is unwound. Never: writes the end of a run, which is the driver's.

Invariants
1. A cancel, and the end of the parent, outrank a limit; a pause gives way to each of them.
2. What is under way is waited for, effects also by a cancel; only a cancel in a hurry leaves them in doubt.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from holdfast.core.events import Kind, meta
from holdfast.core.heads import Status, Why
from holdfast.core.state import State
from holdfast.protocols import Lease
from holdfast.runtime.calls import Calls
from holdfast.runtime.senders import Sender
from holdfast.runtime.settings import Services

if TYPE_CHECKING:
    from holdfast.runtime.agent import Agent


class Stopping(Calls):
    """The half of a driver that stops its run."""

    def __init__(self, services: Services, lease: Lease, agent: Agent[Any, Any], state: State) -> None:
        super().__init__(services, lease, agent, state)
        self.is_gone = False
        self._stop: tuple[Status, str, dict[str, Any]] | None = None
        self._is_hurried = False
        """It ends at once, and what is under way is left in doubt."""
        self._is_pausing = False
        self._root: asyncio.Task[Any] | None = None
        """The agent's code."""

    @property
    def living(self) -> tuple[Sender, ...]:
        """Who may still act for this run."""
        return tuple(sender for sender in self.senders if sender.is_alive)

    @abstractmethod
    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it in a task of the run."""

    @abstractmethod
    async def close(self) -> None:
        """Unwind the agent's code, and give the run back."""

    def stop(self, outcome: Status, why: str, facts: dict[str, Any] | None = None) -> None:
        """Begin nothing more; when what is under way is recorded, the run ends so. A cancel outranks a limit, and so
        does the end of its parent."""
        is_first, told = self._stop is None, facts or {}
        if is_first or outcome is Status.CANCELLED or told.get("with_parent"):
            self._stop = (outcome, why, told)
        if is_first:
            self._in_background(self._close_when_idle())
        self.silence.touch()

    def hurry(self) -> None:
        """The cancel that was read does not wait for what is under way."""
        self._is_hurried = True
        self.silence.touch()

    def pause(self) -> None:
        """Begin nothing more; when what is under way is recorded, the run is suspended until somebody resumes it."""
        if not self._is_pausing and self._root is not None:
            self._is_pausing = True
            self._in_background(self._pause_when_idle())
        self.silence.touch()

    @property
    def is_stopping(self) -> bool:
        """Whether the run is about to be stopped, cancelled or paused: it begins nothing more."""
        return self._stop is not None or self._is_pausing

    @property
    def is_ending(self) -> bool:
        """Whether the run is about to be stopped or cancelled."""
        return self._stop is not None

    def leave_behind(self) -> None:
        """Wait no longer for what was cut short and goes on all the same."""
        if self._stop is not None and not self.is_gone:
            self.hurry()

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel was read, or that its parent has ended; nothing that arrives after it counts."""
        if self._stop is None:
            return False
        outcome, _, facts = self._stop
        return outcome is Status.CANCELLED or facts.get("with_parent", False)

    @property
    def is_hurried(self) -> bool:
        """Whether the cancel that was read does not wait for what is under way."""
        return self._is_hurried

    def _is_idle(self) -> bool:
        """Effects are over, and before a stop also reads and model calls. After a cancel in a hurry nothing need be."""
        if self._is_hurried:
            return True
        return not (self._has_effects if self.is_cancelled else self._is_moving())

    @property
    def _has_effects(self) -> bool:
        """Whether an effect is under way: its attempt, or a body that has outlived it."""
        return self.silence.moving_writes > 0 or bool(self.living)

    async def _close_when_idle(self) -> None:
        await self.silence.until(self._is_idle)
        await self.close()

    def _is_moving(self) -> bool:
        return self.silence.moving > 0 or bool(self.living)

    async def _pause_when_idle(self) -> None:
        await self.silence.until(lambda: self._stop is not None or self.is_closing or not self._is_moving())
        if self._stop is None and not self.is_closing:
            await self._note_paused()
            await self.close()

    async def _note_paused(self) -> None:
        """Suspend; until now only, when somebody resumed it while it came to rest."""
        until = self.record.now() if self.state.paused is None else None
        if (self.state.why, self.state.wake_at) != (Why.PAUSED, until):
            self.record.note(Kind.RUN_SUSPENDED, meta(why=Why.PAUSED, until=until))
        await self.record.write()
