"""`python -m proof`: runs every part and writes docs/evidence.json and the claims of the README.

`python -m proof PART` runs one part, prints what it saw, and fails when that is wrong or too little; it writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from proof import claims, evidence, runner, shard
from proof.part import Seen

PARTS: dict[str, str] = {
    "double_kills": "double_kills",
    "fencing": "fencing",
    "storm": "storm",
    "state_machine": "state_machine",
    "fuzz": "fuzz",
    "postgres_faults": "postgres_faults",
    "sweeps": "sweeps",
    "session_kills": "session_kills",
    "planted": "planted",
    "power_cut": "power_cut",
    "power_cut_runs": "power_cut_runs",
    "simulation": "simulation",
    "io_errors": "io_errors",
    "bit_flips": "bit_flips",
    "people": "people",
}
"""By name: the module of each part."""
HOURS = 1 / 3
"""The full scale takes at most so long on two cores."""


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("part", nargs="?", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="a fraction or a multiple of the full count")
    parser.add_argument("--shard", default="0/1", help="of one part: which of how many shards of the trials, from 0")
    parser.add_argument("--hours", type=float, help="instead of a scale: how long it may take, on two cores")
    parser.add_argument("--only", help="some parts, with commas between them, on all cores; claims nothing")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="where the evidence goes; a run that is not full writes only there")
    asked = parser.parse_args(arguments)
    if asked.hours is not None:
        asked.scale = asked.hours / HOURS
    return _one(asked) if asked.part else _all(asked)


def _one(asked: argparse.Namespace) -> int:
    at, shards = map(int, asked.shard.split("/"))
    module = f"proof.{PARTS[asked.part]}"
    found = shard.done(module, asked.seed, asked.scale, at, shards)
    wrong = found["problems"]
    if shards == 1:
        part = runner.load(asked.part, module)
        wrong = runner.Found(part, Seen(Counter(found["counts"]), wrong)).problems(asked.scale)
    print(json.dumps({"part": asked.part, **found, "problems": wrong}))
    return 1 if wrong else 0


def _all(asked: argparse.Namespace) -> int:
    names = asked.only.split(",") if asked.only else list(PARTS)
    parts = [runner.load(name, f"proof.{PARTS[name]}") for name in names]
    how = runner.Asked(asked.seed, asked.scale, asked.cores)
    before, began = evidence.state(), time.monotonic()
    found = runner.run(parts, how)
    seconds = time.monotonic() - began
    made = evidence.evidence(found, how, seconds, before=before, is_partial=bool(asked.only))
    out = asked.out or (evidence.ROOT / "evidence-partial.json" if made["is_partial"] else evidence.FILE)
    out.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if out == evidence.FILE:
        claims.write(evidence.ROOT / "README.md", made)
    print(claims.summary(made))
    print(f"{out}: {claims.rendered(made)}")
    return 1 if made["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
