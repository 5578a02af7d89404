"""An operator's levers on runs that live in another process, and on runs that live in none.

If these fail, whoever looks after agents at night can only end the process.
"""

from __future__ import annotations

import json
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
