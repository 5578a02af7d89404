"""Planted bugs as data: each changes a line of the source, and a named test must fail because of it.

`mutations.toml` names them. A change is made in a copy; the test runs against that copy in a process of its own, and
once more against the copy as it was: a test that fails anyway catches nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "src"
BUGS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("mutations.toml").read_text("utf-8"))["bug"]
EVERY = 20
"""Every so manieth bug is planted in the default run, all of them in `make proof`."""
FAILED, PASSED = 1, 0
"""Exit codes of pytest; others (no such test, an error on the way) are no verdict."""


def _planted(bug: dict[str, Any], source: Path) -> None:
    file = source / "holdfast" / bug["file"]
    text = file.read_text("utf-8")
    assert text.count(bug["old"]) == 1, f"{bug['name']}: its line is not there, or not once, in {bug['file']}"
    file.write_text(text.replace(bug["old"], bug["new"]), "utf-8")


def _run(test: str, source: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """The test against this source."""
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    options = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "addopts=--import-mode=importlib",
        "--basetemp",
        str(directory),
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(TESTS / test)],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def _is_caught(bug: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "src"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    before = _run(bug["test"], source, tmp_path / "before")
    assert before.returncode == PASSED, before.stdout
    _planted(bug, source)
    after = _run(bug["test"], source, tmp_path / "after")
    assert after.returncode == FAILED, f"{bug['name']}: {bug['breaks']}, and {bug['test']} says\n{after.stdout}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", BUGS[::EVERY], ids=lambda bug: bug["name"])
def test_some_planted_bugs_are_caught(bug: dict[str, Any], tmp_path: Path) -> None:
    """Lost: tests that pass whatever the code does."""
    _is_caught(bug, tmp_path)


@pytest.mark.proof
@pytest.mark.timeout(400)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug["name"])
def test_every_planted_bug_is_caught(bug: dict[str, Any], tmp_path: Path) -> None:
    """Lost: tests that pass whatever the code does."""
    _is_caught(bug, tmp_path)


def test_the_list_is_sound() -> None:
    """Lost: two bugs of one name, or one whose line was changed meanwhile and that no longer plants anything."""
    names = [bug["name"] for bug in BUGS]
    assert len(set(names)) == len(names)
    for bug in BUGS:
        assert (SOURCE / "holdfast" / bug["file"]).read_text("utf-8").count(bug["old"]) == 1, bug["name"]
        assert (TESTS / bug["test"].partition("::")[0]).is_file(), bug["name"]
