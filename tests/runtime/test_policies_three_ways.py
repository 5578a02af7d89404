"""A policy said in Python, in `holdfast.toml`, on the command line or at the desk is the same policy.

If these fail, what an operator has set at night is not what the code would have done by day.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.cli.option import policies_of
from holdfast.core.events import Kind
from holdfast.errors import PolicyInvalid, RunFailed

TOML = """
[tools.flaky]
timeout = "5s"
retry = { attempts = 2, wait = "1ms", wait_max = "1ms" }
classify = { ValueError = "rate_limited" }
"""
FLAGS = (
    "flaky.timeout=5s",
    "flaky.retry.attempts=2",
    "flaky.retry.wait=1ms",
    "flaky.retry.wait_max=1ms",
    "flaky.classify.ValueError=rate_limited",
)
SETTINGS = {
    "timeout": "5s",
    "retry.attempts": 2,
    "retry.wait": "1ms",
    "retry.wait_max": "1ms",
    "classify.ValueError": "rate_limited",
}


def agent_with(**declared: Any) -> hf.Agent[Any, Any]:
    """An agent whose tool always fails, with this policy in its code."""

    @hf.tool(effect="read", **declared)
    async def flaky(x: int) -> None:
        raise ValueError("gone")  # permanent, were it not for the table

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=50))
    async def shop(run: hf.Run, given: Any) -> None:
        await flaky(1)

    return shop


def story(world: Any) -> list[tuple[Kind, Any, Any]]:
    """What was decided about the step."""
    events = world.events(Kind.ATTEMPT_FAILED, Kind.STEP_FAILED)
    return [(event.kind, event.facts["because"], event.facts["kind"]) for event in events]


def play(world: Any, agent: Any, **how: Any) -> Any:
    """Run it to its failure, in an App with this configuration."""
    order = how.pop("order", None)

    async def scenario(app: hf.App) -> None:
        if order is not None:
            await app.change_policy("flaky", order, by="ann")
        with pytest.raises(RunFailed):
            await app.run(agent, None, key="k")

    return world.play(scenario, **how)


@pytest.mark.parametrize("way", ["python", "toml", "flags", "app", "desk"])
def test_the_same_policy_decides_the_same_whichever_way_it_was_said(
    way: str, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a change that an operator made and that nobody can tell from another one."""
    monkeypatch.chdir(tmp_path)
    if way == "toml":
        (tmp_path / "holdfast.toml").write_text(TOML)
    declared: dict[str, Any] = {}
    if way == "python":
        declared = {"timeout": "5s", "retry": hf.Retry(attempts=2, wait="1ms", wait_max="1ms")}
        declared |= {"classify": {"ValueError": "rate_limited"}}
    policies = {"flags": policies_of(FLAGS), "app": {"flaky": SETTINGS}}.get(way)
    play(world, agent_with(**declared), policies=policies, order=SETTINGS if way == "desk" else None)
    first, last = story(world)
    assert first[0] is Kind.ATTEMPT_FAILED and "attempt 1 of 2" in first[1] and first[2] == "rate_limited"
    assert last[0] is Kind.STEP_FAILED and "attempt 2 of 2 failed" in last[1]


def test_the_desk_is_over_the_command_line_over_the_file_over_the_code(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: which of four numbers holds."""
    monkeypatch.chdir(tmp_path)
    retry = hf.Retry(attempts=9, wait="1ms", wait_max="1ms", shared=100)
    agent = agent_with(retry=retry, breaker=None, classify={"ValueError": "transient"})
    for number, how in enumerate(({}, {"toml": 7}, {"flag": 5}, {"desk": 3}), 1):
        if "toml" in how:
            (tmp_path / "holdfast.toml").write_text("[tools.flaky]\nretry = { attempts = 7 }\n")
        policies = policies_of(("flaky.retry.attempts=5",)) if number >= 3 else None

        async def scenario(app: hf.App) -> None:
            if "desk" in how:  # noqa: B023
                await app.change_policy("flaky", {"retry.attempts": 3}, by="ann")
            with pytest.raises(RunFailed):
                await app.run(agent, None, key=f"k{number}")  # noqa: B023

        world.play(scenario, policies=policies)
        failed = world.events(Kind.STEP_FAILED, key=f"k{number}")[0]
        assert f"of {[9, 7, 5, 3][number - 1]} failed" in failed.facts["because"]


@pytest.mark.parametrize("flag", ["flaky", "flaky.retry.attempts", "flaky.retry.attempts=0", "flaky.speed=1", "=", ""])
def test_a_flag_that_is_not_understood_is_refused_before_anything_starts(flag: str) -> None:
    """Lost: a typing error that reads as no limit."""
    with pytest.raises(PolicyInvalid):
        policies_of((flag,))


def test_what_file_and_flags_state_is_in_the_record_and_a_change_of_it_is_decided(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: under which policies a run did what it did, and that they changed in the middle of it."""
    monkeypatch.chdir(tmp_path)

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=50))
    async def shop(run: hf.Run, given: Any) -> str:
        for number in range(4):
            await run.ask("Go?", name=f"ask {number}")
        return "done"

    def again(**how: Any) -> None:
        if world.store.head(world.id()) is not None:
            world.answer("yes", shop)
        with pytest.raises(hf.errors.RunWaiting):
            world.run(shop, wait=0, **how)

    again(policies=policies_of(("flaky.retry.attempts=5",)))
    config = world.events(Kind.RUN_STARTED)[0].facts["config"]
    assert len(config) == 16 and world.state().config == config
    again(policies=policies_of(("flaky.retry.attempts=5",)))
    assert not world.events(Kind.DECIDED), "nothing has changed"
    (tmp_path / "holdfast.toml").write_text("[budget.day]\nusd = 5\n")
    again(policies=policies_of(("flaky.retry.attempts=6",)))
    (decided,) = world.events(Kind.DECIDED)
    assert decided.facts["what"] == "config" and "flaky.retry.attempts=6" in decided.facts["because"]
    assert "budget.day" in decided.facts["because"] and world.state().config == decided.facts["choice"] != config
    (tmp_path / "holdfast.toml").unlink()
    again()
    assert world.events(Kind.DECIDED)[-1].facts["choice"] == "none" and world.state().config == ""


def test_caps_in_the_file_hold_unless_an_operator_has_set_others(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a cap of the day that is not there, or one that the next start takes back from the operator."""
    monkeypatch.chdir(tmp_path)

    async def nothing(app: hf.App) -> None:
        pass

    (tmp_path / "holdfast.toml").write_text("[budget.day]\nusd = 5\ntokens = 7\n")
    world.play(nothing)
    assert world.store.account("day").limits[:4] == (None, None, 7, 5_000_000_000)
    from holdfast.core import accept
    from holdfast.runtime import desk

    desk.order(world.store, accept.command("budget", "day", by="ann", caps={"usd_nano": 1}), "m", "default")
    assert desk.carry_out(world.store, world.clock, "default")
    world.play(nothing)
    assert world.store.account("day").limits[3] == 1
    (tmp_path / "holdfast.toml").write_text("[budget.year]\nusd = 5\n")
    with pytest.raises(PolicyInvalid, match=r"budget\.year"):
        world.play(nothing)
