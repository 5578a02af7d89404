"""Caps and money (R24): whole numbers, checked before the call.

If these fail, a run spends more than it was given, or is stopped by a rounding error.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import DEFAULT_LIMITS, USD_NANO, Budget, Excess, Limits, Price, first_excess, overshoot
from holdfast.core.events import NOTHING, Charge
from holdfast.errors import PolicyInvalid

AMOUNTS = st.integers(0, 10**12)
CHARGES = st.builds(Charge, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
CAPS = st.none() | AMOUNTS
LIMITS = st.builds(Limits, CAPS, CAPS, CAPS, CAPS, CAPS, CAPS)


@pytest.mark.parametrize("name", ["tool_calls", "model_calls", "tokens", "usd"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, True, False, "5", [], Decimal("NaN"), 1j])
def test_what_is_no_cap_is_refused_by_name(name: str, value: Any) -> None:
    """Lost: a cap of NaN, which nothing is ever over."""
    with pytest.raises(PolicyInvalid, match=name):
        Budget(**{name: value})


@pytest.mark.parametrize("name", ["tool_calls", "model_calls", "tokens"])
def test_counts_are_whole(name: str) -> None:
    """Lost: exact sums; half a call is no cap."""
    with pytest.raises(PolicyInvalid, match="whole"):
        Budget(**{name: 1.5})


@pytest.mark.parametrize("value", [Decimal("sNaN"), Decimal("-Infinity"), Decimal("-0.01")])
def test_odd_decimals_are_refused_like_the_others(value: Decimal) -> None:
    """Lost: the message that teaches; the user sees an error of the decimal module."""
    with pytest.raises(PolicyInvalid, match="usd"):
        Budget(usd=value)


def test_a_budget_without_any_cap_is_refused() -> None:
    """Lost: "with a budget" comes to mean nothing."""
    with pytest.raises(PolicyInvalid, match="bounds nothing"):
        Budget()


def test_zero_and_huge_caps_are_caps() -> None:
    """Lost: "none of this" cannot be said."""
    assert Budget(tool_calls=0).limits() == Limits(tool_calls=0)
    assert Budget(tokens=10**400).limits().tokens == 10**400
    assert all(cap is None or cap > 0 for cap in DEFAULT_LIMITS) and any(DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("usd", "nano"),
    [
        (1.10, 1_100_000_000),
        (0.1, 100_000_000),
        (2, 2_000_000_000),
        (Decimal("0.000000001"), 1),
        (Decimal("0.0000000019"), 1),  # never more than was given
        (1e-7, 100),
        (0, 0),
    ],
)
def test_dollars_are_what_was_written(usd: Any, nano: int) -> None:
    """Lost: $1.10 is $1.1000000000000000888, and sums are off by one in the ninth place."""
    assert Budget(usd=usd).limits().usd_nano == nano


# --- arithmetic ---------------------------------------------------------------------------------------------------


@given(CHARGES, CHARGES, CHARGES)
def test_law_charges_add_and_subtract_exactly(a: Charge, b: Charge, c: Charge) -> None:
    """Lost: settlements drift away from the truth."""
    assert a.plus(b) == b.plus(a) and a.plus(b).plus(c) == a.plus(b.plus(c))
    assert a.plus(b).minus(b) == a and a.plus(NOTHING) == a


@given(LIMITS, CHARGES, CHARGES)
def test_law_what_fits_stays_within_every_cap_and_what_does_not_is_named(
    limits: Limits, used: Charge, asked: Charge
) -> None:
    """Lost: R24; a call over one of the caps is sent, or one that fits is refused."""
    over = [
        name
        for name, cap, have, more in zip(Charge._fields, limits, used, asked, strict=False)
        if cap is not None and more and have + more > cap
    ]
    excess = first_excess(limits, used, asked)
    assert (excess.name if excess else None) == (over[0] if over else None)


@given(LIMITS, CHARGES)
def test_law_overshoot_names_what_is_over(limits: Limits, spent: Charge) -> None:
    """Lost: spending over a cap goes unseen."""
    excess = overshoot(limits, spent)
    assert (excess is None) == all(cap is None or have <= cap for cap, have in zip(limits, spent, strict=False))


@given(LIMITS, CHARGES)
def test_law_a_raise_lifts_caps_and_makes_none(limits: Limits, by: Charge) -> None:
    """Lost: an operator's raise caps what had no cap, or is not added."""
    for before, more, after in zip(limits, (*by, 0, 0), limits.raised(by), strict=True):
        assert after == (None if before is None else before + more)


def test_a_cap_of_one_dollar_refuses_the_fourth_call_of_thirty_cents() -> None:
    """Lost: R24 itself: $1.00, worst case $0.30, the fourth is never sent."""
    limits = Budget(usd=1.00).limits()
    worst, used, sent = Charge(model_calls=1, usd_nano=300_000_000), NOTHING, 0
    while first_excess(limits, used, worst) is None:
        used, sent = used.plus(worst), sent + 1
    assert sent == 3
    assert first_excess(limits, used, worst) == Excess("usd_nano", USD_NANO, 900_000_000, 300_000_000)


def test_what_costs_nothing_fits_also_over_the_cap() -> None:
    """Lost: a run over its token cap may not even ask a person."""
    assert first_excess(Limits(tokens=10), Charge(tokens=99), Charge(tool_calls=1)) is None


@pytest.mark.parametrize(
    ("excess", "text"),
    [
        (Excess("usd_nano", USD_NANO, 900_000_000, 300_000_000), "usd: $0.9000 used and reserved, $0.3000 asked for"),
        (Excess("tool_calls", 3, 3, 1), "tool_calls: 3 used and reserved, 1 asked for, cap 3"),
    ],
)
def test_an_excess_says_how_much(excess: Excess, text: str) -> None:
    """Lost: nobody knows by how much to raise."""
    assert text in str(excess)


@given(LIMITS, CHARGES, CHARGES)
def test_law_what_a_refusal_tells_to_raise_is_enough(limits: Limits, used: Charge, asked: Charge) -> None:
    """Lost: an operator types what the message says, and is refused again."""
    excess = first_excess(limits, used, asked)
    if excess is None:
        return
    name, _, amount = excess.raise_flag.partition("=+")
    by = {"usd_nano": int(Decimal(amount) * USD_NANO)} if name == "usd" else {name: int(amount)}
    again = first_excess(limits.raised(Charge(**by)), used, asked)
    assert again is None or again.name != excess.name


# --- prices -------------------------------------------------------------------------------------------------------

PRICE = Price(Decimal("3"), Decimal("15"), Decimal("0.30"), Decimal("3.75"))
TOKENS = st.integers(0, 10**7)


def test_a_price_is_per_million_tokens() -> None:
    """Lost: a bill that is off by a factor of a thousand."""
    assert PRICE.usd_nano(input=1_000_000, output=0) == 3 * USD_NANO
    assert PRICE.usd_nano(input=10, output=3, cache_read=100, cache_write=4) == 30_000 + 45_000 + 30_000 + 15_000
    assert Price(Decimal("0.0001"), *PRICE[1:]).usd_nano(input=1, output=0) == 1, "rounded down to nothing"


@given(TOKENS, TOKENS, TOKENS, TOKENS)
def test_law_the_worst_case_is_never_less_than_the_bill(plain: int, read: int, write: int, output: int) -> None:
    """Lost: P7; a reservation smaller than what the call can cost."""
    bill = PRICE.usd_nano(input=plain, output=output, cache_read=read, cache_write=write)
    assert bill <= PRICE.worst_usd_nano(input=plain + read + write, output=output)


def test_caps_that_are_stated_leave_the_declared_ones_of_other_parts() -> None:
    """Lost: who caps the dollars of one run takes away its cap of tool calls without a word."""
    declared = Budget(tool_calls=1000, tokens=100_000).limits()
    assert Budget(usd=1).limits().over(declared) == Budget(usd=1, tool_calls=1000, tokens=100_000).limits()
    assert Budget(tool_calls=5).limits().over(declared) == Budget(tool_calls=5, tokens=100_000).limits()
    assert Budget(usd=1).limits().over(None) == Budget(usd=1).limits()
