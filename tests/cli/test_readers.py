"""`ls`, `show`, `answer`, `cancel`, `resume` and `doctor` on a store: whom they mean, what they say, their codes.

If these fail, people and scripts that look after runs act on the wrong run or on a wrong picture.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.cli.store import address
from holdfast.core.breaker import BREAKER
from holdfast.core.health import Said
from holdfast.errors import RunFailed, UsageError
from holdfast.journal.open import open_journal
from holdfast.runtime.breakers import Breakers
from holdfast.runtime.clock import SystemClock

STEP_FIELDS = {"name", "kind", "effect", "status", "attempts", "served", "address"}


@hf.agent
async def asks(run: hf.Run, options: list[str]) -> list[Any]:
    """Asks one question for each option, all at once."""
    answers = await asyncio.gather(*(run.ask(f"take {o}?\n", options=(o,), name=o) for o in options))
    return [answer.value for answer in answers]


@hf.agent
async def echoes(run: hf.Run, given: Any) -> Any:
    """Gives back what it got."""
    await run.note("seen")
    return given


def begin(agent: Any, given: Any, key: str) -> None:
    """Run it in this process until it ends or waits."""
    app = hf.App("sqlite:///holdfast.db", settings=hf.Settings(quiet_s=0.01))
    try:
        app.run_sync(agent, given, key=key, wait=0)
    except hf.errors.RunWaiting:
        pass


def test_without_a_store_readers_are_3_and_make_none(shell: Any) -> None:
    """Without this, looking at the wrong place would leave empty stores behind and show "no runs"."""
    for arguments in (("ls",), ("show", "k"), ("answer", "k", "yes"), ("cancel", "k"), ("resume", "k")):
        said = shell.call(*arguments)
        assert said.code == 3 and "There is no store" in said.err
    said = shell.call("doctor")
    assert said.code == 0 and "no store yet" in said.out
    assert list(shell.home.glob("*.db*")) == []


def test_a_run_is_found_by_key_id_and_unique_beginning(shell: Any) -> None:
    """Without this, a message would reach another run than the one that was meant."""
    for key in ("a", "b", "run_"):
        begin(echoes, 1, key)
    runs = {run["key"]: run["id"] for run in shell.call("ls", "--json").document["runs"]}
    for name in ("a", runs["a"], runs["a"][:12], runs["a"].removeprefix("run_")[:8]):
        assert shell.call("show", name, "--json").document["run"]["id"] == runs["a"]
    assert shell.call("show", "run_", "--json").document["run"]["id"] == runs["run_"], "a key comes before a beginning"
    several = shell.call("show", "run")
    assert several.code == 3
    unknown = shell.call("show", "zzz", "--json")
    assert unknown.code == unknown.document["exit"] == 3 and unknown.document["error"]["type"] == "NotFound"
    assert shell.call("show", "").code == 2


def test_an_ambiguous_beginning_lists_the_candidates(shell: Any) -> None:
    """Without this, the newest of several runs would be taken without a word."""
    for number in range(40):  # 32 letters: two of these ids begin alike
        begin(echoes, 1, f"key-{number}")
    ids = [run["id"] for run in shell.call("ls", "--json", "--limit", "99").document["runs"]]
    first = [name[4] for name in ids]
    twice = next(letter for letter in first if first.count(letter) > 1)
    said = shell.call("show", f"run_{twice}")
    assert said.code == 2 and said.err.count("run_") > 2


def test_ls_puts_first_who_needs_you(shell: Any) -> None:
    """Without this, a run that waits for a person would scroll away under those that are done."""
    begin(asks, ["yes"], "waits")
    begin(echoes, 1, "done")
    listed = shell.call("ls", "--json").document
    assert listed["schema"] == 1
    assert [(run["key"], run["needs_you"]) for run in listed["runs"]] == [("waits", True), ("done", False)]
    assert [run["key"] for run in shell.call("ls", "--json", "--limit", "1").document["runs"]] == ["waits"]
    only = shell.call("ls", "--json", "--status", "succeeded").document["runs"]
    assert [run["key"] for run in only] == ["done"]
    table = shell.call("ls").out.splitlines()
    assert table[0].split() == ["id", "status", "agent", "key", "age", "spent"]
    assert "take yes?\\n" in table[1] and "succeeded" in table[2]
    assert shell.call("ls", "--status", "odd").code == 2


def test_show_is_the_documented_shape(shell: Any) -> None:
    """Without this, programs that read `show --json` break with a release."""
    begin(echoes, {"n": 1}, "k")
    shown = shell.call("show", "k", "--json").document
    assert list(shown) == ["schema", "run", "steps", "questions", "notes", "drift", "decisions", "suspended"]
    assert shown["schema"] == 1 and shown["notes"] == ["seen"] and shown["suspended"] is None
    run = shown["run"]
    assert {"id", "key", "agent", "status", "why", "result", "failure", "usage", "limits"} <= run.keys()
    assert (run["status"], run["result"], run["failure"]) == ("succeeded", {"n": 1}, None)
    assert run["usage"].keys() == {"tool_calls", "model_calls", "tokens", "usd", "reserved"}
    assert [(step["kind"], step["status"]) for step in shown["steps"]] == [("note", "succeeded")]
    assert shown["steps"][0].keys() >= STEP_FIELDS


def test_show_in_words_begins_with_the_verdict_and_says_how_to_answer(shell: Any) -> None:
    """Without this, a person would have to find out from a table what they are asked for."""
    begin(asks, ["yes\x1b[2K"], "k")
    said = shell.call("show", "k").out
    assert said.startswith("Waiting for a person since ")
    assert "holdfast answer run_" in said and "\x1b" not in said and "⟨U+001B⟩" in said


def test_show_of_a_run_that_nobody_has_begun(shell: Any) -> None:
    """Without this, an accepted run would be missing or break `show` until a worker takes it."""

    async def accept_only() -> None:
        from holdfast.core import accept, address
        from holdfast.journal.open import open_journal
        from holdfast.runtime.clock import SystemClock

        journal = open_journal("holdfast.db", clock=SystemClock().now)
        message = accept.start(agent="echoes", key="k", input_digest="d", limits=None, body=b"1")
        journal.post(address.run_id(journal.hash_key, "default", "k"), "m", message)
        journal.close()

    asyncio.run(accept_only())
    assert shell.call("show", "k").out.startswith("Accepted; no worker has begun it.")
    assert shell.call("show", "k", "--json").document["run"]["status"] == "ready"


def test_several_questions_need_a_name(shell: Any) -> None:
    """Without this, an answer could go to the wrong question."""
    begin(asks, ["yes", "no"], "k")
    asked = {q["text"]: q["id"] for q in shell.call("show", "k", "--json").document["questions"]}
    which = shell.call("answer", "k", "no")
    assert which.code == 2 and all(name in which.err for name in asked.values())
    assert shell.call("answer", "k", "no", "--question", "q_none").code == 3
    assert shell.call("answer", "k", "no", "--question", asked["take yes?\n"]).code == 2, "no option of that question"
    taken = shell.call("answer", "k", "no", "--question", asked["take no?\n"][2:9], "--by", "ann", "--json")
    assert taken.code == 0 and taken.document["question"] == asked["take no?\n"]
    late = shell.call("answer", "k", "no", "--question", asked["take no?\n"])
    assert late.code == 2 and "by ann" in late.err


def test_answer_without_a_value_lists_and_answers_nothing(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a person would have to guess the options, or a script would wait for input."""
    begin(asks, ["yes"], "k")
    assert shell.call("answer", "k").code == 2
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    listed = shell.call("answer", "k")
    assert listed.code == 0 and "take yes?" in listed.out and " yes" in listed.out
    assert len(shell.call("answer", "k", "--json").document["questions"]) == 1
    begin(echoes, 1, "done")
    nothing = shell.call("answer", "done", "yes")
    assert nothing.code == 3 and "no open question" in nothing.err


def test_resume_and_cancel_refuse_what_cannot_count(shell: Any) -> None:
    """Without this, a message that changes nothing would be taken for one that does."""
    begin(echoes, 1, "done")
    begin(asks, ["yes"], "waits")
    assert shell.call("resume", "done").code == 2
    assert shell.call("cancel", "done").code == 2
    waits = shell.call("resume", "waits")
    assert waits.code == 2 and "waits for an answer" in waits.err
    assert shell.call("resume", "waits", "--raise", "euro=+1").code == 2
    assert shell.call("resume", "waits", "--raise", "tokens=+5", "--wait", "soon").code == 2
    assert shell.call("resume", "waits", "--raise", "tokens=+5", "--json").document["run"]["key"] == "waits"
    other = shell.run("resume", "waits", "agents.py:pays")
    assert other.code == 2 and "belongs to agent 'asks'" in other.err


def test_stray_bytes_on_the_command_line_are_no_bug(shell: Any) -> None:
    """Without this, a name in another encoding would end in a traceback, or make the run's record unreadable."""
    begin(asks, ["yes"], "k")
    stray = b"caf\xe9".decode("utf-8", "surrogateescape")
    for arguments in (("show", stray), ("answer", "k", stray), ("resume", "k", stray), ("ls", "--store", stray)):
        said = shell.call(*arguments)
        assert said.code in (2, 3) and "bug" not in said.err, said
    assert shell.call("cancel", "k", "--why", stray, "--by", stray).code == 0
    assert "unread messages: cancel" in shell.call("show", "k").out


def test_doctor_lists_what_is_not_called(shell: Any) -> None:
    """Lost: an operator who asks why every run degrades is told that all is well."""
    clock = SystemClock()
    journal = open_journal("holdfast.db", clock=clock.now)
    shut = Breakers(journal, clock)
    for n in range(5):
        shut.observed("lookup", BREAKER, n, Said.LATE, "TimeoutError")
    shut.observed("other", BREAKER, 1, Said.LATE, "TimeoutError")
    journal.close()
    (listed,) = shell.call("doctor", "--json").document["breakers"]
    assert listed["tool"] == "lookup" and round(listed["until"] - listed["since"]) == 30
    assert "lookup is not called until" in shell.call("doctor").out


def test_doctor_reports_facts_and_problems(shell: Any) -> None:
    """Without this, a store that others can read, or that is damaged, would look well."""
    begin(echoes, 1, "k")
    well = shell.call("doctor", "--json")
    assert well.code == 0 and well.document["problems"] == []
    assert well.document["versions"].keys() == {"holdfast", "python", "sqlite", "apsw", "platform"}
    assert well.document["store"]["runs"] == {"succeeded": 1}
    assert [account["account"] for account in well.document["accounts"]] == ["day", "total"]
    assert "All is well." in shell.call("doctor").out
    Path("holdfast.db").chmod(0o644)
    unwell = shell.call("doctor")
    assert unwell.code == 7 and "chmod 600" in unwell.out


def test_the_store_is_named_by_flag_environment_file_or_default(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a command would look into another store than the one its directory is set up for."""
    assert address(None) == "sqlite:///holdfast.db"
    shell.write('[tool.holdfast]\nstore = "project.db"\n', "pyproject.toml")
    assert address(None) == "project.db"
    shell.write('[holdfast]\nstore = "own.db"\n', "holdfast.toml")
    assert address(None) == "own.db"
    monkeypatch.setenv("HOLDFAST_STORE", "environment.db")
    assert address(None) == "environment.db"
    assert address("flag.db") == "flag.db"
    monkeypatch.delenv("HOLDFAST_STORE")
    for wrong in ("[holdfast]\nstore = 3\n", "[holdfast\n"):
        shell.write(wrong, "holdfast.toml")
        with pytest.raises(UsageError):
            address(None)


def test_no_reader_writes_json_that_a_terminal_obeys(shell: Any) -> None:
    """Without this, `holdfast show --json` on a terminal would obey what a model wrote."""
    begin(echoes, "\x1b]0;owned\x07 \u202e \U000e0041", "k")
    said = shell.call("show", "k", "--json")
    assert all(character.isprintable() for line in said.out.splitlines() for character in line)
    assert json.loads(said.out)["run"]["result"] == "\x1b]0;owned\x07 \u202e \U000e0041"


@hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0, wait_max=0))
async def falls(what: str) -> str:
    """Never holds."""
    raise ConnectionError(f"no route\x1b[2K to {what}")


@hf.agent
async def breaks(run: hf.Run, what: str) -> str:
    """Asks for what fails."""
    return await falls(what)


def test_show_tells_of_a_failed_run_what_was_decided_and_why(shell: Any) -> None:
    """Without this, an operator sees that a run has failed, and not what was tried and why it was given up."""
    with pytest.raises(RunFailed):
        begin(breaks, "x", "bad")
    begin(echoes, 1, "well")
    lines = shell.call("show", "bad").out.splitlines()
    told = lines[lines.index("decisions") + 1 :]
    assert [line.split("Z  ")[1].split()[0] for line in told] == ["start", "retry", "give", "end"]
    assert all("; because: " in line for line in told) and "attempt 1 of 2" in told[1] and "attempt 2 of 2" in told[2]
    assert "⟨U+001B⟩" in told[1] and "\x1b" not in "".join(told)
    assert "decisions" not in shell.call("show", "well").out
    assert "start" in shell.call("show", "well", "--decisions").out
    found = shell.call("show", "bad", "--json").document["decisions"]
    assert [item["what"] for item in found] == ["start", "retry", "give up", "end"]
    assert found[-1]["because"] and all(item["at"] > 0 for item in found)
