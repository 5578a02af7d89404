"""The example of failing tools, run as its first lines say. Each test says what would be lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests import warm

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "trip.py"


def _run(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLE), *arguments]
    done = warm.run(command, cwd=directory, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _show(directory: Path, key: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "holdfast.cli", "show", key, "--store", "sqlite:///trip.db", "--json"]
    done = warm.run(command, cwd=directory, timeout=60)
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_a_trip_is_booked_and_an_old_price_is_never_silent(tmp_path: Path) -> None:
    """Lost: an agent that goes on with yesterday's data as if it were today's, and nobody can tell."""
    assert _run(tmp_path, "Lisbon") == "Booked: Lisbon, 420.00 EUR.\n"
    assert _run(tmp_path, "Lisbon", "--down") == "Booked: Lisbon, 420.00 EUR.\n"
    fresh, old = _show(tmp_path, "trip-Lisbon")["steps"][0], _show(tmp_path, "trip-Lisbon-down")["steps"][0]
    assert (fresh["attempts"], fresh["degraded"]) == (1, None)
    assert (old["attempts"], old["degraded"]["rung"]) == (2, "cached")
    assert old["degraded"]["age_s"] >= 0


def test_what_was_booked_is_undone_when_a_piece_is_missing(tmp_path: Path) -> None:
    """Lost: a flight that is paid for, to where there is no bed."""
    assert _run(tmp_path, "Atlantis") == "Nothing booked: no room in Atlantis.\n"
    steps = {step["name"]: step["status"] for step in _show(tmp_path, "trip-Atlantis")["steps"]}
    assert (steps["book_hotel"], steps["undo book_flight"]) == ("failed", "succeeded")
