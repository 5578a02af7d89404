"""Model calls inside a tool's body: recorded and charged under the attempt, and never answered from the journal."""

import asyncio
from typing import Any

import pytest
from anthropic import AnthropicError

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.state import fold
from holdfast.errors import BudgetExceeded, RunCancelled
from holdfast.testing.model_server import ModelServer
from holdfast.testing.policy import script, text


def inner(desk: Any) -> list[Any]:
    """Model calls of the record that were made inside a tool."""
    return [event for event in desk.model() if "@" in event.address.scope]


async def test_it_is_charged_and_recorded_under_its_attempt_and_not_made_again_on_replay(
    desk: Any, client: Any, hello: Any
) -> None:
    """Lost: P7. A tool that asks a model spends what no budget counts and no record shows."""
    with ModelServer(script([text("hi")])) as server:

        @hf.tool(effect="read")
        async def think() -> str:
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        async def body(run: hf.Run) -> str:
            return await think()

        assert await desk.twice(body) == ("hi", "hi")
        assert server.count == 1
    assert [event.kind for event in inner(desk)] == [Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED]
    assert inner(desk)[0].address.scope.startswith("think:")
    spent = fold(desk.log).spent
    assert (spent.model_calls, spent.tool_calls) == (1, 1) and spent.tokens > 0


async def test_each_attempt_asks_for_itself_and_each_is_charged(desk: Any, client: Any, hello: Any) -> None:
    """Lost: a second attempt gets the answer of the first, whose body went another way; or is not counted."""
    attempts = 0

    with ModelServer(script([text("one"), text("two")])) as server:

        @hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0))
        async def think() -> str:
            nonlocal attempts
            attempts += 1
            said = (await client(server).messages.create(**hello)).content[0].text
            if attempts == 1:
                raise ConnectionError("later")
            return said  # type: ignore[no-any-return]

        async def body(run: hf.Run) -> str:
            return await think()

        assert await desk.once(body) == "two"
        assert server.count == 2
    assert fold(desk.log).spent.model_calls == 2
    assert len({event.address.scope for event in inner(desk)}) == 2


async def test_a_call_that_does_not_fit_stops_the_run_before_it_is_sent_and_resume_goes_on_at_the_tool(
    desk: Any, client: Any, hello: Any
) -> None:
    """Lost: a cap that holds for the agent and not for its tools; or a read that has failed for good because of it."""
    desk.budget = hf.Budget(model_calls=1)
    with ModelServer(script([text("one"), text("two"), text("three")])) as server:

        @hf.tool(effect="read")
        async def think() -> list[str]:
            said = [await client(server).messages.create(**hello) for _ in range(2)]
            return [each.content[0].text for each in said]

        async def body(run: hf.Run) -> list[str]:
            return await think()

        with pytest.raises(BudgetExceeded):
            await desk.once(body)
        assert server.count == 1
        async with desk.app() as app:
            await app.resume(desk.run_id, budget=hf.Budget(model_calls=5))
        assert await desk.once(body) == ["two", "three"]
    assert fold(desk.log).spent.model_calls == 3


async def test_inside_an_effect_it_fails_so_that_the_effect_can_end(desk: Any, client: Any, hello: Any) -> None:
    """Lost: a payment whose body waits for ever for a model that may not be asked, and is never recorded."""
    desk.budget = hf.Budget(model_calls=1)
    with ModelServer(script([text("one")])) as server:

        @hf.tool(effect="once")
        async def pay() -> str:
            await client(server).messages.create(**hello)
            try:
                await client(server, max_retries=0).messages.create(**{**hello, "max_tokens": 17})
            except AnthropicError as error:
                return f"paid, {type(error).__name__}"
            return "asked twice"

        async def body(run: hf.Run) -> str:
            return await pay()

        with pytest.raises(BudgetExceeded):
            await desk.once(body)
        assert server.count == 1
    (paid,) = [event for event in desk.log if event.kind is Kind.STEP_SUCCEEDED and event.address.name == "pay"]
    assert b"paid, " in paid.body


async def test_a_cancel_lets_the_effect_ask_to_its_end(desk: Any, client: Any, hello: Any) -> None:
    """Lost: an effect that is in the middle when its run is cancelled never ends, and neither does the run."""
    begun, release = asyncio.Event(), asyncio.Event()
    with ModelServer(script([text("one")])) as server:

        @hf.tool(effect="once")
        async def pay() -> str:
            begun.set()
            await release.wait()
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        async def body(run: hf.Run) -> str:
            return await pay()

        async with desk.app() as app:
            agent = desk.agent(body)
            running = asyncio.ensure_future(app.run(agent, "input", key="k"))
            await begun.wait()
            run = app.journal.heads(key="k")[0].run_id
            await app.cancel(run, by="ann")
            release.set()
            with pytest.raises(RunCancelled):
                await running
            log = app.journal.events(run)
        assert server.count == 1
    assert [event.body for event in log if event.kind is Kind.STEP_SUCCEEDED][-1] == b'"one"'


async def test_in_a_composite_it_is_a_step_and_is_answered_from_the_record(desk: Any, client: Any, hello: Any) -> None:
    """Lost: a part of the agent whose model calls are paid again after each crash."""
    with ModelServer(script([text("hi")])) as server:

        @hf.tool(effect="composite")
        async def part(run_name: str) -> str:
            said = (await client(server).messages.create(**hello)).content[0].text
            if len(lives) == 1:
                raise RuntimeError("dies here")
            return said  # type: ignore[no-any-return]

        lives: list[int] = []

        async def body(run: hf.Run) -> str:
            lives.append(1)
            return await part("x")

        with pytest.raises(hf.RunError, match="dies here"):
            await desk.once(body)
        assert await desk.resumed(body) == "hi"
        assert server.count == 1
    assert fold(desk.log).spent.model_calls == 1
