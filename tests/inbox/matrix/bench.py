"""An agent that needs an approval, people who are told of it by one way and by another, and a clock that a test owns.

The agent wants to refund an invoice, and may wait twelve hours for a yes; then it is declined. `ada` is told first, by
the way under test; ten minutes later `bob`, by another one; twice more from the top. What people see in their mailboxes
(or on the page) they open and answer there, some minutes later, unless a test says that they do otherwise.

All of it is real but time and place: the store, the engine, the page, the channels, the mail server. The receiver of
webhooks and Slack speak their wire in this process. Each answer goes the whole way, through login, token and guard.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
from tests.inbox.servers.fault import Fault, Server
from tests.inbox.servers.hook_server import SECRET, URL, HookServer
from tests.inbox.servers.mail_server import SENDER, MailServer
from tests.inbox.servers.slack_server import ADA, BOB, BOT_TOKEN, EVE, SlackServer
from tests.runtime.conftest import Mortal

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.rota import Leave, Rota
from holdfast.errors import RunCancelled, RunStopped, StoreUnreachable
from holdfast.inbox.directory import Chain, Directory, Email, FromEnvironment, Person, Slack, Step, Webhook
from holdfast.inbox.email import EmailChannel
from holdfast.inbox.guard import Reply
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.slack import PAGE, SlackChannel
from holdfast.inbox.webhook import WebhookChannel
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime import answering
from holdfast.testing.clock import ManualClock
from holdfast.testing.loopback import Call
from holdfast.views import asking
from holdfast.web.app import Inbox as Page
from holdfast.web.feed import Feed
from holdfast.web.login import Login
from holdfast.web.session import Sessions
from holdfast.web.who import Who

WAYS = ("web", "mail", "slack", "hook")
MIN, HOUR = 60.0, 3600.0
TURNS_MAX, QUIET = 60, 4
"""Turns of a loop in which everybody has run, at most, and those in a row in which nobody did."""
WITHIN_S = 12 * HOUR
REPLIES_MAX = 20
"""Of whoever answers again and again."""
BASE = "http://inbox.test"
SLACK = {"ada": ADA, "bob": BOB, "eve": EVE}
HIDDEN = re.compile(r'name="(token|digest)" value="([^"]*)"')
CANARY = "DE89-canary"
SETTINGS = {"poll_s": 60.0, "lease_s": 1e7, "quiet_s": 300.0, "park_s": 1e7, "close_s": 0.5, "drain_s": 0.5}


class Loop(asyncio.SelectorEventLoop):
    """A loop that says whether there is anything to do."""

    _ready: list[object]

    @property
    def is_idle(self) -> bool:
        """Whether nobody but who asks is about to run."""
        return not self._ready


class Clock(ManualClock):
    """Turns the loop for as long as there is something to do, since servers and threads take a moment of their own."""

    async def settle(self) -> None:
        """Let everything that can run, run."""
        loop, quiet = asyncio.get_running_loop(), 0
        assert isinstance(loop, Loop)
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            quiet = quiet + 1 if loop.is_idle else 0
            if quiet == QUIET:
                return


async def here(name: str, fn: Callable[[], Any]) -> Any:
    """What would run on a thread runs at once: a thread would have an order, and a time, of its own."""
    return fn()


class Gateway(Server):
    """What stands between a person and the page, and can fail as a server can."""

    def __init__(self, now: Callable[[], float], app: Any) -> None:
        super().__init__(now)
        self._to = httpx.ASGITransport(app, client=("127.0.0.1", 1))

    async def send(self, method: str, path: str, person: str, data: dict[str, str] | None = None) -> Reply:
        """One request of somebody who is signed in; a status of 0 when nothing came back."""
        self.calls.append(Call(method, path, {}, {}, b""))
        fault = self.fault(path)
        if fault is not None and fault.how == "answer":
            return fault.reply
        if fault is not None and fault.how == "lost":
            return Reply(200)
        if fault is not None and fault.how != "unheard":
            return Reply(0)
        headers = {"origin": BASE} | ({"X-Forwarded-User": person} if person else {})
        async with httpx.AsyncClient(transport=self._to, base_url=BASE, headers=headers) as client:
            got = await client.request(method, path, data=data)
        return Reply(0) if fault is not None else Reply(got.status_code, dict(got.headers), got.content)


@dataclass
class Somebody:
    """Somebody who is asked, and what they do about it."""

    name: str
    choice: str = "approve"
    think_s: float = 5 * MIN
    is_away: bool = False
    """They see nothing."""
    takes: bool = False
    """They say that they take care of it, and do no more."""
    repeats: bool = False
    """They answer whatever they see, also what they have answered."""
    does: Callable[[str], Awaitable[None]] | None = None
    """With the link, in place of answering."""
    seen: set[str] = field(default_factory=set)
    replies: list[Reply] = field(default_factory=list)
    """What the page said to each answer."""


@dataclass
class Ended:
    """How it came out."""

    outcome: str
    """refunded, what `NotApproved` says, or how the run ended."""
    by: str
    after_s: float
    effects: list[str]


class Bench:
    """One question, and all who have to do with it."""

    def __init__(self, home: Path, way: str, mail: MailServer, port: int) -> None:
        self.way, self.clock = way, Clock()
        self.began = self.clock.now()
        self.journal = SqliteJournal(home / "h.db", clock=self.clock.now)
        self.mail, self.hook, self._port = mail, HookServer(self.clock.now), port
        self.slack = SlackServer(self.clock.now)
        self.effects: list[str] = []
        self.people = {name: Somebody(name) for name in ("ada", "bob", "eve")}
        self.rotas: dict[str, Rota] = {}
        self.quiet: Any = None
        self.to = ("ada",)
        self.within_s = WITHIN_S
        self.events: list[tuple[float, Callable[[], Any]]] = []
        self.judges: list[Callable[[], None]] = []
        """What has to hold in the end, besides."""
        self.stays_s = 0.0
        """How long people go on after it was over."""
        self.is_late_by_s = 0.0
        """By so much the clock was set on: nobody could have ended it before."""
        self.asked_times = 1
        """So often it may be asked: a yes that has grown old is asked for again, with its whole time."""
        self.tls: Literal["starttls", "none"] = "none"
        """What mail goes by."""
        self.flood = 0
        """So many other questions are asked at the same moment."""
        self.altered: dict[str, str] = {}
        """What stands in forms instead, when they are sent."""
        self.first_told_at: float | None = None
        """When ada had the first notice."""
        self.prepare: Callable[[Mortal], None] = lambda journal: None
        self.awake: list[tuple[float, float]] = [(0.0, float("inf"))]
        """When a process runs, in seconds from the beginning."""
        who = Who(Sessions(self.clock), "holdfast", header="X-Forwarded-User")
        self.feed = Feed(self.journal, self.clock, who.sessions)
        login = Login(["ada"], self.clock, lambda name, code: None)
        self.page = Gateway(self.clock.now, Page(self.journal, self.clock, who, login, self.feed, self).app([BASE]))

    # --- what a test says ------------------------------------------------------------------------------------------

    @property
    def ada(self) -> Somebody:
        """Who is told first, by the way under test."""
        return self.people["ada"]

    @property
    def bob(self) -> Somebody:
        """Who is told next, by another way."""
        return self.people["bob"]

    @property
    def other(self) -> str:
        """The way by which bob is told."""
        return "hook" if self.way == "mail" else "mail"

    @property
    def server(self) -> Server:
        """What the way under test needs, when it speaks HTTP."""
        found: Server = {"web": self.page, "hook": self.hook, "slack": self.slack}[self.way]
        return found

    def at(self, after_s: float, do: Callable[[], Any]) -> None:
        """Do that then."""
        self.events.append((self.began + after_s, do))

    def starts(self, at: float) -> None:
        """The world begins then."""
        self.clock.jump(at - self.clock.now())
        self.began = self.clock.now()

    def by_command(self, name: str) -> None:
        """Somebody answers on the command line, on the machine itself."""
        asked = self.question
        answer = answering.message(asked.id, asked.about, "approve", digest=asked.digest, by=name, via="cli")
        answering.post(self.journal, asked.run, self.clock.fresh_id(), answer, self)

    def members(self, names: Sequence[str]) -> Sequence[str]:
        """See `Roll`."""
        return self.directory().everybody(names)

    def nobody_answers(self) -> None:
        """All are away."""
        for person in self.people.values():
            person.is_away = True

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self.clock.now() - self.began

    # --- channels --------------------------------------------------------------------------------------------------

    def directory(self) -> Directory:
        """Who is told, by what, and when."""
        people = {
            name: Person(
                name, email=f"{name}@example.com", slack=SLACK[name], quiet=self.quiet if name == "ada" else None
            )
            for name in self.people
        }
        key = (FromEnvironment("SECRET"),)
        channels: dict[str, Any] = {
            "mail": Email(name="mail", host="127.0.0.1", port=self._port, sender=SENDER, tls=self.tls),
            "hook": Webhook(name="hook", url=URL, secrets=key),
            "slack": Slack(name="slack", token=FromEnvironment("TOKEN"), signing=key),
        }
        second = Step(("bob",), (self.other,), 10 * MIN)
        by = (self.way,) if self.way != "web" else ("hook",)  # of which ada knows nothing: she looks at the page
        levels = (Step(self.to, by, 10 * MIN if self.way != "web" else 40 * MIN), second)
        return Directory(people, channels, self.rotas, {"finance": Chain("finance", levels, repeat=2)})

    def inbox(self) -> Inbox:
        """One for a process."""
        directory = self.directory()
        mail, hook = directory.channels["mail"], directory.channels["hook"]
        slack = directory.channels["slack"]
        assert isinstance(mail, Email) and isinstance(hook, Webhook) and isinstance(slack, Slack)
        channels = {
            "slack": SlackChannel(slack, {"TOKEN": BOT_TOKEN}, send=self.slack.wire, resolve=self.slack.resolve),
            "mail": EmailChannel(mail, {}, self.clock.now),
            "hook": WebhookChannel(
                hook, {"SECRET": SECRET}, self.clock.now, send=self.hook.wire, resolve=self.hook.resolve
            ),
        }
        return Inbox(directory, channels, base_url=BASE)

    def oncall(self, *people: str, turn: timedelta = timedelta(days=7), off: tuple[Leave, ...] = ()) -> None:
        """The way under test tells whoever is on call."""
        begins = datetime.fromtimestamp(self.began - HOUR, UTC).replace(tzinfo=None)
        self.rotas["oncall"], self.to = Rota(people, begins, turn, UTC, off), ("oncall",)  # type: ignore[arg-type]

    # --- people ----------------------------------------------------------------------------------------------------

    async def found(self, person: Somebody) -> list[tuple[str, str]]:
        """What lies before them: what it is known by, and its link."""
        name = person.name
        mails = [(str(mail["Message-ID"]), _link(mail.get_payload())) for mail in self.mail.of(f"{name}@example.com")]
        hooks = [(f"{data['thread']} {number}", data["link"]) for number, data in enumerate(self.hook.of(name))]
        chat = [(each.ts, each.elements[PAGE]["url"]) for each in self.slack.of(SLACK[name]) if PAGE in each.elements]
        if self.way == "web" and name == "ada":
            mails, hooks = [], []
        return [*mails, *hooks, *chat, *(await self._on_page(person))]

    async def _on_page(self, person: Somebody) -> list[tuple[str, str]]:
        """Ada looks at the page every quarter of an hour, where nobody tells her anything."""
        if self.way != "web" or person.name != "ada" or int(self.elapsed) % 900 >= 60:
            return []
        return [(f"page {link}", link) for link in await self._listed(person)]

    async def _listed(self, person: Somebody) -> list[str]:
        """What the page lists."""
        reply = await self.page.send("GET", "/inbox", person.name)
        links = re.findall(r'href="(/q/[^"]+)"', reply.body.decode()) if reply.status == 200 else []
        return [f"{BASE}{link}" for link in links if link != "/q/"]

    async def opened(self, person: Somebody, link: str) -> tuple[Reply, dict[str, str]]:
        """They open the link: the page, and the hidden fields of its form, if there is one."""
        reply = await self.page.send("GET", urlsplit(link).path, person.name)
        return reply, dict(HIDDEN.findall(reply.body.decode().partition('<form id="answer"')[2]))

    async def presses(self, person: Somebody, link: str, form: dict[str, str]) -> Reply:
        """They press the button."""
        sent = form | {"choice": person.choice} | self.altered
        reply = await self.page.send("POST", f"{urlsplit(link).path}/answer", person.name, sent)
        person.replies.append(reply)
        return reply

    async def answers(self, person: Somebody, link: str) -> Reply:
        """They open the link and press the button."""
        reply, form = await self.opened(person, link)
        if form:
            return await self.presses(person, link, form)
        person.replies.append(reply)
        return reply

    async def takes(self, person: Somebody, link: str) -> None:
        """They say that they take care of it."""
        path = urlsplit(link).path
        text = (await self.page.send("GET", path, person.name)).body.decode()
        form = dict(HIDDEN.findall(text.partition('<form class="take"')[2]))
        person.replies.append(await self.page.send("POST", f"{path}/take", person.name, form))
        person.is_away = True

    async def _act(self, person: Somebody, link: str) -> None:
        if person.is_away:
            return
        if urlsplit(link).path == "/inbox":  # a digest: they go through all that waits
            for each in await self._listed(person):
                await self._act(person, each)
        elif person.does is not None:
            await person.does(link)
        elif person.takes:
            await self.takes(person, link)
        else:
            reply = await self.answers(person, link)
            if reply.status not in (200, 303, 409):  # they try again later
                self.at(self.elapsed + 15 * MIN, lambda: self._act(person, link))

    async def _look(self) -> None:
        for person in self.people.values():
            if person.is_away:
                continue
            for name, link in await self.found(person):
                if person.name == "ada" and self.first_told_at is None:
                    self.first_told_at = self.clock.now()
                if name not in person.seen or (person.repeats and len(person.replies) < REPLIES_MAX):
                    person.seen.add(name)
                    self.at(self.elapsed + person.think_s, lambda person=person, link=link: self._act(person, link))

    # --- the course of it ------------------------------------------------------------------------------------------

    def run(self) -> Ended:
        """From the question to its end."""
        loop = Loop()
        try:
            with pytest.MonkeyPatch.context() as patch:
                for place in ("chain", "attention", "watch"):
                    patch.setattr(f"holdfast.inbox.{place}.in_thread", here)
                return loop.run_until_complete(self._run())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _run(self) -> Ended:
        ended: Ended | None = None
        for begins, ends in self.awake:
            while self.elapsed < begins:
                await self._minute()
            ended = await self._process(ends)
            if ended is not None:
                break
        assert ended is not None, "it has not ended: nobody decided, and no default was taken"
        return ended

    async def _process(self, ends: float) -> Ended | None:
        """One process, until it has ended, or for so long."""
        journal = Mortal(self.journal)
        self.prepare(journal)
        agent, settings = self._agent(), hf.Settings(**SETTINGS)  # type: ignore[arg-type]
        app = hf.App(journal, agents=[agent], serves=True, clock=self.clock, inbox=self.inbox(), settings=settings)
        async with app:
            others = [asyncio.ensure_future(app.run(agent, f"X-{at}", key=f"x{at}")) for at in range(self.flood)]
            self.cancel = lambda: app.cancel(self.question.run, by="carl")
            asks = asyncio.ensure_future(self._asks(app, agent))
            while not asks.done() and self._is_on(ends):
                await self._minute()
            for each in others:
                each.cancel()
            if not asks.done():
                asks.cancel()
                return None
            after = self.elapsed + self.stays_s
            while self.elapsed < after:
                await self._minute()
            outcome, _, by = (await asks).partition(" by ")
            done = [effect for effect in self.effects if effect == "K-17"]
            return Ended(outcome, by, self.closed_after_s, done)

    def _is_on(self, ends: float) -> bool:
        return self.elapsed < min(ends, self.asked_times * self.within_s + self.is_late_by_s + HOUR)

    async def _asks(self, app: hf.App, agent: Any) -> str:
        """The run, begun again when the store was away."""
        while True:
            try:
                return str(await app.run(agent, "K-17", key="k", wait=None))
            except StoreUnreachable:
                await asyncio.sleep(0)
            except (RunCancelled, RunStopped) as error:
                return f"{type(error).__name__} by "

    async def _minute(self) -> None:
        await self.clock.advance(MIN)
        due = [do for at, do in self.events if at <= self.clock.now()]
        self.events = [(at, do) for at, do in self.events if at > self.clock.now()]
        for do in due:
            if asyncio.iscoroutine(doing := do()):
                await doing
        await self._look()
        await self.clock.settle()

    def _agent(self) -> Any:
        ask = hf.Ask("finance", within=self.within_s, default="decline", approvers=("finance",))

        @hf.tool(effect="once", name="refund", approve=ask)
        async def refund(invoice: str, iban: str) -> str:
            self.effects.append(invoice)
            return "refunded"

        @hf.agent(name="support", budget=hf.Budget(tool_calls=20))
        async def support(run: hf.Run, invoice: str) -> str:
            try:
                return f"{await refund(invoice, CANARY)} by "
            except hf.NotApproved as no:
                return f"{no.outcome} by {no.by}"

        return support

    @property
    def question(self) -> Any:
        """The question, open or closed."""
        return self.history[-1]

    @property
    def history(self) -> list[Any]:
        """All that the run has asked."""
        [run] = [head.run_id for head in self.journal.heads(key="k")]
        return asking.history(self.journal, run)

    @property
    def closed_after_s(self) -> float:
        """When it was over, in seconds from the beginning."""
        closed = self.question.closed_at
        assert closed is not None, "its run has ended, and its question is open"
        return float(closed) - self.began

    @property
    def decided_by(self) -> str:
        """Who answered the question that was asked last, of all answers the only one that counts."""
        events = self.journal.events(self.question.run)
        closings = [event.facts for event in events if event.kind is Kind.QUESTION_CLOSED]
        assert [facts["id"] for facts in closings] == [each.id for each in self.history], "it was closed twice"
        return str(closings[-1].get("by") or "")

    def left(self) -> str:
        """All that has left for people, as text."""
        mails = [f"{mail.as_string()}" for mail in self.mail.mails]
        chats = [f"{each.shown} {each.facts}" for each in self.slack.messages]
        return "\n".join([*mails, *(str(each) for each in self.hook.taken), *chats])


def _link(text: Any) -> str:
    found = re.search(rf"{re.escape(BASE)}/(?:q/\S+|inbox)", str(text))
    return found[0] if found else ""


@contextmanager
def bench(way: str) -> Iterator[Bench]:
    """A bench with servers of its own."""
    mail = MailServer()
    with tempfile.TemporaryDirectory() as home, mail.listening() as port:
        made = Bench(Path(home), way, mail, port)
        try:
            yield made
        finally:
            made.journal.close()


DOWN = Fault("cut")
