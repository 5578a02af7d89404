"""The events' own words: canonical meta, exact charges.

If these fail, equal facts are different bytes, and the chain and every comparison of logs breaks.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta

JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FACTS = st.dictionaries(st.text(st.characters(categories=["Ll"]), min_size=1), st.none() | JSON, max_size=5)


@given(FACTS)
def test_law_meta_is_canonical_and_read_back(facts: dict[str, object]) -> None:
    """Lost: the same facts in another order are other bytes; or a fact is lost on the way."""
    text = meta(**facts)
    assert text == meta(**dict(reversed(facts.items())))
    kept = {name: value for name, value in facts.items() if value is not None}
    assert Event(Kind.NOTE_WRITTEN, 0.0, meta=text).facts == kept
    assert "\n" not in text and (text == "") == (not kept)


def test_meta_keeps_what_is_false_but_known() -> None:
    """Lost: is_definite=False, which is the difference between "no" and "unknown"."""
    assert json.loads(meta(a=False, b=0, c="", d=None, e=[])) == {"a": False, "b": 0, "c": "", "e": []}


def test_meta_writes_text_as_it_is() -> None:
    """Lost: a log that a person reads with the plainest tool."""
    assert meta(text="für 5 €") == '{"text":"für 5 €"}'


@pytest.mark.parametrize(
    ("effect", "is_write", "strength"), [("read", False, 0), ("idempotent", True, 1), ("once", True, 2)]
)
def test_effects(effect: str, is_write: bool, strength: int) -> None:
    """Lost: an effect without an intent, or a stronger one hidden in a weaker step."""
    assert (Effect(effect).is_write, Effect(effect).strength) == (is_write, strength)


def test_names_in_the_log_never_change() -> None:
    """Lost: journals of earlier versions cannot be read."""
    assert [str(kind) for kind in Kind] == [
        "RunStarted", "RunResumed", "StepIntended", "StepSucceeded", "StepFailed", "StepStreamed", "StepAbandoned",
        "StepRepeated", "AttemptFailed", "QuestionAsked", "QuestionClosed", "BudgetChanged", "BudgetWarned",
        "Decided", "SignalReceived", "NoteWritten", "DriftFound", "RunSuspended", "RunEnded",
    ]  # fmt: skip
    assert {str(step) for step in StepKind} >= {"tool", "model", "question", "sleep", "verify"}
    assert Charge._fields == ("tool_calls", "model_calls", "tokens", "usd_nano")
    assert Address._fields == ("scope", "name", "digest", "n")


def test_an_event_without_facts_has_none() -> None:
    """Lost: the smallest event cannot be read."""
    event = Event(Kind.RUN_ENDED, 1.0)
    assert event.facts == {} and event.charge == NOTHING == Charge(0, 0, 0, 0)
