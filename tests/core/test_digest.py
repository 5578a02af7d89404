"""What a session's record says in 4 KB. If these fail, the next session does again what this one has found out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.digest import BYTES_MAX, ROWS_MAX, digest_of
from holdfast.core.events import Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.state import State


def add(state: State, kind: Kind, name: str = "", n: int = 0, body: bytes | None = None, **more: Any) -> None:
    """One more event about this step."""
    address = Address("", name, "d", n) if name else None
    step = more.pop("step", StepKind.TOOL) if name else None
    effect = more.pop("effect", Effect.ONCE) if name else None
    charge = more.pop("charge", Charge())
    state.apply(Event(kind, 1.0, address, step, effect, 1, 1, charge, meta(**more), body))


def a_run() -> State:
    """A run of everything."""
    state = State()
    add(state, Kind.STEP_SUCCEEDED, "find", effect=Effect.READ, charge=Charge(1, 2, 30, 1_500_000_000))
    add(
        state,
        Kind.STEP_FAILED,
        "build",
        effect=Effect.READ,
        error="Exit",
        text="code 2\nmake: no rule",
        is_definite=True,
    )
    add(state, Kind.STEP_FAILED, "send", error="Timeout", text="no answer", is_definite=False)
    add(state, Kind.STEP_INTENDED, "pay", body=b'["K-17",4200]')
    add(state, Kind.STEP_INTENDED, "look", effect=Effect.READ)
    add(state, Kind.QUESTION_ASKED, "ask", step=StepKind.QUESTION, id="q", about="ask", text="Send it?")
    add(state, Kind.DECIDED, "store", step=StepKind.DECISION, what="store", choice="sqlite", because="one file")
    add(state, Kind.DECIDED, what="rung", choice="cached", because="it is down")
    add(state, Kind.NOTE_WRITTEN, "note", step=StepKind.NOTE, text="half of it is done")
    return state


def test_it_says_what_the_next_one_needs() -> None:
    """Lost: a line of it."""
    assert digest_of(a_run()) == {
        "status": "ready",
        "in_doubt": [["send"]],
        "under_way": [['pay ["K-17",4200]']],
        "failed": [["build", "Exit: code 2 make: no rule"]],
        "asked": [["Send it?"]],
        "decided": [["store", "sqlite", "one file"]],
        "ruled": [["rung", "cached", "it is down"]],
        "notes": [["half of it is done"]],
        "spent": {"tool_calls": 1, "model_calls": 2, "tokens": 30, "usd": 1.5},
    }


def test_what_ended_it_is_said() -> None:
    """The next session would meet the same error unwarned."""
    state = a_run()
    add(state, Kind.RUN_ENDED, outcome="failed", why="KeyError: 'x'", failure={"error": "KeyError", "text": "'x'"})
    found = digest_of(state)
    assert (found["status"], found["why"], found["failure"]) == ("failed", "KeyError: 'x'", "KeyError: 'x'")
    assert "asked" not in found


@pytest.mark.parametrize("kind", [Kind.STEP_SUCCEEDED, Kind.STEP_FAILED])
def test_an_effect_with_a_certain_outcome_is_in_no_doubt(kind: Kind) -> None:
    """People would look after each payment that went well."""
    state = State()
    add(state, Kind.STEP_INTENDED, "pay")
    assert digest_of(state)["under_way"] == [["pay"]]
    add(state, kind, "pay", is_definite=True)
    assert not {"in_doubt", "under_way"} & digest_of(state).keys()


def test_an_attempt_that_failed_without_anybody_knowing_is_in_doubt() -> None:
    """While its process lives it would be taken for work that goes on."""
    state = State()
    add(state, Kind.STEP_INTENDED, "pay")
    add(state, Kind.ATTEMPT_FAILED, "pay", error="Timeout", text="no answer", is_definite=False)
    assert digest_of(state)["in_doubt"] == [["pay"]]


def test_the_newest_are_kept_and_the_others_counted() -> None:
    """The last decision would give way to the first."""
    state = State()
    for number in range(ROWS_MAX + 5):
        add(state, Kind.DECIDED, f"d{number}", step=StepKind.DECISION, what="w", choice=str(number), because="b")
    found = digest_of(state)
    assert [row[1] for row in found["decided"]] == [str(number) for number in range(ROWS_MAX + 4, 4, -1)]
    assert found["left"] == {"decided": 5}


def test_what_is_alike_is_told_once_with_how_often() -> None:
    """Fifty refusals of a breaker would hide the one failure that matters."""
    state = State()
    add(state, Kind.STEP_FAILED, "build", effect=Effect.READ, error="Exit", text="2")
    for _ in range(50):
        add(state, Kind.DECIDED, what="breaker", choice="refused", because="it is down")
    assert digest_of(state)["ruled"] == [["breaker", "refused", "it is down (×50)"]]


TEXTS = st.text(max_size=400)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), TEXTS), max_size=60), TEXTS)
def test_it_is_never_more_than_4_kb(told: list[tuple[int, str]], why: str) -> None:
    """The end of a session would be refused, and the session stay open for ever."""
    state = State()
    for number, (kind, text) in enumerate(told):
        match kind:
            case 0:
                add(state, Kind.STEP_INTENDED, text[:50] or "x", number, body=text.encode("utf-8", "replace"))
            case 1:
                add(state, Kind.STEP_FAILED, text[:50] or "x", number, error="E", text=text, is_definite=False)
            case 2:
                add(state, Kind.NOTE_WRITTEN, "note", number, step=StepKind.NOTE, text=text)
            case 3:
                add(state, Kind.DECIDED, "d", number, step=StepKind.DECISION, what=text, choice=text, because=text)
            case _:
                add(state, Kind.DECIDED, what=text, choice=text, because=text)
    add(state, Kind.RUN_ENDED, outcome="failed", why=why, failure={"error": why, "text": why})
    found = digest_of(state)
    assert len(meta(**found).encode()) <= BYTES_MAX
    assert json.loads(json.dumps(found)) == found


def test_an_effect_in_doubt_is_the_last_to_go() -> None:
    """It would be left out for notes."""
    state = State()
    for number in range(9):
        long = f"{number}" + "x" * 400
        add(state, Kind.STEP_INTENDED, "pay", number, body=long.encode())
        add(state, Kind.NOTE_WRITTEN, "note", number, step=StepKind.NOTE, text=long)
        add(state, Kind.DECIDED, "d", number, step=StepKind.DECISION, what=long, choice=long, because=long)
    found = digest_of(state)
    assert len(found["under_way"]) == 9 and "notes" not in found
    assert found["left"]["notes"] == 9
