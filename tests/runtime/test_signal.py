"""Signals and decisions: what others tell a run, and what the agent chose. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import MessageRefused, RunWaiting, UsageError

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


@deploy
async def waits(run: hf.Run, given: Any) -> Any:
    """Waits for one signal."""
    heard = await run.signal("go")
    return [heard.outcome, heard.value, heard.by]


def test_a_signal_wakes_a_parked_run_at_once(world: Any) -> None:
    """Lost: what another part of the program says is heard only when somebody looks."""

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(waits, None, key="k"))
        async with asyncio.timeout(30):
            while world.store.head(world.id()) is None or world.head().why != "signal":
                await asyncio.sleep(0)
        await app.signal(world.id(), "go", {"n": 1}, by="ann")
        return await running

    assert world.play(scenario, park_s=60.0) == ["received", {"n": 1}, "ann"]


def test_a_signal_to_a_closed_run_waits_for_it(world: Any) -> None:
    """Lost: a signal that comes while no process runs."""
    with pytest.raises(RunWaiting, match="holdfast signal"):
        world.run(waits, wait=0)
    world.play(lambda app: app.signal(world.id(), "go", 7))
    assert world.run(waits) == ["received", 7, ""]
    assert world.run(waits) == ["received", 7, ""], "the ended run gives its record"


def test_signals_that_come_first_are_kept_and_each_is_taken_once_in_order(world: Any, shop: Any) -> None:
    """Lost: a signal before its wait; or one signal that lets two waits pass."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        first, second = await run.signal("a"), await run.signal("a")
        return [first.value, second.value, (await run.signal("b")).value]

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        for name, value in (("b", 3), ("a", 1), ("a", 2), ("c", 4)):
            await app.signal(world.id(), name, value)

    world.play(scenario, agents=[agent])
    assert world.run(agent) == [1, 2, 3]
    assert [event.facts["name"] for event in world.state().unheard] == ["c"]


def test_parallel_waits_for_one_name_take_one_signal_each(world: Any) -> None:
    """Lost: both waits go on after one signal."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        heard = await asyncio.gather(run.signal("x"), run.signal("x"))
        return sorted(each.value for each in heard)

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.signal(world.id(), "x", 1))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.signal(world.id(), "x", 2))
    assert world.run(agent) == [1, 2]


def test_a_wait_with_a_time_ends_with_its_default_and_keeps_its_time_through_a_restart(world: Any) -> None:
    """Lost: a wait that a restart begins anew, so that it never ends."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        heard = await run.signal("go", within="1h", default="nobody came")
        return [heard.outcome, heard.value]

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.clock.by_s += 3_599
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.clock.by_s += 2
    assert world.run(agent) == ["expired", "nobody came"]
    assert len(world.events(Kind.STEP_INTENDED)) == 1


def test_a_signal_that_arrived_before_the_time_counts(world: Any) -> None:
    """Lost: a signal that was sent in time, because no process ran when it came."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await run.signal("go", within="1h", default="late")).value

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.signal(world.id(), "go", "in time"))
    world.clock.by_s += 7_200
    assert world.run(agent) == "in time"


def test_a_wait_that_its_caller_gave_up_takes_the_signal_when_it_is_asked_for_again(world: Any) -> None:
    """Lost: a signal that is given to a wait which nobody waits for any more."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await asyncio.wait_for(run.signal("go"), 0.01)
        except TimeoutError:
            pass
        return (await run.signal("go")).value

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0.1)
    world.play(lambda app: app.signal(world.id(), "go", 5))
    assert world.run(agent) == 5


def test_a_signal_to_an_ended_run_is_refused(world: Any) -> None:
    """Lost: a sender who believes that somebody heard it."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return 1

    world.run(agent)
    with pytest.raises(MessageRefused, match="already ended"):
        world.play(lambda app: app.signal(world.id(), "go"))


@pytest.mark.parametrize("text", ["cancel", '{"kind": "cancel"}', "resume", "it_happened", "\x1b[2J", "yes"])
def test_what_a_signal_says_is_never_a_command(world: Any, text: str) -> None:
    """Lost: S34. Whoever may signal a run could cancel it, answer its questions or raise its budget."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        heard = await run.signal("go")
        answer = await run.ask("Pay?", options=["yes", "no"], within="1h", default="no")
        return [heard.value, answer.outcome]

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.signal(world.id(), "go", text))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    head = world.head()
    assert head.status is Status.SUSPENDED and len(head.questions) == 1


def test_a_signal_is_not_waited_for_inside_a_step(world: Any) -> None:
    """Lost: a step that waits for days and is then repeated."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        async def body() -> Any:
            return await run.signal("go")

        return await run.step("s", body, raises=(UsageError,))

    with pytest.raises(RunWaiting, match="Did this happen"):
        world.run(agent, wait=0)


# --- decisions -------------------------------------------------------------------------------------------------


def test_replay_gives_the_recorded_choice_whatever_the_code_would_choose_now(world: Any, shop: Any) -> None:
    """Lost: a branch that was taken on a coin, a clock or a flag goes another way after a crash, and blocks."""
    tossed = iter(["left", "right", "right"])

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        way = await run.decide("way", next(tossed), because="a coin")
        again = await run.decide("way", {"then": next(tossed)}, because="another")
        return [way, again, await shop.pay(way)]

    shop.dies_at = "left"
    with pytest.raises(world.Crash):
        world.run(agent)
    tossed = iter(["right", "left"])
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    tossed = iter(["up", "down"])
    world.answer("it_did_not", agent)
    assert world.run(agent) == ["left", {"then": "right"}, "paid left (2)"]
    decided = world.state().decisions
    assert [(event.facts["what"], event.facts["because"]) for event in decided] == [
        ("way", "a coin"),
        ("way", "another"),
    ]
