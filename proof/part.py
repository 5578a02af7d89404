"""What a part of the proof is given, and what it gives back.

A part is a module of this package with `WANTED`, how much of what it must have seen at full scale, and `run(plan)`.
Its counts are what it did, never what it meant to do; the claims of the README and docs/evidence.json are made of them.
It may also say `COST`, the seconds of one core that the full scale takes (60 when it does not say): what is dear begins
first, and is divided into shards of about a minute each; `SHARDS`, how many shards it can be divided into at most; and
`WAITS`, that it has times to keep or mostly waits: what does not say so gives way to it.

Invariants
1. A part that did not see what it wants to have seen has failed, also when nothing went wrong.
2. Equal plans do equal things, where no real process, disk or database is involved.
3. A part that is divided takes all its trials from `Plan.trials`, to the end: whoever passes that over would do, and
   count, the same again in each shard.
"""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(slots=True)
class Taken:
    """How many trials a plan has offered, and how many of them were taken."""

    offered: int = 0
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to be done, where, and from which seed."""

    directory: Path
    """A place of its own, on the disk that is to be trusted."""
    seed: int = 0
    scale: float = 1.0
    """1 does what the part wants; a sample does a fraction of it, and more hours a multiple."""
    shard: int = 0
    shards: int = 1
    """This process does each `shards`-th trial, from number `shard` on."""
    trial: Taken = field(default_factory=Taken, compare=False, repr=False)

    def trials(self, count: int) -> Iterator[int]:
        """The numbers of this shard's trials, of `count` at full scale."""
        numbers = range(self.shard, ceil(count * self.scale), self.shards)
        self.trial.offered += len(numbers)
        return self._counted(numbers)

    def _counted(self, numbers: range) -> Iterator[int]:
        for number in numbers:
            self.trial.taken += 1
            yield number

    def random(self, trial: int) -> random.Random:
        """The chance of one trial, the same in whichever shard it runs."""
        return random.Random(f"{self.seed}/{trial}")


@dataclass(slots=True)
class Seen:
    """What a part did and found."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """What is wrong, each with what is needed to do it again: a seed, a trial, a point."""

    def count(self, what: str, times: int = 1) -> None:
        """Something was done or seen."""
        self.counts[what] += times

    def add(self, other: Seen) -> None:
        """What another shard saw."""
        self.counts.update(other.counts)
        self.problems += other.problems

    def lacks(self, wanted: Mapping[str, int], scale: float = 1.0) -> list[str]:
        """Of what too little was seen, as sentences; scaled, but never nothing."""
        least = {what: max(1, int(count * scale)) for what, count in wanted.items()}
        return [f"{what}: {self.counts[what]} of {n}" for what, n in least.items() if self.counts[what] < n]


@contextmanager
def in_memory(directory: Path) -> Iterator[Path]:
    """A directory whose syncs cost nothing, for parts that kill processes, or put a disk of their own below the store:
    what is on a real one is not what they test."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="holdfast-", dir=memory if memory.is_dir() else directory) as name:
        yield Path(name)


@contextmanager
def rare_garbage() -> Iterator[None]:
    """What is there now stays, and garbage is looked for seldom: there is little, and the search takes a tenth of the
    time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
