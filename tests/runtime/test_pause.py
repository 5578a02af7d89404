"""An operator pauses a run, kills it, or lowers its cap, while it is at work. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Kind
from holdfast.core.heads import Status, Why
from holdfast.errors import BudgetExceeded, MessageRefused, RunCancelled, RunWaiting

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def turns(count: int = 50) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Slow:
    """An effect that waits until the test lets it go on."""

    def __init__(self, done: list[Any]) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

        @hf.tool(effect="once")
        async def slow(x: int) -> str:
            done.append(("slow", x))
            self.begun.set()
            await self.release.wait()
            return "charged"

        self.tool = slow


async def held(app: hf.App, run: str) -> None:
    """Wait until the run is suspended, in the store."""
    while True:
        head = app.journal.head(run)
        if head is not None and head.status is Status.SUSPENDED:
            return
        await asyncio.sleep(0.005)


def test_a_pause_lets_the_effect_in_flight_finish_begins_nothing_and_stays_until_a_resume(
    world: Any, shop: Any
) -> None:
    """A pause that tore a payment, or let the next one begin, would be none; one that a restart forgets neither."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow.tool(1)
        return await shop.pay("next")

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k", wait=5))
        await slow.begun.wait()
        await app.pause(world.id(), by="ann", why="wrong price")
        await turns()
        head = world.head()
        assert (head.status, head.why) == (Status.RUNNING, "pausing"), "the effect is still in flight"
        slow.release.set()
        with pytest.raises(RunWaiting, match="paused"):
            await running

    slow = Slow(shop.done)
    world.play(scenario)
    assert [event.body for event in world.events(Kind.STEP_SUCCEEDED)] == [b'"charged"']
    (decided,) = world.events(Kind.DECIDED)
    assert decided.facts == {"what": "pause", "choice": "paused", "because": "wrong price", "by": "ann"}
    for _ in range(2):  # other processes find it as it is
        with pytest.raises(RunWaiting, match="paused"):
            world.run(agent, wait=0)
    assert (world.head().status, world.head().why) == (Status.SUSPENDED, Why.PAUSED) and not shop.paid()
    world.resume()
    assert world.run(agent) == "paid next (1)"
    assert world.events(Kind.RUN_RESUMED)[-1].facts["why"] == "unpaused"
    assert world.state().spent.tool_calls == 2, "a pause costs nothing"


def test_a_branch_beside_the_effect_in_flight_begins_nothing_either(world: Any, shop: Any) -> None:
    """An agent that works in parallel would go on paying while its operator waits for the pause."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        async def beside() -> None:
            await read.wait()
            await shop.pay("beside")

        await asyncio.gather(slow.tool(1), beside())

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k", wait=5))
        await slow.begun.wait()
        await app.pause(world.id(), by="ann")
        read.set()
        await turns()
        assert not shop.paid()
        slow.release.set()
        with pytest.raises(RunWaiting, match="paused"):
            await running

    slow, read = Slow(shop.done), asyncio.Event()
    world.play(scenario)
    assert not shop.paid()
    world.resume()
    world.run(agent)
    assert shop.paid() == ["beside"] and shop.done.count(("slow", 1)) == 1


def test_a_worker_that_serves_leaves_a_paused_run_alone(world: Any, shop: Any) -> None:
    """A pause that the next worker's look for work ended would be none."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay("x")

    async def pausing(app: hf.App) -> None:
        other = world.store
        assert other.post(world.id(), "m1", accept.pause(by="ann")).is_stored

    async def looking(app: hf.App) -> None:
        await held(app, world.id())
        claim, looks, looked = app.journal.claim, itertools.count(1), asyncio.Event()

        def counted(*given: Any, **more: Any) -> Any:
            if next(looks) == 3:
                looked.set()
            return claim(*given, **more)

        app.journal.claim = counted  # type: ignore[method-assign]
        await looked.wait()
        del app.journal.claim

    with pytest.raises(world.Crash):
        shop.dies_at = "x"
        world.run(agent)
    world.play(pausing)
    shop.done.clear()
    world.play(looking, agents=[agent], serves=True)
    assert world.head().why == Why.PAUSED and not shop.paid()


def test_a_pause_holds_a_run_that_sleeps_and_one_that_nobody_has_begun(world: Any, shop: Any) -> None:
    """A paused run whose alarm goes off would go on by itself."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        shop.done.append("began")
        await run.sleep(given)
        return "slept"

    with pytest.raises(RunWaiting):
        world.run(agent, 60, key="sleeps", wait=0)
    world.play(lambda app: app.pause(world.id("sleeps"), by="ann"))
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, 60, key="sleeps", wait=0)
    head = world.head("sleeps")
    assert (head.why, head.wake_at) == (Why.PAUSED, None)
    world.clock.by_s += 100
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, 60, key="sleeps", wait=0)
    world.resume(key="sleeps")
    assert world.run(agent, 60, key="sleeps") == "slept"


def test_a_pause_that_is_taken_back_before_the_run_came_to_rest(world: Any, shop: Any) -> None:
    """The run would stay held though its record says that somebody resumed it."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow.tool(1)
        return await shop.pay("next")

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await slow.begun.wait()
        await app.pause(world.id(), by="ann")
        await app.resume(world.id(), by="bob")
        slow.release.set()
        return await running

    slow = Slow(shop.done)
    assert world.play(scenario) == "paid next (1)"
    assert shop.done.count(("slow", 1)) == 1 and world.state().spent.tool_calls == 2


def test_a_pause_nobody_has_read_can_be_taken_back(world: Any, shop: Any) -> None:
    """The resume would be refused as needless, and the run then be paused for good."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay("x")

    async def scenario(app: hf.App) -> None:
        journal = app.journal
        start = accept.start(agent="shop", key="k", input_digest=hf_digest(), limits=None, body=b"null")
        assert journal.post(world.id(), "start", start).is_stored
        await app.pause(world.id(), by="ann")
        await app.resume(world.id(), by="bob")

    world.play(scenario)
    assert world.run(agent) == "paid x (1)"


def hf_digest() -> str:
    """Digest of the input None."""
    from holdfast.journal.codec import digest

    return digest(b"null")


def test_two_pauses_at_once_are_both_recorded(world: Any, shop: Any) -> None:
    """The record would name one operator for what another did as well."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.sleep(60)

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await held(app, world.id())
        await asyncio.gather(app.pause(world.id(), by="ann"), app.pause(world.id(), by="bob"))
        while world.head().why != Why.PAUSED:
            await asyncio.sleep(0.005)

    world.play(scenario, park_s=5.0)
    assert [event.facts["by"] for event in world.events(Kind.DECIDED)] == ["ann", "bob"]


def test_an_answer_to_a_paused_run_is_kept_and_does_not_wake_it(world: Any, shop: Any) -> None:
    """Whoever answers a question would undo what an operator has decided."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        answer = await run.ask("Go?")
        return await shop.pay(answer.value)

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.pause(world.id(), by="ann"))
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, wait=0)
    world.answer("yes", agent)
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, wait=0)
    assert not shop.paid() and world.head().why == Why.PAUSED
    world.resume()
    assert world.run(agent) == "paid yes (1)"


def test_a_paused_run_is_cancelled_as_any_other(world: Any, shop: Any) -> None:
    """An operator who paused a run could never be rid of it."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.sleep(60)

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.pause(world.id(), by="ann"))
    world.play(lambda app: app.cancel(world.id(), by="ann"))
    with pytest.raises(RunCancelled):
        world.run(agent, wait=0)
    with pytest.raises(MessageRefused, match="Nothing to pause"):
        world.play(lambda app: app.pause(world.id(), by="ann"))


@pytest.mark.parametrize("is_written", [False, True])
def test_a_pause_survives_a_crash_at_every_write(is_written: bool, world: Any, shop: Any) -> None:
    """A worker that dies while it pauses would leave a run that goes on by itself."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.look(1)
        await shop.look(2)
        return await shop.pay("x")

    async def scenario(app: hf.App) -> None:
        run = await app.start(agent, None, key=key)
        posted.append(key)
        world.store.post(run, "m1", accept.pause(by="ann"))
        while True:
            await asyncio.sleep(0.005)
            if (head := app.journal.head(run)) is not None and (head.why == Why.PAUSED or head.status.is_end):
                return

    deaths, posted = 0, list[str]()
    for number in range(1, 20):
        key = f"k{number}"
        try:
            world.play(scenario, prepare=lambda journal: journal.die_at(number, is_written=is_written))  # noqa: B023
        except world.Crash:
            deaths += 1
        if key not in posted:
            continue
        before = len(shop.paid())
        if not world.head(key).status.is_end:
            with pytest.raises(RunWaiting, match="paused"):
                world.run(agent, key=key, wait=0)
        assert len(shop.paid()) == before
    assert deaths >= 2


def test_a_pause_over_a_crash_loop_is_resumed_without_the_question(world: Any, shop: Any) -> None:
    """A run that goes on would keep a question open whose answer "stop" still counts."""
    kills = True

    @hf.tool(effect="read")
    async def deadly(x: int) -> str:
        if kills:
            raise world.Crash
        return "alive"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await deadly(1)

    for _ in range(3):
        with pytest.raises(world.Crash):
            world.run(agent)
    with pytest.raises(RunWaiting, match="crash_loop"):
        world.run(agent, wait=0)
    world.play(lambda app: app.pause(world.id(), by="ann"))
    with pytest.raises(RunWaiting, match="paused"):
        world.run(agent, wait=0)
    kills = False
    world.resume()
    assert world.run(agent) == "alive" and world.state().questions == {}
    assert world.events(Kind.QUESTION_CLOSED)[-1].facts["choice"] == "go_on"


# --- kill ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_second", [False, True])
def test_a_cancel_in_a_hurry_leaves_the_effect_in_flight_in_doubt_and_says_so(
    is_second: bool, world: Any, shop: Any
) -> None:
    """An operator who must stop a run now would wait for what hangs; or nobody would know what was left behind."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow.tool(1)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await slow.begun.wait()
        if is_second:
            await app.cancel(world.id(), by="ann", why="stop")
            await turns()
            assert not running.done()
        await app.cancel(world.id(), by="ann", why="stop", now=True)
        with pytest.raises(RunCancelled, match="In doubt, and left so: slow"):
            await running

    slow = Slow(shop.done)
    world.play(scenario)
    assert world.head().status is Status.CANCELLED
    (slot,) = world.state().slots.values()
    assert slot.is_in_flight and slot.outcome is None


# --- caps ------------------------------------------------------------------------------------------------------


def test_a_cap_that_is_lowered_below_what_is_used_stops_the_run_at_its_next_step(world: Any, shop: Any) -> None:
    """A run that burns money could only be killed."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow.tool(1)
        return await shop.pay("next")

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await slow.begun.wait()
        assert app.journal.post(world.id(), "m1", accept.cap({"tool_calls": 1}, by="ann", why="too dear")).is_stored
        while world.state().limits.tool_calls != 1:
            await asyncio.sleep(0.005)
        slow.release.set()
        with pytest.raises(BudgetExceeded):
            await running

    slow = Slow(shop.done)
    world.play(scenario)
    assert not shop.paid() and world.head().status is Status.STOPPED
    (changed,) = world.events(Kind.BUDGET_CHANGED)
    assert (changed.facts["by"], changed.facts["because"]) == ("ann", "too dear")
    world.resume(budget=hf.Budget(tool_calls=1))
    assert world.run(agent) == "paid next (1)"


# --- other agents ----------------------------------------------------------------------------------------------


def test_an_agent_in_a_thread_is_paused_like_any_other(world: Any, shop: Any) -> None:
    """Its thread would stay behind, or go on with the next effect."""

    @hf.agent(name="shop", budget=BUDGET)
    def agent(run: hf.Run, given: Any) -> Any:
        run.wait(slow.tool(1))
        return run.wait(shop.pay("next"))

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k", wait=5))
        await slow.begun.wait()
        await app.pause(world.id(), by="ann")
        await turns()
        slow.release.set()
        with pytest.raises(RunWaiting, match="paused"):
            await running

    slow = Slow(shop.done)
    world.play(scenario)
    assert world.head().why == Why.PAUSED and not shop.paid()
    world.resume()
    assert world.run(agent) == "paid next (1)" and shop.done.count(("slow", 1)) == 1


def test_a_paused_parent_keeps_what_its_child_gave(world: Any, shop: Any) -> None:
    """The end of a child would wake its paused parent, or be lost on it. The child itself goes on."""

    @hf.agent(name="child")
    async def child(run: hf.Run, given: Any) -> str:
        return str(await slow.tool(1))

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay(await run.spawn(child, 1))

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k", wait=5))
        await slow.begun.wait()
        await app.pause(world.id(), by="ann")
        with pytest.raises(RunWaiting, match="paused"):
            await running
        slow.release.set()
        while not (await ended_children(app)):
            await asyncio.sleep(0.005)

    async def ended_children(app: hf.App) -> bool:
        return any(head.agent == "child" and head.status.is_end for head in app.journal.heads())

    slow = Slow(shop.done)
    world.play(scenario, agents=[child, agent], serves=True)
    assert world.head().why == Why.PAUSED and not shop.paid()
    world.resume()
    assert world.run(agent, agents=[child]) == "paid charged (1)"
