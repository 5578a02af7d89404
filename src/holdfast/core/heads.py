"""A run's head: the few facts about it that are looked up without reading its log.

Computed here and only here, from the folded state; the store keeps it as it is and never works it out by itself.
`facts`/`from_facts` are its form in the store; columns that a store wants to index are fields of the same name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from holdfast.core.events import NOTHING, Charge


class Status(StrEnum):
    """Where a run is. The last four are ends."""

    READY = "ready"
    """Accepted; no worker has begun it."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    """Nothing to do until a message or a time; `why` says what for."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    """By a limit or an operator; `resume` goes on."""
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing more happens unless somebody reopens the run."""
        return self in _ENDS


def said(end: Status) -> str:
    """An end as a sentence says it: "was cancelled", "has failed"."""
    return f"{'was' if end in (Status.STOPPED, Status.CANCELLED) else 'has'} {end}"


_ENDS = frozenset({Status.SUCCEEDED, Status.FAILED, Status.STOPPED, Status.CANCELLED})


class Why(StrEnum):
    """What a suspended run waits for."""

    QUESTION = "question"
    UNREACHABLE = "unreachable"
    """An approval is not asked for, since nobody can be reached; it is looked again in a while."""
    SLEEP = "sleep"
    IN_DOUBT = "in_doubt"
    DRIFT = "drift"
    """Blocked: what the code asks for is not what was recorded."""
    HOLD = "hold"
    """Blocked on a model call."""
    HISTORY_GREW = "history_grew"
    """Blocked on a model call that goes on from answers which this process has not given: state outlived the last."""
    SHUTDOWN = "shutdown"
    """The worker was told to stop; due at once elsewhere."""
    SIGNAL = "signal"
    CHILD = "child"
    """A run that is part of this one."""
    RETRY = "retry"
    """A retry's wait is longer than the process stays."""
    PAUSED = "paused"
    """An operator paused it, and has not resumed it."""
    CRASH_LOOP = "crash_loop"
    """Its processes died one after the other without coming further; a person is asked."""
    BUDGET = "budget"
    """It has come to a cap; a person is asked to raise it."""
    COMMAND = "command"
    """The operator's desk, or a project, which waits for the next command."""


MISMATCHED = frozenset({Why.DRIFT, Why.HOLD, Why.HISTORY_GREW})
"""The code and the record do not match: nothing is begun until somebody resumes the run."""
BLOCKED = MISMATCHED | {Why.IN_DOUBT}
UNTIMED = MISMATCHED | {Why.BUDGET}
"""The run's own time is not looked at: it waits for a person to say what becomes of it."""
CRASH_LOOP_OPTIONS = ("go_on", "stop")
"""A person's answers to a crash loop."""
PAUSING = "pausing"
"""Of a running run: it is to be paused, and what is under way finishes first."""


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What an answer is checked against before it is stored."""

    id: str
    about: str
    """`ask`, `approve` for a step that may not begin before, `in_doubt` for one whose effect may have happened,
    `failed` for one that has failed for good, `crash_loop` for a run that kills its processes, `budget` for one that
    has come to a cap, `mismatch` for one whose code does not match its record."""
    text: str
    options: tuple[str, ...] = ()
    """Empty: any text."""
    to: str = ""
    asked_at: float = 0.0
    expires_at: float | None = None
    digest: str = ""
    """Of what is to be approved; an answer must name the same (`core.approval`). Empty: nothing is."""
    is_urgent: bool = False
    approvers: tuple[str, ...] = ()
    """Who may answer, as it is declared (`core.approvers`); empty: anybody."""
    people: tuple[str, ...] = ()
    """Who they were when it was asked."""
    barred: tuple[str, ...] = ()
    """Who may not."""
    schema: dict[str, Any] | None = field(default=None, hash=False)
    """Of a form (`core.form`): what an answer has to fill in, or else it takes one of the options."""


class Head(NamedTuple):
    """The indexed facts of one run."""

    run_id: str
    key: str
    agent: str
    input_digest: str
    status: Status
    created_at: float
    updated_at: float
    why: str = ""
    """For a suspended run a `Why`; for an end, one line of text."""
    wake_at: float | None = None
    """Due from then on; None when only mail can wake it."""
    spent: Charge = NOTHING
    reserved: Charge = NOTHING
    questions: tuple[OpenQuestion, ...] = ()
    is_unwound: bool = False
    """What it did is undone, so it cannot be resumed."""
    children: int = 0
    """Runs that are part of this one and have not ended."""
    is_forgotten: bool = False
    """Its record was removed by retention; how and when it ended, and what it used, is all that is kept."""

    def facts(self) -> dict[str, Any]:
        """As plain data; what is true of few runs only where it is."""
        lists = {"spent": list(self.spent), "reserved": list(self.reserved)}
        facts = self._asdict() | lists | {"questions": [asdict(question) for question in self.questions]}
        return facts if self.is_forgotten else {name: facts[name] for name in facts if name != "is_forgotten"}

    @staticmethod
    def from_facts(facts: dict[str, Any]) -> Head:
        """The head that `facts` describe; names it does not know are ignored."""
        known = {name: facts[name] for name in Head._fields if name in facts}
        known["status"] = Status(known["status"])
        known["spent"] = Charge(*known.get("spent", ()))
        known["reserved"] = Charge(*known.get("reserved", ()))
        known["questions"] = tuple(_question_from_facts(item) for item in known.get("questions", ()))
        return Head(**known)


def _question_from_facts(facts: dict[str, Any]) -> OpenQuestion:
    known = {name: facts[name] for name in OpenQuestion.__dataclass_fields__ if name in facts}
    return OpenQuestion(**known | {name: tuple(known.get(name, ())) for name in _LISTS})


_LISTS = ("options", "approvers", "people", "barred")
