"""The sample project: ten features built by a scripted agent over the model server, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
FEATURES = ["start", "add", "list", "done", "remove", "search", "clear", "edit", "stats", "export"]


def git(tree: Path, *words: str) -> str:
    """One git command."""
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def started(tree: Path) -> subprocess.Popen[str]:
    """The example as its first lines say, in a process group of its own."""
    command = [sys.executable, str(EXAMPLES / "todo" / "build.py"), str(tree)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(
        command,
        env=kept | local,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(180)
def test_ten_features_pass_over_kills(tmp_path: Path) -> None:
    """Lost otherwise: that a project ends whole, whoever is killed. Killed as sessions begin and end."""
    tree, kills = tmp_path / "todo", 0
    while True:
        process = started(tree)
        assert process.stderr is not None
        for line in process.stderr:
            if kills < 4 and line.startswith(f"session {2 * kills + 1} begins" if kills % 2 == 0 else "[#"):
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
        process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    command = [sys.executable, "-m", "holdfast.cli", "project", "status", "--json"]
    status = json.loads(subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout)
    assert [(feature["id"], feature["state"]) for feature in status["features"]] == [(n, "passing") for n in FEATURES]
    assert kills == 4 and git(tree, "status", "--porcelain") == ""
    subjects = git(tree, "log", "--format=%s").splitlines()
    assert sorted(subject.partition(":")[0] for subject in subjects[:-1]) == sorted(FEATURES)
    brief = subprocess.run([*command[:-2], "brief"], cwd=tree, check=True, capture_output=True, text=True).stdout
    assert "All 10 features pass" in brief
