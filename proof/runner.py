"""All parts at once, divided into shards, so that no core is ever idle: two lanes, each with the dearest first.

What waits (for a lease, a server, a process) has one lane, in which one more is under way than there are cores. What
only computes has the other, one for each core, and gives way to the first: it takes what that leaves, and ends last.

Each shard is a process of its own, in a group of its own. One that crashes, ends without a result, says what cannot be,
or does not end in its time (it is killed with all that it started) is a problem of its part; the others go on.

Invariants
1. Nothing is counted that a shard has not reported at its own end.
2. A part without problems has seen all that it wanted, in the counts of all its shards together.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from proof.part import Seen

SHARD_S = 60.0
"""About so many seconds of one core are one shard."""
GIVES_WAY = 10
"""By so much what only computes is nicer than what has times to keep."""
COST = 60.0
"""Seconds of one core for a part that does not say."""
TAIL = 600
"""So many characters of what a failed shard has printed are shown."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of a part before it runs."""

    name: str
    module: str
    wanted: Mapping[str, int]
    cost: float = COST
    shards_max: int = 10_000
    fault: str = ""
    """Why it cannot run at all."""
    waits: bool = False
    """Whether it has times to keep, or mostly waits."""

    def shards(self, scale: float) -> int:
        """How many shards it is divided into."""
        return max(1, min(self.shards_max, ceil(self.cost * scale / SHARD_S)))


@dataclass(frozen=True, slots=True)
class Job:
    """One shard of a part."""

    part: Part
    shard: int
    shards: int
    cost: float

    @property
    def name(self) -> str:
        """For people, from 1."""
        return f"{self.part.name} {self.shard + 1}/{self.shards}"

    @property
    def limit_s(self) -> float:
        """When it is taken to hang: a machine may be slow, or busy with other things, such as the other lane."""
        return (180 if self.part.waits else 1_200) + 10 * self.cost


@dataclass(slots=True)
class Found:
    """What the shards of a part have seen together."""

    part: Part
    seen: Seen = field(default_factory=Seen)
    shards: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    """Of all shards one after the other, by the wall."""

    def problems(self, scale: float) -> list[str]:
        """What went wrong, and of what too little was seen."""
        return self.seen.problems + self.seen.lacks(self.part.wanted, scale)


@dataclass(frozen=True, slots=True)
class Asked:
    """How the parts are to be run."""

    seed: int = 0
    scale: float = 1.0
    cores: int = 2
    limit_s: float | None = None
    """Instead of each job's own."""
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)


def load(name: str, module: str) -> Part:
    """Look at a part; one that cannot even be looked at is a problem like any other."""
    try:
        loaded = importlib.import_module(module)
        cost, shards = getattr(loaded, "COST", COST), getattr(loaded, "SHARDS", 10_000)
        return Part(name, module, loaded.WANTED, cost, shards, waits=getattr(loaded, "WAITS", False))
    except Exception as error:  # whatever a module does at import
        return Part(name, module, {}, fault=f"cannot be loaded: {type(error).__name__}: {error}")


def jobs(parts: list[Part], scale: float) -> list[Job]:
    """The dearest first, so that none is left alone at the end."""
    found = []
    for part in (part for part in parts if not part.fault):
        shards = part.shards(scale)
        found += [Job(part, shard, shards, part.cost * scale / shards) for shard in range(shards)]
    return sorted(found, key=lambda job: -job.cost)


def run(parts: list[Part], asked: Asked) -> list[Found]:
    """Run them all; comes back when each shard has ended."""
    began = time.monotonic()
    found = {part.name: Found(part, Seen(problems=[part.fault] if part.fault else [])) for part in parts}
    todo = jobs(parts, asked.scale)
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-proof-") as directory,
        ThreadPoolExecutor(asked.cores + 1) as waiting,
        ThreadPoolExecutor(asked.cores) as computing,
    ):
        crew = _Crew(asked, Path(directory))
        under_way = {(waiting if job.part.waits else computing).submit(crew.do, job): job for job in todo}
        try:
            while under_way:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    job = under_way.pop(future)
                    result = _add(found[job.part.name], future)
                    asked.tell(f"{_clock(time.monotonic() - began)}  {job.name}: {result}, {len(under_way)} more to do")
        finally:
            crew.stop()
            for pool in (waiting, computing):
                pool.shutdown(cancel_futures=True)
    return list(found.values())


def _add(found: Found, future: Future[tuple[dict[str, Any], float]]) -> str:
    """Add what a shard found; in a word, for those who watch."""
    result, seconds = future.result()
    found.seen.add(Seen(problems=result["problems"]))
    found.seen.counts.update(result["counts"])
    found.shards += 1
    found.cpu_seconds += result["cpu_seconds"]
    found.seconds += seconds
    return f"{len(result['problems'])} PROBLEMS" if result["problems"] else f"{seconds:.0f} s"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3}:{int(seconds) % 60:02}"


class _Crew:
    """Does jobs in processes, from threads."""

    def __init__(self, asked: Asked, directory: Path) -> None:
        self._asked = asked
        self._directory = directory
        self._started: list[subprocess.Popen[bytes]] = []
        self._is_stopped = False

    def do(self, job: Job) -> tuple[dict[str, Any], float]:
        """What a shard found, also when that is only how it ended."""
        began = time.monotonic()
        stem = self._directory / job.name.replace("/", "-").replace(" ", "-")
        problem = self._performed(job, stem.with_suffix(".json"), stem.with_suffix(".log"))
        result = problem or _read(stem.with_suffix(".json"))
        if isinstance(result, str):
            said = stem.with_suffix(".log").read_text("utf-8", "replace").strip()[-TAIL:]
            result = {"counts": {}, "problems": [f"shard {job.shard}/{job.shards} {result}: {said}"], "cpu_seconds": 0}
        return result, time.monotonic() - began

    def _performed(self, job: Job, result: Path, log: Path) -> str:
        """Run its process; what was wrong with its end."""
        where = f"{job.shard}/{job.shards}"
        options = ["--seed", str(self._asked.seed), "--scale", str(self._asked.scale), "--shard", where]
        options += ["--nice", "0" if job.part.waits else str(GIVES_WAY)]
        command = [sys.executable, "-m", "proof.shard", job.part.module, *options, "--result", str(result)]
        limit_s = self._asked.limit_s or job.limit_s
        with log.open("wb") as out:
            if self._is_stopped:
                return "was not begun"
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._started.append(process)
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return f"did not end within {limit_s:.0f} s"
            finally:
                _end(process)
        return f"ended with {code}" if code else ""

    def stop(self) -> None:
        """End what is under way."""
        self._is_stopped = True
        for process in self._started:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and whatever it has left behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nothing is left of its group
        pass
    process.wait()


def _read(file: Path) -> dict[str, Any] | str:
    """A result, or what is wrong with it."""
    try:
        result = json.loads(file.read_bytes())
        counts, problems, cpu_seconds = result["counts"], result["problems"], float(result["cpu_seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"left no result ({type(error).__name__})"
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        return f"counted what cannot be counted, {counts}"
    return {"counts": counts, "problems": [str(problem) for problem in problems], "cpu_seconds": cpu_seconds}
