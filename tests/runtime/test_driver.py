"""What replay, blocks and parallel branches must never do to the outside world. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import RunBlocked, RunFailed

BUDGET = hf.Budget(tool_calls=1_000)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def turns(count: int = 5) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- deploys ---------------------------------------------------------------------------------------------------


def test_a_deploy_that_inserts_a_read_before_recorded_ones_borrows_no_answer(world: Any, shop: Any) -> None:
    """Positional replay would give invoice B's question the answer for A, and refund the wrong customer."""

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        found = await shop.look("invoice A")
        return await shop.pay(found["found"])

    @deploy
    async def after(run: hf.Run, given: Any) -> Any:
        other = await shop.look("invoice B")
        found = await shop.look("invoice A")
        return [other["found"], found["found"], await shop.pay(found["found"])]

    shop.dies_at = "invoice A"
    with pytest.raises(world.Crash):
        world.run(before)
    with pytest.raises(RunBlocked):  # the payment is in doubt, which is another matter
        world.run(after)
    world.answer("it_did_not", after)
    assert world.run(after) == ["invoice B", "invoice A", "paid invoice A (2)"]
    assert [done[:2] for done in shop.done if done[0] == "look"] == [("look", "invoice A"), ("look", "invoice B")]
    assert shop.paid("invoice B") == [] and len(shop.keys("invoice A")) == 1


def test_equal_calls_in_two_branches_keep_their_answers(world: Any, shop: Any) -> None:
    """Swapped answers would attach one branch's receipt to the other's order."""
    turn = 0

    @hf.tool(effect="once")
    async def draw(pot: str) -> int:
        nonlocal turn
        turn += 1
        return turn

    @hf.tool(effect="read")
    async def think(name: str, long: int) -> None:
        await turns(long)

    async def branch(name: str, long: int) -> tuple[str, int, int]:
        await think(name, long)
        first = await draw("pot")
        await think(name, long + 1)
        return name, first, await draw("pot")

    @deploy
    async def both(run: hf.Run, given: Any) -> Any:
        seen.append(await asyncio.gather(branch("a", 60), branch("b", 3)))
        await shop.pay("end")
        return seen[-1]

    seen: list[Any] = []
    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(both)
    with pytest.raises(RunBlocked):
        world.run(both)
    world.answer("tell_the_agent", both)
    with pytest.raises(RunFailed):
        world.run(both)
    assert seen == [[("a", 3, 4), ("b", 1, 2)]] * 3 and turn == 4


def test_a_new_once_step_before_recorded_effects_blocks_and_shows_both_sides(world: Any, shop: Any) -> None:
    """Running it would be a guess: the old code may have meant it to be one of the effects already made."""

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        await shop.pay("B")
        raise world.Crash

    @deploy
    async def after(run: hf.Run, given: Any) -> Any:
        await shop.pay("NEW")
        await shop.pay("A")
        await shop.pay("B")

    with pytest.raises(world.Crash):
        world.run(before)
    with pytest.raises(RunBlocked):
        world.run(after, wait=0)
    assert shop.paid() == ["A", "B"]
    suspended = world.events(Kind.RUN_SUSPENDED)[-1].facts
    assert suspended["why"] == "drift"
    assert "NEW" in suspended["difference"]["asked"]
    assert [text.split(" (")[0] for text in suspended["difference"]["recorded"]] == ["once pay", "once pay"]


def test_a_blocked_run_goes_on_with_the_old_code(world: Any, shop: Any) -> None:
    """A block without a way back would lose the run."""
    given_up: list[int] = []

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        if not shop.paid("B") and not given_up:
            given_up.append(1)
            raise world.Crash
        return await shop.pay("B")

    @deploy
    async def after(run: hf.Run, given: Any) -> Any:
        await shop.pay("NEW")

    with pytest.raises(world.Crash):
        world.run(before)
    for _ in range(2):
        with pytest.raises(RunBlocked):
            world.run(after, wait=0)
    world.resume()
    assert world.run(before) == "paid B (1)"
    assert shop.paid() == ["A", "B"]


def test_an_agent_that_returns_before_recorded_effects_is_blocked(world: Any, shop: Any) -> None:
    """A "done" over a payment that the new code knows nothing about would hide it for ever."""

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        raise world.Crash

    @deploy
    async def after(run: hf.Run, given: Any) -> Any:
        return "nothing to pay"

    with pytest.raises(world.Crash):
        world.run(before)
    with pytest.raises(RunBlocked):
        world.run(after, wait=0)
    assert Kind.RUN_ENDED not in world.kinds()
    assert "returned" in world.events(Kind.RUN_SUSPENDED)[-1].facts["difference"]["asked"]


def test_an_agent_that_raises_before_recorded_effects_is_blocked(world: Any, shop: Any) -> None:
    """A "failed" would let `resume` and reports act as if the payment had not been made."""

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        raise world.Crash

    @deploy
    async def after(run: hf.Run, given: Any) -> Any:
        raise ValueError("new bug")

    with pytest.raises(world.Crash):
        world.run(before)
    with pytest.raises(RunBlocked):
        world.run(after, wait=0)
    assert Kind.RUN_ENDED not in world.kinds()
    assert "new bug" in world.events(Kind.RUN_SUSPENDED)[-1].facts["difference"]["asked"]


def test_a_sleep_whose_length_comes_from_the_clock_keeps_its_recorded_deadline(world: Any, shop: Any) -> None:
    """Each restart would push the deadline away, and the run would never wake."""
    length = iter([0.15, 3600.0])

    @deploy
    async def sleeper(run: hf.Run, given: Any) -> Any:
        await run.sleep(next(length))
        return "woke"

    with pytest.raises(hf.errors.RunWaiting):
        world.run(sleeper, wait=0)
    assert world.run(sleeper, wait=3) == "woke"
    (intended,) = world.events(Kind.STEP_INTENDED)
    (woken,) = world.events(Kind.STEP_SUCCEEDED)
    assert woken.at >= intended.facts["until"] == pytest.approx(intended.at + 0.15)


# --- races and branches ----------------------------------------------------------------------------------------


def test_a_lost_race_replays_with_the_same_winner(world: Any, shop: Any) -> None:
    """Another winner on replay would make the agent act on a decision it never took."""
    is_open = False

    @hf.tool(effect="once")
    async def slow(what: str) -> str:
        shop.done.append(("pay", what, ""))
        while not is_open:
            await asyncio.sleep(0)
        return "slow"

    winners = []

    @deploy
    async def race(run: hf.Run, given: Any) -> Any:
        nonlocal is_open
        loser = asyncio.ensure_future(slow("L"))
        winner = asyncio.ensure_future(shop.pay("W"))
        done, _ = await asyncio.wait({loser, winner}, return_when=asyncio.FIRST_COMPLETED)
        loser.cancel()
        await asyncio.gather(loser, return_exceptions=True)
        winners.append([task.result() for task in done])
        is_open = True
        await shop.pay("after")
        return winners[-1]

    shop.dies_at = "after"
    with pytest.raises(world.Crash):
        world.run(race)
    with pytest.raises(RunBlocked):
        world.run(race)
    world.answer("it_did_not", race)
    assert world.run(race) == ["paid W (1)"]
    assert winners == [["paid W (1)"]] * 3
    assert shop.paid("L") == ["L"] and shop.paid("W") == ["W"]
    slow_outcomes = [event for event in world.events(Kind.STEP_SUCCEEDED) if event.address.name == "slow"]
    assert [event.body for event in slow_outcomes] == [b'"slow"'], "the loser's outcome is recorded too"


def test_three_parallel_refunds_of_which_one_was_not_begun_go_on_without_a_block(world: Any, shop: Any) -> None:
    """A run that blocks on its own unfinished branch would need a person after every crash."""
    is_open = False

    @hf.tool(effect="once")
    async def refund(what: str) -> str:
        shop.done.append(("pay", what, ""))
        return f"refunded {what}"

    async def branch(what: str) -> str:
        while what == "C" and not is_open:
            await asyncio.sleep(0)
        return await refund(what)

    @deploy
    async def all_three(run: hf.Run, given: Any) -> Any:
        results = asyncio.gather(branch("A"), branch("B"), branch("C"))
        if not is_open:
            await turns(60)
            raise world.Crash
        return await results

    with pytest.raises(world.Crash):
        world.run(all_three)
    assert shop.paid() == ["A", "B"]
    is_open = True
    assert world.run(all_three, wait=0) == ["refunded A", "refunded B", "refunded C"]
    assert shop.paid() == ["A", "B", "C"]
    assert not world.events(Kind.DRIFT_FOUND, Kind.RUN_SUSPENDED)


async def by_gather(*branches: Awaitable[Any]) -> Any:
    return await asyncio.gather(*branches)


async def by_gather_all(*branches: Awaitable[Any]) -> Any:
    results = await asyncio.gather(*branches, return_exceptions=True)
    return next(result for result in results if isinstance(result, BaseException))


async def by_group(*branches: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        for branch in branches:
            group.create_task(branch)


async def by_wait_for(failing: Awaitable[Any], *others: Awaitable[Any]) -> Any:
    asyncio.ensure_future(failing).add_done_callback(lambda task: task.exception())
    await asyncio.wait_for(asyncio.gather(*others), 0.03)


async def by_timeout(failing: Awaitable[Any], *others: Awaitable[Any]) -> Any:
    asyncio.ensure_future(failing).add_done_callback(lambda task: task.exception())
    async with asyncio.timeout(0.03):
        await asyncio.gather(*others)


async def by_as_completed(*branches: Awaitable[Any]) -> Any:
    tasks = [asyncio.ensure_future(branch) for branch in branches]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def by_first_exception(*branches: Awaitable[Any]) -> Any:
    tasks = [asyncio.ensure_future(branch) for branch in branches]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    return [task.result() for task in done if task.exception()]


CONSTRUCTS = (by_gather, by_gather_all, by_group, by_wait_for, by_timeout, by_as_completed, by_first_exception)


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_an_effect_in_flight_survives_its_branch(world: Any, shop: Any, construct: Any) -> None:
    """A sibling's failure or a timeout that cancelled the effect would leave money moved and no record of it."""
    is_open = False

    @hf.tool(effect="once")
    async def slow(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
        shop.done.append(("pay", what, idempotency_key))
        while not is_open:
            await asyncio.sleep(0)
        return f"slow {what}"

    @hf.tool(effect="once")
    async def fails(what: str) -> str:
        nonlocal is_open
        await turns(5)
        is_open = construct is by_gather_all
        raise hf.NotDone("closed")

    seen = []

    @deploy
    async def branches(run: hf.Run, given: Any) -> Any:
        nonlocal is_open
        try:
            result = await construct(fails("F"), slow("S"))
        except BaseException as error:
            result = error
        is_open = True
        seen.append(type(result).__name__)
        again = await slow("S")  # a framework's retry: the same step again, unless its caller had it
        await shop.pay("end")
        return [type(result).__name__, again]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(branches)
    assert len(shop.keys("S")) == len(shop.paid("S")), "one effect a key"
    made = len(shop.paid("S"))
    with pytest.raises(RunBlocked):
        world.run(branches)
    world.answer("it_did_not", branches)
    kind, again = world.run(branches)
    assert again == "slow S"
    assert set(seen) == {kind}, "the agent saw the same end of its branches each time"
    assert len(shop.paid("S")) == made, "replay made no further effect"
    had_it = construct in (by_gather, by_gather_all)  # gather leaves a sibling running, or waits for it
    assert made == (2 if had_it else 1)
    outcomes = [e for e in world.events(Kind.STEP_SUCCEEDED) if e.address.name == "slow"]
    assert len(outcomes) == made


def test_a_retry_loop_of_the_users_own_around_a_once_tool_makes_one_effect(world: Any, shop: Any) -> None:
    """tenacity around a timeout is everywhere; a second key would charge the customer twice."""
    is_open = False

    @hf.tool(effect="once")
    async def slow(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
        shop.done.append(("pay", what, idempotency_key))
        while not is_open:
            await asyncio.sleep(0)
        return "charged"

    @deploy
    async def patient(run: hf.Run, given: Any) -> Any:
        nonlocal is_open
        for attempt in range(5):
            if attempt == 3:
                is_open = True
            try:
                return await asyncio.wait_for(slow("A"), 0.02 if attempt < 3 else 5)
            except TimeoutError:
                continue
        return "gave up"

    assert world.run(patient) == "charged"
    assert shop.paid() == ["A"] and len(shop.keys("A")) == 1
    assert len(world.events(Kind.STEP_INTENDED)) == 1
    assert len(world.events(Kind.STEP_ABANDONED)) == 3


def test_a_deadline_raced_against_a_sleep_is_new_for_each_race(world: Any, shop: Any) -> None:
    """A deadline that began with an earlier race fires early: later payments would be given up at once."""

    @deploy
    async def races(run: hf.Run, given: Any) -> Any:
        late = []
        for number in range(3):
            deadline = asyncio.ensure_future(run.sleep(0.3))
            paid = asyncio.ensure_future(shop.pay(number))
            await asyncio.wait({deadline, paid}, return_when=asyncio.FIRST_COMPLETED)
            deadline.cancel()
            await asyncio.gather(deadline, return_exceptions=True)
            late.append(not paid.done())
        return late

    assert world.run(races) == [False] * 3
    untils = [event.facts["until"] for event in world.events(Kind.STEP_INTENDED) if event.address.name == "sleep"]
    assert len(untils) == 3, "three races, three deadlines"


# --- the end of a run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 4, 6, 10, 20])
def test_a_task_that_outlives_its_agent_begins_no_effect_after_the_end(world: Any, shop: Any, delay: int) -> None:
    """An effect begun after "succeeded" was written would have no outcome, and nobody would look for it."""

    @deploy
    async def careless(run: hf.Run, given: Any) -> Any:
        async def stray() -> None:
            await turns(delay)
            await shop.pay("stray")

        strays.append(asyncio.ensure_future(stray()))
        await shop.look("x")
        return "done"

    strays: list[Any] = []

    async def scenario(app: hf.App) -> Any:
        other = asyncio.ensure_future(app.run(both, None, key="other"))  # so that commits are grouped
        result = await app.run(careless, None, key="k")
        await turns(40)
        other.cancel()
        return result

    @hf.agent(name="both", budget=BUDGET)
    async def both(run: hf.Run, given: Any) -> Any:
        while True:
            await shop.look("y")
            await turns(1)

    assert world.play(scenario) == "done"
    kinds = world.kinds()
    assert kinds[-1] is Kind.RUN_ENDED, kinds
    intended, outcomes = world.events(Kind.STEP_INTENDED), world.events(Kind.STEP_SUCCEEDED)
    paid = [event for event in outcomes if event.address.name == "pay"]
    assert len(intended) == len(paid) == len(shop.paid()), "no effect without its outcome"


def test_a_closed_run_leaves_no_task_behind(world: Any, shop: Any) -> None:
    """A service that parks thousands of runs would fill its memory with tasks that wait for ever."""

    @deploy
    async def strays(run: hf.Run, given: Any) -> Any:
        kept.append(asyncio.ensure_future(run.sleep(3600)))
        kept.append(asyncio.ensure_future(shop.pay("A")))
        kept.append(asyncio.ensure_future(run.ask("well?")))
        await run.sleep(1800, "other")

    kept: list[Any] = []
    with pytest.raises(hf.errors.RunWaiting):
        world.run(strays, wait=0)
    assert all(task.done() for task in kept)


def test_an_ended_run_leaves_no_task_behind(world: Any, shop: Any) -> None:
    """The same for a run whose agent returns while branches of it still wait."""

    @deploy
    async def strays(run: hf.Run, given: Any) -> Any:
        kept.append(asyncio.ensure_future(run.sleep(3600)))
        kept.append(asyncio.ensure_future(run.ask("well?")))
        await shop.pay("A")
        return "done"

    kept: list[Any] = []
    assert world.run(strays) == "done"
    assert all(task.done() for task in kept)


def test_finally_at_closing_is_quick_and_its_steps_are_not_begun(world: Any, shop: Any) -> None:
    """A `finally` that pays at every park would pay once a minute; one that hangs would hold every deploy."""
    ran = []

    @deploy
    async def tidy(run: hf.Run, given: Any) -> Any:
        try:
            await run.sleep(3600)
        finally:
            ran.append("finally")
            await shop.pay("finally")
            ran.append("paid")

    async def scenario(app: hf.App) -> float:
        loop = asyncio.get_running_loop()
        await app.start(tidy, None, key="k")
        while world.head().status != "suspended":
            await asyncio.sleep(0)
        began = loop.time()
        with pytest.raises(hf.errors.RunWaiting):
            await app.run(tidy, None, key="k", wait=0)
        return loop.time() - began

    assert world.play(scenario, close_s=5, park_s=60) < 0.5
    assert ran == ["finally"] and shop.paid() == []


def test_code_that_swallows_cancellation_and_asks_on_does_not_hold_the_process(world: Any, shop: Any) -> None:
    """`except BaseException: retry` in a framework would keep every deploy from ever finishing."""
    asked = 0

    @deploy
    async def stubborn(run: hf.Run, given: Any) -> Any:
        nonlocal asked
        while True:
            try:
                asked += 1
                await run.sleep(3600)
            except BaseException:
                continue

    with pytest.raises(hf.errors.RunWaiting):
        world.run(stubborn, wait=0, close_s=0.1, may_leak=True)
    assert asked < 3_000
    assert world.head().status == "suspended" and world.store.owner(world.id()) is None


# --- the run object --------------------------------------------------------------------------------------------


def test_random_uuid_and_now_are_equal_on_replay(world: Any, shop: Any) -> None:
    """Another number would take another branch, and the run would be blocked by its own dice."""
    seen = []

    @deploy
    async def dice(run: hf.Run, given: Any) -> Any:
        mine: list[Any] = [run.now, run.random().random(), run.random().random(), str(run.uuid())]
        flags = [run.replaying]
        await shop.look("x")
        mine.append(run.now)
        await asyncio.gather(shop.pay("A"), shop.pay("B"))
        flags.append(run.replaying)
        mine += [run.now, run.random().random(), str(run.uuid())]
        seen.append((mine, flags))
        await shop.pay("end")
        return mine

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(dice)
    with pytest.raises(RunBlocked):
        world.run(dice)
    world.answer("it_did_not", dice)
    result = world.run(dice)
    assert len(set(result[1:4])) == 3 and result[1] != result[6] and result[3] != result[7]
    assert [mine for mine, _ in seen] == [result] * 3
    assert [flags for _, flags in seen] == [[False, False], [True, False], [True, True]] or [
        flags[0] for _, flags in seen
    ] == [False, True, True]


def test_a_note_is_written_once(world: Any, shop: Any) -> None:
    """A log that grows with each restart cannot be read as a record."""

    @deploy
    async def notes(run: hf.Run, given: Any) -> Any:
        await run.note("one")
        await run.note("one")
        await shop.pay("end")

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(notes)
    with pytest.raises(RunBlocked):
        world.run(notes)
    assert world.state().notes == ["one", "one"]


def test_a_step_inside_a_step_is_refused(world: Any, shop: Any) -> None:
    """A sleep or question hidden in an effect would be asked again on each of its attempts."""

    async def body(run: hf.Run) -> Any:
        return await run.step("inner", shop.pay.spec.fn, "X")

    @deploy
    async def nested(run: hf.Run, given: Any) -> Any:
        return await run.step("outer", body, run, effect="read", input="x", retry=hf.Retry(attempts=1))

    with pytest.raises(RunFailed, match="inside the step"):
        world.run(nested)
    assert shop.done == []


def test_a_stronger_tool_inside_a_step_is_refused_before_it_begins(world: Any, shop: Any) -> None:
    """A payment inside a read would be repeated with every retry of the read."""

    @hf.tool(effect="read", retry=hf.Retry(attempts=1))
    async def innocent(x: int) -> Any:
        return await shop.pay("hidden")

    @hf.tool(effect="once")
    async def honest(x: int) -> Any:
        return [await shop.pay("inner"), await shop.look("inner")]

    @deploy
    async def outer(run: hf.Run, given: Any) -> Any:
        first = await honest(1)
        try:
            await innocent(1)
        except hf.ToolFailed as error:
            return [first, str(error)]

    first, text = world.run(outer)
    assert first == ["paid inner (1)", {"found": "inner"}]
    assert "UsageError" in text and "not begun" in text
    assert shop.paid() == ["inner"]
    assert {event.address.name for event in world.events(Kind.STEP_INTENDED)} == {"honest"}


# --- a crash at every write ------------------------------------------------------------------------------------


class Truthful:
    """An agent with every sort of branch, whose tools can tell what happened."""

    def __init__(self, world: Any) -> None:
        self.done = world.effects

        @hf.tool(effect="read")
        async def look(x: Any) -> Any:
            await asyncio.sleep(0)
            return {"saw": x}

        async def verify(key: str, x: Any) -> Any:
            made = [done for done in self.done if done[1] == key]
            return hf.Done(f"paid {x}") if made else hf.NotDone()

        @hf.tool(effect="once", verify=verify)
        async def pay(x: Any, *, idempotency_key: str = hf.INJECTED) -> str:
            await turns(2)
            self.done.append((x, idempotency_key))
            await turns(2)
            return f"paid {x}"

        @hf.tool(effect="idempotent")
        async def put(x: Any, *, idempotency_key: str = hf.INJECTED) -> str:
            self.done.append((x, idempotency_key))
            await turns(1)
            return f"put {x}"

        @hf.tool(effect="once", verify=verify)
        async def refuses(x: Any, *, idempotency_key: str = hf.INJECTED) -> str:
            raise hf.NotDone("closed")

        async def branch(x: str) -> list[Any]:
            saw = await look(x)
            return [await pay(saw["saw"]), await put(x + "!"), await pay("equal")]

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            both = await asyncio.gather(branch("a"), branch("b"))
            await run.note("paid")
            try:
                await refuses(1)
            except hf.ToolFailed as error:
                text = str(error)
            loser = asyncio.ensure_future(pay("loser"))
            winner = asyncio.ensure_future(look("winner"))
            await asyncio.wait({loser, winner}, return_when=asyncio.FIRST_COMPLETED)
            won = [winner.done()]
            loser.cancel()
            await asyncio.gather(loser, return_exceptions=True)
            await run.sleep(0.001)
            return [both, text, won, await pay("last"), str(run.uuid())]

        self.agent = agent


@pytest.mark.parametrize("is_written", [False, True])
def test_a_crash_at_every_write_ends_in_the_same_result_with_each_effect_once(quick: Any, is_written: bool) -> None:
    """The one promise: wherever the process dies, nothing is paid twice, nothing is forgotten, nobody is asked."""
    plain = type(quick)(None)
    expected = plain.run(Truthful(plain).agent, settle_s=0)
    writes = plain.journal.transactions
    assert writes > 15
    crashes = 0

    def dies(at: int) -> Any:
        return lambda journal: journal.die_at(at, is_written=is_written)

    for number in range(1, writes + 1):
        for again in (0, 1, 2):  # and once more, soon after the recovery has begun
            world = type(quick)(None)
            agent = Truthful(world).agent
            for at in [number, again] if again else [number]:
                try:
                    world.run(agent, settle_s=0, prepare=dies(at))
                except world.Crash:
                    crashes += 1
            result = world.run(agent, settle_s=0)
            case = (number, again, is_written, world.effects, world.kinds())
            assert result == expected, case
            once = [done for done in world.effects if not str(done[0]).endswith("!")]
            assert len(once) == len(set(once)) == 6, case
            assert {x for x, _ in once} == {"a", "b", "equal", "loser", "last"}, case
            assert world.state().reserved == (0, 0, 0, 0), case
            assert not world.events(Kind.QUESTION_ASKED), case
    assert crashes > 2 * writes


def test_a_tool_that_changes_its_arguments_changes_only_its_copy(world: Any) -> None:
    """A list that a tool has emptied would give the next call another address than on replay."""

    @hf.tool(effect="once")
    async def greedy(items: list[int]) -> int:
        items.clear()
        return len(items)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        items = [1, 2]
        await greedy(items)
        return items

    assert world.run(agent) == [1, 2]


def test_steps_without_a_tool_are_found_by_name_and_arguments(world: Any, shop: Any) -> None:
    """A step found by its place alone would give `B` the outcome of `A` after a deploy."""

    def act(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
        shop.done.append((what, idempotency_key))
        return f"did {what}"

    @deploy
    async def before(run: hf.Run, given: Any) -> Any:
        await run.step("act", act, "A")
        await run.step("act", act, "B")
        await shop.pay("end")

    @deploy
    async def swapped(run: hf.Run, given: Any) -> Any:
        b = await run.step("act", act, "B")
        a = await run.step("act", act, "A")
        return [a, b, await shop.pay("end")]

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(before)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(swapped)
    world.answer("it_did_not", swapped)
    assert world.run(swapped) == ["did A", "did B", "paid end (2)"]
    assert [what for what, *_ in shop.done] == ["A", "B", "pay", "pay"]
    assert len({key for what, key, *_ in shop.done if what in "AB"}) == 2


async def test_what_a_run_that_is_over_held_is_freed_at_once() -> None:
    """Lost: half of the processor, where a thousand runs end: the collector looks through all runs that live to find
    the few that do not."""

    @deploy
    async def reads(run: hf.Run, given: int) -> int:
        results = [run.step("add", add, number, effect="read") for number in range(3)]
        return sum(await asyncio.gather(*results))

    async def add(number: int) -> int:
        return number + 1

    async with hf.App("memory:") as app:
        assert await app.run(reads, 0, key="first") == 6
        gc.collect()
        gc.disable()
        try:
            for number in range(20):
                await app.run(reads, number, key=str(number))
            await turns()
            assert gc.collect() < 20  # it was more than 100 for each run
        finally:
            gc.enable()
