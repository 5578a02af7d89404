"""A run that kills its processes is set aside, and a person decides. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import RunStopped, RunWaiting

BUDGET = hf.Budget(tool_calls=100)


class Deadly:
    """A read that kills its process as often as it is told to."""

    def __init__(self, world: Any, deaths: int) -> None:
        self.attempts = 0
        self.deaths = deaths
        self.world = world

        @hf.tool(effect="read")
        async def deadly(x: int) -> str:
            self.attempts += 1
            if self.attempts <= self.deaths:
                raise world.Crash
            return "alive"

        @hf.agent(name="shop", budget=BUDGET, escalate="oncall")
        async def agent(run: hf.Run, given: Any) -> Any:
            return [await deadly(1), await deadly(2)]

        self.agent = agent

    def die(self, times: int) -> None:
        """So many processes, one after the other."""
        for _ in range(times):
            with pytest.raises(self.world.Crash):
                self.world.run(self.agent)


def test_attempts_over_three_kills_are_three(world: Any) -> None:
    """Lost: FIELD §1. A step that kills its process is tried for ever, by every process that takes the run over."""
    deadly = Deadly(world, deaths=1_000)
    deadly.die(3)
    for _ in range(3):
        try:
            world.run(deadly.agent, wait=5)
        except world.Crash:
            pytest.fail("a fourth life")
        except RunWaiting as waiting:
            assert "3 processes in a row died before its first step" in str(waiting)
    assert deadly.attempts == 3
    assert world.state().spent.tool_calls == 3, "each of them is charged"
    head = world.head()
    assert (head.status, head.why) == (Status.SUSPENDED, "crash_loop")
    (question,) = head.questions
    assert (question.to, question.options, question.about) == ("oncall", ("go_on", "stop"), "crash_loop")
    assert world.kinds()[-2:] == [Kind.QUESTION_ASKED, Kind.RUN_SUSPENDED]


def test_go_on_gives_it_three_more(world: Any) -> None:
    """Lost: an answer that changes nothing; or one that lifts the bound for good."""
    deadly = Deadly(world, deaths=5)
    deadly.die(3)
    with pytest.raises(RunWaiting):
        world.run(deadly.agent)
    world.answer("go_on", deadly.agent)
    deadly.die(2)
    assert world.run(deadly.agent) == ["alive", "alive"]


def test_go_on_and_three_deaths_ask_again(world: Any) -> None:
    """Lost: the second question is taken for the first, which is closed."""
    deadly = Deadly(world, deaths=1_000)
    asked = []
    for _ in range(2):
        deadly.die(3)
        with pytest.raises(RunWaiting):
            world.run(deadly.agent)
        asked.append(world.question())
        world.answer("go_on", deadly.agent)
    assert len(set(asked)) == 2 and deadly.attempts == 6


def test_stop_stops_the_run_and_resume_reopens_it(world: Any) -> None:
    """Lost: "stop" is not heard, or the run can never be taken up again when its code is mended."""
    deadly = Deadly(world, deaths=3)
    deadly.die(3)
    with pytest.raises(RunWaiting):
        world.run(deadly.agent)
    world.answer("stop", deadly.agent)
    with pytest.raises(RunStopped, match="ann stopped it"):
        world.run(deadly.agent)
    world.resume()
    assert world.run(deadly.agent) == ["alive", "alive"]


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_stop_is_heard_also_by_the_next_process(world: Any, number: int, is_written: bool) -> None:
    """Lost: the answer of a person, taken by a process that dies before the run has ended; the next one goes on."""
    deadly = Deadly(world, deaths=3)
    deadly.die(3)
    with pytest.raises(RunWaiting):
        world.run(deadly.agent)
    world.answer("stop", deadly.agent)
    with contextlib.suppress(world.Crash, RunStopped):
        world.run(deadly.agent, prepare=lambda journal: journal.die_at(number, is_written=is_written))
    with pytest.raises(RunStopped, match="ann stopped it"):
        world.run(deadly.agent)
    assert deadly.attempts == 3


def test_resume_says_go_on(world: Any) -> None:
    """Lost: an operator's resume is stored, and the question stays open for ever."""
    deadly = Deadly(world, deaths=3)
    deadly.die(3)
    with pytest.raises(RunWaiting):
        world.run(deadly.agent)
    world.resume()
    assert world.run(deadly.agent) == ["alive", "alive"]
    assert not world.head().questions


def test_progress_between_deaths_is_no_loop(world: Any, shop: Any) -> None:
    """Lost: a long run on a machine that is restarted every hour is set aside as if it were broken."""
    deaths = 0

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        nonlocal deaths
        for x in range(6):
            await shop.look(x)
            if len(shop.done) > deaths:
                deaths += 1
                raise world.Crash
        return "done"

    for _ in range(6):
        with pytest.raises(world.Crash):
            world.run(agent)
    assert world.run(agent) == "done" and deaths == 6


def test_a_cancel_ends_a_run_that_was_set_aside(world: Any) -> None:
    """Lost: a run that nobody wants stays open, since its question waits for an answer."""
    deadly = Deadly(world, deaths=1_000)
    deadly.die(3)
    with pytest.raises(RunWaiting):
        world.run(deadly.agent)
    world.play(lambda app: app.cancel(world.id(), by="ann"))
    world.play(lambda app: _settled(app, world), agents=[deadly.agent], serves=True)
    assert world.head().status is Status.CANCELLED and deadly.attempts == 3


async def _settled(app: hf.App, world: Any) -> None:
    while not world.head().status.is_end:
        await asyncio.sleep(0.01)


def test_a_run_that_was_due_again_after_a_shutdown_is_set_aside_too(quick: Any) -> None:
    """Lost: FIELD §1. The record says that the run was given back in order, so that no death of it is ever counted."""
    lives: list[int] = []

    @hf.agent(name="shop", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        lives.append(1)
        if len(lives) > 1:
            raise quick.Crash
        await asyncio.sleep(60)

    async def stopped_early(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        while not lives:
            await asyncio.sleep(0)

    quick.play(stopped_early)
    assert quick.head().why == "shutdown"
    for _ in range(5):
        with pytest.raises((quick.Crash, RunWaiting)):
            quick.run(agent, wait=5)
    assert (quick.head().why, len(lives)) == ("crash_loop", 1 + 3)
