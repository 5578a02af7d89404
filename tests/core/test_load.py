"""How much people are told. If these fail, a flood of questions buries the one that matters, or is not told at all."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.chain import Exhausted, Failed, Level, Notify, Plan, Reach, Taken, Wait, begin, happened, next_move
from holdfast.core.load import (
    CLAIM_S,
    COLLECT_S,
    HOUR_S,
    PER_HOUR,
    Covered,
    Hold,
    Load,
    SendDigest,
    Tell,
    Wanted,
    admitted,
    sent,
    taken,
)

T = 1_700_000_000.0


def wanted(number: int, held_since: float | None = None, alike: str = "") -> Wanted:
    return Wanted(f"q{number}/0/0", f"run_{number}", f"q{number}", alike or f"a{number}", held_since)


def asking(load: Load, number: int, now: float, per_hour: int = 3, **more: Any) -> tuple[Load, Any]:
    return admitted(load, wanted(number, **more), per_hour, now, lambda run, question: True)


def full(now: float = T) -> Load:
    load = Load()
    for number in range(3):
        load, found = asking(load, number, now)
        assert found == Tell()
    return load


def test_so_many_are_told_and_the_rest_is_held_for_one_digest() -> None:
    """Lost: a person who gets the four-hundredth mail of an hour, or none of the last three hundred."""
    load, found = asking(full(), 3, T + 1)
    assert found == Hold(T + 1 + COLLECT_S)
    for number in (4, 5, 6):
        same, found = asking(load, number, T + 2)
        assert found == Hold(T + 1 + COLLECT_S) and same is load, "what is held writes nothing"
    load, found = asking(load, 5, T + 61, held_since=T + 2)
    assert isinstance(found, SendDigest)
    _, found = asking(load, 3, T + 61, held_since=T + 1)
    assert found == Hold(T + 61 + CLAIM_S), "one of them is at it"
    load = sent(load, "mail", T + 62)
    for number in (3, 4, 6):
        assert asking(load, number, T + 63, held_since=T + 2)[1] == Covered("mail")
    assert asking(load, 7, T + 64)[1] == Hold(T + 62 + HOUR_S), "the next one is an hour later"


def test_in_a_new_hour_people_are_told_one_by_one_again() -> None:
    """Lost: everything after the first flood."""
    load, found = asking(full(), 3, T + HOUR_S)
    assert found == Tell() and len(load.told) == 1


def test_a_digest_that_its_sender_did_not_send_is_sent_by_another() -> None:
    """Lost: all that was held, by the death of one process or the end of one question."""
    load, _ = asking(full(), 3, T)
    load, found = asking(load, 3, T + 60, held_since=T)
    assert isinstance(found, SendDigest)
    assert asking(load, 3, T + 61, held_since=T)[1] == found, "the same one may try again, as the same digest"
    assert asking(load, 4, T + 60 + CLAIM_S, held_since=T)[1] == found


def test_what_came_after_the_digest_was_not_in_it() -> None:
    """Lost: a question that nobody is ever told of, since a digest was sent before it was asked."""
    load = sent(full(), "mail", T + 5)
    assert isinstance(asking(load, 9, T + 6)[1], Hold)
    assert isinstance(asking(load, 9, T + 7, held_since=T + 6)[1], Hold)


def test_who_asks_again_for_the_same_notice_is_not_counted_twice() -> None:
    """Lost: a place of twenty at each crash between the count and its record."""
    load = full()
    assert asking(load, 2, T + 1) == (load, Tell())


def test_of_questions_that_are_alike_one_is_told_while_it_is_open() -> None:
    """Lost: nineteen notices of twenty, to one agent in a loop; or the second question, when the first is answered."""
    load, found = asking(Load(), 1, T, alike="same")
    assert found == Tell()
    assert asking(load, 2, T + 1, alike="same") == (load, Hold(T + CLAIM_S)), "nobody knows whether it got through"
    assert asking(load, 2, T + CLAIM_S, alike="same")[1] == Tell(), "it did not"
    load = taken(load, wanted(1).notice)
    assert asking(load, 2, T + 1, alike="same") == (load, Covered())
    assert asking(load, 2, T + 1, alike="other")[1] == Tell()
    assert admitted(load, wanted(2, alike="same"), 3, T + 1, lambda run, question: False)[1] == Tell()
    reminder = wanted(1, alike="same")._replace(notice="q1/1/0")
    assert admitted(load, reminder, 3, T + 1, lambda run, question: True)[1] == Tell(), "of itself it may be reminded"


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    """Lost: all notices until the clock is where it was."""
    assert asking(full(), 9, T - 10_000)[1] == Tell()


@given(st.lists(st.tuples(st.floats(0, 900), st.integers(0, 30)), max_size=120))
def test_whatever_comes_no_hour_has_more_than_it_may(arrivals: list[tuple[float, int]]) -> None:
    """Lost: the cap, by an order of arrivals that nobody thought of."""
    load, now, told, digests = Load(), T, [], []
    for wait_s, number in arrivals:
        now += wait_s
        before = len(load.told)
        load, found = asking(load, number, now, held_since=now)
        assert Load.of(load.text()) == load
        match found:
            case Tell():
                told += [now] * (len(load.told) > before or load.since == now)
            case SendDigest():
                digests.append(now)
                load = sent(load, "mail", now)
            case Hold(until):
                assert now < until <= now + HOUR_S + COLLECT_S
    for at in told:
        assert sum(at <= other < at + HOUR_S for other in told) <= 2 * 3, "of two hours at most"
    assert all(later - earlier >= HOUR_S for earlier, later in pairwise(digests))


# --- a flood -----------------------------------------------------------------------------------------------------

PEOPLE = ("ada", "bob")


class Flood:
    """Chains of many questions, two people, and what each of them was told."""

    def __init__(self, questions: int, urgent: int, seed: int, broken: float = 0.0) -> None:
        self.chance, self.broken = random.Random(seed), broken
        self.loads = {person: Load() for person in PEOPLE}
        self.since: dict[tuple[int, str], float] = {}
        self.held: dict[int, dict[str, float]] = {}
        self.singles: dict[str, list[tuple[float, int]]] = {person: [] for person in PEOPLE}
        self.digests: dict[str, list[float]] = {person: [] for person in PEOPLE}
        self.knows: dict[int, float] = {}
        self.urgent = urgent
        self.due = [(T + self.chance.random() * 20.0, number) for number in range(questions)]
        heapq.heapify(self.due)
        self.plans = {
            number: Plan(
                (Level((Reach("ada", ("mail", "page")),), 600.0), Level((Reach("bob", ("mail",)),), 600.0)),
                repeat=1,
                deadline=T + 3 * HOUR_S,
                is_urgent=number < urgent,
            )
            for number in range(questions)
        }
        self.courses = {number: begin(self.plans[number], at) for at, number in self.due}

    def run(self, until: float) -> None:
        while self.due and self.due[0][0] < until:
            now, number = heapq.heappop(self.due)
            self._turn(number, now)

    def _turn(self, number: int, now: float) -> None:
        plan = self.plans[number]
        course, move = next_move(replace(plan, quiet_until=self.held.get(number, {})), self.courses[number], now)
        self.courses[number] = course
        match move:
            case Notify(round_, level, person, channel):
                self._notify(number, now, f"q{number}/{round_}/{level}", person, channel)
            case Wait(at):
                heapq.heappush(self.due, (at, number))
            case Exhausted():
                return

    def _notify(self, number: int, now: float, notice: str, person: str, channel: str) -> None:
        plan, load = self.plans[number], self.loads[person]
        found: Any = Tell()
        if not plan.is_urgent:
            since = self.since.get((number, person))
            load, found = admitted(
                load, Wanted(notice, f"r{number}", f"q{number}", f"a{number}", since), PER_HOUR, now, lambda r, q: True
            )
        is_broken = self.chance.random() < self.broken
        happening: Any = (Failed if is_broken else Taken)(person, channel)
        match found:
            case Hold(at):
                self.since.setdefault((number, person), now)
                self.held.setdefault(number, {})[person] = at
                self.loads[person] = load
                heapq.heappush(self.due, (now, number))
                return
            case Covered():
                happening = Taken(person, channel)
            case SendDigest() if not is_broken:
                self.digests[person].append(now)
                load = sent(load, channel, now)
            case Tell() if not is_broken:
                self.singles[person].append((now, number))
        if isinstance(happening, Taken):
            self.knows.setdefault(number, now)
            self.since.pop((number, person), None)
        self.loads[person] = load
        self.courses[number] = happened(plan, self.courses[number], happening, now)
        heapq.heappush(self.due, (now, number))


@pytest.mark.parametrize(("broken", "seed"), [(0.0, 1), (0.3, 2)])
def test_ten_thousand_questions_at_once_are_twenty_notices_and_one_digest(broken: float, seed: int) -> None:
    """Lost: the attention of everybody, by one agent; or the urgent ones, which are told by themselves and at once."""
    flood = Flood(10_000, urgent=7, seed=seed, broken=broken)
    flood.run(T + HOUR_S - 1)
    for person in PEOPLE:
        routine = [number for _, number in flood.singles[person] if number >= 7]
        assert len(routine) <= PER_HOUR and len(flood.digests[person]) <= 1
    told = Counter(number for _, number in flood.singles["ada"] if number < 7)
    assert set(told) == set(range(7)), "each urgent one by itself"
    first = [min(at for at, each in flood.singles["ada"] if each == number) for number in range(7)]
    assert max(first) <= T + 20.0 or broken, "and at once"
    assert len(flood.digests["ada"]) == 1 and len(flood.knows) == 10_000, "nobody is asked in vain"


def test_a_flood_of_three_hours_is_told_once_an_hour() -> None:
    """Lost: the later hours, or the promise of one digest in each."""
    flood = Flood(2_000, urgent=0, seed=3)
    flood.run(T + 3 * HOUR_S)
    for person in PEOPLE:
        digests = flood.digests[person]
        assert len(digests) <= 3 and all(b - a >= HOUR_S for a, b in pairwise(digests))
