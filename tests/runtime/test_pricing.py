"""To the cent, never too little, and nothing guessed."""

import json
import math
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import Price
from holdfast.core.model_name import at_bedrock, names_of
from holdfast.core.rates import ModelPrice, Rates, Tier
from holdfast.core.usage import Usage
from holdfast.runtime.pricing import SEARCH, Prices

SONNET = Price(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))
LISTED = Prices({})
BEDROCK = "bedrock-runtime.eu-central-1.amazonaws.com"


def stated(price: Price = SONNET) -> ModelPrice:
    """The price that an operator stated so."""
    found = Prices({"m": price}).find("anthropic", "m")
    assert found is not None
    return found


def found(provider: str, model: str, host: str = "", at: float | None = None) -> ModelPrice:
    """The listed price of this model, which there has to be."""
    price = LISTED.find(provider, model, host, at=at)
    assert price is not None
    return price


# --- whose price -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "is_known"),
    [
        ("house-model", True),
        ("house-model-20260301", True),
        ("house-model-2026-03-01", True),
        ("house-model@20260301", True),
        ("house-model-latest", True),
        ("house-model-fast", False),
        ("house-model-2", False),
        ("house", False),
        ("", False),
        ("house-model" * 1_000, False),
    ],
)
def test_a_model_is_priced_by_its_name_and_never_by_a_similar_one(model: str, is_known: bool) -> None:
    """A fast or larger variant can cost six times as much."""
    price = Prices({"house-model": SONNET}).find("anthropic", model)
    assert (price is not None) is is_known


def test_the_exact_name_comes_first() -> None:
    """An operator may price one snapshot by itself."""
    prices = Prices({"m": SONNET, "m-20260301": SONNET._replace(input=Decimal(9))})
    dear, plain = prices.find("anthropic", "m-20260301"), prices.find("anthropic", "m-20260302")
    assert dear is not None and plain is not None
    assert [price.cost_nano(Usage(1, 0)) for price in (dear, plain)] == [9_000, 3_000]


def test_what_the_operator_states_comes_before_the_list() -> None:
    """A contract has its own prices."""
    own = Prices({"gpt-4o": SONNET}).find("openai", "gpt-4o")
    assert own is not None and own.source == "holdfast.toml"
    assert found("openai", "gpt-4o").source.startswith("genai-prices ")


@pytest.mark.parametrize(
    ("provider", "model", "host", "named"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", "", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-7-sonnet-20250219", "", "claude-3-7-sonnet-latest"),
        ("anthropic", "claude-opus-4-20250514", "", "claude-opus-4-0"),
        ("openai", "gpt-4o-2024-05-13", "", "gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-2024-08-06", "", "gpt-4o"),
        ("openai", "gpt-4o", "my.openai.azure.com", "gpt-4o"),
        ("google", "gemini-2.0-flash-001", "", "gemini-2.0-flash"),
        ("openai", "google/gemini-2.5-pro", "aiplatform.googleapis.com", "gemini-2.5-pro"),
        ("openai", "anthropic/claude-sonnet-4-5", "litellm.internal", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5@20250929", "eu-aiplatform.googleapis.com", "claude-sonnet-4-5"),
        (
            "anthropic",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            BEDROCK,
            "regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("anthropic", "global.anthropic.claude-opus-4-6-v1", BEDROCK, "global.anthropic.claude-opus-4-6-v1:0"),
    ],
)
def test_a_listed_model_is_found_under_the_names_that_it_goes_by(
    provider: str, model: str, host: str, named: str
) -> None:
    """Else a budget in USD would refuse what everybody uses."""
    assert found(provider, model, host).model == named


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5-fast"),
        ("anthropic", "claude-opus-9"),
        ("openai", "gpt-4o-turbo"),
        ("openai", "davinci-003"),
        ("openai", "llama3"),
        ("openai", "someone/gpt-4o"),
        ("google", "gemini-2.5-pro-ultra"),
        ("nobody", "gpt-4o"),
        ("openai", "whisper-1"),
        ("openai", ""),
        ("openai", "\ud800" * 9),
    ],
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    """Never zero: an unbounded bill would look free. What is billed by the hour is not priced by tokens."""
    assert LISTED.find(provider, model) is None


def test_without_the_package_only_stated_prices_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional; without it every other model is unknown, and no more."""
    monkeypatch.setitem(sys.modules, "holdfast.runtime.pricelist", None)
    monkeypatch.delitem(sys.modules, "holdfast.runtime.pricelist")
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert Prices({}).find("openai", "gpt-4o") is None
    assert Prices({"gpt-4o": SONNET}).find("openai", "gpt-4o") is not None


def test_a_price_that_changes_on_a_date() -> None:
    """o3 became cheaper on 10 June 2025. Without a date the dearest holds."""
    before, after = (datetime(2025, 6, day, tzinfo=UTC).timestamp() for day in (9, 10))
    costs = [found("openai", "o3", at=at).cost_nano(Usage(1_000, 0)) for at in (before, after, None)]
    assert costs == [10_000_000, 2_000_000, 10_000_000]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("a-20260301", ("a-20260301", "a")),
        ("a", ("a",)),
        ("gemini-x-001", ("gemini-x-001", "gemini-x")),
        ("x-001", ("x-001",)),
        ("", ()),
    ],
)
def test_names_of_a_model(model: str, names: tuple[str, ...]) -> None:
    """Only a date, `latest`, or Google's number of a version is left out."""
    assert names_of(model) == names


def test_names_at_bedrock() -> None:
    """Regions cost the same, `global` does not."""
    assert at_bedrock("us.anthropic.claude-x-v1:0") == at_bedrock("anthropic.claude-x") == "regional.claude-x"
    assert at_bedrock("global.anthropic.claude-x-v1:0") == "global.claude-x"
    assert at_bedrock("amazon.nova") == "amazon.nova"


# --- what it costs -----------------------------------------------------------------------------------------------


def test_each_part_has_its_price() -> None:
    """R26, with a payload worked out by hand: 0.0003 + 0.00075 + 0.0003 + 0.00075 USD."""
    assert stated().cost_nano(Usage(100, 50, 1000, 200)) == 300_000 + 750_000 + 300_000 + 750_000


def test_an_hours_cache_costs_twice_the_input() -> None:
    """At the price of five minutes it would be under-counted by more than a third."""
    price = stated()
    assert price.cost_nano(Usage(0, 0, 0, 1000, 1000)) == 6_000_000
    assert price.cost_nano(Usage(0, 0, 0, 1000, 400)) == 600 * 3750 + 400 * 6000
    assert price.worst_nano(input=10, output=0, keeps_long=True, searches=0) == 60_000
    assert price.worst_nano(input=10, output=0, keeps_long=False, searches=0) == 37_500


def test_searches_are_billed_one_by_one() -> None:
    """At the stated price, else at the listed one, else at the dearest of that provider."""
    own = stated(SONNET._replace(web_search=Decimal(12)))
    assert own.cost_nano(Usage(0, 0, searches=3)) == 36_000_000
    assert own.worst_nano(input=0, output=0, keeps_long=False, searches=3) == 36_000_000
    assert stated().search == SEARCH["anthropic"]
    assert found("google", "gemini-3.6-flash").search == 14
    known = Prices({"gemini-3.6-flash": SONNET}).find("google", "gemini-3.6-flash")
    assert known is not None and known.search == 14


def test_a_long_context_costs_more_for_all_its_tokens() -> None:
    """gpt-5.4: above 272,000 input tokens, cached ones included, 5 instead of 2.50 and 22.50 instead of 15."""
    price = found("openai", "gpt-5.4")
    assert price.cost_nano(Usage(272_000, 1_000)) == 272_000 * 2_500 + 1_000 * 15_000
    assert price.cost_nano(Usage(200_000, 1_000, cache_read=72_001)) == 200_000 * 5_000 + 72_001 * 500 + 22_500_000


def test_another_tier_of_service_costs_what_it_costs() -> None:
    """A fast answer of gpt-5.4 costs twice as much."""
    price = found("openai", "gpt-5.4")
    assert price.cost_nano(Usage(1_000, 100, tier="priority")) == 1_000 * 5_000 + 100 * 30_000
    assert price.cost_nano(Usage(1_000, 100, tier="flex")) == 1_000 * 1_250 + 100 * 7_500
    assert price.cost_nano(Usage(1_000, 100, tier="default")) == 1_000 * 2_500 + 100 * 15_000


def test_a_region_has_a_surcharge() -> None:
    """A tenth on all tokens, also on those of a fast answer; not on searches."""
    usage = Usage(1_000, 100, searches=1)
    assert stated().cost_nano(usage._replace(tier="us")) == 3_300_000 + 1_650_000 + 10_000_000
    price = found("openai", "gpt-5.4")
    assert price.cost_nano(Usage(1_000, 0, tier="fast us")) == 5_500_000
    assert price.worst_nano(input=1_000, output=0, keeps_long=False, searches=0, tier="fast us") == 5_500_000


def test_sound_and_pictures_cost_more() -> None:
    """As text, an answer in pictures would be under-counted twelve times."""
    assert found("google", "gemini-2.5-flash").cost_nano(Usage(1_000, 0, sound_input=400)) == 600 * 300 + 400 * 1_000
    picture = found("google", "gemini-2.5-flash-image")
    assert picture.cost_nano(Usage(0, 1_300, picture_output=1_290)) == 10 * 2_500 + 1_290 * 30_000


def test_what_is_recorded_prices_the_call_without_the_list() -> None:
    """Replay, and next year's reader, must not ask today's prices."""
    price, usage = found("openai", "gpt-5.4"), Usage(300_000, 10, cache_read=7)
    facts = json.loads(json.dumps(price.facts(usage)))
    assert facts["model"] == "gpt-5.4" and facts["source"].startswith("genai-prices 0.")
    rates = {name: Decimal(usd) for name, usd in facts["rates"].items()}
    assert set(rates) == {"input", "output", "cache_read"} and rates["output"] == Decimal("22.5"), "the long context"
    usd_micro = rates["input"] * 300_000 + rates["output"] * 10 + rates["cache_read"] * 7
    assert price.cost_nano(usage) == math.ceil(usd_micro * 1_000)


def test_a_surcharge_and_searches_are_recorded_too() -> None:
    """What was charged beyond the rates could not be explained later."""
    facts = found("anthropic", "claude-sonnet-5").facts(Usage(10, 0, searches=2, tier="us"))
    assert facts["surcharge"] == "1.1" and facts["web_search"] == "10"
    assert set(found("anthropic", "claude-sonnet-5").facts(Usage(10, 0))) == {"model", "source", "rates"}


_usd = st.decimals(0, 100, places=3)
_count = st.integers(0, 400_000)
_rates = st.builds(Rates, *[_usd] * 8)
_tiers = st.lists(st.tuples(st.integers(0, 1_000_000), _rates), max_size=3, unique_by=lambda tier: tier[0]).flatmap(
    lambda more: _rates.map(
        lambda base: (Tier(-1, base), *(Tier(above, rates) for above, rates in sorted(more, key=lambda one: one[0])))
    )
)
_prices = st.builds(
    ModelPrice,
    model=st.just("m"),
    source=st.just("s"),
    tiers=_tiers,
    search=_usd,
    services=st.dictionaries(st.just("fast"), _tiers),
)
_usages = st.builds(
    Usage,
    input=_count,
    output=_count,
    cache_read=_count,
    cache_write=_count,
    cache_write_long=_count,
    reasoning=_count,
    searches=st.integers(0, 20),
    sound_input=_count,
    sound_output=_count,
    picture_output=_count,
    tier=st.sampled_from(["", "fast", "us", "fast us", "odd"]),
)


@given(_prices, _usages, _count, _count, st.integers(0, 5))
def test_law_what_was_reserved_covers_what_is_settled(
    price: ModelPrice, usage: Usage, more_in: int, more_out: int, more_searches: int
) -> None:
    """P7: whatever the split between fresh, read and written, text and sound, and in every tier."""
    worst = price.worst_nano(
        input=usage.input + usage.cache_read + usage.cache_write + more_in,
        output=usage.output + more_out,
        keeps_long=min(usage.cache_write_long, usage.cache_write) > 0,
        searches=usage.searches + more_searches,
        tier=usage.tier,
    )
    assert 0 <= price.cost_nano(usage) <= worst


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-8", "gpt-5.4", "gpt-4o", "gemini-2.5-pro"])
@given(usage=_usages)
def test_law_it_holds_for_listed_prices(model: str, usage: Usage) -> None:
    """The list is data of others; the law is ours."""
    provider = {"c": "anthropic", "g": "openai"}.get(model[0], "") if "gemini" not in model else "google"
    price = found(provider, model)
    worst = price.worst_nano(
        input=usage.input + usage.cache_read + usage.cache_write,
        output=usage.output,
        keeps_long=usage.cache_write_long > 0,
        searches=usage.searches,
        tier=usage.tier,
    )
    assert price.cost_nano(usage) <= worst
