"""Frameworks that stream to their user: killed while events arrive, and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

import holdfast as hf
from holdfast.testing.crash import reach, sweep

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Function .* has decorators other than @tool"),  # smolagents: of remote ones
]

TASK = "Refund order K-17, it came broken."


def claude() -> Any:
    """The plain SDK, its stream of text."""

    @hf.agent
    async def desk(run: hf.Run, task: str) -> str:
        from anthropic import AsyncAnthropic
        from anthropic_sdk import LISTED, use

        client = AsyncAnthropic(http_client=hf.http_client())
        messages: list[Any] = [{"role": "user", "content": task}]
        while True:
            asked: Any = {"model": "claude-sonnet-5", "max_tokens": 1024, "tools": LISTED, "messages": messages}
            async with client.messages.stream(**asked) as stream:
                said = "".join([text async for text in stream.text_stream])
                reply = await stream.get_final_message()
            calls = [block for block in reply.content if block.type == "tool_use"]
            if not calls:
                return said
            results = [await use(call) for call in calls]
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]

    return desk


def chat() -> Any:
    """The plain SDK, chunks of Chat Completions, in sync code."""

    @hf.agent
    def desk(run: hf.Run, task: str) -> str:
        from openai import OpenAI
        from openai_chat import LISTED, use

        client = OpenAI(http_client=hf.http_client(sync=True))
        messages: list[Any] = [{"role": "user", "content": task}]
        while True:
            with client.chat.completions.stream(model="gpt-5-mini", tools=LISTED, messages=messages) as stream:
                reply = stream.get_final_completion().choices[0].message
            if not reply.tool_calls:
                return reply.content or ""
            calls = [{"id": c.id, "type": "function", "function": c.function.model_dump(include={"name", "arguments"})}
                     for c in reply.tool_calls]  # fmt: skip
            messages += [{"role": "assistant", "tool_calls": calls}, *map(use, reply.tool_calls)]

    return desk


def pydantic_ai() -> Any:
    """Pydantic AI's `run_stream`."""

    @hf.agent
    async def desk(run: hf.Run, task: str) -> str:
        from pydantic_ai import Agent
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
        from shop import find_order, refund

        model = AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(http_client=hf.http_client()))
        async with Agent(model, tools=[find_order, refund]).run_stream(task) as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    return desk


def openai_agents() -> Any:
    """The OpenAI Agents SDK's `run_streamed`."""

    @hf.agent
    async def desk(run: hf.Run, task: str) -> str:
        from agents import Agent, OpenAIResponsesModel, Runner
        from openai import AsyncOpenAI
        from openai_agents_sdk import TOOLS

        model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(http_client=hf.http_client()))
        result = Runner.run_streamed(Agent(name="desk", model=model, tools=list(TOOLS)), task)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    return desk


def langchain() -> Any:
    """A graph that streams tokens."""

    @hf.agent
    async def desk(run: hf.Run, task: str) -> str:
        from langchain.agents import create_agent
        from langchain_openai import ChatOpenAI
        from shop import find_order, refund

        model = ChatOpenAI(model="gpt-5-mini", http_async_client=hf.http_client())
        graph = create_agent(model, [find_order, refund])
        said = ""
        async for chunk, _ in graph.astream({"messages": [("user", task)]}, stream_mode="messages"):
            said = said + chunk.text if chunk.type == "AIMessageChunk" else ""
        return said

    return desk


def smolagents() -> Any:
    """smolagents with `stream_outputs`."""

    @hf.agent
    def desk(run: hf.Run, task: str) -> str:
        from shop import find_order, refund
        from smolagents import OpenAIModel, ToolCallingAgent, tool

        model = OpenAIModel("gpt-5-mini", client_kwargs={"http_client": hf.http_client(sync=True)})
        agent = ToolCallingAgent([tool(find_order), tool(refund)], model, verbosity_level=0, stream_outputs=True)
        return str(agent.run(task))

    return desk


STREAMED: dict[str, tuple[Any, str]] = {
    "anthropic": (claude, "anthropic_sdk"),
    "openai": (chat, "openai_chat"),
    "pydantic_ai": (pydantic_ai, "anthropic_sdk"),
    "openai_agents": (openai_agents, "openai_agents_sdk"),
    "langchain": (langchain, "langchain_agent"),
    "smolagents": (smolagents, "smolagents_tools"),
}


class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A point after each chunk of an answer."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield chunk
            reach("model:chunk")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk
            reach("model:chunk")

    def close(self) -> None:
        """The connection is given back."""
        self._stream.close()

    async def aclose(self) -> None:
        """The same."""
        await self._stream.aclose()


def mark_chunks() -> None:
    """Points within every streamed answer of this process."""
    real, real_async = httpx2.HTTPTransport.handle_request, httpx2.AsyncHTTPTransport.handle_async_request

    def handle(self: Any, request: Any) -> Any:
        return marked(real(self, request))

    async def handle_async(self: Any, request: Any) -> Any:
        return marked(await real_async(self, request))

    def marked(response: Any) -> Any:
        if "event-stream" in response.headers.get("content-type", ""):
            response.stream = Chunks(response.stream)
        return response

    httpx2.HTTPTransport.handle_request = handle  # type: ignore[method-assign]
    httpx2.AsyncHTTPTransport.handle_async_request = handle_async  # type: ignore[method-assign]


@pytest.mark.parametrize("name", STREAMED)
def test_killed_while_it_streams(name: str, row_of: Any, refunds: Any) -> None:
    """Lost: the same promise for whoever shows words as they come."""
    make, file = STREAMED[name]
    scenario = refunds(row_of(file), TASK, SimpleNamespace(desk=make()))
    with_points, windows = scenario.run, ("model:sent", "model:chunk", "model:after", "refund:sent")

    def run(place: Any, journal: Any) -> None:
        mark_chunks()
        with_points(place, journal)

    scenario.run = run
    report = sweep(scenario, every=5, seconds=0, windows=windows)
    report.require(kills=12, windows=windows)
    assert report.in_window("model:chunk") >= 2, report.points
    assert all(request.body["stream"] for request in scenario.model.requests)
