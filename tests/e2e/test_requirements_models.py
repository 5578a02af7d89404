"""R11 and R24 from outside: what the model server was sent after a kill, and what it was never sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, Reply, Request, text, tool_use

BOOKING = """
from anthropic import AsyncAnthropic

@hf.tool(effect="idempotent")
async def hold(seat: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("hold?dedupe=1", seat, idempotency_key)

@hf.tool(effect="once")
async def book(seat: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("book", seat, idempotency_key)

async def used(tool, given):
    try:
        return {"content": await tool.call(given)}
    except (hf.ToolFailed, hf.Unverified) as error:
        return {"content": str(error), "is_error": True}

async def talk(tool):
    client = AsyncAnthropic(http_client=hf.http_client())
    listed = [{"name": tool.name, "description": "a seat", "input_schema": tool.schema}]
    messages = [{"role": "user", "content": "Seat 7a, please."}]
    while True:
        said = await client.messages.create(model="claude-test", max_tokens=9, tools=listed, messages=messages)
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            return said.content[0].text
        results = [{"type": "tool_result", "tool_use_id": c.id, **await used(tool, c.input)} for c in calls]
        messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]

@hf.agent
async def holds(run: hf.Run, given: str) -> str:
    return await talk(hold)

@hf.agent
async def books(run: hf.Run, given: str) -> str:
    return await talk(book)
"""


def policy(request: Request) -> Reply:
    """Calls its one tool, and then repeats what that said."""
    last = request.messages[-1]["content"]
    if isinstance(last, str):
        return tool_use(request.tools[0]["name"], {"seat": "7a"})
    return text(f"the tool said: {last[0]['content']}", usage={"input_tokens": 1, "output_tokens": 1})


@pytest.fixture
def model(desk: Any) -> Iterator[ModelServer]:
    """The strict provider, known to the agents."""
    with ModelServer(policy) as model:
        desk.environment |= {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url}
        yield model


def killed_in(desk: Any, agent: str, tool: str) -> None:
    """SIGKILL while the first call of this tool is under way."""
    desk.ledger.fault(tool, 1, "hang")
    process = desk.go(agent)
    desk.ledger.wait_for(tool, 1)
    process.kill()
    process.communicate(timeout=20)


def test_a_run_killed_in_the_middle_of_a_tool_resumes_with_a_valid_transcript(desk: Any, model: ModelServer) -> None:
    """R11. Lost: the provider refuses a tool call without its result, for ever: the run could only start over."""
    desk.write(BOOKING)
    killed_in(desk, "holds", "hold")
    said = desk.to_end("holds")
    assert (said.code, said.out) == (0, "the tool said: hold-1\n"), said.err
    assert [request.status for request in model.requests] == [200, 200] and model.repeated() == 0
    assert desk.ledger.count("hold") == 1


def test_the_model_is_told_that_an_effect_is_unverified_and_the_repair_is_kept(desk: Any, model: ModelServer) -> None:
    """R11. Lost: a model that reads nothing would book again, or promise a seat that nobody booked."""
    desk.write(BOOKING)
    killed_in(desk, "books", "book")
    assert desk.to_end("books").code == 8
    assert desk.run("answer", "k", "tell_the_agent").code == 0
    model.fault(on=2, delay_s=60)
    process = desk.go("books")
    model.wait_for(2)
    process.kill()  # once more, while the model is reading it
    process.communicate(timeout=20)
    said = desk.to_end("books")
    assert said.code == 0 and "not known" in said.out, said.err
    first, told, again = model.requests
    result = told.body["messages"][-1]["content"][0]
    assert result["is_error"] and "whether it happened is not known" in result["content"]
    assert told.digest == again.digest, "what the model was told is kept"
    assert (first.status, again.status) == (200, 200)
    assert desk.ledger.count("book") == 1
    assert desk.to_end("books").out == said.out and model.count == 3


CAPPED = """
from anthropic import AsyncAnthropic

@hf.agent(budget=hf.Budget(usd=1.0))
async def capped(run: hf.Run, given: str) -> int:
    client = AsyncAnthropic(http_client=hf.http_client())
    for number in range(4):
        asked = [{"role": "user", "content": f"number {number}"}]
        await client.messages.create(model="claude-test", max_tokens=16, messages=asked)
    return 4
"""
PRICES = """
[prices."claude-test"]
input = 0
output = 18750
"""
"""USD per million tokens: 16 of them cost 0.30."""


@pytest.mark.parametrize("is_killed", [False, True], ids=["undisturbed", "killed in the second call"])
def test_the_fourth_call_of_thirty_cents_is_never_sent(desk: Any, is_killed: bool) -> None:
    """R24. Lost: a cap that is looked at after the bill, or that forgets at each crash what is under way."""
    desk.write(CAPPED)
    (desk.home / "holdfast.toml").write_text(PRICES)
    with ModelServer(lambda request: text("hi", usage={"input_tokens": 9, "output_tokens": 16})) as model:
        desk.environment |= {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": model.url}
        if is_killed:
            model.fault(on=2, delay_s=60)
            process = desk.go("capped")
            model.wait_for(2)
            process.kill()
            process.communicate(timeout=20)
        assert desk.to_end("capped").code == 4
        usage = desk.show()["run"]["usage"]
        assert model.count == 3
        assert usage["usd"] == pytest.approx(0.9) and usage["reserved"]["usd"] == 0
        assert desk.run("resume", "k", "--raise", "usd=+0.6").code == 0
        said = desk.to_end("capped")
        assert (said.code, json.loads(said.out)) == (0, 4), said.err
        assert model.count == 4 + is_killed
