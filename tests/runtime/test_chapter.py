"""Runs that go on as another under the same key. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.core.state import fold
from holdfast.errors import BudgetExceeded, MessageRefused, RunFailed, RunMismatch, RunWaiting


def counting(shop: Any, upto: int = 3, **declared: Any) -> hf.Agent[Any, Any]:
    """Pays once a chapter, and goes on until it has counted so far."""

    @hf.agent(name="shop", **({"budget": hf.Budget(tool_calls=100)} | declared))
    async def agent(run: hf.Run, n: int) -> Any:
        paid = await shop.pay(n)
        if n < upto:
            await run.continue_as(n + 1)
        return [n, paid]

    return agent


def chapters(world: Any, key: str = "k") -> list[Any]:
    """Heads of the chapters, the oldest first."""
    return world.store.heads(key=key)[::-1]


def test_it_goes_on_under_the_same_key_and_the_caller_gets_the_last_result(world: Any, shop: Any) -> None:
    """Lost: an agent that never ends has a record that never ends, which each start reads from its beginning."""
    agent = counting(shop)
    assert world.run(agent, 1) == [3, "paid 3 (1)"]
    assert shop.paid() == [1, 2, 3]
    found = chapters(world)
    assert [head.status for head in found] == [Status.SUCCEEDED] * 3 and found[0].run_id == world.id()
    states = [fold(world.store.events(head.run_id)) for head in found]
    assert [state.chapter for state in states] == [1, 2, 3]
    assert [state.continued for state in states] == [found[1].run_id, found[2].run_id, ""]
    assert [len(state.slots) for state in states] == [1, 1, 1], "each record begins anew"
    assert world.run(agent, 1) == [3, "paid 3 (1)"], "the same start finds the newest chapter"
    assert len(chapters(world)) == 3
    with pytest.raises(RunMismatch):
        world.run(agent, 2)


@pytest.mark.parametrize("is_written", [False, True])
def test_the_end_of_a_chapter_and_the_start_of_the_next_are_one(world: Any, shop: Any, is_written: bool) -> None:
    """Lost: a run that ended without going on, or a chapter that is begun twice."""
    agent = counting(shop)
    for number in range(1, 12):
        key = f"k{number}"
        shop.done.clear()
        try:
            world.run(agent, 1, key=key, prepare=lambda journal, at=number: journal.die_at(at, is_written=is_written))
        except world.Crash:
            pass
        for _ in range(3):
            try:
                assert world.run(agent, 1, key=key, wait=0.3) == [3, "paid 3 (1)"]
                break
            except RunWaiting:
                (head,) = [head for head in chapters(world, key) if head.questions]
                result = f"paid {len(chapters(world, key))} (1)"
                world.play(
                    lambda app, head=head, result=result: app.answer(
                        head.run_id, head.questions[0].id, "it_happened", result=result
                    )
                )
        assert len(chapters(world, key)) == 3
        assert len(set(shop.paid())) == len(shop.paid())


def test_caps_begin_anew_with_each_chapter(world: Any, shop: Any) -> None:
    """Lost: an agent that never ends is stopped by the cap of its first day; or its chapters have no cap."""
    assert world.run(counting(shop, 5, budget=hf.Budget(tool_calls=1)), 1)[0] == 5

    @hf.agent(name="twice", budget=hf.Budget(tool_calls=1))
    async def twice(run: hf.Run, n: int) -> Any:
        await shop.pay(n)
        if n > 1:
            await shop.pay(n)
        await run.continue_as(n + 1)

    with pytest.raises(BudgetExceeded):
        world.run(twice, 1, key="t")
    assert [head.status for head in chapters(world, "t")] == [Status.SUCCEEDED, Status.STOPPED]
    world.play(lambda app: app.resume(chapters(world, "t")[1].run_id, budget=hf.Budget(tool_calls=5)))


def test_what_is_told_reaches_the_newest_chapter(world: Any, shop: Any) -> None:
    """Lost: an answer, a signal or a cancel by key goes to a chapter that is over."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, n: int) -> Any:
        heard = (await run.signal("go")).value
        if n == 1:
            await run.continue_as(2)
        return heard

    with pytest.raises(RunWaiting):
        world.run(agent, 1, wait=0)
    world.play(lambda app: app.signal(world.id(), "go", "one"))
    with pytest.raises(RunWaiting):
        world.run(agent, 1, wait=0.2)
    with pytest.raises(MessageRefused):
        world.play(lambda app: app.signal(world.id(), "go", "late"))

    async def by_key(app: hf.App) -> None:
        await app.signal(await app.start(agent, 1, key="k"), "go", "two")

    world.play(by_key)
    assert world.run(agent, 1) == "two"


def test_effects_that_are_under_way_come_first(world: Any, shop: Any) -> None:
    """Lost: a payment that was begun beside is left out of the chapter that began it."""
    begun, release = asyncio.Event(), asyncio.Event()

    @hf.tool(effect="once")
    async def slow(n: int) -> str:
        begun.set()
        await release.wait()
        return "paid"

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, n: int) -> Any:
        if n == 2:
            return "over"
        beside = asyncio.ensure_future(slow(n))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, release.set)
        await run.continue_as(2)
        return beside

    assert world.run(agent, 1) == "over"
    kinds = [event.kind for event in world.store.events(world.id())]
    assert kinds == [Kind.RUN_STARTED, Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED, Kind.RUN_ENDED]


def test_a_part_of_another_run_cannot_go_on_as_another(world: Any, shop: Any) -> None:
    """Lost: a parent that waits for a result which its child's next chapter has."""
    child = counting(shop)

    @hf.agent(name="top", budget=hf.Budget(tool_calls=5))
    async def top(run: hf.Run, n: int) -> Any:
        return await run.spawn(child, n)

    with pytest.raises(RunFailed, match="which waits for its result"):
        world.run(top, 1, agents=[child])


def test_an_account_that_runs_share_holds_for_all_chapters() -> None:
    """Lost: the cap of a project, to an agent that goes on as another run."""
    paid: list[int] = []

    @hf.tool(effect="idempotent")
    async def pay(n: int) -> None:
        paid.append(n)

    @hf.agent(budget=hf.Budget(tool_calls=100))
    async def goes_on(run: hf.Run, n: int) -> None:
        await pay(n)
        if n < 6:
            await run.continue_as(n + 1)

    async def main() -> int:
        async with hf.App("memory:") as app:
            app.journal.cap("project/p", hf.Budget(tool_calls=3).limits())
            with pytest.raises(BudgetExceeded):
                await app.run(goes_on, 1, key="k", account="project/p")
            found = app.journal.account("project/p")
            return 0 if found is None else found.spent.tool_calls

    assert asyncio.run(main()) == 3 and paid == [1, 2, 3]
