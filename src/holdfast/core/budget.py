"""Budgets: what a run may use, what it has used, and what it has reserved.

Before a call its worst case is *reserved*; a reservation that does not fit is refused and the call is not sent.
With the outcome the reservation is *settled* to what was used; a settlement is never refused, also over the cap
(then it is written with `BudgetWarned`). A reservation whose call was interrupted stays charged. A `read` writes
nothing before it runs; it is covered by the *allowance*: as many reads as were under way at once before, at first one.
A read that is over is covered until its outcome is written. A takeover charges that many tool calls, for the reads that
may have been begun.

Time is capped too (`active`, `wall`), but never reserved: `core.deadline` says when it is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import Any, NamedTuple

from holdfast.core.events import ONE_TOOL_CALL, Charge
from holdfast.core.policy import Duration, seconds
from holdfast.core.rung import Ask
from holdfast.errors import PolicyInvalid

USD_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Caps of one run. None means "no cap of this sort"; at least one must be set."""

    tool_calls: int | None = None
    model_calls: int | None = None
    tokens: int | None = None
    """Input and output together, as the provider counts them, cached ones included."""
    usd: float | Decimal | None = None
    """US dollars."""
    active: Duration | None = None
    """Time in which the run was at work; what it waits for a person, a sleep or a retry does not count."""
    wall: Duration | None = None
    """Time since the run was accepted, whatever it did."""
    ask: Ask | None = None
    """Who is asked for more when a cap is reached, instead of the run being stopped at once; with `within=`."""

    def __post_init__(self) -> None:
        for name in ("tool_calls", "model_calls", "tokens"):
            _check_limit(name, getattr(self, name), whole=True)
        _check_limit("usd", self.usd, whole=False)
        for name in ("active", "wall"):
            _check_time(name, getattr(self, name))
        if self.ask is not None:
            _check_ask(self.ask)
        if all(getattr(self, name) is None for name in self.__dataclass_fields__ if name != "ask"):
            raise PolicyInvalid(
                "Budget() without any cap bounds nothing. Set tool_calls, model_calls, tokens, usd, active or wall."
            )

    def limits(self) -> Limits:
        """The caps as whole numbers."""
        nano = None if self.usd is None else int(Decimal(str(self.usd)) * USD_NANO)
        return Limits(self.tool_calls, self.model_calls, self.tokens, nano, _ms(self.active), _ms(self.wall))

    def asks(self) -> dict[str, Any] | None:
        """Who is asked for more, as it is recorded."""
        if self.ask is None:
            return None
        asked = {"who": self.ask.who, "within_s": self.ask.within_s}
        return asked | {"urgent": True} if self.ask.urgent else asked


def asks_of(declared: Budget | None, given: Budget | None) -> dict[str, Any] | None:
    """Who is asked for more than the caps of a run, whose agent declares one budget and whose start gives another."""
    found = [budget.asks() for budget in (given, declared) if budget is not None]
    return next((each for each in found if each is not None), None)


def _check_ask(ask: Any) -> None:
    if not isinstance(ask, Ask):
        raise PolicyInvalid(f'Budget(ask={ask!r}) names nobody. Write ask=Ask("oncall", within="2h").')
    if ask.within is None:
        raise PolicyInvalid("Budget(ask=Ask(…)) needs within=: when nobody answers by then, the run is stopped.")
    if ask.default not in (None, "stop"):
        raise PolicyInvalid(f"Budget(ask=…): when nobody answers, the run is stopped, and not {ask.default!r}.")
    if ask.valid is not None or ask.require_reachable is not None or ask.approvers or ask.quorum != 1:
        raise PolicyInvalid("Budget(ask=…) takes who, within and urgent. The rest of Ask is for approvals.")


def _check_limit(name: str, value: Any, *, whole: bool) -> None:
    if value is None:
        return
    kinds = (int,) if whole else (int, float, Decimal)
    if isinstance(value, bool) or not isinstance(value, kinds) or not Decimal(value).is_finite() or value < 0:
        raise PolicyInvalid(f"Budget({name}={value!r}) must be a finite number, not negative{', whole' * whole}.")


def _check_time(name: str, value: Any) -> None:
    if value is not None and seconds(value, f"Budget({name}=…)") < 0.001:
        raise PolicyInvalid(f"Budget({name}={value!r}) leaves no time at all. Give at least 1 ms, or leave it out.")


def _ms(duration: Duration | None) -> int | None:
    return None if duration is None else int(seconds(duration) * 1000)


class Limits(NamedTuple):
    """Caps in the same parts as `Charge`, and on time; None means no cap. Parts are only ever added at the end."""

    tool_calls: int | None = None
    model_calls: int | None = None
    tokens: int | None = None
    usd_nano: int | None = None
    active_ms: int | None = None
    """Time at work."""
    wall_ms: int | None = None
    """Time since the run was accepted."""

    @property
    def is_timed(self) -> bool:
        """Whether there is a cap on time."""
        return self.active_ms is not None or self.wall_ms is not None

    def over(self, declared: Limits | None) -> Limits:
        """These caps, and the declared ones of the parts that they do not name."""
        if declared is None:
            return self
        return Limits(*(own if own is not None else other for own, other in zip(self, declared, strict=True)))

    def raised(self, by: Sequence[int]) -> Limits:
        """The caps after an operator's raise by so much of each part, the later ones left out; what has no cap stays
        so."""
        added = zip_longest(self, by, fillvalue=0)
        return Limits(*(None if cap is None else cap + more for cap, more in added))


TIMES = ("active_ms", "wall_ms")
"""Parts of the limits that are times."""
ALLOWANCE_MAX = 32
"""Reads that are paid ahead at most; further ones at once write an intent each."""


def unnoted(limits: Limits, used: Charge, allowance: int) -> Charge:
    """What a takeover charges: the reads that may have been under way without an intent.

    Each of them fitted when it began, so there were never more than there is room for.
    """
    cap = limits.tool_calls
    return Charge(tool_calls=allowance if cap is None else max(0, min(allowance, cap - used.tool_calls)))


DEFAULT_LIMITS = Limits(tool_calls=1_000, model_calls=200, tokens=2_000_000)
"""For a run without a stated budget, which says so at its start."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Why something does not fit: the first part over its cap."""

    name: str
    limit: int
    used: int
    """Spent and reserved, without what was asked for."""
    asked: int

    @property
    def needs(self) -> int:
        """By how much the cap is too low for what was asked for."""
        return max(0, self.used + self.asked - self.limit)

    @property
    def raise_flag(self) -> str:
        """What to give `holdfast resume --raise` so that it fits."""
        missing = max(1, self.needs)
        if self.name == "usd_nano":
            return f"usd=+{math.ceil(missing / USD_NANO * 100) / 100:.2f}"
        if self.name in TIMES:
            return f"{self.name.removesuffix('_ms')}=+{max(60, math.ceil(missing / 1000))}s"
        return f"{self.name}=+{missing}"

    def __str__(self) -> str:
        limit, used, asked = (_shown(self.name, amount) for amount in (self.limit, self.used, self.asked))
        if self.name in TIMES:
            return f"{self.name.removesuffix('_ms')} time: {used} used, cap {limit}"
        return f"{self.name.removesuffix('_nano')}: {used} used and reserved, {asked} asked for, cap {limit}"


def _shown(name: str, amount: int) -> str:
    if name in TIMES:
        return f"{amount / 1000:g} s"
    return f"${amount / USD_NANO:.4f}" if name == "usd_nano" else str(amount)


def first_excess(limits: Limits, used: Charge, asked: Charge) -> Excess | None:
    """None when `asked` fits on top of `used` (spent and reserved together)."""
    if asked is ONE_TOOL_CALL and ((calls := limits.tool_calls) is None or used.tool_calls < calls):
        return None  # as nearly always
    for part, more in enumerate(asked):
        if more > 0 and (cap := limits[part]) is not None and used[part] + more > cap:
            return Excess(Charge._fields[part], cap, used[part], more)
    return None


def overshoot(limits: Limits, spent: Charge) -> Excess | None:
    """The first part of what was really spent that is over its cap."""
    for name, cap, have in zip(Charge._fields, limits, spent, strict=False):
        if cap is not None and have > cap:
            return Excess(name, cap, have, 0)
    return None


class Price(NamedTuple):
    """US dollars per million tokens of one model, as an operator states them; and what else bounds its cost."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    web_search: Decimal | None = None
    """US dollars per thousand web searches that the provider makes."""
    output_max: int | None = None
    """The most output tokens of one answer, for a request that does not bound it."""
    context: int | None = None
    """The most tokens that the model can take in."""

    def usd_nano(self, *, input: int, output: int, cache_read: int = 0, cache_write: int = 0) -> int:
        """What these tokens cost in 10⁻⁹ USD, rounded up."""
        usd_per_million = (
            self.input * input + self.output * output + self.cache_read * cache_read + self.cache_write * cache_write
        )
        return math.ceil(usd_per_million * 1000)

    def worst_usd_nano(self, *, input: int, output: int) -> int:
        """The most that so many input and output tokens can cost, cached or not."""
        dearest = max(self.input, self.cache_read, self.cache_write)
        return math.ceil((dearest * input + self.output * output) * 1000)
