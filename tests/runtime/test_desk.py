"""The desk at work: orders are done or still lie there, live runs obey, and no agent orders anything for itself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core import desk as core
from holdfast.core.budget import Limits
from holdfast.core.events import Kind
from holdfast.core.heads import Status, Why
from holdfast.errors import MessageRefused, RunFailed, ToolFailed, UsageError
from holdfast.runtime import desk

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def told(world: Any) -> list[tuple[str, str, str, str]]:
    """The desk's record: what, choice, because and by of each event."""
    events = world.store.events(desk.id_of(world.store))
    facts = [event.facts for event in events if event.kind in (Kind.DECIDED, Kind.BUDGET_CHANGED)]
    return [(f.get("what", "budget"), f.get("choice", f.get("account", "")), f["because"], f["by"]) for f in facts]


def switches(world: Any) -> core.Switches:
    """What the cell says, which is what the log says."""
    cell = world.store.cell(core.CELL)
    found = core.Switches.of(cell.value)
    assert found == core.fold(world.store.events(desk.id_of(world.store)))
    return found


def test_a_tool_that_is_off_is_refused_for_certain_with_who_and_why(world: Any, shop: Any) -> None:
    """A tool that does harm could only be stopped by a deploy; or its refusal would be taken for a doubt."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await shop.pay("x")
        except ToolFailed as failed:
            return str(failed)

    world.play(lambda app: app.disable("pay", by="ann", why="it pays twice"))
    said = world.run(agent)
    assert "switched off" in said and "by ann: it pays twice" in said and not shop.paid()
    (slot,) = world.state().slots.values()
    assert not slot.is_unknown and slot.outcome.facts["kind"] == "refused" and world.state().spent.tool_calls == 0
    world.play(lambda app: app.enable("pay", by="bob"))
    assert world.run(agent, key="k2") == "paid x (1)"
    assert [line[:2] for line in told(world)] == [("disable", "pay: off"), ("enable", "pay: on")]


def test_a_composite_that_is_off_is_not_begun(world: Any, shop: Any) -> None:
    """An agent used as a tool, or a tool of several steps, could not be switched off."""

    @hf.tool(effect="composite")
    async def checkout(what: str) -> Any:
        return await shop.pay(what)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await checkout("x")
        except ToolFailed as failed:
            return str(failed)

    world.play(lambda app: app.disable("checkout", by="ann", why="it pays twice"))
    said = world.run(agent)
    assert "switched off" in said and "by ann: it pays twice" in said and not shop.paid()
    world.play(lambda app: app.enable("checkout", by="bob"))
    assert world.run(agent) == said, "what it was told is what it is told again"
    assert world.run(agent, key="k2") == "paid x (1)"


def test_a_tool_that_is_off_is_not_called_inside_another_one_either(world: Any, shop: Any) -> None:
    """A tool that wraps the one that does harm would be a way round the switch."""

    @hf.tool(effect="once", definite=(ToolFailed,))
    async def wraps(what: str) -> str:
        return str(await shop.look(what))

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await wraps("x")
        except ToolFailed as failed:
            return str(failed)

    world.play(lambda app: app.disable("look", by="ann", why="it lies"))
    assert "look failed: SwitchedOff: look is switched off" in world.run(agent) and not shop.done


def test_a_live_run_in_another_process_obeys_at_its_next_step(world: Any, shop: Any) -> None:
    """A switch that only new runs see would not stop the one that does harm."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        for number in range(10_000):
            try:
                await shop.look(number)
            except ToolFailed:
                return number
            await asyncio.sleep(0.001)

    def another_process() -> None:
        clock = world.clock
        desk.order(world.store, accept.command("disable", "look", by="ann"), "m1", "default")
        assert desk.carry_out(world.store, clock, "default")

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k", budget=hf.Budget(tool_calls=20_000)))
        while len(shop.done) < 3:
            await asyncio.sleep(0)
        await asyncio.to_thread(another_process)
        return await running

    assert 3 <= world.play(scenario) < 9_999


def test_a_policy_is_changed_on_a_live_run(world: Any) -> None:
    """An operator could not stop a run that tries again and again without killing it."""
    tried = []

    @hf.tool(effect="read", breaker=None, retry=hf.Retry(attempts=100, wait=0.01, wait_max=0.01, shared=100))
    async def flaky(x: int) -> None:
        tried.append(x)
        raise ConnectionError("gone")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await flaky(1)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k", budget=hf.Budget(tool_calls=1000)))
        while len(tried) < 3:
            await asyncio.sleep(0)
        await app.change_policy("flaky", {"retry.attempts": 2}, by="ann", why="it is down")
        with pytest.raises(RunFailed):
            await running

    world.play(scenario)
    assert len(tried) < 100
    assert "of 2 failed" in world.events(Kind.STEP_FAILED)[0].facts["because"]
    with pytest.raises(MessageRefused, match="no usable bound"):
        world.play(lambda app: app.change_policy("flaky", {"retry.attempts": 0}, by="ann"))
    world.play(lambda app: app.change_policy("flaky", None, by="ann"))
    assert switches(world).policies == {}


@pytest.mark.parametrize("dies", [True, False])
def test_a_tool_switched_off_while_its_effect_is_in_doubt(dies: bool, world: Any, shop: Any) -> None:
    """A refusal after "it did not happen" would go round for ever, or be told as if something had been begun."""
    shop.dies_at = "x"

    @hf.tool(effect="once", name="pay")
    async def lost(what: str) -> None:
        shop.done.append(("pay", what, ""))
        raise RuntimeError("the line went dead")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await (shop.pay if dies else lost)("x")

    with pytest.raises(world.Crash if dies else hf.errors.RunBlocked):
        world.run(agent, wait=0)
    world.play(lambda app: app.disable("pay", by="ann"))
    with pytest.raises(hf.errors.RunBlocked):
        world.run(agent, wait=0)
    world.answer("it_did_not", agent)
    with pytest.raises(RunFailed, match="switched off"):
        world.run(agent, wait=0)
    assert len(shop.paid()) == 1 and world.head().status is Status.FAILED


def test_caps_of_a_day_and_of_all_are_set_with_their_event(world: Any) -> None:
    """A cap that holds and that nobody has set, or one that is recorded and does not hold."""
    for caps in ({"usd_nano": 5, "tokens": 9}, {"tokens": None}):
        desk.order(world.store, accept.command("budget", "day", by="ann", caps=caps), str(caps), "default")
        assert desk.carry_out(world.store, world.clock, "default")
    account = world.store.account("day")
    assert account.limits[:4] == (None, None, None, 5)
    assert switches(world).caps == {"day": Limits(usd_nano=5)} and [line[3] for line in told(world)] == ["ann", "ann"]


def test_a_worker_carries_out_what_a_dead_command_left(world: Any, shop: Any) -> None:
    """An order whose command line died right after it would wait for the next operator."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay("x")

    desk.order(world.store, accept.command("disable", "pay", by="ann"), "m1", "default")

    async def scenario(app: hf.App) -> None:
        while world.store.cell(core.CELL) is None:
            await asyncio.sleep(0.005)

    world.play(scenario, agents=[agent], serves=True)
    assert set(switches(world).off) == {"pay"}
    head = world.store.head(desk.id_of(world.store))
    assert (head.status, head.why, head.wake_at) == (Status.SUSPENDED, Why.COMMAND, None)


def test_operators_at_the_same_time_are_all_recorded(world: Any) -> None:
    """One of two orders would be lost, or the second operator told that the desk is broken."""

    def operator(name: str) -> None:
        for tool in ("a", "b"):
            desk.order(world.store, accept.command("disable", tool, by=name), f"{name} {tool}", "default")
            results.append(desk.carry_out(world.store, world.clock, "default"))

    results: list[bool] = []
    threads = [threading.Thread(target=operator, args=(f"op{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8 and set(switches(world).off) == {"a", "b"}
    assert sorted(line[3] for line in told(world)) == sorted([f"op{number}" for number in range(4)] * 2)


class Dies(Exception):
    """The command line dies here."""


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("engine", ["world", "quick"])
def test_an_order_is_done_or_still_lies_there_at_every_write(
    engine: str, at: int, is_written: bool, request: pytest.FixtureRequest
) -> None:
    """An order that is half done: recorded and without effect, or in effect and nobody's."""
    quick: Any = request.getfixturevalue(engine)
    store, writes = quick.store, 0

    class Fragile:
        def __getattr__(self, name: str) -> Any:
            method = getattr(store, name)
            if name not in ("post_all", "register", "claim", "append", "release", "retire"):
                return method

            def writing(*args: Any, **more: Any) -> Any:
                nonlocal writes
                writes += 1
                if writes == at and not is_written:
                    raise Dies
                result = method(*args, **more)
                if writes == at:
                    raise Dies
                return result

            return writing

    fragile: Any = Fragile()
    try:
        desk.order(fragile, accept.command("disable", "pay", by="ann"), "m1", "default")
        desk.carry_out(fragile, quick.clock, "default")
    except Dies:
        pass
    quick.dead |= {claim for claim in [owner_of(store)] if claim}
    lies_there = bool(store.mail(desk.id_of(store)))
    is_done = store.cell(core.CELL) is not None
    assert is_done is bool([line for line in told(quick)])
    if store.head(desk.id_of(store)) is None:
        assert (at, is_written) == (1, False)
        return
    assert lies_there is not is_done
    assert desk.carry_out(store, quick.clock, "default")
    assert set(switches(quick).off) == {"pay"} and len(told(quick)) == 1


def owner_of(store: Any) -> str | None:
    """The worker that holds the desk."""
    owner = store.owner(desk.id_of(store))
    return None if owner is None else owner[0].id


def test_an_order_says_when_somebody_else_stays_at_the_desk(world: Any) -> None:
    """The command line would hang, or say that it was done."""
    desk.order(world.store, accept.command("disable", "pay", by="ann"), "m1", "default")
    from holdfast.protocols import Worker

    world.store.register(Worker("other"), 600.0)
    assert world.store.claim("other", run_ids=[desk.id_of(world.store)])
    assert desk.carry_out(world.store, world.clock, "default") is False
    assert world.store.cell(core.CELL) is None and world.store.mail(desk.id_of(world.store))


def test_an_agent_cannot_order_anything_for_itself(world: Any, shop: Any) -> None:
    """An agent that a prompt talked into it would switch its own guards off, or raise its own cap."""
    refused = []

    @hf.tool(effect="read")
    async def widen(x: int) -> None:
        await everything("from its tool")

    async def everything(where: str) -> None:
        here = opened[0]
        orders = (
            lambda: here.enable("pay"),
            lambda: here.disable("pay"),
            lambda: here.change_policy("pay", {"retry.attempts": 9}),
            lambda: here.resume(world.id(), budget=hf.Budget(usd=100)),
        )
        for order in orders:
            try:
                await order()
            except UsageError as error:
                refused.append((where, str(error)))

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await everything("from its code")
        with hf.detached():
            await everything("detached")
        await widen(1)
        assert not {"enable", "disable", "change_policy", "resume", "raise_budget"}.intersection(dir(run))

    opened: list[hf.App] = []

    async def scenario(app: hf.App) -> Any:
        opened.append(app)
        return await app.run(agent, None, key="k")

    world.play(scenario)
    assert [where for where, _ in refused] == ["from its code"] * 4 + ["detached"] * 4 + ["from its tool"] * 4
    assert all("not its own to change" in why for _, why in refused)
    assert world.store.cell(core.CELL) is None and world.state().limits.tool_calls == 100


def test_nobody_can_name_a_run_or_an_agent_like_the_desk(world: Any) -> None:
    """A run under the desk's key would take it over."""

    async def fn(run: hf.Run, given: Any) -> Any:
        return 1

    with pytest.raises(UsageError, match="keys that begin with @"):
        world.run(hf.agent(name="shop")(fn), key="@desk")
    with pytest.raises(UsageError, match="@"):
        world.run(hf.agent(name="@desk")(fn))
