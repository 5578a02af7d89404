"""A sample of the power cuts, each kind of loss at each stage, with the real engine."""

from __future__ import annotations

from pathlib import Path

from proof import power_cut
from proof.part import Plan


def test_no_power_cut_loses_what_had_returned(tmp_path: Path) -> None:
    """Lost: an accepted run, a step or a store, on the day when the lights go out."""
    scale = 4 / power_cut.TRIALS
    seen = power_cut.run(Plan(tmp_path, scale=scale))
    assert seen.problems == []
    often = {what: count for what, count in power_cut.WANTED.items() if count >= 10_000}
    assert seen.lacks(often, scale / 3) == []
    assert seen.lacks(dict.fromkeys(("in_creation", "in_upgrade", "in_flight_there", "went_on"), 1)) == []
