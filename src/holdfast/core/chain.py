"""Whom to tell next about a question, and when: the levels of a chain, one after the other. Pure.

1. At each level everybody is told, each by the first of their channels that takes the notice: what one channel does
   not take goes to the next at once.
2. Somebody of a level was told: the next level's turn comes when its `wait_s` is over. Nobody could be told, or nobody
   is there to be: it comes at once.
3. After the last level it begins from the top, `repeat` times; whoever is on call then is told. After that it rests for
   a day, and begins anew; when the question can be answered for less than that, it is exhausted: it tells nobody else.
   A round in which nobody could be told is none of these: after a pause, each longer than the one before, it is tried
   again for as long as the question is open.
4. Whoever acknowledges stops it for `ack_s`. If the question is open then, it begins from the top as if nothing was.
5. What is not urgent is held for a person in quiet hours until they are over. If nobody else of the level was told, the
   level waits for that; but never for longer than the question can be answered: then the next level's turn comes.
6. The same person is never told twice in one level of one round once a channel has taken a notice for them.

What becomes of the question is not decided here: its deadline and its default run in the run that asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, assert_never

AGENT: Final = "@chain"
"""The agent whose runs tell people of questions, each of one."""
DELIVER: Final = "deliver"
"""Its step that hands a notice to a channel; it succeeds when the channel took it."""
DIGEST, COVERED = "digest", "covered"
"""The same of one notice about many questions; and the step that finds that this question was among them."""
TELLS: Final = frozenset({DELIVER, DIGEST, COVERED})
"""Where one of them has succeeded, somebody was told."""
NEWS: Final = "news"
"""The signal by which they are told anything."""
ACKNOWLEDGED: Final = "acknowledged"
"""What it says when a person takes care of the question."""
SEEN: Final = "seen"
"""What it says when a person has opened the question; nothing follows from that."""
PAUSE_MIN_S: Final = 60.0
"""After a round that told nobody; longer when the chain's own waits are, and twice as long after each further one."""
PAUSE_MAX_S: Final = 3600.0
AGAIN_S: Final = 86_400.0
"""What nobody answers is brought up again after that, while it can be answered."""


class Reach(NamedTuple):
    """A person of a level, and how they can be told, the best first."""

    person: str
    channels: tuple[str, ...]


class Level(NamedTuple):
    """Who is to be told together, as of now; nobody when a rota has a gap."""

    people: tuple[Reach, ...]
    wait_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain as of one moment: rotas are replaced by who is on call."""

    levels: tuple[Level, ...]
    repeat: int = 0
    """How often it begins from the top again."""
    ack_s: float = 1800.0
    quiet_until: Mapping[str, float] = field(default_factory=dict)
    """By person, only of those who are in quiet hours."""
    deadline: float | None = None
    """Until when the question can be answered."""
    is_urgent: bool = False


class Tried(NamedTuple):
    """A notice of this level and round, and whether the channel took it."""

    person: str
    channel: str
    is_taken: bool


@dataclass(frozen=True, slots=True)
class Course:
    """How far a chain has come."""

    since: float
    """When the last notice of this level was taken; before the first one, when the level began."""
    left: int
    """How often it may begin from the top again."""
    round: int = 0
    level: int = 0
    tried: tuple[Tried, ...] = ()
    has_told: bool = False
    """Somebody, in this round."""
    failing: int = 0
    """So many rounds on end have told nobody."""
    rest_until: float | None = None
    """Nothing is sent before: somebody has acknowledged, or nobody could be told in a whole round."""
    acknowledged_by: str = ""


# --- moves -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell this person by this channel."""

    round: int
    level: int
    person: str
    channel: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done before, unless there is news."""

    until: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nobody else is told before the question is over."""


Move = Notify | Wait | Exhausted


# --- happenings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """A channel took the notice; that it was read is not known."""

    person: str
    channel: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A channel did not take the notice, or says later that it could not be delivered."""

    person: str
    channel: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A person takes care of it."""

    by: str


Happening = Taken | Failed | Acknowledged


def key_of(run: str, question: str) -> str:
    """The key of the run that tells people of this question."""
    return f"{AGENT}/{run}/{question}"


def begin(plan: Plan, now: float) -> Course:
    """The top of a chain."""
    return Course(now, plan.repeat)


def happened(plan: Plan, course: Course, what: Happening, now: float) -> Course:
    """How far it has come after this."""
    match what:
        case Taken(person, channel):
            tried = _tried(course, Tried(person, channel, True))
            return replace(course, tried=tried, since=now, has_told=True, failing=0)
        case Failed(person, channel):
            return replace(course, tried=_tried(course, Tried(person, channel, False)))
        case Acknowledged(by):
            again = _from_top(course, plan.repeat, now)
            return replace(again, rest_until=now + plan.ack_s, acknowledged_by=by, failing=0)
    assert_never(what)


def next_move(plan: Plan, course: Course, now: float) -> tuple[Course, Move]:
    """What is to be done now, and how far it has come by that: levels are passed whose turn is over."""
    if course.rest_until is not None:
        if now < course.rest_until:
            return course, Wait(course.rest_until)
        course = replace(course, rest_until=None, acknowledged_by="", since=now)
    while course.level < len(plan.levels):
        move = _at_level(plan, course, plan.levels[course.level], now)
        if move is not None:
            return course, move
        course = replace(course, level=course.level + 1, tried=(), since=now)
    return _after_last(plan, course, now)


def _at_level(plan: Plan, course: Course, level: Level, now: float) -> Notify | Wait | None:
    """None: its turn is over."""
    told = {tried.person for tried in course.tried if tried.is_taken}
    held: list[float] = []
    for person, channels in level.people:
        if person in told:
            continue
        quiet_until = None if plan.is_urgent else plan.quiet_until.get(person)
        if quiet_until is not None and quiet_until > now:
            held.append(quiet_until)
            continue
        failed = {tried.channel for tried in course.tried if tried.person == person}
        for channel in channels:
            if channel not in failed:
                return Notify(course.round, course.level, person, channel)
    over_at = course.since + level.wait_s if told else None if not held else _held(plan, min(held))
    if over_at is None or over_at <= now:
        return None
    return Wait(min([over_at, *held]))


def _held(plan: Plan, until: float) -> float | None:
    return until if plan.deadline is None or until < plan.deadline else None


def _after_last(plan: Plan, course: Course, now: float) -> tuple[Course, Move]:
    if not course.has_told:
        pause_s = max([PAUSE_MIN_S, *(level.wait_s for level in plan.levels)])
        pause_s = max(pause_s, min(pause_s * 2 ** min(course.failing, 10), PAUSE_MAX_S))
        return _rest(replace(_from_top(course, course.left, now), failing=course.failing + 1), now + pause_s)
    if course.left > 0:
        return next_move(plan, _from_top(course, course.left - 1, now), now)
    if plan.deadline is None or plan.deadline > now + AGAIN_S:
        return _rest(_from_top(course, plan.repeat, now), now + AGAIN_S)
    return course, Exhausted()


def _rest(course: Course, until: float) -> tuple[Course, Move]:
    return replace(course, rest_until=until), Wait(until)


def _from_top(course: Course, left: int, now: float) -> Course:
    return Course(now, left, course.round + 1, failing=course.failing)


def _tried(course: Course, latest: Tried) -> tuple[Tried, ...]:
    """The same person and channel are there once, with what is known last."""
    others = [tried for tried in course.tried if (tried.person, tried.channel) != latest[:2]]
    return (*others, latest)
