"""What the tokens of one model cost, in all its tiers. Pure.

Invariant: `worst_nano` is never less than `cost_nano` of a usage within its bounds. A sum is rounded up once, so both
round alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from holdfast.core.usage import Usage

SURCHARGES = {"us": Decimal("1.1")}
"""What a tier of service adds to every price of tokens, by its name: Anthropic's for a region
(https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing)."""


class Rates(NamedTuple):
    """US dollars per million tokens, by what they are."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_long: Decimal
    sound_input: Decimal
    sound_output: Decimal
    picture_output: Decimal

    def usd_micro(self, usage: Usage) -> Decimal:
        """What these tokens cost, in 10⁻⁶ USD."""
        return sum((rate * count for rate, count in zip(self, _counts(usage), strict=True) if count), Decimal(0))

    def used(self, usage: Usage) -> dict[str, str]:
        """Those by which this usage is priced."""
        counted = zip(self._fields, self, _counts(usage), strict=True)
        return {name: str(rate) for name, rate, count in counted if count}

    def worst_micro(self, input: int, output: int, *, keeps_long: bool) -> Decimal:
        """The most that so many tokens can cost, whatever they are, in 10⁻⁶ USD."""
        inputs = [self.input, self.cache_read, self.cache_write, self.sound_input]
        inputs += [self.cache_write_long] if keeps_long else []
        return max(inputs) * input + max(self.output, self.sound_output, self.picture_output) * output


def _counts(usage: Usage) -> tuple[int, ...]:
    """The tokens of each rate, in the order of `Rates`."""
    sound_in, sound_out = min(usage.sound_input, usage.input), min(usage.sound_output, usage.output)
    picture = min(usage.picture_output, usage.output - sound_out)
    long = min(usage.cache_write_long, usage.cache_write)
    return (
        usage.input - sound_in,
        usage.output - sound_out - picture,
        usage.cache_read,
        usage.cache_write - long,
        long,
        sound_in,
        sound_out,
        picture,
    )


class Tier(NamedTuple):
    """Rates of a call with more than so many input tokens; they hold for all its tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What one model costs."""

    model: str
    """As the source names it."""
    source: str
    """Where the price is from, with its version."""
    tiers: tuple[Tier, ...]
    """By `above`; the first is for any call."""
    search: Decimal
    """US dollars per thousand web searches."""
    services: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)
    """The same for other tiers of service, by name."""

    def worst_nano(self, *, input: int, output: int, keeps_long: bool, searches: int, tier: str = "") -> int:
        """The most that a call within these bounds can cost, in 10⁻⁹ USD. tier: `Asked.tier`."""
        named, factor = self._service(tier)
        reached = [
            reached.rates.worst_micro(input, output, keeps_long=keeps_long)
            for tiers in (self.tiers, named)  # what asks for more may get the ordinary one
            for reached in tiers
            if reached.above < max(input, 1)
        ]
        return math.ceil((max(reached) * factor + self.search * searches * 1000) * 1000)

    def cost_nano(self, usage: Usage) -> int:
        """What this usage costs, in 10⁻⁹ USD."""
        rates, factor = self._reached(usage)
        return math.ceil((rates.usd_micro(usage) * factor + self.search * usage.searches * 1000) * 1000)

    def facts(self, usage: Usage | None) -> dict[str, Any]:
        """For the record, so that nobody prices the call again: every rate, and whatever else, that was used. Without a
        usage its reservation was charged, and that is all."""
        told: dict[str, Any] = {"model": self.model, "source": self.source}
        if usage is None:
            return told
        rates, factor = self._reached(usage)
        told |= {"rates": rates.used(usage)} | ({"surcharge": str(factor)} if factor != 1 else {})
        return told | ({"web_search": str(self.search)} if usage.searches else {})

    def _reached(self, usage: Usage) -> tuple[Rates, Decimal]:
        """The rates that hold for this usage, and their surcharge."""
        given = usage.input + usage.cache_read + usage.cache_write
        tiers, factor = self._service(usage.tier)
        return next(tier.rates for tier in reversed(tiers) if tier.above < max(given, 1)), factor

    def _service(self, tier: str) -> tuple[tuple[Tier, ...], Decimal]:
        """The rates of this tier of service, the ordinary ones if it has none of its own, and its surcharge."""
        words = tier.split()
        named = next((self.services[word] for word in words if word in self.services), self.tiers)
        return named, max((SURCHARGES[word] for word in words if word in SURCHARGES), default=Decimal(1))
