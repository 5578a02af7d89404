"""The end of a budget (R29): warned, landed, stopped, as pure decisions.

If these fail, an agent is cut off in the middle of a word, or talked into stopping long before its budget ends.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import landing
from holdfast.core.budget import Excess, Limits, first_excess
from holdfast.core.conduct import Conduct
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.landing import Turn
from holdfast.core.slot import Slot
from holdfast.core.state import State

AMOUNTS = st.integers(0, 10**6)
CHARGES = st.builds(Charge, st.integers(0, 50), st.integers(0, 50), AMOUNTS, AMOUNTS)
CAPS = st.none() | AMOUNTS
LIMITS = st.builds(Limits, st.none() | st.integers(0, 50), st.none() | st.integers(0, 50), CAPS, CAPS)
CALL = Turn(Charge(model_calls=1, tokens=1_000), Charge(model_calls=1, tokens=300), NOTHING)


# --- warnings ------------------------------------------------------------------------------------------------------


def test_each_part_is_warned_of_once_and_anew_under_another_cap() -> None:
    """Lost: the warning, or a warning with each step."""
    limits = Limits(tool_calls=10, tokens=1_000)
    assert landing.due_warnings(limits, Charge(tool_calls=7, tokens=799), {}) == []
    due = landing.due_warnings(limits, Charge(tool_calls=8, tokens=800), {})
    assert due == [Excess("tool_calls", 10, 8, 0), Excess("tokens", 1_000, 800, 0)]
    assert landing.due_warnings(limits, Charge(tool_calls=9, tokens=900), {"tool_calls": 10, "tokens": 1_000}) == []
    assert landing.due_warnings(limits, Charge(tool_calls=9), {"tool_calls": 5}) == [Excess("tool_calls", 10, 9, 0)]


def test_a_cap_of_nothing_and_no_cap_are_not_warned_of() -> None:
    """Lost: silence where there is nothing to say."""
    assert landing.due_warnings(Limits(tool_calls=0), NOTHING, {}) == []
    assert landing.due_warnings(Limits(), Charge(9, 9, 9, 9), {}) == []


def test_only_what_models_use_slows_them_down() -> None:
    """Lost: speed, where tool calls alone come to an end; and the brake after a raise."""
    limits = Limits(tool_calls=10, tokens=1_000)
    assert landing.slows(limits, {"tool_calls": 10}) == ""
    assert landing.slows(limits, {"tokens": 1_000}) == "tokens"
    assert landing.slows(limits, {"tokens": 500}) == "", "it was warned under another cap"


# --- the last turn -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "used", "turn", "expected"),
    [
        (Limits(tokens=2_000), Charge(tokens=600), CALL, ""),
        (Limits(tokens=2_000), Charge(tokens=700), CALL, ""),
        (Limits(tokens=2_000), Charge(tokens=701), CALL, "1299 tokens left"),
        (Limits(tokens=2_000), Charge(tokens=1_000), CALL, "1000 tokens left"),
        (Limits(tokens=2_000), Charge(tokens=1_001), CALL, ""),
        (Limits(model_calls=5), Charge(model_calls=3), CALL, ""),
        (Limits(model_calls=5), Charge(model_calls=4), CALL, "1 model calls left"),
        (Limits(model_calls=5), Charge(model_calls=5), CALL, ""),
        (Limits(tool_calls=5), Charge(tool_calls=4), CALL, ""),
        (Limits(tool_calls=5), Charge(tool_calls=5), CALL, "all 5 tool calls are used"),
        (Limits(tool_calls=5), Charge(tool_calls=5), None, ""),
        (Limits(tool_calls=5, model_calls=2), Charge(tool_calls=5, model_calls=2), CALL, ""),
        (Limits(), Charge(9, 9, 9, 9), CALL, ""),
    ],
)
def test_the_last_turn(limits: Limits, used: Charge, turn: Turn | None, expected: str) -> None:
    """Lost: the turn in which an agent writes what is left: it fits, the one after it would not."""
    assert landing.last_turn(limits, used, turn) == expected


def test_prompts_grow() -> None:
    """Lost: the turn, to a prompt that is longer than the last one was."""
    steady = Turn(Charge(tokens=1_000), Charge(tokens=300), NOTHING)
    growing = steady._replace(growth=Charge(tokens=200))
    limits, used = Limits(tokens=3_000), Charge(tokens=1_200)
    assert landing.last_turn(limits, used, steady) == ""
    assert landing.last_turn(limits, used, growing) == "1800 tokens left"


@given(LIMITS, CHARGES, CHARGES, CHARGES)
def test_a_last_turn_fits(limits: Limits, used: Charge, worst: Charge, spent: Charge) -> None:
    """Lost: the promise of it; an agent would be told of a turn that is never sent."""
    turn = Turn(worst._replace(tool_calls=0), spent._replace(tool_calls=0), NOTHING)
    if landing.last_turn(limits, used, turn):
        assert first_excess(limits, used, turn.worst) is None


@given(LIMITS, CHARGES, CHARGES)
def test_no_run_passes_its_end_without_a_last_turn(limits: Limits, worst: Charge, spent: Charge) -> None:
    """Lost: the landing, in a run whose calls are all alike: some turn before the one that does not fit is its last."""
    limits, worst = limits._replace(tool_calls=None), worst._replace(tool_calls=0, model_calls=1)
    spent = Charge(0, 1, min(spent.tokens, worst.tokens), min(spent.usd_nano, worst.usd_nano))
    turn, used = Turn(worst, spent, NOTHING), spent
    for _ in range(200):
        if first_excess(limits, used, worst) is not None:
            return
        is_told = bool(landing.last_turn(limits, used, turn))
        used = used.plus(spent)
        assert is_told == (first_excess(limits, used, worst) is not None)


def _slot(reserved: int, used: int) -> Slot:
    slot = Slot(Address("", "m", str(reserved), 0), StepKind.MODEL, Effect.READ)
    slot.intent = Event(Kind.STEP_INTENDED, 1.0, charge=Charge(tokens=reserved))
    slot.outcome = Event(Kind.STEP_SUCCEEDED, 1.0, charge=Charge(tokens=used))
    return slot


def test_a_turn_is_what_the_latest_was() -> None:
    """Lost: the measure that the last turn is found by."""
    assert landing.turn_of([]) is None
    assert landing.turn_of([_slot(100, 30)]) == Turn(Charge(tokens=100), Charge(tokens=30), NOTHING)
    assert landing.turn_of([_slot(100, 30), _slot(140, 50)]) == Turn(
        Charge(tokens=140), Charge(tokens=50), Charge(tokens=40)
    )
    assert landing.turn_of([_slot(140, 50), _slot(100, 30)]).growth == NOTHING  # type: ignore[union-attr]


# --- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "how", "expected"),
    [
        (CALL, {"refused": 0, "is_heard": False}, "tell"),
        (CALL, {"refused": 15, "is_heard": False}, "tell"),
        (CALL, {"refused": 16, "is_heard": False}, "stop"),
        (CALL, {"refused": 1, "is_heard": True}, "stop"),
        (None, {"refused": 0, "is_heard": False}, "stop"),
        (CALL._replace(worst=Charge(tokens=99_999)), {"refused": 0, "is_heard": False}, "stop"),
    ],
)
def test_a_tool_call_that_does_not_fit(turn: Turn | None, how: dict[str, Any], expected: str) -> None:
    """Lost: the model's last word; or the bound on an agent that asks for more and more."""
    limits = Limits(tool_calls=5, tokens=10_000)
    assert landing.unfit_tool(limits, Charge(tool_calls=5, tokens=5_000), turn, **how) == expected


# --- what the log says of it ---------------------------------------------------------------------------------------

TOOL, MODEL = StepKind.TOOL, StepKind.MODEL


def outcome(name: str, step: StepKind, kind: Kind = Kind.STEP_SUCCEEDED, **facts: Any) -> Event:
    """A step's outcome."""
    return Event(kind, 1.0, Address("", name, "d", 0), step, Effect.READ, 1, 1, meta=meta(**facts))


def warned(name: str = "m", step: StepKind | None = None, **facts: Any) -> Event:
    """A warning, with that step's outcome."""
    known = {"name": "tokens", "limit": 1_000, "spent": 850, "share": 80}
    return Event(Kind.BUDGET_WARNED, 1.0, Address("", name, "d", 0), step, meta=meta(**known | facts))


def test_a_warning_after_a_model_call_is_told_with_the_next_tool() -> None:
    """Lost: the warning: nobody can tell a model anything beside its own answer."""
    state = State()
    for event in (outcome("m", MODEL), warned(), outcome("n", StepKind.NOTE), outcome("t", TOOL), outcome("u", TOOL)):
        state.apply(event)
    told = state.conduct.remarks
    assert list(told) == [Address("", "t", "d", 0)]
    assert told[Address("", "t", "d", 0)] == ("850 tokens of 1000 tokens of this run are used. Come to an end.",)


def test_what_is_due_with_a_tool_is_told_with_it() -> None:
    """Lost: one turn, in which the model does not know."""
    state = State()
    decided = meta(what="landing", choice="last turn", because="1 model calls left")
    at = Address("", "t", "d", 0)
    for event in (
        outcome("t", TOOL),
        warned("t", TOOL),
        Event(Kind.DECIDED, 1.0, at, TOOL, meta=decided),
        outcome("u", TOOL),
    ):
        state.apply(event)
    assert [len(texts) for texts in state.conduct.remarks.values()] == [2]
    assert "last turn" in state.conduct.remarks[at][1] and state.conduct.landing_no == 3


def test_an_overshoot_of_an_older_record_tells_nothing() -> None:
    """Lost: the replay of runs that were recorded before there were remarks."""
    state = State()
    for event in (outcome("m", MODEL), warned(share=None, overshoot=50), outcome("t", TOOL)):
        state.apply(event)
    assert state.conduct == Conduct(over={"tokens": 850})


def test_a_raise_takes_the_landing_back() -> None:
    """Lost: the run after `resume --raise`: it would be stopped at its first refusal."""
    state = State()
    refused = outcome("t", TOOL, Kind.STEP_FAILED, code=landing.REFUSED_CODE, error="BudgetExceeded")
    for event in (
        Event(Kind.DECIDED, 1.0, meta=meta(what="landing", choice="last turn", because="x")),
        refused,
        Event(Kind.DECIDED, 1.0, meta=meta(what="throttle", choice="slow", because="x")),
    ):
        state.apply(event)
    conduct = state.conduct
    assert (conduct.landing_no, conduct.refused, conduct.refused_no, conduct.is_slowed) == (1, 1, 2, True)
    state.apply(Event(Kind.BUDGET_CHANGED, 1.0, meta=meta(limits=[9, 9, 9, 9])))
    assert (conduct.landing_no, conduct.refused, conduct.refused_no, conduct.is_slowed) == (0, 0, 0, False)


def test_an_agents_own_decision_of_the_same_name_is_none_of_ours() -> None:
    """Lost: the machine, to an agent that calls a decision of its own "landing"."""
    state = State()
    at = Address("", "landing", "decision", 0)
    for what in ("landing", "stuck", "throttle"):
        facts = meta(what=what, choice="tell", because="x")
        state.apply(Event(Kind.DECIDED, 1.0, at, StepKind.DECISION, Effect.READ, meta=facts))
    assert state.conduct == Conduct()


# --- the fence -----------------------------------------------------------------------------------------------------


def test_what_can_be_undone_keeps_its_share_until_it_is_undone_or_was_not_done() -> None:
    """Lost: the money to clean up with."""
    state, pay = State(), Address("", "pay", "d", 0)
    state.apply(Event(Kind.STEP_INTENDED, 1.0, pay, TOOL, Effect.ONCE, 1, 1, meta=meta(undo="refund")))
    assert state.conduct.fenced == Charge(tool_calls=1), "it may have happened"
    failed = Event(Kind.STEP_FAILED, 1.0, pay, TOOL, Effect.ONCE, 1, 1, meta=meta(error="E", text="t"))
    state.apply(failed)
    assert state.conduct.fenced == NOTHING
    again = pay._replace(n=1)
    state.apply(Event(Kind.STEP_INTENDED, 1.0, again, TOOL, Effect.ONCE, 1, 1, meta=meta(undo="refund")))
    state.apply(Event(Kind.STEP_SUCCEEDED, 1.0, again, TOOL, Effect.ONCE, 1, 1))
    assert state.conduct.fenced == Charge(tool_calls=1)
    undo = Address("", "undo pay", "d", 0)
    facts = meta(undoes=list(again))
    state.apply(Event(Kind.STEP_INTENDED, 1.0, undo, TOOL, Effect.ONCE, 1, 1, meta=facts))
    assert state.conduct.fenced == Charge(tool_calls=1)
    state.apply(Event(Kind.STEP_SUCCEEDED, 1.0, undo, TOOL, Effect.ONCE, 1, 1))
    assert state.conduct.fenced == NOTHING
