"""What a run remembers of its requests is a cache: with it and without it every answer is the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.state import State
from holdfast.models import anthropic, openai_chat
from holdfast.models.call import Provider
from holdfast.models.conversation import Conversations, Turn, request_of

WORDS = st.sampled_from(["a", "é", "x" * 700, "y" * 700, "kept"])
HEADS: tuple[dict[str, Any], ...] = (
    {"model": "m", "max_tokens": 5},
    {"model": "m", "max_tokens": 5, "stream": True},
    {"model": "m", "max_tokens": 6, "system": "s" * 50},
    {"max_tokens": 5},  # the path says which model
)
APIS = (
    (anthropic, "/v1/messages"),
    (anthropic, "/model/anthropic.claude-x/invoke"),
    (anthropic, "/model/anthropic.claude-y/invoke"),
    (openai_chat, "/v1/chat/completions"),
)


def _raw(words: list[str], head: dict[str, Any]) -> bytes:
    messages = [{"role": "user", "content": word, **({"ttl": "1h"} if word == "kept" else {})} for word in words]
    return json.dumps({"messages": messages, **head}, ensure_ascii=False).encode()


REQUESTS = st.tuples(st.lists(WORDS, max_size=6), st.sampled_from(HEADS), st.sampled_from(APIS))


def _said(turn: Turn | None) -> Any:
    return turn and (
        turn.asked,
        turn.head,
        turn.digest,
        turn.weights,
        turn.body.sha,
        turn.body.history,
        turn.long_at >= 0,
    )


@given(st.lists(REQUESTS, max_size=12))
def test_it_says_the_same_with_nothing_in_it(requests: list[tuple[list[str], dict[str, Any], Any]]) -> None:
    """A request would be taken for another API's, another model's, or one with another system text."""
    known = Conversations(State)
    for number, (words, head, (provider, path)) in enumerate(requests):
        turn = known.read(_raw(words, head), provider, path)
        assert _said(turn) == _said(Conversations(State).read(_raw(words, head), provider, path))
        assert turn is not None
        known.keep(turn, Address("", provider.STEP, turn.digest, number), None)


@given(st.lists(REQUESTS, max_size=10))
@settings(max_examples=60)
def test_what_is_stored_is_the_request_bit_for_bit(requests: list[tuple[list[str], dict[str, Any], Any]]) -> None:
    """A person who asks what was sent would read something else, and so would an auditor."""
    log = _Log()
    sent = [log.send(_raw(words, head), provider, path) for words, head, (provider, path) in requests]
    assert [request_of(log.events, number) for number, _ in sent] == [raw for _, raw in sent]


def test_a_turn_is_stored_as_the_turn_and_read_once() -> None:
    """Each turn would store its whole conversation again: a gigabyte after three thousand turns of a kilobyte."""
    log = _Log()
    for count in range(1, 30):
        log.send(_raw(["x" * 1_000] * count, HEADS[0]), anthropic, "/v1/messages")
    sizes = [len(event.body or b"") for event in log.events]
    assert sizes[0] < 1_200 and max(sizes[1:]) < 1_100
    read = log.known.read(_raw(["x" * 1_000] * 30, HEADS[0]), anthropic, "/v1/messages")
    assert read is not None and len(read.body.fresh) == 1


class _Log:
    """The intents of one run, and what is remembered of them."""

    def __init__(self) -> None:
        self.state = State()
        self.events: list[Event] = []
        self.known = Conversations(lambda: self.state)

    def send(self, raw: bytes, provider: Provider, path: str) -> tuple[int, bytes]:
        """Number of the intent of this request."""
        turn = self.known.read(raw, provider, path)
        assert turn is not None
        turn.address = Address("", provider.STEP, turn.digest, len(self.events))
        body, facts = self.known.stored(turn)
        intent = Event(
            Kind.STEP_INTENDED, 1.0, turn.address, StepKind.MODEL, Effect.READ, meta=meta(**facts), body=body
        )
        self.events.append(intent)
        self.state.apply(intent)
        self.known.keep(turn, turn.address, None)
        return len(self.events), raw
