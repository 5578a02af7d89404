"""Processes that die while an answer is being read: what was done about its beginning is not done about another one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, Reply, Request, text

HELLO: dict[str, Any] = {"model": "claude-test", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}


def counting() -> Any:
    """A model that never says the same thing twice."""
    lock, said = threading.Lock(), iter(range(100))

    def policy(request: Request) -> Reply:
        with lock:
            return text(f"answer {next(said)} " + "and so on " * 20)

    return policy


def reader(server: Any, during: Any, after: int = 3) -> Any:
    """An agent that does something in the middle of a stream, and asks again where it breaks off."""

    @hf.agent(name="reader", budget=hf.Budget(model_calls=10))
    async def agent(run: hf.Run, given: Any) -> list[str]:
        client = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
        heard: list[str] = []
        for _ in range(3):
            place = 0
            try:
                async for event in await client.messages.create(**HELLO, stream=True):
                    place += 1
                    if event.type == "content_block_delta":
                        heard.append(event.delta.text)  # type: ignore[union-attr]
                    if place == after:
                        await during(heard[-1])
                return heard
            except httpx2.ReadError:
                heard.append("BROKE OFF")
        return heard

    return agent


def test_a_tool_called_in_the_middle_is_not_called_for_another_answer(world: Any, shop: Any) -> None:
    """The model would be asked again, say something else, and the payment for what it had said would stand alone."""
    with ModelServer(counting()) as server:
        server.fault(on=1, stall_after=6)
        shop.dies_at = "after"

        async def during(heard: str) -> None:
            if not shop.paid("now"):
                await shop.pay("now")
                await shop.pay("after")
            else:
                await shop.pay("now")

        with pytest.raises(world.Crash):
            world.run(reader(server, during))
        assert shop.paid() == ["now", "after"]
        kinds = world.kinds()
        assert kinds.index(Kind.STEP_STREAMED) < kinds.index(Kind.STEP_SUCCEEDED)


def test_after_the_crash_the_reader_gets_what_it_had_and_then_the_break(world: Any, shop: Any) -> None:
    """On resume the beginning is the recorded one, its tool is answered from the record, and the break is seen."""
    with ModelServer(counting()) as server:
        server.fault(on=1, stall_after=6)
        died = []

        async def during(heard: str) -> None:
            await shop.look(heard)
            if not died:
                died.append(heard)
                raise world.Crash

        with pytest.raises(world.Crash):
            world.run(reader(server, during))
        heard = world.run(reader(server, during))
    assert heard[0] == died[0]
    broke = heard.index("BROKE OFF")
    assert heard[broke + 1] != died[0]  # the next attempt is another answer, and is heard from its start
    assert [done[1] for done in shop.done].count(died[0]) == 1
    assert server.count == 2
    assert not world.state().drifts
    intents = world.events(Kind.STEP_INTENDED)
    assert [event.attempt for event in intents] == [1, 2]
    (failed,) = world.events(Kind.STEP_FAILED)
    assert failed.charge == intents[0].charge


def test_without_a_step_in_the_middle_the_call_is_simply_made_again(world: Any) -> None:
    """Nobody has acted on what is lost, so nobody has to hear of it."""
    with ModelServer(counting()) as server:
        server.fault(on=1, stall_after=6)
        died: list[str] = []

        async def during(heard: str) -> None:
            if not died:
                died.append(heard)
                raise world.Crash

        with pytest.raises(world.Crash):
            world.run(reader(server, during))
        heard = world.run(reader(server, during))
    assert "BROKE OFF" not in heard
    assert heard[0] != died[0]
    assert server.count == 2
    assert len({event.address for event in world.events(Kind.STEP_INTENDED)}) == 1


def test_two_streams_killed_in_the_middle_and_again(world: Any, shop: Any) -> None:
    """Each branch hears its own beginning again, then its break, however often the process ends there."""
    with ModelServer(counting()) as server:
        server.fault(on=1, times=2, stall_after=6)
        deaths: list[str] = []

        @hf.agent(name="reader", budget=hf.Budget(model_calls=20, tool_calls=20))
        async def agent(run: hf.Run, given: Any) -> list[list[str]]:
            both = asyncio.Barrier(2)

            async def branch(name: str) -> list[str]:
                client = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
                asked = HELLO | {"messages": [{"role": "user", "content": name}]}
                heard: list[str] = []
                for life in range(2):
                    try:
                        async for event in await client.messages.create(**asked, stream=True):
                            if event.type == "content_block_delta":
                                heard.append(event.delta.text)
                                if len(heard) == 2 and not life:
                                    await shop.look(f"{name}: {''.join(heard)}")
                                    await asyncio.wait_for(both.wait(), 2)
                                    if len(deaths) < 2:
                                        deaths.append(name)
                                        raise world.Crash
                        return heard
                    except httpx2.ReadError:
                        heard.append("BROKE OFF")
                return heard

            return list(await asyncio.gather(branch("a"), branch("b")))

        for _ in range(2):
            with pytest.raises(world.Crash):
                world.run(agent)
        heard = world.run(agent)
    assert len(deaths) == 2
    for name, parts in zip("ab", heard, strict=True):
        assert 2 <= parts.index("BROKE OFF") < len(parts) - 1
        looked = [done[1] for done in shop.done if done[1].startswith(name)]
        assert set(looked) == {f"{name}: {''.join(parts[:2])}"}, "what was looked for is what is heard"
    assert server.count == 4
    assert not world.state().drifts
