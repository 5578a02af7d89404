"""A sample of the I/O errors, of each kind, on each call."""

from __future__ import annotations

from pathlib import Path

from proof import io_errors
from proof.part import Plan


def test_no_error_of_the_disk_is_passed_over_or_makes_a_lie(tmp_path: Path) -> None:
    """Lost: a step that is said to be written and is not, on a full disk."""
    scale = 20 / io_errors.TRIALS
    seen = io_errors.run(Plan(tmp_path, scale=scale))
    assert seen.problems == []
    wanted = {what: count for what, count in io_errors.WANTED.items() if count >= 1_000}
    assert seen.lacks(wanted, scale / 5) == []
