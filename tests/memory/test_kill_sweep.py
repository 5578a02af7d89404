"""A whole session, killed at each of its points: start routine, work, check, commit, notes, end. Real processes, git
and store; what the project says is compared with what is in the tree."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import warm

KILLED = Path(__file__).with_name("killed.py")
AGENT = """
import holdfast as hf

@hf.tool(effect="idempotent", hidden=("directory",))
async def write(path: str, text: str, directory: object = None) -> str:
    (directory / path).write_text(text)
    return "written"

@hf.agent(budget=hf.Budget(tool_calls=200))
async def build(run: hf.Run, session: hf.Session) -> None:
    name = session.feature.id
    await write(f"{name}.draft", "half", directory=session.directory)
    await write(f"{name}.txt", name, directory=session.directory)
    await session.note(f"{name} was easy")
    assert await session.done()
"""
FEATURES = [
    {"id": "one", "description": "the first", "check": "command:test -f one.txt", "priority": 1},
    {"id": "two", "description": "the second", "check": "command:test -f two.txt"},
]
FEW, MANY = 4, int(os.environ.get("HOLDFAST_SWEEP", "40"))
"""Points that are tried, here and by the proof; more than there are: each of them."""


def parts(number: int) -> list[float]:
    """Where they are, of the whole way: each in a part of its own, all as long, and somewhere in it."""
    return [(at + random.Random(11 + at).random()) / number for at in range(number)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nobody has worked on."""
    home = tmp_path_factory.mktemp("prepared")
    tree = home / "tree"
    tree.mkdir()
    (home / "agent.py").write_text(AGENT, "utf-8")
    (home / "features.json").write_text(json.dumps(FEATURES), "utf-8")
    (tree / "readme.txt").write_text("a project\n", "utf-8")
    git(tree, "init", "-q", "-b", "main")
    git(tree, "config", "user.name", "test")
    git(tree, "config", "user.email", "test@example.com")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "begin")
    return home


def git(tree: Path, *words: str) -> str:
    """One git command."""
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def holdfast(home: Path, *words: str, at: int = 0) -> subprocess.CompletedProcess[str]:
    """One command, killed at its point `at`."""
    environment = {**os.environ, "KILLED_POINTS": str(home / "points")}
    command = [sys.executable, str(KILLED), str(at), *words]
    return warm.run(command, cwd=home / "tree", env=environment, timeout=120)


def made(prepared: Path, tmp_path: Path) -> Path:
    """A copy, and made a project where it stands: its place is in its record."""
    home = tmp_path / "home"
    shutil.copytree(prepared, home, symlinks=True)
    done = holdfast(home, "project", "init", "../features.json", "--name", "pair")
    assert done.returncode == 0, done.stderr
    return home


def points(prepared: Path, tmp_path: Path) -> int:
    """How many points one whole run of the project has."""
    home = made(prepared, tmp_path)
    done = holdfast(home, "project", "run", "../agent.py:build")
    assert done.returncode == 0, done.stderr
    return int((home / "points").read_text("utf-8").splitlines()[-1].split()[0])


def check_end(home: Path) -> None:
    """All passes, all is committed once, nothing is left in the tree, and nobody holds anything."""
    tree = home / "tree"
    assert git(tree, "status", "--porcelain") == ""
    status = json.loads(holdfast(home, "project", "status", "--json").stdout)
    assert {feature["id"]: feature["state"] for feature in status["features"]} == {"one": "passing", "two": "passing"}
    assert status["sessions"] == []
    log = git(tree, "log", "--format=%s")
    assert sorted(log.splitlines()) == ["begin", "one: the first", "two: the second"]
    assert (tree / "one.txt").read_text("utf-8") == "one" and (tree / "two.txt").read_text("utf-8") == "two"


def check_told(home: Path, where: str) -> None:
    """What is in the tree and was not committed is somebody's, and the brief says whose."""
    brief = holdfast(home, "project", "brief")
    assert brief.returncode == 0, (where, brief.stderr)
    if git(home / "tree", "status", "--porcelain"):
        assert "session 1" in brief.stdout or "session 2" in brief.stdout, (where, brief.stdout)
    passing = [line for line in git(home / "tree", "log", "--format=%s").splitlines() if line != "begin"]
    status = json.loads(holdfast(home, "project", "status", "--json").stdout)
    claimed = {feature["id"] for feature in status["features"] if feature["state"] == "passing"}
    assert claimed <= {line.split(":")[0] for line in passing}, (where, "passes without its commit")


@pytest.fixture(scope="module")
def total(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many points one whole run of the project has."""
    return points(prepared, tmp_path_factory.mktemp("count"))


def whole(prepared: Path, total: int, tmp_path: Path, part: float) -> None:
    """Killed there, the project says what is, and then ends as if nothing had been."""
    assert total > 60
    at = 1 + int(part * total)
    home = made(prepared, tmp_path)
    killed = holdfast(home, "project", "run", "../agent.py:build", at=at)
    assert killed.returncode == -signal.SIGKILL, (at, killed.stderr)
    where = (home / "points").read_text("utf-8").splitlines()[-1]
    check_told(home, where)
    again = holdfast(home, "project", "run", "../agent.py:build")
    assert again.returncode == 0, (at, where, again.stderr)
    check_end(home)


@pytest.mark.parametrize("part", parts(FEW))
def test_killed_at_any_point_a_project_ends_whole(prepared: Path, total: int, tmp_path: Path, part: float) -> None:
    """Else a kill would leave half a session: code that nobody committed, a feature that nobody may take, or one that
    passes without its code."""
    whole(prepared, total, tmp_path, part)


@pytest.mark.proof
@pytest.mark.parametrize("part", parts(MANY))
def test_killed_at_many_points_a_project_ends_whole(
    prepared: Path, total: int, tmp_path: Path, part: float, record_property: Any
) -> None:
    """Else the same, at a point that nobody thought of."""
    whole(prepared, total, tmp_path, part)
    record_property("kills", 1)
