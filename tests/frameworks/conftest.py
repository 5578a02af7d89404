"""What the framework rows share: the examples, the services that they talk to, and the scenario that kills them.

A framework is imported when its row runs, never at collection. The ledger and the model server are the oracles: nothing
here trusts what the killed processes said. The journal is read afterwards, and compared with what the two received.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import httpx2
import pytest

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.state import State, fold
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.crash import Scenario, reach
from holdfast.testing.ledger import Ledger
from holdfast.testing.model_server import ModelServer, Received

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "frameworks"
ALIKE = {
    "OPENAI_API_KEY": "none",
    "ANTHROPIC_API_KEY": "none",
    "GOOGLE_API_KEY": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MSWEA_GLOBAL_CONFIG_DIR": str(Path(tempfile.gettempdir(), "mini-swe-agent")),
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "2",
    "MSWEA_SILENT_STARTUP": "1",
}
"""What every example finds in its environment."""
UNRECORDED_CALL = ("model:sent", "model:chunk", "model:after", "append:before:StepSucceeded({})")
"""A kill here may leave a call answered and its answer not recorded; it is sent again."""
SPARE = 9
"""Points after the end: tools that run at once are sometimes written together, and then a run has fewer points."""
IN_DOUBT = ("refund:before", "refund:sent", "refund:after", "append:after:StepIntended(bash)")


class Row(NamedTuple):
    """One example: a framework, as a user would write it."""

    file: str
    packages: tuple[str, ...]
    """What has to be installed."""
    step: str
    """Name of its model calls in the record."""
    is_parallel: bool = True
    """Whether it runs tools at once that the model calls at once."""
    tool: str = "refund"
    """The tool that pays; its request is made in this process only where that is `refund`."""


ROWS = (
    Row("anthropic_sdk", ("anthropic",), "messages"),
    Row("openai_chat", ("openai",), "chat", is_parallel=False),
    Row("openai_responses", ("openai",), "responses"),
    Row("pydantic_ai_agent", ("pydantic_ai", "openai"), "chat"),
    Row("gemini_agent", ("pydantic_ai", "google.genai"), "generate"),
    Row("openai_agents_sdk", ("agents",), "responses"),
    Row("langchain_agent", ("langchain", "langgraph", "langchain_openai"), "chat"),
    Row("langchain_anthropic_agent", ("langchain", "langgraph", "langchain_anthropic"), "messages"),
    Row("smolagents_tools", ("smolagents", "openai"), "chat"),
    Row("smolagents_code", ("smolagents", "openai"), "chat", is_parallel=False),
    Row("litellm_loop", ("litellm",), "chat", is_parallel=False),
    Row("mini_swe", ("minisweagent", "litellm"), "chat", is_parallel=False, tool="bash"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `row` runs for each; one that takes a `parallel_row` for those that run tools at once."""
    for name, rows in (("row", ROWS), ("parallel_row", [row for row in ROWS if row.is_parallel])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, rows, ids=[row.file for row in rows])


def environment(model: ModelServer, payments: str) -> dict[str, str]:
    """What points an example to these services: the SDKs' own variables."""
    openai = f"{model.url}/v1"
    urls = {"ANTHROPIC_BASE_URL": model.url, "OPENAI_BASE_URL": openai, "OPENAI_API_BASE": openai}
    urls["GOOGLE_GEMINI_BASE_URL"] = model.url
    return ALIKE | urls | {"PAYMENTS_URL": payments}


class Place(NamedTuple):
    trial: str
    store: str
    model: ModelServer
    earlier: int
    """Requests of the trials before this one."""

    @property
    def requests(self) -> list[Received]:
        """What the model was asked in this trial."""
        return self.model.requests[self.earlier :]

    def events(self) -> list[Event]:
        """What the journal has of the run."""
        journal = open_journal(self.store, clock=SystemClock().now, must_exist=True)
        try:
            (head,) = journal.heads(key="k")
            return journal.events(head.run_id)
        finally:
            journal.close()


class Eager(SystemClock):
    """Draws 0, so that no backoff takes time."""

    def draw(self) -> float:
        """Always the lowest."""
        return 0.0


class Refunds(Scenario):
    """One example on one request."""

    limit_s = 30
    settings = hf.Settings(settle_s=0.0, poll_s=60.0)
    """The parent waits until the ledger has what a dead child sent, so `verify` need not. A poll would be one more
    point in a trial that is slow, and each kill after it at another place than planned."""

    def __init__(self, row: Row, example: Any, task: str, directory: Path, fault: dict[str, Any]) -> None:
        self.row, self.example, self.task, self.directory = row, example, task, directory
        self.ledger = Ledger.start()
        self.model = ModelServer.spawn(EXAMPLES / "policy.py", "policy")
        if fault:
            self.model.fault(**fault)
        self.undisturbed: State | None = None
        self.seen: Counter[str] = Counter()

    def close(self) -> None:
        """End the services."""
        self.ledger.close()
        self.model.close()

    def prepare(self, trial: str) -> Place:
        return Place(trial, str(self.directory / f"{trial}.db"), self.model, self.model.count)

    def run(self, place: Place, journal: Callable[[Journal], Journal]) -> None:
        warnings.simplefilter("ignore")
        os.environ.update(environment(place.model, f"{self.ledger.url}/effects/{place.trial}"))
        os.chdir(self.directory)
        mark_requests()
        clock = Eager()
        app = hf.App(journal(open_journal(place.store, clock=clock.now)), settings=self.settings, clock=clock)
        with suppress(hf.errors.RunFailed):  # `check` reads in the journal how it ended
            app.run_sync(self.example.desk, f"{self.task} Ticket {place.trial}.", key="k")  # no two trials ask the same
        if place.trial == "through":
            (self.directory / "modules").write_text("\n".join(sys.modules))
            return
        for _ in range(SPARE):
            reach("after the end")

    def after_kill(self, place: Place, passed: Sequence[str]) -> None:
        what, _, point = passed[-1].partition(":")
        sent = passed.count(f"{what}:sent")
        if point == "sent" and what == "model":
            place.model.wait_for(place.earlier + sent)
        elif point == "sent" and what == "refund":
            self.ledger.wait_for(f"{place.trial}/refund", sent)

    def check(self, place: Place, kills: Sequence[str]) -> list[str]:
        events = place.events()
        state = fold(events)
        if self.undisturbed is None:
            self.undisturbed = state
            warm((self.directory / "modules").read_text().split())
        if state.status != "succeeded" or state.end is None or self.undisturbed.end is None:
            return [f"ended {state.status}: {state.end}"]
        wrong = []
        if state.end.body != self.undisturbed.end.body:
            wrong.append(f"another answer: {state.end.body!r}")
        wrong += self._check_refunds(place) + self._check_doubt(events, kills)
        return wrong + self._check_calls(place, events, kills)

    def _check_refunds(self, place: Place) -> list[str]:
        """Every order was paid back, and once."""
        happened = Counter(e.args["order"] for e in self.ledger.effects(f"{place.trial}/refund"))
        self.seen["refunds"] += happened.total()
        expected = {order: 1 for order in ("K-17", "K-18") if order in self.task}
        return [] if happened == expected else [f"refunds: {dict(happened)}"]

    def _check_doubt(self, events: Sequence[Event], kills: Sequence[str]) -> list[str]:
        """A refund that was begun and not recorded is in doubt, and `verify` settled it."""
        doubted = {event.address for event in events if event.step is StepKind.VERIFY}
        self.seen["in doubt"] += len(doubted)
        begun = [kill for kill in kills if kill in IN_DOUBT]
        return [f"in doubt after {begun}, and nobody was asked"] if begun and not doubted else []

    def _check_calls(self, place: Place, events: Sequence[Event], kills: Sequence[str]) -> list[str]:
        """What was answered and recorded is not asked again."""
        requests = place.requests
        wrong = [f"a request was answered {r.status}: {r.body}" for r in requests if r.status not in (200, None)]
        ended = Counter(e.address for e in events if e.step is StepKind.MODEL and e.kind is Kind.STEP_SUCCEEDED)
        wrong += [f"recorded twice: {address}" for address, times in ended.items() if times > 1]
        assert self.undisturbed is not None
        if len(ended) != sum(slot.step is StepKind.MODEL for slot in self.undisturbed.slots.values()):
            wrong.append(f"{len(ended)} model calls, not as many as undisturbed")
        lost = [kill for kill in kills if kill in [window.format(self.row.step) for window in UNRECORDED_CALL]]
        again = sum(request.repeated for request in requests)
        if again > len(lost):
            wrong.append(f"{again} finished model calls sent again")
        if len(requests) > len(ended) + len(kills):
            wrong.append(f"{len(requests)} requests for {len(ended)} model calls")
        self.seen["requests"] += len(requests)
        self.seen["sent again"] += again
        return wrong


def warm(modules: Sequence[str]) -> None:
    """In the parent: import what the first child came to import, so that no later child has to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in set(modules) - set(sys.modules):
            with suppress(ImportError):  # a module that another one made up
                importlib.import_module(name)


# --- points around requests, below everything that a framework or holdfast does --------------------------------


def mark_requests() -> None:
    """Points around every request of this process, on the transports of both HTTP packages."""
    for package in (httpx, httpx2):
        mark(package.HTTPTransport, "handle_request", is_sync=True)
        mark(package.AsyncHTTPTransport, "handle_async_request", is_sync=False)


def mark(transport: Any, method: str, *, is_sync: bool) -> None:
    """Points before a request, when it has left, and when its answer is here."""
    real = getattr(transport, method)

    async def trace(what: str, event: str) -> None:
        reach_at(what, event)

    @wraps(real)
    def handle(self: Any, request: Any) -> Any:
        what = named(request)
        reach(f"{what}:before")
        told = reach_at if is_sync else trace
        request.extensions["trace"] = lambda event, info: told(what, event)
        return real(self, request)

    setattr(transport, method, handle)


def named(request: Any) -> str:
    """What a request is about."""
    if "/effects/" not in request.url.path:
        return "model"
    return "refund" if request.method == "POST" else "verify"


def reach_at(what: str, event: str) -> None:
    """The points that the connection tells of."""
    if event == "http11.receive_response_headers.started":  # the whole request has left
        reach(f"{what}:sent")
    elif event == "http11.receive_response_body.complete":
        reach(f"{what}:after")


def is_there(package: str) -> bool:
    """Whether it is installed, also where it is a part of another one that is not."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


# --- fixtures --------------------------------------------------------------------------------------------------


@pytest.fixture
def row_of() -> Callable[[str], Row]:
    """The row of this file."""
    return {row.file: row for row in ROWS}.__getitem__


@pytest.fixture
def services() -> Callable[[ModelServer, str], dict[str, str]]:
    """What points an example to a model server and a payment service."""
    return environment


@pytest.fixture
def examples() -> Path:
    """The directory of the examples and of their stand-in for a model."""
    return EXAMPLES


@pytest.fixture
def load() -> Iterator[Callable[[Row], ModuleType]]:
    """Imports a row's example, or skips the test with the name of the package that is missing."""
    before = dict(os.environ)

    def loaded(row: Row) -> ModuleType:
        for package in row.packages:
            if not is_there(package):
                pytest.skip(f"{row.file} needs the package {package}: make test-frameworks")
        os.environ.update(ALIKE)
        if str(EXAMPLES) not in sys.path:
            sys.path.insert(0, str(EXAMPLES))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages as they are imported: not ours to judge
            return importlib.import_module(row.file)

    yield loaded
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def directory() -> Iterator[Path]:
    """In memory where that is possible: these trials kill processes, not machines."""
    root = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=root) as name:
        yield Path(name)


@pytest.fixture
def refunds(load: Any, directory: Path) -> Iterator[Callable[..., Refunds]]:
    """Makes the scenario of a row and a request; of another agent than the row's own, and with a fault of the model."""
    made: list[Refunds] = []

    def make(row: Row, task: str, example: Any = None, **fault: Any) -> Refunds:
        module = load(row)
        made.append(Refunds(row, example or module, task, directory, fault))
        return made[-1]

    yield make
    for scenario in made:
        scenario.close()
