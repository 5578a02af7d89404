"""The simulation: a sample of its seeds, the seeds that have found something, and bugs that it must find."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from proof import simulation
from proof.part import Plan
from proof.simulation import SCENARIOS, Drawn
from proof.suite import ROOT

from holdfast.testing.simulation import simulate

SEEDS = Path(__file__).with_name("seeds")
KEPT: list[dict[str, Any]] = tomllib.loads((SEEDS / "found.toml").read_text("utf-8"))["seed"]
PLANTED: list[dict[str, Any]] = tomllib.loads((SEEDS / "planted.toml").read_text("utf-8"))["bug"]
SCALE = 0.003


def test_a_sample_of_worlds_keeps_every_promise(tmp_path: Path) -> None:
    """Lost: all promises at once, in the order of things that nobody thought of."""
    seen = simulation.run(Plan(tmp_path, scale=SCALE))
    assert seen.problems == []
    assert seen.lacks(simulation.WANTED, SCALE) == []


def test_effects_that_need_an_approval_have_one() -> None:
    """Lost: an effect on the strength of an approval that nobody gave, that was old, or that another one had used."""
    found = [simulate(SCENARIOS["signed"], seed) for seed in range(100)]
    assert [problem for world in found for problem in world.problems] == []
    assert sum(world.seen["approvals_used"] for world in found) > 100


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: str(kept["seed"]))
def test_a_seed_that_has_found_something_finds_it_no_more(kept: dict[str, Any]) -> None:
    """Lost: what a world once showed to be wrong is wrong again."""
    assert simulate(SCENARIOS[kept["of"]], kept["seed"]).problems == [], kept["found"]


def test_the_same_seed_is_the_same_world() -> None:
    """Lost: a seed that fails once and never again tells nothing. Hashes and addresses differ between processes."""
    code = "from proof.simulation import Drawn; from holdfast.testing.simulation import simulate; "
    code += "print(*(simulate(Drawn(), seed).digest for seed in range(19, -1, -1)))"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONHASHSEED": "77"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split()[::-1] == [simulate(Drawn(), seed).digest for seed in range(20)]


def test_other_seeds_are_other_worlds() -> None:
    """Lost: the count. A hundred thousand times the same world would prove it once."""
    assert len({simulate(Drawn(), seed).digest for seed in range(20)}) == 20


def test_what_happened_is_told_when_it_is_asked_for() -> None:
    """Lost: the way from a seed to a reason."""
    told = simulate(Drawn(), 1, is_told=True)
    assert any("StepSucceeded" in line for line in told.lines) and told.digest == simulate(Drawn(), 1).digest


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug["name"])
def test_a_seed_that_finds_a_planted_bug_passes_without_it(bug: dict[str, Any]) -> None:
    """Lost: the proof of the proof. The list of planted bugs plants each, and then this must fail."""
    assert [problem for seed in bug["seeds"] for problem in simulate(Drawn(), seed).problems] == []
