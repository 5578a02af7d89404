"""Runs that start runs. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Head, Status
from holdfast.core.state import State, fold
from holdfast.errors import (
    BudgetExceeded,
    MessageRefused,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunStopped,
    RunWaiting,
    ToolFailed,
    UsageError,
)

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the parent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def children(world: Any, key: str = "k") -> list[Head]:
    """The children of this run, in the order in which they were started."""
    found = [world.store.head(child) for child in world.state(key).children]
    assert None not in found
    return found


def state_of(world: Any, head: Head) -> State:
    """A child's record."""
    return fold(world.store.events(head.run_id))


async def settled(world: Any, *run_ids: str) -> None:
    """Wait until these runs have ended."""
    while not all(world.store.head(run).status.is_end for run in run_ids):
        await asyncio.sleep(0.005)


class Helper:
    """A child that pays, and whatever else a test wants."""

    def __init__(self, shop: Any) -> None:
        self.then: Any = None

        @hf.agent(name="helper", budget=hf.Budget(tool_calls=50))
        async def helper(run: hf.Run, topic: str) -> list[str]:
            paid = await shop.pay(topic)
            more = await self.then(run, topic) if self.then else "done"
            return [paid, more]

        self.agent = helper


@pytest.fixture
def helper(shop: Any) -> Helper:
    """A child."""
    return Helper(shop)


def test_a_child_is_a_run_of_its_own_and_its_result_is_a_step(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: parts that can be seen, answered and cancelled by themselves; or each part is done again after a crash."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        first = await run.spawn(helper.agent, "tea")
        return [first, await shop.pay("end")]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent, agents=[helper.agent])
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0, agents=[helper.agent])
    world.answer("it_did_not", agent)
    assert world.run(agent, agents=[helper.agent]) == [["paid tea (1)", "done"], "paid end (2)"]
    (child,) = children(world)
    assert (child.status, child.agent) == (Status.SUCCEEDED, "helper")
    assert child.key.startswith("k/helper.")
    record = state_of(world, child)
    assert (record.parent, record.depth) == (world.id(), 1)
    assert world.events(Kind.STEP_INTENDED)[0].step == "child"
    assert shop.paid("tea") == ["tea"]


def test_twenty_parallel_children(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: a fan-out takes another's result, or is started twice after a crash in the middle of it."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        found = await asyncio.gather(*(run.spawn(helper.agent, f"t{n}") for n in range(20)))
        return [each[0] for each in found]

    shop.dies_at = "t13"
    with pytest.raises(world.Crash):
        world.run(agent, agents=[helper.agent])

    async def answer(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        answered: set[str] = set()
        while not running.done():
            for child in children(world):
                for question in child.questions:
                    if question.id not in answered:
                        answered.add(question.id)
                        await app.answer(child.run_id, question.id, "it_happened", result=f"asked {child.key[:1]}")
            await asyncio.sleep(0.01)
        return running.result()

    found = world.play(answer, agents=[helper.agent])
    assert len(found) == 20 and len(children(world)) == 20
    assert len(set(shop.paid())) == len(shop.paid()), "none was paid twice"
    assert all(text in (f"paid t{n} (1)", "asked k") for n, text in enumerate(found))


@pytest.mark.parametrize("dies", ["child", "parent"])
def test_it_goes_on_whoever_dies(world: Any, shop: Any, helper: Helper, dies: str) -> None:
    """Lost: a parent that waits for ever for a child whose process died, or a second child in its place."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    async def wait(run: hf.Run, topic: str) -> str:
        await run.sleep("1h")
        return "slept"

    helper.then = wait
    if dies == "child":
        shop.dies_at = "tea"
        with pytest.raises(world.Crash):
            world.run(agent, agents=[helper.agent])
        with pytest.raises(RunWaiting):
            world.run(agent, agents=[helper.agent], wait=0.3)
        (child,) = children(world)
        assert child.why == "in_doubt"
        world.play(lambda app: app.answer(child.run_id, child.questions[0].id, "it_did_not"))
    with pytest.raises(RunWaiting, match="a run that it started"):
        world.run(agent, agents=[helper.agent], wait=0.3)
    world.clock.by_s += 3_600
    assert world.run(agent, agents=[helper.agent])[1] == "slept"
    assert len(children(world)) == 1 and len(shop.keys("tea")) == 1


def test_its_failure_is_raised_in_the_parent_and_resume_takes_both_up_again(
    world: Any, shop: Any, helper: Helper
) -> None:
    """Lost: a parent that can never go on, since its answer is always the child's old failure; or a second child."""
    works = False

    async def then(run: hf.Run, topic: str) -> str:
        await run.note("tried")
        if not works:
            raise LookupError("nothing there")
        return "found"

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    with pytest.raises(RunFailed, match="LookupError: nothing there"):
        world.run(agent, agents=[helper.agent])
    assert world.state().end.facts["cause"]
    works = True
    world.resume()
    assert world.run(agent, agents=[helper.agent]) == ["paid tea (1)", "found"]
    assert len(children(world)) == 1 and shop.paid() == ["tea"]


def test_a_failure_that_the_parent_handled_stays_its_answer(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: replay goes another way than the run did."""

    async def then(run: hf.Run, topic: str) -> str:
        raise LookupError("nothing there")

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await run.spawn(helper.agent, "tea")
        except RunFailed as failed:
            told = str(failed)
        return [told, await shop.pay("end")]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent, agents=[helper.agent])
    with pytest.raises(RunBlocked):
        world.run(agent, agents=[helper.agent], wait=0)
    world.answer("it_happened", agent, result="x")
    told, end = world.run(agent, agents=[helper.agent])
    assert "LookupError: nothing there" in told and end == "x"
    assert len(children(world)) == 1


def test_a_cancelled_child_is_told_and_a_resumed_parent_starts_another(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: a parent that waits for a run that nobody will ever drive again."""

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.ask("Go on?", options=["yes"], name=f"q{len(shop.done)}")).value

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    with pytest.raises(RunWaiting):
        world.run(agent, agents=[helper.agent], wait=0.3)
    (child,) = children(world)
    world.play(lambda app: app.cancel(child.run_id, by="ann"))
    with pytest.raises(RunFailed, match=r"RunCancelled: Run run_\w+ cancelled: cancelled by ann"):
        world.run(agent, agents=[helper.agent])
    world.resume()
    with pytest.raises(RunWaiting):
        world.run(agent, agents=[helper.agent], wait=0.3)
    first, second = children(world)
    assert first.run_id == child.run_id and second.status is Status.SUSPENDED
    world.play(lambda app: app.answer(second.run_id, second.questions[0].id, "yes"))
    assert world.run(agent, agents=[helper.agent])[1] == "yes"


@pytest.mark.parametrize("where", ["same process", "closed", "unread"])
def test_the_end_of_a_parent_is_the_end_of_its_children(world: Any, shop: Any, helper: Helper, where: str) -> None:
    """Lost: children that nobody waits for go on spending."""

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    async def cancel(app: hf.App) -> None:
        if where == "same process":
            running = asyncio.ensure_future(app.run(agent, None, key="k"))
            while not (world.store.head(world.id()) and world.state().children and children(world)[0].why == "signal"):
                await asyncio.sleep(0.005)
        await app.cancel(world.id(), by="ann", why="enough")
        if where == "same process":
            with pytest.raises(RunCancelled):
                await running
            await settled(world, children(world)[0].run_id)

    if where != "same process":
        with pytest.raises(RunWaiting):
            world.run(agent, agents=[helper.agent], wait=0.3)
    world.play(cancel, agents=[agent, helper.agent], park_s=30.0 if where == "same process" else 0.06)
    if where != "same process":
        agents = [helper.agent] if where == "unread" else []
        with pytest.raises(RunCancelled):
            world.run(agent, agents=agents)
        (child,) = children(world)
        world.play(lambda app: settled(world, child.run_id), agents=[helper.agent], serves=True)
    (child,) = children(world)
    assert child.status is Status.CANCELLED
    record = state_of(world, child)
    assert world.id() in record.why and "was cancelled" in record.why
    with pytest.raises(MessageRefused):
        world.play(lambda app: app.resume(child.run_id))


def test_a_parent_that_returns_without_waiting_ends_its_children(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: a child that was started and forgotten."""

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        forgotten = asyncio.ensure_future(run.spawn(helper.agent, "tea"))
        while not shop.paid("tea"):
            await asyncio.sleep(0.001)
        assert not forgotten.done()
        return "done"

    async def scenario(app: hf.App) -> Any:
        found = await app.run(agent, None, key="k")
        await settled(world, children(world)[0].run_id)
        return found

    assert world.play(scenario, agents=[helper.agent]) == "done"
    assert children(world)[0].status is Status.CANCELLED


def test_children_of_a_stopped_parent_are_stopped_and_resumed_with_it(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: `resume --raise` on a run waits for children that were cancelled, or pays in them again."""

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=1, model_calls=1))
    async def agent(run: hf.Run, given: Any) -> Any:
        child = asyncio.ensure_future(run.spawn(helper.agent, "tea"))
        while not shop.paid("tea") and not run.replaying:
            await asyncio.sleep(0.001)
        mine = [await shop.pay(n) for n in range(2)]
        return [mine, (await child)[1]]

    async def scenario(app: hf.App) -> None:
        with pytest.raises(BudgetExceeded):
            await app.run(agent, None, key="k")
        await settled(world, children(world)[0].run_id)

    world.play(scenario, agents=[helper.agent])
    (child,) = children(world)
    assert (child.status, state_of(world, child).end.facts["with_parent"]) == (Status.STOPPED, True)
    world.resume(budget=hf.Budget(tool_calls=10))
    with pytest.raises(RunWaiting):
        world.run(agent, agents=[helper.agent], wait=0.3)
    assert children(world)[0].status is Status.SUSPENDED
    world.play(lambda app: app.signal(child.run_id, "go", "went"))
    assert world.run(agent, agents=[helper.agent])[1] == "went"
    assert shop.paid("tea") == ["tea"] and len(children(world)) == 1


def test_a_child_that_ends_while_its_parent_is_stopped_is_its_answer_when_it_is_resumed(
    world: Any, shop: Any, helper: Helper
) -> None:
    """Lost: the result of a child that ended in the moment in which its parent was stopped."""
    release = is_begun = False

    @hf.tool(effect="once")
    async def slow(topic: str) -> str:
        nonlocal is_begun
        is_begun = True
        while not release:
            await asyncio.sleep(0.001)
        return "late"

    async def then(run: hf.Run, topic: str) -> str:
        return await slow(topic)

    helper.then = then

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=2))
    async def agent(run: hf.Run, given: Any) -> Any:
        child = asyncio.ensure_future(run.spawn(helper.agent, "tea"))
        while not is_begun and not run.replaying:
            await asyncio.sleep(0.001)
        mine = [await shop.pay(n) for n in range(2)]
        return [mine, (await child)[1]]

    async def scenario(app: hf.App) -> None:
        nonlocal release
        with pytest.raises(BudgetExceeded):
            await app.run(agent, None, key="k")
        release = True
        await settled(world, children(world)[0].run_id)

    world.play(scenario, agents=[helper.agent])
    world.resume(budget=hf.Budget(tool_calls=10))
    assert world.run(agent, agents=[helper.agent])[1] == "late"
    assert shop.paid("tea") == ["tea"]


@pytest.mark.parametrize("cap", [7, 40])
def test_parallel_children_share_one_cap(world: Any, shop: Any, helper: Helper, cap: int) -> None:
    """Lost: a budget for a run that each of its twenty parts may spend anew."""

    async def then(run: hf.Run, topic: str) -> str:
        await asyncio.gather(*(shop.look(f"{topic}{n}") for n in range(2)))
        return "looked"

    helper.then = then

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=cap))
    async def agent(run: hf.Run, given: Any) -> Any:
        found = await asyncio.gather(*(run.spawn(helper.agent, f"t{n}") for n in range(20)), return_exceptions=True)
        return sum(isinstance(each, BudgetExceeded) for each in found)

    assert world.run(agent, agents=[helper.agent]) >= (20 if cap == 7 else 6)
    assert len(shop.done) == cap
    account = world.store.account(f"run/{world.id()}")
    assert account.spent.tool_calls == cap and account.reserved.tool_calls == 0


def test_a_detached_child_has_its_own_budget_and_its_own_end(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: work that was meant to outlive the run is cancelled with it; or spends without any cap."""

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea", detached=True, budget=hf.Budget(tool_calls=7))

    child = world.run(agent, agents=[helper.agent])
    assert [head.run_id for head in children(world)] == [child]
    assert world.head().children == 0
    world.play(lambda app: app.signal(child, "go", 1))
    world.play(lambda app: settled(world, child), agents=[helper.agent], serves=True)
    record = fold(world.store.events(child))
    assert (record.status, record.limits.tool_calls) == (Status.SUCCEEDED, 7)


def test_a_detached_child_without_a_budget_is_refused(world: Any, helper: Helper) -> None:
    """Lost: a run that may spend whatever it likes, and that no cap above it holds."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea", detached=True)  # type: ignore[call-overload]

    with pytest.raises(RunFailed, match="without a budget of its own"):
        world.run(agent, agents=[helper.agent])
    assert not world.state().children


def test_an_agent_that_the_app_does_not_know_is_refused(world: Any, helper: Helper) -> None:
    """Lost: a child that no process takes up again after a crash."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    with pytest.raises(RunFailed, match=r"App\(agents=\["):
        world.run(agent)
    assert not world.state().children


def test_too_deep_and_too_many_are_refused_with_the_reason_and_so_again_on_replay(world: Any, shop: Any) -> None:
    """Lost: S30. A run that starts itself fills the store, and every process with it."""
    told: list[str] = []

    @hf.agent(name="deep", budget=BUDGET)
    async def deep(run: hf.Run, level: int) -> int:
        try:
            return await run.spawn(deep, level + 1)
        except ToolFailed as refused:
            told.append(str(refused))
            return level

    assert world.run(deep, 0, depth_max=3) == 3
    assert "3 deep below the first" in told[0]

    @hf.agent(name="wide", budget=BUDGET)
    async def wide(run: hf.Run, given: Any) -> Any:
        found = []
        for n in range(4):
            try:
                found.append(await run.spawn(leaf, n))
            except ToolFailed as refused:
                found.append(str(refused))
        return [found, await shop.pay("end")]

    @hf.agent(name="leaf", budget=BUDGET)
    async def leaf(run: hf.Run, n: int) -> int:
        return n

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(wide, key="w", agents=[leaf], children_max=3)
    with pytest.raises(RunBlocked):
        world.run(wide, key="w", agents=[leaf], children_max=100, wait=0)
    world.answer("it_happened", wide, key="w")
    found, _ = world.run(wide, key="w", agents=[leaf], children_max=100)
    assert found[:3] == [0, 1, 2] and "has started 3 runs already" in found[3]


def test_another_input_at_the_same_place_blocks(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: P10. A changed parent takes the result of another question's child."""

    def version(topic: str) -> Any:
        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            return await run.spawn(helper.agent, topic)

        return agent

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then
    with pytest.raises(RunWaiting):
        world.run(version("tea"), agents=[helper.agent], wait=0.3)
    world.play(lambda app: app.signal(children(world)[0].run_id, "go"))
    with pytest.raises(RunBlocked):
        world.run(version("coffee"), agents=[helper.agent])
    assert world.head().why == "drift" and len(children(world)) == 1


def test_an_agent_ends_only_the_runs_that_it_has_started(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: whoever can post could end another run's wait with a result of their own."""
    from holdfast.core import accept

    async def then(run: hf.Run, topic: str) -> str:
        return (await run.signal("go")).value

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(helper.agent, "tea")

    with pytest.raises(RunWaiting):
        world.run(agent, agents=[helper.agent], wait=0.3)
    forged = accept.ended("run_other", outcome=Status.SUCCEEDED, why="", limit=None, with_parent=None, body=b'"x"')
    world.store.post(world.id(), "forged", forged)
    with pytest.raises(RunWaiting):
        world.run(agent, agents=[helper.agent], wait=0.3)
    assert world.head().status is Status.SUSPENDED


def test_a_child_that_stops_stops_no_run_but_its_error_says_so(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: a child's limit is reported as a failure of its code."""

    async def then(run: hf.Run, topic: str) -> str:
        for n in range(60):
            await shop.look(n)
        return "never"

    helper.then = then

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await run.spawn(helper.agent, "tea", budget=hf.Budget(tool_calls=3))
        except BudgetExceeded as stopped:
            return str(stopped)

    assert "tool_calls" in world.run(agent, agents=[helper.agent])
    assert issubclass(BudgetExceeded, RunStopped)


def test_a_sync_agent_spawns_too(world: Any, shop: Any, helper: Helper) -> None:
    """Lost: children are for async agents only."""

    @hf.agent(name="shop", budget=BUDGET)
    def agent(run: hf.Run, given: Any) -> Any:
        return run.wait(run.spawn(helper.agent, "tea"))

    assert world.run(agent, agents=[helper.agent]) == ["paid tea (1)", "done"]


def test_spawn_inside_a_step_is_refused(world: Any, helper: Helper) -> None:
    """Lost: a run is started again with each attempt of the step."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        async def body() -> Any:
            return await run.spawn(helper.agent, "tea")

        return await run.step("s", body, effect="read", raises=(UsageError,))

    with pytest.raises(RunFailed, match="inside the step 's'"):
        world.run(agent, agents=[helper.agent])
