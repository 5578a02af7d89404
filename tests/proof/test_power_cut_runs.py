"""A sample of the power cuts under real runs: what is left goes on, and no `once` effect happens twice."""

from __future__ import annotations

from pathlib import Path

from proof import power_cut_runs
from proof.part import Plan


def test_a_run_goes_on_after_a_power_cut_and_repeats_nothing(tmp_path: Path) -> None:
    """Lost: the customer who is charged twice because the lights went out."""
    scale = 1 / power_cut_runs.TRIALS
    seen = power_cut_runs.run(Plan(tmp_path, scale=scale))
    assert seen.problems == []
    wanted = {what: count for what, count in power_cut_runs.WANTED.items() if count >= 100}
    assert seen.lacks(wanted, scale / 5) == []
