"""`python -m proof PART`: runs one part, prints what it saw, and fails when that is wrong or too little."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from proof.part import Plan, Seen

PARTS: dict[str, str] = {}
"""By name: the module of each part."""


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="a fraction or a multiple of the full count")
    parser.add_argument("--shard", default="0/1", help="which of how many shards of the trials, from 0")
    asked = parser.parse_args(arguments)
    module = importlib.import_module(f"proof.{PARTS[asked.part]}")
    shard, shards = map(int, asked.shard.split("/"))
    with tempfile.TemporaryDirectory(prefix="holdfast-proof-", dir=Path.cwd()) as directory:
        seen: Seen = module.run(Plan(Path(directory), asked.seed, asked.scale, shard, shards))
    wrong = seen.problems + (seen.lacks(module.WANTED, asked.scale) if shards == 1 else [])
    print(json.dumps({"part": asked.part, "counts": dict(seen.counts), "problems": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
