"""An operator's levers on runs that live in another process, and on runs that live in none.

If these fail, whoever looks after agents at night can only end the process.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

SOON_S = 5.0
"""A second is meant; a loaded machine gets more."""


def ledger(shell: Any) -> list[str]:
    """What was paid."""
    file = shell.home / "ledger"
    return file.read_text().split() if file.exists() else []


def start(shell: Any, agent: str = "pays", given: str = "x") -> Any:
    """A run in a process of its own, in the middle of its payment."""
    shell.pipe("pay")
    process = shell.start("run", f"agents.py:{agent}", given, "--key", "k", "--json")
    shell.await_entry("pay")
    return process


def ended(process: Any) -> tuple[int, str]:
    """Its exit code, and what it said."""
    out, err = process.communicate(timeout=40)
    return process.returncode, out + err


def test_pause_holds_a_live_run_and_resume_lets_it_go_on(shell: Any) -> None:
    """Lost: a run that does harm cannot be held without losing what it is doing."""
    process = start(shell)
    said = shell.call("pause", "k", "--by", "ann", "--why", "wrong price\x1b[2K")
    assert said.code == 0 and "goes on with it" in said.err
    while shell.call("show", "k", "--json").document["run"]["why"] != "pausing":
        pass
    assert "Pausing: step 2 `pay` finishes first" in shell.call("show", "k").out
    shell.let_go("pay")
    code, told = ended(process)
    assert code == 5 and "paused" in told and "holdfast resume k agents.py:pays" in told
    picture = shell.call("show", "k", "--json").document
    assert (picture["run"]["status"], picture["run"]["why"]) == ("suspended", "paused")
    shown = shell.call("show", "k").out
    assert "Paused since" in shown and "by ann: wrong price⟨U+001B⟩[2K" in shown and "\x1b" not in shown
    assert "suspended (paused)" in shell.call("ls").out and ledger(shell) == ["x"]
    assert shell.call("pause", "k").code == 0, "a second pause changes nothing"
    assert shell.run("run", "agents.py:pays", "x", "--key", "k").code == 5, "a restart changes nothing"
    said = shell.run("resume", "k", "agents.py:pays", "--by", "bob")
    assert said.code == 0 and said.out.strip() == "seen paid x" and ledger(shell) == ["x"]


def test_cancel_now_ends_a_live_run_at_once_and_names_what_is_in_doubt(shell: Any) -> None:
    """Lost: an operator who must stop a run now waits for what hangs."""
    process = start(shell)
    assert shell.call("cancel", "k", "--now", "--by", "ann", "--why", "stop it").code == 0
    while shell.call("show", "k", "--json").document["run"]["status"] != "cancelled":
        assert process.poll() is None or process.returncode == 6
    picture = shell.call("show", "k", "--json").document
    assert "ann: stop it. In doubt, and left so: pay" in picture["run"]["why"]
    assert [step["status"] for step in picture["steps"]] == ["succeeded", "in_doubt"]
    shell.let_go("pay")
    assert ended(process)[0] == 6


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_lever_on_a_run_that_nobody_drives_counts_for_the_next_process(shell: Any, verb: str) -> None:
    """Lost: what an operator orders while the host is down is forgotten."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    for who in ("ann", "bob"):
        assert shell.call(verb, "k", "--by", who).code == 0
    said = shell.run("run", "agents.py:asks", "x", "--key", "k", "--json", "--wait", "0s")
    assert said.code == {"pause": 5, "cancel": 6}[verb]
    told = json.dumps(shell.call("show", "k", "--json").document["decisions"])
    assert "ann" in told and (verb == "cancel" or "bob" in told)


# --- the desk ----------------------------------------------------------------------------------------------------

LOOPS = """
import asyncio
import holdfast as hf

@hf.tool(effect="read", breaker=None, retry=hf.Retry(attempts=100, wait=0.02, wait_max=0.02, total="10m", shared=100))
async def flaky(n: int) -> str:
    raise ConnectionError("down")

@hf.tool(effect="read")
async def look(n: int) -> str:
    await asyncio.sleep(0.02)
    return "seen"

@hf.agent(budget=hf.Budget(tool_calls=100_000))
async def looks(run: hf.Run, what: str) -> str:
    with open("begun.in", "w") as pipe:
        pipe.write("in")
    for n in range(3_000):
        try:
            await look(n)
        except hf.errors.ToolFailed as failed:
            return str(failed)
    return "never stopped"

@hf.agent(budget=hf.Budget(tool_calls=100_000))
async def tries(run: hf.Run, what: str) -> str:
    with open("begun.in", "w") as pipe:
        pipe.write("in")
    await flaky(1)
"""


def live(shell: Any, agent: str) -> Any:
    """A run that goes round in a process of its own."""
    shell.write(LOOPS, "loops.py")
    shell.pipe("begun")
    process = shell.start("run", f"loops.py:{agent}", "x", "--key", "k")
    shell.await_entry("begun")
    return process


def decided(shell: Any, key: str, what: str) -> dict[str, Any]:
    """The one decision of this sort in a run's record."""
    (found,) = (line for line in shell.call("show", key, "--json").document["decisions"] if line["what"] == what)
    return dict(found)


def test_a_live_run_obeys_a_switched_off_tool_within_a_second(shell: Any) -> None:
    """Lost: a tool that does harm in fifty processes is stopped by finding and ending each of them."""
    process = live(shell, "looks")
    assert shell.call("tools", "disable", "look", "--by", "ann", "--why", "it lies\x1b[2K").code == 0
    code, told = ended(process)
    assert code == 0 and "look is switched off since" in told and "by ann: it lies" in told
    gave_up = decided(shell, "k", "give up")
    assert gave_up["at"] - decided(shell, "@desk", "disable")["at"] < SOON_S
    listed = shell.call("tools")
    assert "look  off since" in listed.out and "by ann: it lies⟨U+001B⟩" in listed.out and "\x1b" not in listed.out
    assert shell.call("tools", "ls", "--json").document["off"]["look"]["by"] == "ann"
    assert shell.call("tools", "enable", "look", "--by", "bob").code == 0
    assert shell.call("tools", "ls", "--json").document["off"] == {}


def test_a_live_run_obeys_a_changed_policy_within_a_second(shell: Any) -> None:
    """Lost: a dead receiver is called a hundred times by each run, whatever its operator does."""
    process = live(shell, "tries")
    said = shell.call("tools", "policy", "flaky", "retry.attempts=1", "timeout=5s", "--by", "ann", "--why", "down")
    assert said.code == 0
    assert ended(process)[0] == 1
    gave_up = decided(shell, "k", "give up")
    assert "of 1 failed" in gave_up["because"]
    assert gave_up["at"] - decided(shell, "@desk", "policy")["at"] < SOON_S
    listed = shell.call("tools", "ls", "--json").document
    assert listed["policies"] == {"flaky": {"retry.attempts": 1, "timeout": "5s"}}
    assert shell.call("tools", "policy", "flaky", "--reset").code == 0
    assert shell.call("tools", "ls", "--json").document["policies"] == {}


def test_a_live_run_stops_at_a_lowered_cap_and_goes_on_with_a_higher_one(shell: Any) -> None:
    """Lost: a run that burns money can only be killed."""
    process = live(shell, "looks")
    assert shell.call("budget", "k", "tool_calls=1", "--by", "ann", "--why", "too dear").code == 0
    code, told = ended(process)
    assert code == 4 and "cap 1" in told
    shown = shell.call("show", "k", "--json").document["decisions"]
    lines = [line for line in shown if line["what"] != "budget warning"]  # there is one when a read was under way
    assert [line["what"] for line in lines] == ["start", "budget", "end"]
    assert lines[2]["at"] - decided(shell, "@desk", "cap")["at"] < SOON_S
    assert (lines[1]["by"], lines[1]["because"]) == ("ann", "too dear")
    assert shell.call("budget", "k", "tool_calls=off").code == 0


def test_the_desk_records_who_did_what_and_why(shell: Any) -> None:
    """Lost: the first question after a bad night."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    orders = [
        ("pause", "k", "--by", "ann", "--why", "look first"),
        ("resume", "k", "--by", "bob", "--why", "looked"),
        ("budget", "k", "usd=2.5", "--by", "cid"),
        ("budget", "day", "usd=50", "tokens=1000", "--by", "dan", "--why", "month's end"),
        ("budget", "day", "--off", "--by", "eve"),
        ("tools", "disable", "look", "--by", "fay"),
        ("cancel", "k", "--now", "--by", "gus"),
    ]
    for order in orders:
        assert shell.call(*order).code == 0
    picture = shell.call("show", "@desk", "--json").document
    told = [(line["what"], line["by"]) for line in picture["decisions"] if line["by"]]
    assert told == [
        ("pause", "ann"),
        ("resume", "bob"),
        ("cap", "cid"),
        ("budget", "dan"),
        ("budget", "eve"),
        ("disable", "fay"),
        ("cancel now", "gus"),
    ]
    shown = shell.call("show", "@desk").out
    assert "pause -> run_" in shown and "because: look first (by ann)" in shown
    assert "budget -> day: tokens 1000, usd $50.0000; because: month's end (by dan)" in shown
    assert "the first order came" in shown and "used:" not in shown
    assert "@desk" not in shell.call("ls").out, "it is no run of anybody's agent"


@pytest.mark.parametrize(
    "order",
    [
        ("tools", "disable", ""),
        ("tools", "policy", "look"),
        ("tools", "policy", "look", "retry.attempts=0"),
        ("tools", "policy", "look", "speed=9"),
        ("tools", "policy", "look", "timeout=5s", "--reset"),
        ("budget", "day"),
        ("budget", "day", "usd=-1"),
        ("budget", "day", "usd=nan"),
        ("budget", "day", "tool_calls=5"),
        ("budget", "day", "--off", "usd=1"),
        ("budget", "k", "--off"),
        ("budget", "k", "tokens=1.5"),
        ("budget", "k", "tokens=1", "tokens=2"),
        ("cancel", "@desk"),
        ("pause", "@desk"),
        ("run", "agents.py:pays", "x", "--key", "@desk"),
    ],
)
def test_orders_that_make_no_sense_are_2_and_change_nothing(shell: Any, order: tuple[str, ...]) -> None:
    """Lost: a typing error at night becomes a policy."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    assert shell.call("tools", "enable", "look").code == 0
    before = shell.call("show", "@desk", "--json").document["decisions"]
    assert shell.call(*order).code == 2
    assert shell.call("show", "@desk", "--json").document["decisions"] == before
    assert shell.call("show", "k", "--json").document["run"]["status"] == "suspended"


def test_budget_lists_what_is_used_and_capped(shell: Any) -> None:
    """Lost: an operator does not see that the day is nearly spent."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    said = shell.call("budget")
    assert said.code == 0 and "no cap" in said.out
    assert shell.call("budget", "day", "usd=50", "tokens=1000").code == 0
    assert shell.call("budget", "total", "model_calls=9").code == 0
    day, total = shell.call("budget", "--json").document["accounts"]
    assert (day["limits"]["usd"], day["limits"]["tokens"], total["limits"]["model_calls"]) == (50.0, 1000, 9)
    assert "tokens 0 of 1000" in shell.call("budget").out


def test_operators_in_several_processes_at_once_are_all_heard(shell: Any) -> None:
    """Lost: one of two orders that were given at the same moment, and who gave it."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    names = [f"op{number}" for number in range(4)]
    started = [shell.start("tools", "disable", "look", "--by", name) for name in names]
    started += [shell.start("pause", "k", "--by", name) for name in names]
    assert [ended(process)[0] for process in started] == [0] * 8
    lines = [line for line in shell.call("show", "@desk", "--json").document["decisions"] if line["by"]]
    assert sorted((line["what"], line["by"]) for line in lines) == sorted(
        [("disable", name) for name in names] + [("pause", name) for name in names]
    )
    assert shell.run("run", "agents.py:asks", "x", "--key", "k").code == 5
    told = shell.call("show", "k", "--json").document["decisions"]
    assert sorted(line["by"] for line in told if line["what"] == "pause") == names


def test_a_killed_order_is_done_or_still_there_for_the_next_operator(shell: Any) -> None:
    """Lost: an order whose command line was killed right after it was given, or half of it."""
    assert shell.run("run", "agents.py:asks", "x", "--key", "k", "--wait", "0s").code == 5
    for number in range(6):
        process = shell.start("tools", "disable", f"tool{number}", "--by", "ann")
        try:
            process.wait(0.25 + number * 0.05)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    assert shell.call("tools", "enable", "look", "--by", "bob").code == 0
    recorded = [
        line for line in shell.call("show", "@desk", "--json").document["decisions"] if line["what"] == "disable"
    ]
    off = shell.call("tools", "ls", "--json").document["off"]
    assert sorted(line["choice"].partition(":")[0] for line in recorded) == sorted(off)
