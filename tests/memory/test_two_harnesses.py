"""Two processes that drive one project, each in a working tree of its own: never the same feature at the same time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests import warm
from tests.memory.sessions import Built, git, listed, repository

from holdfast.core.board import CLAIM, ENDED

NAMES = [f"f{number}" for number in range(6)]
AGENT = """
import holdfast as hf

@hf.agent(budget=hf.Budget(tool_calls=500))
async def build(run: hf.Run, session: hf.Session) -> None:
    await run.sleep("0.05s")
    (session.directory / f"{session.feature.id}.txt").write_text(str(session.number))
"""


def command() -> list[str]:
    """As it is typed."""
    return [sys.executable, "-m", "holdfast.cli", "project", "run", "../agent.py:build", "--json"]


def started(tree: Path) -> subprocess.Popen[str]:
    """A harness in this tree."""
    return warm.start(command(), cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def claims(project: Built) -> list[tuple[str, str, str]]:
    """What the log says, in order: (what, run, feature); a claim that was refused is none."""
    events = project.alone(lambda opened: opened.journal.events(opened.record.id))
    told = [event.facts for event in events if event.kind == "Decided"]
    kept = [facts for facts in told if facts["what"] in (CLAIM, ENDED) and "refused" not in facts]
    return [(facts["what"], facts["session"], facts.get("feature", "")) for facts in kept]


def test_two_processes_never_work_on_the_same_feature(tmp_path: Path) -> None:
    """Lost otherwise: the money of one of them, and a merge that nobody can make."""
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    first = repository(tmp_path / "first")
    project = Built(first, listed(*NAMES))
    git(first, "worktree", "add", "-q", "-b", "other", str(tmp_path / "second"))
    both = [started(first), started(tmp_path / "second")]
    told = [process.communicate(timeout=120) for process in both]
    assert {process.returncode for process in both} == {75}, told
    held: dict[str, str] = {}
    worked: list[str] = []
    for what, run, feature in claims(project):
        if what == ENDED:
            held.pop(run, None)
            continue
        assert feature not in held.values(), (feature, held)
        held[run] = feature
        worked.append(feature)
    assert sorted(worked) == NAMES and not held
    assert {json.loads(out)["end"] for out, _ in told} <= {"unmerged", "nothing"}, told
    made = [sorted(path.stem for path in tree.glob("f*.txt")) for tree in (first, tmp_path / "second")]
    assert sorted(made[0] + made[1]) == NAMES and all(made), f"one of them did everything: {made}"
    unmerged = warm.run(command(), cwd=first, timeout=60)
    assert unmerged.returncode == 75 and "git merge other" in unmerged.stderr
    git(first, "merge", "-q", "-m", "together", "other")
    merged = warm.run(command(), cwd=first, timeout=60)
    assert merged.returncode == 0 and json.loads(merged.stdout)["sessions"] == 0


def test_two_processes_in_one_tree_do_not_work_at_the_same_time(tmp_path: Path) -> None:
    """Lost otherwise: whose change is whose. One of them drives the session; the other waits, or goes away."""
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    tree = repository(tmp_path / "tree")
    project = Built(tree, listed(*NAMES[:3]))
    both = [started(tree), started(tree)]
    told = [process.communicate(timeout=120) for process in both]
    assert {process.returncode for process in both} <= {0, 75} and 0 in [p.returncode for p in both], told
    open_ones: set[str] = set()
    for what, run, _ in claims(project):
        if what == CLAIM:
            assert not open_ones, "two sessions at once in one tree"
            open_ones.add(run)
        else:
            open_ones.discard(run)
    assert set(project.states().values()) == {"passing"} and git(tree, "status", "--porcelain") == ""
    assert len(git(tree, "log", "--format=%s").splitlines()) == 4


DIES = (
    AGENT
    + """
    if session.directory.name == "second":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_what_a_dead_session_of_a_removed_tree_holds_is_given_back_by_one_command(tmp_path: Path) -> None:
    """Lost otherwise: a feature, as long as nobody knows the command; and the command, when nobody carries it out."""
    (tmp_path / "agent.py").write_text(DIES, "utf-8")
    first, second = repository(tmp_path / "first"), tmp_path / "second"
    project = Built(first, listed("one"))
    git(first, "worktree", "add", "-q", "-b", "other", str(second))

    def typed(tree: Path, *words: str) -> tuple[int, str]:
        done = warm.run(words, cwd=tree, timeout=60)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def holdfast(*words: str) -> str:
        return typed(first, sys.executable, "-m", "holdfast.cli", *words)[1]

    asked = "`holdfast cancel sample/session-1` gives one back"
    assert typed(second, *command())[0] == -9
    assert "`holdfast project run` there goes on with it" in holdfast("project", "brief")
    assert asked not in holdfast("project", "brief")
    shutil.rmtree(second)
    assert asked in holdfast("project", "brief") and asked in holdfast("project", "status")
    assert "held by session 1" in typed(first, *command())[1]
    assert "is to be cancelled" in holdfast("cancel", "sample/session-1")
    assert typed(first, *command())[0] == 0
    ended = [(each.outcome, each.feature) for each in project.board.ended]
    assert ended == [("cancelled", "one"), ("passed", "one")]
