"""What the crash tests share: a small agent whose effects reach a ledger, and the scenario that sweeps it."""

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
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.state import fold
from holdfast.errors import NotDone
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.crash import Report, Scenario, effect, reach
from holdfast.testing.ledger import Ledger

SETTLED = hf.Settings(settle_s=0.0, poll_s=0.02)
"""The parent waits until the ledger has what a dead child sent, so `verify` need not."""


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
    """What the ledger has under this key."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=10)
    connection.request("GET", f"/effects/{name}/{key}")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return json.loads(body) if response.status == 200 else None


def make_agent(place: Place, pause_s: float) -> hf.Agent[int, list[str]]:
    """Rounds of read, once, idempotent, and a sleep."""

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
            await run.sleep(pause_s)
        return done

    return shop


class Shop(Scenario):
    """The small agent, killed; the ledger is the oracle."""

    limit_s = 30

    def __init__(
        self,
        ledger: Ledger,
        directory: Path,
        rounds: int,
        *,
        pause_s: float = 0.001,
        settings: hf.Settings = SETTLED,
        prefix: str = "",
    ) -> None:
        self.ledger = ledger
        self.directory = directory
        self.rounds = rounds
        self.pause_s = pause_s
        self.settings = settings
        self.prefix = prefix
        self.in_doubt = 0

    def prepare(self, trial: str) -> Place:
        name = self.prefix + trial
        return Place(name, str(self.directory / f"{name}.db"), self.ledger.url)

    def run(self, place: Place, journal: Callable[[Journal], Journal]) -> None:
        clock = SystemClock()
        engine = journal(open_journal(place.store, clock=clock.now))
        app = hf.App(engine, settings=self.settings, clock=clock)
        result = app.run_sync(make_agent(place, self.pause_s), self.rounds, key="shop")
        assert len(result) == 2 * self.rounds

    def after_kill(self, place: Place, passed: Sequence[str]) -> None:
        name, _, point = passed[-1].partition(":")
        if point == "sent":  # the request has left: wait until the ledger has it, as `settle` does in production
            self.ledger.wait_for(f"{place.trial}.{name}", passed.count(f"{name}:sent"))

    def check(self, place: Place, kills: Sequence[str]) -> list[str]:
        charges = self.ledger.effects(f"{place.trial}.charge")
        mails = self.ledger.effects(f"{place.trial}.mail")
        wrong = []
        items = sorted(e.args["item"] for e in charges)
        if items != list(range(self.rounds)):
            wrong.append(f"charges {items}: lost or repeated")
        if sorted({e.args["item"] for e in mails}) != list(range(self.rounds)):
            wrong.append("a mail was lost")
        if sum(e.first for e in mails) != self.rounds:
            wrong.append("a mail happened twice: its key changed")
        return wrong + self._check_record(place, kills, len(charges) + len(mails))

    def _check_record(self, place: Place, kills: Sequence[str], received: int) -> list[str]:
        journal = open_journal(place.store, clock=SystemClock().now)
        events = journal.events(journal.heads()[0].run_id)
        journal.close()
        state = fold(events)
        wrong = []
        if state.status != "succeeded":
            wrong.append(f"ended {state.status}")
        charged = [slot for slot in state.slots.values() if slot.address.name == "charge"]
        was_doubtful = [slot for slot in charged if slot.served == "verify" or slot.attempt > 1]
        self.in_doubt += len(was_doubtful)
        if any(_is_doubtful(label) for label in kills) and not was_doubtful:
            wrong.append("a charge was in doubt and nobody was asked")
        if state.used.tool_calls < received + sum(event.charge.tool_calls for event in events if _is_read(event)):
            wrong.append(f"under-counted: {received} effects were sent, and {state.used.tool_calls} calls charged")
        return wrong


def _is_read(event: Event) -> bool:
    """Charged for something else than an effect: a read, a `verify`, the allowance of a takeover."""
    is_look = event.step is StepKind.VERIFY or (event.address is not None and event.address.name == "price")
    return event.kind is Kind.RUN_RESUMED or (event.kind is Kind.STEP_SUCCEEDED and is_look)


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


@pytest.fixture(scope="module")
def ledger() -> Iterator[Ledger]:
    """The oracle."""
    with Ledger() as ledger:
        yield ledger


@pytest.fixture(scope="module")
def make_shop(ledger: Ledger, directory: Path) -> Callable[..., Shop]:
    """Makes a `Shop`; give two of one module different prefixes."""
    return lambda **how: Shop(ledger, directory, **how)


@pytest.fixture(scope="module")
def post() -> Callable[..., dict[str, Any]]:
    """Sends one effect to a ledger: `post(url, name, key, args, dedupe=…)`."""
    return send


@pytest.fixture(scope="module")
def found() -> Callable[..., Any]:
    """Asks a ledger for one effect: `found(url, name, key)`; None when it has none."""
    return happened


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[Report], Report]:
    """Writes down what a sweep saw, for `proof/sweeps.py`; gives it back."""

    def count(report: Report) -> Report:
        record_property("trials", len(report.trials))
        record_property("kills", sum(report.kills.values()))
        return report

    return count
