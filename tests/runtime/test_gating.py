"""`run.gate` (R30): what is measured decides, what is claimed never does; in every life of a run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.errors import PolicyInvalid, RunStopped, RunWaiting
from holdfast.runtime.gating import Gated

BUDGET = hf.Budget(tool_calls=50)


def agent(fn: Callable[..., Any], **options: Any) -> Any:
    """An agent of this name and budget."""
    return hf.agent(name="writer", budget=BUDGET, **options)(fn)


def gated(scorer: Any, threshold: float = 0.8, **options: Any) -> Any:
    """An agent that has its text measured."""

    async def write(run: hf.Run, given: Any) -> Any:
        options.setdefault("input", "a text")
        said = await run.gate("facts", scorer, threshold, **options)
        return [said.passed, said.score, said.because, said.by, bool(said)]

    return agent(write, escalate="editor")


def decision(world: Any) -> dict[str, Any]:
    """The facts of the one verdict in the record."""
    (event,) = [event for event in world.events(Kind.DECIDED) if event.step is StepKind.DECISION]
    facts: dict[str, Any] = event.facts
    return facts


def test_a_claim_of_99_per_cent_with_a_failing_check_escalates(world: Any) -> None:
    """Lost: the point of it: an agent would vouch for itself."""
    careless = gated(lambda text: 0.1, claimed=0.99)
    with pytest.raises(RunWaiting):
        world.run(careless, wait=0)
    (asked,) = world.head().questions
    assert asked.to == "editor" and asked.options == ("go_on", "stop")
    assert "measured 0.1, under 0.8" in asked.text and "claims 0.99, which does not count" in asked.text
    facts = decision(world)
    assert (facts["choice"], facts["score"], facts["threshold"], facts["claimed"]) == ("ask", 0.1, 0.8, 0.99)
    assert world.state().spent.tool_calls == 1, "to ask costs nothing"


def test_what_passes_goes_on_whatever_is_claimed(world: Any) -> None:
    """Lost: the other half of it."""
    assert world.run(gated(lambda text: 0.9, claimed=0.0)) == [True, 0.9, "measured 0.9, at least 0.8", "", True]
    assert decision(world)["choice"] == "pass" and decision(world)["claimed"] == 0.0


def test_a_person_may_let_it_through(world: Any) -> None:
    """Lost: whose word it was."""
    careless = gated(lambda text: 0.1)
    with pytest.raises(RunWaiting):
        world.run(careless, wait=0)
    world.answer("go_on", careless)
    assert world.run(careless) == [True, 0.1, "measured 0.1, under 0.8", "ann", True]


def test_a_person_may_stop_it_and_a_resume_measures_and_asks_again(world: Any) -> None:
    """Lost: the way back: the answer no would be the answer for ever."""
    scores = [0.1, 0.2, 0.9]
    better = gated(lambda text: scores.pop(0))
    for text in ("measured 0.1", "measured 0.2"):
        with pytest.raises(RunWaiting):
            world.run(better, wait=0)
        assert text in world.head().questions[0].text
        world.answer("stop", better)
        with pytest.raises(RunStopped, match="ann said stop") as stopped:
            world.run(better)
        assert stopped.value.reason == "gate: facts"
        world.resume()
    assert world.run(better)[:2] == [True, 0.9]


def test_nobody_answers(world: Any) -> None:
    """Lost: the safe side: what nobody has let through does not go on."""
    with pytest.raises(RunStopped, match="Nobody answered in time"):
        world.run(gated(lambda text: 0.1, within=0.05))


def test_it_may_stop_the_run(world: Any) -> None:
    """Lost: a reason that a program can read, and the resume."""
    scores = [0.1, 0.9]
    strict = gated(lambda text: scores.pop(0), otherwise="stop")
    with pytest.raises(RunStopped, match=r"gate facts: measured 0.1, under 0.8") as stopped:
        world.run(strict)
    assert (stopped.value.reason, world.state().status) == ("gate: facts", Status.STOPPED)
    assert "Decided: gate facts: stop" in stopped.value.handover
    world.resume()
    assert world.run(strict)[:2] == [True, 0.9]


def test_it_may_tell_the_agent(world: Any) -> None:
    """Lost: an agent that mends its text by itself."""
    assert world.run(gated(lambda text: 0.1, otherwise="tell")) == [False, 0.1, "measured 0.1, under 0.8", "", False]


# --- scorers -------------------------------------------------------------------------------------------------------


def raises(text: str) -> float:
    """A check that is broken."""
    raise OSError("no such file")


def typed(text: str) -> float:
    """A check that gives what it does not say."""
    return "high"  # type: ignore[return-value]


async def hangs(text: str) -> float:
    """A check that never comes back."""
    await asyncio.Event().wait()
    return 1.0


@pytest.mark.parametrize(
    ("scorer", "because"),
    [
        (raises, "no such file"),
        (typed, "scorer"),
        (hangs, "TimeoutError"),
        (lambda text: math.nan, "no score"),
        (lambda text: 7, "no score"),
        (lambda text: "0.9", "no number"),
        (lambda text: None, "no number"),
        (lambda text: object(), "cannot be recorded"),
    ],
    ids=["raises", "typed", "hangs", "nan", "range", "text", "none", "object"],
)
def test_a_scorer_that_does_not_measure_does_not_pass(world: Any, scorer: Any, because: str) -> None:
    """Lost: the gate, to a check that is broken: it has to fail closed, with the reason."""
    passed, score, why, _, _ = world.run(gated(scorer, otherwise="tell", timeout=0.05))
    assert (passed, score) == (False, None) and because in why
    assert decision(world)["because"] == why


def test_tools_measure_too(world: Any) -> None:
    """Lost: a check that has a policy of its own."""
    calls: list[str] = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0))
    async def check(text: str) -> float:
        calls.append(text)
        if len(calls) == 1:
            raise ConnectionError("once")
        return 0.85

    @hf.tool(effect="read")
    def plain(text: str) -> float:
        return 0.85

    assert world.run(gated(check))[:2] == [True, 0.85]
    assert calls == ["a text", "a text"]
    assert world.run(gated(plain), key="plain")[:2] == [True, 0.85]


def test_a_resume_asks_a_tool_that_measures_anew(world: Any) -> None:
    """Lost: the way on. The tool's old measure would be taken again, and the resumed run stopped by it for ever."""
    scores = [0.9, 0.1]

    @hf.tool(effect="read")
    async def score() -> float:
        return scores.pop()

    @hf.agent(name="a", budget=hf.Budget(tool_calls=10))
    async def agent(run: hf.Run, given: Any) -> bool:
        return bool(await run.gate("quality", score, 0.5, otherwise="stop"))

    with pytest.raises(RunStopped):
        world.run(agent)
    world.resume()
    assert world.run(agent) is True


def test_a_tool_that_writes_is_no_measure(world: Any) -> None:
    """Lost: a check that may be asked again without harm."""

    @hf.tool(effect="once")
    async def grade(text: str) -> float:
        return 1.0

    with pytest.raises(hf.RunError, match="only reads"):
        world.run(gated(grade))


@pytest.mark.parametrize(
    ("scorer", "options"),
    [(7, {}), (len, {"threshold": math.nan}), (len, {"otherwise": "shrug"}), (len, {"threshold": 0})],
)
def test_a_gate_that_makes_no_sense_is_refused(world: Any, scorer: Any, options: dict[str, Any]) -> None:
    """Lost: a gate that is thought to be there."""
    with pytest.raises(hf.RunError, match="gate 'facts'"):
        world.run(gated(scorer, **options))
    assert not world.events(Kind.STEP_SUCCEEDED)
    assert issubclass(PolicyInvalid, hf.UsageError)


def test_it_needs_no_input(world: Any) -> None:
    """Lost: a check that looks at the world by itself, such as the tests of a project."""

    async def works(run: hf.Run, given: Any) -> bool:
        said: Gated = await run.gate("tests", lambda: True, 1)
        return bool(said)

    assert world.run(agent(works)) is True


def test_a_sync_agent_has_gates_too() -> None:
    """Lost: half of all agents."""

    @hf.agent(budget=BUDGET)
    def write(run: hf.Run, text: str) -> bool:
        return bool(run.wait(run.gate("facts", lambda given: 0.9, 0.8, input=text)))

    assert hf.App("memory:").run_sync(write, "a text") is True


# --- in every life -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_written", [False, True])
def test_a_kill_anywhere_changes_nothing_about_it(world: Any, is_written: bool) -> None:
    """Lost: the verdict: another process would measure again, and think otherwise."""
    world.run(gated(lambda text: 0.1, otherwise="tell"), key="whole")
    total = world.journal.transactions
    assert total >= 4, "there is something to kill"
    for number in range(2, total + 1):
        key, measured = f"killed {number}", []

        def score(text: str, measured: list[str] = measured) -> float:
            measured.append(text)
            return 0.1 * len(measured)

        careless = gated(score, otherwise="tell")
        with pytest.raises(world.Crash):
            world.run(
                careless,
                key=key,
                prepare=lambda journal, number=number: journal.die_at(number, is_written=is_written),
            )
        result = world.run(careless, key=key)
        recorded: list[Event] = [e for e in world.events(Kind.DECIDED, key=key) if e.step is StepKind.DECISION]
        assert len(recorded) == 1 and recorded[0].facts["score"] == result[1]
        assert len(measured) <= 2


def test_a_verdict_stands_when_the_threshold_is_changed_later(world: Any) -> None:
    """Lost: replay: a deploy would decide the past anew."""

    def writes(threshold: float) -> Any:
        async def write(run: hf.Run, given: Any) -> Any:
            said = await run.gate("facts", lambda: 0.7, threshold, otherwise="tell")
            await run.sleep(0.01)
            return [said.passed, said.because]

        return agent(write)

    with pytest.raises(world.Crash):
        world.run(writes(0.5), prepare=lambda journal: journal.die_at(4, is_written=True))
    assert world.run(writes(0.9)) == [True, "measured 0.7, at least 0.5"]
