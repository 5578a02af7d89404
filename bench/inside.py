"""A run that does what it is told, when it is told: so that the inside and the outside of a run are timed in turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import holdfast as hf

T = TypeVar("T")


class Inside:
    """The inside of one run."""

    BUDGET = hf.Budget(model_calls=1_000_000, tokens=10**15, usd=10**6)
    """Room for everything."""

    def __init__(self) -> None:
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]] | None] = asyncio.Queue()

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, done in the run."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def order() -> None:
            try:
                done.set_result(await work())
            except Exception as error:  # whatever it is, it is told to who gave the order
                done.set_exception(error)

        self._orders.put_nowait(order)
        return await done

    async def work(self) -> None:
        """Be the agent."""
        while (order := await self._orders.get()) is not None:
            await order()

    def end(self) -> None:
        """The run ends."""
        self._orders.put_nowait(None)


@asynccontextmanager
async def inside(app: hf.App, key: str = "run") -> AsyncIterator[Inside]:
    """A new run, for as long as the block lasts."""
    told = Inside()

    @hf.agent(name="bench", budget=Inside.BUDGET)
    async def bench(run: hf.Run, input: str) -> None:
        await told.work()

    running = asyncio.ensure_future(app.run(bench, "", key=key))
    yield told
    told.end()
    await running
