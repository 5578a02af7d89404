"""The most that a run can use, and what bounds it: known before it starts. Pure.

Retries, fallbacks, children and replays count against the same caps, so none of them multiplies anything. What is not
bounded by a cap of its own is bounded by another: money by tokens, tokens by model calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from holdfast.core.budget import USD_NANO, Limits
from holdfast.core.rates import SURCHARGES, ModelPrice, Tier


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a run may ask."""

    name: str
    price: ModelPrice | None
    """None: not known."""
    context: int
    """The most tokens that it can take in."""
    output: int
    """The most tokens of one answer."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that a run can use of each part; None: nothing bounds it, or nobody knows."""

    tool_calls: int | None
    model_calls: int | None
    tokens: int | None
    usd_nano: int | None
    because: dict[str, str] = field(default_factory=dict)
    """By part: what bounds it, or why it is not known."""

    @property
    def usd(self) -> float | None:
        """US dollars."""
        return None if self.usd_nano is None else self.usd_nano / USD_NANO


def worst(limits: Limits, models: Sequence[Model]) -> Worst:
    """The most that a run with these caps can use. models: all that it may ask, fallbacks included."""
    tokens, by_tokens = _tokens(limits, models)
    usd, by_usd = _usd(limits, models, tokens)
    because = {
        "tool_calls": _capped("tool_calls", limits.tool_calls),
        "model_calls": _capped("model_calls", limits.model_calls),
        "tokens": by_tokens,
        "usd": by_usd,
    }
    return Worst(limits.tool_calls, limits.model_calls, tokens, usd, because)


def _capped(name: str, cap: int | None) -> str:
    return f"the cap on {name}" if cap is not None else f"there is no cap on {name}"


def _tokens(limits: Limits, models: Sequence[Model]) -> tuple[int | None, str]:
    """What can be read and written: a call reads at most its model's context."""
    found = [] if limits.tokens is None else [(limits.tokens, "the cap on tokens")]
    if limits.model_calls is not None and models:
        largest = max(models, key=lambda model: model.context + model.output)
        each = largest.context + largest.output
        found.append((limits.model_calls * each, f"{limits.model_calls} calls of {largest.name}, {each} tokens each"))
    return min(found) if found else (None, "neither tokens nor calls of known models are capped")


def _usd(limits: Limits, models: Sequence[Model], tokens: int | None) -> tuple[int | None, str]:
    found = [] if limits.usd_nano is None else [(limits.usd_nano, "the cap on usd")]
    unknown = [model.name for model in models if model.price is None]
    if unknown:
        missing = f"the price of {', '.join(unknown)} is not known"
        return min(found) if found else (None, missing)
    if models and tokens is not None:
        cost, name = max((_nano(model, tokens), model.name) for model in models)
        found.append((cost, f"{tokens} tokens, all of the dearest sort of {name}; searches of providers come on top"))
    if limits.model_calls == 0:
        found.append((0, "the cap on model_calls"))
    return min(found) if found else (None, "no cap on usd, and no model is named")


def _nano(model: Model, tokens: int) -> int:
    """So many tokens of the dearest sort, in the dearest tier."""
    assert model.price is not None
    services = [model.price.tiers, *model.price.services.values()]
    dearest = max(_dearest(tier, tokens) for tiers in services for tier in tiers)
    return math.ceil(dearest * max(SURCHARGES.values()) * 1000)


def _dearest(tier: Tier, tokens: int) -> Decimal:
    all_in = tier.rates.worst_micro(tokens, 0, keeps_long=True)
    return max(all_in, tier.rates.worst_micro(0, tokens, keeps_long=True))
