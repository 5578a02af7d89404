"""A real server on a free port, a real store behind it, and people who sign in to it over HTTP."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.chain import AGENT, key_of
from holdfast.errors import RunWaiting
from holdfast.inbox.measuring import FileMeasures
from holdfast.inbox.roll import FileRoll
from holdfast.journal.open import upkeep_of
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.escalating import chain_id
from holdfast.views import asking
from holdfast.views.asking import Item
from holdfast.web.app import Inbox
from holdfast.web.feed import Feed
from holdfast.web.login import Login
from holdfast.web.server import Server, bound
from holdfast.web.session import Sessions
from holdfast.web.slack_door import Door
from holdfast.web.who import Who

HIDDEN = re.compile(r'name="(token|digest)" value="([^"]*)"')


class Ahead(SystemClock):
    """The machine's clock, and how far a test has set it on."""

    by_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return super().now() + self.by_s

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return super().monotonic() + self.by_s


@hf.tool(effect="once", approve=hf.Ask("finance", within="30m"))
async def refund(order: str, cents: int, note: Any = None) -> str:
    """Tells what it has done; each call is an effect."""
    EFFECTS.append((order, cents, note))
    return f"refunded {order}"


EFFECTS: list[Any] = []


@hf.agent
async def pays(run: hf.Run, given: list[Any]) -> str:
    """Pays what it is told, if somebody agrees."""
    try:
        return await refund(*given)
    except hf.NotApproved as no:
        return f"{no.outcome} by {no.by}"


@hf.agent
async def asks(run: hf.Run, given: dict[str, Any]) -> Any:
    """Asks a person."""
    return (await run.ask(**given)).value


@hf.tool(effect="once")
async def loses(what: str) -> str:
    """Nobody knows whether it has happened."""
    raise RuntimeError("the line went dead")


@hf.agent
async def doubts(run: hf.Run, given: str) -> str:
    """Is left in doubt."""
    return await loses(given)


AGENTS = {"pays": pays, "asks": asks, "doubts": doubts}


class Site:
    """The page, its store, and the codes that were told to the operator."""

    def __init__(
        self, home: Path, header: str = "", origins: tuple[str, ...] = (), door: Callable[[Site], Door] | None = None
    ) -> None:
        EFFECTS.clear()
        self.effects, self.clock = EFFECTS, Ahead()
        self.store = f"sqlite:///{home}/holdfast.db"
        self.journal = SqliteJournal(home / "holdfast.db", clock=self.clock.now)
        self.codes: dict[str, str] = {}
        self.sessions = Sessions(self.clock)
        self._socket = bound("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        login = Login(["ada", "bob"], self.clock, self.codes.__setitem__)
        who = Who(self.sessions, "holdfast", header=header)
        self.config = home / "holdfast.toml"
        self.config.touch()
        self.roll = FileRoll(self.config)
        self.feed = Feed(self.journal, self.clock, self.sessions, every_s=0.02)
        measures, opens = FileMeasures(self.config), door(self) if door else None
        inbox = Inbox(self.journal, self.clock, who, login, self.feed, self.roll, measures, opens)
        app = inbox.app([self.url, *origins])
        self.server = Server(app, self.feed)
        self.thread = threading.Thread(target=self._serve, name="page")
        self.thread.start()
        self._clients: list[httpx.Client] = []

    def _serve(self) -> None:
        asyncio.run(self.server.serve([self._socket]))

    def close(self) -> None:
        """End all of it."""
        for client in self._clients:
            client.close()
        self.server.end()
        self.thread.join(20)
        self._socket.close()
        self.journal.close()

    # --- runs ------------------------------------------------------------------------------------------------

    def begin(self, agent: str, given: Any, key: str = "k") -> Item:
        """A run goes as far as it can, and asks; its question."""
        with pytest.raises(RunWaiting):
            self.run(agent, given, key)
        return next(one for one in asking.items(self.journal) if one.key == key and one.state == "open")

    def tells(self, asked: Item) -> None:
        """A chain tells people of this question; nothing of it is sent here."""
        begins = accept.start(agent=AGENT, key=key_of(asked.run, asked.id), input_digest="d", limits=None, body=b"{}")
        assert self.journal.post(chain_id(self.journal, asked.run, asked.id), "start", begins).is_stored

    def run(self, agent: str, given: Any, key: str = "k") -> Any:
        """One process drives the run."""
        app = hf.App(self.store, settings=hf.Settings(quiet_s=0.01))
        return app.run_sync(AGENTS[agent], given, key=key, wait=0)

    def item(self, asked: Item) -> Item:
        """What has become of this question."""
        found = asking.item(self.journal, asked.run, asked.id)
        assert found is not None
        return found

    def snapshot(self) -> list[Any]:
        """All that the store holds of all runs."""
        upkeep = upkeep_of(self.journal)
        records = [upkeep.record(run) for run in upkeep.run_ids()]
        return [(each.head, list(each.events), list(each.letters), each.mail_read) for each in records if each]

    # --- people ----------------------------------------------------------------------------------------------

    def visitor(self, **headers: str) -> httpx.Client:
        """A browser in which nobody is signed in."""
        client = httpx.Client(base_url=self.url, headers={"origin": self.url, **headers}, timeout=20)
        self._clients.append(client)
        return client

    def person(self, name: str = "ada") -> httpx.Client:
        """A browser in which this person has signed in."""
        client = self.visitor()
        assert client.post("/login", data={"code": self.codes[name]}).status_code == 303
        return client

    def form(self, client: httpx.Client, asked: Item) -> dict[str, str]:
        """The hidden fields of the question's form, as this person's page has them."""
        return form_of(client.get(path_of(asked)).text)

    def answer(self, client: httpx.Client, asked: Item, form: dict[str, str], **more: str) -> httpx.Response:
        """The form is sent."""
        return client.post(f"{path_of(asked)}/answer", data={**form, **more})


def path_of(asked: Item) -> str:
    """Where the question is."""
    return f"/q/{asked.run}/{asked.id}"


def form_of(page: str) -> dict[str, str]:
    """The hidden fields of the form on a question's page; that of the frame comes first."""
    return dict(HIDDEN.findall(page.partition('<form id="answer"')[2]))


def host_of(url: str) -> str:
    """Host and port."""
    return urlsplit(url).netloc


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The page over a store of its own."""
    opened = Site(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Site]:
    """The page behind a proxy that signs people in."""
    opened = Site(tmp_path, header="X-Forwarded-User", origins=("https://inbox.example",))
    yield opened
    opened.close()
