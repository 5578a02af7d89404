"""Whom questions can reach, as declared: people, channels, rotas and chains. Read off a file once, and never changed.

1. A question that names a chain goes by it. One that names a person or a rota goes to them alone, by every channel that
   they can be told by. All others go by the chain `default`, if there is one; else nobody is told of them.
2. What a chain does at a moment is its `plan` of that moment: rotas are replaced by who is on call then.
3. Passwords and keys are not in here: only under which name the environment has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, Literal, NamedTuple

from holdfast.core.chain import Level, Plan, Reach
from holdfast.core.load import PER_HOUR
from holdfast.core.quiet import Quiet
from holdfast.core.rota import Rota, Shift

DEFAULT: Final = "default"
"""The chain of questions that name nobody in particular."""
REPEAT, ACK_S, WAIT_S = 2, 1800.0, 600.0
"""Of a chain that does not say."""


class FromEnvironment(NamedTuple):
    """A secret, by the name of the variable that holds it."""

    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be asked."""

    name: str
    email: str = ""
    slack: str = ""
    """The member id; or the id of a channel, for a person who stands for several."""
    quiet: Quiet | None = None
    apprise: FromEnvironment | None = None
    zone: tzinfo | None = None
    """Where they live: what asks for nothing is sent to them in working hours alone."""
    per_hour: int = PER_HOUR
    """So many notices of one question each; what comes beyond that is told together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """A mail server that takes our notices."""

    name: str
    host: str
    port: int
    sender: str
    user: str = ""
    password: FromEnvironment | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    kind: Literal["email"] = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A system of somebody else that is told by HTTP; it is told for whom."""

    name: str
    url: str | FromEnvironment
    secrets: tuple[FromEnvironment, ...]
    """The first is the newest; it is signed with all of them."""
    allow: tuple[str, ...] = ()
    """HOST:PORT that may be in a private network, and without TLS."""
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """A Slack app of ours in one workspace."""

    name: str
    token: FromEnvironment
    team: str = ""
    app: str = ""
    """Whose buttons count: in which workspace they were pressed, in messages of which app."""
    signing: tuple[FromEnvironment, ...] = ()
    """With which of these Slack signs what it sends to `holdfast serve`."""
    app_token: FromEnvironment | None = None
    """For Socket Mode: then what is pressed is heard without being reached from outside."""
    shows_call: bool = False
    """Whether what would be done may be looked at, and approved, in Slack."""
    url: str = "https://slack.com/api"
    allow: tuple[str, ...] = ()
    kind: Literal["slack"] = "slack"

    @property
    def is_heard(self) -> bool:
        """Whether anybody would hear that a button was pressed."""
        return bool(self.signing or self.app_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apprise:
    """Whatever service each person has an Apprise URL for."""

    name: str
    kind: Literal["apprise"] = "apprise"


ChannelSettings = Email | Webhook | Slack | Apprise


class Step(NamedTuple):
    """A level of a chain as it is declared: people and rotas, and channels, the best first."""

    to: tuple[str, ...]
    by: tuple[str, ...]
    wait_s: float


@dataclass(frozen=True, slots=True)
class Chain:
    """Whom to tell, one level after the other."""

    name: str
    levels: tuple[Step, ...]
    repeat: int = REPEAT
    ack_s: float = ACK_S


class Gap(NamedTuple):
    """A time in which nobody of a level is on call."""

    chain: str
    level: int
    shift: Shift


@dataclass(frozen=True, slots=True)
class Probes:
    """How often people are asked whether a way reaches them."""

    every_s: float | None = None
    """None: nobody is."""
    within_s: float = 86_400.0
    """How long they have to confirm it."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Somebody outside who alarms when holdfast no longer says that it lives."""

    url: str | FromEnvironment
    every_s: float = 300.0
    allow: tuple[str, ...] = ()
    """HOST:PORT that may be in a private network, and without TLS."""


@dataclass(frozen=True, slots=True)
class Directory:
    """All of it."""

    people: Mapping[str, Person] = field(default_factory=dict)
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    rotas: Mapping[str, Rota] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)
    probes: Probes = Probes()
    heartbeat: Heartbeat | None = None

    def chain_for(self, to: str) -> Chain | None:
        """By which chain a question goes that was put to `to`."""
        if to in self.chains:
            return self.chains[to]
        if to in self.people or to in self.rotas:
            return Chain(to, (Step((to,), tuple(self.channels), WAIT_S),))
        return self.chains.get(DEFAULT)

    def plan(self, chain: Chain, at: float, *, deadline: float | None, is_urgent: bool) -> Plan:
        """What the chain is at that moment."""
        levels = tuple(Level(self._reaches(step, at), step.wait_s) for step in chain.levels)
        quiet = {person: self.people[person].quiet for level in levels for person, _ in level.people}
        until = {name: hours.until(at) for name, hours in quiet.items() if hours is not None}
        return Plan(
            levels,
            chain.repeat,
            chain.ack_s,
            {name: at for name, at in until.items() if at is not None},
            deadline,
            is_urgent,
        )

    def _reaches(self, step: Step, at: float) -> tuple[Reach, ...]:
        names = dict.fromkeys(person for name in step.to if (person := self._on_call(name, at)))
        return tuple(Reach(name, self.ways(name, step.by)) for name in names)

    def _on_call(self, name: str, at: float) -> str:
        return self.rotas[name].on_call(at) if name in self.rotas else name

    def ways(self, person: str, by: tuple[str, ...]) -> tuple[str, ...]:
        """By which of these channels this person can be told."""
        return tuple(name for name in by if self.address(person, name))

    def address(self, person: str, channel: str) -> str:
        """Where this channel finds this person; empty when it cannot."""
        someone = self.people[person]
        match self.channels[channel]:
            case Email():
                return someone.email
            case Webhook():
                return someone.name
            case Slack():
                return someone.slack
            case Apprise():
                return "" if someone.apprise is None else someone.apprise.name

    def by_slack(self, member: str) -> str:
        """Who has this member id; empty: nobody here."""
        return next((name for name, someone in self.people.items() if member and someone.slack == member), "")

    def all_ways(self) -> list[tuple[str, str]]:
        """Each person and channel of a chain, once."""
        ways = (
            (person, channel)
            for chain in self.chains.values()
            for step in chain.levels
            for person in self.members(step)
            for channel in self.ways(person, step.by)
        )
        return list(dict.fromkeys(ways))

    def members(self, step: Step) -> list[str]:
        """Everybody who may be told at this level, at some time."""
        people = (self.rotas[name].people if name in self.rotas else (name,) for name in step.to)
        return list(dict.fromkeys(person for group in people for person in group))

    def everybody(self, names: Sequence[str]) -> tuple[str, ...]:
        """All that these names stand for, on call or not. A name that stands for nobody here is nobody's; only where
        no people are declared at all, names are people."""
        if not self.people:
            return tuple(names)
        found = [person for name in names for person in self._all_of(name)]
        return tuple(dict.fromkeys(found))

    def put_to(self, to: str) -> tuple[str, ...]:
        """Everybody whom a question that was put to `to` may reach."""
        chain = self.chain_for(to)
        if chain is None:
            return ()
        return tuple(dict.fromkeys(person for step in chain.levels for person in self.members(step)))

    def _all_of(self, name: str) -> Sequence[str]:
        if name in self.chains:
            return [person for step in self.chains[name].levels for person in self.members(step)]
        if name in self.rotas:
            return self.rotas[name].people
        return (name,) if name in self.people else ()

    def gaps(self, begins_at: float, ends_at: float) -> list[Gap]:
        """When a level of a chain has nobody: all it names are rotas, and none of them has somebody on call."""
        found: list[Gap] = []
        for chain in self.chains.values():
            for number, step in enumerate(chain.levels):
                if all(name in self.rotas for name in step.to):
                    found += [Gap(chain.name, number, gap) for gap in self.gaps_of(step, begins_at, ends_at)]
        return found

    def gaps_of(self, step: Step, begins_at: float, ends_at: float) -> list[Shift]:
        """When nobody is on call at a level that names rotas alone."""
        [open_now, *others] = [self.rotas[name].gaps(begins_at, ends_at) for name in dict.fromkeys(step.to)]
        for gaps in others:
            both = [(max(a.begins_at, b.begins_at), min(a.ends_at, b.ends_at)) for a in open_now for b in gaps]
            open_now = [Shift("", begin, end) for begin, end in both if begin < end]
        return open_now
