"""Kills of a whole session: a sample, and bugs that they must find."""

from __future__ import annotations

from pathlib import Path

import pytest
from proof import session_kills
from proof.part import Plan, Seen
from tests.memory.swept import KILLED, Swept

SCALE = 3 / session_kills.KILLS
TWICE = """
from holdfast.memory import git, quarantine
once = git.Git.commit
def commit(self, message, trailers, tree=""):
    before = self.head().commit
    made = once(self, message, trailers, tree)
    if made == before:
        made = quarantine.commit_tree(self._repository, before + "^{tree}", [before], git.written(message, trailers))
        self._repository.call("update-ref", "HEAD", made, before)
    return made
git.Git.commit = commit
"""
"""A commit that was made, and of which nobody was told, is made again."""
WITHIN_A_CHECK = """
import os, signal, sys
from holdfast.core import unfinished
from holdfast.memory import checkout, git
made, at = git.Git.check_out, sys.argv[1]
def check_out(self, *where):
    found = made(self, *where)
    if at == "within a check":
        with open(os.environ["KILLED_POINTS"], "a") as file:
            file.write(at + "\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    return found
git.Git.check_out = check_out
"""
LIES = """
checkout._swept = lambda notes: None
unfinished._session = lambda session, live, facts: f"session {session.number} did something"
"""
"""Nobody removes what a kill has left, and the brief says of no session what it holds."""


@pytest.mark.timeout(240)
def test_killed_at_any_point_a_project_ends_whole(tmp_path: Path) -> None:
    """Lost: half a session. Code that nobody committed, a feature that nobody may take, or one that passes without its
    code."""
    seen = session_kills.run(Plan(tmp_path, scale=SCALE))
    assert seen.problems == []
    assert seen.lacks(session_kills.WANTED, SCALE) == []


@pytest.mark.timeout(240)
def test_a_commit_that_is_made_twice_is_found(tmp_path: Path) -> None:
    """Lost: the proof of the proof."""
    script = tmp_path / "killed.py"
    script.write_text(TWICE + f"import runpy\nrunpy.run_path({str(KILLED)!r}, run_name='__main__')\n", "utf-8")
    seen = Seen()
    session_kills.kill(Swept(tmp_path / "swept", script), "after git update-ref", seen)
    assert seen.counts["session_kills"] == 1
    assert any("committed:" in problem for problem in seen.problems), seen.problems


@pytest.mark.timeout(240)
@pytest.mark.parametrize("lies", ["", LIES])
def test_what_a_kill_within_a_check_leaves_is_found(tmp_path: Path, lies: str) -> None:
    """Lost: the proof of the proof. A checkout that stays on the disk, and half done work of nobody."""
    script = tmp_path / "killed.py"
    run = f"import runpy\nrunpy.run_path({str(KILLED)!r}, run_name='__main__')\n"
    script.write_text(WITHIN_A_CHECK + lies + run, "utf-8")
    seen = Seen()
    session_kills.kill(Swept(tmp_path / "swept", script), "within a check", seen)
    assert seen.counts["session_kills"] == 1
    found = [any(told in problem for problem in seen.problems) for told in ("left of checkouts", "does not say that")]
    assert found == [bool(lies)] * 2 and (lies or not seen.problems), seen.problems


def test_a_project_that_is_not_killed_counts_for_nothing(tmp_path: Path) -> None:
    """Lost: the count. A point that is never reached kills nobody."""
    seen = Seen()
    session_kills.kill(Swept(tmp_path), "before nothing at all", seen)
    assert not seen.counts and "was not killed" in seen.problems[0]
