"""The entry point: what it loads, how it lists its verbs, and what an error becomes.

If these fail, `holdfast --help` takes as long as the whole runtime, or a user sees our traceback.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from holdfast.cli import __main__ as entry
from holdfast.cli.exit import Exit, code_of
from holdfast.errors import (
    BudgetExceeded,
    HistoryGrew,
    JournalCorrupt,
    LeaseLost,
    MessageRefused,
    NotFound,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunMismatch,
    RunStopped,
    RunWaiting,
    UsageError,
)

HEAVY = {"asyncio", "pydantic", "apsw", "rich", "typing_extensions", "holdfast.runtime", "holdfast.journal"}
VERBS = [name for name in entry.VERBS if name != "demo"]


ASKED = [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
LOADED = """
import json, os, sys
for arguments in json.loads(sys.argv[1]):
    if os.fork() == 0:
        from holdfast.cli.__main__ import command_line
        assert command_line(arguments) == 0
        print("loaded", *sys.modules, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, arguments
"""


def test_help_loads_nothing_heavy() -> None:
    """Without this, help and completion would take a second, and nobody would see why. Each has a process that has
    loaded nothing of ours before."""
    command = [sys.executable, "-c", LOADED, json.dumps(ASKED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^(Usage: holdfast|holdfast ).*?^loaded (.*?)$", done.stdout, re.MULTILINE | re.DOTALL)
    assert len(told) == len(ASKED)
    for arguments, (_, modules) in zip(ASKED, told, strict=True):
        assert HEAVY & set(modules.split()) == set(), arguments


def test_the_overview_names_every_verb_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Without this, a verb or a code would be known to those only who read the source."""
    assert entry.command_line(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +{re.escape(verb.help[:20])}", shown, re.M) for name, verb in entry.VERBS.items())
    assert all(re.search(rf"\b{code}  ", shown) for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 75, 130, 143))


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_of_the_table_is_what_it_says(verb: str) -> None:
    """Without this, the table could name a command that does not exist."""
    context = click.Context(entry.holdfast)
    command = entry.holdfast.get_command(context, verb)
    assert command is not None and command.name == verb
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_completion_knows_the_verbs(shell: Any) -> None:
    """Without this, completion would need a mechanism of our own, or load every verb."""
    said = shell.run(COMP_WORDS="holdfast re", COMP_CWORD="1", _HOLDFAST_COMPLETE="bash_complete")
    assert said.out == "plain,resume\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunFailed("x"), 1),
        (RunStopped("x"), 1),
        (UsageError("x"), 2),
        (RunMismatch("x"), 2),
        (MessageRefused("x"), 2),
        (click.BadParameter("x"), 2),
        (NotFound("x"), 3),
        (BudgetExceeded("x"), 4),
        (RunCancelled("x"), 6),
        (JournalCorrupt("x"), 7),
        (RunBlocked("x"), 8),
        (HistoryGrew("x"), 8),
        (RuntimeError("x"), 70),
        (RunWaiting("x"), 75),
        (LeaseLost("x"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_code(error: BaseException, code: int) -> None:
    """Without this, a script that looks at `$?` would do the wrong thing next."""
    assert code_of(error) == code


def test_a_bug_of_ours_is_words_and_a_code(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a user would get a traceback through our modules, or a script an exit code of a run."""

    def broken(name: str) -> Any:
        raise RuntimeError("a cog came off\x1b[2K")

    monkeypatch.setattr("holdfast.cli.doctor.address", broken)
    said = shell.call("doctor", "--json")
    assert said.code == said.document["exit"] == Exit.BUG
    assert "a cog came off⟨U+001B⟩[2K" in said.err and "HOLDFAST_DEBUG=1" in said.err and "Traceback" not in said.err


def test_a_wrong_verb_or_option_is_2(shell: Any) -> None:
    """Without this, click's own exit codes and forms would leak in beside ours."""
    assert shell.call("frobnicate").code == 2
    said = shell.call("ls", "--limit", "0", "--json")
    assert said.code == said.document["exit"] == 2 and "See `holdfast ls --help`." in said.err
    assert shell.call("ls", "--limit", "9" * 400).code == 2, "more than any store could be asked for"
    assert shell.call("show").code == 2


def test_a_reader_that_leaves_early_is_no_error(shell: Any) -> None:
    """Without this, `holdfast ls | head -1` would print a traceback or claim that a run failed."""
    assert shell.run("run", "agents.py:shapes", "x", "--key", "k").code == 0
    process = shell.start("show", "k", "--json")
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == ""


def test_colour_and_safe_results_on_a_terminal_only(shell: Any) -> None:
    """Without this, logs fill with escapes, or a result could repaint the terminal of whoever looks at it."""
    said = shell.run("run", "agents.py:shapes", r'"a\u001b[2Kb"', "--key", "k")
    assert said.out == "a\x1b[2Kb\n"
    assert "\x1b" not in shell.run("show", "k").out
    assert "\x1b[" in _on_a_terminal(shell.home, "show", "k")
    assert "\x1b[1m" in _on_a_terminal(shell.home, "ls") or "\x1b[" in _on_a_terminal(shell.home, "ls")
    assert "\x1b[3" not in _on_a_terminal(shell.home, "show", "k", NO_COLOR="1")
    shown = _on_a_terminal(shell.home, "run", "agents.py:shapes", r'"a\u001b[2Kb"', "--key", "k")
    assert "a⟨U+001B⟩[2Kb" in shown


def _on_a_terminal(home: Path, *arguments: str, **environment: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    given = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": os.environ["PATH"], **environment}
    command = [sys.executable, "-m", "holdfast.cli", *arguments]
    with subprocess.Popen(command, cwd=home, env=given, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux's word for the end of a terminal
            pass
        process.wait(20)
    os.close(ours)
    return shown.decode()
