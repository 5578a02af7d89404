"""`holdfast run`: its result, its exit codes, and every way in which it can be called wrongly."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

WITH_A_STEP = """
import asyncio
import holdfast as hf
from old import pay

@hf.agent
async def pays(run: hf.Run, what: str) -> str:
    paid = await asyncio.to_thread(pay, what)
    await run.ask("go on?")
    return paid
"""


def test_a_result_is_data_and_the_rest_is_not(shell: Any) -> None:
    """Without this, `$(holdfast run …)` would hold chatter, or a second call would pay again."""
    first = shell.run("run", "agents.py:pays", "rent", "--key", "k")
    assert (first.code, first.out) == (0, "seen paid rent\n")
    assert "begins" in first.err and "No budget was stated" in first.err
    again = shell.run("run", "agents.py:pays", "rent", "--key", "k")
    assert (again.code, again.out) == (0, first.out)
    assert "has ended already" in again.err
    assert Path("ledger").read_text() == "rent\n"


def test_json_is_one_document(shell: Any) -> None:
    """Without this, a script would have to read prose to learn what became of a run."""
    said = shell.run("run", "agents.py:shapes", '{"a": [1, null]}', "--key", "k", "--json")
    assert said.code == 0
    assert said.document["schema"] == 1
    assert said.document["result"] == {"a": [1, None]}
    assert said.document["run"]["status"] == "succeeded"


def test_what_an_agent_prints_does_not_mix_with_its_result(shell: Any) -> None:
    """Without this, one forgotten print() breaks every pipe behind `holdfast run`."""
    shell.write(
        "import holdfast as hf\nprint('loading')\n@hf.agent\n"
        "async def loud(run: hf.Run, x):\n    print('working')\n    return x\n"
    )
    said = shell.run("run", "agents.py", "3", "--key", "k")
    assert (said.code, said.out) == (0, "3\n")
    assert "loading" in said.err and "working" in said.err


def test_input_from_stdin_and_from_a_file(shell: Any) -> None:
    """Without this, long inputs would have to pass the command line, quoted."""
    shell.write("line one\nline two", "ticket.txt")
    assert shell.run("run", "agents.py:shapes", "@ticket.txt", "--key", "a").out == "line one\nline two\n"
    assert shell.run("run", "agents.py:shapes", "-", "--key", "b", input="[1, 2]").out == "[1, 2]\n"


def test_a_failure_is_shown_with_its_place_and_resume_tries_it_again(shell: Any) -> None:
    """Without this, a person would not learn where it failed, or a resume would repeat more than what failed."""
    failed = shell.run("run", "agents.py:breaks", "home", "--key", "k")
    assert failed.code == 1 and failed.out == ""
    assert "ConnectionError" in failed.err and "agents.py:" in failed.err and "Traceback" not in failed.err
    assert "holdfast resume k agents.py:breaks" in failed.err
    shell.write("", "mended")
    resumed = shell.run("resume", "k", "agents.py:breaks")
    assert (resumed.code, resumed.out) == (0, "held\n")
    assert "resumes after step" in resumed.err and "has ended already" not in resumed.err


def test_an_exhausted_budget_is_4_and_a_raise_goes_on(shell: Any) -> None:
    """Without this, a script could not tell "no money" from "broken", nor go on after paying."""
    stopped = shell.run("run", "agents.py:capped", "x", "--key", "k", "--json")
    assert stopped.code == stopped.document["exit"] == 4
    assert stopped.document["error"]["type"] == "BudgetExceeded"
    assert stopped.document["run"]["status"] == "stopped"
    posted = shell.call("resume", "k", "--raise", "tool_calls=+1", "--raise", "tool_calls=+2")
    assert posted.code == 0 and "Nobody drives the run now" in posted.err
    resumed = shell.run("run", "agents.py:capped", "x", "--key", "k")
    assert (resumed.code, resumed.out) == (0, "seen seen seen x\n")
    assert shell.call("show", "k", "--json").document["run"]["limits"]["tool_calls"] == 5


def test_a_budget_on_the_command_line_holds(shell: Any) -> None:
    """Without this, --budget would be decoration."""
    assert shell.run("run", "agents.py:pays", "x", "--key", "k", "--budget", "tool_calls=1").code == 4
    assert shell.run("resume", "k", "agents.py:pays", "--raise", "tool_calls=+9").code == 0


def test_a_question_is_5_and_the_answer_goes_on(shell: Any) -> None:
    """Without this, nobody would learn that a run waits for them, or the answer would be lost."""
    asked = shell.run("run", "agents.py:asks", "go", "--key", "k")
    assert asked.code == 5
    assert "holdfast answer" in asked.err and "Really go?" in asked.err
    assert "holdfast run agents.py:asks go --key k" in asked.err
    assert shell.call("answer", "k", "yes", "--by", "ann").code == 0
    done = shell.run("run", "agents.py:asks", "go", "--key", "k")
    assert (done.code, done.out) == (0, '{"by": "ann", "said": "yes"}\n')


def test_doubt_is_8_and_a_person_settles_it(shell: Any) -> None:
    """Without this, an effect that may have happened would be repeated or dropped."""
    assert shell.run("run", "agents.py:doubts", "x", "--key", "k").code == 8
    wrong = shell.call("answer", "k", "it_did_not", "--result", "1")
    assert wrong.code == 2 and "it_happened" in wrong.err
    assert shell.call("answer", "k", "it_happened", "--result", "{oops").code == 2
    assert shell.call("answer", "k", "it_happened", "--result", '"R-17"').code == 0
    done = shell.run("run", "agents.py:doubts", "x", "--key", "k")
    assert (done.code, done.out) == (0, "R-17\n")
    step = shell.call("show", "k", "--json").document["steps"][0]
    assert step["status"] == "succeeded" and step["served"].startswith("person ")


def test_an_abort_by_a_person_is_6(shell: Any) -> None:
    """Without this, "somebody decided against it" would look like a failure to be tried again."""
    assert shell.run("run", "agents.py:doubts", "x", "--key", "k").code == 8
    assert shell.call("answer", "k", "abort").code == 0
    assert shell.run("run", "agents.py:doubts", "x", "--key", "k").code == 6


def test_a_cancel_is_6(shell: Any) -> None:
    """Without this, a cancelled run would go on when somebody repeats its command."""
    assert shell.run("run", "agents.py:sleeps", "x", "--key", "k").code == 75
    assert shell.call("cancel", "k", "--why", "no need", "--by", "ann").code == 0
    assert "cancel" in shell.call("show", "k").out
    said = shell.run("run", "agents.py:sleeps", "x", "--key", "k")
    assert said.code == 6 and "cancelled by ann: no need" in said.err
    assert shell.call("cancel", "k").code == 2


def test_a_long_sleep_is_75_and_says_until_when(shell: Any) -> None:
    """Without this, a script could not tell "later" from "never"."""
    said = shell.run("run", "agents.py:sleeps", "x", "--key", "k", "--json")
    assert said.code == 75 and "It is due at " in said.err
    assert said.document["error"]["type"] == "RunWaiting" and said.document["run"]["why"] == "sleep"


def test_changed_code_is_8_and_the_old_code_goes_on(shell: Any) -> None:
    """Without this, a run would go on by guess after its code lost a step that has an effect on record."""
    shell.write(WITH_A_STEP, "two.py")
    (shell.home / "old.py").write_text((shell.home / "agents.py").read_text())
    assert shell.run("run", "two.py:pays", "x", "--key", "k").code == 5
    assert shell.call("answer", "k", "yes").code == 0
    shell.write(WITH_A_STEP.replace("paid = await", "return 'skipped'\n    paid = await"), "two.py")
    blocked = shell.run("run", "two.py:pays", "x", "--key", "k")
    assert blocked.code == 8 and "Go on with: holdfast resume k two.py:pays" in blocked.err
    assert shell.call("show", "k").out.startswith("Blocked since ")
    assert shell.call("ls", "--json").document["runs"][0]["needs_you"]
    shell.write(WITH_A_STEP, "two.py")
    assert shell.run("resume", "k", "two.py:pays").code == 0
    assert Path("ledger").read_text() == "x\n"


def test_two_processes_on_one_run_and_the_second_is_told_who_holds_it(shell: Any) -> None:
    """Without this, the second would pay too, or wait without a word."""
    shell.pipe("pay")
    first = shell.start("run", "agents.py:pays", "rent", "--key", "k")
    shell.await_entry("pay")
    second = shell.run("run", "agents.py:pays", "rent", "--key", "k", "--wait", "0")
    assert second.code == 75 and f"pid {first.pid}" in second.err
    assert shell.call("show", "k").out.startswith("Running: step 2 `pay`")
    shell.let_go("pay")
    out, _ = first.communicate(timeout=20)
    assert (first.returncode, out) == (0, "seen paid rent\n")
    assert Path("ledger").read_text() == "rent\n"


def test_an_answer_from_elsewhere_reaches_a_parked_run(shell: Any) -> None:
    """Without this, a run that stays for its answer would miss it, or never say how to answer."""
    parked = shell.start("run", "agents.py:asks", "go", "--key", "k", WITHIN="50s")
    assert any("holdfast answer" in line for line in iter(parked.stderr.readline, ""))
    answered = shell.call("answer", "k", "no", "--by", "bob", "--json")
    told = (f"pid {parked.pid}", "ended: succeeded")  # it may have been faster than whoever answered
    assert answered.code == 0 and any(text in answered.err for text in told)
    out, _ = parked.communicate(timeout=20)
    assert (parked.returncode, out) == (0, '{"by": "bob", "said": "no"}\n')


# --- called wrongly ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("agents.py:nobody", "x", "--key", "k"), "pays, capped"),
        (("agents.py:look", "x", "--key", "k"), "is no agent"),
        (("agents.py", "x", "--key", "k"), "7 agents; say which"),
        (("missing.py:pays", "x", "--key", "k"), "There is no file"),
        (("agents:pays", "x", "--key", "k"), "Write FILE.py:AGENT"),
        (("agents.py:pays", "x"), "--key"),
        (("agents.py:pays", "x", "--key", ""), "cannot name a run"),
        (("agents.py:pays", "x", "--key", "a\nb"), "cannot name a run"),
        (("agents.py:pays", "x", "--key", "k" * 201), "cannot name a run"),
        (("agents.py:pays", "@missing", "--key", "k"), "cannot be read"),
        (("agents.py:pays", "x", "--key", "k", "--wait", "soon"), "not understood"),
        (("agents.py:pays", "x", "--key", "k", "--budget", "euro=1"), "not understood"),
        (("agents.py:pays", "x", "--key", "k", "--budget", "tokens=many"), "is no count"),
        (("agents.py:pays", "x", "--key", "k", "--budget", "tokens=-1"), "not negative"),
        (("agents.py:pays", "x", "--key", "k", "--store", "mysql://x"), "Accepted: sqlite"),
        (("agents.py:pays", "x", "--key", "k", "--config", "missing.toml"), "cannot be read"),
        (("agents.py:pays", "x", "--key", "k", "--verbose"), "--verbose"),
    ],
)
def test_a_wrong_call_is_2_and_says_what_to_write(shell: Any, arguments: tuple[str, ...], told: str) -> None:
    """Without this, a typing error would end in a traceback, or start something."""
    said = shell.call("run", *arguments)
    assert said.code == 2 and said.out == ""
    assert told in said.err and "Traceback" not in said.err
    assert not Path("holdfast.db").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import holdfast\n\nx = (\n", "agents.py:3: SyntaxError"),
        ("import holdfast\n\n1 / 0\n", "agents.py:3: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found\n", "agents.py:1: ModuleNotFoundError"),
        ("import sys\nsys.exit('not today')\n", "agents.py:2: SystemExit: not today"),
        ("import neighbour\n", "neighbour.py:2: KeyError"),
        (
            "import holdfast as hf\n\n@hf.tool(retry=hf.Retry(attempts=None))\ndef f(): ...\n",
            "agents.py:3: PolicyInvalid",
        ),
        ("import holdfast as hf\n\n@hf.agent\ndef pays(run): ...\n", "agents.py:3: UsageError"),
    ],
)
def test_an_error_in_the_users_file_is_told_with_its_line(shell: Any, source: str, told: str) -> None:
    """Without this, the reader would search for their mistake in a traceback through our code."""
    shell.write("x = {}\nx['no']\n", "neighbour.py")
    shell.write(source)
    said = shell.run("run", "agents.py:pays", "x", "--key", "k")
    assert said.code == 2 and said.out == ""
    assert told in said.err and "Traceback" not in said.err


def test_debug_shows_the_traceback(shell: Any) -> None:
    """Without this, nobody could find out more about an error that was put into one line."""
    shell.write("1 / 0\n")
    assert "Traceback" in shell.run("run", "agents.py:pays", "x", "--key", "k", HOLDFAST_DEBUG="1").err


def test_the_same_key_with_another_input_shows_both(shell: Any) -> None:
    """Without this, a reused key would silently give another ticket's result."""
    assert shell.run("run", "agents.py:shapes", "first", "--key", "k").code == 0
    said = shell.run("run", "agents.py:shapes", "second", "--key", "k")
    assert said.code == 2 and '"first"' in said.err and '"second"' in said.err
    other = shell.run("run", "agents.py:pays", "first", "--key", "k")
    assert other.code == 2 and "'shapes'" in other.err and "'pays'" in other.err


def test_a_result_that_cannot_be_written_fails_the_run(shell: Any) -> None:
    """Without this, a run would succeed with a result that its record does not hold."""
    said = shell.run("run", "agents.py:shapes", "unwritable", "--key", "k")
    assert said.code == 1 and "Unencodable" in said.err


def _foreign(path: Path) -> None:
    path.write_text("Dear diary, today I have seen a database. It was not mine. " * 10)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "told"), [(_foreign, "no holdfast store"), (_newer, "Upgrade"), (_truncated, "damage")]
)
def test_an_unwell_store_is_7(shell: Any, spoil: Any, told: str) -> None:
    """Without this, a damaged or foreign file would be written to, or its damage shown as an empty list."""
    store = shell.home / "holdfast.db"
    assert shell.run("run", "agents.py:shapes", "x", "--key", "k").code == 0
    spoil(store)
    before = store.read_bytes()
    for said in (shell.call("ls"), shell.call("show", "k"), shell.call("doctor"), shell.call("answer", "k", "yes")):
        assert said.code == 7 and told in said.err + said.out
    run = shell.run("run", "agents.py:shapes", "x", "--key", "k", "--json")
    assert run.code == run.document["exit"] == 7 and "Traceback" not in run.err
    assert store.read_bytes() == before
