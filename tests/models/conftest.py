"""What the tests of model calls share: a store, an agent that is run twice, a server of canned bytes."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.state import State, fold
from holdfast.runtime.clock import SystemClock

CANARY = "sk-canary-7c1f"
HELLO: dict[str, Any] = {"model": "claude-test", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
QUICK = hf.Retry(attempts=3, wait=0)

Body = Callable[[hf.Run], Awaitable[Any]]


class Stop(Exception):
    """Ends the first life of an agent, after everything that it asked for."""


class Eager(SystemClock):
    """Draws 0, so that no backoff takes time."""

    def __init__(self) -> None:
        self.drawn_in: set[int] = set()
        """Threads in which a retry was decided."""

    def draw(self) -> float:
        """Always the lowest."""
        self.drawn_in.add(threading.get_ident())
        return 0.0


class Desk:
    """One store in a file, and the agents that run on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = ""
        self.budget: hf.Budget | None = None
        self.clock = Eager()
        self.park_s = 0.05
        self.throttle_s = 0.0

    def app(self) -> hf.App:
        """A new App, as a new process would open it."""
        config = self.path / "holdfast.toml"
        settings = hf.Settings(quiet_s=0.02, park_s=self.park_s, poll_s=0.02, throttle_s=self.throttle_s)
        config_or_none = config if config.exists() else None
        return hf.App(f"sqlite:///{self.path}/x.db", config=config_or_none, settings=settings, clock=self.clock)

    def price(self, model: str, **usd: float) -> None:
        """Write one model's prices."""
        lines = [f'[prices."{model}"]', *(f"{part} = {price}" for part, price in usd.items())]
        (self.path / "holdfast.toml").write_text("\n".join(lines))

    def agent(self, body: Body) -> "hf.Agent[str, Any]":
        """An agent with this body."""

        @hf.agent(budget=self.budget)
        async def agent(run: hf.Run, input: str) -> Any:
            return await body(run)

        return agent

    async def once(self, body: Body) -> Any:
        """Run the body to its end, or go on with it."""
        async with self.app() as app:
            agent = self.agent(body)
            self.run_id = await app.start(agent, "input", key="k")
            try:
                return await app.run(agent, "input", key="k")
            finally:
                self.log = app.journal.events(self.run_id)

    async def resumed(self, body: Body) -> Any:
        """Reopen the ended run, and run it again from its start."""
        async with self.app() as app:
            await app.resume(self.run_id)
        return await self.once(body)

    async def twice(self, body: Body) -> tuple[Any, Any]:
        """What the body gives live, and on replay."""
        seen: list[Any] = []

        async def stopping(run: hf.Run) -> None:
            seen.append(await body(run))
            if len(seen) == 1:
                raise Stop

        with pytest.raises(hf.RunError, match="Stop"):
            await self.once(stopping)
        self.first_log = self.log
        await self.resumed(stopping)
        live, replayed = seen
        return live, replayed

    @property
    def state(self) -> State:
        """The folded run."""
        return fold(self.log)

    def model(self, *kinds: Kind) -> list[Event]:
        """Its events about model calls, of these kinds or all."""
        return [e for e in self.log if e.step is StepKind.MODEL and (not kinds or e.kind in kinds)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A store and its agents."""
    return Desk(tmp_path)


@pytest.fixture
def hello() -> dict[str, Any]:
    """The arguments of the simplest call."""
    return json.loads(json.dumps(HELLO))


@pytest.fixture
def canary() -> str:
    """The API key that every client here uses."""
    return CANARY


@pytest.fixture
def client() -> Callable[..., AsyncAnthropic]:
    """Makes the SDK's own client, unmodified but for our HTTP client; three quick attempts, unless told."""

    def make(server: Any, *, retry: hf.Retry = QUICK, **options: Any) -> AsyncAnthropic:
        return AsyncAnthropic(base_url=server.url, api_key=CANARY, http_client=hf.http_client(retry=retry), **options)

    return make


@pytest.fixture
def no_sdk_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own waits between its retries take no time."""

    async def instantly(delay: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("anyio.sleep", instantly)


class Canned:
    """A server that gives each connection the next of these bytes, the last for ever; None: nothing at all."""

    def __init__(self, answers: tuple[bytes | None, ...]) -> None:
        self.answers = answers
        self.count = 0
        self.asked = asyncio.Event()
        """The first request is here."""
        self.hung_up = asyncio.Event()
        """A client closed its connection before it had an answer."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0]) if b"content-length:" in head else 0
        await reader.readexactly(length)
        answer = self.answers[min(self.count, len(self.answers) - 1)]
        self.count += 1
        self.asked.set()
        if answer is None:
            if await reader.read(1) == b"":
                self.hung_up.set()
        else:
            writer.write(answer)
        writer.close()


@pytest.fixture
async def canned() -> AsyncIterator[Callable[..., Awaitable[Canned]]]:
    """Starts a `Canned` server."""
    servers: list[asyncio.Server] = []

    async def start(*answers: bytes | None) -> Canned:
        canned = Canned(answers)
        server = await asyncio.start_server(canned.serve, "127.0.0.1", 0)
        servers.append(server)
        canned.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        return canned

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
def http() -> Callable[..., bytes]:
    """Makes the bytes of one HTTP response."""

    def make(status: int, body: Any, **headers: str) -> bytes:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content_type": "application/json", "content_length": str(len(sent)), "connection": "close"} | headers
        lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in given.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + sent

    return make
