"""A run's head as the store keeps it.

If these fail, what the store looks up differs from what the log says.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Charge
from holdfast.core.heads import BLOCKED, Head, OpenQuestion, Status, Why

TIMES = st.floats(0, 1e11)
COUNTS = st.integers(0, 10**15)
QUESTIONS = st.builds(
    OpenQuestion,
    st.text(),
    st.text(),
    st.text(),
    st.lists(st.text()).map(tuple),
    st.text(),
    TIMES,
    st.none() | TIMES,
)
HEADS = st.builds(
    Head,
    st.text(),
    st.text(),
    st.text(),
    st.text(),
    st.sampled_from(list(Status)),
    TIMES,
    TIMES,
    st.text() | st.sampled_from(list(Why)),
    st.none() | TIMES,
    st.builds(Charge, COUNTS, COUNTS, COUNTS, COUNTS),
    st.builds(Charge, COUNTS, COUNTS, COUNTS, COUNTS),
    st.lists(QUESTIONS, max_size=3).map(tuple),
)


@given(HEADS)
def test_law_a_head_survives_json(head: Head) -> None:
    """Lost: a question, a charge or a time between two claims of a run."""
    back = Head.from_facts(json.loads(json.dumps(head.facts())))
    assert back == head
    assert isinstance(back.status, Status) and isinstance(back.spent, Charge) and isinstance(back.questions, tuple)


def test_names_of_a_newer_holdfast_are_ignored() -> None:
    """Lost: an older worker cannot read heads beside a newer one; also those of questions."""
    head = Head("r", "k", "a", "d", Status.READY, 1.0, 2.0, questions=(OpenQuestion("q", "ask", "?", ("y",)),))
    facts = head.facts() | {"colour": "red"}
    facts["questions"] = [dict(question, weight=3) for question in facts["questions"]]
    assert Head.from_facts(facts) == head


def test_what_an_older_holdfast_did_not_write_has_a_default() -> None:
    """Lost: heads of an earlier version cannot be read."""
    needed = {
        "run_id": "r", "key": "k", "agent": "a", "input_digest": "d",
        "status": "ready", "created_at": 1.0, "updated_at": 1.0,
    }  # fmt: skip
    head = Head.from_facts(needed)
    assert (head.wake_at, head.questions, head.spent) == (None, (), Charge())


@pytest.mark.parametrize("status", list(Status))
def test_ends(status: Status) -> None:
    """Lost: a run that ended is claimed, or one that waits is reported as over."""
    assert status.is_end is (str(status) in {"succeeded", "failed", "stopped", "cancelled"})


def test_blocked_needs_a_person() -> None:
    """Lost: exit code 8 and the inbox tell different runs."""
    assert {Why.IN_DOUBT, Why.DRIFT, Why.HOLD, Why.HISTORY_GREW} == BLOCKED
