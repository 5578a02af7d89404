"""Runs at their caps in simulated worlds: processes die, stand still and lose their store, and people answer late."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import holdfast as hf
from holdfast.core import accept
from holdfast.core.accept import Message
from holdfast.core.heads import OpenQuestion
from holdfast.core.overdraft import ABOUT
from holdfast.testing.simulated_world import World
from holdfast.testing.simulation import Scenario, Start, receive, simulate

CAP, STEPS = 2, 5


@hf.tool(effect="idempotent")
async def pay(part: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """One tool call."""
    return await receive("pay", idempotency_key, str(part), dedupe=True)


@hf.agent(budget=hf.Budget(tool_calls=CAP, ask=hf.Ask("ada", within="8s")), escalate="oncall")
async def spends(run: hf.Run, given: int) -> int:
    """Needs more than it has."""
    for part in range(STEPS):
        await pay(part)
    return given


class Caps(Scenario):
    """People who raise it by one, say no, or answer too late."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def agents(self, version: int) -> tuple[hf.Agent[Any, Any], ...]:
        """Always the same code."""
        return (spends,)

    def starts(self, chance: Random) -> list[Start]:
        """One or two."""
        return [Start(spends, number, key=f"k-{number}") for number in range(1 + chance.randrange(2))]

    def answer(self, world: World, run: str, question: OpenQuestion) -> Message:
        """More, or no more; other questions as they are answered there."""
        if question.about != ABOUT:
            return super().answer(world, run, question)
        if world.chance.random() < 0.15:
            return accept.answer(question.id, choice="stop", by="ann", body=None)
        return accept.answer(question.id, choice="raise", by="ann", body=None, form={"tool_calls": 1})

    def check(self, world: World) -> list[str]:
        """Each raise is one call more, by one answer; nothing above the cap was ever charged."""
        problems = []
        for run, state in world.oracle.states.items():
            events = world.store.events(run)
            said = [e.facts for e in events if e.kind == "QuestionClosed"]
            raises = sum(each.get("choice") == "raise" for each in said)
            self.seen.update(f"{each['outcome']} {each.get('choice')}" for each in said)
            if state.limits.tool_calls != CAP + raises:
                problems.append(f"{run}: {raises} raises, and a cap of {state.limits.tool_calls}")
            if state.used.tool_calls > CAP + raises:
                problems.append(f"{run}: {state.used.tool_calls} used, of {CAP + raises}")
            if sum(e.kind == "BudgetChanged" for e in events) != raises:
                problems.append(f"{run}: a raise without an answer, or an answer without one")
        return problems


def test_each_answer_is_worth_one_raise_and_nothing_is_spent_above_the_cap() -> None:
    """Lost: a second raise for one answer, or one that a dying process took with it."""
    scenario = Caps()
    found = [simulate(scenario, seed) for seed in range(60)]
    assert [problem for each in found for problem in each.problems] == []
    seen = scenario.seen
    assert seen["answered raise"] > 50 and seen["answered stop"] > 3 and seen["expired stop"] > 3, dict(seen)
