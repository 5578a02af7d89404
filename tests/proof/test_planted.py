"""The planted bugs: the list is sound, some are caught here and all in `make proof`, and what is not caught is seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from proof import planted
from proof.origin import origin
from proof.part import Plan
from proof.planted import BUGS, TESTS, Bug
from proof.suite import ROOT

SAMPLE = 2


@pytest.fixture(scope="module", autouse=True)
def forked() -> Iterator[None]:
    """One origin for all of these."""
    with origin(ROOT, packages=()) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "origin", lambda root: nullcontext(made))
        yield


def few(plan: Path, bugs: list[Bug], patch: pytest.MonkeyPatch) -> list[str]:
    """What is wrong when only these are planted."""
    patch.setattr(planted, "BUGS", bugs)
    patch.setattr(planted, "LISTS", {})
    seen = planted.run(Plan(plan))
    assert seen.counts["caught"] + len(seen.problems) == len(bugs)
    return seen.problems


@pytest.mark.timeout(300)
def test_some_planted_bugs_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: tests that pass whatever the code does."""
    assert few(tmp_path, BUGS[:: len(BUGS) // SAMPLE], monkeypatch) == []


@pytest.mark.timeout(300)
def test_a_bug_that_no_test_sees_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the proof of the proof. It would count bugs as caught whose tests look elsewhere."""
    comment = Bug("comment", "nothing", "core/policy.py", '"""', "'''", "core/test_bucket.py")
    harmless = BUGS[0]._replace(name="harmless", new=BUGS[0].old + "\n", test="core/test_bucket.py")
    nowhere = BUGS[0]._replace(name="nowhere", test="core/test_bucket.py::test_that_is_not_there")
    problems = few(tmp_path, [comment, harmless, nowhere], monkeypatch)
    assert "comment: its line is not there, or not once" in problems[0]
    assert "harmless: attempts are not bounded by the policy, and core/test_bucket.py ends with 0" in problems[1]
    assert "nowhere" in problems[2] and "ends with 4" in problems[2]


@pytest.mark.timeout(300)
def test_a_test_that_fails_anyway_catches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the same. In a source that is broken already, a change that breaks nothing has a test that fails."""
    bug = BUGS[0]
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "src" / "holdfast" / bug.file
    file.write_text(file.read_text("utf-8").replace(bug.old, bug.new), "utf-8")
    monkeypatch.setattr(planted, "ROOT", tmp_path)
    [problem] = few(tmp_path, [bug._replace(name="anyway", old=bug.new, new=bug.new + "\n")], monkeypatch)
    assert "anyway: core/" in problem and "does not pass without any bug (1)" in problem


def test_the_source_is_as_it_was_when_a_bug_is_gone(tmp_path: Path) -> None:
    """Lost: the right bug. What is compiled of a source is known by its time and length: of another text it is another
    time, and of its own text its own."""
    file = tmp_path / "module.py"
    file.write_text("TEXT = 1\n")
    stands = file.stat()
    with planted.changed(file, "TEXT = 2\n"):
        assert file.read_text() == "TEXT = 2\n" and int(file.stat().st_mtime) != int(stands.st_mtime)
    assert file.read_text() == "TEXT = 1\n" and file.stat().st_mtime_ns == stands.st_mtime_ns


def test_the_list_is_sound() -> None:
    """Lost: two bugs of one name, or one whose line was changed meanwhile and that no longer plants anything."""
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
    for bug in BUGS:
        assert (ROOT / "src" / "holdfast" / bug.file).read_text("utf-8").count(bug.old) == 1, bug.name
        assert (TESTS / bug.test.partition("::")[0]).is_file(), bug.name
