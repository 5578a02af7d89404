"""`run.emit` and who watches. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import holdfast as hf
from holdfast.errors import NotFound, RunWaiting
from holdfast.runtime.progress import KEPT_MAX, Progress, Watchers

BUDGET = hf.Budget(tool_calls=50)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def told(watch: Any) -> list[Any]:
    """All that came, to the end of the run."""
    return [progress.data async for progress in watch]


def test_a_watcher_sees_what_a_run_tells_and_then_the_end(world: Any) -> None:
    """Lost: a web page that shows nothing while an agent works, or that waits for ever after it."""
    go = asyncio.Event()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await go.wait()
        for n in range(3):
            run.emit({"n": n})
            await run.note(str(n))
        return "done"

    async def scenario(app: hf.App) -> Any:
        run = await app.start(agent, None, key="k")
        watches = [asyncio.ensure_future(told(app.watch(run))) for _ in range(2)]
        await asyncio.sleep(0)
        go.set()
        await app.run(agent, None, key="k")
        return [*await asyncio.gather(*watches), await told(app.watch(run))]

    assert world.play(scenario) == [[{"n": 0}, {"n": 1}, {"n": 2}]] * 2 + [[]]
    assert len(world.events()) == 5, "three notes, a start and an end"


def test_nothing_is_told_again_on_replay(world: Any) -> None:
    """Lost: a user who reads the first half of an answer again after each restart."""
    seen: list[Any] = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        run.emit("begins")
        await run.note("a")
        run.emit("after a")
        answer = await run.ask("go on?")
        run.emit("after the answer")
        return answer.value

    def process(step: Any) -> Any:
        async def main() -> Any:
            settings = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)
            async with hf.App(world.store, settings=settings, on_emit=lambda run, data: seen.append(data)) as app:
                return await step(app)

        return asyncio.run(main())

    with pytest.raises(RunWaiting):
        process(lambda app: app.run(agent, None, key="k", wait=0))
    assert seen == ["begins", "after a"]
    process(lambda app: app.answer(world.id(), world.question(), "yes"))
    assert process(lambda app: app.run(agent, None, key="k")) == "yes"
    assert seen == ["begins", "after a", "after the answer"]


def test_a_step_in_progress_tells_also_while_others_are_replayed(world: Any) -> None:
    """Lost: the bar of a download that began again while older outcomes were still to be handed out."""
    runs: list[hf.Run] = []
    was_replaying: list[bool] = []
    seen: list[Any] = []

    @hf.tool(effect="read")
    async def load(x: int) -> int:
        was_replaying.append(runs[-1].replaying)
        runs[-1].emit(f"loading {x}")
        if len(runs) == 1:
            await asyncio.Event().wait()
        return x

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        runs.append(run)
        loading = asyncio.ensure_future(load(1))
        await asyncio.sleep(0)
        await run.note("a")
        if len(runs) == 1:
            raise world.Crash
        return await loading

    def watched() -> Any:
        return world.run(agent, on_emit=lambda run, data: seen.append(data))

    with pytest.raises(world.Crash):
        watched()
    assert watched() == 1
    assert was_replaying == [False, True] and seen == ["loading 1"] * 2


def test_a_slow_watcher_loses_the_oldest_and_is_told_how_many() -> None:
    """Lost: the memory of a process whose page nobody reads; or a gap that looks like the whole."""

    async def main() -> None:
        watchers = Watchers()
        slow, fast = (watchers.watch("r", is_over=False) for _ in range(2))
        for n in range(KEPT_MAX + 5):
            watchers.tell("r", n)
            if n < 3:
                assert await anext(fast) == Progress(n)
        watchers.over("r")
        got = [progress async for progress in slow]
        assert (got[0], got[1], len(got)) == (Progress(5, missed=5), Progress(6), KEPT_MAX)
        assert (await anext(fast)).missed == 2

    asyncio.run(main())


def test_a_callback_that_raises_does_not_touch_the_run(caplog: Any) -> None:
    """Lost: an agent that fails because a log handler or a socket of its watcher did."""

    def broken(run: str, data: Any) -> None:
        raise ConnectionError("the page is gone")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        run.emit("x")
        return "done"

    with caplog.at_level(logging.WARNING, "holdfast"):
        assert hf.App("memory:", on_emit=broken).run_sync(agent, None, key="k") == "done"
    assert "the page is gone" in caplog.text


def test_a_sync_agent_tells_from_its_thread(world: Any) -> None:
    """Lost: progress of a plain `def`, or a watcher that is woken from a wrong thread and never turns."""
    go = asyncio.Event()

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        run.wait(go.wait())
        for n in range(3):
            run.emit(n)
        return "done"

    async def scenario(app: hf.App) -> Any:
        run = await app.start(agent, None, key="k")
        watch = asyncio.ensure_future(told(app.watch(run)))
        await asyncio.sleep(0)
        go.set()
        return await watch

    assert world.play(scenario) == [0, 1, 2]


def test_watching_ends_with_the_app_and_an_unknown_run_is_refused(world: Any) -> None:
    """Lost: a page that waits for a run that no process drives any more, or for one that never was."""
    watches: list[Any] = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.ask("?")

    async def scenario(app: hf.App) -> None:
        with pytest.raises(NotFound):
            app.watch("run_none")
        run = await app.start(agent, None, key="k")
        watches.append(asyncio.ensure_future(told(app.watch(run))))
        await asyncio.sleep(0)

    world.play(scenario)
    assert watches[0].result() == []
