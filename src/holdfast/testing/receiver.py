"""The other side of a simulated world: what effects arrive at, with a ledger of what arrived.

A receiver of `idempotent` effects keeps what it did under each key; one of `once` effects does everything that
arrives. One that checks epochs refuses whoever has been replaced: an owner that looks shuts out the owners before it.

Invariants
1. What arrived is in the ledger, whatever becomes of the process that sent it.
2. An effect that was refused has not happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Arrival(NamedTuple):
    """One effect that happened."""

    name: str
    run: str
    args: str
    epoch: int
    result: str


class Stale(Exception):
    """A sender that has been replaced was refused; nothing happened."""


@dataclass(slots=True)
class Receiver:
    """What has happened in the world, by idempotency key."""

    checks_epochs: bool = False
    arrived: dict[str, list[Arrival]] = field(default_factory=dict)
    """All that happened under a key, in order; of an idempotent effect the first only."""
    arguments: dict[str, set[str]] = field(default_factory=dict)
    """With which arguments a key was sent, also again."""
    bodies: dict[str, int] = field(default_factory=dict)
    """How many bodies of tools were begun, by run."""
    stale: int = 0
    """Senders that were refused."""
    deduplicated: int = 0
    _epochs: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def begun(self, run: str) -> None:
        """The body of a tool begins."""
        self.bodies[run] = self.bodies.get(run, 0) + 1

    def arrive(self, name: str, run: str, key: str, args: str, epoch: int, *, dedupe: bool) -> str:
        """An effect arrives; its result. Raises `Stale`."""
        self._see(run, epoch)
        self.arguments.setdefault(key, set()).add(args)
        there = self.arrived.setdefault(key, [])
        if dedupe and there:
            self.deduplicated += 1
            return there[0].result
        self._count += 1
        result = f"{name}-{self._count}"
        there.append(Arrival(name, run, args, epoch, result))
        return result

    def look(self, run: str, key: str, epoch: int) -> str | None:
        """What has happened under this key; None: nothing, and with epochs nothing of an earlier owner will."""
        self._see(run, epoch)
        there = self.arrived.get(key)
        return there[-1].result if there else None

    def _see(self, run: str, epoch: int) -> None:
        if not self.checks_epochs:
            return
        if epoch < self._epochs.get(run, 0):
            self.stale += 1
            raise Stale(f"run {run} has an owner of epoch {self._epochs[run]}; this is one of {epoch}")
        self._epochs[run] = epoch
