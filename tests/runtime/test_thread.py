"""Sync tools and threads, and processes that have to end. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import RunBlocked, RunFailed
from holdfast.runtime.thread import Bridge, Unwind, is_at_home, loop_elsewhere

BUDGET = hf.Budget(tool_calls=100)
PRELUDE = """
import asyncio, sys, threading, holdfast as hf
SETTINGS = hf.Settings(quiet_s=0.02, park_s=0.06, close_s=0.3, poll_s=0.02, settle_s=0.02, drain_s=0.2)
app = hf.App("memory:", settings=SETTINGS)
def ends(agent):
    try:
        print("result", app.run_sync(agent, None, key="k", wait=0))
    except hf.errors.RunWaiting as waiting:
        print("waiting", type(waiting).__name__)
"""


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def process(code: str) -> str:
    """Run this in a process of its own; fails when it does not end."""
    text = PRELUDE + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sync_tool_on_the_loops_own_thread_is_refused_before_its_intent(world: Any) -> None:
    """It would block the loop that has to answer it, and the worker would lose its lease."""

    @hf.tool(effect="once")
    def pay(x: int) -> None:
        world.effects.append(x)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        pay(1)

    with pytest.raises(RunFailed, match="to_thread"):
        world.run(agent)
    assert world.effects == [] and not world.events(Kind.STEP_INTENDED)


def test_sync_tools_in_threads_are_steps_like_others(world: Any) -> None:
    """A sync tool whose outcome is not kept would pay again after every crash."""

    @hf.tool(effect="once")
    def pay(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append((x, idempotency_key, threading.current_thread() is threading.main_thread()))
        if x == 9 and len(world.effects) == 5:
            raise world.Crash
        return f"paid {x}"

    def several(xs: list[int]) -> list[str]:
        return [pay(x) for x in xs]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.gather(
            asyncio.to_thread(several, [1, 2]), asyncio.to_thread(several, [3, 4]), asyncio.to_thread(lambda: None)
        ) + [await asyncio.to_thread(pay, 9)]

    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    world.answer("it_did_not", agent)
    assert world.run(agent) == [["paid 1", "paid 2"], ["paid 3", "paid 4"], None, "paid 9"]
    assert sorted(x for x, _, _ in world.effects) == [1, 2, 3, 4, 9, 9]
    assert len({key for x, key, _ in world.effects if x == 9}) == 1
    assert not any(is_main for _, _, is_main in world.effects)


def test_a_thread_that_waits_is_unwound_when_its_run_is_closed(world: Any) -> None:
    """A thread of the pool that waits for ever keeps its slot; after a few parks the pool is full."""
    ran: list[str] = []

    @hf.tool(effect="once")
    def pay(x: int) -> None:
        raise ConnectionError("the answer was lost")

    def work() -> None:
        try:
            pay(1)
        except Exception:
            ran.append("except Exception")
        finally:
            ran.append("finally")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await asyncio.to_thread(work)

    with pytest.raises(RunBlocked):
        world.run(agent)
    assert ran == ["finally"]


def test_a_process_with_a_parked_sync_tool_ends() -> None:
    """Ctrl-C, deploys and cron jobs would hang on a thread that waits for a person."""
    said = process("""
        @hf.tool(effect="once")
        def pay(x): raise ConnectionError("lost")
        @hf.agent
        async def agent(run, given):
            return await asyncio.to_thread(pay, 1)
        ends(agent)
    """)
    assert said == "waiting RunBlocked\n"


def test_a_process_with_a_sync_tool_that_never_returns_ends() -> None:
    """A hung socket in a tool must not outlive SIGTERM's patience."""
    said = process("""
        @hf.tool(effect="once")
        def hang(x): began.set(); threading.Event().wait()
        began = threading.Event()
        @hf.agent
        async def agent(run, given):
            await asyncio.to_thread(hang, 1)
        async def main():
            async with app:
                await app.start(agent, None, key="k")
                await asyncio.to_thread(began.wait)
            print("left")
        asyncio.run(main())
    """)
    assert said == "left\n"


def test_a_process_ends_when_a_thread_outlives_its_agent() -> None:
    """A run that succeeded would keep its process alive for a branch that nobody waits for."""
    said = process("""
        @hf.tool(effect="read")
        def hang(x): threading.Event().wait()
        @hf.agent
        async def agent(run, given):
            try:
                await asyncio.wait_for(asyncio.to_thread(hang, 1), 0.05)
            except TimeoutError:
                return "done"
        ends(agent)
    """)
    assert said == "result done\n"


@pytest.mark.parametrize(
    "how", ["await run.sleep(3600)", "await look(1)", "await asyncio.sleep(0); await run.ask('?')"]
)
def test_a_process_whose_code_swallows_every_cancellation_ends(how: str) -> None:
    """`except BaseException: continue` in a framework would make every deploy wait for SIGKILL."""
    said = process(f"""
        @hf.tool(effect="read")
        async def look(x): await asyncio.Event().wait()
        @hf.agent
        async def agent(run, given):
            began.set()
            while True:
                try:
                    {how}
                except BaseException:
                    continue
        began = threading.Event()
        async def main():
            async with app:
                await app.start(agent, None, key="k")
                await asyncio.to_thread(began.wait)
            print("left")
        asyncio.run(main())
    """)
    assert said == "left\n"


def test_run_wait_style_sync_code_in_the_agent_cannot_stop_the_lease_thread(world: Any) -> None:
    """Renewals come from a thread of their own; a second of blocking must not hand the run to another worker."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        threading.Event().wait(0.15)
        await run.note("still ours")
        return "done"

    assert world.run(agent, lease_s=0.3) == "done"


def test_tools_on_the_loop_of_another_thread_are_steps() -> None:
    """A framework that runs its tools on a loop of its own would mix two loops, or lose the record."""
    said = process("""
        @hf.tool(effect="read")
        async def look(x): return x
        @hf.agent
        async def agent(run, given):
            async def far(): return await asyncio.gather(*(look(name) for name in "abc"))
            return await asyncio.to_thread(lambda: asyncio.run(far()))
        ends(agent)
    """)
    assert said == "result ['a', 'b', 'c']\n"


class LoopThatEnds(asyncio.SelectorEventLoop):
    """Its run is closed in the very moment in which something is asked for from another thread."""

    bridge: Bridge | None = None

    def call_soon_threadsafe(self, *what: Any, **more: Any) -> Any:
        handle = super().call_soon_threadsafe(*what, **more)
        if self.bridge is not None and threading.current_thread().name == "asks":
            self.bridge.unwind()
        return handle


def test_a_thread_that_asks_in_the_moment_of_closing_is_unwound_too() -> None:
    """Lost: a thread, and with it a process, that waits for ever for a run which has left."""
    loop = LoopThatEnds()
    came: list[str] = []

    async def never() -> None:
        await loop.create_future()

    def ask(bridge: Bridge) -> None:
        try:
            bridge.wait(never())
        except Unwind:
            came.append("unwound")

    async def main() -> None:
        loop.bridge = Bridge(loop)
        thread = threading.Thread(target=ask, args=(loop.bridge,), name="asks", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, 10)

    try:
        loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert came == ["unwound"]


def test_a_later_loop_of_the_same_thread_is_another_one() -> None:
    """Lost: a step that is asked for on a loop of today and waits for ever on one that is over."""

    async def loop() -> asyncio.AbstractEventLoop:
        running, thread = asyncio.get_running_loop(), threading.get_ident()
        assert is_at_home(thread, running)
        assert loop_elsewhere(thread, running) is None
        return running

    async def elsewhere(before: asyncio.AbstractEventLoop) -> bool:
        assert not is_at_home(threading.get_ident(), before)
        return loop_elsewhere(threading.get_ident(), before) is asyncio.get_running_loop()

    before = asyncio.run(loop())
    assert asyncio.run(elsewhere(before))
