"""Stuck agents in real runs (R28): told once, then stopped or put to a person, in every life of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Event, Kind
from holdfast.core.heads import Status
from holdfast.core.loops import DEFAULT_STUCK
from holdfast.errors import PolicyInvalid, RunStopped, RunWaiting

BUDGET = hf.Budget(tool_calls=100)
STUBBORN = hf.Stuck(same=3, cycles=3, errors=None)


class Site:
    """Tools whose results a test plans, and what was really called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.told: list[str] = []

        @hf.tool(effect="read")
        async def look(what: str) -> str:
            self.calls.append(what)
            return f"{what} is there"

        @hf.tool(effect="read", polls=True)
        async def poll(what: str) -> str:
            self.calls.append(what)
            return "pending"

        @hf.tool(effect="read", retry=hf.Retry(attempts=1))
        async def fails(number: int) -> str:
            self.calls.append(number)
            raise ValueError(f"no {number}")

        @hf.tool(effect="once")
        async def pay(cents: int) -> str:
            self.calls.append(cents)
            return "paid"

        self.look, self.poll, self.fails, self.pay = look, poll, fails, pay

    async def heard(self, call: Any) -> Any:
        """The result, or what was told instead."""
        try:
            return await call
        except hf.ToolFailed as error:
            self.told.append(str(error))
            return None


@pytest.fixture
def site() -> Site:
    """A world to look at."""
    return Site()


def agent(fn: Callable[..., Any], stuck: hf.Stuck | None = STUBBORN, **options: Any) -> Any:
    """An agent of this name and budget."""
    return hf.agent(name="loop", budget=BUDGET, stuck=stuck, **options)(fn)


def decided(world: Any) -> list[tuple[str, str]]:
    """What was decided about being stuck: choice and reason."""
    events: list[Event] = world.events(Kind.DECIDED)
    return [(e.facts["choice"], e.facts["reason"]) for e in events if e.facts["what"] == "stuck"]


def again(site: Site, *names: str) -> Any:
    """An agent that looks at these in turn, for as long as it may."""

    async def loop(run: hf.Run, given: Any) -> None:
        for _ in range(100):
            for name in names:
                await site.heard(site.look(name))

    return loop


# --- told once, then stopped ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "reason", "calls"), [(["a"], "same_call", 3), (["a", "b", "c"], "cycle", 9)])
def test_it_is_told_once_and_then_stopped_with_its_reason(
    world: Any, site: Site, names: list[str], reason: str, calls: int
) -> None:
    """Lost: the money of an agent that goes round and round, or the reason why it was stopped."""
    with pytest.raises(RunStopped) as stopped:
        world.run(agent(again(site, *names)))
    assert stopped.value.reason == f"stuck: {reason}"
    assert len(site.calls) == calls, "what was refused was not begun"
    assert len(site.told) >= 1 and all("Not begun" in told for told in site.told)
    assert decided(world) == [("tell", reason), ("stop", reason)]
    assert world.state().status is Status.STOPPED and world.state().end.facts["stuck"] == reason
    assert world.state().spent.tool_calls == calls, "a refusal costs nothing"


def test_what_is_told_says_what_was_seen(world: Any, site: Site) -> None:
    """Lost: a model that could do better if it only knew."""
    with pytest.raises(RunStopped):
        world.run(agent(again(site, "a")))
    assert "3 times in a row" in site.told[0] and "same result" in site.told[0]


def test_an_agent_that_listens_goes_on(world: Any, site: Site) -> None:
    """Lost: every agent that would have found its way after one hint."""

    async def listens(run: hf.Run, given: Any) -> str:
        while not site.told:
            await site.heard(site.look("a"))
        return await site.look("b")

    assert world.run(agent(listens)) == "b is there"
    assert decided(world) == [("tell", "same_call")]


def test_an_agent_that_lets_the_refusal_through_was_stopped(world: Any, site: Site) -> None:
    """Lost: the reason: a run that failed with a tool's error says nothing of a loop."""

    async def deaf(run: hf.Run, given: Any) -> None:
        for _ in range(100):
            await site.look("a")

    with pytest.raises(RunStopped) as stopped:
        world.run(agent(deaf))
    assert stopped.value.reason == "stuck: same_call"
    assert decided(world) == [("tell", "same_call")]


def test_the_same_loop_found_again_is_not_told_twice(world: Any, site: Site) -> None:
    """Lost: the bound: an agent that does something else for a moment would be told for ever."""

    async def sly(run: hf.Run, given: Any) -> None:
        for number in range(20):
            for _ in range(10):
                if len(site.told) <= number:
                    await site.heard(site.look("a"))
            await site.look(f"other {number}")

    with pytest.raises(RunStopped):
        world.run(agent(sly))
    assert len(site.told) == 1


def test_errors_have_a_reason_of_their_own(world: Any, site: Site) -> None:
    """Lost: an agent whose every idea fails, each in another way."""

    async def tries(run: hf.Run, given: Any) -> None:
        for number in range(60):
            await site.heard(site.fails(number))

    with pytest.raises(RunStopped) as stopped:
        world.run(agent(tries, hf.Stuck(errors=0.5, of=10)))
    assert stopped.value.reason == "stuck: errors"
    assert len(site.calls) == 20, "ten, told, ten more"
    assert decided(world) == [("tell", "errors"), ("stop", "errors")]


def test_progress_that_stands_still_has_a_reason_of_its_own(world: Any, site: Site) -> None:
    """Lost: an agent whose calls all succeed and change nothing."""
    done: list[int] = []

    async def busy(run: hf.Run, given: Any) -> None:
        for number in range(60):
            await site.heard(site.look(f"file {number}"))
            if number in (2, 4):
                done.append(number)

    with pytest.raises(RunStopped) as stopped:
        world.run(agent(busy, hf.Stuck(same=None, cycles=None, errors=None, idle=6, progress=lambda run: len(done))))
    assert stopped.value.reason == "stuck: idle"
    assert decided(world) == [("tell", "idle"), ("stop", "idle")]
    assert 16 <= len(site.calls) <= 18


def test_a_progress_that_cannot_be_measured_stands_still(world: Any, site: Site) -> None:
    """Lost: the bound, to a mistake in the measure."""

    def broken(run: hf.Run) -> Any:
        raise OSError("no such file")

    async def busy(run: hf.Run, given: Any) -> None:
        for number in range(30):
            await site.heard(site.look(f"file {number}"))

    with pytest.raises(RunStopped):
        world.run(agent(busy, hf.Stuck(same=None, cycles=None, errors=None, idle=6, progress=broken)))


def test_notes_count_as_progress(world: Any, site: Site) -> None:
    """Lost: an agent that writes down what it finds."""

    async def writes(run: hf.Run, given: Any) -> str:
        for number in range(12):
            await site.look(f"file {number}")
            await run.note(f"seen {number}")
        return "done"

    assert world.run(agent(writes, hf.Stuck(same=None, cycles=None, errors=None, idle=4))) == "done"


def test_an_agent_that_is_used_as_a_tool_is_a_call_like_another(world: Any, site: Site) -> None:
    """Lost: the dearest loop of all: each round of it is a run of another agent."""

    @hf.tool(effect="composite")
    async def research(what: str) -> str:
        return await site.look(what)

    async def asks(run: hf.Run, given: Any) -> None:
        for _ in range(20):
            await site.heard(research("a"))

    with pytest.raises(RunStopped) as stopped:
        world.run(agent(asks))
    assert stopped.value.reason == "stuck: same_call"
    assert len(site.calls) == 3 and len(site.told) == 1


# --- what is left alone --------------------------------------------------------------------------------------------


def test_an_agents_own_loop_is_left_alone_unless_it_is_declared(world: Any, site: Site) -> None:
    """Lost: every plain loop over a queue, whose calls all say "paid"."""

    async def pays(run: hf.Run, given: Any) -> str:
        for _ in range(30):
            await site.pay(1)
        return "done"

    assert world.run(agent(pays, DEFAULT_STUCK)) == "done"
    assert hf.agent(pays).stuck is DEFAULT_STUCK, "for who declares nothing"


@pytest.mark.parametrize("stuck", [None, hf.Stuck(same=None, cycles=None)])
def test_it_can_be_switched_off(world: Any, site: Site, stuck: Any) -> None:
    """Lost: an agent for whom this is the work."""

    async def looks(run: hf.Run, given: Any) -> str:
        for _ in range(30):
            await site.look("a")
        return "done"

    assert world.run(agent(looks, stuck)) == "done"


def test_polling_is_no_loop(world: Any, site: Site) -> None:
    """Lost: every agent that waits for something: it says that it waits, or its tool that it polls."""

    async def polls(run: hf.Run, given: Any) -> str:
        for _ in range(10):
            await site.poll("job")
        for _ in range(5):
            await site.look("job")
            await run.sleep(0.001)
        return "done"

    assert world.run(agent(polls)) == "done"


def test_what_is_no_rule_is_refused() -> None:
    """Lost: a detector that is thought to be on."""
    with pytest.raises(PolicyInvalid, match="Stuck"):
        hf.agent(stuck=5)(again(Site()))  # type: ignore[call-overload]


# --- in every life -------------------------------------------------------------------------------------------------


def _transactions(world: Any, make: Callable[[], Any]) -> int:
    with pytest.raises(RunStopped):
        world.run(make(), key="whole")
    return int(world.journal.transactions)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_kill_anywhere_changes_nothing_about_it(world: Any, is_written: bool) -> None:
    """Lost: the count, with each process: an agent that is killed often enough would never be stopped; or it would be
    told twice."""
    total = _transactions(world, lambda: agent(again(Site(), "a", "b")))
    for number in range(2, total):
        key, site = f"killed {number}", Site()
        with pytest.raises(world.Crash):
            world.run(
                agent(again(site, "a", "b")),
                key=key,
                prepare=lambda journal, number=number: journal.die_at(number, is_written=is_written),
            )
        with pytest.raises(RunStopped) as stopped:
            world.run(agent(again(site, "a", "b")), key=key)
        assert stopped.value.reason == "stuck: cycle"
        choices = [e.facts["choice"] for e in world.events(Kind.DECIDED, key=key)]
        assert choices == ["tell", "stop"]
        assert len(site.calls) <= 7, "six, and the one that was under way"


def test_resume_lets_it_go_on_and_looks_anew(world: Any, site: Site) -> None:
    """Lost: the way back: a run that is resumed would stop where it stopped."""
    for life in range(2):
        with pytest.raises(RunStopped):
            world.run(agent(again(site, "a")))
        assert len(site.calls) == 3 * (life + 1)
        world.resume()


def test_resume_tries_the_call_whose_refusal_ended_the_run(world: Any, site: Site) -> None:
    """Lost: the step: its refusal would be the answer for ever."""

    async def deaf(run: hf.Run, given: Any) -> str:
        return [await site.look("a") for _ in range(5)][-1]

    with pytest.raises(RunStopped):
        world.run(agent(deaf))
    world.resume()
    assert world.run(agent(deaf)) == "a is there"
    assert len(site.calls) == 5


# --- a person ------------------------------------------------------------------------------------------------------

ASKING = hf.Stuck(same=3, cycles=None, errors=None, then="ask")


def test_a_person_is_asked_and_may_let_it_go_on(world: Any, site: Site) -> None:
    """Lost: the run, where somebody knows that it is right."""

    async def patient(run: hf.Run, given: Any) -> str:
        while len(site.calls) < 5:
            await site.heard(site.look("a"))
        return "done"

    patient_agent = agent(patient, ASKING, escalate="oncall")
    with pytest.raises(RunWaiting):
        world.run(patient_agent, wait=0)
    (asked,) = world.head().questions
    assert (asked.to, asked.options) == ("oncall", ("go_on", "stop")) and "3 times" in asked.text
    assert world.head().why == "question" and len(site.calls) == 3
    with pytest.raises(RunWaiting):
        world.run(patient_agent, wait=0)
    assert len(world.events(Kind.QUESTION_ASKED)) == 1, "asked once, whoever drives the run"
    world.answer("go_on", patient_agent)
    assert world.run(patient_agent) == "done"
    assert decided(world) == [("tell", "same_call"), ("ask", "same_call")]
    assert world.state().spent.tool_calls == 5, "a question costs nothing"


def test_an_effect_that_a_person_let_go_on_goes_on_in_the_next_process(world: Any) -> None:
    """Lost: the run, taken for one whose code asks for something else, as the effect was asked about and not begun."""

    @hf.tool(effect="once")
    async def knock(door: str) -> str:
        world.effects.append(door)
        return "nobody opens"

    async def patient(run: hf.Run, given: Any) -> str:
        while len(world.effects) < 5:
            try:
                await knock("a")
            except hf.ToolFailed as told:
                assert "Not begun" in str(told)
        return "done"

    patient_agent = agent(patient, ASKING)
    with pytest.raises(RunWaiting):
        world.run(patient_agent, wait=0)
    world.answer("go_on", patient_agent)
    assert world.run(patient_agent) == "done"


def test_a_person_may_stop_it(world: Any, site: Site) -> None:
    """Lost: the answer no, and whose it was."""
    stubborn = agent(again(site, "a"), ASKING)
    with pytest.raises(RunWaiting):
        world.run(stubborn, wait=0)
    world.answer("stop", stubborn)
    with pytest.raises(RunStopped, match="ann stopped it") as stopped:
        world.run(stubborn)
    assert stopped.value.reason == "stuck: same_call"
    world.resume()
    with pytest.raises(RunWaiting):
        world.run(stubborn, wait=0)
    assert len(site.calls) == 6, "resumed, it is looked at anew"


def test_a_kill_between_the_answer_and_the_end_does_not_lose_it(world: Any, site: Site) -> None:
    """Lost: a person's word."""
    stubborn = agent(again(site, "a"), ASKING)
    with pytest.raises(RunWaiting):
        world.run(stubborn, wait=0)
    world.answer("stop", stubborn)
    with pytest.raises(world.Crash):
        world.run(stubborn, prepare=lambda journal: journal.die_at(2, is_written=False))
    with pytest.raises(RunStopped, match="ann stopped it"):
        world.run(stubborn)
    assert len(site.calls) == 3
