"""Composites: steps made of steps. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import NOTHING, Effect, Kind
from holdfast.errors import PolicyInvalid, RunBlocked, RunFailed, RunWaiting, ToolFailed, UsageError

BUDGET = hf.Budget(tool_calls=100)
PATIENT: dict[str, Any] = {"quiet_s": 0.5, "park_s": 1.0}
"""A run that only lets the loop turn is not taken for one that waits, also on a busy machine."""


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def outcomes(world: Any) -> list[tuple[str, str]]:
    """Scope and name of each outcome, in order."""
    kinds = (Kind.STEP_SUCCEEDED, Kind.STEP_FAILED)
    return [(event.address.scope.partition(":")[0], event.address.name) for event in world.events(*kinds)]


def test_its_steps_are_steps_and_it_has_one_outcome_and_no_intent(world: Any, shop: Any) -> None:
    """Lost: an effect in a part of the agent is done again with the part; or each part costs two commits."""

    @hf.tool(effect="composite")
    async def order(x: int) -> Any:
        return [await shop.look(x), await shop.pay(x)]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await order(1), await order(2)]

    expected = [[{"found": x}, f"paid {x} (1)"] for x in (1, 2)]
    assert world.run(agent) == expected
    assert outcomes(world) == [("order", "look"), ("order", "pay"), ("", "order")] * 2
    assert [event.address.name for event in world.events(Kind.STEP_INTENDED)] == ["pay", "pay"]
    assert world.state().spent.tool_calls == 4, "a composite is charged nothing by itself"
    made = [slot for slot in world.state().slots.values() if slot.effect is Effect.COMPOSITE]
    assert all(slot.outcome.charge == NOTHING for slot in made) and len(made) == 2


def test_after_a_crash_in_the_middle_the_body_runs_again_and_its_steps_are_answered(world: Any, shop: Any) -> None:
    """Lost: R9. A payment is made twice because it was made inside a part of the agent."""
    bodies = 0

    @hf.tool(effect="composite")
    async def order(x: int) -> Any:
        nonlocal bodies
        bodies += 1
        first = await shop.pay(f"{x}a")
        return [first, await shop.look(x), await shop.pay(f"{x}b")]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await order(1), await order(2)]

    shop.dies_at = "2b"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0)
    world.answer("it_happened", agent, result="paid 2b")
    assert world.run(agent)[1][2] == "paid 2b"
    assert shop.paid() == ["1a", "1b", "2a", "2b"] and len(shop.keys("2b")) == 1
    assert bodies == 4, "the closed composite is never run again; the open one in each of three lives"


def test_an_outcome_closes_the_scope_whatever_its_code_is_now(world: Any, shop: Any) -> None:
    """Lost: a deploy of a part that is done blocks the run, though nobody will ask for what is in it."""

    @hf.tool(effect="composite", name="order")
    async def old(x: int) -> Any:
        await shop.look(x)
        return await shop.pay(x)

    @hf.tool(effect="composite", name="order")
    async def new(x: int) -> Any:
        raise AssertionError("its outcome is recorded")

    def version(order: Any) -> Any:
        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            first = await order(1)
            await run.sleep("1h")
            return [first, await shop.pay(2)]

        return agent

    with pytest.raises(RunWaiting):
        world.run(version(old), wait=0)
    world.clock.by_s += 3_600
    assert world.run(version(new)) == ["paid 1 (1)", "paid 2 (1)"]
    assert not world.state().drifts


def test_parallel_composites_with_equal_calls_keep_their_own_answers(world: Any, shop: Any) -> None:
    """Lost: on replay one branch gets the other's receipt."""

    @hf.tool(effect="composite")
    async def branch(name: str, slow: bool) -> Any:
        found = []
        for x in range(3):
            if slow:
                await asyncio.sleep(0.005)
            found.append(await shop.look(x))
        return [name, await shop.pay(name), found]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        both = await asyncio.gather(branch("a", True), branch("b", False), shop.look("c"))
        return [both, await shop.pay("end")]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0)
    world.answer("it_did_not", agent)
    both, end = world.run(agent)
    assert [each[:2] for each in both[:2]] == [["a", "paid a (1)"], ["b", "paid b (1)"]]
    assert end == "paid end (2)" and not world.state().drifts


def test_a_run_that_was_killed_between_two_branches_goes_on_in_both(world: Any, shop: Any) -> None:
    """Lost: the recorded effect of one branch keeps the other from going on, for ever."""

    @hf.tool(effect="composite")
    async def branch(name: str) -> Any:
        await shop.pay(f"{name}1")
        return await shop.pay(f"{name}2")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.gather(branch("a"), branch("b"))

    shop.dies_at = "b1"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0.3)
    assert not world.head().why.startswith("drift")

    async def answer(app: hf.App) -> None:
        for question in world.head().questions:
            await app.answer(world.id(), question.id, "it_happened", result="by hand")

    world.play(answer)
    assert world.run(agent) == ["paid a2 (1)", "paid b2 (1)"]
    assert sorted(shop.paid()) == ["a1", "a2", "b1", "b2"]


def test_composites_in_composites(world: Any, shop: Any) -> None:
    """Lost: the scopes of nested parts are confused, and one takes the other's steps."""

    @hf.tool(effect="composite")
    async def inner(x: Any) -> Any:
        return await shop.pay(x)

    @hf.tool(effect="composite")
    async def outer(x: Any) -> Any:
        mine = await shop.pay(x)
        return [mine, await inner(x), await inner(f"{x}/@%"), await inner(x)]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await outer(1), await outer(1), await inner(1)]

    shop.dies_at = "1/@%"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0)
    world.answer("it_did_not", agent)
    world.run(agent)
    assert shop.paid() == [1, 1, "1/@%", "1/@%", 1, 1, 1, "1/@%", 1, 1]
    assert world.run(agent)[2] == "paid 1 (7)"


def test_its_failure_ends_the_run_and_resume_reopens_the_step_that_caused_it(world: Any, shop: Any) -> None:
    """Lost: a run that failed inside a part can never go on, since its answer is always the old failure."""
    works = False

    @hf.tool(effect="once", definite=(ValueError,))
    async def refund(x: int) -> str:
        shop.done.append(("refund", x))
        if not works:
            raise ValueError("closed")
        return "refunded"

    @hf.tool(effect="composite")
    async def inner(x: int) -> Any:
        return [await shop.pay(x), await refund(x)]

    @hf.tool(effect="composite")
    async def outer(x: int) -> Any:
        return await inner(x)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await outer(1)

    with pytest.raises(RunFailed, match="closed"):
        world.run(agent)
    assert [parts[1] for parts in world.state().end.facts["cause"]] == ["outer"]
    works = True
    world.resume()
    assert world.run(agent) == ["paid 1 (1)", "refunded"]
    assert shop.paid() == [1] and shop.done.count(("refund", 1)) == 2


def test_a_failure_of_its_own_code_can_be_mended_by_a_deploy(world: Any, shop: Any) -> None:
    """Lost: a bug in a part makes the run fail for ever, or its payment is made twice."""

    def version(is_mended: bool) -> Any:
        @hf.tool(effect="composite", name="part")
        async def part(x: int) -> Any:
            paid = await shop.pay(x)
            if not is_mended:
                raise KeyError("bug")
            return paid

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            return await part(1)

        return agent

    with pytest.raises(RunFailed, match="bug"):
        world.run(version(False))
    world.resume()
    assert world.run(version(True)) == "paid 1 (1)"


def test_a_failure_that_the_agent_handled_stays_its_answer(world: Any, shop: Any) -> None:
    """Lost: replay would take another way than the run did."""

    @hf.tool(effect="composite")
    async def part(x: int) -> Any:
        await shop.look(x)
        raise LookupError("none")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await part(1)
        except ToolFailed as failed:
            said = str(failed)
        return [said, await shop.pay(2)]

    shop.dies_at = 2
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0)
    world.answer("it_happened", agent, result="x")
    assert world.run(agent) == ["part failed: LookupError: none", "x"]
    assert shop.done.count(("look", 1)) == 1


def test_a_part_that_no_longer_asks_for_its_recorded_effect_blocks_before_its_outcome(world: Any, shop: Any) -> None:
    """Lost: P10. A changed part closes its scope over an effect that was done and that nobody asked for."""

    def version(pays: bool) -> Any:
        @hf.tool(effect="composite", name="part")
        async def part(x: int) -> Any:
            if pays:
                await shop.pay(x)
                await shop.pay("dies")
            return "done"

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            return await part(1)

        return agent

    shop.dies_at = "dies"
    with pytest.raises(world.Crash):
        world.run(version(True))
    with pytest.raises(RunBlocked):
        world.run(version(False), wait=0.5)
    assert world.head().why == "drift"
    assert "part" in world.state().suspension.facts["difference"]["asked"]
    world.resume()
    with pytest.raises(RunBlocked):
        world.run(version(True), wait=0)
    assert world.head().why == "in_doubt"


def test_a_race_that_a_part_lost_needs_nothing_of_it_on_replay(world: Any, shop: Any) -> None:
    """Lost: the part that lost a race had paid something; replay never asks for that, and blocks."""

    @hf.tool(effect="composite")
    async def slow(x: int) -> Any:
        await shop.pay("slow")
        await run_of.sleep("1h")
        return "slow"

    run_of: Any = None

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        nonlocal run_of
        run_of = run
        loser = asyncio.ensure_future(slow(1))
        for _ in range(1_000):  # until it sleeps; on replay it never will
            await asyncio.sleep(0)
        loser.cancel()
        await asyncio.wait({loser})
        return await shop.pay("end")

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent, **PATIENT)
    with pytest.raises(RunBlocked):
        world.run(agent, **PATIENT)
    assert world.head().why == "in_doubt"
    world.answer("it_did_not", agent)
    assert world.run(agent, **PATIENT) == "paid end (2)"
    assert shop.paid() == ["slow", "end", "end"]


def test_a_part_that_was_given_up_and_is_asked_for_again_is_that_part_again(world: Any, shop: Any) -> None:
    """Lost: rule 6. A retry around a part, with a timer of the user's own, pays again."""
    release = False

    @hf.tool(effect="read")
    async def gate(x: int) -> str:
        while not release:
            await asyncio.sleep(0.001)
        return "open"

    @hf.tool(effect="composite")
    async def part(x: int) -> Any:
        return [await shop.pay(x), await gate(x)]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        nonlocal release
        try:
            await asyncio.wait_for(part(1), 0.1)
        except TimeoutError:
            pass
        release = True
        first = await part(1)
        return [first, await shop.pay("end")]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent, park_s=20.0)
    with pytest.raises(RunBlocked):
        world.run(agent, wait=0.5, park_s=20.0)
    world.answer("it_did_not", agent)
    assert world.run(agent, park_s=20.0) == [["paid 1 (1)", "open"], "paid end (2)"]
    assert shop.paid(1) == [1]


def test_waits_in_a_part_are_waits_of_the_run(world: Any, shop: Any) -> None:
    """Lost: a part that waits for a person keeps a process busy for days, or is forgotten by a restart."""

    @hf.tool(effect="composite")
    async def part(x: int) -> Any:
        await run_of.note(f"part {x}")
        answer = await run_of.ask("Go on?", options=["yes", "no"])
        return [answer.value, str(run_of.uuid()), await run_of.decide("d", x, because="b")]

    run_of: Any = None

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        nonlocal run_of
        run_of = run
        return [await part(1), await part(2)]

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.answer("yes", agent)
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.answer("no", agent)
    first, second = world.run(agent)
    assert (first[0], second[0], first[2], second[2]) == ("yes", "no", 1, 2) and first[1] != second[1]
    assert world.state().notes == ["part 1", "part 2"]


@pytest.mark.parametrize("is_sync", [False, True])
def test_an_agent_is_a_tool_of_another(world: Any, shop: Any, is_sync: bool) -> None:
    """Lost: an agent as a part would be an opaque step, repeated as a whole after a crash."""

    if is_sync:

        @hf.agent
        def helper(run: hf.Run, topic: str) -> list[str]:
            """Finds out about a topic."""
            return [run.wait(shop.pay(topic)), run.wait(shop.pay(f"{topic}!"))]

    else:

        @hf.agent(name="helper")  # type: ignore[no-redef]
        async def helper(run: hf.Run, topic: str) -> list[str]:
            """Finds out about a topic."""
            return [await shop.pay(topic), await shop.pay(f"{topic}!")]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        tool = run.as_tool(helper)
        assert tool.schema["required"] == ["input"] and tool.schema["properties"]["input"]["type"] == "string"
        if is_sync:
            return await asyncio.to_thread(tool, "tea")
        return await tool(input="tea")

    shop.dies_at = None
    assert world.run(agent) == ["paid tea (1)", "paid tea! (1)"]
    assert outcomes(world) == [("helper", "pay"), ("helper", "pay"), ("", "helper")]


def test_a_composite_is_plain_in_no_other_step(world: Any, shop: Any) -> None:
    """Lost: effects that are hidden in a step, and repeated with it."""

    @hf.tool(effect="composite")
    async def part(x: int) -> Any:
        return await shop.pay(x)

    @hf.tool(effect="once", definite=(UsageError,))
    async def outer(x: int) -> Any:
        return await part(x)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await outer(1)
        except ToolFailed as failed:
            return str(failed)

    told = world.run(agent)
    assert "declare outer effect='composite'" in told and shop.paid() == []


@pytest.mark.parametrize(
    "declared", [{"retry": hf.Retry(attempts=2)}, {"verify": lambda key: None}, {"definite": hf.ONE_REQUEST}]
)
def test_what_belongs_to_its_steps_is_refused(declared: Any) -> None:
    """Lost: a retry that only replays the recorded failure, or a verify that nobody asks."""
    with pytest.raises(PolicyInvalid, match="composite"):
        hf.tool(effect="composite", **declared)(lambda: None)


def test_a_reopened_part_is_explained_again(world: Any, shop: Any) -> None:
    """Lost: P10. A part that failed, was changed and is resumed leaves out a payment that it has made."""

    def version(is_mended: bool) -> Any:
        @hf.tool(effect="composite", name="part")
        async def part(x: int) -> Any:
            if is_mended:
                return await shop.pay("another")
            await shop.pay("first")
            raise KeyError("bug")

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            return await part(1)

        return agent

    with pytest.raises(RunFailed, match="bug"):
        world.run(version(False))
    world.play(lambda app: app.resume(world.id(), by="ann"))
    with pytest.raises(RunBlocked):
        world.run(version(True))
    assert shop.paid() == ["first"]
