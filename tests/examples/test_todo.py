"""The sample project: ten features built by a scripted agent over the model server, killed in every phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests import warm

from holdfast.testing.model_server import ModelServer

ROOT = Path(__file__).resolve().parents[2]
TODO = ROOT / "examples" / "todo"
KILLED = ROOT / "tests" / "memory" / "killed.py"
FEATURES = ["start", "add", "list", "done", "remove", "search", "clear", "edit", "stats", "export"]
STEPS = (
    *(f"project.{name}" for name in ("begin", "bearings", "init", "choose", "claim", "brief")),
    *("write_file", "project.look", "project.check", "project.commit", "project.evidence", "project.end"),
)
"""What a session does, its agent's work included, in its order."""
SIDES = ("before", "after")


def git(tree: Path, *words: str) -> str:
    """One git command."""
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def environment(tree: Path) -> dict[str, str]:
    """Ours, without what would change the example."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "KILLED_POINTS": str(tree.parent / "points")}


def called(tree: Path, *words: str, at: str = "0", **more: str) -> subprocess.CompletedProcess[str]:
    """`holdfast project …` in a process that kills itself at its point `at`."""
    command = [sys.executable, str(KILLED), at, "project", *words]
    return warm.run(command, cwd=tree, env=environment(tree) | more, timeout=60)


def played(tree: Path, *, until: str = "") -> tuple[int, str]:
    """The example as its first lines say, told to end as soon as it has said this; its exit code and what it said."""
    command = [sys.executable, str(TODO / "build.py"), str(tree)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with warm.start(command, env=environment(tree), **quiet) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if until and until in line:
                process.terminate()  # it ends its model server, which is to outlive a kill
    return process.returncode, said


def check_whole(tmp_path: Path, sides: Callable[[int], Sequence[str]]) -> int:
    """Begun by its first line, ended there, killed beside each step, on the sides that are named for it, and finished
    by its first line. The kills."""
    tree, kills = tmp_path / "todo", 0
    code, said = played(tree, until="session 1 begins")
    assert code == 128 + signal.SIGTERM, said
    with ModelServer.spawn(TODO / "model.py", "policy") as model:
        told = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        for number, step in enumerate(STEPS):
            for side in sides(number):
                at = f"{side} append StepSucceeded {step}"
                killed = called(tree, "run", f"{TODO / 'build.py'}:build", at=at, **told)
                assert killed.returncode == -signal.SIGKILL, (side, step, killed.stderr)
                kills += 1
    code, said = played(tree)
    assert code == 0 and "10 of 10 features pass" in said, said
    status = json.loads(called(tree, "status", "--json").stdout)
    assert [(feature["id"], feature["state"]) for feature in status["features"]] == [(n, "passing") for n in FEATURES]
    assert status["sessions"] == [] and git(tree, "status", "--porcelain") == ""
    subjects = git(tree, "log", "--format=%s").splitlines()
    assert sorted(subject.partition(":")[0] for subject in subjects[:-1]) == sorted(FEATURES)
    assert "All 10 features pass" in called(tree, "brief").stdout
    return kills


@pytest.mark.timeout(240)
def test_ten_features_pass_over_kills_in_every_phase(tmp_path: Path) -> None:
    """Lost otherwise: that a project ends whole, whoever is killed and when; and the two minutes that a reader gives
    it."""
    assert check_whole(tmp_path, lambda number: (SIDES[number % 2],)) == 12


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_ten_features_pass_over_kills_before_and_after_each_step(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Lost otherwise: the same, on the other side of a step."""
    record_property("kills", check_whole(tmp_path, lambda number: SIDES))
