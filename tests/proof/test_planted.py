"""The planted bugs: the list is sound, some are caught here and all in `make proof`, and what is not caught is seen."""

from __future__ import annotations

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
    problems = few(tmp_path, [comment, harmless], monkeypatch)
    assert "comment: its line is not there, or not once" in problems[0]
    assert "harmless: attempts are not bounded by the policy, and core/test_bucket.py ends with 0" in problems[1]
    assert "the tests fail without any bug (4)" in planted_alone(tmp_path / "again", nowhere, monkeypatch)


def planted_alone(place: Path, bug: Bug, patch: pytest.MonkeyPatch) -> str:
    """What is wrong with it."""
    place.mkdir()
    return few(place, [bug], patch)[0]


def test_the_list_is_sound() -> None:
    """Lost: two bugs of one name, or one whose line was changed meanwhile and that no longer plants anything."""
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
    for bug in BUGS:
        assert (ROOT / "src" / "holdfast" / bug.file).read_text("utf-8").count(bug.old) == 1, bug.name
        assert (TESTS / bug.test.partition("::")[0]).is_file(), bug.name
