"""Tools and `run` on the event loop of another thread, as a `run_sync` has it. Each test says what is lost."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import RunBlocked, RunFailed, RunWaiting

BUDGET = hf.Budget(tool_calls=200)


class Colour(enum.Enum):
    """What a tool gives after a deploy."""

    RED = "red"


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def far_away(body: Callable[[hf.Run], Awaitable[Any]]) -> hf.Agent[Any, Any]:
    """An agent whose work is done on a loop of its own, in another thread."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.to_thread(lambda: asyncio.run(body(run)))  # type: ignore[arg-type]

    return agent


def test_tools_called_at_once_over_there_keep_their_answers_after_a_crash(world: Any, shop: Any) -> None:
    """Lost: two loops that write one record would swap answers, or pay twice."""
    shop.dies_at = "c"

    async def body(run: hf.Run) -> Any:
        looked = await asyncio.gather(*(shop.look(n) for n in range(5)))
        paid = [await shop.pay(what) for what in ("a", "b")]
        return [looked, paid, await shop.pay("c")]

    with pytest.raises(world.Crash):
        world.run(far_away(body))
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(far_away(body))
    world.answer("it_did_not", far_away(body))
    looked, paid, last = world.run(far_away(body))
    assert looked == [{"found": n} for n in range(5)]
    assert (paid, last) == (["paid a (1)", "paid b (1)"], "paid c (2)")
    assert shop.paid() == ["a", "b", "c", "c"] and len(shop.keys("c")) == 1


@pytest.mark.parametrize("effect", ["read", "idempotent", "once"])
def test_a_body_runs_on_the_loop_and_in_the_context_of_its_caller(world: Any, effect: Any) -> None:
    """Lost: a tool whose connection belongs to its framework's loop would hang, or fail after its effect."""
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[Any] = []

    @hf.tool(effect=effect)
    async def act(x: int) -> None:
        seen.append((asyncio.get_running_loop(), user.get()))

    async def body(run: hf.Run) -> None:
        seen.append((asyncio.get_running_loop(), "ann"))
        user.set("ann")
        await act(1)
        await run.step("own", act.spec.fn, 2, effect=effect)

    world.run(far_away(body))
    assert len(set(seen)) == 1 and len(seen) == 3


def test_errors_arrive_over_there_as_what_they_are(world: Any) -> None:
    """Lost: a framework that cannot tell the errors of its tools apart, or that sees others on replay."""

    class Missing(Exception):
        pass

    @hf.tool(effect="read", raises=(Missing,), retry=hf.Retry(attempts=1))
    async def find(x: int) -> int:
        raise Missing("gone") if x else ConnectionError("down")

    said: list[Any] = []

    async def body(run: hf.Run) -> Any:
        for x in (0, 1):
            try:
                await find(x)
            except (hf.ToolFailed, Missing) as error:
                said.append(repr(error))
        return (await run.ask("go on?")).value

    with pytest.raises(RunWaiting):
        world.run(far_away(body), wait=0.0)
    world.answer("yes", far_away(body))
    assert world.run(far_away(body)) == "yes"
    assert said[:2] == said[2:] == ["ToolFailed('find failed: ConnectionError: down')", "Missing('gone')"]


def test_a_caller_that_gives_up_over_there_is_one_that_gave_up(world: Any) -> None:
    """Lost: an effect that is cancelled halfway by a framework's timeout, or made again by its retry."""
    begun, go_on = threading.Event(), threading.Event()

    @hf.tool(effect="once")
    async def pay(x: int) -> str:
        world.effects.append(x)
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0)
        world.effects.append(-x)
        return "paid"

    @hf.tool(effect="read")
    async def look(x: int) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            world.effects.append("look cancelled")
        return "seen"

    async def body(run: hf.Run) -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(look(1), 0.02)
        first = asyncio.ensure_future(pay(1))
        while not begun.is_set():
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        go_on.set()
        return [first.cancelled(), await pay(1)]

    assert world.run(far_away(body)) == [True, "paid"]
    assert world.effects == ["look cancelled", 1, -1]
    assert len(world.events(Kind.STEP_ABANDONED)) == 2


def test_a_run_that_is_closed_meanwhile_unwinds_over_there_too(world: Any, shop: Any) -> None:
    """Lost: a thread and a loop for each run that waits for a person; or a step begun after the close."""
    unwound: list[str] = []

    async def waits(run: hf.Run, name: str) -> Any:
        try:
            return (await run.ask(name, name=name)).value
        except asyncio.CancelledError:
            unwound.append(name)
            try:
                await shop.pay("late")
            except asyncio.CancelledError:
                unwound.append(f"{name} late")
            raise

    async def body(run: hf.Run) -> Any:
        await shop.pay("early")
        return await asyncio.gather(waits(run, "a"), waits(run, "b"))

    with pytest.raises(RunWaiting):
        world.run(far_away(body), wait=0.0)
    assert sorted(unwound) == ["a", "a late", "b", "b late"]
    for question in world.head().questions:
        world.play(lambda app, q=question: app.answer(world.id(), q.id, q.text, by="ann"))
    assert world.run(far_away(body)) == ["a", "b"]
    assert shop.paid() == ["early"]


@pytest.mark.parametrize("how", ["cancelled by asyncio.run", "left behind"])
def test_an_effect_whose_loop_is_closed_first_is_in_doubt(world: Any, how: str) -> None:
    """Lost: an effect that is taken as failed, or that its run waits for for ever, though nobody carries it on."""
    begun = threading.Event()

    @hf.tool(effect="once")
    async def pay(x: int) -> None:
        world.effects.append(x)
        begun.set()
        await asyncio.Event().wait()

    async def leaves() -> None:
        task = asyncio.ensure_future(pay(1))
        while not begun.is_set():
            await asyncio.sleep(0)
        if how == "left behind":
            for left in asyncio.all_tasks() - {asyncio.current_task()}:
                left._log_destroy_pending = False  # type: ignore[attr-defined]
                kept.append(left)
        kept.append(task)

    kept: list[Any] = []

    def thread() -> None:
        if how == "left behind":
            loop = asyncio.new_event_loop()
            loop.run_until_complete(leaves())
            loop.close()
        else:
            asyncio.run(leaves())

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await asyncio.to_thread(thread)
        return "done"

    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent, wait=0.0)
    assert world.effects == [1]
    world.answer("it_happened", agent)
    assert world.run(agent) == "done"
    assert world.effects == [1]


def test_run_itself_works_over_there(world: Any) -> None:
    """Lost: a framework's callback that cannot write a note, sleep, or run a step."""

    async def body(run: hf.Run) -> Any:
        await run.note("here")
        await run.sleep(0.01)
        return [await run.step("sum", lambda: 1 + 1, effect="read"), run.now > 0, run.key]

    assert world.run(far_away(body)) == [2, True, "k"]
    assert len(world.events(Kind.NOTE_WRITTEN)) == 1


def test_a_sync_tool_blocks_only_the_loop_that_called_it(world: Any) -> None:
    """Lost: our own loop, and the lease with it; or a tool that is refused although nothing of ours would block."""

    @hf.tool(effect="once")
    def pay(x: int) -> int:
        world.effects.append(x)
        return x

    async def body(run: hf.Run) -> Any:
        return [pay(1), pay(2)]

    assert world.run(far_away(body)) == [1, 2]
    assert world.effects == [1, 2]


def test_a_record_that_no_longer_fits_blocks_over_there_too(world: Any) -> None:
    """Lost: a run on a guess, or two loops mixed up, after a deploy that changed a tool's type."""

    def version(kind: Any) -> hf.Agent[Any, Any]:
        async def look(x: int) -> Any:
            return "text"

        look.__annotations__["return"] = kind
        tool = hf.tool(effect="read")(look)

        async def body(run: hf.Run) -> Any:
            await tool(1)
            return (await run.ask("go on?")).value

        return far_away(body)

    with pytest.raises(RunWaiting):
        world.run(version(str), wait=0.0)
    world.answer("yes", version(str))
    with pytest.raises(RunBlocked, match="drift"):
        world.run(version(Colour))


def test_a_failure_over_there_ends_the_run_and_is_what_resume_reopens(world: Any) -> None:
    """Lost: a resume that reopens nothing, since the failure came through another loop."""
    fails = [True]

    @hf.tool(effect="read", retry=hf.Retry(attempts=1))
    async def flaky(x: int) -> str:
        if fails.pop() if fails else False:
            raise ConnectionError("down")
        return "seen"

    async def body(run: hf.Run) -> Any:
        return await flaky(1)

    with pytest.raises(RunFailed, match="flaky failed"):
        world.run(far_away(body))
    world.resume()
    assert world.run(far_away(body)) == "seen"
    assert world.head().status is Status.SUCCEEDED
