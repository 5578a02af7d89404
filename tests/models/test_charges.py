"""P7: what a run was charged is never under what its provider counted, whatever became of its calls.

The provider's own count is the judge: each request that reached it, and the usage of each answer that it began. The
runs are drawn: calls at once, whole and streamed, readers that stop, callers that give up, faults, fallback models,
and processes that end in the middle.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import NOTHING, Charge, Event, Kind
from holdfast.core.state import fold
from holdfast.testing.model_server import ModelServer, Reply, Request, text

TOKENS = 17
"""Of each answer, as the provider counts."""
LONG = "one two three four five six seven eight nine ten"
FAULTS: tuple[dict[str, Any], ...] = (
    {"status": 500},
    {"status": 529},
    {"status": 400},
    {"drop": True},
    {"cut_after": 3},
    {"stall_after": 3},
    {"error_after": 0},
    {"error_after": 3},
    {"truncate": True},
    {"html": True},
    {"usage": "missing"},
    {"every_s": 0.01},
    {"delay_s": 0.08},
)


def answer(request: Request) -> Reply:
    """Each costs the same."""
    return text(LONG, usage={"input_tokens": 10, "output_tokens": TOKENS - 10})


def settled(events: list[Event]) -> Charge:
    """What the record says was used or is held, counted without the state: each intent is settled exactly once."""
    used, open_ = NOTHING, dict[Any, Charge]()
    for event in events:
        used = used.plus(event.charge) if event.kind is not Kind.STEP_INTENDED else used
        if event.kind is Kind.STEP_INTENDED:
            used = used.plus(open_.pop(event.address, NOTHING))
            open_[event.address] = event.charge
        elif event.kind in (Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.ATTEMPT_FAILED):
            open_.pop(event.address, None)
    for left in open_.values():
        used = used.plus(left)
    return used


async def behave(how: str, sdk: AsyncAnthropic, asked: dict[str, Any]) -> None:
    """One branch of the agent."""
    try:
        if how == "whole":
            await sdk.messages.create(**asked)
        elif how == "gives up":
            await asyncio.wait_for(sdk.messages.create(**asked), 0.03)
        elif how == "forgets":
            await sdk.messages.create(**asked, stream=True)
        elif how == "too slow":
            async with asyncio.timeout(0.04):
                async for _ in await sdk.messages.create(**asked, stream=True):
                    await asyncio.sleep(0)
        else:
            stops_after = {"reads": 10_000, "closes": 3, "closes at once": 0}[how]
            async with sdk.messages.stream(**asked) as events:
                seen = 0
                async for _ in events:
                    seen += 1
                    if seen >= stops_after:
                        break
    except (anthropic.APIError, httpx2.HTTPError, TimeoutError):
        pass


WAYS = ("whole", "gives up", "forgets", "too slow", "reads", "closes", "closes at once")


@pytest.mark.parametrize("seed", range(24))
async def test_it_is_never_charged_less_than_the_provider_counted(desk: Any, hello: Any, seed: int) -> None:
    """Lost: a budget that bounds what a run costs."""
    drawn = random.Random(seed)
    with_faults, dies, falls_back = drawn.random() < 0.8, drawn.random() < 0.4, drawn.random() < 0.4
    hows = [[drawn.choice(WAYS) for _ in range(drawn.randint(1, 3))] for _ in range(3)]
    server = ModelServer(answer).__enter__()
    try:
        for number in range(1, 9) if with_faults else ():
            if drawn.random() < 0.6:
                server.fault(on=number, **drawn.choice(FAULTS))
        http = {"retry": hf.Retry(attempts=2, wait=0), "timeout": 0.15, "stream": drawn.choice(["events", "whole"])}
        fallback = ["claude-other"] if falls_back else []

        async def body(run: hf.Run) -> None:
            async def branch(place: int, ways: list[str]) -> None:
                for number, how in enumerate(ways):
                    sdk = AsyncAnthropic(
                        base_url=server.url,
                        api_key="k",
                        max_retries=1,
                        http_client=hf.http_client(fallback=fallback, **http),  # type: ignore[call-overload]
                    )
                    said = [{"role": "user", "content": f"{place} {number} {drawn_words[place]}"}]
                    await behave(how, sdk, hello | {"messages": said})
                    if number % 2:
                        await run.note(f"{place} {number}")

            drawn_words = ["a", "b", "c"]
            await asyncio.gather(*(branch(place, ways) for place, ways in enumerate(hows)))

        if dies:
            async with desk.app() as app:
                await app.start(desk.agent(body), "input", key="k")
                await asyncio.sleep(drawn.random() * 0.15)
        try:
            await asyncio.wait_for(desk.once(body), 20)
        except hf.RunError:  # blocked, or failed: charged all the same
            pass
        count, tokens = server.count, TOKENS * sum(request.status == 200 for request in server.requests)
        used = fold(desk.log).used
        assert used == settled(desk.log)
        assert used.model_calls >= count
        assert used.tokens >= tokens
        if not with_faults and not dies and all(how in ("whole", "reads") for ways in hows for how in ways):
            assert (used.model_calls, used.tokens) == (count, tokens)
    finally:
        server.close()
