"""`run.prior`: what a run is told of earlier runs of its agent, once.

If these fail, an agent begins as if nothing had been tried, or is told another story when it is replayed.
"""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.core.excerpt import tokens_of
from holdfast.errors import RunFailed, UsageError

from .conftest import Crash


@hf.tool(effect="once")
async def charge(what: str) -> str:
    """Nobody knows whether it went through."""
    raise ConnectionError("the line went dead")


def support(world: Any, tokens: Any = 1_500) -> Any:
    """An agent that asks what was before, and whose process dies after that when it is told to."""

    @hf.agent(name="support")
    async def body(run: hf.Run, what: str) -> str:
        told = await run.prior(tokens=tokens)
        world.effects.append(told)
        if what == "dies" and len(world.effects) == 1:
            raise Crash
        await run.decide("way", "by sea", because=f"{what} is heavy")
        if what == "fails":
            raise LookupError("nowhere to be found")
        if what == "charges":
            await charge(what)
        return told

    return body


def test_a_run_is_told_what_earlier_ones_of_its_agent_did(world: Any) -> None:
    """Lost: the next attempt knows nothing of the last."""
    agent = support(world)

    @hf.agent(name="another")
    async def another(run: hf.Run, what: str) -> str:
        await run.note("of somebody else")
        return what

    world.run(another, "x", key="other")
    assert "No earlier run" in world.run(agent, "first", key="a")
    with pytest.raises(RunFailed):
        world.run(agent, "fails", key="b")
    told = world.run(agent, "third", key="c")
    assert told.index('"b"') < told.index('"a"'), "the newest first"
    assert "nowhere to be found" in told and 'it decided: "way" is "by sea", since "fails is heavy"' in told
    assert '"c"' not in told and "of somebody else" not in told
    assert tokens_of(told) <= 1_500


def test_what_is_in_doubt_is_told(world: Any) -> None:
    """Lost: the one thing that must not be done again on a guess."""
    agent = support(world)
    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, "charges", key="a", wait=0)
    assert "in doubt: nobody knows whether" in world.run(agent, "next", key="b")


def test_it_is_recorded_and_replayed(world: Any) -> None:
    """Lost: replay, when a run is told of what came after it began."""
    agent = support(world)
    with pytest.raises(Crash):
        world.run(agent, "dies", key="a")
    world.run(agent, "between", key="b")
    told = world.run(agent, "dies", key="a")
    assert told == world.effects[0] and '"b"' not in told


@pytest.mark.parametrize("tokens", [0, 299, -1, 10**9, "many", True, None])
def test_a_number_that_makes_no_sense_is_refused(world: Any, tokens: Any) -> None:
    """Lost: a prompt without an end."""
    with pytest.raises((UsageError, RunFailed), match="prior"):
        world.run(support(world, tokens), "x")
