"""A small agent killed at every point, with the ledger as oracle; the main job's sweep is in `test_support_sweep`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.protocols import Journal
from holdfast.testing.crash import Scenario, reach, sweep

WINDOWS = (
    "append:before:StepIntended(charge)",
    "append:after:StepIntended(charge)",
    "charge:before",
    "charge:sent",
    "charge:after",
    "append:before:StepSucceeded(charge)",
    "append:after:StepSucceeded(charge)",
    "mail:sent",
    "post:after",
    "claim:after",
    "append:before:RunEnded",
)
CLOSING = ("append:before:RunSuspended", "append:after:RunSuspended", "release:before", "release:after")


class Shorter(Scenario):
    """Passes ten points in its first life, and eight in any other."""

    def __init__(self, directory: Path, spare: int) -> None:
        self.lives = directory / "lives"
        self.spare = spare

    def prepare(self, trial: str) -> None:
        """All trials share what they count."""

    def run(self, place: None, journal: Callable[[Journal], Journal]) -> None:
        """One life."""
        points = 8 if self.lives.exists() else 10
        self.lives.touch()
        for number in range(points):
            reach(f"point {number}")

    def check(self, place: None, kills: Sequence[str]) -> list[str]:
        """Nothing can be wrong."""
        return []


def test_a_life_that_is_shorter_than_the_first_one_needs_points_to_spare(tmp_path: Path) -> None:
    """Lost: a sweep that fails by chance; or one that counts a kill that it never made."""
    with pytest.raises(AssertionError, match="was not reached"):
        sweep(Shorter(tmp_path, spare=0))
    (tmp_path / "lives").unlink()
    report = sweep(Shorter(tmp_path, spare=2), seconds=0)
    assert sum(report.kills.values()) == 10 and report.points[-3:] == ["point 9", "spare", "spare"]
    assert all(report.in_window(f"point {number}") == 1 for number in range(8)) and report.kills["spare"] == 2


class Shifted(Scenario):
    """The point that is looked for comes later with each life."""

    def __init__(self, directory: Path) -> None:
        self.lives = directory / "lives"

    def prepare(self, trial: str) -> None:
        """All trials share what they count."""

    def run(self, place: None, journal: Callable[[Journal], Journal]) -> None:
        """One life."""
        with self.lives.open("a+") as lives:
            lives.write("x")
            lives.seek(0)
            for number in range(len(lives.read())):
                reach(f"point {number}")
        reach("append:before:RunEnded")

    def check(self, place: None, kills: Sequence[str]) -> list[str]:
        """Nothing can be wrong."""
        return []


def test_a_window_is_found_by_its_name_wherever_it_comes(tmp_path: Path) -> None:
    """Lost: a sweep that fails on a machine where something else happens first."""
    report = sweep(Shifted(tmp_path), every=0, seconds=0, windows=("RunEnded", "point 0"))
    report.require(kills=2, windows=("before:RunEnded", "point 0"))
    with pytest.raises(AssertionError, match="was not reached"):
        sweep(Shifted(tmp_path), every=0, windows=("RunFailed",))


@pytest.mark.timeout(120)
def test_each_window_of_a_round_with_a_second_kill_in_recovery(make_shop: Any) -> None:
    """Lost: as below; the default run's sample."""
    scenario = make_shop(rounds=1, prefix="windows-")
    report = sweep(scenario, every=0, seconds=1, windows=WINDOWS)
    report.require(kills=2 * len(WINDOWS), windows=WINDOWS)
    assert scenario.in_doubt >= 2


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_every_point_of_a_round_with_a_second_kill_in_recovery(make_shop: Any, counted: Any) -> None:
    """Lost: R9, R10. An effect lost or repeated, or a step in doubt that nobody heard of."""
    scenario = make_shop(rounds=1)
    report = counted(sweep(scenario, seconds=1))
    report.require(kills=60, windows=WINDOWS)
    assert scenario.in_doubt >= 4


@pytest.mark.timeout(120)
def test_a_run_that_is_closed_while_it_waits(make_shop: Any) -> None:
    """Lost: a run that slept on disk when its process died would never wake, or would pay again when it does."""
    closes = hf.Settings(settle_s=0.0, poll_s=0.02, quiet_s=0.02, park_s=0.04)
    scenario = make_shop(rounds=2, pause_s=0.2, settings=closes, prefix="closed-")
    report = sweep(scenario, every=0, seconds=1, windows=CLOSING)
    report.require(kills=10, windows=CLOSING)
