"""The hand-over of a stopped run (R29). If these fail, somebody finds a stopped run and has to read its log."""

from __future__ import annotations

from typing import Any

from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.handover import LINES_MAX, TEXT_MAX, answer_of, handover, reason
from holdfast.core.state import State

TOOL, MODEL = StepKind.TOOL, StepKind.MODEL


def add(state: State, kind: Kind, name: str = "", n: int = 0, **more: Any) -> None:
    """One more event about this step."""
    address = Address("", name, "d", n) if name else None
    step = more.pop("step", TOOL) if name else None
    effect = more.pop("effect", Effect.ONCE) if name else None
    state.apply(Event(kind, 1.0, address, step, effect, 1, 1, meta=meta(**more)))


def a_run() -> State:
    """A run of everything."""
    state = State()
    for n in range(3):
        add(state, Kind.STEP_SUCCEEDED, "find", n)
    add(state, Kind.STEP_FAILED, "send", error="ValueError", text="no\x1b[31m such\n address")
    add(state, Kind.STEP_INTENDED, "pay")
    add(state, Kind.QUESTION_ASKED, "ask", step=StepKind.QUESTION, id="q", about="ask", text="Send it?")
    add(state, Kind.DECIDED, what="stuck", choice="tell", because="it was seen", loop="l", reason="cycle")
    add(state, Kind.NOTE_WRITTEN, "note", step=StepKind.NOTE, text="half of it is done")
    return state


def test_it_says_all_that_one_needs_to_go_on() -> None:
    """Lost: a line of it."""
    text = handover(a_run(), "budget: tokens.", "holdfast resume r --raise tokens=+5")
    assert text.splitlines() == [
        "Stopped: budget: tokens.",
        "Done: find ×3",
        "Failed: send: ValueError: no\x1b[31m such address",
        "In doubt: pay",
        "Asked, and not answered: Send it?",
        "Decided: stuck: tell, because it was seen",
        "Noted: half of it is done",
        "Go on: holdfast resume r --raise tokens=+5",
    ]


def test_what_is_alike_is_told_once_with_how_often() -> None:
    """Lost: the one other failure, behind a hundred refusals of a breaker."""
    state = State()
    add(state, Kind.STEP_FAILED, "send", 0, error="KeyError", text="no address")
    for n in range(50):
        add(state, Kind.STEP_FAILED, "look", n, error="BreakerOpen", text="it is down")
        add(state, Kind.DECIDED, what="breaker", choice="refused", because="it is down")
    lines = handover(state, "s", "h").splitlines()
    assert "Failed: send: KeyError: no address; look ×50: BreakerOpen: it is down" in lines
    assert "Decided: breaker: refused, because it is down (×50)" in lines


def test_an_empty_run_has_a_short_one() -> None:
    """Lost: the reader's time."""
    assert handover(State(), "by ann", "holdfast resume r") == "Stopped: by ann\nGo on: holdfast resume r"


def test_it_is_bounded() -> None:
    """Lost: the row that it is written into, to a run of thousands of failures with long texts."""
    state = State()
    for n in range(500):
        add(state, Kind.STEP_FAILED, "send", n, error="E", text=f"{n} " + "x" * 10_000)
    text = handover(state, "w", "h")
    assert len(text) < (LINES_MAX + 3) * (TEXT_MAX + 40)
    assert "… 490 before" in text and "499" in text


def test_the_last_answer_is_named() -> None:
    """Lost: where the agent wrote what is left."""
    state = State()
    add(state, Kind.STEP_SUCCEEDED, "anthropic", 0, step=MODEL)
    assert answer_of(state) is None, "no landing"
    add(state, Kind.DECIDED, what="landing", choice="last turn", because="x")
    assert answer_of(state) is None, "it had not been told"
    add(state, Kind.STEP_SUCCEEDED, "anthropic", 1, step=MODEL)
    found = answer_of(state)
    assert found is not None and found.address.n == 1
    assert "Last words: the answer of anthropic#1." in handover(state, "w", "h")


def test_the_reason_of_an_end() -> None:
    """Lost: what a program tells one stop from another by."""
    assert reason({"limit": "usd_nano"}) == "budget: usd"
    assert reason({"stuck": "cycle"}) == "stuck: cycle"
    assert reason({"gate": "tests"}) == "gate: tests"
    assert reason({"by": "ann"}) == ""
