"""`holdfast demo`: an agent is killed in the middle of a refund, and another process goes on.

Real processes: the effect ledger (payments and mail), the model server, and the agent, which is started, killed
with SIGKILL and started again by the very command that a user would type. This process stands in the line
between the agent and its payment service, so that it can hold one refund back and kill at that moment.

Invariants
1. Every number comes out of `demo_measure`; nothing here counts.
2. The agent's environment has no key of the user's: the demo never talks to a real provider and costs nothing.
3. Every child is gone when this returns, also after an error, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from types import FrameType
from typing import Literal
from urllib.parse import urlencode, urlsplit

import click

from holdfast.cli import option
from holdfast.cli.demo_measure import Evidence, measure
from holdfast.cli.demo_picture import picture
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, data, document, say
from holdfast.core.events import Event
from holdfast.errors import NotFound, RunFailed, UsageError
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.ledger import Ledger
from holdfast.testing.loopback import Answer, Call, Loopback
from holdfast.testing.model_server import ModelServer

KEY = "refunds-1"
KILL_AT = 7
"""The step in whose refund the agent is killed."""
HELD_S_MAX = 60.0
"""How long the first process may take until that refund."""
RUN_S_MAX = 120.0
"""How long the second may take to the end."""

When = Literal["after", "before"]


@click.command()
@click.option("--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Keep the files here.")
@click.option(
    "--kill",
    "when",
    type=click.Choice(["after", "before"]),
    default="after",
    show_default=True,
    help="Kill after the refund happened and before its answer came, or before it happened.",
)
@option.json
def demo(folder: Path | None, when: When, is_json: bool) -> int:
    """See an agent survive SIGKILL in the middle of a refund."""
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-demo-")))
        seen = measure(play(place.resolve(), when))
    if is_json:
        document({"schema": SCHEMA, **seen.facts()})
    else:
        data(picture(seen))
        if folder is not None:
            say(f"Look at it: holdfast show {KEY} --store {store_of(folder.resolve())}")
    return Exit.FAILED if seen.faults else Exit.DONE


def store_of(place: Path) -> str:
    """The demo's store in this folder."""
    return f"sqlite:///{place / 'demo.db'}"


def examples() -> Path:
    """Where the example lives: in a checkout beside src, otherwise in the installed package."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent.parent / "examples", package / "_examples"):
        if (folder / "support.py").is_file():
            return folder
    raise NotFound(
        f"The example is neither in a checkout nor in {package}. Nothing was started. Install holdfast anew."
    )


def play(place: Path, when: When) -> Evidence:
    """Run the example in `place`, kill it in the middle of a refund, let another process go on; what was seen."""
    if importlib.util.find_spec("anthropic") is None:
        raise UsageError(
            "The demo's agent uses the Anthropic SDK. Nothing was started. pip install 'holdfast[anthropic]'"
        )
    place.mkdir(parents=True, exist_ok=True)
    if (place / "demo.db").exists():
        raise UsageError(f"{place} holds a demo that was played already. Nothing was started. Name another folder.")
    source = examples()
    tickets = [row["id"] for row in csv.DictReader(io.StringIO((source / "data" / "tickets.csv").read_text("utf-8")))]
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        with _signals_wait():
            ledger = stack.enter_context(Ledger(place / "effects.jsonl"))
            model = ModelServer.spawn(source / "policy.py", "policy")
            stack.callback(model.close)
        line = stack.enter_context(closing(Line(ledger.url, tickets[KILL_AT - 1], when)))
        agent = Agent(source, place, {"PAYMENTS_URL": f"{line.url}/effects", "ANTHROPIC_BASE_URL": model.url})
        stack.callback(agent.kill)

        killed = agent.start()
        line.wait_held(agent)
        agent.kill()
        at_kill = _events(place)
        effects_at_kill, requests_at_kill = len(ledger.effects()), model.count
        line.release()

        next_one = agent.start()
        agent.wait()
        return Evidence(
            tickets=tickets,
            at_kill=at_kill,
            at_end=_events(place),
            effects=ledger.effects(),
            effects_at_kill=effects_at_kill,
            requests=model.requests,
            requests_at_kill=requests_at_kill,
            pids=(killed, next_one),
            keys=tuple(line.keys),
        )


@dataclass(slots=True)
class Agent:
    """The agent's process, one at a time; the same command each time."""

    source: Path
    place: Path
    services: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _starts: int = 0

    def start(self) -> int:
        """Start it; its process id."""
        self._starts += 1
        source, command = self.source, [sys.executable, "-m", "holdfast.cli", "run"]
        command += [f"{source / 'support.py'}:support", f"@{source / 'data' / 'tickets.csv'}", "--key", KEY]
        command += ["--store", store_of(self.place), "--config", str(source / "holdfast.toml")]
        with self._log.open("wb") as log, _signals_wait():
            self._process = subprocess.Popen(
                command, cwd=self.place, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process.pid

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "HOLDFAST_"))}
        local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "SHOP_DB": str(self.place / "shop.db")}
        return {**mine, **local, "ANTHROPIC_API_KEY": "demo", **self.services}

    @property
    def _log(self) -> Path:
        return self.place / f"agent-{self._starts}.log"

    def check_alive(self) -> None:
        """`RunFailed` with the agent's last words when it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise self._failed(f"ended with exit code {self._process.returncode} before it was killed")

    def wait(self) -> None:
        """Until it has ended well; `RunFailed` otherwise."""
        assert self._process is not None
        try:
            code = self._process.wait(RUN_S_MAX)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {RUN_S_MAX:.0f} s") from None
        if code != 0:
            raise self._failed(f"ended with exit code {code}")

    def _failed(self, what: str) -> RunFailed:
        words = self._log.read_text("utf-8", "replace")[-2000:].strip()
        return RunFailed(f"The demo's agent {what}. The demo was stopped. It said:\n{words}")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@dataclass(slots=True)
class Line:
    """The line between the agent and its payment service: holds the first refund of one ticket until `release`.

    `after`: the refund is passed on, and its answer is held. `before`: it is held itself, and never passed on.
    """

    ledger: str
    ticket: str
    when: When
    keys: list[str] = field(default_factory=list)
    """Idempotency keys of that ticket's refunds, in the order in which the agents sent them."""
    _held: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)
    _server: Loopback = field(init=False)

    def __post_init__(self) -> None:
        self._server = Loopback(self._answer)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    def wait_held(self, agent: Agent) -> None:
        """Until the refund is being held; `RunFailed` when the agent ends first or it takes too long."""
        for _ in range(int(HELD_S_MAX / 0.1)):
            if self._held.wait(0.1):
                return
            agent.check_alive()
        raise RunFailed(f"No refund of {self.ticket} was sent within {HELD_S_MAX:.0f} s. The demo was stopped.")

    def release(self) -> None:
        """From now on everything passes; what was held is dropped without an answer."""
        self._released.set()

    def close(self) -> None:
        """Stop listening."""
        self._released.set()
        self._server.close()

    def _answer(self, call: Call) -> Answer | None:
        is_awaited = self._is_awaited(call)
        if is_awaited:
            self.keys.append(call.headers.get("idempotency-key", ""))
        if self._released.is_set() or not is_awaited:
            return self._pass_on(call)
        if self.when == "after":
            self._pass_on(call)
        self._held.set()
        self._released.wait()
        return None

    def _is_awaited(self, call: Call) -> bool:
        is_refund = call.method == "POST" and call.segments()[-1] == "refund"
        return is_refund and bool(call.json()["args"]["ticket"] == self.ticket)

    def _pass_on(self, call: Call) -> Answer:
        path = call.path + (f"?{urlencode(call.query)}" if call.query else "")
        key = call.headers.get("idempotency-key")
        with closing(HTTPConnection(urlsplit(self.ledger).netloc, timeout=10)) as connection:
            connection.request(call.method, path, call.body or None, {"Idempotency-Key": key} if key else {})
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))


def _events(place: Path) -> list[Event]:
    """The run's events, as they are on disk."""
    with closing(open_journal(store_of(place), clock=SystemClock().now, must_exist=True)) as journal:
        return [event for head in journal.heads(key=KEY) for event in journal.events(head.run_id)]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that no child is left behind."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    earlier = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the block is over, so that nothing that it starts is left without an owner."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = [signal.signal(number, lambda number, frame: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
