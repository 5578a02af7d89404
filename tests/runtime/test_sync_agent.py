"""Agents that are a plain `def`: bodies of runs like others, in a thread. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import RunBlocked, RunFailed, RunWaiting
from holdfast.runtime import current

BUDGET = hf.Budget(tool_calls=200)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


@hf.tool(effect="read")
def look(x: Any) -> Any:
    """A sync read."""
    return {"found": x}


@hf.tool(effect="read")
async def look_far(x: Any) -> Any:
    """An async read."""
    await asyncio.sleep(0)
    return {"far": x}


def test_a_sync_agent_is_a_body_of_its_run_in_a_thread_of_its_own(world: Any) -> None:
    """Lost: plain code could not be kept running, or would block the loop that keeps its lease."""

    @deploy
    def agent(run: hf.Run, given: int) -> Any:
        world.effects.append(threading.current_thread() is threading.main_thread())
        far = run.wait(look_far(given))
        return [look(given), far, run.wait(run.step("own", lambda: given + 1, effect="read")), run.key]

    assert world.run(agent, 4) == [{"found": 4}, {"far": 4}, 5, "k"]
    assert world.effects == [False]
    assert world.run(agent, 4) == [{"found": 4}, {"far": 4}, 5, "k"]
    assert world.effects == [False], "an ended run runs nothing"
    assert agent.is_sync


def test_a_sync_agent_goes_on_where_its_process_died(world: Any, shop: Any) -> None:
    """Lost: a payment made twice, or a finished step made again, after a crash of a sync agent."""
    shop.dies_at = 3

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        return [run.wait(shop.pay(x)) for x in (1, 2, 3, 4)]

    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    world.answer("it_did_not", agent)
    assert world.run(agent) == ["paid 1 (1)", "paid 2 (1)", "paid 3 (2)", "paid 4 (1)"]
    assert shop.paid() == [1, 2, 3, 3, 4] and len(shop.keys(3)) == 1


def test_changed_code_of_a_sync_agent_blocks_as_an_async_one_does(world: Any, shop: Any) -> None:
    """Lost: a sync agent that is run on a guess after a deploy (P10)."""

    @deploy
    def old(run: hf.Run, given: Any) -> Any:
        run.wait(shop.pay(1))
        raise world.Crash

    @deploy
    def new(run: hf.Run, given: Any) -> Any:
        return run.wait(shop.pay(2))

    with pytest.raises(world.Crash):
        world.run(old)
    with pytest.raises(RunBlocked, match="drift"):
        world.run(new)
    assert shop.paid() == [1]


def test_a_question_suspends_a_sync_agent_and_its_thread_unwinds(world: Any) -> None:
    """Lost: a thread for each waiting person; `except Exception` in a loop would swallow the end of its run."""
    ran: list[str] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        try:
            return run.wait(run.ask("go on?", options=["yes", "no"])).value
        except Exception:
            ran.append("except Exception")
        except hf.Unwind:
            ran.append("unwound")
            raise
        finally:
            ran.append("finally")

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0.0)
    assert ran == ["unwound", "finally"]
    world.answer("yes", agent)
    assert world.run(agent) == "yes"


def test_a_failure_that_a_sync_agent_lets_through_is_what_resume_reopens(world: Any) -> None:
    """Lost: resume of a failed sync run would reopen nothing, and fail the same way for ever."""
    fails = [True]

    @hf.tool(effect="read", retry=hf.Retry(attempts=1))
    def flaky(x: int) -> str:
        world.effects.append(x)
        if x == 2 and fails[0]:
            raise ConnectionError("down")
        return f"seen {x}"

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        return [flaky(1), flaky(2)]

    with pytest.raises(RunFailed, match="flaky failed: ConnectionError: down"):
        world.run(agent)
    (ended,) = world.events(Kind.RUN_ENDED)
    assert len(ended.facts["cause"]) == 1
    fails.clear()
    fails.append(False)
    world.resume()
    assert world.run(agent) == ["seen 1", "seen 2"]
    assert world.effects == [1, 2, 2]


def test_cancel_unwinds_a_sync_agent(world: Any) -> None:
    """Lost: a cancelled run whose code goes on paying in its thread."""
    ran: list[str] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        try:
            run.wait(run.sleep("1h"))
        finally:
            ran.append("finally")

    async def scenario(app: hf.App) -> None:
        run = await app.start(agent, None, key="k")
        while not world.events(Kind.STEP_INTENDED):
            await asyncio.sleep(0)
        await app.cancel(run, by="ann", why="enough")
        with pytest.raises(hf.errors.RunCancelled, match="enough"):
            await app.run(agent, None, key="k")

    world.play(scenario)
    assert ran == ["finally"] and world.head().status is Status.CANCELLED


def test_a_closing_run_waits_for_the_last_lines_of_its_thread(world: Any) -> None:
    """Lost: `finally` blocks of a sync agent would run beside the next claim of the same run."""
    order: list[str] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        try:
            run.wait(run.sleep("1h"))
        finally:
            threading.Event().wait(0.05)
            order.append("finally")

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(agent, None, key="k", wait=0)
        order.append("closed")

    world.play(scenario)
    assert order == ["finally", "closed"]


def test_a_thread_that_never_waits_does_not_hold_up_the_close_and_begins_nothing_later(world: Any) -> None:
    """Lost: one endless loop in a sync agent would hang every deploy; or its next payment would be made by nobody."""
    go_on, over, began = threading.Event(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    @hf.tool(effect="once")
    def pay(x: int) -> None:
        world.effects.append(x)

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        began.set()
        go_on.wait()
        for _ in range(3):
            try:
                pay(1)
            except BaseException as error:
                raised.append(error)
        over.set()

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await asyncio.to_thread(began.wait)
        await app.cancel(world.id("k"))
        with pytest.raises(hf.errors.RunCancelled):
            await app.run(agent, None, key="k")
        go_on.set()
        await asyncio.to_thread(over.wait)

    world.play(scenario, close_s=0.05)
    assert [type(error) for error in raised] == [hf.Unwind] * 3
    assert world.effects == []


def test_a_thread_that_outlives_its_loop_is_unwound(world: Any) -> None:
    """Lost: such a thread would get "event loop is closed", catch it, and go on as if a tool had failed."""
    go_on, over, began = threading.Event(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        began.set()
        go_on.wait()
        for ask in (lambda: look(1), lambda: run.wait(run.sleep(1)), lambda: run.wait(look_far(1))):
            try:
                ask()
            except BaseException as error:
                raised.append(error)
        over.set()

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await asyncio.to_thread(began.wait)

    world.play(scenario, close_s=0.05)
    go_on.set()
    assert over.wait(5)
    assert [type(error) for error in raised] == [hf.Unwind] * 3


def test_sigterm_lets_a_sync_agent_go_on_elsewhere(world: Any) -> None:
    """Lost: a deploy would lose the run of a sync agent, or its effect in flight."""

    @hf.tool(effect="once")
    def pay(x: int) -> str:
        began.set()
        threading.Event().wait(0.05)
        world.effects.append(x)
        return f"paid {x}"

    began = threading.Event()

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        return [pay(1), pay(2)]

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await asyncio.to_thread(began.wait)

    world.play(scenario)
    assert world.effects == [1]
    assert world.run(agent) == ["paid 1", "paid 2"] and world.effects == [1, 2]


def test_run_wait_on_the_loops_own_thread_is_refused_with_the_way_out(world: Any) -> None:
    """Lost: it would wait for itself for ever, and the lease would run out."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return run.wait(look_far(1))

    with pytest.raises(RunFailed, match=r"run.wait was called on the event loop's own thread.*`await …`"):
        world.run(agent)
    assert not world.events(Kind.STEP_SUCCEEDED)


def test_what_run_wait_runs_knows_its_run_also_from_a_thread_without_context(world: Any) -> None:
    """Lost: a tool inside it would run without a record, or be refused as lost."""
    seen: list[Any] = []

    async def where() -> None:
        seen.append(current.place())
        seen.append(await look_far(1))

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        run.wait(where())
        other = threading.Thread(target=lambda: run.wait(where()))
        other.start()
        other.join()
        return None

    world.run(agent)
    assert seen[0] is not None and seen[0].driver is seen[2].driver and seen[1] == seen[3] == {"far": 1}
    assert len(world.events(Kind.STEP_SUCCEEDED)) == 2


def test_results_and_errors_of_run_wait_are_those_of_its_coroutine(world: Any) -> None:
    """Lost: a sync agent could not handle what its steps raise; a cancelled helper task would end the whole run."""

    class Missing(Exception):
        pass

    @hf.tool(effect="read", raises=(Missing,), retry=hf.Retry(attempts=1))
    async def fails(x: int) -> None:
        raise Missing(x)

    async def cancelled() -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        said = []
        try:
            run.wait(fails(7))
        except Missing as error:
            said.append(repr(error))
        try:
            run.wait(cancelled())
        except asyncio.CancelledError:
            said.append("cancelled")
        try:
            run.wait(asyncio.wait_for(run.sleep("1h"), 0.01))
        except TimeoutError:
            said.append("too late")
        return said

    assert world.run(agent) == ["Missing(7)", "cancelled", "too late"]


def test_threads_of_a_sync_agent_are_branches_of_its_run(world: Any) -> None:
    """Lost: answers of parallel branches would be swapped on replay."""
    dies = [True]

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        got: dict[int, Any] = {}

        def branch(n: int) -> None:
            got[n] = [look([n, i]) for i in range(5)]

        threads = [threading.Thread(target=run.carry(branch), args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if dies.pop() if dies else False:
            raise world.Crash
        return [got[n] for n in range(4)]

    with pytest.raises(world.Crash):
        world.run(agent)
    recorded = len(world.events(Kind.STEP_SUCCEEDED))
    assert world.run(agent) == [[{"found": [n, i]} for i in range(5)] for n in range(4)]
    assert recorded == 20 == len(world.events(Kind.STEP_SUCCEEDED))


def test_only_so_many_parked_threads_are_kept(world: Any) -> None:
    """Lost: a thousand runs that wait for a person would hold a thousand threads."""

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        return run.wait(run.ask("?")).value

    async def scenario(app: hf.App) -> int:
        for n in range(6):
            await app.start(agent, None, key=f"k{n}")
        while len(app._worker.drivers) > 2:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        return sum(world.head(f"k{n}").status is Status.SUSPENDED for n in range(6))

    assert world.play(scenario, park_s=60.0, parked_sync_max=2) == 6


def test_what_can_be_no_agent_is_refused_where_it_is_declared() -> None:
    """Lost: a generator or a coroutine that nobody runs would end its run as a success."""

    def steps(run: hf.Run, given: Any) -> Any:
        yield 1

    class Thing:
        def __init__(self, run: Any, given: Any) -> None: ...

    for wrong in (steps, Thing, 17):
        with pytest.raises(hf.UsageError, match="must be a function"):
            hf.agent(wrong)  # type: ignore[call-overload]


def test_a_plain_function_that_returns_a_coroutine_is_told_so(world: Any) -> None:
    """Lost: `def agent(run, x): return other(run, x)` would succeed with nothing done."""

    async def other() -> int:
        return 1

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        return other()

    with pytest.raises(RunFailed, match="returned an awaitable"):
        world.run(agent)


def test_a_process_whose_sync_agent_never_returns_ends() -> None:
    """Lost: Ctrl-C and deploys would hang on a sync agent that is stuck in plain code."""
    code = textwrap.dedent("""
        import asyncio, threading, holdfast as hf
        began = threading.Event()
        @hf.agent
        def agent(run, given):
            began.set()
            threading.Event().wait()
        async def main():
            async with hf.App("memory:", settings=hf.Settings(close_s=0.1, drain_s=0.1)) as app:
                await app.start(agent, None, key="k")
                await asyncio.to_thread(began.wait)
            print("left")
        asyncio.run(main())
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr, done.returncode) == ("left\n", "", 0)


def test_a_parked_sync_agent_goes_on_in_its_thread(world: Any) -> None:
    """Lost: an answer that comes while the thread is still there would run the agent a second time beside it."""
    began: list[int] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        began.append(threading.get_ident())
        value = run.wait(run.ask("?")).value
        return [value, threading.get_ident() == began[0]]

    async def scenario(app: hf.App) -> Any:
        run = await app.start(agent, None, key="k")
        while world.head().status is not Status.SUSPENDED:
            await asyncio.sleep(0)
        await app.answer(run, world.question(), "yes", by="ann")
        return await app.run(agent, None, key="k")

    assert world.play(scenario, park_s=60.0) == ["yes", True]
    assert len(began) == 1


def test_a_budget_stops_a_sync_agent_and_resume_goes_on(world: Any) -> None:
    """Lost: a cap that holds for async agents only; or a thread that sees it as an error of its tool."""
    said: list[str] = []

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        try:
            return [look(n) for n in range(4)]
        except Exception as error:
            said.append(repr(error))
            raise

    with pytest.raises(hf.errors.BudgetExceeded):
        world.run(agent, budget=hf.Budget(tool_calls=2))
    assert said == []
    world.resume(budget=hf.Budget(tool_calls=4))
    assert world.run(agent) == [{"found": n} for n in range(4)]


def test_killed_at_every_write_a_sync_agent_pays_once(quick: Any) -> None:
    """Lost: a window in which a sync agent loses or repeats an effect, and an async one does not."""
    paid: list[tuple[int, str]] = []

    @hf.tool(effect="once", verify=lambda key, x: hf.Done(x) if (x, key) in paid else hf.NotDone())
    def pay(x: int, *, idempotency_key: str = hf.INJECTED) -> int:
        paid.append((x, idempotency_key))
        return x

    @deploy
    def agent(run: hf.Run, given: Any) -> Any:
        first = [look(1), pay(1)]
        run.wait(run.note("half"))
        return [*first, pay(2), run.wait(look_far(3))]

    kills = 0
    for is_written in (False, True):
        for number in range(1, 20):
            paid.clear()
            world = type(quick)(None)
            try:
                result = world.run(
                    agent, prepare=lambda journal, n=number, w=is_written: journal.die_at(n, is_written=w)
                )
            except world.Crash:
                kills += 1
                result = world.run(agent)
            assert result == [{"found": 1}, 1, 2, {"far": 3}], (number, is_written)
            assert [x for x, _ in paid] == [1, 2], (number, is_written)
    assert kills >= 12
    gc.collect()  # what dead processes left is ended here, not in the middle of whatever comes next
