"""Where runs that were claimed together begin: a few at a time, while there is more to do than a loop can.

A thousand runs that begin in the same moment all live until the last of them ends, and each step of theirs waits for
the steps of all others. What is begun is brought on first instead: others begin as those end or come to rest, and,
since most agents wait for models and not for this process, so many more each time the loop has kept up with its work.

Invariants
1. They begin in the order in which they were claimed.
2. As long as the loop is late, no more than `AT_ONCE` are at work; but nobody waits for more than `STALLED_S` without
   another one having begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from holdfast.protocols import Claim, Clock, Lease

AT_ONCE = 96
"""Enough that their steps share commits; few enough that what they hold is found in the processor's caches, and that
the garbage collector has little to look through."""
TICK_S = 0.02
STALLED_S = 0.5


class Entrance:
    """The runs that one worker has claimed and not yet begun."""

    def __init__(self, clock: Clock, begin: Callable[[Claim], None], at_work: Callable[[], int]) -> None:
        """begin: never raises. at_work: how many runs are begun and do not rest."""
        self._clock = clock
        self._begin = begin
        self._at_work = at_work
        self._waiting: dict[str, Claim] = {}
        self._told: dict[str, list[asyncio.Future[None]]] = {}
        self._call_off: Callable[[], None] | None = None
        self._due = 0.0
        self._moved_at = 0.0

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def leases(self) -> list[Lease]:
        """Those of the runs that wait."""
        return [claim.lease for claim in list(self._waiting.values())]

    def room(self) -> int:
        """How many may begin now."""
        return 0 if self._waiting else max(0, AT_ONCE - self._at_work())

    def add(self, claim: Claim) -> None:
        """One more; it begins when there is room."""
        if not self._waiting:
            self._moved_at = self._clock.monotonic()
        self._waiting[claim.lease.run_id] = claim
        self._arm()

    def look(self) -> None:
        """A run has ended or come to rest."""
        if self._waiting:
            self._let_in(AT_ONCE - self._at_work())

    def has_mail(self, run_id: str) -> None:
        """What came with the claim is not all: the run is to ask."""
        if run_id in self._waiting:
            self._waiting[run_id] = replace(self._waiting[run_id], mail=None)

    async def begun(self, run_id: str) -> None:
        """Wait until the run has begun, or was given back."""
        if run_id in self._waiting:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.setdefault(run_id, []).append(told)
            await told

    def empty(self) -> list[Claim]:
        """Those that wait; they are the caller's now."""
        claims = list(self._waiting.values())
        self._waiting.clear()
        for run_id in list(self._told):
            self._tell(run_id)
        return claims

    def _let_in(self, most: int) -> None:
        for run_id in [*islice(self._waiting, max(0, most))]:
            self._begin(self._waiting.pop(run_id))
            self._moved_at = self._clock.monotonic()
            self._tell(run_id)
        if not self._waiting and self._call_off is not None:
            self._call_off()
            self._call_off = None

    def _tell(self, run_id: str) -> None:
        for told in self._told.pop(run_id, ()):
            if not told.done():
                told.set_result(None)

    def _arm(self) -> None:
        if self._call_off is None:
            self._due = self._clock.monotonic() + TICK_S
            self._call_off = self._clock.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._call_off = None
        now = self._clock.monotonic()
        has_kept_up = now - self._due < TICK_S / 2
        if has_kept_up or now - self._moved_at >= STALLED_S:
            self._let_in(AT_ONCE)
        if self._waiting:
            self._arm()
