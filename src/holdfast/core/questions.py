"""The questions that a run has put to people: which are open, which step each is about, and what an answer does to it.

One part of `State`. That an answer is the outcome of the step that asked, or lets a run go on that was stuck, is said
there; here is only what the step remembers of it.

Invariants
1. A question is open from the event that asked it until it is closed or the run ends, and never again.
2. A step has at most one open question of each sort: whether it may begin (`approval`), whether it happened (`doubt`),
   and what to do about its failure (`appeal`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from holdfast.core import approval, overdraft
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.heads import CRASH_LOOP_OPTIONS, OpenQuestion
from holdfast.core.slot import Slot

MISMATCH, RESUME, CANCEL = "mismatch", "resume", "cancel"
"""About a run whose code does not match its record, and the answers to that."""
CRASH_LOOP = "crash_loop"
"""About a run whose processes die one after the other; its answers are `CRASH_LOOP_OPTIONS`."""
_STOPS = {overdraft.ABOUT: overdraft.STOP, MISMATCH: CANCEL, CRASH_LOOP: CRASH_LOOP_OPTIONS[1]}
"""By what a question is about: the answer that ends the run."""


def became(events: Iterable[Event], question: str) -> str:
    """What whoever answers a question is told that is not open any more; empty when it was never asked."""
    is_known, closed = False, None
    for event in events:
        if event.kind in (Kind.QUESTION_ASKED, Kind.QUESTION_CLOSED) and event.facts["id"] == question:
            is_known, closed = True, event if event.kind is Kind.QUESTION_CLOSED else None
    if closed is None:
        return f"Question {question} is not open any more: its run has ended. Nothing was changed." if is_known else ""
    facts, at = closed.facts, datetime.fromtimestamp(closed.at, UTC).isoformat(" ", "seconds")
    if facts["outcome"] == "answered":
        choice = f": {facts['choice']}" if facts.get("choice") else ""
        by = facts.get("by") or "somebody"
        return f"Question {question} was answered already by {by} at {at}{choice}. Nothing was changed."
    default = f"; its default was taken: {facts['choice']}" if facts.get("choice") else ""
    return f"Question {question} is over: {facts['outcome']} at {at}{default}. Nothing was changed."


class Questions:
    """What one run has asked."""

    __slots__ = ("open", "slots", "stop_said", "whole")

    def __init__(self) -> None:
        self.open: dict[str, OpenQuestion] = {}
        self.slots: dict[str, Slot] = {}
        """The steps that questions are about, also closed ones; one about the whole run has none."""
        self.whole: dict[str, Event] = {}
        """Open questions about the whole run, as they were asked."""
        self.stop_said: tuple[Event, Event] | None = None
        """The question about the whole run that was answered so, and its answer, until the run is ended for it."""

    def asked(self, event: Event) -> OpenQuestion:
        """One more is open."""
        facts = event.facts
        if event.address is None:
            self.whole[facts["id"]] = event
        question = self.open[facts["id"]] = OpenQuestion(
            id=facts["id"],
            about=facts["about"],
            text=facts["text"],
            options=tuple(facts.get("options", ())),
            to=facts.get("to", ""),
            asked_at=event.at,
            expires_at=facts.get("expires_at"),
            digest=facts.get("digest", ""),
            is_urgent=facts.get("urgent", False),
            approvers=tuple(facts.get("approvers", ())),
            people=tuple(facts.get("people", ())),
            barred=tuple(facts.get("barred", ())),
            schema=facts.get("schema"),
        )
        return question

    def put_to(self, question: OpenQuestion, slot: Slot, event: Event) -> None:
        """It is about this step."""
        self.slots[question.id] = slot
        slot.questions += 1
        if slot.step is StepKind.QUESTION:
            slot.intent = event
        elif question.about == approval.ABOUT:
            slot.approval, slot.grant = event, None
        elif question.about == "failed":
            slot.appeal, slot.ruling = event, None
        else:
            slot.doubt = event

    def closed(self, event: Event) -> tuple[str, Slot | None]:
        """What the question was about, and the step, if any."""
        facts = event.facts
        question, asked = self.open.pop(facts["id"]), self.whole.pop(facts["id"], None)
        if asked is not None and question.about in _STOPS and facts.get("choice") == _STOPS[question.about]:
            self.stop_said = asked, event
        slot = self.slots.get(question.id)
        if slot is None:
            return question.about, None
        if question.about == "in_doubt":
            slot.doubt = None
            slot.verdicts += (event,)
        elif question.about == approval.ABOUT and slot.step is not StepKind.QUESTION:
            slot.grant = event if _is_of(slot.approval, event) else slot.grant
        elif question.about == "failed" and _is_of(slot.appeal, event):
            slot.ruling = event
            slot.again_at = event.at if facts.get("choice") == "try_again" else slot.again_at
        elif question.about == "stuck":
            slot.doubt = None
        return question.about, slot

    def end(self) -> None:
        """The run has ended: nobody need answer any more."""
        for question in self.open:
            slot = self.slots.get(question)
            if slot is not None:
                slot.doubt = slot.appeal = slot.approval = slot.grant = None
            if slot is not None and slot.step is StepKind.QUESTION:
                slot.intent = None
        self.open.clear()
        self.whole.clear()
        self.stop_said = None


def _is_of(asked: Event | None, closed: Event) -> bool:
    """Whether this is what became of the question that the step asked last: one to an earlier one says nothing."""
    return asked is not None and asked.facts["id"] == closed.facts["id"]
