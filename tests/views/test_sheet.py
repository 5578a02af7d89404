"""One question as it is laid before a person. Each test says what they would decide without knowing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.views.asking import Item
from holdfast.views.sheet import WORDS, Sheet, became, earlier, sheet
from holdfast.views.values import LINES, LONG

EVIL = "EVIL\u202e\x1b[2K"
ITEM = Item(
    run="run_1",
    key="k",
    agent="payer",
    id="q_1",
    about="approve",
    text="May pay be called with these arguments?",
    options=("approve", "decline"),
    to="finance",
    asked_at=0.0,
    expires_at=1_800.0,
    is_urgent=False,
    digest="d",
    default="decline",
    tool="pay",
    arguments={"cents": 4200, "what": "K-17"},
)


def of(**facts: Any) -> Sheet:
    """The sheet of such a question, a second after it was asked."""
    return sheet(replace(ITEM, **facts), 1.0)


def test_an_approval_says_what_would_be_done_and_what_happens_otherwise() -> None:
    """Lost: the facts of the decision."""
    shown = of()
    assert shown.title == "May pay be called with these arguments?"
    ((tool, rows),) = [(call.tool, [(row.name, row.value) for row in call.rows]) for call in shown.calls]
    assert (tool, rows) == ("pay", [("cents", "4200"), ("what", "K-17")])
    assert shown.why == "This needs the approval of finance before it begins."
    assert shown.silence.startswith("At 1970-01-01 00:30:00Z, in 30 min, it is declined, nothing is done")
    assert shown.choices == (("approve", "Approve"), ("decline", "Decline")) and shown.says == ""


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"expires_at": None}, "It stays open"),
        ({"default": "stop"}, "the run is stopped, and nothing is done"),
        ({"expires_at": 0.5}, "Since 1970-01-01 00:00:00Z it is over: it is declined"),
        ({"about": "ask", "default": ""}, "the agent goes on with the default that it has declared"),
        ({"about": "failed", "default": "try_again"}, "this is taken: Try again"),
        ({"about": "failed", "default": ""}, "the agent goes on without an answer"),
    ],
)
def test_what_happens_if_nobody_answers(facts: dict[str, Any], said: str) -> None:
    """Lost: whether it is safe to go to lunch."""
    assert said in of(**facts).silence


def test_asked_again_says_why() -> None:
    """Lost: that somebody has approved it before, and what has changed since."""
    assert of(text=f"{ITEM.text} It is asked again: ada approved it at nine").why.endswith("ada approved it at nine")
    assert of(text=f"{ITEM.text} It is asked again: {EVIL}").title == ITEM.text


@pytest.mark.parametrize(
    "about", ["ask", "approve", "in_doubt", "failed", "stuck", "crash_loop", "budget", "mismatch", "later"]
)
def test_the_agents_words_reach_no_title_no_button_and_no_reason_of_ours(about: str) -> None:
    """Lost: a model that words the button which a person presses (S11)."""
    asked = of(about="ask", text=EVIL, options=(EVIL,), arguments={"shown": EVIL, EVIL: 1})
    assert "EVIL" not in asked.title + asked.why + asked.silence and asked.choices == () and asked.calls == ()
    assert "EVIL" in asked.says and any("EVIL" in row.value for row in asked.shows)
    other = of(about=about, options=tuple(WORDS))
    assert all(words in WORDS.values() for _, words in other.choices)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=3), child, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_all_of_the_arguments_is_shown_and_none_of_it_steers(arguments: dict[str, Any]) -> None:
    """Lost: a value that is cut, dropped, or drawn as something else than it is."""
    (call,) = of(arguments=arguments).calls
    assert len(call.rows) == len(arguments)
    for row, value in zip(call.rows, arguments.values(), strict=True):
        assert all(c.isprintable() for line in row.value.replace("\t", "").split("\n") for c in line)
        if not isinstance(value, str):
            assert json.loads(row.value) == value


@pytest.mark.parametrize("text", ["4200", "1e3", "true", "null", "nan", "-7.5"])
def test_a_text_that_reads_like_a_number_says_that_it_is_none(text: str) -> None:
    """Lost: the difference between 4200 and "4200", which a tool may take for something else."""
    (call,) = of(arguments={"a": text, "b": 4200}).calls
    assert [row.remarks for row in call.rows] == [("a text, not a number or a constant",), ()]


def test_long_values_are_marked_and_not_cut() -> None:
    """Lost: the end of a command, behind its beginning."""
    (call,) = of(arguments={"a": "x" * (LONG + 1), "b": "x\n" * (LINES + 1), "c": "x" * LONG}).calls
    assert [row.is_long for row in call.rows] == [True, True, False]
    assert of(arguments={"a": "x" * 9_999}).long_rows == 1


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"state": "answered", "choice": "approve"}, "Answered by ada at 1970-01-01 00:00:09Z (web): approve."),
        ({"state": "posted", "choice": ""}, "Answered by ada at 1970-01-01 00:00:09Z (web). Its run has yet to take"),
        ({"state": "expired", "choice": "decline"}, "Nobody answered in time; it ended at 1970-01-01 00:00:09Z. By d"),
        ({"state": "withdrawn"}, "Withdrawn at 1970-01-01 00:00:09Z: its run has ended."),
        ({"state": "undeliverable"}, "No channel could tell anybody of it; it ended at"),
    ],
)
def test_what_became_of_it(facts: dict[str, Any], said: str) -> None:
    """Lost: who has decided, so that the next person asks around."""
    assert became(replace(ITEM, by="ada", via="web", closed_at=9.0, **facts)).startswith(said)


def test_what_was_asked_before_is_what_came_before() -> None:
    """Lost: a second approval that looks like the first."""
    first, other = replace(ITEM, id="q_0", state="answered", by="ada"), replace(ITEM, id="q_2")
    assert [became[:15] for _, _, became in earlier([first, ITEM, other], ITEM)] == ["Answered by ada"]


@pytest.mark.parametrize("about", ["ask", "approve", "budget"])
def test_the_agents_reason_stands_with_its_words_and_nowhere_else(about: str) -> None:
    """Lost: an agent that words why it should be approved where our own facts stand (S11)."""
    shown = of(about=about, why=EVIL, text="Go on?")
    rest = [shown.title, shown.why, shown.silence, *(words for _, words in shown.choices)]
    assert "EVIL" in shown.says and not any("EVIL" in text for text in rest) and "\x1b" not in shown.says
    assert not any("EVIL" in row.value for call in shown.calls for row in call.rows)
