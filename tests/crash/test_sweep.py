"""A small agent killed at every point, with the ledger as oracle; the main job's sweep is in `test_support_sweep`."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

import holdfast as hf
from holdfast.core.events import Kind, StepKind
from holdfast.core.state import fold
from holdfast.errors import NotDone
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.crash import Scenario, effect, reach, sweep
from holdfast.testing.ledger import Ledger

FAST = hf.Settings(quiet_s=0.02, park_s=0.05, poll_s=0.02, settle_s=0.0)
WRITES = ("charge", "mail")


class Place(NamedTuple):
    trial: str
    store: str
    url: str


def send(url: str, name: str, key: str, args: dict[str, Any], *, dedupe: bool) -> dict[str, Any]:
    """One effect over HTTP, with points before it is sent, while it is under way, and after its answer."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=10)
    kind = name.rpartition(".")[2]
    with effect(kind):
        connection.request(
            "POST",
            f"/effects/{name}{'?dedupe=1' if dedupe else ''}",
            json.dumps({"args": args}),
            {"Idempotency-Key": key, "Content-Type": "application/json"},
        )
        reach(f"{kind}:sent")
        response = connection.getresponse()
        answer = json.loads(response.read())
    connection.close()
    return dict(answer)


def happened(url: str, name: str, key: str) -> Any:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=10)
    connection.request("GET", f"/effects/{name}/{key}")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return json.loads(body) if response.status == 200 else None


def make_agent(place: Place) -> hf.Agent[int, list[str]]:
    """Three rounds of read, once, idempotent, and a sleep; twelve steps in all."""

    def was_charged(key: str, item: int) -> Any:
        found = happened(place.url, f"{place.trial}.charge", key)
        return hf.Done(f"charge-{item}") if found is not None else NotDone("the ledger does not know it")

    @hf.tool(effect="read")
    async def price(item: int) -> int:
        reach("price")
        return 100 + item

    @hf.tool(effect="once", verify=was_charged)
    async def charge(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
        args = {"item": item}
        await asyncio.to_thread(send, place.url, f"{place.trial}.charge", idempotency_key, args, dedupe=False)
        return f"charge-{item}"

    @hf.tool(effect="idempotent")
    async def mail(item: int, *, idempotency_key: str = hf.INJECTED) -> str:
        args = {"item": item}
        await asyncio.to_thread(send, place.url, f"{place.trial}.mail", idempotency_key, args, dedupe=True)
        return f"mail-{item}"

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=200))
    async def shop(run: hf.Run, rounds: int) -> list[str]:
        done = []
        for item in range(rounds):
            await price(item)
            done.append(await charge(item))
            done.append(await mail(item))
            await run.sleep(0.001)
        return done

    return shop


class Shop(Scenario):
    def __init__(self, ledger: Ledger, directory: Path, rounds: int) -> None:
        self.ledger = ledger
        self.directory = directory
        self.rounds = rounds
        self.in_doubt = 0

    def prepare(self, trial: str) -> Place:
        return Place(trial, str(self.directory / f"{trial}.db"), self.ledger.url)

    def run(self, place: Place, journal: Callable[[Journal], Journal]) -> None:
        clock = SystemClock()
        engine = journal(open_journal(place.store, clock=clock.now))
        app = hf.App(engine, settings=FAST, clock=clock)
        result = app.run_sync(make_agent(place), self.rounds, key="shop")
        assert len(result) == 2 * self.rounds

    def after_kill(self, place: Place, label: str) -> None:
        name, _, point = label.partition(":")
        if point == "sent":  # the request has left: wait until the ledger has it, as `settle` does in production
            written = self.ledger.effects(f"{place.trial}.{name}")
            self.ledger.wait_for(f"{place.trial}.{name}", len(written) + (0 if self._arrived(place, name) else 1))

    def _arrived(self, place: Place, name: str) -> bool:
        return len(self.ledger.effects(f"{place.trial}.{name}")) >= self._sent(place, name)

    def _sent(self, place: Place, name: str) -> int:
        journal = open_journal(place.store, clock=SystemClock().now)
        events = journal.events(journal.heads()[0].run_id)
        journal.close()
        return sum(1 for e in events if e.kind is Kind.STEP_INTENDED and e.address and e.address.name == name)

    def check(self, place: Place, kills: Sequence[str]) -> list[str]:
        wrong = []
        charges = self.ledger.effects(f"{place.trial}.charge")
        items = sorted(e.args["item"] for e in charges)
        if items != list(range(self.rounds)):
            wrong.append(f"charges {items}: lost or repeated")
        mails = sorted({e.args["item"] for e in self.ledger.effects(f"{place.trial}.mail") if e.first})
        if mails != list(range(self.rounds)):
            wrong.append(f"mails {mails}")
        if self.ledger.count(f"{place.trial}.mail") != self.rounds:
            wrong.append("a mail happened twice: its key changed")
        journal = open_journal(place.store, clock=SystemClock().now)
        state = fold(journal.events(journal.heads()[0].run_id))
        journal.close()
        if state.status != "succeeded":
            wrong.append(f"ended {state.status}")
        for slot in state.slots.values():
            was_doubtful = slot.step is StepKind.TOOL and slot.address.name == "charge" and slot.served == "verify"
            self.in_doubt += was_doubtful or slot.attempt > 1
        if any(_is_doubtful(label) for label in kills) and not any(
            s.served == "verify" or s.attempt > 1 for s in state.slots.values() if s.address.name == "charge"
        ):
            wrong.append("a charge was in doubt and nobody was asked")
        return wrong


def _is_doubtful(label: str) -> bool:
    """Whether a kill here leaves a charge with an intent and no outcome."""
    return label.startswith("charge:") or label in (
        "append:after:StepIntended(charge)",
        "append:before:StepSucceeded(charge)",
    )


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """In memory where that is possible: these trials kill processes, not machines."""
    root = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=root) as name:
        yield Path(name)


WINDOWS = (
    "append:before:StepIntended(charge)",
    "append:after:StepIntended(charge)",
    "charge:before",
    "charge:sent",
    "charge:after",
    "append:before:StepSucceeded(charge)",
    "append:after:StepSucceeded(charge)",
    "post:after",
    "claim:after",
    "append:before:RunEnded",
    "release:",
)


@pytest.mark.timeout(120)
def test_every_point_of_a_round_with_a_second_kill_in_recovery(directory: Path) -> None:
    """Lost: R9, R10. An effect lost or repeated, or a step in doubt that nobody heard of."""
    with Ledger() as ledger:
        scenario = Shop(ledger, directory, rounds=1)
        report = sweep(scenario, seconds=1)
        report.require(kills=60, windows=WINDOWS)
        assert scenario.in_doubt >= 4


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_pair_of_points_of_twelve_steps(directory: Path) -> None:
    """Lost: the claim of the README, with its counts."""
    with Ledger() as ledger:
        scenario = Shop(ledger, directory, rounds=3)
        report = sweep(scenario, seconds=12)
        report.require(kills=1_000, windows=WINDOWS)
        print(f"{len(report.points)} points, {len(report.trials)} trials, {sum(report.kills.values())} kills, 0 wrong")
