"""What a model call costs, at the prices that the operator wrote into `holdfast.toml`. Pure.

An unknown model has no price: nothing is guessed from a similar name, so a budget in USD fails closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from holdfast.core.budget import Price
from holdfast.models.call import Asked, Usage

_SNAPSHOT = re.compile(r"-(\d{8}|latest)$")
_LONG_WRITE = 2
"""An hour's cache write costs twice the base input price, a five-minute one `cache_write`
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing)."""


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of this model: by its exact name, else by its name without the date of the snapshot."""
    return prices.get(model) or prices.get(_SNAPSHOT.sub("", model))


def worst_nano(price: Price, asked: Asked) -> int:
    """The most that this request can cost, in 10⁻⁹ USD."""
    dearest = price._replace(cache_write=_long_write(price)) if asked.keeps_long else price
    return dearest.worst_usd_nano(input=asked.input_max, output=asked.output_max)


def cost_nano(price: Price, usage: Usage) -> int:
    """What these tokens cost, in 10⁻⁹ USD."""
    short = usage.cache_write - usage.cache_write_long
    cost = price.usd_nano(input=usage.input, output=usage.output, cache_read=usage.cache_read, cache_write=short)
    if usage.cache_write_long:
        long = price._replace(cache_write=_long_write(price))
        cost += long.usd_nano(input=0, output=0, cache_write=usage.cache_write_long)
    return cost


def _long_write(price: Price) -> Decimal:
    return max(price.cache_write, _LONG_WRITE * price.input)
