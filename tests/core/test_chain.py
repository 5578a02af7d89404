"""Whom to tell next: every law of the page, and worlds in which channels fail, people sleep, and some acknowledge."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.chain import (
    AGAIN_S,
    PAUSE_MIN_S,
    Acknowledged,
    Course,
    Exhausted,
    Failed,
    Level,
    Notify,
    Plan,
    Reach,
    Taken,
    Wait,
    begin,
    happened,
    next_move,
)

MIN, H = 60.0, 3600.0
START = 1_800_000_000.0


def level(*people: str, by: str = "slack mail", wait_s: float = 10 * MIN) -> Level:
    """A level of people that are told by these channels."""
    return Level(tuple(Reach(person, tuple(by.split())) for person in people), wait_s)


TWO = Plan((level("ada"), level("bob")), repeat=1, ack_s=30 * MIN)


@dataclass
class Told:
    """What went out, when, and whether it was taken."""

    at: float
    move: Notify
    is_taken: bool


@dataclass
class World:
    """A clock that stands still until the chain waits, and channels that fail as they are told."""

    plan: Plan
    broken: set[tuple[str, str]] = field(default_factory=set)
    now: float = START
    told: list[Told] = field(default_factory=list)
    course: Course = field(init=False)

    def __post_init__(self) -> None:
        self.course = begin(self.plan, self.now)

    def move(self) -> Notify | Wait | Exhausted:
        """One move, carried out as far as it concerns channels."""
        self.course, move = next_move(self.plan, self.course, self.now)
        if isinstance(move, Notify):
            is_taken = (move.person, move.channel) not in self.broken
            self.told.append(Told(self.now, move, is_taken))
            self.happens((Taken if is_taken else Failed)(move.person, move.channel))
        return move

    def happens(self, what: Taken | Failed | Acknowledged) -> None:
        """It is taken in."""
        self.course = happened(self.plan, self.course, what, self.now)

    def until_wait(self) -> Wait | Exhausted:
        """Moves until nothing is to be done now."""
        while isinstance(move := self.move(), Notify):
            pass
        return move

    def through(self, moves_max: int = 10_000) -> Exhausted | Wait:
        """Until it has told all it tells on this day, or could tell nobody five times, with nobody answering."""
        for _ in range(moves_max):
            move = self.move()
            if isinstance(move, Exhausted) or self.course.failing >= 5:
                return move
            if isinstance(move, Wait) and move.until == self.now + AGAIN_S:
                return move
            if isinstance(move, Wait):
                assert move.until > self.now, "it waits for what is past"
                self.now = move.until
        raise AssertionError("it never ends")

    @property
    def people(self) -> list[str]:
        """Who was told, in order."""
        return [told.move.person for told in self.told if told.is_taken]


def test_levels_repeat_and_the_end() -> None:
    """Lost: the backup is never called, or the first is called once and then forgotten."""
    world = World(replace(TWO, deadline=START + 24 * H))
    assert world.through() == Exhausted()
    assert [(told.at - START, told.move.round, told.move.person) for told in world.told] == [
        (0, 0, "ada"),
        (10 * MIN, 0, "bob"),
        (20 * MIN, 1, "ada"),
        (30 * MIN, 1, "bob"),
    ]
    assert world.now == START + 40 * MIN  # the last one had their time, too


def test_what_a_channel_does_not_take_goes_to_the_next_at_once() -> None:
    """Lost: minutes of silence while it is known that nobody was told."""
    world = World(TWO, {("ada", "slack")})
    assert world.until_wait() == Wait(START + 10 * MIN)
    assert [(told.move.channel, told.is_taken) for told in world.told] == [("slack", False), ("mail", True)]


def test_a_level_that_nobody_of_was_told_is_passed_at_once() -> None:
    """Lost: the wait of a level whose people know of nothing."""
    world = World(TWO, {("ada", "slack"), ("ada", "mail")})
    assert world.until_wait() == Wait(START + 10 * MIN)
    assert world.people == ["bob"]


def test_a_rota_with_a_gap_is_passed_at_once() -> None:
    """Lost: as above: nobody is on call."""
    world = World(replace(TWO, levels=(level(), level("bob"))))
    world.until_wait()
    assert world.people == ["bob"] and world.now == START


def test_a_bounce_after_the_channel_took_it_goes_on_at_once() -> None:
    """Lost: what a mail server takes and returns an hour later counts as told."""
    world = World(TWO, {("ada", "slack")})
    world.until_wait()
    world.now += 60
    world.happens(Failed("ada", "mail"))
    assert world.until_wait() == Wait(START + 60 + 10 * MIN)
    assert world.people == ["ada", "bob"]


def test_everybody_of_a_level_is_told() -> None:
    """Lost: only the first of a team hears of it."""
    world = World(Plan((level("ada", "bob", "eve"),)))
    world.until_wait()
    assert world.people == ["ada", "bob", "eve"]


def test_while_nobody_can_be_told_it_is_tried_again_at_ever_longer_pauses() -> None:
    """Lost: all rounds are used up within a minute of an outage; or an outage of hours ends the chain for good."""
    everybody = {(who, by) for who in ("ada", "bob") for by in ("slack", "mail")}
    world = World(replace(TWO, deadline=START + 24 * H), everybody)
    pauses = []
    while world.now < START + 6 * H:
        move = world.until_wait()
        assert isinstance(move, Wait), "it gives up"
        pauses.append(move.until - world.now)
        world.now = move.until
    assert pauses[:4] == [10 * MIN, 20 * MIN, 40 * MIN, H] and set(pauses[4:]) == {H}
    world.broken.clear()
    assert world.until_wait() == Wait(world.now + 10 * MIN) and world.people == ["ada"]
    world.now += 10 * MIN
    assert world.through() == Exhausted()
    assert world.people == ["ada", "bob", "ada", "bob"], "its repeats are all there"
    short = World(Plan((), repeat=1))
    assert short.until_wait() == Wait(START + PAUSE_MIN_S)


@pytest.mark.parametrize("deadline", [None, START + 72 * H])
def test_what_nobody_answers_is_brought_up_again_each_day(deadline: float | None) -> None:
    """Lost: a question without a deadline is told of for an hour, and then never again."""
    world = World(replace(TWO, deadline=deadline))
    ended = world.through()
    assert ended == Wait(START + 40 * MIN + AGAIN_S) and len(world.people) == 4
    world.now += AGAIN_S
    world.through()
    assert world.people == ["ada", "bob"] * 4


def test_whoever_acknowledges_stops_it_for_a_time_of_its_own() -> None:
    """Lost: a person who looks into it is called again and again; or one who fell asleep over it ends the chain."""
    world = World(TWO)
    world.until_wait()
    world.now += 60
    world.happens(Acknowledged("ada"))
    assert world.course.acknowledged_by == "ada"
    assert world.until_wait() == Wait(START + 60 + 30 * MIN)
    world.now += 30 * MIN
    world.until_wait()
    assert world.people == ["ada", "ada"] and world.course.acknowledged_by == ""
    world.through()
    assert world.people[2:] == ["bob", "ada", "bob"]  # the repeats are all there again


NIGHT = replace(TWO, quiet_until={"ada": START + 5 * H})


def test_what_is_not_urgent_waits_for_the_end_of_quiet_hours() -> None:
    """Lost: a person is woken for what can wait; or the level passes, and it goes to the boss at night."""
    world = World(NIGHT)
    assert world.until_wait() == Wait(START + 5 * H) and world.told == []
    world.now += 5 * H
    world.until_wait()
    assert world.people == ["ada"]


def test_what_is_urgent_does_not() -> None:
    """Lost: the incident waits for breakfast."""
    world = World(replace(NIGHT, is_urgent=True))
    world.until_wait()
    assert world.people == ["ada"]


def test_no_longer_than_it_can_be_answered() -> None:
    """Lost: a question that ends at midnight is held until seven, and nobody was asked."""
    world = World(replace(NIGHT, deadline=START + 4 * H))
    assert world.until_wait() == Wait(START + 10 * MIN)
    assert world.people == ["bob"]


def test_others_of_the_level_who_are_awake_are_told_now() -> None:
    """Lost: one who sleeps keeps all from being told."""
    plan = replace(NIGHT, levels=(level("ada", "eve"), level("bob")))
    world = World(plan)
    assert world.until_wait() == Wait(START + 10 * MIN)
    assert world.people == ["eve"]


def test_a_chain_that_became_shorter_meanwhile_begins_from_the_top() -> None:
    """Lost: an edit of the file while a question is open ends the chain, or breaks it."""
    world = World(TWO)
    world.until_wait()
    world.now += 10 * MIN
    world.until_wait()
    world.plan = replace(TWO, levels=TWO.levels[:1])
    world.now += 10 * MIN
    world.until_wait()
    assert world.people == ["ada", "bob", "ada"]


# --- laws --------------------------------------------------------------------------------------------------------

PEOPLE, CHANNELS = ["ada", "bob", "eve"], ["slack", "mail", "sms"]
reaches = st.builds(
    Reach, st.sampled_from(PEOPLE), st.lists(st.sampled_from(CHANNELS), unique=True, max_size=3).map(tuple)
)
levels = st.builds(
    Level,
    st.lists(reaches, max_size=3, unique_by=lambda reach: reach.person).map(tuple),
    st.sampled_from([0.0, 30.0, 10 * MIN, 2 * H]),
)
plans = st.builds(
    Plan,
    st.lists(levels, max_size=4).map(tuple),
    repeat=st.integers(0, 3),
    quiet_until=st.dictionaries(st.sampled_from(PEOPLE), st.floats(START - H, START + 9 * H), max_size=2),
    deadline=st.none() | st.floats(START, START + 5 * H),
    is_urgent=st.booleans(),
)
breaks = st.sets(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(CHANNELS)))


def _by_level(told: list[Told]) -> Iterator[list[Told]]:
    for place in sorted({(each.move.round, each.move.level) for each in told}):
        yield [each for each in told if (each.move.round, each.move.level) == place]


@given(plans, breaks)
def test_laws_of_a_chain_that_nobody_answers(plan: Plan, broken: set[tuple[str, str]]) -> None:
    """Lost: any of the laws, in a world that nobody thought of."""
    world = World(plan, broken)
    world.through()
    places = [(told.move.round, told.move.level) for told in world.told]
    assert places == sorted(places), "levels in order"
    notices = Counter((*places[number], told.move.person, told.move.channel) for number, told in enumerate(world.told))
    assert set(notices.values()) <= {1}, "no notice twice"
    for of_level in _by_level(world.told):
        taken = Counter(told.move.person for told in of_level if told.is_taken)
        assert set(taken.values()) <= {1}, "nobody twice in a level"
    if not plan.is_urgent:
        assert all(told.at >= plan.quiet_until.get(told.move.person, 0.0) for told in world.told), "nobody is woken"
    else:
        for number in range(plan.repeat + 1):  # whoever has a way that works is told in each round
            told = {each.move.person for each in world.told if each.is_taken and each.move.round == number}
            ways = {(r.person, c) for of in plan.levels for r in of.people for c in r.channels} - broken
            assert told == {person for person, _ in ways}


@given(plans, breaks)
def test_time_passes_only_for_a_reason(plan: Plan, broken: set[tuple[str, str]]) -> None:
    """Lost: a silence after a level that nobody was told of; or a level that had not its whole time."""
    world = World(replace(plan, quiet_until={}), broken)
    world.through()
    of_levels = list(_by_level(world.told))
    for before, after in itertools.pairwise(of_levels):
        (a, b), (c, _d) = [(each[0].move.round, each[0].move.level) for each in (before, after)]
        passed = after[0].at - before[-1].at
        took = [told.at for told in before if told.is_taken]
        if a == c or any(told.is_taken for told in world.told if told.move.round == a):
            assert passed == (plan.levels[b].wait_s if took else 0.0)
        else:
            assert passed >= PAUSE_MIN_S
        assert len({told.at for told in before}) == 1


@given(plans, breaks, st.lists(st.floats(1.0, 5 * H), max_size=4))
def test_nothing_goes_out_while_somebody_takes_care_of_it(
    plan: Plan, broken: set[tuple[str, str]], moments: list[float]
) -> None:
    """Lost: whoever has acknowledged is called all the same; or, after the time, nobody is."""
    world = World(plan, broken)
    for after in moments:
        world.until_wait()
        world.now += after
        world.happens(Acknowledged("ada"))
        count, rest = len(world.told), world.now + plan.ack_s
        assert world.until_wait() == Wait(rest)
        assert len(world.told) == count
        world.now = rest
    world.through()
    if moments:
        assert world.course.round >= len(moments) + plan.repeat


@pytest.mark.parametrize("late", [0.0, 1.0, 1e9])
def test_a_clock_that_jumps_passes_one_level_at_a_time(late: float) -> None:
    """Lost: after an outage of hours all people are called in the same second, or the chain is over unheard."""
    world = World(TWO)
    world.until_wait()
    world.now += 10 * MIN + late
    assert world.until_wait() == Wait(world.now + 10 * MIN)
    assert world.people == ["ada", "bob"]
