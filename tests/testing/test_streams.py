"""Each API, streamed and not, read by the real SDK: what the fake provider sends must be what a real one sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from holdfast.testing.model_server import ModelServer, Reply, Request, text, tool_use, tool_uses

LONG = "A parcel from Köln is late; it comes on Monday. " * 3
USAGE = {
    "input_tokens": 11,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 3,
    "output_tokens": 20,
    "reasoning_tokens": 8,
}
ORDER = {"order": 7, "why": "it came broken, and late"}


def policy(request: Request) -> Reply:
    """Text; with tools, first a call of two of them."""
    if request.tool_names and not request.tool_results:
        return tool_uses([("refund", ORDER), ("mail", {})], text="I refund it.", usage=USAGE)
    told = "; ".join(f"{result.name}={result.text}" for result in request.tool_results)
    return text(f"{LONG}{request.last_text} {told}", usage=USAGE)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer(policy) as server:
        yield server


@pytest.fixture(scope="module")
def claude(server: ModelServer) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="test", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def gpt(server: ModelServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="test", max_retries=0) as sdk:
        yield sdk


HELLO: Any = [{"role": "user", "content": "Hello"}]
CLAUDE_TOOLS: Any = [{"name": name, "input_schema": {"type": "object"}} for name in ("refund", "mail")]
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": name}} for name in ("refund", "mail")]


def test_messages_stream_to_the_same_message(claude: Anthropic) -> None:
    """Else a stream would be another answer than the same call without one."""
    for tools in ({}, {"tools": CLAUDE_TOOLS}):
        whole = claude.messages.create(model="m", max_tokens=99, messages=HELLO, **tools)
        with claude.messages.stream(model="m", max_tokens=99, messages=HELLO, **tools) as stream:
            kinds = [event.type for event in stream]
            message = stream.get_final_message()
        assert message.model_dump(exclude={"id", "content"}) == whole.model_dump(exclude={"id", "content"})
        said, asked = ([b.model_dump(exclude={"id", "parsed_output"}) for b in m.content] for m in (message, whole))
        assert said == asked and message.usage.output_tokens_details is not None
        assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


def test_messages_come_as_the_real_sequence_of_events(claude: Anthropic) -> None:
    """Else a parser of events would be tested against another grammar."""
    options: Any = {"model": "m", "max_tokens": 99, "messages": HELLO, "tools": CLAUDE_TOOLS, "stream": True}
    with claude.messages.with_streaming_response.create(**options) as response:
        lines = [line for line in response.iter_lines() if line.startswith("event: ")]
        assert response.headers["content-type"].startswith("text/event-stream")
    kinds = [line.removeprefix("event: ") for line in lines]
    assert [kind for kind in kinds if kind != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_stop", "content_block_start"] * 2,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_chat_streams_to_the_same_message(gpt: OpenAI) -> None:
    """Else a stream would be another answer than the same call without one."""
    for tools in ({}, {"tools": CHAT_TOOLS}):
        whole = gpt.chat.completions.create(model="m", messages=HELLO, **tools)
        options: Any = {"model": "m", "messages": HELLO, "stream_options": {"include_usage": True}, **tools}
        with gpt.chat.completions.stream(**options) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        said, asked = final.choices[0], whole.choices[0]
        assert (said.message.content, said.finish_reason) == (asked.message.content, asked.finish_reason)
        assert final.usage == whole.usage
        calls = [
            [(call.type, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
            for choice in (said, asked)
        ]
        assert calls[0] == calls[1] and len(calls[0]) == 2 * bool(tools)


def test_chat_tells_usage_only_when_asked(gpt: OpenAI) -> None:
    """Else a client that forgot to ask would get its tokens here, and never in production."""
    silent = list(gpt.chat.completions.create(model="m", messages=HELLO, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in silent)
    counting = {"stream_options": {"include_usage": True}}
    *chunks, last = gpt.chat.completions.create(model="m", messages=HELLO, stream=True, **counting)  # type: ignore[call-overload]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert not last.choices and last.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 19,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "completion_tokens": 20,
        "completion_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 39,
    }


def test_chat_runs_a_tool_conversation(gpt: OpenAI) -> None:
    """Else a policy could not tell what the tools said, whatever the API."""
    asked = gpt.chat.completions.create(model="m", messages=HELLO, tools=CHAT_TOOLS).choices[0]
    assert asked.finish_reason == "tool_calls" and asked.message.tool_calls
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"done {n}"}
        for n, call in enumerate(asked.message.tool_calls)
    ]
    messages: Any = [*HELLO, asked.message, *results]
    said = gpt.chat.completions.create(model="m", messages=messages, tools=CHAT_TOOLS).choices[0]
    assert said.finish_reason == "stop"
    assert said.message.content == f"{LONG}Hello refund=done 0; mail=done 1"


async def test_the_async_sdks_stream_too(server: ModelServer) -> None:
    """Else only half of the users could test."""

    async def claude() -> str:
        async with (
            AsyncAnthropic(base_url=server.url, api_key="t") as sdk,
            sdk.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
        ):
            return await stream.get_final_text()

    async def chat() -> str:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="t") as sdk:
            stream = await sdk.chat.completions.create(model="m", messages=HELLO, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert set(await asyncio.gather(claude(), chat())) == {f"{LONG}Hello "}


def test_one_policy_serves_every_api() -> None:
    """Else each scenario would have to be written once for each provider."""

    def once(request: Request) -> Reply:
        return text("done") if request.tool_results else tool_use("refund", ORDER)

    with ModelServer(once) as server:
        with Anthropic(base_url=server.url, api_key="t") as sdk:
            block = sdk.messages.create(model="m", max_tokens=9, messages=HELLO, tools=CLAUDE_TOOLS).content[0]
            assert block.type == "tool_use" and block.input == ORDER
        with OpenAI(base_url=f"{server.url}/v1", api_key="t") as gpt:
            message = gpt.chat.completions.create(model="m", messages=HELLO, tools=CHAT_TOOLS).choices[0].message
            assert message.tool_calls and message.content is None
        assert [(each.api, each.stream) for each in server.requests] == [("messages", False), ("chat", False)]
