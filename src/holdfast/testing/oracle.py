"""What must hold of a store after every write, judged by somebody who takes part in nothing.

The oracle sees each write that was made, folds each record for itself, and says what is wrong. It asks the store only
for what it hands out, and computes heads and accounts anew from the records.

Invariants
1. Each write is judged before anything else happens.
2. It never writes, and never asks an engine to say whether the engine is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from holdfast.core.accept import Message, MessageKind, Posted
from holdfast.core.books import NONE, Sums, added
from holdfast.core.charges import charged, charges
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.core.state import State, fold
from holdfast.protocols import Append, Claim, Journal, Post

_OUTCOMES = frozenset({Kind.STEP_SUCCEEDED, Kind.STEP_FAILED})
_NOTHING_YET = charged(State())


class Oracle:
    """Judges one store. `problems` holds what is wrong, `seen` what there was to see."""

    def __init__(self, store: Journal, on_event: Callable[[str, Event], None] = lambda run, event: None) -> None:
        """on_event: told of each event that was appended, with its run."""
        self._store = store
        self._on_event = on_event
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self.states: dict[str, State] = {}
        """Every run that was accepted, folded from what was appended."""
        self.open_count = 0
        """How many of them have not ended."""
        self.epochs: dict[str, int] = {}
        self._latest = 0.0
        self._answers: dict[tuple[str, str], str | None] = {}
        """The first valid answer to each question."""
        self._charged: dict[str, dict[str, Sums]] = {}
        """What each run has charged, by account."""

    def wrong(self, problem: str) -> None:
        """Something is not as it must be."""
        self.problems.append(problem)

    def latest(self) -> float:
        """The latest time that the store's clock has shown; a clock that was set back says nothing of what was due."""
        self._latest = max(self._latest, self._store.now())
        return self._latest

    @property
    def open_runs(self) -> list[str]:
        """Accepted runs that have not ended."""
        return [run for run, state in self.states.items() if not state.status.is_end]

    # --- writes ----------------------------------------------------------------------------------------------

    def posted(self, posts: Sequence[Post], results: Sequence[Posted]) -> None:
        """Messages were offered."""
        for post, result in zip(posts, results, strict=True):
            if result.is_stored:
                self._stored(post.run_id, post.message)
            elif result.refused:
                self.seen["messages_refused"] += 1

    def _stored(self, run_id: str, message: Message) -> None:
        if message.kind is MessageKind.START:
            self._accepted(run_id)
        elif message.kind is MessageKind.ANSWER:
            facts = message.facts
            asked = (run_id, facts["question"])
            if asked in self._answers:
                self.wrong(f"P8: question {asked[1]} of {run_id} took a second answer")
            self._answers[asked] = facts.get("choice")
        self.seen[f"{message.kind}_messages"] += 1

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Runs were taken."""
        for claim in claims:
            run_id, epoch = claim.lease.run_id, claim.lease.epoch
            if epoch <= self.epochs.get(run_id, 0):
                self.wrong(f"J4: {run_id} was claimed with epoch {epoch} after {self.epochs[run_id]}")
            self.epochs[run_id] = epoch
            self.seen["claims"] += 1
            self.seen["takeovers"] += claim.is_takeover

    def appended(self, appends: Sequence[Append]) -> None:
        """These appends were written, in one transaction: each is taken in before the store is looked at."""
        for append in appends:
            self._take_in(append)
        for append in appends:
            state = self.states[append.lease.run_id]
            if append.events:
                self._check_head(append.lease.run_id, state, append)
                if append.charges or append.lease.run_id in self._charged:
                    self._check_accounts(append.lease.run_id)

    def _take_in(self, append: Append) -> None:
        run_id = append.lease.run_id
        state = self._accepted(run_id)
        was_open = not state.status.is_end
        if append.lease.epoch != self.epochs.get(run_id):
            self.wrong(f"P3: {run_id} was written by epoch {append.lease.epoch}, its owner is {self.epochs[run_id]}")
        if append.after != state.count:
            self.wrong(f"J11: {run_id} was appended to after {append.after} of {state.count} events")
        for event in append.events:
            self._judge(run_id, state, event)
            state.apply(event)
            self._on_event(run_id, event)
        self.open_count += (not state.status.is_end) - was_open
        if append.charges or run_id in self._charged:
            self._add_up(run_id, state)
        for post in append.posts:
            self.seen[f"{post.message.kind}_messages"] += 1
            if post.message.kind is MessageKind.START:
                self._accepted(post.run_id)

    def _accepted(self, run_id: str) -> State:
        state = self.states.get(run_id)
        if state is None:
            state = self.states[run_id] = State()
            self.open_count += 1
        return state

    def _check_head(self, run_id: str, state: State, append: Append) -> None:
        stored, mine = self._store.head(run_id), state.head()
        if stored != mine:
            self.wrong(f"head of {run_id}: {stored} is stored, {mine} follows from its record")
        if append.events[-1].kind is Kind.RUN_ENDED and self._store.mail(run_id):
            self.wrong(f"J8: {run_id} ended with unread mail")

    # --- events ----------------------------------------------------------------------------------------------

    def _judge(self, run_id: str, state: State, event: Event) -> None:
        """One event, before it is part of the state."""
        kind = event.kind
        self.seen[kind] += 1
        if kind is Kind.STEP_INTENDED and event.address is not None:
            slot = state.slots.get(event.address)
            if slot is not None and slot.retry_at is not None and self.latest() < slot.retry_at:
                self._early(run_id, event, slot.retry_at)
        elif kind in _OUTCOMES:
            self._judge_outcome(run_id, state, event)
        elif kind is Kind.QUESTION_CLOSED:
            self._judge_answer(run_id, state, event)
        elif kind is Kind.RUN_RESUMED:
            self._judge_resume(run_id, state)

    def _judge_outcome(self, run_id: str, state: State, event: Event) -> None:
        assert event.address is not None
        if event.step is StepKind.VERIFY:
            self.seen[f"verify_{event.facts.get('verdict')}"] += 1
            return
        slot = state.slots.get(event.address)
        if slot is not None and slot.outcome is not None:
            self.wrong(f"P3: {event.address} of {run_id} has a second outcome")
        if event.step is StepKind.SLEEP and slot is not None and slot.intent is not None:
            until = slot.intent.facts["until"]
            if self.latest() < until:
                self._early(run_id, event, until)

    def _judge_answer(self, run_id: str, state: State, event: Event) -> None:
        facts = event.facts
        question = state.questions.get(facts["id"])
        if facts["outcome"] in ("expired", "undeliverable"):
            if question is not None and question.expires_at is not None and self.latest() < question.expires_at:
                self._early(run_id, event, question.expires_at)
            self.seen["questions_expired"] += 1
        elif facts["outcome"] == "withdrawn" and facts.get("by") and facts.get("choice") is None:
            self.seen["questions_withdrawn"] += 1  # an operator has resumed the run: that is no answer
        elif (run_id, facts["id"]) not in self._answers or self._answers[run_id, facts["id"]] != facts.get("choice"):
            if facts.get("by") != "simulation resumes":
                self.wrong(f"P8: question {facts['id']} of {run_id} was closed by what nobody answered: {facts}")
        else:
            self.seen["questions_answered"] += 1
            self.seen["doubts_answered"] += question is not None and question.about == "in_doubt"

    def _judge_resume(self, run_id: str, state: State) -> None:
        doubtful = [slot for slot in state.slots.values() if slot.is_in_flight and slot.effect.is_write]
        self.seen["in_doubt"] += len(doubtful)

    def _early(self, run_id: str, event: Event, at: float) -> None:
        self.wrong(f"P9: {event.kind} of {event.address} in {run_id} {at - self.latest():.3f} s early")

    # --- accounts --------------------------------------------------------------------------------------------

    def _add_up(self, run_id: str, state: State) -> None:
        sums: dict[str, Sums] = {}
        for charge in charges(_NOTHING_YET, state, ()):
            sums[charge.key] = added(sums.get(charge.key, NONE), charge.spent, charge.reserved)
        self._charged[run_id] = sums

    def _check_accounts(self, run_id: str) -> None:
        """P7: what the accounts hold is what the records say, added up."""
        for key in self._charged[run_id]:
            total = NONE
            for each in self._charged.values():
                if key in each:
                    total = added(total, *each[key])
            account = self._store.account(key)
            if account is None or (account.spent, account.reserved) != total:
                self.wrong(f"P7: account {key} holds {account}, the records say {total}")
        self.seen["accounts_checked"] += 1

    # --- the whole -------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Each record as a whole, as the store hands it out now."""
        for run_id, state in self.states.items():
            events = self._store.events(run_id)
            again = fold(events)
            if len(events) != state.count or again.head() != state.head():
                self.wrong(f"{run_id}: its record folds to another state than it was appended as")
            self._check_caps(run_id, state)
            head = self._store.head(run_id)
            if head is None:
                self.wrong(f"P2: {run_id} was accepted and is not in the store")
            elif head.status is Status.SUSPENDED and not head.why:
                self.wrong(f"P2: {run_id} is suspended without a reason")

    def _check_caps(self, run_id: str, state: State) -> None:
        cap = state.limits.tool_calls
        if cap is not None and state.spent.tool_calls + state.reserved.tool_calls > cap and not state.parent:
            self.seen["caps_overrun"] += 1
