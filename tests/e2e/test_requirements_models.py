"""R11 and R24 from outside: what the model server was sent after a kill, and what it was never sent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, Reply, Request, text, tool_use

BOOKING = """
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

QUESTION = [{"role": "user", "content": "Seat 7a, please."}]

@hf.tool(effect="idempotent")
async def hold(seat: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("hold?dedupe=1", seat, idempotency_key)

@hf.tool(effect="once")
async def book(seat: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("book", seat, idempotency_key)

@hf.tool(effect="once")
async def hear(text: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("hear", text, idempotency_key)

async def used(tool, given):
    try:
        return {"content": await tool.call(given)}
    except (hf.ToolFailed, hf.Unverified) as error:
        return {"content": str(error), "is_error": True}

async def again(read, client, asked, heard):
    while True:
        try:
            return await read(client, asked, heard)
        except Exception as broken:  # the SDK's own error, or the HTTP package's in the middle of a stream
            print("broke off:", type(broken).__name__)

async def read_message(client, asked, heard):
    async with client.messages.stream(**asked) as stream:
        async for part in stream.text_stream:
            await heard(part)
        return await stream.get_final_message()

async def read_completion(client, asked, heard):
    async with client.chat.completions.stream(**asked) as stream:
        async for event in stream:
            if event.type == "content.delta":
                await heard(event.delta)
        return await stream.get_final_completion()

async def read_response(client, asked, heard):
    async with client.responses.stream(**asked) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                await heard(event.delta)
        return await stream.get_final_response()

async def messages(tool, heard):
    client = AsyncAnthropic(http_client=hf.http_client())
    listed = [{"name": tool.name, "description": "a seat", "input_schema": tool.schema}]
    messages = list(QUESTION)
    while True:
        asked = {"model": "claude-test", "max_tokens": 99, "tools": listed, "messages": messages}
        if heard is None:
            said = await client.messages.create(**asked)
        else:
            said = await again(read_message, client, asked, heard)
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            return said.content[0].text
        results = [{"type": "tool_result", "tool_use_id": c.id, **await used(tool, c.input)} for c in calls]
        messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]

async def chat(tool, heard):
    client, tools, messages = AsyncOpenAI(http_client=hf.http_client()), hf.Toolset(tool), list(QUESTION)
    while True:
        asked = {"model": "gpt-test", "tools": tools.schemas("openai"), "messages": messages}
        if heard is None:
            said = await client.chat.completions.create(**asked)
        else:
            said = await again(read_completion, client, asked, heard)
        results = await tools.results(said)
        if not results:
            return said.choices[0].message.content
        messages += [said.choices[0].message, *results]

async def responses(tool, heard):
    client, tools, items = AsyncOpenAI(http_client=hf.http_client()), hf.Toolset(tool), list(QUESTION)
    while True:
        asked = {"model": "gpt-test", "tools": tools.schemas("openai-responses"), "input": items, "store": False}
        if heard is None:
            said = await client.responses.create(**asked)
        else:
            said = await again(read_response, client, asked, heard)
        results = await tools.results(said)
        if not results:
            return said.output_text
        items += [*said.output, *results]

@hf.agent
async def holds(run: hf.Run, api: str) -> str:
    return await globals()[api](hold, None)

@hf.agent
async def books(run: hf.Run, api: str) -> str:
    return await globals()[api](book, None)

@hf.agent
async def hears(run: hf.Run, api: str) -> str:
    async def heard(part):
        if not said:
            said.append(await hear("the first words"))

    said = []
    return await globals()[api](hold, heard)
"""
APIS = ("messages", "chat", "responses")


def policy(request: Request) -> Reply:
    """Calls its one tool, and then repeats what that said."""
    if not request.tool_results:
        return tool_use(request.tool_names[0], {"seat": "7a"})
    said = f"the tool said: {request.tool_results[-1].text}. {'Have a good flight. ' * 20}"
    return text(said, usage={"input_tokens": 1, "output_tokens": 1})


@pytest.fixture
def model(desk: Any) -> Iterator[ModelServer]:
    """The strict provider, known to the agents."""
    with ModelServer(policy) as model:
        desk.serves(model)
        yield model


def wait_until(is_so: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Look until it is so; fail when the process ends before."""
    while not is_so():
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)


def killed_in(desk: Any, agent: str, api: str, tool: str) -> None:
    """SIGKILL while the first call of this tool is under way."""
    desk.ledger.fault(tool, 1, "hang")
    process = desk.go(agent, api)
    desk.ledger.wait_for(tool, 1, timeout_s=30)
    process.kill()
    process.communicate(timeout=20)


@pytest.mark.parametrize("api", APIS)
def test_a_run_killed_in_the_middle_of_a_tool_resumes_with_a_valid_transcript(
    desk: Any, model: ModelServer, api: str
) -> None:
    """R11. Lost: the provider refuses a tool call without its result, for ever: the run could only start over."""
    desk.write(BOOKING)
    killed_in(desk, "holds", api, "hold")
    said = desk.to_end("holds", api)
    assert said.code == 0 and said.out.startswith("the tool said: hold-1."), said.err
    assert [(request.api, request.status) for request in model.requests] == [(api, 200), (api, 200)]
    assert model.repeated() == 0 and desk.ledger.count("hold") == 1


@pytest.mark.parametrize("api", APIS)
def test_a_run_killed_in_the_middle_of_a_stream_resumes_with_a_valid_transcript(
    desk: Any, model: ModelServer, api: str
) -> None:
    """R11. Lost: half an answer in the transcript, or an effect of its first words a second time."""
    desk.write(BOOKING)
    model.fault(on=2, stall_after=8)
    process = desk.go("hears", api)
    desk.ledger.wait_for("hear", 1, timeout_s=30)
    wait_until(lambda: desk.recorded("hear"), process)
    assert "streaming" in desk.run("show", "k").out
    process.kill()  # the first words were acted on, and the rest never came
    process.communicate(timeout=20)
    said = desk.to_end("hears", api)
    assert said.code == 0 and said.out.startswith("the tool said: hold-1."), said.err
    assert said.err.count("broke off") == 1
    first, cut, again = model.requests
    assert [request.status for request in model.requests] == [200, 200, 200] and cut.hung_up
    assert cut.digest == again.digest != first.digest, "the broken call again, and no other"
    assert (desk.ledger.count("hold"), desk.ledger.count("hear")) == (1, 1)
    shown = desk.show()
    assert [step["model"]["partial"] for step in shown["steps"] if step["kind"] == "model"] == [None, "broke_off", None]


@pytest.mark.parametrize("api", APIS)
def test_the_model_is_told_that_an_effect_is_unverified_and_the_repair_is_kept(
    desk: Any, model: ModelServer, api: str
) -> None:
    """R11. Lost: a model that reads nothing would book again, or promise a seat that nobody booked."""
    desk.write(BOOKING)
    killed_in(desk, "books", api, "book")
    assert desk.to_end("books", api).code == 8
    assert desk.run("answer", "k", "tell_the_agent").code == 0
    model.fault(on=2, delay_s=60)
    process = desk.go("books", api)
    model.wait_for(2, timeout_s=30)
    process.kill()  # once more, while the model is reading it
    process.communicate(timeout=20)
    said = desk.to_end("books", api)
    assert said.code == 0 and "not known" in said.out, said.err
    first, told, again = model.requests
    assert "whether it happened is not known" in json.dumps(told.body)
    assert told.digest == again.digest, "what the model was told is kept"
    assert (first.status, again.status) == (200, 200)
    assert desk.ledger.count("book") == 1
    assert desk.to_end("books", api).out == said.out and model.count == 3


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
        desk.serves(model)
        if is_killed:
            model.fault(on=2, delay_s=60)
            process = desk.go("capped")
            model.wait_for(2, timeout_s=30)
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
