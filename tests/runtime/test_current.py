"""Code that lost its run, or belongs to none. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import contextvars
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import RunContextLost
from holdfast.runtime import current

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


@pytest.fixture
def tools(world: Any) -> dict[str, Any]:
    """Sync tools of each effect."""

    def make(effect: Any) -> Any:
        @hf.tool(effect=effect, name=f"{effect}_{id(world)}")
        def act(x: int) -> str:
            world.effects.append((effect, x))
            return f"{effect} {x}"

        return act

    return {effect: make(effect) for effect in ("read", "idempotent", "once")}


@pytest.mark.parametrize("effect", ["once", "idempotent"])
@pytest.mark.parametrize("how", ["run_in_executor", "pool"])
def test_an_effect_that_lost_its_run_is_refused(world: Any, tools: Any, effect: str, how: str) -> None:
    """It would act outside the record: paid, and nobody knows, and paid again on replay."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        with pytest.raises(RunContextLost, match=r"run\.carry"):
            if how == "pool":
                with ThreadPoolExecutor() as pool:
                    await asyncio.wrap_future(pool.submit(tools[effect], 1))
            else:
                await asyncio.get_running_loop().run_in_executor(None, tools[effect], 1)
        return "refused"

    assert world.run(agent) == "refused"
    assert world.effects == [] and not world.events(Kind.STEP_INTENDED)


def test_a_read_that_lost_its_run_warns_once(world: Any, tools: Any) -> None:
    """Reads without a record run again on each replay; silence about it would hide the cost."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        loop = asyncio.get_running_loop()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            results = [await loop.run_in_executor(None, tools["read"], x) for x in range(3)]
        return [results, len(caught), "run.carry" in str(caught[0].message)]

    assert world.run(agent) == [["read 0", "read 1", "read 2"], 1, True]


def test_carry_brings_the_run_along(world: Any, tools: Any) -> None:
    """The way out must record like any other call."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor() as pool:
            first = await asyncio.wrap_future(pool.submit(run.carry(tools["once"]), 1))
        second = await loop.run_in_executor(None, run.carry(tools["idempotent"]), 2)
        return [first, second]

    assert world.run(agent) == ["once 1", "idempotent 2"]
    assert len(world.events(Kind.STEP_SUCCEEDED)) == 2


def test_detached_acts_outside_the_run_on_purpose(world: Any, tools: Any) -> None:
    """A log line sent by a tool's helper is not the run's business, and must stay possible."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        with hf.detached():
            return await asyncio.to_thread(tools["once"], 1)

    assert world.run(agent) == "once 1"
    assert not world.events(Kind.STEP_INTENDED)

    async def beside(app: hf.App) -> Any:
        with pytest.raises(RunContextLost):
            await asyncio.to_thread(tools["once"], 2)
        with hf.detached():
            return await asyncio.to_thread(tools["once"], 3)

    assert world.play(beside) == "once 3"


def test_a_task_made_by_the_agent_belongs_to_its_run(world: Any, shop: Any) -> None:
    """Most frameworks act in tasks of their own."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(shop.pay(x)) for x in "AB"]
        return [task.result() for task in tasks]

    assert world.run(agent) == ["paid A (1)", "paid B (1)"]
    assert len(world.events(Kind.STEP_SUCCEEDED)) == 2


def test_two_runs_in_one_app_do_not_mix(quick: Any, shop: Any) -> None:
    """One customer's payment on another's record."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        for x in range(3):
            await asyncio.sleep(0)
            await shop.look(f"{given}{x}")
        return run.key

    async def scenario(app: hf.App) -> Any:
        return await asyncio.gather(*(app.run(agent, key, key=key) for key in "abc"))

    assert quick.play(scenario) == ["a", "b", "c"]
    for key in "abc":
        bodies = [event.body for event in quick.events(Kind.STEP_SUCCEEDED, key=key)]
        assert bodies == [b'{"found":"%s%d"}' % (key.encode(), x) for x in range(3)]


def test_a_tool_without_an_app_applies_its_policy_and_works() -> None:
    """Unit tests of users' tools must not need a store."""
    calls = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
    async def look(x: int) -> int:
        calls.append(x)
        if len(calls) < 3:
            raise ConnectionError("again")
        return x

    assert asyncio.run(look(4)) == 4 and calls == [4, 4, 4]


def test_a_place_that_is_left_in_another_context_is_told() -> None:
    """Lost: code that goes on as a part of a run which it has left, and nobody knows of it."""
    where, inside = current.Place(cast(Any, None)), contextvars.copy_context()
    block = current.entered(where)
    inside.run(block.__enter__)
    block.__exit__()  # as where a coroutine is collected: this context never was at that place
    assert current.place() is None
    with current.entered(where), pytest.raises(ValueError, match="Context"):
        block.__exit__()
