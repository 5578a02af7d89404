"""People who answer when they like, and channels, pages and processes that fail when they like: all of it is drawn.

Whatever happens, a question is closed once and by its deadline, by somebody who may or by the declared default; what
was approved is done once, and nothing else is done. If one of these fails there is an hour of the night in which an
agent acts without a yes, or waits for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.inbox.matrix.bench import CANARY, HOUR, MIN, WAYS, WITHIN_S, Bench, bench
from tests.inbox.servers.fault import (
    CUT,
    GARBAGE,
    LOSES,
    SILENT,
    UNHEARD,
    UNKNOWN,
    UNTRUSTED,
    broken,
    limited,
    redirects,
)

FAULTS = (
    CUT,
    GARBAGE,
    LOSES,
    SILENT,
    UNHEARD,
    UNKNOWN,
    UNTRUSTED,
    broken(503),
    broken(404),
    limited(1800),
    redirects(),
)
SAYINGS = (("RCPT", "550 5.1.1 no"), ("RCPT", "451 4.7.1 later"), ("MAIL", "421 down"), ("DATA", "554 spam"))


def shake(b: Bench, chance: Random) -> None:
    """Draw what people do, and what fails from when to when."""
    for person in b.people.values():
        person.think_s = chance.uniform(1, 90) * MIN
        person.is_away = chance.random() < 0.3
        person.takes = chance.random() < 0.15
        person.repeats = chance.random() < 0.2
        person.choice = "approve" if chance.random() < 0.6 else "decline"
    b.asked_times = 4
    if chance.random() < 0.1:  # nothing gets out at all
        b.mail.says["RCPT"] = "550 5.1.1 no"
        for server in (b.hook, b.slack):
            server.does(CUT)
        return
    for _ in range(chance.randrange(5)):
        begins = chance.choice([0.0, chance.uniform(0, 12)]) * HOUR
        ends = begins + chance.choice([0.2, 1.0, 6.0, 24.0]) * HOUR
        fails, mends = _fault(b, chance)
        b.at(begins, fails)
        b.at(ends, mends)
    if chance.random() < 0.4:  # processes end, and others begin later
        b.awake, at = [], 0.0
        while at < WITHIN_S:
            until = at + chance.uniform(0.02, 6) * HOUR
            b.awake.append((at, until))
            at = until + chance.uniform(0, 3) * HOUR
        b.awake.append((at, float("inf")))


def _fault(b: Bench, chance: Random) -> tuple[Callable[[], Any], Callable[[], Any]]:
    server = chance.choice([None, b.hook, b.slack, b.page])
    if server is None:
        stage, says = chance.choice(SAYINGS)
        return lambda: b.mail.says.__setitem__(stage, says), lambda: b.mail.says.pop(stage, None)
    fault, times = chance.choice(FAULTS), chance.choice([None, None, 1, 3])
    return lambda: server.does(fault, times=times), server.mend


def judge(b: Bench, seen: Counter[str]) -> None:
    """Run it, and look whether all holds that always does."""
    ended = b.run()
    ends_s = b.question.asked_at - b.began + b.within_s
    begun_late_s = min([begins for begins, ends in b.awake if ends > ends_s], default=0.0)
    assert ended.after_s <= max(ends_s, begun_late_s) + 31 * MIN, "it was over only after its deadline"
    assert CANARY not in b.left(), "arguments have left"
    who = b.decided_by
    if not who:
        assert ended.outcome in ("expired", "undeliverable") and ended.effects == []
        assert ended.after_s >= ends_s, "its default was taken before its time"
        seen[ended.outcome] += 1
        return
    assert not b.people[who].is_away or b.people[who].takes is False
    yes = b.question.choice == "approve"
    assert b.question.choice == b.people[who].choice
    seen["asked anew"] += len(b.history) > 1  # a yes had grown old when a process was there again
    assert (ended.outcome, ended.effects) == (("refunded", ["K-17"]) if yes else ("declined", []))
    seen["approved" if yes else "declined"] += 1


@pytest.mark.parametrize("way", WAYS)
def test_whatever_fails_it_ends_by_its_deadline(way: str, record_property: Any) -> None:
    """Lost: what nobody thought of."""
    _trials(way, range(3), record_property)


@pytest.mark.proof
@pytest.mark.parametrize("half", range(2))
@pytest.mark.parametrize("way", WAYS)
def test_whatever_fails_it_ends_by_its_deadline_many_times(way: str, half: int, record_property: Any) -> None:
    """Lost: as above, of many more."""
    seen = _trials(way, range(3 + 55 * half, 58 + 55 * half), record_property)
    assert min(seen[what] for what in ("approved", "declined", "expired")) >= 1, seen


def _trials(way: str, seeds: range, record_property: Any) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        with bench(way) as b:
            shake(b, Random(f"{way}/{seed}"))
            try:
                judge(b, seen)
            except AssertionError as wrong:
                raise AssertionError(f"seed {seed} of {way}: {wrong}") from wrong
    record_property("questions", len(seeds))
    return seen
