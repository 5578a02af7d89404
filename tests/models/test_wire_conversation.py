"""What a run remembers of its requests: bit for bit in the store, never too little in the bound, and not too much."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from typing import Any

import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Address, Event, Kind, StepKind, meta
from holdfast.core.state import State
from holdfast.errors import JournalCorrupt
from holdfast.models import anthropic
from holdfast.models.conversation import BYTES_MAX, KEPT_MAX, Conversations, Turn, request_of
from holdfast.testing.model_server import ModelServer, Request, text

PATH = "/v1/messages"
QUICK = hf.Retry(attempts=3, wait=0)
LONG = "The quick brown fox jumps over the lazy dog, again and again. " * 40


def raw(*said: str, model: str = "m", system: str = "s", **more: Any) -> bytes:
    """A request of this conversation."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": each} for number, each in enumerate(said)]
    return json.dumps({"model": model, "max_tokens": 5, "system": system, **more, "messages": messages}).encode()


def fresh() -> Conversations:
    """Of a run that has asked nothing yet."""
    return Conversations(lambda: State())


def asked(conversations: Conversations, request: bytes) -> Turn:
    """This request, read."""
    turn = conversations.read(request, anthropic, PATH)
    assert turn is not None
    return turn


def counted(conversations: Conversations, request: bytes, tokens: int | None, model: str = "m", n: int = 0) -> Turn:
    """This request, answered with this count of its input."""
    turn = asked(conversations, request)
    usage = None if tokens is None else {"input": tokens, "output": 1}
    address = Address("", "messages", turn.digest, n)
    facts = meta(model=model, usage=usage) if usage is not None else meta(model=model)
    outcome = Event(Kind.STEP_SUCCEEDED, 0.0, address, StepKind.MODEL, meta=facts)
    conversations.keep(turn, address, outcome)
    return turn


# --- the bound -------------------------------------------------------------------------------------------------


def test_a_counted_prefix_makes_the_bound_close() -> None:
    """Without it, a conversation of 100,000 tokens reserves four times that at each turn, and stops at its cap."""
    conversations = fresh()
    counted(conversations, raw(LONG), 300)
    turn = asked(conversations, raw(LONG, "ok", "go on"))
    assert conversations.messages_max(turn) < 300 + 200
    assert asked(fresh(), raw(LONG, "ok", "go on")).weight > 2_000


@pytest.mark.parametrize(
    "earlier",
    [
        raw(LONG, model="other"),
        raw(LONG, system="another"),
        raw(LONG, tools=[{"name": "t", "input_schema": {}}]),
        raw("X" + LONG),
        raw(LONG, "ok", "go on", "and on", "to the end"),
        raw(LONG, "no"),
    ],
)
def test_a_count_of_something_else_is_not_used(earlier: bytes) -> None:
    """Another model counts otherwise, another head is longer: a bound that is too low lets a call through the cap."""
    conversations = fresh()
    counted(conversations, earlier, 1)
    turn = asked(conversations, raw(LONG, "ok", "go on"))
    assert conversations.messages_max(turn) == turn.weight


def test_the_count_of_a_fallback_model_is_not_this_models() -> None:
    """The request named one model, and another answered."""
    conversations = fresh()
    counted(conversations, raw(LONG), 1, model="fallback")
    turn = asked(conversations, raw(LONG, "ok"))
    assert conversations.messages_max(turn) == turn.weight


def test_an_answer_without_a_count_does_not_forget_the_one_before() -> None:
    """One call that failed must not make the next cost its whole length again."""
    conversations = fresh()
    counted(conversations, raw(LONG), 300)
    counted(conversations, raw(LONG, "ok", "go on"), None)
    turn = asked(conversations, raw(LONG, "ok", "go on, please"))
    assert conversations.messages_max(turn) < 300 + 300


async def test_the_reservation_is_never_below_what_the_provider_counts(desk: Any, hello: Any) -> None:
    """P7, with a provider that counts a token for each byte, the most there is: no call settles above its bound."""
    chance = random.Random(7)
    desk.budget = hf.Budget(tokens=10**9)

    def policy(request: Request) -> Any:
        count = len(json.dumps(request.body, ensure_ascii=False, separators=(",", ":")).encode())
        return text("é" * chance.randrange(1, 5), usage={"input_tokens": count, "output_tokens": 5})

    with ModelServer(policy) as server:

        async def body(run: hf.Run) -> None:
            sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client(retry=QUICK))
            messages: list[Any] = []
            for number in range(25):
                said = chance.choice(["ß", "x", '"\n', "\U0001f600"]) * number * 9
                messages.append({"role": "user", "content": f"{said}."})
                more = {"system": "again"} if number % 7 == 6 else {}
                answer = await sdk.messages.create(**hello | {"messages": messages} | more)
                messages.append({"role": "assistant", "content": answer.content[0].text})

        await desk.once(body)
    intents, outcomes = desk.model(Kind.STEP_INTENDED), desk.model(Kind.STEP_SUCCEEDED)
    assert len(intents) == len(outcomes) == 25
    for intent, outcome in zip(intents, outcomes, strict=True):
        assert outcome.charge.tokens <= intent.charge.tokens
    assert intents[5].charge.tokens < outcomes[5].charge.tokens + 1_000, "and it is close"


# --- bit for bit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["all", "digests"])
async def test_each_request_can_be_read_again_bit_for_bit(desk: Any, hello: Any, capture: Any) -> None:
    """Long conversations, branches, retries, a resume in the middle: what was sent is what the record says."""
    desk.budget = hf.Budget(tokens=10**9, model_calls=1_000)
    lives: list[int] = []

    with ModelServer(lambda request: text(f"answer {request.n} é")) as server:
        for number in (4, 9, 15):
            server.fault(on=number, status=500)

        async def body(run: hf.Run) -> None:
            http_client = hf.http_client(retry=QUICK, capture=capture)
            sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=http_client)

            async def branch(name: str, turns: int) -> None:
                messages: list[Any] = [{"role": "user", "content": f"{name} \u2028\x00é {LONG}"}]
                for number in range(turns):
                    answer = await sdk.messages.create(**hello | {"messages": messages, "system": LONG})
                    messages += [{"role": "assistant", "content": answer.content[0].text}]
                    messages += [{"role": "user", "content": f"{number} {LONG}"}]

            await branch("a", 4)
            await asyncio.gather(branch("b", 4), branch("c", 4))
            if not lives:
                lives.append(1)
                raise Died
            await branch("a", 6)

        with pytest.raises(hf.RunError, match="Died"):
            await desk.once(body)
        await desk.resumed(body)
        received = {json.dumps(request.body) for request in server.requests}
        count = server.count
    intents = [number for number, event in enumerate(desk.log, 1) if event.kind is Kind.STEP_INTENDED]
    assert len(intents) == count > 14
    stored = [request_of(desk.log, number) for number in intents]
    if capture == "digests":
        assert set(stored) == {b""}
        return
    assert {json.dumps(json.loads(each)) for each in stored} == received
    whole = sum(len(each) for each in stored)
    kept = sum(len(desk.log[number - 1].body or b"") for number in intents)
    assert kept < whole / 3, "and most of it is stored once"
    assert any("base" in desk.log[number - 1].facts for number in intents)


class Died(ValueError):
    """Ends the first life."""


async def test_a_large_conversation_is_a_blob_and_a_difference(desk: Any, hello: Any) -> None:
    """256 KB and more are kept elsewhere; the next turn still stores only what is new."""
    desk.budget = hf.Budget(tokens=10**9)
    with ModelServer(lambda request: text("ok")) as server:

        async def body(run: hf.Run) -> None:
            sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client(retry=QUICK))
            messages: list[Any] = [{"role": "user", "content": "é" * 300_000}]
            for _ in range(3):
                answer = await sdk.messages.create(**hello | {"messages": messages})
                messages += [{"role": "assistant", "content": answer.content[0].text}]
                messages += [{"role": "user", "content": "more"}]

        await desk.once(body)
        requests = [request.body for request in server.requests]
    intents = [number for number, event in enumerate(desk.log, 1) if event.kind is Kind.STEP_INTENDED]
    assert [json.loads(request_of(desk.log, number)) for number in intents] == requests
    assert all(len(desk.log[number - 1].body) < 2_000 for number in intents[1:])


@pytest.mark.parametrize("number", [0, 1, 99, -1])
def test_a_number_that_is_no_request_is_said(number: int) -> None:
    """A record that was damaged must not give another request."""
    log = [Event(Kind.RUN_STARTED, 0.0)]
    with pytest.raises(JournalCorrupt, match="no request"):
        request_of(log, number)


# --- what is kept ----------------------------------------------------------------------------------------------


def test_memory_is_bounded() -> None:
    """A thousand conversations in one run, or a few huge ones, must not stay in memory until it ends."""
    conversations = fresh()
    for number in range(100):
        counted(conversations, raw(f"{number} {LONG}", model="bounded"), 10)
    assert len(held()) == KEPT_MAX
    for number in range(4):
        counted(conversations, raw(f"{number}" + "x" * (BYTES_MAX // 3), model="bounded"), 10)
    assert sum(len(turn.body.raw) for turn in held()) <= BYTES_MAX


def held() -> list[Turn]:
    """All requests of the test above that are in memory."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Turn) and each.asked.model == "bounded"]
