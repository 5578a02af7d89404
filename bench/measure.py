"""What a row is made of, and how two things are timed side by side.

Invariants
1. What is compared was measured in turns (A B A B …) in one process, on one file system: another program that
   slows the machine slows both. Ratios are the result; the seconds are for orientation.
2. A number is a median over at least five rounds, unless `--quick` says that only the working matters.
3. Nothing here passes or fails; `targets` say what was hoped for, `missed` what was not reached.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

KILOBYTE = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how long to measure."""

    directory: Path
    """On the file system that is to be measured; each use makes its own directory in it."""
    is_quick: bool = False
    """Tiny counts: shows that the row works, says nothing about speed."""
    peers: tuple[str, ...] = ()
    """Peers that are installed and asked for: `dbos`, `langgraph`."""

    def count(self, full: int, quick: int) -> int:
        """How many of something."""
        return quick if self.is_quick else full

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new directory, removed afterwards."""
        path = Path(tempfile.mkdtemp(prefix="bench-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Target:
    """A number to reach."""

    got: float
    limit: float
    is_upper: bool = True
    """The number is to be at most `limit`; otherwise at least."""

    @property
    def is_met(self) -> bool:
        """Whether it was reached."""
        return self.got <= self.limit if self.is_upper else self.got >= self.limit


@dataclass(slots=True)
class Row:
    """One line of the table: its numbers by name (units last), ratios and targets."""

    numbers: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def seconds_of(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def in_turns(rounds: int, **works: Callable[[], float]) -> dict[str, list[float]]:
    """Ask each of `works` for a number, in turns; every second round goes backwards."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        names = list(works) if number % 2 == 0 else list(reversed(works))
        for name in names:
            found[name].append(works[name]())
    return found


def told_by(module: str, *arguments: object) -> list[float]:
    """The numbers that a new process of `module` prints in its last line."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{told.stderr[-2_000:]}")
    return [float(number) for number in told.stdout.splitlines()[-1].split()]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def kilobyte(number: int) -> str:
    """1 KB of text that is not the same for two numbers."""
    return f"{number:08}" + "x" * (KILOBYTE - 8)
