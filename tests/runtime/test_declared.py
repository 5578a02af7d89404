"""What is declared at `run.step` is worked out once, and keeps nothing of a run alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import holdfast as hf

BUDGET = hf.Budget(tool_calls=100)


async def number_of(given: Any) -> int:
    """A function that lives as long as its module."""
    return int(given)


async def text_of(given: Any) -> str:
    """Another one."""
    return str(given)


async def test_each_run_gets_what_it_declares() -> None:
    """Lost: a run whose step is done as another run has declared it: once instead of again, or with its types."""

    @hf.agent(budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        effect = "read" if given else "once"
        number = await run.step("look", number_of, given, effect=effect)
        text = await run.step("look", text_of, given, effect=effect)
        return [number, text]

    async with hf.App("memory:") as app:
        for key, given in {"a": 0, "b": 1, "c": 0, "d": 2}.items():
            assert await app.run(agent, given, key=key) == [given, str(given)]
            [head] = app.journal.heads(key=key)
            outcomes = [event for event in app.journal.events(head.run_id) if event.kind == "StepSucceeded"]
            assert {event.effect for event in outcomes} == {"read" if given else "once"} and len(outcomes) == 2


async def test_a_function_of_a_run_goes_with_it() -> None:
    """Lost: memory. What a run's own functions hold would live as long as the agent."""
    seen = list[weakref.ref[Any]]()

    @hf.agent(budget=BUDGET)
    async def agent(run: hf.Run, given: int) -> int:
        async def local() -> int:
            return given

        def check(result: int) -> None:
            assert result == given

        seen.extend([weakref.ref(local), weakref.ref(check)])
        await run.step("checked", number_of, given, effect="read", check=check)
        return int(await run.step("local", local, effect="read"))

    async with hf.App("memory:") as app:
        assert [await app.run(agent, number, key=str(number)) for number in range(3)] == [0, 1, 2]
        gc.collect()
        assert [kept() for kept in seen] == [None] * 6
