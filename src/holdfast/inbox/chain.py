"""The agent `@chain`: a run of it tells people of one question, level after level, until that is closed.

It is an agent like any other: what it has sent is in its record, and after a crash it goes on from there.

1. A notice is sent at least once, and again only under the same id: its key is that of the step that sends it.
2. It ends when the question is closed, by whatever: it looks at the run that asks before each notice, whoever tells it
   anything. It decides nothing: neither an answer nor a deadline is its.
3. Whom to tell next is decided by `core.chain`, by a plan that is worked out anew each time from who is on call then.
4. It asks nobody anything: a channel that fails, or whose answer is unknown, has not taken the notice.
5. What a channel has asked for is kept: one that wants nothing for a while is left alone for so long, by all chains;
   one that wants nothing ever again, until the file names another receiver.
6. What each channel did, and who took the question, is learned in the append of the step that found it out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from holdfast.core import chain as moves
from holdfast.core.budget import Budget
from holdfast.core.chain import Acknowledged, Course, Exhausted, Failed, Level, Notify, Plan, Reach, Taken, Wait
from holdfast.core.events import Kind
from holdfast.core.policy import Retry
from holdfast.core.reach import Fact
from holdfast.errors import ToolFailed
from holdfast.inbox import attention, evidence
from holdfast.inbox.directory import Directory
from holdfast.inbox.evidence import Learned, credited
from holdfast.inbox.wording import closing, notice, plain
from holdfast.protocols import Amending, Asked, Channel, Gone, Journal, Notice, Receipt, Undeliverable, Undelivered
from holdfast.runtime.agent import Agent
from holdfast.runtime.run import Run
from holdfast.runtime.signature import INJECTED
from holdfast.runtime.thread import in_thread
from holdfast.runtime.tool import Tool, tool

SOON_S: Final = 5.0
"""A channel that wants nothing for longer than that is not waited for: the next one is tried."""
SEND_S: Final = 45.0
"""A channel that has not come back by then has not taken the notice."""
UNDER_WAY_MAX: Final = 8
"""Threads of one channel in this process; those that hang hold up no other channel, and not the end of the process."""
_under_way: Counter[str] = Counter()
_STEPS_MAX: Final = 100_000
SHUT_MAX_S: Final = 86_400.0
"""Nobody is believed who wants nothing for longer."""
_FOR_EVER: Final = "3650d"
_T = TypeVar("_T")


class Held(NamedTuple):
    """Notices to somebody are held, since they are told of too many questions."""

    since: float
    until: float


class Telling:
    """The agent, its steps, and what they need of this process."""

    def __init__(
        self, directory: Directory, channels: Mapping[str, Channel], link_of: Callable[[str, str], str]
    ) -> None:
        self._directory = directory
        self._channels = channels
        self._link_of = link_of
        self.journal: Journal | None = None
        self.look: Tool[Any, Any] = tool(
            effect="read", name="look", polls=True, breaker=None, retry=Retry(attempts=10, wait="1s", wait_max="60s")
        )(self._look)
        self.learn: Tool[Any, Any] = tool(effect="read", name="learn", polls=True, breaker=None)(self._learn)
        self.became: Tool[Any, Any] = tool(effect="read", name="became", breaker=None)(self._became)
        self.admit: Tool[Any, Any] = tool(effect="read", name="admit", polls=True, breaker=None)(self._admit)
        self.covered: Tool[Any, Any] = tool(effect="read", name=moves.COVERED, breaker=None)(self._covered)
        self.digest = sending(moves.DIGEST, self._digest, window=_FOR_EVER)
        self.deliver = sending(moves.DELIVER, self._deliver, window=_FOR_EVER)
        self.amend = sending("amend", self._amended, window=_FOR_EVER)
        self.agent: Agent[dict[str, Any], dict[str, Any]] = Agent(
            self._tell, name=moves.AGENT, budget=Budget(tool_calls=_STEPS_MAX), stuck=None
        )

    async def _tell(self, run: Run, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell people until the question is closed."""
        told: list[list[str]] = []
        sent: list[dict[str, str]] = []
        held: dict[str, Held] = {}
        course: Course | None = None
        while (seen := await self.look(asked["run"], asked["question"], asked["to"]))["is_open"]:
            plan = _plan(seen, asked, held)
            course, move = moves.next_move(plan, course or moves.begin(plan, run.now), run.now)
            match move:
                case Notify(_, _, person, channel):
                    if (attended := await self._attended(asked, move, sent, held)) is None:
                        continue
                    by, taken = attended
                    happening = (Failed if taken is None else Taken)(person, by or channel)
                    course = moves.happened(plan, course, happening, run.now)
                    told += [] if taken is None or not by else [[person, by]]
                    sent += [taken] if taken else []
                case Wait(until):
                    course = await self._news(run, plan, course, until - run.now, told)
                case Exhausted():
                    await run.note("Nobody else is told.")
                    course = await self._news(run, plan, course, None, told)
        became: dict[str, Any] = await self.became(asked["run"], asked["question"], told)
        for each in sent:
            await self._amend(asked, each, became)
        return {"told": told} | became

    async def _attended(
        self, asked: dict[str, Any], move: Notify, sent: list[dict[str, str]], held: dict[str, Held]
    ) -> tuple[str, dict[str, str] | None] | None:
        """By which channel this person is told, and what `_notify` gives; or they know already (by none, if they were
        told of another question), or are told of many questions at once. None: not now, see `held`."""
        step, before = _as_data(move), held.get(move.person)
        found: dict[str, Any] = {"what": "tell"}
        if not asked["is_urgent"]:
            found = await self.admit(asked, step, before and before.since)
        match found["what"]:
            case "hold":
                held[move.person] = Held(found["since"], found["until"])
                return None
            case "covered":
                await self.covered(asked, step, found["channel"])
                return found["channel"], {}
            case "digest":
                try:
                    await self.digest(asked, step, found["due_at"])
                except ToolFailed:
                    return move.channel, None
                return move.channel, {}
            case _:
                return move.channel, await self._notify(asked, move, sent)

    async def _notify(self, asked: dict[str, Any], move: Notify, sent: list[dict[str, str]]) -> dict[str, str] | None:
        """What the channel calls what it took, when it can change it later; None: it did not take it."""
        named = {"person": move.person, "channel": move.channel}
        earlier = next((each["reference"] for each in sent if each.items() >= named.items()), "")
        step = _as_data(move) | ({"earlier": earlier} if earlier else {})
        try:
            receipt = await self.deliver(asked, step)
        except ToolFailed:
            return None
        return {**named, "reference": receipt["reference"]} if receipt.get("can_change") else {}

    async def _amend(self, asked: dict[str, Any], sent: dict[str, str], became: dict[str, Any]) -> None:
        try:
            await self.amend(asked, sent, became)
        except ToolFailed:
            pass  # the message keeps its buttons; whoever presses one is told that it is too late

    async def _news(
        self, run: Run, plan: Plan, course: Course, within_s: float | None, told: list[list[str]]
    ) -> Course:
        """Wait for news; what it says that is of use is taken in."""
        heard = await run.signal(moves.NEWS, within=within_s)
        news = heard.value if isinstance(heard.value, dict) else {}
        match news:
            case {"what": moves.ACKNOWLEDGED, "by": str(by)}:
                await self.learn(Fact.TAKEN, plain(by), credited(told, plain(by)), run.now)
                return moves.happened(plan, course, Acknowledged(plain(by)), run.now)
            case {"what": "failed", "round": course.round, "level": course.level, "person": str(), "channel": str()}:
                await self.learn(Fact.REFUSED, news["person"], news["channel"], run.now)
                return moves.happened(plan, course, Failed(news["person"], news["channel"]), run.now)
            case _:  # that it is over is seen at the next look; of an earlier level nothing follows any more
                return course

    # --- steps -----------------------------------------------------------------------------------------------

    async def _look(self, run: str, question: str, to: str) -> dict[str, Any]:
        """Whether the question is open, and whom to tell as of now."""
        assert self.journal is not None
        head = self.journal.head(run)
        found = None if head is None else next((each for each in head.questions if each.id == question), None)
        if found is None:
            return {"is_open": False}
        chain = self._directory.chain_for(to)
        if chain is None:  # taken out of the file while the question is open
            return {"is_open": True, "levels": [], "repeat": 0, "ack_s": 60.0, "quiet_until": {}}
        now = self.journal.now()
        plan = self._directory.plan(chain, now, deadline=found.expires_at, is_urgent=found.is_urgent)
        return {
            "is_open": True,
            "levels": [[[[who, self._open(by, now)] for who, by in people], wait_s] for people, wait_s in plan.levels],
            "repeat": plan.repeat,
            "ack_s": plan.ack_s,
            "quiet_until": dict(plan.quiet_until),
        }

    def _open(self, by: tuple[str, ...], now: float) -> list[str]:
        """Those that have not said that they want nothing now."""
        assert self.journal is not None
        marks = {name: getattr(self._channels.get(name), "mark", "") for name in by}
        return [name for name in by if not evidence.is_shut(self.journal, name, now, marks[name])]

    async def _admit(self, asked: dict[str, Any], move: dict[str, Any], since: float | None) -> dict[str, Any]:
        """Whether this person can be told of one question more now."""
        assert self.journal is not None
        return attention.admit(self.journal, self._directory, Asked(**asked), Notify(**move), since)

    async def _covered(self, asked: dict[str, Any], move: dict[str, Any], channel: str) -> None:
        """This person knows of it already."""

    async def _digest(
        self, asked: dict[str, Any], move: dict[str, Any], due_at: float, *, idempotency_key: str = INJECTED
    ) -> dict[str, Any]:
        """Hand one notice about all that waits for this person to one channel."""
        assert self.journal is not None
        step, journal, link = Notify(**move), self.journal, self._link_of("", "")
        channel, to = self._channel_of(step)
        message = await attention.digest_for(journal, self._directory, step, due_at, to=to, link=link)
        receipt = await self._handed_over(step, channel, message)
        attention.sent(journal, step.person, step.channel)
        return {"state": receipt.state, "reference": plain(receipt.reference)}

    def _channel_of(self, step: Notify) -> tuple[Channel, str]:
        channel = self._channels.get(step.channel)
        to = self._directory.address(step.person, step.channel) if channel is not None else ""
        if channel is None or not to:
            raise Undeliverable(f"{step.person} cannot be told by {step.channel}: the file no longer says how")
        return channel, to

    async def _deliver(
        self, asked: dict[str, Any], move: dict[str, Any], *, idempotency_key: str = INJECTED
    ) -> dict[str, Any]:
        """Hand one notice to one channel."""
        what, step = Asked(**asked), Notify(**{name: move[name] for name in moves.Notify.__slots__})
        channel, to = self._channel_of(step)
        link = self._link_of(what.run, what.question)
        message = notice(what, step, key=idempotency_key, link=link, to=to, earlier=move.get("earlier", ""))
        receipt = await self._handed_over(step, channel, message)
        if not what.is_urgent and self.journal is not None:
            attention.taken(self.journal, what, step)
        can_change = {"can_change": True} if isinstance(channel, Amending) else {}
        return {"state": receipt.state, "reference": plain(receipt.reference), **can_change}

    async def _handed_over(self, step: Notify, channel: Channel, message: Notice) -> Receipt:
        """What the channel says of it; what is learned of this way is kept."""
        try:
            receipt = await handed_over(channel, message)
        except Undelivered as refused:
            self._found(Fact.REFUSED, step.person, step.channel, str(refused), isinstance(refused, Undeliverable))
            self._heed(step.channel, refused)
            raise
        self._found(Fact.ACCEPTED, step.person, step.channel)
        return receipt

    def _heed(self, channel: str, refused: Undelivered) -> None:
        """What it has asked for."""
        assert self.journal is not None
        if isinstance(refused, Gone):
            evidence.shut(channel, None, refused.mark)
        elif (refused.after_s or 0.0) > SOON_S:
            evidence.shut(channel, self.journal.now() + min(refused.after_s or 0.0, SHUT_MAX_S))
            raise Undeliverable(str(refused)) from refused  # for now

    async def _amended(self, asked: dict[str, Any], sent: dict[str, str], became: dict[str, Any]) -> None:
        """Change one notice that was sent: its question is closed."""
        what, channel = Asked(**asked), self._channels.get(sent["channel"])
        if not isinstance(channel, Amending):
            raise Undeliverable(f"{sent['channel']} is no channel that can change what it has sent")
        message = closing(what, became, sent, link=self._link_of(what.run, what.question))
        await at_its_word(channel.amend, message, sent["channel"])

    def _found(self, fact: Fact, person: str, channel: str, why: str = "", is_final: bool = False) -> None:
        assert self.journal is not None
        evidence.write(Learned(fact, person, channel, self.journal.now(), plain(why), is_final))

    async def _learn(self, fact: str, person: str, channel: str, at: float) -> None:
        """Keep what was heard about a way."""
        if channel in self._channels:
            why = "it came back" if fact == Fact.REFUSED else ""
            evidence.write(Learned(Fact(fact), person, channel, at, why))

    async def _became(self, run: str, question: str, told: list[list[str]]) -> dict[str, Any]:
        """What became of the question; if whom it was told answered it, that way reaches them."""
        assert self.journal is not None
        closed = [event for event in self.journal.events(run) if event.kind is Kind.QUESTION_CLOSED]
        found = next((event for event in closed if event.facts["id"] == question), None)
        if found is None:  # the run has ended, and its questions with it
            return {"outcome": "withdrawn", "by": "", "at": self.journal.now()}
        outcome, by = found.facts["outcome"], found.facts.get("by") or ""
        at = found.facts.get("answered_at", found.at)
        channel = credited(told, by)
        if outcome == "answered" and channel:
            evidence.write(Learned(Fact.TAKEN, by, channel, at))
        return {"outcome": outcome, "by": plain(by), "at": at}


def sending(name: str, body: Callable[..., Any], *, window: str, **more: Any) -> Tool[Any, Any]:
    """A step that hands something to a channel: tried three times within some seconds, under the same id; what the
    channel did not take was not sent."""
    made: Tool[Any, Any] = tool(
        effect="idempotent",
        name=name,
        window=window,
        retry=Retry(attempts=3, wait="1s", wait_max="5s"),
        breaker=None,
        definite=(Undelivered,),
        classify={"Undeliverable": "permanent"},
        **more,
    )(body)
    return made


async def handed_over(channel: Channel, message: Notice) -> Receipt:
    """What the channel says of it; whatever else comes of it is `Undelivered`."""
    return await at_its_word(channel.send, message, channel.name)


async def at_its_word(does: Callable[[Notice], _T], message: Notice, name: str) -> _T:
    """The same of anything that this channel does with a notice."""
    if _under_way[name] >= UNDER_WAY_MAX:
        raise Undelivered(f"{name} has {UNDER_WAY_MAX} notices under way, and has come back from none of them")

    def work() -> _T:
        _under_way[name] += 1
        try:
            return does(message)
        finally:
            _under_way[name] -= 1

    try:
        async with asyncio.timeout(SEND_S):
            return cast(_T, await in_thread(f"channel {name}", work))
    except Undelivered:
        raise
    except TimeoutError:
        raise Undelivered(f"{name} did not come back within {SEND_S:g} s") from None
    except Exception as broken:  # a channel may be anybody's code: whatever it raises, another one is tried
        raise Undelivered(f"{name} failed: {type(broken).__name__}") from broken


def _as_data(move: Notify) -> dict[str, Any]:
    """As it is recorded."""
    return {name: getattr(move, name) for name in Notify.__slots__}


def _plan(seen: dict[str, Any], asked: dict[str, Any], held: Mapping[str, Held]) -> Plan:
    """The plan that `look` has recorded. Whose notice is held, is left in peace for so long."""
    quiet_until = dict(seen["quiet_until"])
    for person, each in held.items():
        quiet_until[person] = max(each.until, quiet_until.get(person, each.until))
    return Plan(
        tuple(Level(tuple(Reach(who, tuple(by)) for who, by in people), wait_s) for people, wait_s in seen["levels"]),
        seen["repeat"],
        seen["ack_s"],
        quiet_until,
        asked["expires_at"],
        asked["is_urgent"],
    )
