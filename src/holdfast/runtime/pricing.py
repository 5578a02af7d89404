"""What a model call costs: at the operator's prices (`holdfast.toml`) first, else at those in the package genai-prices.

Invariants
1. A model is found by its name, or by its name without the date of a snapshot; never by a similar one. An unknown one
   has no price, so that a budget in USD fails closed.
2. Nothing is fetched: the prices are those in the installed package. Without the package there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from holdfast.core.budget import Limits, Price
from holdfast.core.model_name import names_of
from holdfast.core.rates import ModelPrice, Rates, Tier
from holdfast.errors import PolicyInvalid

__all__ = ["FILE", "SEARCH", "ModelPrice", "Prices"]

FILE = "holdfast.toml"
_LONG_WRITE = 2
"""An hour's cache write costs twice the base input price, a five-minute one `cache_write`
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing)."""
SEARCH = {"anthropic": Decimal(10), "openai": Decimal(25), "google": Decimal(35)}
"""US dollars per thousand web searches, where no price of the model says it
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#usage-and-pricing,
https://platform.openai.com/docs/pricing, https://ai.google.dev/gemini-api/docs/pricing): the dearest of each."""
_DEAREST_SEARCH = max(SEARCH.values())


class Prices:
    """Finds prices."""

    def __init__(self, overrides: Mapping[str, Price]) -> None:
        self._overrides = overrides

    def find(self, provider: str, model: str, host: str = "", *, at: float | None = None) -> ModelPrice | None:
        """The price of this model; None when it is not known.

        provider: `Provider.NAME`. host: where the request goes; a known one decides whose prices hold. at: seconds
        UTC of the call, for a price that changes on a date; None: the dearest of its prices.
        """
        for name in names_of(model):
            stated = self._overrides.get(name)
            if stated is not None:
                listed = None if stated.web_search is not None else self._listed(provider, model, host, at)
                search = stated.web_search if listed is None else listed.search
                return _stated(name, stated, SEARCH.get(provider, _DEAREST_SEARCH) if search is None else search)
        return self._listed(provider, model, host, at)

    def knows(self, model: str) -> bool:
        """Whether this model has a price, whoever sells it."""
        return any(self.find(provider, model) is not None for provider in SEARCH)

    def _listed(self, provider: str, model: str, host: str, at: float | None) -> ModelPrice | None:
        try:
            from holdfast.runtime.pricelist import DAY_S, listed  # heavy (0.2 s), and its package is optional
        except ModuleNotFoundError as missing:
            if missing.name != "genai_prices":
                raise
            return None
        day = None if at is None else int(at // DAY_S)
        return listed(provider, model, host, day, SEARCH.get(provider, _DEAREST_SEARCH))


def check_prices(
    agent: str, models: Sequence[str], limits: Limits | None, stated: Mapping[str, Price], *, is_priced: bool = False
) -> None:
    """A cap in dollars cannot be kept for a model without a price: said before anything is spent. is_priced: the cap is
    that of all runs together."""
    if (limits is None or limits.usd_nano is None) and not is_priced:
        return
    prices = Prices(stated)
    unknown = [model for model in models if not prices.knows(model)]
    if unknown:
        raise PolicyInvalid(
            f"Agent {agent} has a budget in USD, and the price of {', '.join(unknown)} is not known. Nothing was "
            f'started. Add [prices."{unknown[0]}"] to holdfast.toml, or install holdfast[prices].'
        )


def _stated(name: str, price: Price, search: Decimal) -> ModelPrice:
    long = max(price.cache_write, _LONG_WRITE * price.input)
    rates = Rates(
        price.input,
        price.output,
        price.cache_read,
        price.cache_write,
        long,
        sound_input=price.input,
        sound_output=price.output,
        picture_output=price.output,
    )
    return ModelPrice(name, FILE, (Tier(-1, rates),), search)
