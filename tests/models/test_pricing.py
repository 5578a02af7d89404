"""To the cent, never too little, and nothing guessed."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import Price
from holdfast.models.call import Asked, Usage
from holdfast.models.pricing import cost_nano, price_of, worst_nano

SONNET = Price(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"))


def asked(**facts: Any) -> Asked:
    """A request of which only its bounds matter."""
    given = {"input_max": 0, "output_max": 0, "keeps_long": False} | facts
    return Asked(body={}, model="m", is_stream=False, shown="", **given)


@pytest.mark.parametrize(
    ("model", "is_known"),
    [
        ("claude-sonnet-5", True),
        ("claude-sonnet-5-20260301", True),
        ("claude-sonnet-5-latest", True),
        ("claude-sonnet-5-fast", False),
        ("claude-sonnet", False),
        ("", False),
    ],
)
def test_a_model_is_priced_by_its_name_and_never_by_a_similar_one(model: str, is_known: bool) -> None:
    """A fast or larger variant can cost six times as much."""
    assert (price_of(model, {"claude-sonnet-5": SONNET}) is SONNET) is is_known


def test_the_exact_name_comes_first() -> None:
    """An operator may price one snapshot by itself."""
    other = SONNET._replace(input=Decimal(9))
    prices = {"claude-sonnet-5": SONNET, "claude-sonnet-5-20260301": other}
    assert price_of("claude-sonnet-5-20260301", prices) is other


def test_each_part_has_its_price() -> None:
    """R26, with a payload worked out by hand: 0.0003 + 0.00075 + 0.0003 + 0.00075 USD."""
    assert cost_nano(SONNET, Usage(100, 50, 1000, 200)) == 300_000 + 750_000 + 300_000 + 750_000


def test_an_hours_cache_costs_twice_the_input() -> None:
    """At the price of five minutes it would be under-counted by more than a third."""
    assert cost_nano(SONNET, Usage(0, 0, 0, 1000, 1000)) == 6_000_000
    assert cost_nano(SONNET, Usage(0, 0, 0, 1000, 400)) == 600 * 3750 + 400 * 6000
    assert worst_nano(SONNET, asked(input_max=10, keeps_long=True)) == 60_000
    assert worst_nano(SONNET, asked(input_max=10)) == 37_500


_count = st.integers(0, 10_000)
_usd = st.decimals(0, 100, places=3)


@given(prices=st.tuples(_usd, _usd, _usd, _usd), parts=st.tuples(_count, _count, _count, _count), long=_count)
def test_what_was_reserved_covers_what_is_settled(prices: Any, parts: Any, long: int) -> None:
    """P7: whatever the split between fresh, read and written, the bound by the sum holds."""
    price, usage = Price(*prices), Usage(*parts, cache_write_long=min(long, parts[3]))
    bound = asked(
        input_max=usage.input + usage.cache_read + usage.cache_write,
        output_max=usage.output,
        keeps_long=usage.cache_write_long > 0,
    )
    assert cost_nano(price, usage) <= worst_nano(price, bound) + 1  # two sums are rounded up, each by less than 1
