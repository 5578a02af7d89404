"""What the tests of sessions share: a project in a real repository, and agents that write files there."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import holdfast as hf
from holdfast.core.board import Board
from holdfast.core.feature import features
from holdfast.journal.codec import decode
from holdfast.memory.harness import Outcome, drive
from holdfast.memory.place import place_of, write_name
from holdfast.memory.project import Project
from holdfast.runtime.settings import Settings

Body = Callable[[hf.Run, hf.Session], Any]
QUICK = Settings(quiet_s=0.05)


def git(tree: Path, *words: str, at: str = "") -> str:
    """One git command, as a person calls it; at: when, where that is not now."""
    when = {"GIT_COMMITTER_DATE": at} if at else {}
    done = subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True, env=os.environ | when)
    return done.stdout.strip()


def repository(tree: Path, **files: str) -> Path:
    """A repository with one commit."""
    tree.mkdir(parents=True, exist_ok=True)
    git(tree, "init", "-q", "-b", "main")
    git(tree, "config", "user.name", "test")
    git(tree, "config", "user.email", "test@example.com")
    for name, text in {"readme.txt": "a project\n", **files}.items():
        path = tree / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "begin")
    return tree


class Built:
    """A project, and sessions of it in this process."""

    clock: Any = None
    """Of the store, where that is not this host's."""

    def __init__(self, tree: Path, listed: Sequence[Mapping[str, Any]], *, by: str = "ada") -> None:
        self.tree = tree
        place = place_of(tree)
        if not place.config.exists():
            write_name(place, "sample", f"sqlite:///{tree.parent / 'store.db'}")
        self.store = f"sqlite:///{tree.parent / 'store.db'}"
        if listed:
            self.alone(lambda project: project.freeze(features(listed), by=by))

    @classmethod
    def of(cls, tree: Path, other: Built) -> Self:
        """The same project in another working tree of the repository."""
        made = cls(tree, [])
        made.store = other.store
        return made

    def alone(self, work: Callable[[Project], Any], checks: Mapping[str, Any] | None = None) -> Any:
        """Something with the open project, outside of every run."""

        async def opened() -> Any:
            app = hf.App(self.store, settings=QUICK, serves=False, clock=self.clock)
            async with app:
                done = work(Project(app, self.tree, checks=checks))
                return await done if asyncio.iscoroutine(done) else done

        return asyncio.run(opened())

    @property
    def board(self) -> Board:
        """Where everything is."""
        found: Board = self.alone(lambda project: project.board())
        return found

    def steps(self, key: str) -> list[dict[str, Any]]:
        """What the steps of a run gave, as far as these are tables."""
        events = self.alone(lambda project: project.journal.events(project.journal.heads(key=key, limit=1)[0].run_id))
        bodies = [decode(event.body) for event in events if event.kind == "StepSucceeded" and event.body is not None]
        return [body for body in bodies if isinstance(body, dict)]

    def states(self) -> dict[str, str]:
        """Of each feature."""
        return {name: str(item.state) for name, item in self.board.items.items()}

    def drive(self, body: Body, *, checks: Mapping[str, Any] | None = None, **options: Any) -> Outcome:
        """Sessions of an agent with this body."""
        budget = options.pop("agent_budget", hf.Budget(tool_calls=500))
        agent = hf.agent(name="builder", budget=budget)(body)

        async def driven() -> Outcome:
            app = hf.App(self.store, settings=QUICK, serves=False, clock=self.clock)
            async with app:
                given = {"wait": "0s", **options}
                return await drive(app, Project(app, self.tree, checks=checks), agent, **given)

        return asyncio.run(driven())


def listed(*names: str, **more: Any) -> list[dict[str, Any]]:
    """Features whose check looks for a file of their name."""
    return [
        {"id": name, "description": f"the file {name}.txt", "check": f"command:test -f {name}.txt"} for name in names
    ]


async def writes(run: hf.Run, session: hf.Session) -> None:
    """An agent that does what it is asked to."""
    assert session.feature is not None
    await run.step("write", _write, str(session.directory / f"{session.feature.id}.txt"), effect="idempotent")


def _write(path: str) -> None:
    Path(path).write_text("written\n", "utf-8")
