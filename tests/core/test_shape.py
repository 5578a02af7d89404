"""The form of a message's facts: what has another is refused at the door, before it is anybody's mail."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core import accept
from holdfast.core.accept import Message, MessageKind
from holdfast.core.events import meta
from holdfast.core.heads import Head, Status
from holdfast.core.shape import misshapen

RUNNING = Head("r", "r", "agent", "d1", Status.RUNNING, 1.0, 1.0, children=1)


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (MessageKind.START, {"agent": "a", "key": "k"}),
        (MessageKind.START, {"agent": "a", "key": "k", "input_digest": "d", "limits": [True]}),
        (MessageKind.START, {"agent": "a", "key": "k", "input_digest": "d", "limits": [1] * 40}),
        (MessageKind.ANSWER, {"choice": "yes"}),
        (MessageKind.ANSWER, {"question": "q", "choice": ["yes"]}),
        (MessageKind.CANCEL, {"fate": "buried"}),
        (MessageKind.CANCEL, {"fate": "running"}),
        (MessageKind.CANCEL, {"by": {"name": "ann"}}),
        (MessageKind.RESUME, {"raised": 4}),
        (MessageKind.RESUME, {"raised": []}),
        (MessageKind.RESUME, {"raised": [1, None, 1, 1]}),
        (MessageKind.CAP, {"caps": [1]}),
        (MessageKind.ENDED, {"child": "c"}),
        (MessageKind.ENDED, {"child": "c", "outcome": "paused"}),
    ],
)
def test_facts_of_another_form_are_refused(kind: MessageKind, facts: dict[str, Any]) -> None:
    """Lost: mail that is stored, and over which every process that takes the run stumbles, for ever."""
    posted = accept.accept(RUNNING, "r", Message(kind, meta(**facts)), 2.0)
    assert not posted.is_stored and "Nothing was stored" in posted.refused


@pytest.mark.parametrize("told", ["[1]", "nonsense", '"text"', "1", "null", "{"])
def test_what_is_no_table_is_refused(told: str) -> None:
    """Lost: the same, of a message that says nothing at all."""
    assert "can be read" in accept.accept(RUNNING, "r", Message(MessageKind.CANCEL, told), 2.0).refused


def test_what_holdfast_itself_says_is_of_its_form() -> None:
    """Lost: an order that the guard takes for a forgery."""
    for message in (
        accept.start(
            agent="a", key="k", input_digest="d", limits=[1, None, 3, 4, 1.5], body=b"", depth=1, accounts=["x"]
        ),
        accept.answer("q", choice=None, by="", body=None),
        accept.cancel(by="", why="", is_now=True, fate=Status.STOPPED),
        accept.ended("c", outcome=Status.FAILED, why="", limit=None, with_parent=True, body=None),
        accept.resume(by="ann", raised=[1, 0, 0, 0], is_unpause=True),
        accept.unwind(by="ann"),
        accept.pause(by="ann"),
        accept.cap({"tokens": None}, by="ann"),
        accept.signal("go", by="ann", body=None),
        accept.command("disable", "pay", by="ann"),
    ):
        assert misshapen(message.kind, message.facts) == ""
