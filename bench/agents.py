"""The agents that the rows run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import holdfast as hf
from bench.measure import kilobyte

ROOMY = hf.Budget(tool_calls=1_000_000)


async def look(number: int) -> str:
    """What a step does: next to nothing, with a result of 1 KB."""
    return kilobyte(number)


async def look_on(run: hf.Run, first: int, count: int) -> None:
    """`count` steps, one after the other."""
    for number in range(first, first + count):
        await run.step("look", look, number, effect="read")


def agent_of(body: Callable[[hf.Run, int], Awaitable[None]], name: str = "bench") -> hf.Agent[int, None]:
    """An agent with room for all steps, which does `body`."""

    async def bench(run: hf.Run, count: int) -> None:
        await body(run, count)

    return hf.agent(name=name, budget=ROOMY)(bench)
