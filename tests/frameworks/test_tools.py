"""Async tools in the hands of frameworks, and what a tool's failure looks like in a prompt, live and on replay."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast.testing.crash import sweep

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(120)]

TASK = "Refund order K-17, it came broken."
UNKNOWN = "Refund orders K-17 and K-404, they came broken."
WINDOWS = ("append:after:StepSucceeded(find_order)", "append:after:StepSucceeded(refund)", "append:before:RunEnded")


def tools() -> list[Any]:
    """The tools of the examples, as async functions."""
    import shop

    @hf.tool(effect="read", raises=(LookupError,), retry=hf.Retry(attempts=1))
    async def find_order(order: str) -> str:
        """Look an order up."""
        return str(await asyncio.to_thread(shop.find_order.spec.fn, order))

    @hf.tool(effect="once", verify=shop.find_refund)
    async def refund(order: str, cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        """Pay back what was paid for an order."""
        return str(await asyncio.to_thread(shop.refund.spec.fn, order, cents, idempotency_key=idempotency_key))

    return [find_order, refund]


@hf.agent
async def in_pydantic_ai(run: hf.Run, task: str) -> str:
    """Pydantic AI."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(http_client=hf.http_client()))
    return str((await Agent(model, tools=tools()).run(task)).output)


@hf.agent
async def in_openai_agents(run: hf.Run, task: str) -> str:
    """OpenAI Agents."""
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(http_client=hf.http_client()))
    agent: Any = Agent(name="desk", model=model, tools=[function_tool(tool) for tool in tools()])
    return str((await Runner.run(agent, task)).final_output)


@hf.agent
async def in_langgraph(run: hf.Run, task: str) -> str:
    """LangGraph, with a node for tools that puts `repr` of an exception into the prompt."""
    from langchain_openai import ChatOpenAI
    from langgraph.graph import START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode, tools_condition

    mine = tools()
    model = ChatOpenAI(model="gpt-5-mini", http_async_client=hf.http_client()).bind_tools(mine)

    async def ask(state: Any) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode(mine, handle_tool_errors=True))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_edge("tools", "ask")
    said: Any = {"messages": [("user", task)]}
    return str((await graph.compile().ainvoke(said))["messages"][-1].text)


@hf.agent
def by_run_sync(run: hf.Run, task: str) -> str:
    """OpenAI Agents in sync code: it runs a loop of its own in this thread."""
    from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    model = OpenAIResponsesModel("gpt-5-mini", AsyncOpenAI(http_client=hf.http_client()))
    agent: Any = Agent(name="desk", model=model, tools=[function_tool(tool) for tool in tools()])
    return str(Runner.run_sync(agent, task).final_output)


@hf.agent
def pydantic_ai_sync(run: hf.Run, task: str) -> str:
    """Pydantic AI in sync code: the same."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(http_client=hf.http_client()))
    return str(Agent(model, tools=tools()).run_sync(task).output)


AGENTS = {
    "pydantic_ai": (in_pydantic_ai, "pydantic_ai_agent"),
    "pydantic_ai_sync": (pydantic_ai_sync, "pydantic_ai_agent"),
    "openai_agents": (in_openai_agents, "openai_agents_sdk"),
    "openai_agents_sync": (by_run_sync, "openai_agents_sdk"),
    "langgraph": (in_langgraph, "langchain_agent"),
}


@pytest.mark.parametrize("name", AGENTS)
def test_async_tools_are_awaited_and_recorded(name: str, row_of: Any, refunds: Any) -> None:
    """Lost: an async `once` tool that a framework calls and does not await; the model is told it happened."""
    agent, file = AGENTS[name]
    scenario = refunds(row_of(file), TASK, SimpleNamespace(desk=agent))
    sweep(scenario, every=5, seconds=0, windows=WINDOWS).require(kills=6, windows=WINDOWS)


def test_an_exception_in_a_prompt_is_the_same_text_on_replay(row_of: Any, refunds: Any) -> None:
    """Lost: the record. `repr(error)` is in the prompt; with another the model is asked anew, and says otherwise."""
    scenario = refunds(row_of("langchain_agent"), UNKNOWN, SimpleNamespace(desk=in_langgraph))
    sweep(scenario, every=4, seconds=0).require(kills=8)
    prompts = {str(request.body) for request in scenario.model.requests}
    assert any("LookupError('there is no order K-404')" in prompt for prompt in prompts)
