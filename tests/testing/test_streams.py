"""Each API, streamed and not, read by the real SDK: what the fake provider sends must be what a real one sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import anthropic
import pytest
from anthropic import Anthropic, AnthropicBedrock, AsyncAnthropic
from openai import AsyncOpenAI, AzureOpenAI, InternalServerError, NotFoundError, OpenAI

from holdfast.testing.model_server import ModelServer, Reply, Request, error, script, text, tool_use, tool_uses, vectors

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


def raw_lines(resource: Any, **body: Any) -> list[str]:
    """The lines of a stream as they were sent."""
    with resource.with_streaming_response.create(model="m", stream=True, **body) as response:
        return [line for line in response.iter_lines() if line]


def kinds(lines: list[str]) -> list[str]:
    """The kinds of events, each run of the same kind once."""
    named = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    return [kind for kind, _ in groupby(named)]


def test_openai_streams_come_as_the_real_sequence_of_events(gpt: OpenAI) -> None:
    """Else a parser of events would be tested against another grammar."""
    lines = raw_lines(gpt.chat.completions, messages=HELLO, tools=CHAT_TOOLS)
    assert lines.pop() == "data: [DONE]" and all(line.startswith("data: {") for line in lines)
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]
    assert deltas[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert deltas[-1]["delta"] == {} and deltas[-1]["finish_reason"] == "tool_calls"
    assert {choice["finish_reason"] for choice in deltas[:-1]} == {None}
    begun = [call for choice in deltas for call in choice["delta"].get("tool_calls", []) if "id" in call]
    assert [(call["index"], call["function"]) for call in begun] == [
        (0, {"name": "refund", "arguments": ""}),
        (1, {"name": "mail", "arguments": ""}),
    ]
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    said = ["output_text.delta", "output_text.done", "content_part.done", "output_item.done"]
    sequence = ["created", "in_progress", "output_item.added", "content_part.added", *said, *call, *call, "completed"]
    lines = raw_lines(gpt.responses, input=HELLO, tools=RESPONSES_TOOLS)
    assert kinds(lines) == [f"response.{kind}" for kind in sequence]


async def test_the_async_sdks_stream_too(server: ModelServer) -> None:
    """Else only half of the users could test."""

    async def claude() -> str:
        async with (
            AsyncAnthropic(base_url=server.url, api_key="t") as sdk,
            sdk.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
        ):
            return await stream.get_final_text()

    async def responses() -> str:
        async with (
            AsyncOpenAI(base_url=f"{server.url}/v1", api_key="t") as sdk,
            sdk.responses.stream(model="m", input=HELLO) as stream,
        ):
            return (await stream.get_final_response()).output_text

    async def chat() -> str:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="t") as sdk:
            stream = await sdk.chat.completions.create(model="m", messages=HELLO, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert set(await asyncio.gather(claude(), chat(), responses())) == {f"{LONG}Hello "}


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
            assert gpt.responses.create(model="m", input="Hello", tools=RESPONSES_TOOLS).output[0].type
        assert "functionCall" in gemini(server, HI | GEMINI_TOOLS)[1]["candidates"][0]["content"]["parts"][0]
        gemini(server, HI, "streamGenerateContent", "?alt=sse&key=k")
        assert [each.api for each in server.requests] == ["messages", "chat", "responses", "gemini", "gemini"]
        assert [each.stream for each in server.requests] == [False] * 4 + [True]
        assert server.repeated() == 0


RESPONSES_TOOLS: Any = [
    {"type": "function", "name": name, "parameters": {"type": "object"}, "strict": False} for name in ("refund", "mail")
]


def test_responses_stream_to_the_same_response(gpt: OpenAI) -> None:
    """Else a stream would be another answer than the same call without one."""
    for tools in ({}, {"tools": RESPONSES_TOOLS}):
        whole = gpt.responses.create(model="m", input=HELLO, **tools)
        with gpt.responses.stream(model="m", input=HELLO, **tools) as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert final.output_text == whole.output_text and final.usage == whole.usage
        calls = [
            [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
            for response in (final, whole)
        ]
        assert calls[0] == calls[1] and len(calls[0]) == 2 * bool(tools)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert (events[0].type, events[1].type) == ("response.created", "response.in_progress")
        assert events[-1].type == "response.completed"
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text and len(deltas) > 1 - bool(tools)


def test_responses_tell_tokens_in_their_own_names(gpt: OpenAI) -> None:
    """Else prices of cached and reasoned tokens would be tested against invented fields."""
    usage = gpt.responses.create(model="m", input="Hello").usage
    assert usage is not None and usage.model_dump(exclude_none=True) == {
        "input_tokens": 19,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 39,
    }


def test_responses_run_a_tool_conversation(gpt: OpenAI) -> None:
    """Else a policy could not tell what the tools said, whatever the API."""
    asked = gpt.responses.create(model="m", input="Hello", tools=RESPONSES_TOOLS)
    calls = [item for item in asked.output if item.type == "function_call"]
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"done {n}"} for n, call in enumerate(calls)
    ]
    said = gpt.responses.create(model="m", input=[*HELLO, *asked.output, *outputs], tools=RESPONSES_TOOLS)
    assert said.output_text == f"{LONG}Hello refund=done 0; mail=done 1"
    follow: Any = {"previous_response_id": asked.id, "input": outputs, "tools": RESPONSES_TOOLS}
    assert gpt.responses.create(model="m", **follow).output_text.endswith("=done 0; =done 1")


def test_reasons_to_stop_have_each_providers_name() -> None:
    """Else an answer that was cut off by its limit would look complete, or the other way round."""
    with ModelServer(lambda request: text("no", stop_reason="max_tokens")) as server:
        with Anthropic(base_url=server.url, api_key="t") as sdk:
            assert sdk.messages.create(model="m", max_tokens=9, messages=HELLO).stop_reason == "max_tokens"
        with OpenAI(base_url=f"{server.url}/v1", api_key="t") as gpt:
            assert gpt.chat.completions.create(model="m", messages=HELLO).choices[0].finish_reason == "length"
            response = gpt.responses.create(model="m", input="Hello")
            assert response.status == "incomplete" and response.incomplete_details
            assert response.incomplete_details.reason == "max_output_tokens"
            events = list(gpt.responses.create(model="m", input="Hello", stream=True))
            assert events[-1].type == "response.incomplete"
        told = gemini(server, HI)[1]
        assert told["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_embeddings_are_the_same_for_the_same_text(gpt: OpenAI) -> None:
    """Else a memory that is found by likeness could not be tested twice with the same result."""
    first = gpt.embeddings.create(model="m", input=["a", "b"])
    floats = gpt.embeddings.create(model="m", input="a", encoding_format="float", dimensions=8)
    one, two = (each.embedding for each in first.data)
    assert one == pytest.approx(floats.data[0].embedding, abs=1e-6) and one != two and len(one) == 8
    assert sum(number * number for number in one) == pytest.approx(1.0, abs=1e-5)
    raw = gpt.embeddings.with_raw_response.create(model="m", input=["a", "b"]).http_response.json()
    assert isinstance(raw["data"][0]["embedding"], str), "base64, as the SDK asks for"
    assert (first.usage.prompt_tokens, first.usage.total_tokens) == (19, 19)


def test_a_policy_may_say_the_vectors() -> None:
    """Else likeness could only be tested with vectors that nobody chose."""
    with ModelServer(script([vectors([[1, 0], [0, 1]]), error(500)])) as server:
        with OpenAI(base_url=f"{server.url}/v1", api_key="t", max_retries=0) as gpt:
            told = gpt.embeddings.create(model="m", input=["a", "b"])
            assert [each.embedding for each in told.data] == [[1, 0], [0, 1]]
            with pytest.raises(InternalServerError):
                gpt.embeddings.create(model="m", input="a")
        assert [each.api for each in server.requests] == ["embeddings", "embeddings"]


HI: Any = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
GEMINI_TOOLS: Any = {"tools": [{"functionDeclarations": [{"name": "refund"}, {"name": "mail"}]}]}


def gemini(server: ModelServer, body: Any, method: str = "generateContent", query: str = "?key=k") -> tuple[int, Any]:
    """One raw request: status and what was sent, a list of the events' data for `alt=sse`."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request("POST", f"/v1beta/models/gemini-x:{method}{query}", json.dumps(body))
        response = connection.getresponse()
        told = response.read().decode()
        if response.headers["content-type"].startswith("text/event-stream"):
            return response.status, [json.loads(event.removeprefix("data: ")) for event in told.split("\n\n")[:-1]]
        return response.status, json.loads(told)
    finally:
        connection.close()


def gemini_text(frames: list[Any]) -> str:
    """The text of all events."""
    return "".join(part.get("text", "") for frame in frames for part in frame["candidates"][0]["content"]["parts"])


def test_gemini_streams_to_the_same_answer(server: ModelServer) -> None:
    """Else a stream would be another answer than the same call without one."""
    status, whole = gemini(server, HI)
    assert status == 200 and whole["modelVersion"] == "gemini-x"
    for query in ("?alt=sse&key=k", "?key=k"):
        frames = gemini(server, HI, "streamGenerateContent", query)[1]
        assert gemini_text(frames) == gemini_text([whole]) == f"{LONG}Hello " and len(frames) > 2
        assert [frame["candidates"][0].get("finishReason") for frame in frames][-2:] == [None, "STOP"]
        assert frames[-1]["usageMetadata"] == whole["usageMetadata"]
    assert whole["usageMetadata"] == {
        "promptTokenCount": 19,
        "cachedContentTokenCount": 5,
        "thoughtsTokenCount": 8,
        "candidatesTokenCount": 12,
        "totalTokenCount": 39,
    }


def test_gemini_runs_a_tool_conversation(server: ModelServer) -> None:
    """Else the one provider without ids of calls could not be tested."""
    asked = gemini(server, HI | GEMINI_TOOLS)[1]["candidates"][0]["content"]
    assert asked["parts"][1] == {"functionCall": {"name": "refund", "args": ORDER}}
    results = [
        {"functionResponse": {"name": part["functionCall"]["name"], "response": {"result": f"done {n}"}}}
        for n, part in enumerate(asked["parts"][1:])
    ]
    contents = [*HI["contents"], asked, {"role": "user", "parts": results}]
    said = gemini(server, {"contents": contents, **GEMINI_TOOLS}, "streamGenerateContent", "?alt=sse&key=k")[1]
    assert gemini_text(said) == f"{LONG}Hello refund=done 0; mail=done 1"


def test_azures_paths_are_served(server: ModelServer) -> None:
    """Else a client of Azure could not be tested."""
    options: Any = {"azure_endpoint": server.url, "api_key": "t", "api_version": "2026-06-01", "max_retries": 0}
    with AzureOpenAI(**options) as azure:
        assert azure.chat.completions.create(model="my-gpt", messages=HELLO).model == "my-gpt"
        assert azure.embeddings.create(model="my-embedder", input="a").model == "my-embedder"
        assert azure.responses.create(model="my-gpt", input="Hello").model == "my-gpt"
    path = server.requests[-3].path
    assert path == "/openai/deployments/my-gpt/chat/completions"
    unversioned = OpenAI(base_url=f"{server.url}/openai/deployments/d", api_key="t", max_retries=0)
    with unversioned, pytest.raises(NotFoundError, match="api-version"):
        unversioned.chat.completions.create(model="m", messages=HELLO)


def test_bedrocks_path_is_served(server: ModelServer) -> None:
    """Else a client of Bedrock could not be tested."""
    options: Any = {"api_key": "k", "aws_region": "eu-north-1", "base_url": server.url, "max_retries": 0}
    with AnthropicBedrock(**options) as sdk:
        said = sdk.messages.create(model="anthropic.claude-x-v1:0", max_tokens=9, messages=HELLO)
        assert said.model == "anthropic.claude-x-v1:0" and said.content[0].type == "text"
        with pytest.raises(anthropic.BadRequestError) as refused:
            sdk.messages.create(model="m", max_tokens=0, messages=HELLO)
        assert refused.value.response.headers["x-amzn-errortype"] == "ValidationException"
        with pytest.raises(anthropic.NotFoundError):
            sdk.messages.create(model="m", max_tokens=9, messages=HELLO, stream=True)
    assert [each.path for each in server.requests[-3:-1]] == [
        "/model/anthropic.claude-x-v1:0/invoke",
        "/model/m/invoke",
    ]


def test_a_huge_answer_has_not_as_many_events() -> None:
    """Else arguments of a megabyte would be 60,000 events, and the test of them would never end."""
    size = 1_000_000
    with ModelServer(lambda request: tool_use("write", {"text": "x" * size})) as server:
        with Anthropic(base_url=server.url, api_key="t") as sdk:
            options: Any = {"model": "m", "max_tokens": 9, "messages": HELLO}
            events = list(sdk.messages.create(**options, stream=True))
            deltas = [event.delta for event in events if event.type == "content_block_delta"]
            written = "".join(delta.partial_json for delta in deltas if delta.type == "input_json_delta")
        assert len(json.loads(written)["text"]) == size and len(events) < 600
