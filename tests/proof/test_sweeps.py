"""The part that runs the long tests: all of them, and none that has killed too little."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings
from proof import people, sweeps
from proof.part import Plan
from proof.suite import ROOT, Outcome, ran


def test_every_long_test_is_a_trial() -> None:
    """Lost: a test that is in no run at all: marked as a proof, and not known to it."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    marked = {path for path in files if "mark.proof" in path.read_text("utf-8")}
    named = {ROOT / "tests" / test.partition("::")[0] for test in (*sweeps.TESTS, *people.TESTS)}
    assert marked <= named and {path for path in named - marked if str(path).endswith("_sweep.py")} == set()
    (alone,) = (path for path in marked if path.name == "test_support_sweep.py")
    assert alone.read_text("utf-8").count("mark.proof") == 1, "of this file one test is named, in halves"


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(1, "lost"), "ends with 1: lost"),
        (Outcome(5, "nothing was selected"), "ends with 5"),
        (Outcome(0, "", passed=[]), "ends with 0"),
        (Outcome(0, "", passed=["a"]), "killed 0 times"),
    ],
)
def test_a_test_that_fails_or_kills_too_little_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, said: str
) -> None:
    """Lost: a sweep that was skipped, or swept nothing, counted as one that found nothing."""
    monkeypatch.setattr(sweeps, "ran", lambda *_, origin: outcome)
    monkeypatch.setattr(sweeps, "origin", lambda root: nullcontext())
    seen = sweeps.run(Plan(tmp_path, shard=0, shards=len(sweeps.TESTS)))
    assert any(said in problem for problem in seen.problems) and (seen.counts["kills"] == 0)


def test_laws_are_tried_with_more_examples_than_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: what the default run tries with fifty examples only, and the proof with as many by a slip."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        sweeps, "ran", lambda tests, _, *more, **__: asked.append((*tests, *more)) or Outcome(1, "lost")
    )
    seen = sweeps.run(Plan(tmp_path, shard=len(sweeps.TESTS), shards=sweeps.TRIALS))
    assert asked == [("", *sweeps.LAWS, "-o", "timeout=3600")] and seen.problems == ["laws end with 1: lost"]
    assert settings.get_profile(sweeps.LAWS[-1]).max_examples >= 5 * settings.get_profile("sample").max_examples


def test_what_a_test_has_counted_comes_to_its_part(tmp_path: Path) -> None:
    """Lost: every long test, whose counts the report has no place for; a warning is an error."""
    (tmp_path / "test_one.py").write_text("def test_one(record_property):\n    record_property('kills', 12)\n")
    outcome = ran([str(tmp_path / "test_one.py")], tmp_path, "-c", str(ROOT / "pyproject.toml"))
    assert (outcome.code, outcome.passed, dict(outcome.counts)) == (0, ["test_one"], {"kills": 12}), outcome.said
