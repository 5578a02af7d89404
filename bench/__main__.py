"""`python -m bench`: measures the rows, prints a table and writes bench/results.json."""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import apsw

from bench.measure import Place, Row

ROWS = {
    "step": "step.measure",
    "throughput": "throughput.measure",
    "resume": "resume.measure",
    "turns": "turns.measure",
    "model_call": "model_call.measure",
    "model_turns": "model_turns.measure",
    "answer": "answer.measure",
    "suspended": "suspended.measure",
    "import": "imports.measure",
    "brief": "brief.measure",
    "step_postgres": "postgres.measure_step",
    "throughput_postgres": "postgres.measure_throughput",
}
"""Rows, and the module and function of each."""
PEERS = ("dbos", "langgraph")
RESULTS = Path(__file__).with_name("results.json")


def main(arguments: list[str] | None = None) -> None:
    """Measure what was asked for."""
    asked = _parse(arguments)
    asked.dir.mkdir(parents=True, exist_ok=True)
    peers = _peers() if asked.peers else ()
    place = Place(directory=asked.dir, is_quick=asked.quick, peers=peers)
    rows: dict[str, Row] = {}
    for name in asked.rows:
        module, _, function = ROWS[name].partition(".")
        rows[name] = getattr(importlib.import_module(f"bench.{module}"), function)(place)
        _show(name, rows[name])
    results = _results(rows, asked.quick)
    asked.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    missed = ", ".join(results["missed"]) or "none"
    print(f"\nTargets missed: {missed}. Written to {asked.out}.")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"which rows, all by default: {', '.join(ROWS)}")
    parser.add_argument("--peers", action="store_true", help="also measure DBOS and LangGraph (requirements/peers.txt)")
    parser.add_argument("--quick", action="store_true", help="tiny counts: shows that it works, not how fast")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the file system to measure; here by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; rows are {', '.join(ROWS)}")
    asked.rows = asked.rows or list(ROWS)
    return asked


def _peers() -> tuple[str, ...]:
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"--peers: {', '.join(missing)} not installed. Do: pip install -r requirements/peers.txt")
    return PEERS


def _results(rows: dict[str, Row], is_quick: bool) -> dict[str, Any]:
    targets = {name: target for row in rows.values() for name, target in row.targets.items()}
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "system": platform.platform(),
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "is_quick": is_quick,
        },
        "rows": {name: _rounded(row.numbers) for name, row in rows.items()},
        "ratios": {name: value for row in rows.values() for name, value in _rounded(row.ratios).items()},
        "targets": {
            name: {"got": round(target.got, 3), "limit": target.limit, "at": "most" if target.is_upper else "least"}
            for name, target in targets.items()
        },
        "missed": [name for name, target in targets.items() if not target.is_met],
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _show(name: str, row: Row) -> None:
    print(f"\n{name}")
    for what, value in row.numbers.items():
        print(f"  {what:<32}{value:>12,.1f}")
    for what, value in row.ratios.items():
        print(f"  {what:<32}{value:>12.2f}×")
    for what, target in row.targets.items():
        sign, word = ("≤" if target.is_upper else "≥"), ("reached" if target.is_met else "MISSED")
        print(f"  {what:<32}{sign} {target.limit:,g}: {word} ({target.got:,.2f})")
    for note in row.notes:
        print(f"  {note}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
