"""The events of a run: the one log that everything else reads.

A run is a list of events. Each is an envelope of plain columns, which `state.fold` reads, and two payloads:
`meta`, a small JSON text of facts that the core understands (named below), and `body`, a value of the user's
in the codec's bytes, which the core never opens.

================  ====================================================  =====================================
kind              meta                                                  body
================  ====================================================  =====================================
RunStarted        run, agent, key, input_digest, limits, seed, code,    the input
                  config, created_at; chapter, previous (of a
                  later chapter); parent, depth, detached,
                  accounts, is_priced (of a child); ask (who is asked
                  for more than a cap)
RunResumed        why (takeover, resume, unblocked, unpaused, raised,
                  unwind),
                  by, because, reopened, alive_until (of the last
                  owner)
StepIntended      until (sleep, signal); tail, history (of a model      the arguments
                  call); undo (what undoes it), undoes (which step)
StepSucceeded     by (verify, or a person), lost, late, degraded,       the result
                  served (of the rung that gave it); verdict, text (of
                  a `verify`); model facts (model, usage, price, …)
StepFailed        a failure (see `failure`), because, by, model facts;  the error's arguments, or the response
                  cause (of a composite)
StepStreamed                                                            a further part of an open stream
StepAbandoned
StepRepeated      own
AttemptFailed     a failure, because, retry_at, way, next, model facts  the response, if there was one
QuestionAsked     id, about, text, options, to, expires_at, default,    what it shows
                  why (the agent's words), schema (of a form), stop
                  (of a budget: how it ends unless it is raised),
                  way (place on the ladder, attempts before it);
                  digest, valid_s, within_s, calls (of an approval)
QuestionClosed    id, outcome (answered, expired), choice, by, via,     the answer
                  answered_at (when the answer was posted)
BudgetChanged     limits, by, because, account
BudgetWarned      name, limit, spent, share, overshoot
Decided           what, choice, because, and what the choice needs        the choice, of `run.decide`
SignalReceived    name, by                                              the value
NoteWritten       text
DriftFound        rule (order, unused, abandoned, tail, fresh),
                  recorded, asked
RunSuspended      why, until, difference
RunEnded          outcome, why, failure, cause, limit, stuck, gate,     the result
                  by, handover, landed, degraded, failed_steps;
                  forgotten, totals (of a run whose record was
                  removed by retention)
================  ====================================================  =====================================

Invariants
1. Events of a run are numbered 1, 2, 3 … by their place in the log; the number is not stored twice.
2. `charge` on StepIntended is a reservation; on an outcome, AttemptFailed or RunResumed it is what was used.
3. An event is never changed. A correction is another event.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NamedTuple

from holdfast.core import small_json


class Kind(StrEnum):
    """What happened, in the past tense."""

    RUN_STARTED = "RunStarted"
    RUN_RESUMED = "RunResumed"
    STEP_INTENDED = "StepIntended"
    STEP_SUCCEEDED = "StepSucceeded"
    STEP_FAILED = "StepFailed"
    STEP_STREAMED = "StepStreamed"
    STEP_ABANDONED = "StepAbandoned"
    STEP_REPEATED = "StepRepeated"
    ATTEMPT_FAILED = "AttemptFailed"
    QUESTION_ASKED = "QuestionAsked"
    QUESTION_CLOSED = "QuestionClosed"
    BUDGET_CHANGED = "BudgetChanged"
    BUDGET_WARNED = "BudgetWarned"
    DECIDED = "Decided"
    SIGNAL_RECEIVED = "SignalReceived"
    NOTE_WRITTEN = "NoteWritten"
    DRIFT_FOUND = "DriftFound"
    RUN_SUSPENDED = "RunSuspended"
    RUN_ENDED = "RunEnded"


class StepKind(StrEnum):
    """What sort of step it is: how it waits and who performs it."""

    TOOL = "tool"
    MODEL = "model"
    QUESTION = "question"
    SLEEP = "sleep"
    NOTE = "note"
    SIGNAL = "signal"
    DECISION = "decision"
    CHILD = "child"
    VERIFY = "verify"
    """The driver's own: asking whether an effect in doubt has happened. The agent cannot ask for it."""


class Effect(StrEnum):
    """What a step does to the world; decides what a crash in the middle of it means."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    ONCE = "once"
    COMPOSITE = "composite"
    """Its body only makes steps, which are kept by themselves: it has no effect of its own."""

    is_write: bool
    """Whether an intent is written before it begins."""

    @property
    def strength(self) -> int:
        """0 to 3: a step may only contain plain calls of its own strength or less. A composite, which may contain
        anything, is plain in none."""
        return ("read", "idempotent", "once", "composite").index(self.value)


for _effect in Effect:  # asked some times a step: said once
    _effect.is_write = _effect in (Effect.IDEMPOTENT, Effect.ONCE)


class Address(NamedTuple):
    """How a step is found again: the n-th call of `name` with these arguments in this scope."""

    scope: str
    """Path of the enclosing composites and children; empty at the root."""
    name: str
    digest: str
    """Digest of the canonical arguments; empty for a question or a sleep, which are found by name alone."""
    n: int

    def __str__(self) -> str:
        path = f"{self.scope}/{self.name}" if self.scope else self.name
        return f"{path}#{self.n}" if self.n else path


class Charge(NamedTuple):
    """What is spent, reserved or allowed. All counts are whole numbers, so sums are exact."""

    tool_calls: int = 0
    model_calls: int = 0
    tokens: int = 0
    usd_nano: int = 0
    """10⁻⁹ US dollars."""

    def plus(self, other: Charge) -> Charge:
        """The sum, part by part."""
        a, b, c, d = self
        e, f, g, h = other
        return Charge(a + e, b + f, c + g, d + h)

    def minus(self, other: Charge) -> Charge:
        """The difference, part by part."""
        a, b, c, d = self
        e, f, g, h = other
        return Charge(a - e, b - f, c - g, d - h)


NOTHING = Charge()
ONE_TOOL_CALL = Charge(tool_calls=1)


class Event(NamedTuple):
    """One fact about a run."""

    kind: Kind
    at: float
    """Seconds since the epoch, UTC, by the store's clock."""
    address: Address | None = None
    step: StepKind | None = None
    effect: Effect | None = None
    logical: int = 0
    """Logical attempt, from 1: one decision to try; it carries the idempotency key."""
    attempt: int = 0
    """Technical attempt within the logical one, from 1."""
    charge: Charge = NOTHING
    meta: str = ""
    body: bytes | None = None
    asked: int = 0
    """On an outcome: how many calls the agent had made when it was recorded; replay does not hand it out before."""

    @property
    def facts(self) -> dict[str, Any]:
        """`meta`, parsed."""
        return small_json.read(self.meta) if self.meta else {}

    def heard_after(self, asked: int) -> Event:
        """The same outcome, recorded when so many calls were made; `_replace`, at a third of its cost."""
        return Event(*self[:-1], asked)


def meta(**facts: Any) -> str:
    """The JSON text of `facts`, without those that are None; keys in order, so equal facts are equal bytes.

    Text that is no valid Unicode is escaped, so that whatever a user's exception says can be stored.
    """
    kept = {name: value for name, value in facts.items() if value is not None}
    if not kept:
        return ""
    text = _as_text(kept)
    return text if _is_storable(text) else _as_ascii(kept)


_as_text = small_json.writer(json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False))
_as_ascii = small_json.writer(json.JSONEncoder(sort_keys=True, separators=(",", ":")))


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a broken file
        return False
    return True
