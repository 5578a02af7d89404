"""Reads that were begun without an intent, and a budget that others pay from too. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf


@pytest.mark.parametrize("cap", [2, 3, 4])
def test_a_read_under_way_counts_for_the_children_that_are_begun_meanwhile(world: Any, cap: int) -> None:
    """Lost: the shared cap. The children use what is left for a read that was begun before the first of them."""
    done: list[str] = []

    @hf.tool(effect="read")
    async def slow(n: int) -> int:
        done.append("slow")
        await asyncio.sleep(0.1)
        return n

    @hf.tool(effect="read")
    async def fast(n: int) -> int:
        done.append("fast")
        return n

    @hf.agent(name="leaf", budget=hf.Budget(tool_calls=50))
    async def leaf(run: hf.Run, n: int) -> int:
        return sum([await fast(each) for each in range(n)])

    @hf.agent(name="top", budget=hf.Budget(tool_calls=cap))
    async def top(run: hf.Run, n: int) -> Any:
        reads = [asyncio.ensure_future(slow(each)) for each in range(2)]
        await asyncio.sleep(0)
        found = await asyncio.gather(*reads, run.spawn(leaf, n), return_exceptions=True)
        return [str(each) for each in found]

    found = world.run(top, 50, agents=[leaf, top])
    account = world.store.account(f"run/{world.id()}")
    assert len(done) == cap == account.spent.tool_calls and account.reserved.tool_calls == 0
    assert found[:2] == ["0", "1"] and "budget" in found[2]
