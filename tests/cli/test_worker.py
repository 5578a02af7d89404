"""`holdfast worker`: several real processes on one store, what they take, and how they end."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from holdfast.core import accept
from holdfast.core.address import run_id
from holdfast.journal.codec import digest, encode
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.postgres_server import PostgresServer

OTHER = """
import holdfast as hf

@hf.agent(name="pays")
async def other(run: hf.Run, what: str) -> str:
    return "other " + what
"""
NAPS = """
import holdfast as hf

@hf.agent
async def naps(run: hf.Run, s: float) -> str:
    await run.sleep(s)
    return "rested"
"""


def accepted(agent: str, given: Any, *keys: str, store: str = "holdfast.db") -> None:
    """Runs that were started, and that nobody drives."""
    journal = open_journal(store, clock=SystemClock().now)
    body = encode(given)
    for key in keys:
        message = accept.start(agent=agent, key=key, input_digest=digest(body), limits=None, body=body)
        assert journal.post(run_id(journal.hash_key, "default", key), f"start {key}", message).is_stored
    journal.close()


def runs(shell: Any, *options: str) -> dict[str, str]:
    """Status by key."""
    return {run["key"]: run["status"] for run in shell.call("ls", "--json", *options).document["runs"]}


def until(process: subprocess.Popen[str], told: str) -> None:
    """Wait until it says this."""
    assert process.stderr is not None
    assert any(told in line for line in iter(process.stderr.readline, "")), f"it never said {told!r}"


def test_a_worker_goes_on_with_what_a_killed_process_left_behind(shell: Any) -> None:
    """Lost: R9. A run whose process died would wait until somebody thinks of repeating its command."""
    shell.pipe("pay")
    killed = shell.start("run", "agents.py:pays", "rent", "--key", "k")
    shell.await_entry("pay")
    killed.kill()
    killed.wait()
    accepted("shapes", [1], "new")
    worker = shell.run("worker", "agents.py", "--until-idle")
    assert (worker.code, worker.out) == (0, ""), worker.err
    assert runs(shell) == {"k": "suspended", "new": "succeeded"}, "in doubt is put to a person, what is new is done"
    assert "(k) goes on after event" in worker.err and "without giving it back" in worker.err
    assert worker.err.count("(k) suspended (in_doubt)") == 1, worker.err
    assert "(new) begins." in worker.err
    assert "(new) succeeded" in worker.err and "Nothing is left to do." in worker.err
    assert shell.call("answer", "k", "it_happened", "--result", '"paid rent"').code == 0
    assert shell.run("worker", "agents.py", "--until-idle").code == 0
    assert runs(shell)["k"] == "succeeded"
    assert Path("ledger").read_text() == "rent\n"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_several_workers_share_a_store(shell: Any, postgres: PostgresServer, engine: str) -> None:
    """Lost: R13. Two workers would drive the same run and pay twice, or one would leave work that nobody does."""
    store = ("--store", postgres.url("several_workers") if engine == "postgres" else "holdfast.db")
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        accepted("pays", key, key, store=store[1])
    workers = [shell.start("worker", "agents.py", "--until-idle", *store) for _ in range(3)]
    said = [(worker.communicate(timeout=40), worker.returncode) for worker in workers]
    assert [code for _, code in said] == [0, 0, 0], said
    assert runs(shell, *store) == dict.fromkeys(keys, "succeeded")
    assert Counter(Path("ledger").read_text().split()) == Counter(keys)


def test_a_signal_lets_what_is_in_flight_finish_and_gives_its_runs_back(shell: Any) -> None:
    """Lost: R14. Each deploy of a fleet would leave payments in doubt, or its runs held until a lease is over."""
    shell.pipe("pay")
    accepted("pays", "rent", "k")
    worker = shell.start("worker", "agents.py")
    shell.await_entry("pay")
    worker.send_signal(signal.SIGTERM)
    until(worker, "finishes first")
    shell.let_go("pay")
    out, err = worker.communicate(timeout=20)
    assert (worker.returncode, out) == (143, "") and "is given back" in err and "Traceback" not in err
    assert shell.call("show", "k", "--json").document["steps"][1]["status"] == "succeeded"
    next_worker = shell.run("worker", "agents.py", "--until-idle")
    assert next_worker.code == 0 and "without giving it back" not in next_worker.err
    assert runs(shell) == {"k": "succeeded"} and Path("ledger").read_text() == "rent\n"


def test_a_second_signal_ends_it_at_once(shell: Any) -> None:
    """Lost: a tool that hangs would hold a deploy for as long as it likes."""
    shell.pipe("pay")
    accepted("pays", "rent", "k")
    worker = shell.start("worker", "agents.py")
    shell.await_entry("pay")
    worker.send_signal(signal.SIGTERM)
    until(worker, "finishes first")
    worker.send_signal(signal.SIGTERM)
    _, err = worker.communicate(timeout=20)
    assert worker.returncode == 143 and "Left at once" in err
    assert shell.run("worker", "agents.py", "--until-idle").code == 0
    assert shell.call("show", "k", "--json").document["run"]["why"] == "in_doubt"


def test_an_idle_worker_waits_for_work_and_ends_by_a_signal(shell: Any) -> None:
    """Lost: a worker that ends because there is nothing to do just now would have to be started for each run."""
    worker = shell.start("worker", "agents.py:shapes")
    until(worker, "takes runs of shapes")
    accepted("shapes", [1], "k")
    until(worker, "(k) succeeded")
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=20)
    assert worker.returncode == 130


def test_until_idle_stays_for_what_is_due_soon_and_no_longer(shell: Any) -> None:
    """Lost: a script that ends before its runs, or one that sleeps with them for two hours."""
    shell.write(NAPS, "naps.py")
    accepted("sleeps", "x", "long")
    assert shell.run("worker", "agents.py", "naps.py", "--until-idle").code == 0
    assert runs(shell) == {"long": "suspended"}
    accepted("naps", 0.5, "short")
    assert shell.run("worker", "agents.py", "naps.py", "--until-idle", "--wait", "30s").code == 0
    assert runs(shell) == {"short": "succeeded", "long": "suspended"}


def test_only_the_agents_that_were_named(shell: Any) -> None:
    """Lost: a worker with the old code of one agent could not be kept away from the runs of another."""
    accepted("shapes", [1], "mine")
    accepted("pays", "rent", "other")
    assert shell.run("worker", "agents.py:shapes", "--until-idle").code == 0
    assert runs(shell) == {"mine": "succeeded", "other": "ready"}


def test_what_the_command_line_says_of_a_tool_holds(shell: Any) -> None:
    """Lost: an operator's limit would hold in `run`, and not in the workers that do the work."""
    accepted("breaks", "home", "k")
    shell.run("worker", "agents.py", "--until-idle", "--policy", "flaky.retry.attempts=1")
    assert shell.call("show", "k", "--json").document["steps"][0]["attempts"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument"),
        (("missing.py",), "There is no file"),
        (("agents.py:nobody",), "pays, capped"),
        (("empty.py",), "It has none"),
        (("agents.py", "other.py"), "Two agents are called 'pays'"),
        (("agents.py", "--wait", "soon", "--until-idle"), "not understood"),
        (("agents.py", "--policy", "flaky.nothing=1"), "nothing"),
        (("agents.py", "--config", "missing.toml"), "cannot be read"),
        (("agents.py", "--store", "mysql://x"), "Accepted: sqlite"),
    ],
)
def test_a_wrong_call_is_2_and_says_what_to_write(shell: Any, arguments: tuple[str, ...], told: str) -> None:
    """Lost: a typing error in a unit file would end in a traceback, or in a worker that takes nothing."""
    shell.write("", "empty.py")
    shell.write(OTHER, "other.py")
    said = shell.call("worker", *arguments)
    assert said.code == 2 and said.out == ""
    assert told in said.err and "Traceback" not in said.err
    assert not Path("holdfast.db").exists()
