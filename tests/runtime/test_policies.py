"""What operators set of a tool, as it comes to its attempts. Each test says what would be lost."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.policy import Policy
from holdfast.core.rung import Cached, Stop
from holdfast.errors import PolicyInvalid, RunStopped
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.policies import Policies


@hf.tool(effect="read", retry=hf.Retry(attempts=5, wait=0))
async def look_up(what: str) -> str:
    raise ConnectionError("gone")


@hf.tool(effect="once")
async def send_off(what: str) -> str:
    return what


def test_later_layers_stand_above_and_all_above_the_declaration() -> None:
    """Lost: the number that an operator set last."""
    policies = Policies({"look_up": {"retry.attempts": 4, "timeout": 7}}, {"look_up": {"retry.attempts": 3}})
    assert policies.of(look_up.spec) == Policy(retry=hf.Retry(attempts=3, wait=0), timeout_s=7)
    policies.desk = {"look_up": {"retry.attempts": 2}}
    assert policies.of(look_up.spec).retry.attempts == 2
    policies.desk = {}
    assert policies.of(look_up.spec).retry.attempts == 3
    assert policies.of(send_off.spec) is send_off.spec.policy


async def test_what_does_not_fit_a_tool_is_refused_before_anything_is_started() -> None:
    """Lost: a payment that "has happened", by an old result, because an operator wished for a fallback."""
    app = hf.App(MemoryJournal(clock=SystemClock().now), policies={"send_off": {"fallback": ["cached:1h"]}})
    with pytest.raises(PolicyInvalid, match="effect='read'"):
        await app.__aenter__()


def test_what_the_desk_sets_and_does_not_fit_is_left_out_of_live_runs(caplog: pytest.LogCaptureFixture) -> None:
    """Lost: every run that calls the tool, by one wrong order."""
    policies = Policies({"send_off": {"timeout": 7}})
    policies.desk = {"send_off": {"fallback": ["cached:1h"]}}
    with caplog.at_level(logging.WARNING, "holdfast"):
        assert policies.of(send_off.spec) == Policy(retry=hf.Retry(attempts=1), timeout_s=7)
    assert "left out" in caplog.text


async def test_a_ladder_of_the_operator_is_climbed() -> None:
    """Lost: the fallback that was set in an incident, without a deploy."""

    @hf.agent
    async def asks(run: hf.Run, given: Any) -> str:
        return await look_up("a")

    over = {"look_up": {"retry.attempts": 1, "fallback": ["cached:1h", "stop"]}}
    async with hf.App(MemoryJournal(clock=SystemClock().now), policies=over, serves=False) as app:
        with pytest.raises(RunStopped, match="must not be missing"):
            await app.run(asks, None)
    assert Policies(over).of(look_up.spec).fallback == (Cached(max_age="1h"), Stop())


@pytest.mark.parametrize("policies", [["look_up"], "look_up", 7])
def test_policies_that_are_no_table_are_refused_in_words(policies: Any) -> None:
    """Lost: what is wrong, behind a traceback of ours."""
    with pytest.raises(PolicyInvalid, match="no table by tool"):
        hf.App("memory:", policies=policies)
