"""Prices out of the package genai-prices, which holds them as data. Nothing is fetched.

Its own search matches beginnings of names ("claude-sonnet-4-5" for any name that begins so); here a model has to be
named, or be a snapshot of one that is. A price that we do not understand is no price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from holdfast.core.model_name import at_bedrock, names_of
from holdfast.core.rates import ModelPrice, Rates, Tier

_OTHER_UNITS = ("requests_kcount", "input_mchars", "audio_hours", "input_audio_hours", "output_audio_hours")
"""Of these a usage says nothing."""
_VERSION = version("genai-prices")
DAY_S = 86_400
_BY_ID = {provider.id: provider for provider in providers}


@lru_cache(1_000)
def _provider_at(host: str) -> types.Provider | None:
    for provider in providers:
        if re.match(provider.api_pattern, f"https://{host}/"):
            return provider
    return None


@lru_cache(1_000)
def listed(provider: str, model: str, host: str, day: int | None, search: Decimal) -> ModelPrice | None:
    """The price of this model at this host, else at this provider.

    day: since 1970, UTC; prices change with a day. search: the price of one, where the list has none.

    A gateway's name says whose model it is (`anthropic/claude-sonnet-5`), and that holds where the host says nothing.
    """
    here = _provider_at(host) if host else None
    vendor, _, name = model.partition("/")
    if here is None and name and vendor in _BY_ID:
        here, model = _BY_ID[vendor], name
    first = here or _BY_ID.get(provider)
    if first is None:
        return None
    for place in (first, *(_BY_ID[known] for known in first.fallback_model_providers or () if known in _BY_ID)):
        found = _find(place.id, model.removeprefix(f"{place.id}/"))
        if found is not None:
            return _price(place.id, found, day, search)
    return None


def _find(provider: str, model: str) -> types.ModelInfo | None:
    for name in names_of(at_bedrock(model)):
        for is_exact in (True, False):
            for known in _BY_ID[provider].models:
                if name.lower() in _names(known, is_exact):
                    return known
    return None


def _names(model: types.ModelInfo, is_exact: bool) -> set[str]:
    """What this model is called, or what it is called without the date of a snapshot."""
    called = [at_bedrock(name) for name in (model.id, *_equals(model.match)) if name]
    return {(name if is_exact else names_of(name)[-1]).lower() for name in called}


def _equals(match: types.MatchLogic) -> Iterator[str]:
    """The names that this rule gives in full."""
    if isinstance(match, types.ClauseEquals):
        yield match.equals
    elif isinstance(match, types.ClauseOr):
        for clause in match.or_:
            yield from _equals(clause)


def _price(provider: str, model: types.ModelInfo, day: int | None, search: Decimal) -> ModelPrice | None:
    tables = _in_force(model.prices, day)
    tiers = _tiers(tables)
    if tiers is None:
        return None
    searches = [given for table in tables if isinstance(given := table.web_searches_kcount, Decimal)]
    services = {
        name: made
        for variant in model.price_variants or ()
        if len(variant.when) == 1
        for key, name in variant.when.items()
        if key in ("service_tier", "speed") and name != "default"
        if (made := _tiers([_over(table, variant.prices) for table in tables])) is not None
    }
    return ModelPrice(model.id, f"genai-prices {_VERSION}, {provider}", tiers, max(searches, default=search), services)


def _in_force(prices: Any, day: int | None) -> list[types.ModelPrice]:
    """The prices that hold on this day; without a day all that ever hold. Cheaper hours of a day are left out."""
    if not isinstance(prices, list):
        return [prices]
    dated = [one for one in prices if not isinstance(one.constraint, types.TimeOfDateConstraint)]
    if day is None:
        return [one.prices for one in dated]
    when = datetime.fromtimestamp(day * DAY_S, UTC)
    active = [one.prices for one in dated if one.constraint is None or one.constraint.active(when)]
    return active[-1:]


def _over(table: types.ModelPrice, variant: types.ModelPrice) -> types.ModelPrice:
    """The table with what a variant states in its place."""
    stated = {name: value for name, value in variant.__dict__.items() if value is not None}
    return types.ModelPrice(**{**table.__dict__, **stated})


def _tiers(tables: list[types.ModelPrice]) -> tuple[Tier, ...] | None:
    """The rates of these tables, the dearest of each; None when one of them is none of ours."""
    if not tables or any(not _is_by_tokens(table) for table in tables):
        return None
    starts = {-1}
    for table in tables:
        for value in table.__dict__.values():
            if isinstance(value, types.TieredPrices):
                starts |= {tier.start for tier in value.tiers}
    return tuple(Tier(start, _dearest([_rates(table, start) for table in tables])) for start in sorted(starts))


def _dearest(rates: list[Rates]) -> Rates:
    return Rates(*(max(column) for column in zip(*rates, strict=True)))


def _is_by_tokens(table: types.ModelPrice) -> bool:
    return table.input_mtok is not None and all(getattr(table, unit) is None for unit in _OTHER_UNITS)


def _rates(table: types.ModelPrice, above: int) -> Rates:
    """The rates for more than so many input tokens. What has no rate of its own has that of the whole."""

    def rate(*names: str, default: Decimal = Decimal(0)) -> Decimal:
        given = [value for name in names if (value := getattr(table, name)) is not None]
        return max((_at(value, above) for value in given), default=default)

    input, output = rate("input_mtok"), rate("output_mtok")
    output = max(output, rate("output_reasoning_mtok"), rate("output_citation_mtok"))
    write = rate("cache_write_5m_mtok", "cache_write_mtok", default=input)
    return Rates(
        input=input,
        output=output,
        cache_read=rate("cache_read_mtok", default=input),
        cache_write=write,
        cache_write_long=rate("cache_write_1h_mtok", default=max(write, 2 * input)),
        sound_input=rate("input_audio_mtok", default=input),
        sound_output=rate("output_audio_mtok", default=output),
        picture_output=rate("output_image_mtok", "output_video_mtok", default=output),
    )


def _at(value: Decimal | types.TieredPrices, above: int) -> Decimal:
    if isinstance(value, Decimal):
        return value
    return next((tier.price for tier in reversed(value.tiers) if tier.start <= above), value.base)
