"""One shard of one part, in a process of its own: `python -m proof.shard MODULE … --result FILE`.

What it found goes into a file, not to its output: a part may print what it likes. A process that ends without that file
has failed, whatever its exit code says.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from proof.part import Plan, Seen, rare_garbage


def main(arguments: list[str] | None = None) -> int:
    """Do the shard and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m proof.shard", description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--nice", type=int, default=0, help="by how much it gives way to others")
    parser.add_argument("--result", type=Path, required=True)
    asked = parser.parse_args(arguments)
    os.nice(asked.nice)
    shard, shards = map(int, asked.shard.split("/"))
    found = done(asked.module, asked.seed, asked.scale, shard, shards)
    asked.result.write_text(json.dumps(found), "utf-8")
    return 0


def done(module: str, seed: int, scale: float, shard: int, shards: int) -> dict[str, Any]:
    """Counts, problems and CPU seconds of a shard."""
    part = importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="holdfast-proof-", dir=Path.cwd(), ignore_cleanup_errors=True) as directory:
        plan = Plan(Path(directory), seed, scale, shard, shards)
        with rare_garbage():
            seen: Seen = part.run(plan)
    return {
        "counts": dict(seen.counts),
        "problems": seen.problems + untaken(plan),
        "cpu_seconds": sum(_cpu_seconds(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)),
    }


def untaken(plan: Plan) -> list[str]:
    """Why the counts of this shard cannot be added to those of others, or say more than was done."""
    trial = plan.trial
    if trial.taken < trial.offered:
        return [f"took {trial.taken} of {trial.offered} trials"]
    if plan.shards > 1 and not trial.offered:
        return ["was divided, and did not take its trials from the plan: each shard did the same"]
    return []


def _cpu_seconds(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
