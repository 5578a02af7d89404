"""Runs within runs on the command line: signals, children of the agents in one file, chapters, a run set aside."""

from __future__ import annotations

from typing import Any

import pytest

AGENTS = """
import os
import signal
import holdfast as hf

@hf.tool(effect="read")
async def look(what: str) -> str:
    if os.path.exists("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return "seen " + what

@hf.agent
async def helper(run: hf.Run, what: str) -> str:
    return await look(what)

@hf.agent
async def leads(run: hf.Run, what: str) -> list:
    return [await run.spawn(helper, what), await run.spawn(helper, what + "!")]

@hf.agent
async def doubtful(run: hf.Run, what: str) -> object:
    return (await run.ask("Really " + what + "?", options=["yes", "no"])).value

@hf.agent
async def middle(run: hf.Run, what: str) -> object:
    return await run.spawn(doubtful, what)

@hf.agent(budget=hf.Budget(tool_calls=3))
async def top(run: hf.Run, what: str) -> object:
    return [await run.spawn(helper, what), await run.spawn(middle, what)]

@hf.agent(budget=hf.Budget(tool_calls=2))
async def greedy(run: hf.Run, what: str) -> str:
    await run.spawn(helper, what)
    return await look(await look(what))

@hf.agent
async def waits(run: hf.Run, what: str) -> dict:
    heard = await run.signal("go")
    return {"heard": heard.value, "by": heard.by}

@hf.agent
async def counts(run: hf.Run, n: int) -> int:
    if n < 3:
        await run.continue_as(n + 1)
    return n
"""


@pytest.fixture
def agents(shell: Any) -> Any:
    """The shell, with these agents."""
    shell.write(AGENTS, "family.py")
    return shell


@pytest.mark.parametrize(("value", "heard"), [("yes please", "yes please"), ('{"a": [1]}', {"a": [1]}), (None, None)])
def test_a_signal_goes_on_with_the_run_that_waits_for_it(agents: Any, value: Any, heard: Any) -> None:
    """Without this, only Python code could tell a run anything but an answer."""
    waiting = agents.run("run", "family.py:waits", "x", "--key", "k", "--wait", "0")
    assert waiting.code == 75 and "holdfast signal" in waiting.err
    shown = agents.run("show", "k")
    assert "Waiting for a signal" in shown.out + shown.err
    told = agents.run("signal", "k", "go", *([] if value is None else [value]), "--by", "ann", "--json")
    assert told.code == 0 and told.document["signal"] == "go"
    done = agents.run("run", "family.py:waits", "x", "--key", "k", "--json")
    assert done.document["result"] == {"heard": heard, "by": "ann"}
    late = agents.run("signal", "k", "go")
    assert late.code != 0 and "already ended" in late.err


def test_agents_of_the_same_file_are_children(agents: Any) -> None:
    """Without this, an agent that starts others would run in a program of its own only."""
    said = agents.run("run", "family.py:leads", "tea", "--key", "k", "--json")
    assert said.document["result"] == ["seen tea", "seen tea!"]
    picture = agents.run("show", "k", "--json").document
    for step in picture["steps"]:
        child = agents.run("show", step["child"], "--json").document
        assert child["run"]["parent"] == picture["run"]["id"]


def test_the_key_names_the_newest_chapter(agents: Any) -> None:
    """Without this, `show` tells of a run that is over, and not of the one that goes on."""
    assert agents.run("run", "family.py:counts", "1", "--key", "k").out == "3\n"
    run = agents.run("show", "k", "--json").document["run"]
    assert (run["chapter"], run["result"], run["continued"]) == (3, 3, None)


def test_a_run_that_kills_its_process_waits_for_a_person_and_is_5(agents: Any) -> None:
    """Without this, a supervisor would start the same deadly step for ever."""
    agents.write("", "deadly")
    for _ in range(3):
        agents.start("run", "family.py:helper", "tea", "--key", "k").communicate(timeout=60)
    said = agents.run("run", "family.py:helper", "tea", "--key", "k")
    assert said.code == 5 and "go_on" in said.err and "3 processes in a row died" in said.err
    assert "Set aside" in agents.run("show", "k").out
    stopped = agents.run("answer", "k", "stop", "--by", "ann")
    assert stopped.code == 0
    assert agents.run("run", "family.py:helper", "tea", "--key", "k").code == 6


def test_a_run_that_waits_for_its_runs_says_whom_these_have_asked(agents: Any) -> None:
    """Lost: the question of a run that nobody has looked at, under one that "waits for a run that it started"."""
    said = agents.run("run", "family.py:top", "tea", "--key", "k", "--wait", "0")
    assert said.code == 5 and "(k/middle." in said.err and "Really tea?" in said.err
    shown = agents.run("show", "k").out
    assert "questions of its runs" in shown and "Really tea?" in shown
    assert "used: tool calls 0 of 3" in shown and "with its runs: tool calls 1 of 3" in shown
    (way,) = [line.split() for line in shown.splitlines() if line.endswith(" yes")]
    assert agents.run(*way[1:]).code == 0
    done = agents.run("run", "family.py:top", "tea", "--key", "k", "--json")
    assert done.document["result"] == ["seen tea", "yes"]
    assert "questions of its runs" not in agents.run("show", "k").out


def test_a_run_stopped_by_the_cap_that_it_shares_with_its_runs_is_raised_itself(agents: Any) -> None:
    """Lost: the advice that works, which is not that of a cap of all runs."""
    said = agents.run("run", "family.py:greedy", "tea", "--key", "k")
    assert said.code == 4 and "Go on with: holdfast resume k family.py:greedy --raise PART=+MORE" in said.err
    assert agents.run("resume", "k", "family.py:greedy", "--raise", "tool_calls=+1").code == 0
