"""`holdfast project brief` and `status`, also after a session whose process was killed in the middle of an effect."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cli.conftest import Shell

from holdfast.core.excerpt import TOKENS_MIN
from holdfast.core.feature import digest, features
from holdfast.core.verdict import Result, judged
from holdfast.journal.open import open_journal
from holdfast.memory.place import place_of, write_name
from holdfast.memory.record import ProjectRecord
from holdfast.runtime.clock import SystemClock

LISTED = features(
    [
        {"id": "add", "description": "adds\x1b[2J", "check": "command:python calc.py"},
        {"id": "sub", "description": "subtracts", "check": "pytest:tests/test_sub.py"},
    ]
)
FAILED = [Result(True, False, "ended with code 1", 1)] * 2


def store(home: Path) -> str:
    """The project's."""
    return f"sqlite:///{home}/.git/holdfast/holdfast.db"


@contextmanager
def recorded(home: Path) -> Iterator[ProjectRecord]:
    """The project's record, its store open meanwhile."""
    journal = open_journal(store(home), clock=SystemClock().now)
    try:
        yield ProjectRecord(journal, "calc", clock=SystemClock())
    finally:
        journal.close()


@pytest.fixture
def home(shell: Shell) -> Path:
    """A directory with a project of two features."""
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run([*command, *words], cwd=shell.home, check=True)
    (shell.home / ".git" / "holdfast").mkdir()
    write_name(place_of(shell.home), "calc", store(shell.home))
    with recorded(shell.home) as record:
        record.freeze(LISTED, by="ada", digest=digest(LISTED))
    return shell.home


def test_a_session_that_was_killed_in_an_effect(shell: Shell, home: Path) -> None:
    """The next agent would pay again, or take it for paid."""
    with recorded(home) as record:
        session = record.begin(place_of(home).id, message_id="b", by="pid 7")
        assert record.claim(session.run, "sub", message_id="c") == ""
    shell.pipe("pay")
    process = shell.start("run", "agents.py:pays", "K-17", "--key", "calc/session-1", "--store", store(home))
    shell.await_entry("pay")
    alive = shell.call("project", "brief").out
    assert "its process lives" in alive and "in doubt" not in alive
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = shell.run("project", "brief")
    assert told.code == 0 and told.err == ""
    assert 'in doubt since session 1: nobody knows whether "pay' in told.out and "K-17" in told.out
    assert "- session 1 holds sub" in told.out and "its process is gone" in told.out
    assert "- feature sub: session 1 has begun it here" in told.out
    found = shell.call("project", "brief", "--json").document
    assert found["sessions"][0]["hold"] == "gone" and "pay" in str(found["sessions"][0]["digest"]["under_way"])


def test_a_directory_is_enough(shell: Shell, home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A process that has only the directory would have to be told of the store."""
    elsewhere = shell.home / "elsewhere"
    elsewhere.mkdir()
    told = shell.call("project", "brief", "-C", str(elsewhere), "--tokens", str(TOKENS_MIN))
    assert told.code == 0 and "0 of 2 features pass, 2 open." in told.out
    assert len(told.out.encode()) <= TOKENS_MIN * 3 + 1
    assert "\x1b" not in told.out


def test_too_few_tokens_are_refused(shell: Shell, home: Path) -> None:
    """A brief without what is next is none."""
    assert shell.call("project", "brief", "--tokens", str(TOKENS_MIN - 1)).code == 2


@pytest.mark.parametrize("verb", ["brief", "status"])
def test_where_there_is_no_project_it_is_said_what_to_do(shell: Shell, verb: str) -> None:
    """Lost: the exit code by which a script knows, and the way on."""
    told = shell.call("project", verb)
    assert told.code == 3 and "holdfast project init" in told.err and told.out == ""
    assert shell.call("project", verb, "--json").document["exit"] == 3


def test_status_is_each_feature_with_its_evidence(shell: Shell, home: Path) -> None:
    """A person could not tell what is done from what is said to be."""
    with recorded(home) as record:
        run = record.begin(place_of(home).id, message_id="b", by="pid 7").run
        record.claim(run, "sub", message_id="c")
        record.evidence(
            run, "sub", verdict=judged(FAILED), results=FAILED, commit="c0ffee" * 6, tree="t", message_id="e"
        )
    told = shell.call("project", "status")
    assert told.code == 0 and "0 of 2 features pass" in told.out and "░" in told.out
    line = next(line for line in told.out.splitlines() if line.startswith("sub"))
    assert "open" in line and "ended with code 1, 2 times" in line and "session 1" in line and "c0ffee" in line
    assert "⟨U+001B⟩" in told.out and "\x1b" not in told.out
    found = shell.call("project", "status", "--json").document
    assert [feature["id"] for feature in found["features"]] == ["add", "sub"]
    assert found["features"][1]["held_by"] == 1 and found["features"][1]["proof"]["passed"] is False
    assert found["project"]["next"] == "sub" and found["schema"] == 1


def test_the_verbs_are_listed(shell: Shell) -> None:
    """Nobody would find them."""
    told = shell.call("project", "--help")
    assert told.code == 0 and "brief" in told.out and "status" in told.out
