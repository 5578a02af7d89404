"""An agent is killed, and the process that recovers it is killed too: every point of the one with points of the other.

Points stand before and after each write of the journal and each effect (`holdfast.testing.crash`); a child is forked,
really dies, and the next one really recovers. What the receivers have, and what the journal shows after each kill, says
in which window it was: before the effect, while it was under way, or when it had happened and was not recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import ceil
from typing import NamedTuple

import holdfast as hf
from holdfast.core.state import fold
from holdfast.journal.open import open_journal
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.crash import Scenario, reach, trial
from proof import shop
from proof.part import Plan, Seen
from proof.world import ENGINES, POSTGRES, SQLITE, Received, Receiver, Stores, log_of, stores

PAIRS = 2_000
WANTED = {
    "double_kills": PAIRS,
    "kills_before_the_effect": 400,
    "kills_under_way": 120,
    "kills_after_the_effect": 400,
    "takeovers": 2_000,
    "doubts_settled": 500,
    "asked_a_person": 200,
    "double_kills_sqlite": PAIRS * 3 // 4,
    "double_kills_postgres": PAIRS // 4,
}
COST = 250
SHARDS = 3
"""Each looks for the points of all recoveries first."""
WAITS = True
REHEARSALS = 3
TURN = (SQLITE, SQLITE, SQLITE, POSTGRES)
"""A life on Postgres costs three times as much."""
SETTINGS = hf.Settings(settle_s=0.0, poll_s=0.02, quiet_s=0.02)
"""A `verify` need not be asked twice in a time: what a receiver has it has when its point is passed."""


class Place(NamedTuple):
    url: str
    key: str
    receiver: Receiver
    doubtful: set[tuple[str, str]]
    """What was in flight at a kill."""


class Points:
    """The way outside, with a point before, while, and after something happens."""

    receiver: Receiver
    """Of the life that is lived."""

    async def act(self, tool: str, order: str, key: str, epoch: int) -> None:
        reach(f"{tool}:before")
        self.receiver.take(Received(tool, order, key, epoch))
        reach(f"{tool}:under way")  # it has happened, and nobody was told yet
        reach(f"{tool}:after")

    async def has(self, tool: str, key: str) -> bool:
        return self.receiver.has(tool, key)


class Shop(Scenario):
    """One run on a store of one engine."""

    limit_s = 30
    spare = 4
    """A rest that is over when its process comes back has fewer points than one that is waited for."""

    def __init__(self, stores: Stores, engine: str, prefix: str, seen: Seen) -> None:
        self.stores = stores
        self.engine = engine
        self.prefix = prefix
        self.seen = seen
        self.points = Points()
        self.agent = shop.shop(self.points, rest_s=0.001)

    def prepare(self, trial: str) -> Place:
        name = f"{self.prefix}{trial}"
        return Place(
            self.stores.url(self.engine, name), name, Receiver(self.stores.directory / f"{name}.received"), set()
        )

    def run(self, place: Place, journal: Callable[[Journal], Journal]) -> None:
        clock = SystemClock()
        app = hf.App(journal(open_journal(place.url, clock=clock.now)), settings=SETTINGS, clock=clock, serves=False)
        self.points.receiver = place.receiver
        asyncio.run(shop.lived(app, self.agent, place.key, place.receiver))

    def rehearse(self) -> None:
        """Lives in this process, before any is forked: what has run here a few times runs faster in each child, and
        copies less of the memory that they share."""
        for number in range(REHEARSALS):
            with ExitStack() as stack:  # no child may have a store that is open here

                def closed(journal: Journal, stack: ExitStack = stack) -> Journal:
                    stack.callback(journal.close)
                    return journal

                self.run(self.prepare(f"here{number}"), closed)

    def after_kill(self, place: Place, passed: Sequence[str]) -> None:
        """Count the window in which it died, as the journal shows it."""
        self.seen.count("kills")
        for tool, order in shop.in_flight(fold(log_of(place.url, place.key))):
            place.doubtful.add((tool, order))
            is_done = any((each.tool, each.order) == (tool, order) for each in place.receiver.all())
            is_told = not passed[-1].endswith(":under way")
            self.seen.count(
                "kills_" + ("before_the_effect" if not is_done else "after_the_effect" if is_told else "under_way")
            )

    def check(self, place: Place, kills: Sequence[str]) -> list[str]:
        events = log_of(place.url, place.key)
        received = place.receiver.all()
        self.seen.count("doubts_settled", shop.doubts(events))
        self.seen.count("takeovers", shop.takeovers(events))
        self.seen.count("asked_a_person", shop.answers(events))
        return shop.wrong(events, received, 1, place.doubtful)


def run(plan: Plan) -> Seen:
    """Each trial is one pair of points on one engine."""
    seen = Seen()
    with stores(plan.directory) as made:
        sides = {engine: _Side(Shop(made, engine, f"{engine}-", seen), plan) for engine in ENGINES}
        for number in plan.trials(PAIRS):
            sides[TURN[number % len(TURN)]].double_kill(number)
            made.forget()
    return seen


class _Side:
    """The points of one engine, found once."""

    def __init__(self, shop: Shop, plan: Plan) -> None:
        self.shop = shop
        self._seed = plan.seed
        self._count = plan.shard * ceil(PAIRS * plan.scale / plan.shards)  # no shard begins where another one does
        shop.rehearse()
        through, points = trial(shop, "through")
        shop.seen.problems += through.problems
        self._order = list(range(1, 1 + len(points) - shop.spare))
        plan.random(0).shuffle(self._order)
        self._recoveries: dict[int, int] = {}

    def double_kill(self, number: int) -> None:
        """Each point in turn is the first one, each time with another second one."""
        turn, at = divmod(self._count, len(self._order))
        self._count += 1
        first = self._order[at]
        if first not in self._recoveries:
            self._recoveries[first] = len(self._killed(number, first)) - self.shop.spare
        second = 1 + (turn + 7 * first + self._seed) % self._recoveries[first]
        self._killed(number, first, second)

    def _killed(self, number: int, *ats: int) -> list[str]:
        seen = self.shop.seen
        done, points = trial(self.shop, f"{number}-{len(ats)}-", *ats)
        seen.problems += [f"{self.shop.engine}, killed at points {ats} {done.kills}: {told}" for told in done.problems]
        if len(done.kills) == 2:
            seen.count("double_kills")
            seen.count(f"double_kills_{self.shop.engine}")
        return points
