"""Reads that were begun without an intent, and a budget that others pay from too. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind, StepKind
from holdfast.errors import StoreUnreachable


@pytest.mark.parametrize("cap", [2, 3, 4])
def test_a_read_under_way_counts_for_the_children_that_are_begun_meanwhile(world: Any, cap: int) -> None:
    """Lost: the shared cap. The children use what is left for a read that was begun before the first of them."""
    done: list[str] = []

    @hf.tool(effect="read")
    async def slow(n: int) -> int:
        done.append("slow")
        await asyncio.sleep(0.1)
        return n

    @hf.tool(effect="read")
    async def fast(n: int) -> int:
        done.append("fast")
        return n

    @hf.agent(name="leaf", budget=hf.Budget(tool_calls=50))
    async def leaf(run: hf.Run, n: int) -> int:
        return sum([await fast(each) for each in range(n)])

    @hf.agent(name="top", budget=hf.Budget(tool_calls=cap))
    async def top(run: hf.Run, n: int) -> Any:
        reads = [asyncio.ensure_future(slow(each)) for each in range(2)]
        await asyncio.sleep(0)
        found = await asyncio.gather(*reads, run.spawn(leaf, n), return_exceptions=True)
        return [str(each) for each in found]

    found = world.run(top, 50, agents=[leaf, top])
    account = world.store.account(f"run/{world.id()}")
    assert len(done) == cap == account.spent.tool_calls and account.reserved.tool_calls == 0
    assert found[:2] == ["0", "1"] and "budget" in found[2]


def test_a_family_pays_for_no_read_that_was_not_made_however_often_it_is_killed(world: Any) -> None:
    """Lost: the cap. Each death of a process would cost each run of the family a read, though none was under way
    without an intent: so a family that is taken over often is stopped with its cap over-full, and little done."""
    done: list[int] = []
    deaths = [1, 2]

    @hf.tool(effect="read")
    async def look(n: int) -> int:
        done.append(n)
        return n

    @hf.agent(name="leaf", budget=hf.Budget(tool_calls=50))
    async def leaf(run: hf.Run, n: int) -> int:
        found = await look(n)
        await asyncio.sleep(0.02)  # until the other one has looked, too
        if deaths:
            deaths.pop()
            raise world.Crash
        return found

    @hf.agent(name="top", budget=hf.Budget(tool_calls=4))
    async def top(run: hf.Run, n: int) -> Any:
        return [*await asyncio.gather(run.spawn(leaf, 1), run.spawn(leaf, 2)), await look(3)]

    for _ in range(2):
        with pytest.raises(world.Crash):
            world.run(top, 1, agents=[leaf, top])
    assert world.run(top, 1, agents=[leaf, top]) == [1, 2, 3]
    account = world.store.account(f"run/{world.id()}")
    assert len(done) == 3 == account.spent.tool_calls and account.reserved.tool_calls == 0


def test_a_read_after_a_shutdown_is_charged_though_its_process_dies(quick: Any) -> None:
    """Lost: P7. The record says that the run waits to be taken up again, so whoever takes it over believes that nothing
    was under way, and the read that was is in no book."""
    done: list[int] = []

    @hf.tool(effect="read")
    async def look(n: int) -> int:
        done.append(n)
        if len(done) == 2:
            raise quick.Crash
        if len(done) == 1:
            await asyncio.sleep(60)
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> int:
        return await look(1)

    async def stopped_early(app: hf.App) -> None:
        await app.start(reader, None, key="k")
        while not done:
            await asyncio.sleep(0)

    quick.play(stopped_early)
    assert quick.head().why == "shutdown"
    with pytest.raises(quick.Crash):
        quick.run(reader)
    assert quick.run(reader) == 1
    assert len(done) == 3 <= quick.state().spent.tool_calls


def test_a_read_beside_what_could_not_be_written_is_charged(quick: Any) -> None:
    """Lost: P7. What was added and never written said that the run is at work again; the store says that it waits."""
    done: list[int] = []
    failures = [StoreUnreachable("the connection broke")]

    @hf.tool(effect="read")
    async def look(n: int) -> int:
        done.append(n)
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> Any:
        async def both() -> Any:
            await asyncio.sleep(0.01)
            return await asyncio.gather(run.sleep(0.01, name="short"), look(1))

        _, (_, found) = await asyncio.gather(run.sleep(0.2), both())
        return found

    async def stopped_early(app: hf.App) -> None:
        await app.start(reader, None, key="k")
        while not quick.events(Kind.STEP_INTENDED):
            await asyncio.sleep(0)

    quick.play(stopped_early)
    assert quick.head().why == "shutdown"

    def prepare(journal: Any) -> None:
        def before(appends: Any) -> None:
            if failures:
                raise failures.pop()

        journal.before = before

    with pytest.raises(StoreUnreachable):
        quick.run(reader, prepare=prepare)
    assert quick.run(reader) == 1
    assert len(done) <= quick.state().spent.tool_calls


def test_a_read_that_was_given_up_and_the_one_after_it_are_two(quick: Any) -> None:
    """Lost: P7. That the first was given up is written with the next append; a death before that left one of two."""
    done: list[str] = []

    @hf.tool(effect="read")
    async def slow(n: int) -> int:
        done.append("slow")
        await asyncio.sleep(0.0 if len(done) > 2 else 60)
        return n

    @hf.tool(effect="read")
    async def deadly(n: int) -> int:
        done.append("deadly")
        if len(done) == 2:
            raise quick.Crash
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> int:
        try:
            async with asyncio.timeout(0.02):
                await slow(1)
        except TimeoutError:
            pass
        return await deadly(1)

    with pytest.raises(quick.Crash):
        quick.run(reader)
    assert quick.run(reader) == 1
    assert len(done) <= quick.state().spent.tool_calls, done


@pytest.mark.parametrize("at_once", [2, 3])
def test_a_read_that_is_over_is_covered_until_its_outcome_is_written(quick: Any, at_once: int) -> None:
    """Lost: P7. Reads beside each other that end at once: each would be begun in the place of the one before it, and a
    death before their outcomes are written would leave one of them in the books."""
    done: list[int] = []

    @hf.tool(effect="read")
    async def look(n: int) -> int:
        done.append(n)
        if len(done) == at_once:
            raise quick.Crash
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> Any:
        _, *found = await asyncio.gather(run.sleep(0.01), *(look(n) for n in range(at_once)))
        return found

    with pytest.raises(quick.Crash):
        quick.run(reader)
    assert quick.run(reader) == list(range(at_once))
    assert len(done) <= quick.state().spent.tool_calls, done


@pytest.mark.parametrize("fails", [False, True])
def test_a_read_beside_an_outcome_that_is_being_written_has_an_intent(quick: Any, fails: bool) -> None:
    """Lost: P7. A commit that is lost with its process takes the outcome of a read with it; so the allowance is used up
    until it is in the store, also by a read that is to be tried again."""
    began: list[int] = []
    intended: list[int] = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=2, wait="1ms"))
    async def look(n: int) -> int:
        began.append(n)
        if fails and began == [0]:
            raise OSError("not now")
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> Any:
        _, *found = await asyncio.gather(run.sleep(0.01), look(0), look(1))
        return found

    def prepare(journal: Any) -> None:
        def before(appends: Any) -> None:
            events = [event for append in appends for event in append.events]
            intended.extend(event.kind is Kind.STEP_INTENDED and len(began) for event in events)

        journal.before = before

    assert quick.run(reader, prepare=prepare) == [0, 1]
    assert next(filter(None, intended)) == 1, "one read had begun when the second was announced"


def test_reads_that_end_at_once_are_paid_ahead_after_their_first_round(quick: Any) -> None:
    """Lost: speed. What is over and not yet written counts as under way: or each round would write an intent again."""

    @hf.tool(effect="read")
    async def look(n: int) -> int:
        return n

    @hf.agent(name="reader", budget=hf.Budget(tool_calls=50))
    async def reader(run: hf.Run, given: Any) -> Any:
        return [
            await asyncio.gather(run.sleep(0.001, name=f"{at}"), *(look(5 * at + n) for n in range(5)))
            for at in range(3)
        ]

    assert quick.run(reader)[2][1:] == [10, 11, 12, 13, 14]
    assert len([event for event in quick.events(Kind.STEP_INTENDED) if event.step is StepKind.TOOL]) == 4
    assert quick.state().allowance == 5
    assert quick.state().spent.tool_calls == 15
