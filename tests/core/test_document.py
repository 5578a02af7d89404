"""What is kept of a run to be found again: off its log, bounded, and without secrets.

If these fail, a run is not found by what it did, or its document shows what nobody should read.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.credential import HIDDEN
from holdfast.core.document import PIECE_MAX, TEXT_MAX, Document, document, found, value_text
from holdfast.core.events import Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Head, Status
from holdfast.core.query import read
from holdfast.core.retention import tombstone
from holdfast.core.state import fold


def step(kind: Kind, name: str, at: float = 2.0, body: bytes | None = None, **facts: Any) -> Event:
    address = Address("", name, "d", 0)
    return Event(kind, at, address, StepKind.TOOL, Effect.READ, 1, 1, Charge(1), meta(**facts), body)


def log(*events: Event, given: Any = "the input", outcome: str = "failed", result: Any = None) -> list[Event]:
    facts = meta(run="r1", key="ticket-1", agent="support", input_digest="d", seed="s")
    failure = {"error": "Boom", "text": "it went off"} if outcome == "failed" else None
    end = meta(outcome=outcome, why="Boom: it went off" if failure else None, failure=failure)
    body = None if result is None else json.dumps(result).encode()
    begun = Event(Kind.RUN_STARTED, 1.0, meta=facts, body=json.dumps(given).encode())
    return [begun, *events, Event(Kind.RUN_ENDED, 9.0, meta=end, body=body)]


def made(events: list[Event]) -> Document:
    return document(fold(events).head(), events, "m")


def test_what_a_person_would_look_for_is_in_it() -> None:
    """Lost: a run that is not found by what it did."""
    question = meta(id="q", about="ask", text="Really refund?", why="the agent thinks so")
    events = log(
        step(Kind.ATTEMPT_FAILED, "charge", error="TimeoutError", text="no answer", because="attempts are left"),
        step(Kind.STEP_FAILED, "charge", error="ToolFailed", text="gone for good"),
        step(Kind.STEP_SUCCEEDED, "look", body=b'"unseen"'),
        Event(Kind.NOTE_WRITTEN, 3.0, Address("", "note", "d", 0), StepKind.NOTE, meta=meta(text="noted down")),
        Event(Kind.DECIDED, 3.0, meta=meta(what="route", choice="by sea", because="cheaper")),
        Event(Kind.QUESTION_ASKED, 4.0, Address("", "ask", "", 0), StepKind.QUESTION, Effect.READ, meta=question),
        Event(
            Kind.QUESTION_CLOSED,
            5.0,
            Address("", "ask", "", 0),
            StepKind.QUESTION,
            meta=meta(id="q", outcome="answered", by="ada"),
            body=b'"only half"',
        ),
        given={"customer": "ACME", "cents": 4200},
        result=["all", {"refunded": True}],
    )
    kept = made(events)
    assert (kept.run_id, kept.key, kept.agent, kept.outcome, kept.mark) == ("r1", "ticket-1", "support", "failed", "m")
    assert kept.tools == ("charge", "look") and kept.errors == ("TimeoutError", "ToolFailed", "Boom")
    assert kept.spent == fold(events).spent and (kept.created_at, kept.updated_at) == (1.0, 9.0)
    for told in (
        "customer: ACME, cents: 4200",
        "all, refunded: true",
        "charge: TimeoutError: no answer because attempts are left",
        "charge: ToolFailed: gone for good",
        "noted down",
        "route: by sea because cheaper",
        "Really refund? the agent thinks so",
        "by ada",
        "only half",
        "Boom: it went off",
    ):
        assert told in kept.text, told
    assert "unseen" not in kept.text, "results of steps are not in it"


def test_secrets_are_hidden_wherever_they_stand() -> None:
    """Lost: a key that stood in the input of a run, shown to everybody who searches, and to models."""
    key = "sk-" + "a1B2" * 10
    given = {"password": "swordfish", "nested": {"api_key": {"value": "tiny"}}, "text": f"use {key}"}
    kept = made(
        log(
            step(Kind.STEP_FAILED, "charge", error="E", text=f"refused {key}"),
            Event(Kind.NOTE_WRITTEN, 3.0, Address("", "note", "d", 0), StepKind.NOTE, meta=meta(text=f"key {key}")),
            Event(Kind.DECIDED, 3.0, meta=meta(what="w", choice=key, because="password=opensesame1")),
            given=given,
            result={"token": "abc"},
        )
    )
    for secret in (key, "swordfish", "tiny", "opensesame1", "abc"):
        assert secret not in kept.text and secret not in kept.why
    assert kept.text.count(HIDDEN) >= 7


def test_it_is_bounded() -> None:
    """Lost: one run with a large value, or ten thousand notes, that takes the place of all others."""
    notes = [
        Event(Kind.NOTE_WRITTEN, 3.0, Address("", "note", str(n), 0), StepKind.NOTE, meta=meta(text=f"{n} " * 400))
        for n in range(500)
    ]
    kept = made(log(*notes, given="x" * 10**6, result={"deep": ["y" * 10**5] * 20}))
    assert len(kept.text) <= TEXT_MAX and max(map(len, kept.text.split("\n"))) <= PIECE_MAX
    assert "499" not in kept.text, "the first ones are kept"


def test_values_as_text() -> None:
    """Lost: brackets and tags of the codec as words, or a user's names that are taken for such tags."""
    assert value_text(b'{"a":{"$decimal":"1.5"},"$$b":[1,null,"",true]}') == "a: 1.5, $b: 1, $b: true"
    assert value_text(b"not json") == "not json" and value_text(None) == "" == value_text(b"")
    assert value_text(b"[" * 5_000 + b'"deep"' + b"]" * 5_000).strip("[]").strip('"') == "deep", "nested however deeply"
    assert len(value_text(b'"' + b"z" * 10**6 + b'"')) == PIECE_MAX


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_value_stops_it(body: bytes) -> None:
    """Lost: all searches of a store, for one odd value in it."""
    text = value_text(body)
    assert "\0" not in text
    text.encode()


def test_a_run_that_nobody_has_begun_is_found_by_its_input() -> None:
    """Lost: what waits in the queue."""
    head = Head("r1", "ticket-1", "support", "d", Status.READY, 1.0, 2.0)
    kept = document(head, [], "m", b'"ticket 4711"')
    assert (kept.outcome, kept.text, kept.created_at) == ("ready", "ticket 4711", 1.0)


def test_of_a_forgotten_run_nothing_is_kept() -> None:
    """Lost: retention, which forgets the run and leaves its text in the index."""
    left = tombstone(log(given="Reykjavik"), 20.0)
    kept = document(left.head, left.events, "m2")
    assert kept == Document("r1", "m2", is_forgotten=True)


def test_what_is_told_of_it() -> None:
    """Lost: what command, code and tool show."""
    kept = made(log(given="the refund was lost"))
    told = found(kept, read("refund", {}, 0.0))
    assert (told.run_id, told.outcome, told.why) == ("r1", "failed", "Boom: it went off")
    assert [told.snippet[begin:end] for begin, end in told.marks] == ["refund"]
