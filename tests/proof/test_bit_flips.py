"""A sample of the damages: bits that turned over and files that were cut."""

from __future__ import annotations

from pathlib import Path

from proof import bit_flips
from proof.part import Plan


def test_no_damage_makes_the_store_lie(tmp_path: Path) -> None:
    """Lost: a run that goes on from what never happened, or a store that says that nothing ever did."""
    scale = 3 / bit_flips.TRIALS
    seen = bit_flips.run(Plan(tmp_path, scale=scale))
    assert seen.problems == []
    wanted = {what: count for what, count in bit_flips.WANTED.items() if count >= 500}
    assert seen.lacks(wanted, scale / 5) == []
