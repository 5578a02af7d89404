"""The fold: what a log amounts to, above all in money and in who is in flight.

If these fail, every reader (resume, show, budget, doctor) is wrong in the same way.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import DEFAULT_LIMITS, Limits, overshoot
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Status, Why
from holdfast.core.state import State, fold

TOOL, MODEL, QUESTION = StepKind.TOOL, StepKind.MODEL, StepKind.QUESTION
ONCE, READ, IDEMPOTENT = Effect.ONCE, Effect.READ, Effect.IDEMPOTENT
PAY, ASK = Address("", "pay", "d", 0), Address("", "ask", "", 0)


def started(**facts: Any) -> Event:
    """The first event of every log."""
    known: dict[str, Any] = {"run": "r", "key": "k", "agent": "a", "seed": "s", "input_digest": "i"}
    return Event(Kind.RUN_STARTED, 1.0, meta=meta(**known | facts), body=b"input")


def event(kind: Kind, address: Address | None = None, at: float = 2.0, **more: Any) -> Event:
    """An event of a tool that is used at most once, unless `more` says otherwise; `facts` become its meta."""
    facts = more.pop("facts", {})
    envelope: dict[str, Any] = {"step": TOOL, "effect": ONCE, "logical": 1, "attempt": 1} if address else {}
    return Event(kind, at, address, meta=meta(**facts), **envelope | more)


def usd(amount: int) -> Charge:
    """A charge in nano-dollars."""
    return Charge(usd_nano=amount)


def asked(address: Address = ASK, about: str = "ask", at: float = 2.0, question: str = "q1") -> Event:
    """A question of the run, or about a step in doubt."""
    facts = {"id": question, "about": about, "text": "Go on?", "options": ["yes", "no"], "to": "ann", "expires_at": 9.0}
    return event(Kind.QUESTION_ASKED, address, at, step=QUESTION, effect=READ, facts=facts)


def closed(question: str = "q1", outcome: str = "answered") -> Event:
    """That question's end."""
    return event(Kind.QUESTION_CLOSED, at=3.0, body=b"yes", facts={"id": question, "outcome": outcome, "by": "ann"})


# --- laws ---------------------------------------------------------------------------------------------------------

_ENDING = (Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.NOTE_WRITTEN)
ADDRESSES = [Address("", "s", "d", n) for n in range(3)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Logs that a driver may write: each step is begun, interrupted, fails, ends, in any interleaving."""
    events = [started()]
    over: set[Address] = set()
    questions = 0
    for _ in range(draw(st.integers(0, 25))):
        address = draw(st.sampled_from(ADDRESSES))
        charge = usd(draw(st.integers(0, 9)))
        act = draw(st.sampled_from(["intend", "fail", "succeed", "lose", "resume", "note", "sleep", "ask", "abandon"]))
        if act == "resume":
            events.append(event(Kind.RUN_RESUMED, charge=charge, facts={"why": "takeover"}))
        elif act == "note":
            address = Address("", "note", "", len(events))
            events.append(event(Kind.NOTE_WRITTEN, address, step=StepKind.NOTE, effect=READ, facts={"text": "n"}))
        elif act == "sleep":
            events.append(event(Kind.RUN_SUSPENDED, facts={"why": "sleep", "until": 5.0}))
        elif act == "ask":
            questions += 1
            events.append(asked(Address("", "ask", "", questions), question=f"q{questions}"))
        elif act == "abandon":
            events.append(event(Kind.STEP_ABANDONED, address))
        elif address not in over:
            if act == "intend":
                events.append(event(Kind.STEP_INTENDED, address, charge=charge))
            elif act == "fail":
                facts = {"kind": "transient", "error": "E", "is_definite": draw(st.booleans())}
                events.append(event(Kind.ATTEMPT_FAILED, address, charge=charge, facts=facts))
            else:
                kind = Kind.STEP_SUCCEEDED if act == "succeed" else Kind.STEP_FAILED
                events.append(event(kind, address, charge=charge))
                over.add(address)
    return events


@given(logs(), st.integers(0, 30))
def test_law_folding_in_two_pieces_is_folding_at_once(events: list[Event], cut: int) -> None:
    """Lost: the live run, which applies one by one, and `show`, which folds, tell different stories."""
    state = fold(events[:cut])
    for later in events[cut:]:
        state.apply(later)
    assert state == fold(events)
    assert state.count == len(events)


@given(logs())
def test_law_every_attempt_begun_is_counted(events: list[Event]) -> None:
    """Lost: P7. Planted bug: a reservation released because its process died.

    The oracle keeps its own books: an attempt counts with what it reserved until the log says what it used; one that
    the log never says the end of, because the next was begun, counts with what it reserved for ever.
    """
    counted, open_reservations = 0, dict.fromkeys(ADDRESSES, 0)
    state = State()
    for entry in events:
        state.apply(entry)
        address, amount = entry.address, entry.charge.usd_nano
        if entry.kind is Kind.STEP_INTENDED and address is not None:
            counted += open_reservations[address]
            open_reservations[address] = amount
        elif entry.kind in (Kind.ATTEMPT_FAILED, Kind.STEP_SUCCEEDED, Kind.STEP_FAILED) and address is not None:
            open_reservations[address] = 0
            counted += amount
        else:
            counted += amount
        assert state.used.usd_nano == counted + sum(open_reservations.values())
        assert state.reserved.usd_nano == sum(open_reservations.values())


@given(logs())
def test_law_outcomes_are_numbered_as_they_were_recorded(events: list[Event]) -> None:
    """Lost: replay hands out in another order than the recorded one."""
    state = fold(events)
    assert [slot.order for slot in state.order] == list(range(len(state.order)))
    recorded = [e.address for e in events if e.kind in _ENDING]
    assert [slot.address for slot in state.order] == recorded


@given(logs())
def test_law_the_head_survives_the_store(events: list[Event]) -> None:
    """Lost: the indexed facts of a run differ from what its log says."""
    head = fold(events).head()
    assert type(head).from_facts(json.loads(json.dumps(head.facts()))) == head


# --- money --------------------------------------------------------------------------------------------------------


def test_the_reservation_of_an_interrupted_attempt_stays_charged() -> None:
    """Lost: P7; the planted bug "reservation released on crash" makes each crash a free model call."""
    state = fold([started(), *(event(Kind.STEP_INTENDED, PAY, charge=usd(30)) for _ in range(3))])
    assert (state.spent, state.reserved) == (usd(60), usd(30))
    state.apply(event(Kind.STEP_SUCCEEDED, PAY, charge=usd(10)))
    assert (state.spent, state.reserved) == (usd(70), NOTHING)


def test_a_settlement_gives_back_only_the_unused_part() -> None:
    """Lost: a run stops at half of its budget, or never."""
    state = fold([started(), event(Kind.STEP_INTENDED, PAY, charge=usd(30))])
    assert (state.spent, state.reserved, state.used) == (NOTHING, usd(30), usd(30))
    state.apply(event(Kind.STEP_SUCCEEDED, PAY, charge=usd(11)))
    assert (state.spent, state.reserved) == (usd(11), NOTHING)


def test_a_settlement_over_the_cap_is_recorded_in_full() -> None:
    """Lost: the overshoot is cut off at the cap, and nobody learns of it."""
    state = fold([started(limits=[None, None, None, 100]), event(Kind.STEP_INTENDED, PAY, charge=usd(90))])
    state.apply(event(Kind.STEP_SUCCEEDED, PAY, charge=usd(140)))
    assert state.spent == usd(140)
    excess = overshoot(state.limits, state.spent)
    assert excess is not None and (excess.limit, excess.used) == (100, 140)
    state.apply(event(Kind.BUDGET_WARNED, facts={"name": "usd_nano", "limit": 100, "spent": 140, "overshoot": 40}))
    assert state.spent == usd(140), "the warning itself costs nothing"


def test_the_allowance_of_a_takeover_and_a_verify_are_charged() -> None:
    """Lost: reads under way at a crash, and `verify` in a loop, are free."""
    state = fold([started(), event(Kind.STEP_INTENDED, PAY, charge=usd(30))])
    state.apply(event(Kind.RUN_RESUMED, charge=Charge(tool_calls=1), facts={"why": "takeover"}))
    state.apply(event(Kind.STEP_SUCCEEDED, PAY, step=StepKind.VERIFY, effect=READ, charge=Charge(tool_calls=1)))
    assert state.spent == Charge(tool_calls=2) and state.reserved == usd(30)
    assert state.slots[PAY].outcome is None and len(state.slots[PAY].verdicts) == 1


def test_limits_default_state_and_change() -> None:
    """Lost: a run without a budget has none at all, or an operator's raise is not read."""
    assert fold([started()]).limits == DEFAULT_LIMITS
    state = fold([started(limits=[1, None, 3, None])])
    assert state.limits == Limits(1, None, 3, None)
    state.apply(event(Kind.BUDGET_CHANGED, facts={"limits": [2, None, 3, None], "by": "op"}))
    assert state.limits == Limits(2, None, 3, None)


# --- steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "is_definite", "expected"),
    [(ONCE, False, True), (ONCE, True, False), (IDEMPOTENT, False, True), (READ, False, False), (READ, True, False)],
)
def test_an_attempt_that_failed_without_certainty_stays_in_flight(
    effect: Effect, is_definite: bool, expected: bool
) -> None:
    """Lost: P4; an effect that may have happened looks as if it had not, and is repeated."""
    facts = {"kind": "transient", "error": "E", "is_definite": is_definite, "retry_at": 7.0}
    state = fold([started(), event(Kind.ATTEMPT_FAILED, PAY, effect=effect, attempt=2, facts=facts)])
    slot = state.slots[PAY]
    assert (slot.is_in_flight, slot.attempt, slot.retry_at, len(slot.failures)) == (expected, 2, 7.0, 1)


def test_the_keys_age_counts_from_the_first_intent() -> None:
    """Lost: P5; each retry renews the dedup window, and the receiver has long forgotten the key."""
    intents = [event(Kind.STEP_INTENDED, PAY, at=float(at), attempt=at, effect=IDEMPOTENT) for at in (5, 6, 7)]
    slot = fold([started(), *intents]).slots[PAY]
    assert (slot.begun_at, slot.attempt, slot.is_in_flight) == (5.0, 7, True)


def test_a_new_attempt_forgets_what_verify_said_of_the_one_before() -> None:
    """Lost: two "not done" of different attempts are taken for the two that are needed."""
    verdict = event(Kind.STEP_FAILED, PAY, step=StepKind.VERIFY, effect=READ)
    state = fold([started(), event(Kind.STEP_INTENDED, PAY), verdict, verdict])
    assert len(state.slots[PAY].verdicts) == 2
    state.apply(event(Kind.STEP_INTENDED, PAY, attempt=2))
    assert state.slots[PAY].verdicts == ()


def test_the_end_of_a_run_withdraws_what_it_asked() -> None:
    """Lost: a resumed run that waits, for ever, for the answer to a question that nobody can answer any more."""
    question = event(Kind.QUESTION_ASKED, PAY, facts={"id": "q1", "about": "approve", "text": "May it?"})
    state = fold([started(), question, event(Kind.RUN_ENDED, facts={"outcome": "stopped", "why": "w"})])
    assert state.questions == {} and state.slots[PAY].approval is None and state.slots[PAY].grant is None


def test_an_outcome_says_who_gave_it() -> None:
    """Lost: a person's word is shown as the tool's own result."""
    state = fold([started(), event(Kind.STEP_SUCCEEDED, PAY, facts={"by": "person"})])
    assert state.slots[PAY].served == "person"


def test_reopening_takes_back_exactly_the_named_outcomes() -> None:
    """Lost: `resume` repeats an effect that was done, or fails again from the record."""
    a, b, c = ADDRESSES
    steps = [event(kind, address) for address in (a, b, c) for kind in (Kind.STEP_INTENDED, Kind.STEP_FAILED)]
    ended = event(Kind.RUN_ENDED, facts={"outcome": "failed", "cause": [list(b)]})
    state = fold([started(), *steps, ended])
    before = state.spent
    state.apply(event(Kind.RUN_RESUMED, at=8.0, facts={"why": "resume", "by": "op", "reopened": [list(b)]}))
    slot = state.slots[b]
    assert (slot.outcome, slot.logical, slot.attempt, slot.begun_at, slot.intent) == (None, 2, 0, None, None)
    assert [other.address for other in state.order] == [a, c] and [other.order for other in state.order] == [0, 1]
    assert all(state.slots[address].outcome is not None for address in (a, c))
    assert (state.status, state.end, state.spent) == (Status.RUNNING, None, before)


def test_reopening_forgets_who_gave_the_outcome() -> None:
    """Lost: the step's own result, after a resume, is shown as the person's."""
    state = fold([started(), event(Kind.STEP_INTENDED, PAY), event(Kind.STEP_FAILED, PAY, facts={"by": "person"})])
    state.apply(event(Kind.RUN_RESUMED, facts={"why": "resume", "reopened": [list(PAY)]}))
    state.apply(event(Kind.STEP_SUCCEEDED, PAY, logical=2))
    assert state.slots[PAY].served == ""


def test_abandoned_calls_are_counted() -> None:
    """Lost: rule 6; replay cannot tell which calls never came back."""
    state = fold([started(), event(Kind.STEP_ABANDONED, PAY), event(Kind.STEP_ABANDONED, PAY)])
    assert state.slots[PAY].abandoned == 2


# --- questions ----------------------------------------------------------------------------------------------------


def test_questions_open_and_close() -> None:
    """Lost: an open question is not in the inbox, or a closed one still is."""
    state = fold([started(), asked()])
    question = state.head().questions[0]
    assert (question.id, question.options, question.to) == ("q1", ("yes", "no"), "ann")
    assert (question.asked_at, question.expires_at) == (2.0, 9.0)
    assert state.slots[ASK].outcome is None and state.slots[ASK].intent is not None
    state.apply(closed())
    outcome = state.slots[ASK].outcome
    assert state.head().questions == () and outcome is not None and outcome.body == b"yes"


def test_a_question_about_doubt_is_a_verdict_and_no_outcome() -> None:
    """Lost: "it did not happen" would be handed to the agent as the effect's result."""
    state = fold([started(), event(Kind.STEP_INTENDED, PAY), asked(PAY, "in_doubt")])
    assert state.slots[PAY].doubt is not None and state.slots[PAY].is_in_flight
    state.apply(closed())
    slot = state.slots[PAY]
    assert (slot.doubt, slot.outcome, len(slot.verdicts), slot.is_in_flight) == (None, None, 1, True)


def test_an_end_closes_every_question() -> None:
    """Lost: people are asked by runs that are over."""
    state = fold([started(), asked(), event(Kind.RUN_ENDED, facts={"outcome": "cancelled", "why": "by op"})])
    assert state.head().questions == ()


# --- the run ------------------------------------------------------------------------------------------------------


def test_the_start_is_read() -> None:
    """Lost: a resumed run has another seed, input or agent."""
    state = fold([started(code="c0", created_at=0.5)])
    assert (state.run_id, state.key, state.agent, state.seed, state.code) == ("r", "k", "a", "s", "c0")
    assert (state.input, state.input_digest, state.created_at, state.status) == (b"input", "i", 0.5, Status.RUNNING)


@pytest.mark.parametrize(
    "waking",
    [
        event(Kind.STEP_INTENDED, PAY, at=6.0),
        event(Kind.STEP_SUCCEEDED, PAY, at=6.0),
        event(Kind.STEP_FAILED, PAY, at=6.0),
        event(Kind.ATTEMPT_FAILED, PAY, at=6.0, facts={"kind": "transient", "error": "E"}),
        asked(at=6.0),
        event(Kind.RUN_RESUMED, at=6.0, facts={"why": "resume"}),
    ],
    ids=lambda e: str(e.kind),
)
def test_a_suspended_run_that_moves_is_running(waking: Event) -> None:
    """Lost: a parked run that went on is shown, and claimed, as one that waits."""
    state = fold([started(), event(Kind.RUN_SUSPENDED, facts={"why": Why.SLEEP, "until": 99.0})])
    assert (state.status, state.why, state.wake_at) == (Status.SUSPENDED, "sleep", 99.0)
    state.apply(waking)
    assert (state.status, state.why, state.wake_at, state.suspension) == (Status.RUNNING, "", 6.0, None)


@pytest.mark.parametrize("kind", [Kind.NOTE_WRITTEN, Kind.DRIFT_FOUND, Kind.BUDGET_WARNED, Kind.STEP_ABANDONED])
def test_a_remark_does_not_wake_a_suspended_run(kind: Kind) -> None:
    """Lost: a blocked run goes on because somebody wrote a note."""
    state = fold([started(), event(Kind.RUN_SUSPENDED, facts={"why": Why.DRIFT})])
    state.apply(event(kind, PAY, facts={"text": "n"}))
    assert (state.status, state.why, state.wake_at) == (Status.SUSPENDED, "drift", None)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "stopped", "cancelled"])
def test_an_end_is_an_end(outcome: str) -> None:
    """Lost: an ended run is due again."""
    state = fold([started(), event(Kind.RUN_ENDED, at=4.0, facts={"outcome": outcome, "why": "because"})])
    assert (state.status, state.status.is_end, state.wake_at, state.why) == (Status(outcome), True, None, "because")


def test_states_differ_when_their_steps_differ() -> None:
    """Lost: the laws above would hold for any two states."""
    one, two = fold([started()]), fold([started(), event(Kind.STEP_ABANDONED, PAY)])
    assert one != two and one != "a state"


def test_a_reopened_step_was_told_again_to_nobody() -> None:
    """Lost: after `resume` a retry loop is told a failure that is not the latest."""
    told = [event(Kind.STEP_REPEATED, PAY, facts={"own": own}) for own in (True, True, False)]
    failed = [started(), event(Kind.STEP_INTENDED, PAY), event(Kind.STEP_FAILED, PAY, facts={"kind": "permanent"})]
    state = fold([*failed, *told])
    assert state.slots[PAY].repeats == (1, 2)
    state.apply(event(Kind.RUN_ENDED, facts={"outcome": "failed", "cause": [list(PAY)]}))
    state.apply(event(Kind.RUN_RESUMED, facts={"why": "resume", "reopened": [list(PAY)]}))
    assert state.slots[PAY].repeats == (0, 0)


# --- orders ------------------------------------------------------------------------------------------------------

PAUSED = event(Kind.DECIDED, facts={"what": "pause", "choice": "paused", "because": "wrong price", "by": "ann"})
GOES_ON = event(Kind.RUN_RESUMED, facts={"why": "takeover"})


def test_a_pause_holds_over_takeovers_until_it_is_resumed() -> None:
    """Lost: the death of a worker lets a run go on that an operator holds."""
    state = fold([started(), PAUSED])
    assert (state.status, state.why) == (Status.RUNNING, "pausing") and state.head().why == "pausing"
    state = fold([started(), PAUSED, GOES_ON, event(Kind.RUN_SUSPENDED, facts={"why": "paused"})])
    assert state.paused == PAUSED and state.why == Why.PAUSED
    state.apply(event(Kind.RUN_RESUMED, facts={"why": "unpaused"}))
    assert state.paused is None and (state.status, state.why) == (Status.RUNNING, "")
    assert fold([started(), PAUSED, event(Kind.RUN_ENDED, facts={"outcome": "cancelled"})]).paused is None


def test_what_an_agent_decides_is_no_order() -> None:
    """Lost: an agent that calls a decision of its own "pause" holds its run for ever."""
    decided = event(Kind.DECIDED, PAY, facts={"what": "pause", "choice": "yes", "because": "said so"})
    assert fold([started(), decided]).paused is None
    config = event(Kind.DECIDED, facts={"what": "config", "choice": "abc", "because": "changed"})
    assert fold([started(config="old"), config]).config == "abc"
    assert fold([started(config="old")]).config == "old"


def test_caps_that_runs_share_are_not_those_of_the_desk() -> None:
    """Lost: the desk stops at a cap of the day, and no order is carried out any more."""
    shared = event(Kind.BUDGET_CHANGED, facts={"account": "day", "limits": [0, 0, 0, 0], "by": "ann"})
    assert fold([started(), shared]).limits == DEFAULT_LIMITS
