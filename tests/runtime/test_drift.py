"""Model calls with a clock in their prompt, across the death of the process: each has its own answer, or is held."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.command import Call
from holdfast.core.events import Charge, Effect, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.core.policy import Policy
from holdfast.errors import HistoryGrew, PolicyInvalid, RunBlocked
from holdfast.journal.codec import decode, encode
from holdfast.models.tail import tail_of
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.way import Attempted, Begun, Way
from holdfast.views.show import show
from holdfast.views.verdict import verdict


class Model:
    """A model behind a wire: counts what is sent, and answers each request with another text."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self.sent: list[str] = []
        self.kills_at: str | None = None
        """Question at which the process dies while the request is under way."""
        self._clock = itertools.count(1)

    async def ask(self, *conversation: str) -> str:
        """One call: the user's and the assistant's messages in turn, under a system prompt that holds the time."""
        place = current.place()
        assert place is not None
        question = conversation[-1]
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(conversation)]
        prompt = f"It is {next(self._clock)}. {conversation}"
        history = tuple("/".join(conversation[: n + 1]) for n in range(len(conversation)))

        async def attempt(begun: Begun) -> Attempted:
            self.sent.append(question)
            answer = f"{question} {len(self.sent)}"
            if self.kills_at == question:
                self.kills_at = None
                raise self._world.Crash
            await asyncio.sleep(0)
            return Attempted(encode(answer), Charge(model_calls=1))

        call = Call("", "model", prompt, StepKind.MODEL, Effect.READ, question.encode(), tail_of(messages), history)
        one = Charge(model_calls=1)
        plan = Attempts(
            call=call,
            args=encode(prompt),
            policy=lambda: Policy(retry=hf.Retry(attempts=1)),
            ways=(Way(attempt=attempt, reservation=one),),
        )
        outcome = await place.driver.step(plan)
        answer: str = decode(outcome.body or b"")
        return answer


@pytest.fixture
def model(world: Any) -> Model:
    return Model(world)


def deploy(fn: Any, **options: Any) -> Any:
    """This version of the one agent."""
    return hf.agent(name="asker", budget=hf.Budget(model_calls=100), **options)(fn)


def drifts(world: Any, rule: str) -> list[Any]:
    return [event for event in world.events(Kind.DRIFT_FOUND) if event.facts["rule"] == rule]


class Dying:
    """Raises in the first processes, returns in the last."""

    def __init__(self, world: Any, lives: int) -> None:
        self._world, self._left = world, lives

    def here(self) -> None:
        self._left -= 1
        if self._left >= 0:
            raise self._world.Crash


def test_a_clock_in_the_prompt_costs_nothing_but_a_silence(world: Any, model: Model) -> None:
    """Lost: each crash of an agent with the time in its prompt needs a person, or pays for each answer again."""
    dying = Dying(world, 3)

    @deploy
    async def agent(run: hf.Run, given: Any) -> list[str]:
        first = await model.ask("capital of Italy?")
        second = await model.ask("capital of Italy?", first, "and of Norway?")
        dying.here()
        return [first, second, await model.ask("capital of Spain?")]

    for _ in range(3):
        with pytest.raises(world.Crash):
            world.run(agent)
    assert world.run(agent) == ["capital of Italy? 1", "and of Norway? 2", "capital of Spain? 3"]
    assert model.sent == ["capital of Italy?", "and of Norway?", "capital of Spain?"]
    assert len(drifts(world, "tail")) == 6, "two calls in each of three replays"
    assert world.run(agent) == ["capital of Italy? 1", "and of Norway? 2", "capital of Spain? 3"]


@pytest.mark.timeout(10)
def test_a_call_in_flight_at_the_crash_is_made_again_as_the_same_step(world: Any, model: Model) -> None:
    """Lost: the reservation of the interrupted attempt hangs for ever, and the run cannot end."""
    model.kills_at = "capital of Italy?"

    @deploy
    async def agent(run: hf.Run, given: Any) -> str:
        return await model.ask("capital of Italy?")

    with pytest.raises(world.Crash):
        world.run(agent)
    assert world.run(agent) == "capital of Italy? 2"
    (slot,) = world.state().slots.values()
    assert slot.attempt == 2 and world.state().reserved == Charge()
    assert world.state().spent.model_calls == 2, "every attempt is charged"


def test_an_agent_that_is_a_plain_def_is_no_other(world: Any, model: Model) -> None:
    """Lost: the promise for every sync framework."""
    dying = Dying(world, 1)

    @deploy
    def agent(run: hf.Run, given: Any) -> str:
        answer: str = run.wait(model.ask("capital of Italy?"))
        run.wait(stop())
        return answer

    async def stop() -> None:
        dying.here()

    with pytest.raises(world.Crash):
        world.run(agent)
    assert world.run(agent) == "capital of Italy? 1"
    assert len(drifts(world, "tail")) == 1


def test_parallel_calls_about_different_things_keep_their_answers(world: Any, model: Model) -> None:
    """Lost: a clock in the prompt, and the branches swap their answers."""
    dying = Dying(world, 1)

    async def branch(name: str) -> list[str]:
        first = await model.ask(f"who is {name}?")
        return [first, await model.ask(f"who is {name}?", first, "where?")]

    @deploy
    async def agent(run: hf.Run, given: Any) -> list[list[str]]:
        found = await asyncio.gather(*(branch(name) for name in "abcd"))
        dying.here()
        return list(found)

    with pytest.raises(world.Crash):
        world.run(agent)
    found = world.run(agent)
    assert len(model.sent) == 8, "nothing was asked again"
    for name, (first, second) in zip("abcd", found, strict=True):
        assert first.startswith(f"who is {name}? ") and second.startswith("where? ")
    at_first = [decode(event.body) for event in world.events(Kind.STEP_SUCCEEDED)]
    assert sorted(at_first) == sorted(itertools.chain(*found))
    assert len(drifts(world, "tail")) == 8


def test_parallel_calls_about_the_same_are_held_and_nothing_is_sent(world: Any, model: Model) -> None:
    """Lost: P10; three drafts of one thing swap on replay, and the vote is another one."""
    dying = Dying(world, 1)

    @deploy
    async def agent(run: hf.Run, given: Any) -> list[str]:
        found = await asyncio.gather(*(model.ask("draft?") for _ in range(3)))
        dying.here()
        return list(found)

    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked, match="hold") as blocked:
        world.run(agent)
    assert not isinstance(blocked.value, HistoryGrew)
    assert len(model.sent) == 3 and world.head().why == "hold"
    assert drifts(world, "tail") == []


def test_fresh_asks_again_what_is_not_certain_and_ends(world: Any, model: Model) -> None:
    """Lost: with on_drift="fresh" the run is stuck all the same, or asks again at every later crash."""
    dying = Dying(world, 1)
    again = Dying(world, 1)

    async def body(run: hf.Run, given: Any) -> list[str]:
        found = await asyncio.gather(*(model.ask(f"draft {n}?") for n in "ab"))
        dying.here()
        return list(found)

    async def reworded(run: hf.Run, given: Any) -> list[str]:
        found = await asyncio.gather(*(model.ask(f"short draft {n}?") for n in "ab"))
        again.here()
        return [*found, await model.ask("which?")]

    with pytest.raises(world.Crash):
        world.run(deploy(body))
    with pytest.raises(world.Crash):
        world.run(deploy(reworded, on_drift="fresh"))
    (fresh,) = drifts(world, "fresh")
    assert len(fresh.facts["recorded"]) == 2
    assert world.run(deploy(reworded)) == ["short draft a? 3", "short draft b? 4", "which? 5"]
    assert len(model.sent) == 5


def test_hold_is_left_by_fresh_and_resume(world: Any, model: Model) -> None:
    """Lost: the way out that the message names."""
    dying = Dying(world, 1)

    async def body(run: hf.Run, given: Any) -> list[str]:
        found = await asyncio.gather(*(model.ask("draft?") for _ in range(2)))
        dying.here()
        return list(found)

    with pytest.raises(world.Crash):
        world.run(deploy(body))
    with pytest.raises(RunBlocked):
        world.run(deploy(body))
    with pytest.raises(RunBlocked):
        world.run(deploy(body, on_drift="fresh"))
    assert len(model.sent) == 2, "a blocked run is begun by `resume` alone"
    world.resume()
    assert world.run(deploy(body, on_drift="fresh")) == ["draft? 3", "draft? 4"]


def test_fresh_begins_no_effect(world: Any, model: Model, shop: Any) -> None:
    """Lost: P10; on_drift is about model calls, and money is sent on a guess."""

    async def before(run: hf.Run, given: Any) -> None:
        await shop.pay("A")
        raise world.Crash

    async def after(run: hf.Run, given: Any) -> None:
        await shop.pay("B")

    with pytest.raises(world.Crash):
        world.run(deploy(before))
    with pytest.raises(RunBlocked):
        world.run(deploy(after, on_drift="fresh"))
    assert shop.paid() == ["A"]


@pytest.mark.parametrize("turns", [1, 2])
def test_a_memory_that_outlives_the_process_is_named(world: Any, model: Model, turns: int) -> None:
    """Lost: the user of a framework's saver reads that the code has changed, which it has not."""
    memory: list[str] = []
    dying = Dying(world, 1)

    @deploy
    async def agent(run: hf.Run, given: Any) -> str:
        for turn in range(turns):
            memory.append(f"question {turn}")
            memory.append(await model.ask(*memory))
        dying.here()
        return memory[-1]

    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(HistoryGrew, match="saver or session") as grew:
        world.run(agent)
    assert "resume" in str(grew.value) and "on_drift" in str(grew.value)
    assert len(model.sent) == turns, "nothing was sent"
    assert world.head().status is Status.SUSPENDED and world.head().why == "history_grew"
    picture = show(world.head(), world.events())
    assert picture["suspended"]["why"] == "history_grew"
    assert "its history grew" in verdict(picture, world.clock.now())

    memory.clear()  # kept in memory for the run, as the message says
    world.resume()
    assert world.run(agent) == f"question {turns - 1} {turns}"
    assert len(model.sent) == turns


def test_a_memory_that_goes_on_where_it_was_is_named_at_the_end(world: Any, model: Model) -> None:
    """The saver asks its last question alone, gets the recorded answer, and is done: the first was never asked."""
    memory: list[str] = []
    dying = Dying(world, 1)

    @deploy
    async def agent(run: hf.Run, given: Any) -> str:
        if not memory:
            memory.extend(["q1", await model.ask("q1"), "q2"])
        answer = await model.ask(*memory)
        dying.here()
        return answer

    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(HistoryGrew):
        world.run(agent)
    assert Kind.RUN_ENDED not in world.kinds() and len(model.sent) == 2


def test_show_names_the_steps_of_a_drift(world: Any, model: Model) -> None:
    """Lost: a person sees the innards of an address."""
    dying = Dying(world, 1)

    @deploy
    async def agent(run: hf.Run, given: Any) -> str:
        answer = await model.ask("draft?")
        dying.here()
        return answer

    with pytest.raises(world.Crash):
        world.run(agent)
    world.run(agent)
    (drift,) = show(world.head(), world.events())["drift"]
    assert drift["rule"] == "tail"
    assert drift["asked"].startswith("model(It is 2.") and drift["step"].startswith("model(It is 1.")


def test_an_unknown_word_for_drift_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match="on_drift"):
        deploy(agent_of_nothing, on_drift="ask")


async def agent_of_nothing(run: hf.Run, given: Any) -> None:
    """An agent."""
