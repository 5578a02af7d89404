"""Deadlines that bite (R27): attempts, steps and runs are stopped when their time is up, whatever hangs.

Time is a manual clock here; what waits for real time would never end. Each test says what would be lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import BudgetExceeded, PolicyInvalid, RunBlocked, RunFailed, RunWaiting
from holdfast.runtime.heartbeat import heartbeat
from holdfast.testing.clock import ManualClock

SETTINGS: dict[str, Any] = {"lease_s": 1e9, "poll_s": 0.5, "quiet_s": 5, "park_s": 1e6, "close_s": 2}
ONE = hf.Retry(attempts=1)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Sync tools hang on it; set when the test is over, so that no thread outlives it."""
    event = threading.Event()
    yield event
    event.set()


def deploy(fn: Any, budget: hf.Budget | None = None) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="slow", budget=budget or hf.Budget(tool_calls=100))(fn)


async def never() -> Any:
    """A call that does not come back."""
    return await asyncio.get_running_loop().create_future()


def timed(
    world: Any,
    agent: Any,
    clock: ManualClock,
    *,
    seconds: int = 60,
    by: float = 1.0,
    wait: Any = None,
    patience_s: float = 0.0,
    **more: Any,
) -> Any:
    """One process, for at most so many seconds of the manual clock."""

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k", wait=wait))
        for _ in range(int(seconds / by)):
            await clock.advance(by)
            if running.done():
                return await running
        done, _ = await asyncio.wait({running}, timeout=patience_s)  # for code that is left behind after real time
        running.cancel()
        assert done, "it still runs"
        return await running

    world.store._clock = clock.now
    return world.play(scenario, clock=clock, may_leak=more.pop("may_leak", False), **{**SETTINGS, **more})


def after_death(clock: ManualClock, seconds: float = 0.0) -> ManualClock:
    """The clock as the next process has it: the timers of the dead one are gone, its ids are taken."""
    return Later(clock.now() + seconds)


class Later(ManualClock):
    """Gives other ids, so that nobody takes its worker for the dead one."""

    def fresh_id(self) -> str:
        """32 hex digits."""
        return super().fresh_id()[::-1]


# --- attempts ---------------------------------------------------------------------------------------------------


def test_an_async_read_that_never_returns_is_cancelled_and_tried_again(quick: Any) -> None:
    """A half-open socket would hold the run for ever."""
    clock, cancelled = ManualClock(), []

    @hf.tool(effect="read", timeout="5s", retry=hf.Retry(attempts=3, wait=0))
    async def look(x: int) -> str:
        quick.effects.append(clock.now())
        if len(quick.effects) == 3:
            return "found"
        try:
            return str(await never())
        finally:
            cancelled.append(x)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await look(1)

    assert timed(quick, agent, clock) == "found"
    assert [at - quick.effects[0] for at in quick.effects] == [0, 5, 10] and cancelled == [1, 1]
    assert quick.events(Kind.ATTEMPT_FAILED)[0].facts["text"] == "no result within timeout=5 s"


def test_an_async_effect_is_cancelled_into_doubt_and_not_repeated(quick: Any) -> None:
    """A payment whose answer is late is paid twice, or taken for not done."""
    clock = ManualClock()

    @hf.tool(effect="once", timeout="5s")
    async def pay(x: int) -> None:
        quick.effects.append(x)
        await never()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await pay(1)

    with pytest.raises(RunBlocked, match="in_doubt"):
        timed(quick, agent, clock, wait=1.0)
    assert quick.effects == [1]
    (failed,) = quick.events(Kind.ATTEMPT_FAILED)
    assert failed.facts["is_definite"] is False and failed.at - quick.events(Kind.STEP_INTENDED)[0].at == 5


def test_a_sync_read_in_a_thread_is_given_up(quick: Any, released: threading.Event) -> None:
    """A thread cannot be stopped; but nobody has to wait for it."""
    clock = ManualClock()

    @hf.tool(effect="read", timeout="5s", retry=ONE)
    def look(x: int) -> None:
        released.wait()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.to_thread(look, 1)

    with pytest.raises(RunFailed, match="no result within timeout=5 s"):
        timed(quick, agent, clock, may_leak=True)


def test_a_sync_effect_in_a_thread_is_recorded_as_unknown_at_its_deadline(quick: Any, released: Any) -> None:
    """Nobody would see that a payment hangs; or its attempt would count as over while its thread can still pay."""
    clock, began = ManualClock(), threading.Event()

    @hf.tool(effect="once", timeout="5s")
    def pay(x: int) -> str:
        began.set()
        released.wait()
        return "paid"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.to_thread(pay, 1)

    async def scenario(app: hf.App) -> Any:
        await app.start(agent, None, key="k")
        await asyncio.to_thread(began.wait)
        await clock.advance(5)
        (failed,) = quick.events(Kind.ATTEMPT_FAILED)
        released.set()
        return failed

    quick.store._clock = clock.now
    failed = quick.play(scenario, clock=clock, may_leak=True, **SETTINGS)
    assert failed.facts["is_definite"] is False and "timeout=5 s" in failed.facts["text"]


def test_a_tools_own_timeout_is_not_taken_for_ours(quick: Any) -> None:
    """The reason in the record would be a deadline that nobody set."""
    clock = ManualClock()

    @hf.tool(effect="read", timeout="5s", retry=ONE)
    async def look(x: int) -> None:
        raise TimeoutError("the server said so")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await look(1)

    with pytest.raises(RunFailed, match="the server said so"):
        timed(quick, agent, clock)


def test_a_result_that_comes_while_it_is_cancelled_counts(quick: Any) -> None:
    """A payment that came through at the last moment is asked about though its receipt is there."""
    clock = ManualClock()

    @hf.tool(effect="once", timeout="5s")
    async def pay(x: int) -> str:
        try:
            return str(await never())
        except asyncio.CancelledError:
            return "paid at the last moment"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await pay(1)

    assert timed(quick, agent, clock) == "paid at the last moment"


# --- signs of life ----------------------------------------------------------------------------------------------


def test_a_slow_tool_that_beats_lives_and_one_that_stops_beating_does_not(quick: Any) -> None:
    """Either slow work is killed by a watchdog, or what hangs is waited for until the timeout of an hour."""
    clock = ManualClock()

    @hf.tool(effect="read", heartbeat="10s", timeout="1h", retry=ONE)
    async def index(beats: int) -> str:
        for _ in range(beats):
            await asyncio.wrap_future(_after(clock, 8))
            heartbeat()
        return str(await never()) if beats < 9 else "indexed"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        done = await index(9)
        with pytest.raises(hf.ToolFailed, match="no sign of life for heartbeat=10 s"):
            await index(2)
        return done, run.now

    done, _ = timed(quick, agent, clock, seconds=300)
    assert done == "indexed"
    began, ended = quick.events(Kind.STEP_SUCCEEDED)[0].at, quick.events(Kind.STEP_FAILED)[0].at
    assert 25 <= ended - began <= 28


def test_the_timeout_is_the_cap_of_a_tool_that_beats_for_ever(quick: Any) -> None:
    """A loop that beats and gets nowhere would never end."""
    clock = ManualClock()

    @hf.tool(effect="read", heartbeat="10s", timeout="30s", retry=ONE)
    async def spin(x: int) -> None:
        while True:
            await asyncio.wrap_future(_after(clock, 5))
            heartbeat()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await spin(1)

    with pytest.raises(RunFailed, match="timeout=30 s"):
        timed(quick, agent, clock)


def test_a_thread_beats_for_its_own_attempt(quick: Any, released: threading.Event) -> None:
    """A sync tool could not say that it lives."""
    clock, beat_at = ManualClock(), []

    @hf.tool(effect="read", heartbeat="10s", timeout="1h", retry=ONE)
    def index(x: int) -> None:
        for go in goes:
            go.wait()
            heartbeat()
            beat_at.append(clock.now())
        released.wait()

    goes = [threading.Event(), threading.Event()]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await asyncio.to_thread(index, 1)

    async def scenario(app: hf.App) -> Any:
        run = await app.start(agent, None, key="k")
        for number, go in enumerate(goes, 1):
            await clock.advance(8)
            go.set()
            while len(beat_at) < number:
                await asyncio.sleep(0)
        await clock.advance(11)
        with pytest.raises(RunFailed, match="no sign of life"):
            await app.run(agent, None, key="k")
        return run

    quick.store._clock = clock.now
    quick.play(scenario, clock=clock, may_leak=True, **SETTINGS)
    assert quick.events(Kind.STEP_FAILED)[0].at == beat_at[-1] + 10


def test_a_heartbeat_outside_of_a_tool_does_nothing() -> None:
    """A function that beats could not be called or tested by itself."""
    heartbeat()


def _after(clock: ManualClock, seconds: float) -> Any:
    from concurrent.futures import Future

    done: Future[None] = Future()
    clock.call_later(seconds, lambda: None if done.cancelled() else done.set_result(None))
    return done


# --- steps ------------------------------------------------------------------------------------------------------


def test_no_attempt_and_no_wait_goes_on_past_the_deadline_of_its_step(quick: Any) -> None:
    """Each retry would begin with its whole time again: four attempts of a minute for a step that has one."""
    clock = ManualClock(draws=(0.99,) * 9)

    @hf.tool(effect="read", timeout="20s", within="50s", retry=hf.Retry(attempts=9, wait=1, wait_max=1))
    async def look(x: int) -> None:
        quick.effects.append(clock.now())
        await never()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await look(1)

    with pytest.raises(RunFailed, match="within=50 s"):
        timed(quick, agent, clock, seconds=200)
    began = quick.effects[0]
    assert [round(at - began) for at in quick.effects] == [0, 21, 42]
    assert quick.events(Kind.STEP_FAILED)[0].at - began == 50


def test_a_retry_that_would_begin_after_the_deadline_is_not_waited_for(quick: Any) -> None:
    """A run that promised a minute waits an hour for a Retry-After, and then does not begin."""
    clock = ManualClock(draws=(0.99,))

    @hf.tool(effect="read", within="30s", retry=hf.Retry(attempts=9, wait=40, wait_max=40, total=1000))
    async def look(x: int) -> None:
        raise ConnectionError("gone")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await look(1)

    with pytest.raises(RunFailed, match="gone"):
        timed(quick, agent, clock)
    assert "after the step's deadline" in quick.events(Kind.STEP_FAILED)[0].facts["because"]
    assert not quick.events(Kind.ATTEMPT_FAILED)


def test_after_a_crash_the_deadline_of_a_step_counts_from_its_first_begin(quick: Any) -> None:
    """A step that takes its process along each time gets its whole time again each time."""
    clock = ManualClock()

    @hf.tool(effect="read", within="30s", retry=hf.Retry(attempts=9, wait=0, total=1000))
    async def look(x: int) -> None:
        quick.effects.append(clock.now())
        if len(quick.effects) == 1:
            clock.jump(20)
            raise quick.Crash
        await never()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await look(1)

    with pytest.raises(quick.Crash):
        timed(quick, agent, clock)
    clock = after_death(clock)
    with pytest.raises(RunFailed, match="within=30 s"):
        timed(quick, agent, clock)
    first, second = quick.effects
    assert second - first == 20 and quick.events(Kind.STEP_FAILED)[0].at - first == 30


def test_a_step_whose_time_passed_while_nobody_ran_it_is_not_begun_again(quick: Any) -> None:
    """A report that was due yesterday is made today, and believed."""
    clock = ManualClock()

    @hf.tool(effect="read", within="30s", retry=hf.Retry(attempts=9, wait=0, total=1000))
    async def look(x: int) -> None:
        quick.effects.append(x)
        raise quick.Crash

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await look(1)

    with pytest.raises(quick.Crash):
        timed(quick, agent, clock)
    clock = after_death(clock, 1000)
    with pytest.raises(RunFailed, match="it was not begun"):
        timed(quick, agent, clock)
    assert quick.effects == [1] and quick.state().spent.tool_calls == 2


# --- runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", ["active", "wall"])
def test_a_run_is_stopped_when_its_time_is_up_though_a_tool_never_returns(quick: Any, cap: str) -> None:
    """One hung call keeps a run, its worker slot and its caller for ever; or the stop loses the work."""
    clock = ManualClock()

    @hf.tool(effect="read", retry=ONE)
    async def look(x: int) -> str:
        quick.effects.append(x)
        return str(await never()) if quick.effects.count(x) <= x else f"found {x}"

    async def body(run: hf.Run, given: Any) -> Any:
        return [await look(0), await look(1), run.budget.limits]

    agent = deploy(body, hf.Budget(tool_calls=50, **{cap: "30s"}))
    with pytest.raises(BudgetExceeded, match=f"{cap} time: 30 s used, cap 30 s") as stopped:
        timed(quick, agent, clock)
    assert f"--raise {cap}=+60s" in str(stopped.value)
    assert quick.head().status is Status.STOPPED and quick.effects == [0, 1]
    (decided,) = quick.events(Kind.DECIDED)
    assert decided.facts["what"] == "deadline" and not quick.events(Kind.STEP_FAILED)

    quick.resume(budget=hf.Budget(**{cap: "10m"}))
    found = timed(quick, agent, clock, seconds=300)
    assert found[:2] == ["found 0", "found 1"] and quick.effects == [0, 1, 1], "it goes on at the same step"


def test_a_run_that_is_resumed_without_more_time_stops_again(quick: Any) -> None:
    """`resume` alone would give a run that hangs its whole time once more."""
    clock = ManualClock()

    @hf.tool(effect="read")
    async def look(x: int) -> None:
        quick.effects.append(x)
        await never()

    async def body(run: hf.Run, given: Any) -> Any:
        await look(1)

    agent = deploy(body, hf.Budget(active="30s"))
    with pytest.raises(BudgetExceeded):
        timed(quick, agent, clock)
    quick.resume()
    with pytest.raises(BudgetExceeded):
        timed(quick, agent, clock)
    assert quick.effects == [1]


def test_an_effect_under_way_when_the_time_of_its_run_is_up_is_in_doubt_then(quick: Any) -> None:
    """A payment that was cut short is repeated when the run is resumed, or taken for failed."""
    clock = ManualClock()

    @hf.tool(effect="once")
    async def pay(x: int) -> str:
        quick.effects.append(x)
        return str(await never())

    async def body(run: hf.Run, given: Any) -> Any:
        return await pay(1)

    agent = deploy(body, hf.Budget(active="30s"))
    with pytest.raises(BudgetExceeded):
        timed(quick, agent, clock)
    quick.resume(budget=hf.Budget(active="10m"))
    with pytest.raises(RunBlocked, match="in_doubt"):
        timed(quick, agent, clock, wait=1.0)
    assert quick.effects == [1]


def test_a_run_whose_own_code_hangs_is_stopped(quick: Any) -> None:
    """An agent that waits for something that is no step, or swallows what would stop it, is never found."""
    clock = ManualClock()

    @hf.tool(effect="read")
    async def look(x: int) -> None:
        while True:
            try:
                await never()
            except asyncio.CancelledError:
                quick.effects.append(x)

    async def waits(run: hf.Run, given: Any) -> Any:
        await never()

    async def swallows(run: hf.Run, given: Any) -> Any:
        await look(1)

    for number, body in enumerate((waits, swallows)):
        quick.effects.clear()
        world = quick if number == 0 else type(quick)(None)
        agent = deploy(body, hf.Budget(active="30s"))
        with pytest.raises(BudgetExceeded):
            timed(world, agent, clock, may_leak=True, patience_s=20.0, close_s=0.05)
        assert world.head().status is Status.STOPPED


def test_the_time_of_a_person_is_not_active_and_ends_with_the_wall_time(quick: Any) -> None:
    """An agent that waits for a person all night is stopped for working too long; or waits for ever."""
    clock = ManualClock()

    async def body(run: hf.Run, given: Any) -> Any:
        return (await run.ask("May I?", options=("yes",))).value

    agent = deploy(body, hf.Budget(active="1m", wall="1h"))
    with pytest.raises(RunWaiting):
        timed(quick, agent, clock, seconds=3_000, by=60, wait=60.0)
    assert quick.state().active_s < 10 and quick.head().wake_at == quick.state().created_at + 3_600

    async def nobody_answers(app: hf.App) -> None:
        await clock.advance(3_600)

    quick.play(nobody_answers, agents=[agent], serves=True, clock=clock, **SETTINGS)
    assert quick.head().status is Status.STOPPED and "wall time" in quick.head().why


def test_a_run_that_is_parked_in_memory_ends_with_its_wall_time(quick: Any) -> None:
    """A caller that stays for a run that waits for a person waits for ever, whatever was promised."""
    clock = ManualClock()

    async def body(run: hf.Run, given: Any) -> Any:
        await run.ask("May I?")

    with pytest.raises(BudgetExceeded, match="wall time"):
        timed(quick, deploy(body, hf.Budget(wall="10m")), clock, seconds=1200, by=20)


def test_what_a_dead_process_worked_counts_and_what_nobody_did_does_not(quick: Any) -> None:
    """A run that dies every few minutes works without end; or a night with no worker uses up its time."""
    clock = ManualClock()

    @hf.tool(effect="read")
    async def look(x: int) -> str:
        if not quick.effects:
            quick.effects.append(x)
            clock.jump(8)
            quick.store.register(worker(quick), 30)  # the lease thread of a process that works
            clock.jump(5)
            raise quick.Crash
        return "found"

    async def body(run: hf.Run, given: Any) -> Any:
        await run.note("begun")
        await look(1)
        return run.budget.active_s

    agent = deploy(body, hf.Budget(active="1h"))
    with pytest.raises(quick.Crash):
        timed(quick, agent, clock, lease_s=30)
    clock = after_death(clock, 30_000)
    assert timed(quick, agent, clock, lease_s=30) == pytest.approx(8, abs=1)


def worker(world: Any) -> Any:
    """The worker that holds the one run."""
    owner = world.store.owner(world.id())
    assert owner is not None
    return owner[0]


class Set(ManualClock):
    """A clock that somebody sets, while the time that passes goes on as before."""

    ahead_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return super().now() + self.ahead_s


def test_a_clock_that_is_set_forward_stops_the_run_and_says_so(quick: Any) -> None:
    """The run is stopped with a reason that nobody understands; or works on by a clock that is wrong."""
    clock = Set()

    @hf.tool(effect="read")
    async def look(x: int) -> str:
        if x == 1:
            clock.ahead_s = 7200
        return "found"

    async def body(run: hf.Run, given: Any) -> Any:
        return [await look(1), await look(2), await look(3)]

    with pytest.raises(BudgetExceeded, match="clock was set forward by 7200 s"):
        timed(quick, deploy(body, hf.Budget(wall="1h")), clock)
    assert quick.head().status is Status.STOPPED


# --- declarations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timeout", "within", "heartbeat"])
@pytest.mark.parametrize("value", [0, "0s", -1, float("nan"), float("inf"), "soon", True])
def test_a_time_that_is_none_is_refused_when_it_is_declared(name: str, value: Any) -> None:
    """A timeout of zero fails every call, one of NaN none."""
    with pytest.raises(PolicyInvalid, match=name):
        hf.tool(**{name: value})(lambda: None)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"heartbeat": "2m", "timeout": "1m"}, "heartbeat=120 s is longer than timeout=60 s"),
        ({"timeout": "2m", "within": "1m"}, "timeout=120 s is longer than within=60 s"),
        ({"heartbeat": "2m", "within": "1m"}, "heartbeat=120 s is longer than within=60 s"),
    ],
)
def test_times_that_contradict_each_other_are_refused(declared: dict[str, Any], said: str) -> None:
    """A declaration of which a part can never count is a misunderstanding that shows in production."""
    with pytest.raises(PolicyInvalid, match=said):
        hf.tool(**declared)(lambda: None)


async def test_without_a_run_the_same_deadlines_hold() -> None:
    """A tool that is tried in a script, or used in another framework, hangs there."""

    @hf.tool(effect="read", timeout=0.01, within=0.05, retry=hf.Retry(attempts=50, wait=0))
    async def look(x: int) -> None:
        tries.append(x)
        await never()

    tries: list[int] = []
    with pytest.raises(TimeoutError, match=r"timeout=0.01 s|within=0.05 s"):
        await look(1)
    assert 1 < len(tries) <= 6


def test_a_thread_that_outlives_the_time_of_its_run_is_told_and_keeps_the_lease(quick: Any, released: Any) -> None:
    """The caller of a run that hangs in a thread waits for ever; or the thread pays while somebody verifies."""
    clock, began = ManualClock(), threading.Event()

    @hf.tool(effect="once")
    def pay(x: int) -> str:
        began.set()
        released.wait()
        return "paid"

    async def body(run: hf.Run, given: Any) -> Any:
        return await asyncio.to_thread(pay, 1)

    agent = deploy(body, hf.Budget(active="30s"))

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await asyncio.to_thread(began.wait)
        for _ in range(60):
            await clock.advance(1)
        await asyncio.wait({running}, timeout=20)
        with pytest.raises(BudgetExceeded, match="active time"):
            await running
        owner = quick.store.owner(quick.id())
        released.set()
        while quick.store.owner(quick.id()) is not None:
            await clock.advance(1)
        return owner

    quick.store._clock = clock.now
    owner = quick.play(scenario, clock=clock, may_leak=True, **{**SETTINGS, "close_s": 0.05})
    assert owner is not None and quick.head().status is Status.STOPPED
    (kept,) = [
        event
        for event in quick.events(Kind.DECIDED)
        if event.facts["what"] == "sender" and event.facts["choice"] == "keep"
    ]
    assert "cut short" in kept.facts["because"]
    (paid,) = quick.events(Kind.STEP_SUCCEEDED)
    assert paid.facts["late"] is True
    quick.resume(budget=hf.Budget(active="10m"))
    assert timed(quick, agent, clock) == "paid"


@pytest.mark.parametrize("effect", ["read", "once"])
def test_a_body_that_swallows_its_cancellation_is_left_behind(quick: Any, effect: Any) -> None:
    """`except:` in a tool's own retry loop holds the run for ever; or it pays beside whoever asks whether it has."""
    clock = ManualClock()
    go: list[asyncio.Event] = []
    asked: list[str] = []

    async def has_paid(key: str, x: int) -> Any:
        asked.append(key)
        return hf.Unknown("the till is silent")

    @hf.tool(effect=effect, timeout="5s", retry=ONE, verify=has_paid if effect == "once" else None)
    async def pay(x: int) -> str:
        go.append(asyncio.Event())
        while not go[0].is_set():
            try:
                await go[0].wait()
            except:  # noqa: E722 - what this test is about
                quick.effects.append("swallowed")
        return "paid"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await pay(1)

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        for _ in range(20):
            await clock.advance(1)
        was_done, kinds = running.done(), quick.kinds()
        go[0].set()
        await clock.advance(1)
        return was_done, kinds, await asyncio.wait_for(asyncio.shield(running), 10)

    quick.store._clock = clock.now
    if effect == "read":
        with pytest.raises(RunFailed, match="it was cancelled, and goes on all the same"):
            quick.play(scenario, clock=clock, may_leak=True, **SETTINGS)
    else:
        was_done, kinds, result = quick.play(scenario, clock=clock, may_leak=True, **SETTINGS)
        assert not was_done and kinds[-1] is Kind.DECIDED and Kind.ATTEMPT_FAILED in kinds
        assert result == "paid" and asked == [], "what comes late is the outcome, and nobody asks before"
    assert quick.effects == ["swallowed"]
