"""What the log says about one step: one slot of the state."""

from __future__ import annotations

import json
from typing import Any

from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, StepKind


class Slot:
    """What the log says about one step."""

    # What is so of most steps is said once for all of them: a step is made with each call, and has forty such fields.
    logical: int = 1
    attempt: int = 0
    begun_at: float | None = None
    """When the first intent of this logical attempt was written; its key's age counts from here."""
    intent: Event | None = None
    """StepIntended or QuestionAsked, the latest."""
    intent_no: int = 0
    """Number of that event."""
    is_in_flight: bool = False
    """An attempt was begun and the log does not say how it ended."""
    reservation: Charge = NOTHING
    reserved_at: float = 0.0
    outcome: Event | None = None
    order: int = -1
    """Place of the outcome among all outcomes: of its first part, where a part of it was recorded before."""
    asked: int = 0
    """How many calls the agent had made then."""
    heard_no: int = 0
    """Number of the event by which that place was taken: from there on its caller has something to go on with."""
    streamed: tuple[bytes, ...] = ()
    """What its caller has had of the attempt that is under way, as far as it is recorded."""
    abandonments: tuple[int, ...] = ()
    """Numbers of the events that say that a call of it was given up by its caller."""
    first_no: int = 0
    """Number of the first event about it."""
    outcome_no: int = 0
    """Number of the event that is its outcome."""
    repeats: tuple[int, int] = (0, 0)
    """How often its failure was told again, without a step: to another caller, to the one that had been told."""
    is_excused: bool = False
    """The code need not ask for it: recorded after an outcome that was reopened, or given up to begin afresh."""
    marks: str = ""
    """Facts of its latest intent, also after it was reopened; JSON text."""
    is_unknown: bool = False
    """An attempt of this logical attempt ended, or was interrupted, without anybody knowing what it did."""
    was_unknown: bool = False
    """The same, before the attempt that was begun last."""
    retry_at: float | None = None
    failures: tuple[Event, ...] = ()
    verdicts: tuple[Event, ...] = ()
    """What `verify` said since the attempt now in doubt was begun."""
    doubt: Event | None = None
    """The question that asks a person, while it is open."""
    again_at: float | None = None
    """When a person said last that it should be tried again; its time counts from there."""
    questions: int = 0
    """How many people were asked about it so far."""
    approval: Event | None = None
    """The latest question whether it may begin."""
    grant: Event | None = None
    """What closed that question."""
    appeal: Event | None = None
    """The question that asks a person what to do about its failure, until something was done."""
    ruling: Event | None = None
    """What closed that question."""
    served: str = ""
    """Who gave the outcome: the step itself, `verify` or `person`."""
    sender: Event | None = None
    """What was decided about a body that had outlived its attempt, while nothing is known to have followed."""
    undo: str = ""
    """What undoes it, when it succeeds: the name that its tool declares. Empty: nothing does."""
    made_by: str = ""
    """The tool that stood in for its own, when one did."""
    is_undone: bool = False
    undoes: Address | None = None
    """The step that this one undoes."""

    def __init__(self, address: Address, step: StepKind, effect: Effect) -> None:
        self.address = address
        self.step = step
        self.effect = effect

    def repeated(self, *, is_own: bool) -> None:
        """Its failure was told once more."""
        others, own = self.repeats
        self.repeats = (others, own + 1) if is_own else (others + 1, own)

    @property
    def abandoned(self) -> int:
        """How many of its calls were given up by their caller."""
        return len(self.abandonments)

    @property
    def tail(self) -> str:
        """Of a model call: digest of what it is about (`models.tail`). Read when asked for, so that a fold is cheap."""
        return str(self._intended().get("tail", ""))

    @property
    def child(self) -> str:
        """Of a step that started a run: its id."""
        return str(self._intended().get("child", ""))

    @property
    def nth(self) -> int:
        """Of a step that started a run: how many it had started before."""
        return int(self._intended().get("nth", 0))

    @property
    def history(self) -> tuple[int, str] | None:
        """Of a model call: how many messages its conversation has, and their digest."""
        found = self._intended().get("history")
        return (int(found[0]), str(found[1])) if found else None

    def _intended(self) -> dict[str, Any]:
        return json.loads(self.marks) if self.marks else {}

    @property
    def is_only_abandoned(self) -> bool:
        """All that the log has is that a caller gave up: nothing was begun, and nobody was asked about it."""
        is_untouched = self.outcome is None and self.begun_at is None and self.intent is None and self.logical == 1
        return is_untouched and not self.questions


FIELDS = ("address", "step", "effect", *Slot.__annotations__)
"""All that is said of a step."""
