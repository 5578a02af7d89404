"""Signals: the first leaves in order and loses nothing, the second leaves at once.

If these fail, Ctrl-C or a deploy puts effects in doubt, or cannot end a stuck agent.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

STUCK = """
import holdfast as hf

@hf.agent
async def stuck(run: hf.Run, what: str) -> str:
    with open("loop.in", "w") as pipe:
        pipe.write("in")
    return open("loop.go").read()  # blocks the event loop
"""


def _until(process: subprocess.Popen[str], told: str) -> None:
    assert process.stderr is not None
    assert any(told in line for line in iter(process.stderr.readline, "")), f"it never said {told!r}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_an_effect_in_flight_finishes_and_the_restart_finishes_the_run(shell: Any, number: int, code: int) -> None:
    """Without this, each deploy would leave payments in doubt."""
    shell.pipe("pay")
    process = shell.start("run", "agents.py:pays", "rent", "--key", "k")
    shell.await_entry("pay")
    process.send_signal(number)
    _until(process, "finishes first")
    shell.let_go("pay")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    assert "is resumable: holdfast run agents.py:pays rent --key k" in err and "Traceback" not in err
    assert shell.call("show", "k", "--json").document["steps"][1]["status"] == "succeeded"
    again = shell.run("run", "agents.py:pays", "rent", "--key", "k")
    assert (again.code, again.out) == (0, "seen paid rent\n")
    assert "resumes after step 2 `pay`" in again.err
    assert Path("ledger").read_text() == "rent\n"


def test_a_second_signal_leaves_at_once_and_the_effect_is_in_doubt(shell: Any) -> None:
    """Without this, a tool that hangs would hold the terminal for 25 seconds, or its effect would be forgotten."""
    shell.pipe("pay")
    process = shell.start("run", "agents.py:pays", "rent", "--key", "k")
    shell.await_entry("pay")
    process.send_signal(signal.SIGINT)
    _until(process, "finishes first")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Left at once" in err
    assert shell.call("show", "k").out.startswith("Interrupted: ")
    assert "its process is gone" in shell.call("ls").out
    assert shell.run("run", "agents.py:pays", "rent", "--key", "k").code == 8
    assert Path("ledger").read_text() == "rent\n"


def test_a_stuck_event_loop_can_be_left(shell: Any) -> None:
    """Without this, Ctrl-C would do nothing while an agent blocks the event loop, and only kill -9 would help."""
    shell.write(STUCK)
    shell.pipe("loop")
    process = shell.start("run", "agents.py:stuck", "x", "--key", "k")
    shell.await_entry("loop")
    process.send_signal(signal.SIGINT)
    _until(process, "finishes first")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_parked_run_is_left_with_its_question_open(shell: Any) -> None:
    """Without this, leaving a run that waits for a person would withdraw or lose the question."""
    process = shell.start("run", "agents.py:asks", "go", "--key", "k", "--wait", "forever")
    _until(process, "holdfast answer")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143 and "is resumable" in err
    assert len(shell.call("show", "k", "--json").document["questions"]) == 1
    assert shell.call("answer", "k", "yes").code == 0
    assert shell.run("run", "agents.py:asks", "go", "--key", "k").code == 0
