"""Breakers and shared retries in runs: what an agent sees of them, and what its record says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.breaker import Breaker
from holdfast.core.events import Event, Kind
from holdfast.errors import PolicyInvalid, RunFailed, RunStopped, StoreUnreachable
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.clock import ManualClock

BUDGET = hf.Budget(tool_calls=1_000)
BREAKER = Breaker()
FAST = hf.Retry(attempts=3, wait=0.001)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


class Dead:
    """A tool that is down until it is mended."""

    def __init__(self, *, retry: hf.Retry = FAST, breaker: Breaker | None = BREAKER, effect: Any = "read") -> None:
        self.calls = 0
        self.is_dead = True
        self.error: type[Exception] = TimeoutError

        @hf.tool(effect=effect, retry=retry, breaker=breaker, name="lookup")
        async def lookup(x: int) -> str:
            self.calls += 1
            if self.is_dead:
                raise self.error("no answer")
            return f"found {x}"

        self.tool = lookup


def decided(world: Any, what: str, *, key: str = "k") -> list[Event]:
    """The decisions of this sort, in order."""
    return [event for event in world.events(Kind.DECIDED, key=key) if event.facts["what"] == what]


def test_an_open_breaker_fails_at_once_as_a_refusal_with_its_reason(world: Any) -> None:
    """R6. Lost: each call of a dead tool waits for its timeout, in each run, for hours."""
    dead = Dead()

    @deploy
    async def ask_often(run: hf.Run, times: int) -> list[str]:
        told = []
        for n in range(times):
            try:
                told.append(await dead.tool(n))
            except hf.ToolFailed as failed:
                told.append(str(failed))
        return told

    told = world.run(ask_often, 4)
    assert dead.calls == 5
    assert "TimeoutError: no answer" in told[0]
    assert "lookup failed: BreakerOpen: the breaker of lookup is open since" in told[2]
    assert "Nothing was sent" in told[3]
    states = [event.facts["choice"] for event in decided(world, "breaker")]
    assert states == ["opened", "refused", "refused", "refused"]
    opened = decided(world, "breaker")[0].facts
    assert opened["because"].startswith("5 attempts in a row without an answer in time; the last one: TimeoutError")
    assert opened["tool"] == "lookup"
    failed = [event for event in world.events(Kind.STEP_FAILED) if event.facts["kind"] == "refused"]
    assert len(failed) == 3 and not any(event.charge.tool_calls for event in failed[1:])
    assert world.state().spent.tool_calls == 5
    assert world.run(ask_often, 4) == told, "read back, not decided again"
    assert dead.calls == 5


def test_another_run_in_another_process_finds_it_open_and_one_probe_closes_it(world: Any) -> None:
    """R6. Lost: a restart begins the flood anew, or nobody ever asks again."""
    dead = Dead(breaker=Breaker(wait="20s"))

    @deploy
    async def ask(run: hf.Run, x: int) -> str:
        return await dead.tool(x)

    for n in range(3):
        with pytest.raises(RunFailed):
            world.run(ask, n, key=f"k{n}")
    assert dead.calls == 5
    with pytest.raises(RunFailed, match="BreakerOpen"):
        world.run(ask, 3, key="k3")
    assert dead.calls == 5
    world.clock.by_s = 21.0
    with pytest.raises(RunFailed):
        world.run(ask, 4, key="k4")
    assert dead.calls == 6, "one probe, and no retry of it"
    assert [event.facts["choice"] for event in decided(world, "breaker", key="k4")] == ["probe", "reopened", "refused"]
    dead.is_dead = False
    world.clock.by_s = 42.0
    assert world.run(ask, 5, key="k5") == "found 5"
    assert [event.facts["choice"] for event in decided(world, "breaker", key="k5")] == ["probe", "closed"]
    assert world.run(ask, 6, key="k6") == "found 6"
    assert decided(world, "breaker", key="k6") == []


def test_without_a_breaker_each_call_is_made(world: Any) -> None:
    dead = Dead(breaker=None, retry=hf.Retry(attempts=1))

    @deploy
    async def ask_often(run: hf.Run, times: int) -> int:
        for n in range(times):
            with pytest.raises(hf.ToolFailed):
                await dead.tool(n)
        return dead.calls

    assert world.run(ask_often, 8) == 8


def test_a_mistake_of_the_agent_does_not_open_it(world: Any) -> None:
    """Lost: a model that keeps sending a wrong argument shuts a healthy tool out for everybody."""
    dead = Dead()
    dead.error = ValueError

    @deploy
    async def ask_often(run: hf.Run, times: int) -> int:
        for n in range(times):
            with pytest.raises(hf.ToolFailed):
                await dead.tool(n)
        return dead.calls

    assert world.run(ask_often, 20) == 20
    assert decided(world, "breaker") == []


def test_runs_share_their_retries_and_say_so_when_none_is_left(world: Any) -> None:
    """R6. Lost: first attempts times three, from each run there is, at a tool that is down."""
    dead = Dead(breaker=None, retry=hf.Retry(attempts=3, wait=0.001, shared=4))

    @deploy
    async def ask_often(run: hf.Run, times: int) -> None:
        for n in range(times):
            with pytest.raises(hf.ToolFailed):
                await dead.tool(n)

    for key in ("a", "b"):
        world.run(ask_often, 5, key=key)
    assert dead.calls == 10 + 4
    gave_up = decided(world, "retry", key="b")
    assert len(gave_up) == 5
    assert gave_up[0].facts["because"] == "all 4 shared retries are used up; 2 a minute come back"
    failed = world.events(Kind.STEP_FAILED, key="b")[0].facts
    assert failed["because"].endswith("not tried again: all 4 shared retries are used up; 2 a minute come back")
    assert world.state("a").retries == 4


def test_a_store_that_is_away_for_a_moment_ends_no_retries(world: Any) -> None:
    """Lost: a step that had attempts left, and failed for good because the store was away while it asked for one."""
    dead = Dead()

    class Away(MemoryJournal):
        asked = 0

        def cell(self, name: str) -> Any:
            if name.startswith("retries/"):
                self.asked += 1
                if self.asked == 1:
                    dead.is_dead = False
                    raise StoreUnreachable("the server is away")
            return super().cell(name)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await dead.tool(1)

    world.store = Away(clock=world.clock.now)
    assert world.run(agent) == "found 1"
    assert world.store.asked == 1 and dead.calls == 2


def test_a_write_of_unknown_outcome_without_a_retry_left_is_in_doubt(world: Any) -> None:
    """Lost: an effect that may have happened is reported as not done, because a budget of retries was empty."""
    asked: list[str] = []
    sent: list[str] = []

    def was_sent(key: str, x: int) -> Any:
        asked.append(key)
        return hf.Done("sent")

    @hf.tool(effect="idempotent", retry=hf.Retry(attempts=3, wait=0.001, shared=1), verify=was_sent, breaker=None)
    async def send(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
        sent.append(idempotency_key)
        raise ConnectionResetError

    @deploy
    async def mail(run: hf.Run, x: int) -> str:
        return await send(x)

    assert world.run(mail, 1) == "sent"
    assert (len(sent), len(set(sent)), len(asked)) == (2, 1, 1)


async def test_an_unknown_effect_waits_for_the_breaker_and_then_begins_again_under_its_key() -> None:
    """A refusal says that *this* attempt did not begin; it says nothing about the one before."""
    clock = ManualClock(draws=(0.0,) * 20)
    journal = MemoryJournal(clock=clock.now)
    keys: list[str] = []
    shut = Breaker(timeouts=2, wait="30s")

    @hf.tool(effect="idempotent", retry=hf.Retry(attempts=4, wait=0, total="5m"), breaker=shut)
    async def send(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
        keys.append(idempotency_key)
        if len(keys) < 3:
            raise TimeoutError
        return "sent"

    @deploy
    async def mail(run: hf.Run, x: int) -> str:
        return await send(x)

    async with hf.App(journal, clock=clock, serves=False, settings=hf.Settings(lease_s=1e9, park_s=1e6)) as app:
        running = asyncio.ensure_future(app.run(mail, 1, key="k"))
        while not running.done() and len(clock.waits) < 1_000:
            await clock.advance(1.0)
        assert running.done() and running.result() == "sent"
        events = journal.events(journal.heads()[0].run_id)
    assert (len(keys), len(set(keys))) == (3, 1)
    choices = [event.facts["choice"] for event in events if event.kind is Kind.DECIDED]
    assert choices == ["opened", "refused", "probe", "closed"]


def test_a_run_has_a_bound_of_retries_that_crashes_and_resumes_do_not_lift(world: Any) -> None:
    """R5. Lost: each resume brings a fresh account, and a run that fails for ever tries for ever."""
    dead = Dead(breaker=None, retry=hf.Retry(attempts=10, wait=0.001, shared=1_000))

    @deploy
    async def ask(run: hf.Run, x: int) -> str:
        return await dead.tool(x)

    with pytest.raises(RunFailed):
        world.run(ask, 1, retries_max=5)
    assert dead.calls == 6
    assert "all the 5 retries" in decided(world, "retry")[0].facts["because"]
    for _ in range(3):
        world.resume()
        with pytest.raises(RunFailed):
            world.run(ask, 1, retries_max=5)
    assert dead.calls == 6 + 3, "a person's resume is one first attempt each"


def test_a_read_killed_in_its_retry_has_the_attempts_it_was_given(world: Any, shop: Any) -> None:
    """R5. Lost: each kill during a retry gives that retry once more (a released peer made 7 of 3)."""
    calls: list[int] = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
    async def look(x: int) -> str:
        calls.append(x)
        if len(calls) == 1:
            raise ConnectionError("hiccup")
        raise world.Crash

    @deploy
    async def ask(run: hf.Run, x: int) -> str:
        return await look(x)

    for _ in range(3):
        with contextlib.suppress(world.Crash, RunFailed):
            world.run(ask, 1)
    assert len(calls) == 3
    assert world.events(Kind.STEP_FAILED)[0].facts["text"] == "interrupted 3 times"


def test_a_loop_around_a_shut_tool_ends(world: Any) -> None:
    """S30. Lost: refusals cost nothing, so a loop around them fills the disk until somebody looks."""
    dead = Dead()

    @deploy
    async def persists(run: hf.Run, x: int) -> str:
        for n in range(100_000):
            with contextlib.suppress(hf.ToolFailed):
                return await dead.tool(n)
        return "never"

    with pytest.raises(RunStopped, match="100 times in a row for what is shut, last for lookup"):
        world.run(persists, 1)
    assert dead.calls == 5
    assert len(world.events(Kind.STEP_FAILED)) < 110
    dead.is_dead = False
    world.clock.by_s = 31.0
    world.resume()
    assert world.run(persists, 1).startswith("found"), "and it goes on when the tool is up"


def test_whoever_waits_between_two_looks_is_not_stopped(world: Any) -> None:
    dead = Dead(breaker=Breaker(wait="1h"))

    @deploy
    async def polls(run: hf.Run, times: int) -> str:
        for n in range(times):
            with contextlib.suppress(hf.ToolFailed):
                await dead.tool(n)
            await run.sleep(0)
        return "looked"

    assert world.run(polls, 130) == "looked"


def test_a_run_whose_time_is_up_says_nothing_about_its_tool(world: Any) -> None:
    """Lost: five runs with little time shut a healthy tool out for everybody."""
    is_slow = True

    @hf.tool(effect="read", name="slow")
    async def slow(x: int) -> str:
        if is_slow:
            await asyncio.Event().wait()
        return "found"

    @deploy
    async def ask(run: hf.Run, x: int) -> str:
        return await slow(x)

    for n in range(6):
        with pytest.raises(RunStopped):
            world.run(ask, n, key=f"k{n}", budget=hf.Budget(wall=0.05))
    is_slow = False
    assert world.run(ask, 1) == "found"


def test_steps_of_other_agents_with_the_same_name_do_not_share(world: Any) -> None:
    """`run.step` names are an agent's own; a name such as "save" is everybody's."""

    async def save(x: int) -> str:
        raise TimeoutError

    @hf.agent(name="one", budget=BUDGET)
    async def one(run: hf.Run, times: int) -> None:
        for n in range(times):
            with pytest.raises(hf.ToolFailed):
                await run.step("save", save, n, effect="read", retry=hf.Retry(attempts=1))

    async def works(x: int) -> str:
        return "saved"

    @hf.agent(name="two", budget=BUDGET)
    async def two(run: hf.Run, x: int) -> str:
        return await run.step("save", works, x, effect="read")  # type: ignore[no-any-return]

    world.run(one, 7, key="one")
    assert [event.facts["choice"] for event in decided(world, "breaker", key="one")] == ["opened", "refused", "refused"]
    assert world.run(two, 1, key="two") == "saved"


def test_declarations_without_sense_are_refused_at_once() -> None:
    with pytest.raises(PolicyInvalid, match="breaker="):
        hf.tool(breaker=5)(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(PolicyInvalid, match="breaker="):
        hf.http_client(breaker=True)  # type: ignore[call-overload]
    for shared in (0, None, True, 1.5, 10_001):
        with pytest.raises(PolicyInvalid, match="shared="):
            hf.Retry(shared=shared)  # type: ignore[arg-type]
