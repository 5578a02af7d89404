"""Runs within runs, killed at every point: composites, signals, children, and what they tell one another."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import holdfast as hf
from holdfast.core.accept import MessageKind
from holdfast.core.address import run_id
from holdfast.core.charges import rebuilt
from holdfast.core.heads import Status
from holdfast.core.state import State, fold
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.crash import Scenario, effect, sweep

STAYS = hf.Settings(settle_s=0.0, poll_s=1.0)
"""Nothing closes on its way, so that each life passes the same points."""
CLOSES = hf.Settings(settle_s=0.0, poll_s=0.1, quiet_s=0.02, park_s=0.04)


class Place(NamedTuple):
    """A trial's files."""

    store: str
    ledger: Path


class Family(Scenario):
    """A parent with a composite, two children in parallel, one of them with a child of its own, and a signal."""

    limit_s = 30
    spare = 16

    def __init__(self, directory: Path, *, serves: bool = False) -> None:
        self.directory = directory
        self.serves = serves

    def prepare(self, trial: str) -> Place:
        """A fresh store and an empty ledger."""
        path = tempfile.mkdtemp(prefix=f"{trial}-", dir=self.directory)
        return Place(f"sqlite:///{path}/h.db", Path(path) / "ledger")

    def run(self, place: Place, journal: Callable[[Journal], Journal]) -> None:
        """One life of the parent's process."""
        parent, agents = make(place)
        store = journal(open_journal(place.store, clock=SystemClock().now))

        async def main() -> None:
            async with hf.App(
                store, agents=agents, settings=CLOSES if self.serves else STAYS, serves=self.serves
            ) as app:
                run = await app.start(parent, 1, key="k")
                is_sent = any(mail.message.kind is MessageKind.SIGNAL for mail in store.mail(run))
                if not is_sent and not any(event.kind == "SignalReceived" for event in store.events(run)):
                    head = store.head(run)
                    if head is not None and not head.status.is_end:
                        await app.signal(run, "go", "went")
                assert await app.run(parent, 1, key="k") == ["part 1", ["leaf 1", "leaf 2"], "went", "leaf 3"]

        asyncio.run(main())

    def check(self, place: Place, kills: Sequence[str]) -> list[str]:
        """No run was lost or started twice, no effect done twice under another key, no charge lost or made twice."""
        journal = open_journal(place.store, clock=SystemClock().now)
        try:
            heads = journal.heads(limit=100)
            states = {head.run_id: fold(journal.events(head.run_id)) for head in heads}
            wrong = [f"{head.key}: {head.status} {head.why}" for head in heads if head.status is not Status.SUCCEEDED]
            wrong += [f"unread mail of {head.key}" for head in heads if journal.mail(head.run_id)]
            parent = states[run_id(journal.hash_key, "default", "k")]
            wrong += _wrong_family(states, parent)
            for key, sums in rebuilt(journal.events(head.run_id) for head in heads).items():
                account = journal.account(key)
                if account is None or (account.spent, account.reserved) != sums:
                    wrong.append(f"account {key} holds {account}, and the records say {sums}")
        finally:
            journal.close()
        lines = place.ledger.read_text().splitlines()
        names = [line.partition(" ")[0] for line in lines]
        keys = {line.partition(" ")[2] for line in lines}
        if len(keys) != 5 or set(names) != {"part-1", "leaf-1", "leaf-2", "leaf-3", "end-1"}:
            wrong.append(f"effects: {sorted(lines)}")
        return wrong


def _wrong_family(states: dict[str, State], parent: State) -> list[str]:
    wrong = [] if len(states) == 5 else [f"{len(states)} runs, and 5 wanted"]
    wrong += [] if len(parent.children) == 3 else [f"the parent has {len(parent.children)} children"]
    for run, state in states.items():
        if state.open_children:
            wrong.append(f"{run} waits for {state.open_children}")
        wrong += [f"{run} drifted: {event.meta}" for event in state.drifts]
    return wrong


def make(place: Place) -> tuple[Any, list[Any]]:
    """The parent, and all agents."""

    @hf.tool(effect="idempotent")
    async def act(name: str, n: int, *, idempotency_key: str = hf.INJECTED) -> str:
        with effect(name):
            line = f"{name}-{n} {idempotency_key}\n".encode()
            ledger = os.open(place.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(ledger, line)
            os.close(ledger)
        return f"{name} {n}"

    @hf.tool(effect="composite")
    async def part(n: int) -> str:
        return await act("part", n)

    @hf.agent(name="leaf", budget=hf.Budget(tool_calls=50))
    async def leaf(run: hf.Run, n: int) -> str:
        return await act("leaf", n)

    @hf.agent(name="middle", budget=hf.Budget(tool_calls=50))
    async def middle(run: hf.Run, n: int) -> str:
        return await run.spawn(leaf, n)

    @hf.agent(name="top", budget=hf.Budget(tool_calls=200))
    async def top(run: hf.Run, n: int) -> Any:
        first = await part(n)
        both = await asyncio.gather(run.spawn(leaf, 1), run.spawn(middle, 2))
        told = await run.signal("go")
        last = await run.spawn(leaf, 3)
        await act("end", 1)
        return [first, both, told.value, last]

    return top, [top, middle, leaf]


WINDOWS = (
    "StepIntended(leaf)",
    "RunEnded",
    "SignalReceived",
    "StepSucceeded(go)",
    "StepSucceeded(part)",
    "claim:after",
)
"""Anywhere in a label: runs that share a commit share its point."""


@pytest.mark.timeout(240)
def test_a_family_killed_at_some_points_and_in_each_window(tmp_path: Path) -> None:
    """Lost: as below; the default run's sample."""
    report = sweep(Family(tmp_path), every=6, seconds=0, windows=WINDOWS)
    report.require(kills=12, windows=WINDOWS)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_a_family_killed_at_every_point_and_in_recovery(tmp_path: Path, counted: Any) -> None:
    """Lost: a child started twice or never, an end that nobody heard of, a signal or a part that was taken twice."""
    report = counted(sweep(Family(tmp_path), seconds=4))
    report.require(kills=200, windows=WINDOWS)


@pytest.mark.timeout(120)
def test_a_family_whose_runs_are_taken_by_whoever_serves(tmp_path: Path) -> None:
    """Lost: the same, where the parent is not the one that is waited for: each run is claimed as it is due."""
    report = sweep(Family(tmp_path, serves=True), every=0, seconds=1, windows=WINDOWS)
    report.require(kills=8)
