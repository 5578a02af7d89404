"""A small agent killed at every point, with the ledger as oracle; the main job's sweep is in `test_support_sweep`."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.testing.crash import sweep

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


@pytest.mark.timeout(120)
def test_every_point_of_a_round_with_a_second_kill_in_recovery(make_shop: Any) -> None:
    """Lost: R9, R10. An effect lost or repeated, or a step in doubt that nobody heard of."""
    scenario = make_shop(rounds=1)
    report = sweep(scenario, seconds=1)
    report.require(kills=60, windows=WINDOWS)
    assert scenario.in_doubt >= 4


@pytest.mark.timeout(120)
def test_a_run_that_is_closed_while_it_waits(make_shop: Any) -> None:
    """Lost: a run that slept on disk when its process died would never wake, or would pay again when it does."""
    closes = hf.Settings(settle_s=0.0, poll_s=0.02, quiet_s=0.02, park_s=0.04)
    scenario = make_shop(rounds=2, pause_s=0.2, settings=closes, prefix="closed-")
    report = sweep(scenario, every=0, seconds=1, windows=CLOSING)
    report.require(kills=10, windows=CLOSING)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_pair_of_points_of_twelve_steps(make_shop: Any) -> None:
    """Lost: the claim of the README, with its counts."""
    report = sweep(make_shop(rounds=3, prefix="pairs-"), seconds=1_000)
    report.require(kills=2_000, windows=WINDOWS)
    print(f"{len(report.points)} points, {len(report.trials)} trials, {sum(report.kills.values())} kills, 0 wrong")
