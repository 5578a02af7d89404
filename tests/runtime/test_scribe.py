"""Many runs at once. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status


def test_two_hundred_runs_at_once_all_end_and_share_their_commits(world: Any) -> None:
    """One commit a step would make a service of agents as slow as its disk."""

    @hf.tool(effect="once")
    async def act(key: str, n: int) -> int:
        world.effects.append((key, n))
        await asyncio.sleep(0)
        return n

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, key: str) -> Any:
        return sum([await act(key, n) for n in range(5)])

    async def scenario(app: hf.App) -> Any:
        return await asyncio.gather(*(app.run(agent, f"k{i}", key=f"k{i}") for i in range(200)))

    assert world.play(scenario, poll_s=0.5, close_s=5) == [10] * 200
    assert len(world.effects) == len(set(world.effects)) == 1_000
    for i in range(200):
        kinds = world.kinds(f"k{i}")
        assert kinds.count(Kind.STEP_SUCCEEDED) == 5 and kinds[-1] is Kind.RUN_ENDED
        assert world.head(f"k{i}").status is Status.SUCCEEDED
    assert world.journal.transactions < 200, "2,400 appends in group commits"


def test_a_run_whose_append_is_refused_fails_alone(quick: Any) -> None:
    """One lost lease in a group would take the others' outcomes with it."""

    @hf.tool(effect="once")
    async def act(key: str, n: int) -> int:
        quick.effects.append((key, n))
        return n

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=50))
    async def agent(run: hf.Run, key: str) -> Any:
        for n in range(5):
            await act(key, n)
            if key == "k3" and n == 2:
                held = quick.store._runs[quick.id("k3")]
                held.epoch += 1  # somebody took it over
        return "done"

    async def scenario(app: hf.App) -> Any:
        runs = (app.run(agent, f"k{i}", key=f"k{i}") for i in range(6))
        return await asyncio.gather(*runs, return_exceptions=True)

    results = quick.play(scenario)
    assert [result for result in results if result != "done"] == [results[3]]
    assert type(results[3]).__name__ == "LeaseLost"
    assert ("k3", 3) not in quick.effects
