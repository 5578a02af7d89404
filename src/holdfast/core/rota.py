"""Who is on call: people take turns of the same length, by the wall clock of one place. Pure.

1. A turn begins at the same hour of the wall clock each time, also after summer time has begun or ended; one whose
   hour is skipped by the clock begins when that hour would have been, by the time before.
2. At any moment at most one person is on call. The turn goes on by itself: nobody has to hand over.
3. Who is on leave is stood in for by the next in the list who is not. When nobody is left, there is a gap, and it is
   said: a rota never names a person who is away.
4. Before the first turn begins, nobody is on call.

The zone is an argument (a `tzinfo`), and nothing is read here: the names of zones are files of the system, which
whoever reads the configuration opens once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Final, NamedTuple

TURN_MIN: Final = timedelta(hours=1)
_OFFSETS_MAX: Final = timedelta(hours=26)
"""No two wall clocks of the earth are further apart, nor are two times of one place that its clock jumps between."""


class Leave(NamedTuple):
    """Somebody is away: from then, and no more from then on."""

    who: str
    begins_at: float
    ends_at: float


class Shift(NamedTuple):
    """Somebody is on call for a time; `who` is empty where nobody is."""

    who: str
    begins_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Rota:
    """People, in the order in which they take turns."""

    people: tuple[str, ...]
    begins: datetime
    """When the first turn of the first of them begins: the wall clock of `zone`, without a zone of its own."""
    turn: timedelta
    """At least `TURN_MIN`."""
    zone: tzinfo
    leaves: tuple[Leave, ...] = ()

    def on_call(self, at: float) -> str:
        """Who is on call at that moment; empty when nobody is."""
        turn = self._turn(at)
        if turn < 0:
            return ""
        away = {leave.who for leave in self.leaves if leave.begins_at <= at < leave.ends_at}
        first = turn % len(self.people)
        in_order = (*self.people[first:], *self.people[:first])
        return next((who for who in in_order if who not in away), "")

    def shifts(self, begins_at: float, ends_at: float) -> list[Shift]:
        """Who is on call from then to then, gaps too, without holes between them."""
        found: list[Shift] = []
        for begin, end in pairwise([begins_at, *sorted(self._changes(begins_at, ends_at)), ends_at]):
            who = self.on_call(begin)
            if found and found[-1].who == who:
                begin = found.pop().begins_at
            found.append(Shift(who, begin, end))
        return found

    def gaps(self, begins_at: float, ends_at: float) -> list[Shift]:
        """When nobody is on call in that time."""
        return [shift for shift in self.shifts(begins_at, ends_at) if not shift.who]

    def _turn(self, at: float) -> int:
        """The number of the last turn, from 0, that has begun; below 0 when none has."""
        local = datetime.fromtimestamp(at, UTC).astimezone(self.zone).replace(tzinfo=None)
        turn = (local + _OFFSETS_MAX - self.begins) // self.turn
        while turn >= 0 and self._begin(turn) > at:
            turn -= 1
        return turn

    def _begin(self, turn: int) -> float:
        return (self.begins + turn * self.turn).replace(tzinfo=self.zone).timestamp()

    def _changes(self, begins_at: float, ends_at: float) -> set[float]:
        """All moments in between at which somebody else may be on call."""
        edges = {edge for leave in self.leaves for edge in (leave.begins_at, leave.ends_at)}
        return {at for at in (*edges, *self._begins(begins_at, ends_at)) if begins_at < at < ends_at}

    def _begins(self, begins_at: float, ends_at: float) -> Iterator[float]:
        turn = max(0, self._turn(begins_at))
        last = self._turn(ends_at) + 1
        while turn <= last:
            yield self._begin(turn)
            turn += 1
