"""Bad input on the wire: a typed failure that is recorded; never a free call, never a store that is worse for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import httpx2
import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, text, tool_use

QUICK = hf.Retry(attempts=2, wait=0)
GOOD = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "ok"}], "model": "claude-test"}
USED = {"usage": {"input_tokens": 5, "output_tokens": 2}}
HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "k"}


async def kept(desk: Any) -> None:
    """The store is well: the run's record folds, and another run on it works."""
    assert desk.state.reserved.tokens == 0

    @hf.agent
    async def next_one(run: hf.Run, given: str) -> str:
        return given

    async with desk.app() as app:
        assert await app.run(next_one, "well", key="another") == "well"
        assert app.journal.events(desk.run_id) == desk.log


async def caught(call: Any) -> str:
    """What the caller sees."""
    try:
        return f"answered: {await call}"
    except (anthropic.APIError, httpx2.HTTPError, hf.UsageError) as error:
        return f"{type(error).__name__}: {error} {error.__cause__!r}"


HUGE = "x" * (10 << 20)
ANSWERS: dict[str, tuple[Any, str, bool]] = {
    "a page": (b"<!DOCTYPE html><html><body>Please log in.</body></html>", "text/html", False),
    "nothing": (b"", "application/json", False),
    "no JSON": (b"OK", "application/json", False),
    "half of a JSON": (json.dumps(GOOD | USED).encode()[:-20], "application/json", False),
    "a list": (b"[1, 2]", "application/json", False),
    "a number of thousands of digits": (b'{"a": ' + b"1" * 5_000 + b"}", "application/json", False),
    "nested deeply": (b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "application/json", False),
    "no UTF-8": (b'{"type": "message", "content": "\xff\xfe"}', "application/json", False),
    "no usage": (GOOD, "application/json", True),
    "negative usage": (GOOD | {"usage": {"input_tokens": -5, "output_tokens": -7}}, "application/json", True),
    "absurd usage": (GOOD | {"usage": {"input_tokens": 10**30, "output_tokens": 1}}, "application/json", True),
    "usage of texts": (GOOD | {"usage": {"input_tokens": "5", "output_tokens": "2"}}, "application/json", True),
    "lone surrogates": (json.dumps(GOOD | USED | {"model": "\ud800", "id": "\udfff\x00"}), "application/json", True),
}


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_answer_that_is_none_is_a_typed_failure_and_is_not_free(
    desk: Any, hello: Any, canned: Any, http: Any, what: str, stream: bool
) -> None:
    """A proxy's log-in page with status 200 must not be an answer of the model, and an unknown cost must not be 0."""
    sent, kind, is_answer = ANSWERS[what]
    body_sent = sent if isinstance(sent, (bytes, dict)) else sent.encode()
    server = await canned(http(200, body_sent, content_type=kind))
    asked = hello | ({"stream": True} if stream else {})

    async def body(run: hf.Run) -> str:
        client = hf.http_client(retry=QUICK)
        said = await caught(client.post(f"{server.url}/v1/messages", json=asked, headers=HEADERS))
        return said

    live, replayed = await desk.twice(body)
    assert live == replayed
    assert live.startswith("answered" if is_answer else "DecodingError")
    (intent,) = desk.model(Kind.STEP_INTENDED)
    (outcome,) = desk.model(Kind.STEP_SUCCEEDED, Kind.STEP_FAILED)
    has_usage = what == "lone surrogates"
    assert outcome.charge.tokens == (7 if has_usage else intent.charge.tokens) > 0
    if not is_answer:
        assert "base URL" in outcome.facts["text"] and server.count == 1
    await kept(desk)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_arguments_of_ten_megabytes_come_through(desk: Any, client: Any, hello: Any, stream: bool) -> None:
    """A model that loops in its output is a cost, and no crash; on replay it is the same answer."""
    with ModelServer(lambda request: tool_use("write", {"text": HUGE})) as server:

        async def body(run: hf.Run) -> tuple[int, str]:
            sdk = client(server)
            if stream:
                async with sdk.messages.stream(**hello) as events:
                    message = await events.get_final_message()
            else:
                message = await sdk.messages.create(**hello)
            return len(message.content[0].input["text"]), message.stop_reason

        assert await desk.twice(body) == ((len(HUGE), "tool_use"),) * 2
        assert server.count == 1
    await kept(desk)


@pytest.mark.parametrize("content", ["\ud800", "a\x00b", "\U0001f600" * 100, "\u2028", HUGE])
async def test_any_text_of_a_request_comes_through(desk: Any, hello: Any, content: str) -> None:
    """A lone surrogate in a tool's output, which Python makes of any bad file name, must not end the run."""
    with ModelServer(lambda request: text("ok")) as server:

        async def body(run: hf.Run) -> Any:
            asked = json.dumps(hello | {"messages": [{"role": "user", "content": content}], "max_tokens": 9}).encode()
            client = hf.http_client(retry=QUICK)
            return (await client.post(f"{server.url}/v1/messages", content=asked, headers=HEADERS)).json()["content"]

        desk.budget = hf.Budget(tokens=10**9)
        live, replayed = await desk.twice(body)
        assert live == replayed == [{"type": "text", "text": "ok"}]
        assert server.count == 1
    await kept(desk)


REQUESTS = {
    "half of a JSON": b'{"model": "claude-test", "messages": [',
    "named twice": b'{"model": "claude-test", "max_tokens": 5, "messages": [], "messages": []}',
    "nested deeply": b'{"model": "claude-test", "tools": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of thousands of digits": b'{"model": "claude-test", "n": ' + b"1" * 5_000 + b"}",
    "no model": b'{"max_tokens": 5, "messages": []}',
    "a model that is no text": b'{"model": 5, "max_tokens": 5, "messages": []}',
    "no UTF-8": b'{"model": "claude-test", "messages": ["\xff"]}',
}


@pytest.mark.parametrize("what", REQUESTS)
async def test_a_request_that_cannot_be_read_is_not_sent(desk: Any, canned: Any, http: Any, what: str) -> None:
    """A lenient server might answer it, and then it was free: past the budget, past the record."""
    server = await canned(http(200, GOOD | USED))

    async def body(run: hf.Run) -> str:
        client = hf.http_client(retry=QUICK)
        return await caught(client.post(f"{server.url}/v1/messages", content=REQUESTS[what], headers=HEADERS))

    live, replayed = await desk.twice(body)
    assert live == replayed
    assert live.startswith("UsageError") and "Nothing was sent" in live
    assert server.count == 0
    await kept(desk)


async def test_nesting_that_is_just_not_too_deep_has_no_gap(desk: Any, canned: Any, http: Any) -> None:
    """Reading and digesting have limits of their own; what is between them must not be an error of ours."""
    server = await canned(http(200, GOOD | USED))

    async def body(run: hf.Run) -> list[str]:
        client, said = hf.http_client(retry=QUICK), []
        for depth in range(100, 1_100, 25):
            nested = b"[" * depth + b"]" * depth
            for member in (b"tools", b"messages"):
                sent = b'{"model": "claude-test", "max_tokens": 5, "%b": %b}' % (member, nested)
                answer = await caught(client.post(f"{server.url}/v1/messages", content=sent, headers=HEADERS))
                said.append(answer.partition(":")[0])
        return said

    desk.budget = hf.Budget(tokens=10**9, model_calls=1_000)
    assert set(await desk.once(body)) <= {"answered", "UsageError"}


async def test_an_endpoint_that_nobody_knows_is_a_read_step_at_a_known_host(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any
) -> None:
    """Tomorrow's API of a provider is recorded like a file, not sent twice, and not taken for a model call."""
    server = await canned(http(200, GOOD | USED), http(200, {"id": "new"}))

    async def body(run: hf.Run) -> Any:
        await client(server).messages.create(**hello)
        return (await hf.http_client().post(f"{server.url}/v9/dreams", json={"a": 1}, headers=HEADERS)).json()

    live, replayed = await desk.twice(body)
    assert live == replayed == {"id": "new"}
    assert server.count == 2
    (step,) = [slot for address, slot in desk.state.slots.items() if address.name == "POST /v9/dreams"]
    assert step.effect == "read"


@pytest.mark.parametrize("package", ["httpx"])
async def test_a_client_of_the_wrong_package_is_named(package: Any) -> None:
    """The SDK says so at once, in its own words, which name what it wants."""
    with pytest.raises(TypeError, match="AsyncClient"):
        anthropic.AsyncAnthropic(api_key="k", http_client=hf.http_client(package=package))  # type: ignore[arg-type]
    with pytest.raises(hf.UsageError, match="httpx2, httpx"):
        hf.http_client(package="requests")  # type: ignore[call-overload]


async def test_two_bad_answers_at_once_do_not_mix(desk: Any, hello: Any, canned: Any, http: Any) -> None:
    """Parallel branches fail each for itself."""
    server = await canned(http(200, b"<html>", content_type="text/html"))

    async def body(run: hf.Run) -> list[str]:
        client = hf.http_client(retry=QUICK)

        async def one(about: str) -> str:
            asked = hello | {"messages": [{"role": "user", "content": about}]}
            return await caught(client.post(f"{server.url}/v1/messages", json=asked, headers=HEADERS))

        return await asyncio.gather(one("a"), one("b"), one("a"))

    live, replayed = await desk.twice(body)
    assert live == replayed and all(said.startswith("DecodingError") for said in live)
    assert server.count == 3
    await kept(desk)
