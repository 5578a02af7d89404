"""What arrives in the very moment in which a run ends, or goes on as its next chapter. Each test says what would be
lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import RunCancelled, RunWaiting
from holdfast.protocols import Append, Post
from holdfast.runtime import mailroom

LATE = accept.signal("late", by="ann", body=b"1")


def at_the_end(told: Callable[[Append, int], None]) -> Callable[[Any], None]:
    """For `prepare`: call this before each append that ends a run, with how many there were before it."""

    def prepare(journal: Any) -> None:
        ends: list[Append] = []

        def before(appends: Any) -> None:
            for append in appends:
                if any(event.kind is Kind.RUN_ENDED for event in append.events):
                    ends.append(append)
                    told(append, len(ends) - 1)

        journal.before = before

    return prepare


def post(world: Any, message: Post) -> bool:
    """Another process tells a run something; whether it was stored."""
    return bool(world.store.post_all([message])[0].is_stored)


def counting(shop: Any) -> hf.Agent[Any, Any]:
    """Pays once a chapter, for three chapters."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, n: int) -> Any:
        await shop.pay(n)
        if n < 3:
            await run.continue_as(n + 1)
        return n

    return agent


def test_an_order_read_with_an_end_that_more_mail_refuses_is_not_lost(world: Any, shop: Any) -> None:
    """Lost: a cap that an operator set: marked as read, and in no record; the run is resumed with the old one."""
    joined: list[list[Kind]] = []

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, wait_s: float) -> Any:
        await shop.pay(wait_s)
        await asyncio.sleep(wait_s)

    def more_mail(append: Append, before: int) -> None:
        kinds = [event.kind for event in append.events]
        if Kind.BUDGET_CHANGED in kinds and not joined:
            joined.append(kinds)
            post(world, Post(append.lease.run_id, "late", LATE))

    async def scenario(app: hf.App, key: str, turns: int) -> None:
        other = asyncio.ensure_future(app.run(agent, 0.05, key=f"other of {key}"))  # so that commits are shared
        ours = asyncio.ensure_future(app.run(agent, 0.001, key=key))
        drivers = app._worker.drivers
        while not (driver := drivers.get(world.id(key))) or driver._root is None or not driver._root.done():
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        if post(world, Post(world.id(key), "cap", accept.cap({"tool_calls": 3}, by="ann"))):
            await app._worker.deliver(driver)
        await asyncio.gather(ours, other)

    for turns in range(10):
        key = f"k{turns}"
        world.play(lambda app, key=key, turns=turns: scenario(app, key, turns), prepare=at_the_end(more_mail))
        if joined:
            break
    assert joined == [[Kind.BUDGET_CHANGED, Kind.RUN_ENDED]], "the order was read in the very moment of the end"
    assert world.state(key).limits.tool_calls == 3
    assert world.kinds(key)[-3:] == [Kind.BUDGET_CHANGED, Kind.SIGNAL_RECEIVED, Kind.RUN_ENDED]


def test_a_cancel_is_not_lost_when_its_end_is_refused_and_the_process_dies(world: Any, shop: Any) -> None:
    """Lost: a cancel that was marked as read by another append than the end that it causes: the run goes on."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, n: int) -> Any:
        await run.sleep(60)
        await shop.pay("never")

    def refuse_then_die(append: Append, before: int) -> None:
        if before:
            raise world.Crash
        post(world, Post(append.lease.run_id, "late", LATE))

    with pytest.raises(RunWaiting):
        world.run(agent, 1, wait=0)
    post(world, Post(world.id(), "cancel", accept.cancel(by="ann")))
    with pytest.raises(world.Crash):
        world.run(agent, 1, prepare=at_the_end(refuse_then_die))
    world.clock.by_s += 120
    with pytest.raises(RunCancelled, match="ann"):
        world.run(agent, 1)
    assert shop.paid() == []


def test_a_pause_that_meets_the_end_of_a_chapter_holds(world: Any, shop: Any) -> None:
    """Lost: the pause; the run that somebody wanted to stand still goes on under the same key."""

    def pause(append: Append, before: int) -> None:
        if not before:
            post(world, Post(append.lease.run_id, "pause", accept.pause(by="ann", why="wait")))

    agent = counting(shop)
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, 1, prepare=at_the_end(pause), wait=0.3)
    assert shop.paid() == [1] and len(world.store.heads(key="k")) == 1
    assert (world.head().status, world.head().why) == (Status.SUSPENDED, "paused")
    world.resume()
    assert world.run(agent, 1) == 3
    assert shop.paid() == [1, 2, 3]


def test_a_pause_that_is_read_while_a_chapter_closes_holds(world: Any, shop: Any) -> None:
    """Lost: the same, between the call that ends the chapter and its end; and the takeover that nobody died for."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, n: int) -> Any:
        await shop.pay(n)
        try:
            if n < 2:
                await run.continue_as(n + 1)
        finally:
            if len(shop.paid()) == 1 and not world.store.mail(world.id()):
                post(world, Post(world.id(), f"pause {len(world.events())}", accept.pause(by="ann")))
                await asyncio.shield(asyncio.ensure_future(opened()))
        return n

    async def opened() -> None:
        (driver,) = apps[-1]._worker.drivers.values()
        await mailroom.open_mail(driver)

    apps: list[Any] = []

    async def scenario(app: hf.App) -> Any:
        apps.append(app)
        return await app.run(agent, 1, key="k", wait=0.3)

    with pytest.raises(RunWaiting, match="paused"):
        world.play(scenario)
    assert shop.paid() == [1] and len(world.store.heads(key="k")) == 1
    assert Kind.RUN_RESUMED not in world.kinds()


def test_signals_that_no_step_took_are_the_next_chapters(world: Any, shop: Any) -> None:
    """Lost: what was told to an agent that never ends while it was at work, accepted and never heard."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, n: int) -> Any:
        heard = (await run.signal("go")).value
        await shop.pay(heard)
        if n < 3:
            await run.continue_as(n + 1)
        return heard

    async def scenario(app: hf.App) -> Any:
        run = await app.start(agent, 1, key="k")
        for value in ("a", "b", "c"):
            await app.signal(run, "go", value, by="ann")
        return await app.run(agent, 1, key="k")

    assert world.play(scenario) == "c"
    assert shop.paid() == ["a", "b", "c"]


@pytest.mark.parametrize("is_written", [False, True])
def test_signals_reach_the_next_chapter_once_however_the_process_dies(world: Any, is_written: bool) -> None:
    """Lost: a signal told twice, or never, by a chapter whose process died as it ended."""
    heard: list[list[Any]] = []

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100))
    async def agent(run: hf.Run, so_far: list[Any]) -> Any:
        found = [*so_far, (await run.signal("go")).value]
        if len(found) < 3:
            await run.continue_as(found)
        return found

    for number in range(1, 10):
        key = f"k{number}"

        async def scenario(app: hf.App, key: str = key) -> Any:
            run = await app.start(agent, [], key=key)
            if run == world.id(key) and not world.store.head(run).status.is_end:
                for value in ("a", "b", "c"):
                    post(world, Post(run, f"say {value}", accept.signal("go", by="ann", body=f'"{value}"'.encode())))
            return await app.run(agent, [], key=key)

        try:
            world.play(scenario, prepare=lambda journal, at=number: journal.die_at(at, is_written=is_written))
        except world.Crash:
            pass
        heard.append(world.play(scenario))
    assert heard == [["a", "b", "c"]] * len(heard)
