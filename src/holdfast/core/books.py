"""The books of one run: what it has charged, and to which accounts. Kept by `State`, from its events alone.

A run charges the accounts of its tenant (of each day, and of all time) and those that it shares with other runs: one
that it was started with, those of the runs that it is part of, and its own as soon as it has children.

Invariants
1. A reservation and its settlement are charged to the day of the reservation, by the time in its event: days are UTC,
   and a clock that jumps back charges another day, never none.
2. A tenant's accounts count what costs money: model calls, tokens and dollars. Its tool calls are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.core.events import NOTHING, Charge

Sums = tuple[Charge, Charge]
"""Spent, and reserved."""
NONE: Final[Sums] = (NOTHING, NOTHING)

DAY: Final = "day"
"""The account whose caps hold for each day."""
TOTAL: Final = "total"
SHARED: Final = "project/"
"""Accounts that runs share without being part of one another begin so."""
_DAY_S: Final = 86_400


class Books:
    """What one run has charged."""

    __slots__ = ("above", "days", "is_priced", "is_shared", "total")

    def __init__(self) -> None:
        self.above: tuple[str, ...] = ()
        """The account that it was started with, or those of the runs that it is part of, the root's first."""
        self.is_priced = False
        """One of these has a cap in dollars, so that what a call costs must be known."""
        self.is_shared = False
        """It has children that are part of it, and an account of its own for them."""
        self.total: Sums = NONE
        """What the tenant's accounts count."""
        self.days: dict[int, Sums] = {}
        """The same by day: days since the epoch."""

    @property
    def are_joint(self) -> bool:
        """Whether other runs use the same accounts, so that room in them must be asked for before anything begins."""
        return self.is_shared or bool(self.above)

    def spend(self, charge: Charge, at: float) -> None:
        """`charge` was used, of what was reserved `at` this time."""
        self._add(at, metered(charge), NOTHING)

    def reserve(self, charge: Charge, at: float) -> None:
        """`charge` was reserved."""
        self._add(at, NOTHING, metered(charge))

    def settle(self, charge: Charge, at: float) -> None:
        """A reservation is over."""
        counted = metered(charge)
        if counted is not NOTHING:
            self._add(at, NOTHING, NOTHING.minus(counted))

    def restore(self, days: Mapping[str, Sequence[Sequence[int]]], *, is_shared: bool) -> None:
        """What a run had charged whose log is not kept: by day, spent and reserved."""
        self.is_shared = self.is_shared or is_shared
        for day, (spent, reserved) in days.items():
            self.days[int(day)] = Charge(*spent), Charge(*reserved)
            self.total = added(self.total, *self.days[int(day)])

    def _add(self, at: float, spent: Charge, reserved: Charge) -> None:
        if spent is not NOTHING or reserved is not NOTHING:
            day = day_of(at)
            self.total = added(self.total, spent, reserved)
            self.days[day] = added(self.days.get(day, NONE), spent, reserved)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Books) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


def metered(charge: Charge) -> Charge:
    """What the tenant's accounts count of it."""
    _, model_calls, tokens, usd_nano = charge
    return Charge(0, model_calls, tokens, usd_nano) if model_calls or tokens or usd_nano else NOTHING


def added(sums: Sums, spent: Charge, reserved: Charge) -> Sums:
    """The sums after this."""
    return sums[0].plus(spent), sums[1].plus(reserved)


def day_of(at: float) -> int:
    """The day of a time, in days since the epoch, UTC."""
    return int(at // _DAY_S)


def day_key(day: int) -> str:
    """The account of that day: `day/2026-01-31`."""
    return f"{DAY}/{datetime.fromtimestamp(day * _DAY_S, UTC):%Y-%m-%d}"


def run_key(run_id: str) -> str:
    """The account that a run shares with its children."""
    return f"run/{run_id}"
