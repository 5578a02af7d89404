"""What the log says about one step: one slot of the state."""

from __future__ import annotations

import json
from typing import Any

from holdfast.core.events import NOTHING, Address, Effect, Event, StepKind


class Slot:
    """What the log says about one step."""

    __slots__ = (
        "abandonments",
        "address",
        "again_at",
        "appeal",
        "approval",
        "asked",
        "attempt",
        "begun_at",
        "doubt",
        "effect",
        "failures",
        "first_no",
        "grant",
        "heard_no",
        "intent",
        "intent_no",
        "is_excused",
        "is_in_flight",
        "is_undone",
        "is_unknown",
        "logical",
        "made_by",
        "marks",
        "order",
        "outcome",
        "outcome_no",
        "questions",
        "repeats",
        "reservation",
        "reserved_at",
        "retry_at",
        "ruling",
        "sender",
        "served",
        "step",
        "streamed",
        "undo",
        "undoes",
        "verdicts",
        "was_unknown",
    )

    def __init__(self, address: Address, step: StepKind, effect: Effect) -> None:
        self.address = address
        self.step = step
        self.effect = effect
        self.logical = 1
        self.attempt = 0
        self.begun_at: float | None = None
        """When the first intent of this logical attempt was written; its key's age counts from here."""
        self.intent: Event | None = None
        """StepIntended or QuestionAsked, the latest."""
        self.intent_no = 0
        """Number of that event."""
        self.is_in_flight = False
        """An attempt was begun and the log does not say how it ended."""
        self.reservation = NOTHING
        self.reserved_at = 0.0
        self.outcome: Event | None = None
        self.order = -1
        """Place of the outcome among all outcomes: of its first part, where a part of it was recorded before."""
        self.asked = 0
        """How many calls the agent had made then."""
        self.heard_no = 0
        """Number of the event by which that place was taken: from there on its caller has something to go on with."""
        self.streamed: tuple[bytes, ...] = ()
        """What its caller has had of the attempt that is under way, as far as it is recorded."""
        self.abandonments: tuple[int, ...] = ()
        """Numbers of the events that say that a call of it was given up by its caller."""
        self.first_no = 0
        """Number of the first event about it."""
        self.outcome_no = 0
        """Number of the event that is its outcome."""
        self.repeats = (0, 0)
        """How often its failure was told again, without a step: to another caller, to the one that had been told."""
        self.is_excused = False
        """The code need not ask for it: recorded after an outcome that was reopened, or given up to begin afresh."""
        self.marks = ""
        """Facts of its latest intent, also after it was reopened; JSON text."""
        self.is_unknown = False
        """An attempt of this logical attempt ended, or was interrupted, without anybody knowing what it did."""
        self.was_unknown = False
        """The same, before the attempt that was begun last."""
        self.retry_at: float | None = None
        self.failures: tuple[Event, ...] = ()
        self.verdicts: tuple[Event, ...] = ()
        """What `verify` said since the attempt now in doubt was begun."""
        self.doubt: Event | None = None
        """The question that asks a person, while it is open."""
        self.again_at: float | None = None
        """When a person said last that it should be tried again; its time counts from there."""
        self.questions = 0
        """How many people were asked about it so far."""
        self.approval: Event | None = None
        """The latest question whether it may begin."""
        self.grant: Event | None = None
        """What closed that question."""
        self.appeal: Event | None = None
        """The question that asks a person what to do about its failure, until something was done."""
        self.ruling: Event | None = None
        """What closed that question."""
        self.served = ""
        """Who gave the outcome: the step itself, `verify` or `person`."""
        self.sender: Event | None = None
        """What was decided about a body that had outlived its attempt, while nothing is known to have followed."""
        self.undo = ""
        """What undoes it, when it succeeds: the name that its tool declares. Empty: nothing does."""
        self.made_by = ""
        """The tool that stood in for its own, when one did."""
        self.is_undone = False
        self.undoes: Address | None = None
        """The step that this one undoes."""

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
