"""The sample project: ten features built by a scripted agent over the model server, killed in every phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def git(tree: Path, *words: str) -> str:
    """One git command."""
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def called(tree: Path, *words: str, at: str = "0", **more: str) -> subprocess.CompletedProcess[str]:
    """`holdfast project …` in a process that kills itself at its point `at`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "KILLED_POINTS": str(tree.parent / "points")}
    command = [sys.executable, str(KILLED), at, "project", *words]
    return subprocess.run(
        command, cwd=tree, env=kept | local | more, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.timeout(240)
def test_ten_features_pass_over_kills_in_every_phase(tmp_path: Path) -> None:
    """Lost otherwise: that a project ends whole, whoever is killed and when."""
    tree = tmp_path / "todo"
    subprocess.run(["cp", "-r", str(TODO / "project"), str(tree)], check=True)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"]):
        git(tree, *words)
    git(tree, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "The list and its checks")
    assert called(tree, "init", "features.toml").returncode == 0
    with ModelServer.spawn(TODO / "model.py", "policy") as model:
        told = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "none"}
        for step in STEPS:
            for side in ("before", "after"):
                at = f"{side} append StepSucceeded {step}"
                killed = called(tree, "run", f"{TODO / 'build.py'}:build", at=at, **told)
                assert killed.returncode == -signal.SIGKILL, (side, step, killed.stderr)
        done = called(tree, "run", f"{TODO / 'build.py'}:build", **told)
        assert done.returncode == 0, done.stderr
    status = json.loads(called(tree, "status", "--json").stdout)
    assert [(feature["id"], feature["state"]) for feature in status["features"]] == [(n, "passing") for n in FEATURES]
    assert status["sessions"] == [] and git(tree, "status", "--porcelain") == ""
    subjects = git(tree, "log", "--format=%s").splitlines()
    assert sorted(subject.partition(":")[0] for subject in subjects[:-1]) == sorted(FEATURES)
    assert "All 10 features pass" in called(tree, "brief").stdout


def test_it_runs_as_its_first_lines_say(tmp_path: Path) -> None:
    """Lost otherwise: the two minutes that a reader gives it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
    command = [sys.executable, str(TODO / "build.py"), str(tmp_path / "todo")]
    env = kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "10 of 10 features pass" in done.stderr, done.stderr
