"""Each row of the benchmarks runs and says what it should; how fast is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests import warm

ROOT = Path(__file__).parents[2]
RATIOS = {
    "step": {"step", "step_min", "step_settled"},
    "throughput": {"throughput_raw"},
    "resume": {"resume"},
    "turns": {"turns_time", "turns_bytes", "turns_bytes_raw"},
    "model_call": {
        "model_call_10",
        "model_call_800",
        "model_call_stream",
        "model_call_replay",
        "model_call_replay_short",
    },
    "model_turns": {"model_call_time", "model_call_bytes"},
    "step_postgres": {"durable_step_postgres"},
    "throughput_postgres": {"throughput_postgres_raw"},
    "answer": {"answer_commits"},
    "suspended": set(),
    "import": {"import_vs_pass", "app_vs_pass"},
    "brief": {"brief_vs_pass", "brief_many_vs_few"},
}


@pytest.mark.parametrize("row", RATIOS)
def test_the_row_runs(row: str, tmp_path: Path) -> None:
    """Otherwise `make bench` breaks on the day when somebody needs a number."""
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", row, "--quick", "--dir", str(tmp_path), "--out", str(results)]
    told = warm.run(command, cwd=ROOT, timeout=60)
    assert told.returncode == 0, told.stderr
    found = json.loads(results.read_text())
    assert set(found) == {"machine", "rows", "ratios", "targets", "missed"}
    assert RATIOS[row] <= set(found["ratios"])
    assert found["rows"][row] and all(value > 0 for name, value in found["rows"][row].items() if "added" not in name)
    assert set(found["missed"]) <= set(found["targets"])
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"], "scratch stores are left behind"


def test_an_unknown_row_is_named(tmp_path: Path) -> None:
    """A typo must not measure everything, or nothing."""
    told = subprocess.run([sys.executable, "-m", "bench", "stpe"], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 2
    assert "stpe" in told.stderr and "throughput" in told.stderr
