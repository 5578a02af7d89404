"""The state of a run: a fold over its events, and nothing else.

`State.apply` reads envelopes only; bodies stay bytes. The live run and every reader (show, doctor, tests) build
their picture with the same code, so they cannot disagree.

Invariants
1. `fold(a + b)` equals `fold(a)` followed by `apply` of each event of `b`.
2. A step has at most one outcome at a time; reopening it (RunResumed) is the only way to take one back.
3. `spent + reserved` never falls, except by the unused part of a reservation at its settlement.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.core import approval, reopening
from holdfast.core.books import Books
from holdfast.core.budget import DEFAULT_LIMITS, Limits
from holdfast.core.conduct import Conduct
from holdfast.core.events import NOTHING, Address, Charge, Event, Kind, StepKind
from holdfast.core.heads import PAUSING, UNTIMED, Head, Status
from holdfast.core.questions import Questions
from holdfast.core.signals import Signals
from holdfast.core.slot import FIELDS, Slot
from holdfast.core.slots import Slots

UNWIND = "unwind"
"""Why a run is resumed that is only to be unwound."""
PAUSE = "pause"
"""What is decided by `Decided` when an operator pauses a run."""
CONFIG = "config"
"""The same, when the policies that file and command line state are not those of before."""


class State:
    """Everything that the log says about one run."""

    def __init__(self) -> None:
        self.count = 0
        self.run_id = ""
        self.key = ""
        self.agent = ""
        self.code = ""
        self.config = ""
        """Digest of the policies that file and command line stated, when the run was last claimed."""
        self.input_digest = ""
        self.input: bytes | None = None
        self.seed = ""
        self.created_at = 0.0
        self.updated_at = 0.0
        self.active_s = 0.0
        """For how long the run was at work until its latest event; see `deadline`."""
        self.status = Status.READY
        self.why = ""
        self.wake_at: float | None = None
        self.limits: Limits = DEFAULT_LIMITS
        self.spent: Charge = NOTHING
        self.reserved: Charge = NOTHING
        self.books = Books()
        """The same, by the accounts that count it."""
        self._slots = Slots()
        self.slots = self._slots.known
        self.order = self._slots.order
        """Steps in the order in which their outcomes were recorded."""
        self._questions = Questions()
        self.questions = self._questions.open
        self.question_slots = self._questions.slots
        self.asked = self._questions.whole
        """Open questions about the whole run, as they were asked."""
        self.ask: dict[str, Any] | None = None
        """Who is asked for more when a cap is reached, and for how long; None: nobody."""
        self.notes: list[str] = []
        self.drifts: list[Event] = []
        self.decisions: list[Event] = []
        """What was decided and why, in order."""
        self.withheld: dict[Address, Event] = {}
        """Steps that nobody is asked about yet, since nobody can be reached, and what was decided last about that."""
        self.conduct = Conduct()
        self._signals = Signals()
        self.signals = self._signals.come
        """Signals that have come, in order."""
        self.unheard = self._signals.unheard
        """Those that no step has taken."""
        self.requester = ""
        """Who asked for the run, where that was said: they may not approve what it does."""
        self.parent = ""
        """The run that started this one."""
        self.is_detached = False
        """It does not end with its parent, which is not told of its end."""
        self.chapter = 1
        """Which run under its key it is: one that goes on as another has no result, but a next chapter."""
        self.stated: list[int | None] | None = None
        """The caps that it started with; its next chapter starts with them too."""
        self.depth = 0
        """How many runs are above it."""
        self.children: dict[str, Slot] = {}
        """Runs that this one started, by their ids, and the steps that did."""
        self.open_children: set[str] = set()
        """Those of them that end with this run, and have not ended."""
        self.allowance = 1
        """Reads that may be under way without an intent: as many as were so at once. A takeover charges them."""
        self.deaths = 0
        """Processes that died one after the other, since anything else was recorded."""
        self.closed = self._slots.closed
        """Scopes that nobody need ask for; see `is_closed`."""
        self.moved = self._slots.moved
        """Calls that had no record of their own, and the recorded steps that they were found to be."""
        self.unverified = self._slots.unverified
        """Effects whose outcome is that nobody knows whether they happened, by what was asked for."""
        self.suspension: Event | None = None
        self.paused: Event | None = None
        """Who paused it and why, until it is resumed."""
        self.end: Event | None = None
        self.continued = ""
        """The run that is its next chapter; empty while there is none."""
        self.is_forgotten = False
        """Its log was removed by retention: only how it ended and what it used is known."""
        self.unwinding: Event | None = None
        """The operator's command by which the run is reopened only to undo what it did."""
        self.ended_as: Event | None = None
        """The end that the run had when it was first unwound by command: nothing but that end follows any more."""
        self.undone_no = 0
        """Number of the latest event by which a step was undone."""
        self.grants: list[approval.Grant] = []
        """Calls that people have approved in lists (`run.approve`), in order."""
        self.resumes: list[Event] = []
        self.retries = 0
        """Attempts that were decided on because one before had failed, in all steps."""
        self.refusals = 0
        """Outcomes in a row that were a breaker's refusal; whatever succeeds begins a new row."""

    def apply(self, event: Event) -> None:
        """Take one more event in."""
        self.count += 1
        kind = event.kind
        if self.status is Status.RUNNING:
            self._worked(event)
        self.updated_at = event.at
        if self.status is Status.SUSPENDED and kind in _WAKING:
            self._go_on(event)
        if self.deaths and kind is not Kind.RUN_RESUMED:
            self.deaths = 0
        match kind:
            case Kind.STEP_SUCCEEDED | Kind.STEP_FAILED:
                self._outcome(event)
            case Kind.STEP_INTENDED:
                self._intended(event)
            case Kind.ATTEMPT_FAILED:
                self._attempt_failed(event)
            case Kind.STEP_STREAMED:
                self._slots.streamed(event, self.count)
            case Kind.STEP_ABANDONED:
                self._slots.abandoned(event, self.count)
            case Kind.STEP_REPEATED:
                self._slots.of(event, self.count).repeated(is_own=event.facts["own"])
            case Kind.QUESTION_ASKED:
                self._asked(event)
            case Kind.QUESTION_CLOSED:
                self._closed(event)
            case Kind.RUN_STARTED:
                self._started(event)
            case Kind.RUN_RESUMED:
                self._resumed(event)
            case Kind.BUDGET_CHANGED:
                self._capped(event.facts)
            case Kind.NOTE_WRITTEN:
                self.notes.append(event.facts["text"])
                self._slots.conclude(self._slots.of(event, self.count), event, self.count)
            case Kind.DRIFT_FOUND:
                self.drifts.append(event)
                self._slots.drifted(event)
            case Kind.RUN_SUSPENDED:
                self._suspended(event)
            case Kind.RUN_ENDED:
                self._ended(event)
            case Kind.DECIDED:
                self._decided(event)
            case Kind.SIGNAL_RECEIVED:
                self._signals.received(event)
            case Kind.BUDGET_WARNED:
                self.conduct.warned_of(event)

    def _worked(self, event: Event) -> None:
        """Until this event; at a takeover until its last owner was last known to be alive (`deadline`, rule 4)."""
        until = event.at
        if event.kind is Kind.RUN_RESUMED:
            until = min(until, event.facts.get("alive_until", self.updated_at))
        if until > self.updated_at:
            self.active_s += until - self.updated_at

    def _settle(self, slot: Slot, used: Charge) -> None:
        at = self.updated_at
        if slot.reservation is not NOTHING:
            at = slot.reserved_at
            self.reserved = self.reserved.minus(slot.reservation)
            self.books.settle(slot.reservation, at)
            slot.reservation = NOTHING
        if used is not NOTHING:
            self.spent = self.spent.plus(used)
            self.books.spend(used, at)

    def _intended(self, event: Event) -> None:
        slot = self._slots.of(event, self.count)
        if slot.is_in_flight:  # the attempt before this one was interrupted: what it reserved stays charged
            self._settle(slot, slot.reservation)
        slot.is_unknown = slot.was_unknown = slot.is_in_flight and not slot.verdicts  # a verdict has cleared it up
        slot.logical, slot.attempt = event.logical, event.attempt
        if slot.begun_at is None:
            slot.begun_at = event.at
        slot.intent, slot.intent_no, slot.marks = event, self.count, event.meta
        slot.sender = None
        if slot.undo or '"undo' in event.meta:
            self._marked(slot, event.facts)
        slot.is_in_flight = True
        slot.appeal = slot.ruling = None
        slot.streamed = ()
        slot.retry_at = None
        slot.verdicts = ()
        slot.reservation, slot.reserved_at = event.charge, event.at
        if '"allowance"' in event.meta:
            self.allowance = max(self.allowance, event.facts.get("allowance", 1))
        if event.step is StepKind.CHILD:
            self.children[slot.child] = slot
            self.open_children.add(slot.child)
        self.reserved = self.reserved.plus(event.charge)
        self.books.reserve(event.charge, event.at)
        if '"shares":true' in event.meta:  # of a child that is part of this run
            self.books.is_shared = True

    def _marked(self, slot: Slot, facts: dict[str, Any]) -> None:
        """Its tool declares what undoes it, or it undoes another step."""
        slot.undo, slot.made_by = facts.get("undo", ""), facts.get("by", "")
        if slot.undo:
            self.conduct.undoable.add(slot.address)
        slot.undoes = Address(*facts["undoes"]) if "undoes" in facts else None

    def _outcome(self, event: Event) -> None:
        slot = self._slots.of(event, self.count)
        if event.step is StepKind.VERIFY:
            slot.verdicts += (event,)
            slot.sender = None
            self.spent = self.spent.plus(event.charge)
            self.books.spend(event.charge, event.at)
            return
        self._settle(slot, event.charge)
        if slot.outcome is not None:
            return
        if self.withheld:
            self.withheld.pop(slot.address, None)
        if event.step is StepKind.CHILD:
            self.open_children.discard(slot.child)
        slot.logical, slot.attempt = event.logical, event.attempt
        slot.is_in_flight = False
        slot.retry_at = None
        self._slots.conclude(slot, self._signals.heard(event) if event.step is StepKind.SIGNAL else event, self.count)
        if event.kind is Kind.STEP_SUCCEEDED:
            self.refusals = 0
        elif '"BreakerOpen"' in event.meta:
            self.refusals += 1
        if event.meta:
            self._served(slot, event)
        if slot.undoes is not None and event.kind is Kind.STEP_SUCCEEDED:
            self.slots[slot.undoes].is_undone = True
            self.undone_no = self.count
            self.conduct.undoable.discard(slot.undoes)
        if event.step is StepKind.MODEL or event.kind is Kind.STEP_FAILED:
            self.conduct.ended(event, slot, self.count)
        if self.conduct.pending and event.step is StepKind.TOOL:
            self.conduct.tell(slot.address)

    def _served(self, slot: Slot, event: Event) -> None:
        """Who gave the outcome, where that was not the step itself."""
        is_degraded = '"degraded"' in event.meta
        if is_degraded:
            slot.served = event.facts.get("served", "")
        elif '"by"' in event.meta:
            slot.served = event.facts.get("by", "")
        if slot.undo and is_degraded and event.facts["degraded"]["rung"] != "other":
            slot.undo = ""  # its tool has failed, and what is given instead did nothing
            self.conduct.undoable.discard(slot.address)

    def is_closed(self, scope: str) -> bool:
        """Whether nobody need ask for the steps of this scope."""
        return self._slots.is_closed(scope)

    def _attempt_failed(self, event: Event) -> None:
        slot = self._slots.of(event, self.count)
        self._settle(slot, event.charge)
        slot.logical, slot.attempt = event.logical, event.attempt
        if slot.begun_at is None:
            slot.begun_at = event.at
        facts = event.facts
        before = slot.was_unknown if facts.get("late") else slot.is_unknown
        slot.is_unknown = slot.effect.is_write and (before or not facts.get("is_definite", True))
        slot.is_in_flight = slot.is_unknown
        slot.retry_at = facts.get("retry_at")
        slot.appeal = slot.ruling = None
        is_begun = event.attempt > (slot.failures[-1].attempt if slot.failures else 0)
        self.retries += is_begun and slot.retry_at is not None and "next" not in facts
        slot.failures += (event,)

    def _asked(self, event: Event) -> None:
        question = self._questions.asked(event)
        if event.address is not None and self.withheld:
            self.withheld.pop(event.address, None)
        if event.address is not None:  # or it is about the whole run
            self._questions.put_to(question, self._slots.of(event, self.count), event)

    def _closed(self, event: Event) -> None:
        about, slot = self._questions.closed(event)
        if slot is None:
            return
        if slot.step is StepKind.QUESTION:
            asked = slot.intent.facts if slot.intent is not None else {}
            self.grants += approval.grants_of(asked, event)
            self._slots.conclude(slot, event, self.count)
        elif about == "stuck":
            self.conduct.answered(event, self.count)
        elif about not in ("in_doubt", "failed", approval.ABOUT):
            self._slots.conclude(slot, event, self.count)

    def _started(self, event: Event) -> None:
        facts = event.facts
        self.run_id, self.key, self.agent = facts["run"], facts["key"], facts["agent"]
        self.code, self.seed, self.config = facts.get("code", ""), facts["seed"], facts.get("config", "")
        self.input_digest, self.input = facts["input_digest"], event.body
        self.created_at = facts.get("created_at", event.at)
        self.parent, self.depth = facts.get("parent", ""), facts.get("depth", 0)
        self.requester = facts.get("by", "")
        self.is_detached = facts.get("detached", False)
        self.chapter, self.stated = facts.get("chapter", 1), facts.get("limits")
        self.ask = facts.get("ask")
        if facts.get("limits") is not None:
            self.limits = Limits(*facts["limits"])
        self.books.above, self.books.is_priced = tuple(facts.get("accounts", ())), facts.get("is_priced", False)
        self._go_on(event)

    def _decided(self, event: Event) -> None:
        self.decisions.append(event)
        if event.address in self.slots and '"what":"sender"' in event.meta:
            self.slots[event.address].sender = event
        if event.address is not None and '"what":"approval"' in event.meta:
            self._approved(event.address, event.facts)
        if event.address is not None and '"what":"reach"' in event.meta:
            self.withheld[event.address] = event
        if event.step is StepKind.DECISION:
            self._slots.conclude(self._slots.of(event, self.count), event, self.count)
        else:
            self.conduct.decided(event, self.count)
        if event.address is None:
            self._ordered(event, event.facts)

    def _approved(self, address: Address, facts: dict[str, Any]) -> None:
        """A step begins by a grant from a list: nobody else may."""
        for grant in self.grants:
            if grant.used is None and [grant.question, grant.tool, grant.args] == facts.get("grant"):
                grant.used = (address, facts["logical"])
                return

    def _ordered(self, event: Event, facts: dict[str, Any]) -> None:
        """It is about the run, and not of its agent's deciding."""
        if facts["what"] == PAUSE:
            self.paused = event
            if self.status is Status.RUNNING:
                self.why = PAUSING
        elif facts["what"] == CONFIG:
            self.config = facts["choice"].replace("none", "")

    def _capped(self, facts: dict[str, Any]) -> None:
        if "account" not in facts:  # otherwise caps that several runs share, stated at the operator's desk
            self.limits = Limits(*facts["limits"])
            self.conduct.raised()

    def _resumed(self, event: Event) -> None:
        self.spent = self.spent.plus(event.charge)
        self.deaths += 1
        self.books.spend(event.charge, event.at)
        if event.facts.get("why") != "takeover":
            self.paused, self.deaths, self._questions.stop_said = None, 0, None
            self.conduct.let_go(self.count)
        if event.facts.get("why") == UNWIND:
            self.unwinding, self.ended_as = event, self.ended_as or self.end
        self.end, self.continued = None, ""
        self.resumes.append(event)
        reopening.reopen(self._slots, event.facts.get("reopened", ()))
        self._go_on(event)

    def _go_on(self, event: Event) -> None:
        self.status, self.why, self.wake_at = Status.RUNNING, "", event.at
        self.suspension = None

    def _cut_reads(self, event: Event) -> None:
        """Reads without an intent that were cut short when the run left its process: they stay charged."""
        if event.charge is not NOTHING:
            self.spent = self.spent.plus(event.charge)
            self.books.spend(event.charge, event.at)

    def _suspended(self, event: Event) -> None:
        self._cut_reads(event)
        facts = event.facts
        self.status, self.why, self.wake_at = Status.SUSPENDED, facts["why"], facts.get("until")
        self.suspension = event

    def _ended(self, event: Event) -> None:
        self._cut_reads(event)
        facts = event.facts
        self.status, self.why, self.wake_at = Status(facts["outcome"]), facts.get("why", ""), None
        self._questions.end()
        self.withheld.clear()
        self.paused = self.unwinding = None
        self.end, self.continued = event, str(facts.get("continued", ""))
        if "forgotten" in facts:
            self._forgotten(facts["totals"])

    def _forgotten(self, totals: dict[str, Any]) -> None:
        """Its log was removed by retention; what it used is told at its end."""
        self.is_forgotten = True
        self.spent, self.reserved = Charge(*totals["spent"]), Charge(*totals["reserved"])
        self.books.restore(totals.get("days", {}), is_shared=totals.get("shared", False))

    @property
    def stop_said(self) -> tuple[Event, Event] | None:
        """The question about its budget, or about a mismatch, to which somebody, or nobody in time, has said that it is
        to end, and the answer; None when the run has ended for it, or goes on."""
        return self._questions.stop_said

    @property
    def used(self) -> Charge:
        """Spent and reserved together: what a new reservation is checked against."""
        return self.spent.plus(self.reserved) if any(self.reserved) else self.spent

    @property
    def is_unwound(self) -> bool:
        """Whether it cannot go on: to try again what failed, it would have to take for done what is undone."""
        if self.ended_as is not None or self.end is None:
            return self.ended_as is not None
        if not self.undone_no:
            return False
        causes = reopening.causes(self.slots, self.end.facts.get("cause", ()))
        return any(slot.outcome_no < self.undone_no for slot in causes)

    @property
    def due_at(self) -> float | None:
        """When somebody has to look at the run again; a run that waits also when its time is over."""
        wall_ms = self.limits.wall_ms
        if wall_ms is None or self.status is not Status.SUSPENDED or self.why in UNTIMED:
            return self.wake_at
        over_at = self.created_at + wall_ms / 1000
        return over_at if self.wake_at is None else min(self.wake_at, over_at)

    def head(self) -> Head:
        """The facts that the store indexes."""
        return Head(
            run_id=self.run_id,
            key=self.key,
            agent=self.agent,
            input_digest=self.input_digest,
            status=self.status,
            created_at=self.created_at,
            updated_at=self.updated_at,
            why=self.why,
            wake_at=self.due_at,
            spent=self.spent,
            reserved=self.reserved,
            questions=tuple(self.questions.values()),
            is_unwound=self.is_unwound,
            children=len(self.open_children),
            is_forgotten=self.is_forgotten,
        )

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, State) and _plain(self) == _plain(other)

    __hash__ = None  # type: ignore[assignment]


_WAKING = frozenset(
    {
        Kind.STEP_INTENDED,
        Kind.STEP_SUCCEEDED,
        Kind.STEP_FAILED,
        Kind.STEP_STREAMED,
        Kind.ATTEMPT_FAILED,
        Kind.QUESTION_ASKED,
        Kind.QUESTION_CLOSED,
    }
)


_SAME = frozenset({"question_slots", "_questions", "_signals", "_slots"})
"""Fields that say nothing which others do not say."""


def _plain(thing: Any) -> Any:
    """`thing` as comparable data."""
    if isinstance(thing, State):
        return {name: _plain(value) for name, value in vars(thing).items() if name not in _SAME}
    if isinstance(thing, Slot):
        return [_plain(getattr(thing, name)) for name in FIELDS]
    if isinstance(thing, dict):
        return {name: _plain(value) for name, value in thing.items()}
    if isinstance(thing, list):
        return [_plain(value) for value in thing]
    return thing


def fold(events: Iterable[Event]) -> State:
    """The state that these events, from the first on, amount to."""
    state = State()
    for event in events:
        state.apply(event)
    return state
