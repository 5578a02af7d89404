"""A project of two features that is killed at one point of all its sessions: what the kill sweep and the proof share.

Real processes, git and store; what the project says is compared with what is in the tree.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

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
OURS = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
"""The configuration of whoever runs it is not what is tried."""
HALF_DONE = "\n## Half done, and who holds what\n"
LIMIT_S = 120


def git(tree: Path, *words: str) -> str:
    """One git command."""
    environment = {**os.environ, **OURS}
    done = subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


class Swept:
    """A project that nobody has worked on, and copies of it that are killed."""

    def __init__(self, directory: Path, killed: Path = KILLED) -> None:
        """killed: what runs `holdfast` until its point."""
        self._killed = killed
        self._directory = directory
        self._first = directory / "first"
        self._count = 0
        self._prepare()

    def _prepare(self) -> None:
        tree = self._first / "tree"
        tree.mkdir(parents=True)
        (self._first / "agent.py").write_text(AGENT, "utf-8")
        (self._first / "features.json").write_text(json.dumps(FEATURES), "utf-8")
        (tree / "readme.txt").write_text("a project\n", "utf-8")
        git(tree, "init", "-q", "-b", "main")
        git(tree, "config", "user.name", "test")
        git(tree, "config", "user.email", "test@example.com")
        git(tree, "add", "-A")
        git(tree, "commit", "-qm", "begin")

    @cached_property
    def points(self) -> int:
        """How many points one whole run has."""
        home = self._made()
        done = self._holdfast(home, "run", "../agent.py:build")
        assert done.returncode == 0, done.stderr
        return int((home / "points").read_text("utf-8").splitlines()[-1].split()[0])

    def _made(self) -> Path:
        """A copy, and made a project where it stands: its place is in its record."""
        self._count += 1
        home = self._directory / f"home{self._count}"
        shutil.copytree(self._first, home, symlinks=True)
        (home / "temporary").mkdir()
        done = self._holdfast(home, "init", "../features.json", "--name", "pair")
        assert done.returncode == 0, done.stderr
        return home

    def _holdfast(self, home: Path, *words: str, at: int | str = 0) -> subprocess.CompletedProcess[str]:
        """One command about the project, killed at its point `at`."""
        environment = {**os.environ, **OURS, "KILLED_POINTS": str(home / "points"), "TMPDIR": str(home / "temporary")}
        command = [sys.executable, str(self._killed), str(at), "project", *words]
        return warm.run(command, cwd=home / "tree", env=environment, timeout=LIMIT_S)

    def kill(self, at: int | str) -> tuple[str, list[str]]:
        """Kill it there and let it go on: which point that was, and what is wrong; no point when it was not killed."""
        home = self._made()
        killed = self._holdfast(home, "run", "../agent.py:build", at=at)
        if killed.returncode != -signal.SIGKILL:
            return "", [f"it was not killed, and ended with {killed.returncode}: {killed.stderr}"]
        where = (home / "points").read_text("utf-8").splitlines()[-1]
        wrong = list(self._told(home))
        again = self._holdfast(home, "run", "../agent.py:build")
        wrong += [] if again.returncode == 0 else [f"called again it ends with {again.returncode}: {again.stderr}"]
        wrong += self._ended(home)
        shutil.rmtree(home)
        return where, wrong

    def _told(self, home: Path) -> Iterator[str]:
        """What is in the tree and was not committed is somebody's, and the brief says whose."""
        brief = self._holdfast(home, "brief")
        if brief.returncode:
            yield f"there is no brief: {brief.stderr}"
        status = self._status(home)
        newest = max((session["number"] for session in status["sessions"]), default=0)
        half_done = brief.stdout.partition(HALF_DONE)[2].partition("\n## ")[0]
        is_dirty = bool(git(home / "tree", "status", "--porcelain"))
        if is_dirty and f"session {newest} holds" not in half_done:
            yield f"the tree is dirty, and the brief does not say that it is session {newest}'s: {brief.stdout}"
        committed = {line.split(":")[0] for line in git(home / "tree", "log", "--format=%s").splitlines()}
        passing = {name for name, state in _states(status).items() if state == "passing"}
        if passing - committed:
            yield f"passing without a commit: {sorted(passing - committed)}"

    def _ended(self, home: Path) -> Iterator[str]:
        """All passes, all is committed once, nothing is left in the tree, and nobody holds anything."""
        tree = home / "tree"
        if left := git(tree, "status", "--porcelain"):
            yield f"left in the tree: {left}"
        status = self._status(home)
        if _states(status) != {"one": "passing", "two": "passing"} or status["sessions"]:
            yield f"not all passes, or a session is open: {status}"
        log = sorted(git(tree, "log", "--format=%s").splitlines())
        if log != ["begin", "one: the first", "two: the second"]:
            yield f"committed: {log}"
        for name in ("one", "two"):
            if not (tree / f"{name}.txt").exists() or (tree / f"{name}.txt").read_text("utf-8") != name:
                yield f"the work on {name} is lost"
        if made := [*self.checkouts(home)]:
            yield f"left of checkouts: {made}"

    def checkouts(self, home: Path) -> Iterator[str]:
        """What there is of checkouts: they, and the notes that say whose they are."""
        yield from (path.name for path in (home / "temporary").glob("holdfast-checkout-*"))
        notes = home / "tree/.git/holdfast/checkouts"
        yield from (f"note {path.name}" for path in notes.glob("holdfast-checkout-*"))

    def _status(self, home: Path) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._holdfast(home, "status", "--json").stdout)
        return told


def _states(status: dict[str, Any]) -> dict[str, str]:
    return {feature["id"]: feature["state"] for feature in status["features"]}
