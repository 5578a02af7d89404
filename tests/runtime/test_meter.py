"""`Meter`: the budget's arithmetic alone. Each test says what would be lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast as hf
from holdfast.core.events import Charge
from holdfast.errors import PolicyInvalid

NANO = 1_000_000_000


def test_what_does_not_fit_is_refused_and_not_counted() -> None:
    """Lost: a call whose worst case is over the cap is made; or a refused one takes the room of one that fits."""
    meter = hf.Meter(hf.Budget(model_calls=10, usd=1))
    with meter.reserve(model_calls=1, usd=0.75) as first:
        with pytest.raises(
            hf.errors.BudgetExceeded, match=r"\$0\.7500 used and reserved, \$0\.2501 asked for, cap \$1\.0000"
        ):
            meter.reserve(model_calls=1, usd=0.2501)
        assert meter.reserved == Charge(model_calls=1, usd_nano=NANO * 3 // 4)
        first.settle(model_calls=1, usd=0.1)
    assert meter.reserved == Charge() and meter.spent == Charge(model_calls=1, usd_nano=NANO // 10)
    meter.reserve(model_calls=9, usd=0.9)
    with pytest.raises(hf.errors.BudgetExceeded, match="model_calls: 10 used"):
        meter.reserve(model_calls=1)
    assert meter.usd == 1.0


def test_a_call_that_broke_off_stays_charged() -> None:
    """Lost: a provider that bills what it had sent before the connection broke, and nobody counted it."""
    meter = hf.Meter(hf.Budget(usd=1))
    with pytest.raises(ConnectionError), meter.reserve(usd=0.6):
        raise ConnectionError
    assert meter.usd == 0.6
    with pytest.raises(hf.errors.BudgetExceeded):
        meter.reserve(usd=0.5)


def test_a_settlement_over_the_cap_counts_and_only_once() -> None:
    """Lost: spent money that is not counted since it should not have been spent; or counted twice."""
    meter = hf.Meter(hf.Budget(tokens=100))
    call = meter.reserve(tokens=50)
    call.settle(tokens=180)
    assert meter.spent == Charge(tokens=180)
    with pytest.raises(hf.UsageError, match="already"):
        call.settle(tokens=1)
    with pytest.raises(hf.errors.BudgetExceeded):
        meter.reserve(tokens=1)
    assert meter.spent == Charge(tokens=180)


@pytest.mark.parametrize("wrong", [{"usd": -1}, {"usd": float("nan")}, {"tokens": -1}, {"usd": Decimal("Infinity")}])
def test_a_charge_that_makes_no_sense_is_refused(wrong: Any) -> None:
    """Lost: a negative charge that makes room, or a NaN that no cap stops."""
    meter = hf.Meter(hf.Budget(usd=1))
    with pytest.raises(hf.UsageError):
        meter.reserve(**wrong)
    call = meter.reserve(usd=0.5)
    with pytest.raises(hf.UsageError):
        call.settle(**wrong)
    assert meter.usd == 0.5


def test_a_meter_without_a_budget_is_refused() -> None:
    """Lost: a guard that guards nothing."""
    with pytest.raises(PolicyInvalid):
        hf.Meter(1.5)  # type: ignore[arg-type]


def test_threads_together_do_not_pass_the_cap() -> None:
    """Lost: ten workers that each see the last free dollar."""
    meter = hf.Meter(hf.Budget(model_calls=50))

    def work(_: int) -> int:
        try:
            call = meter.reserve(model_calls=1)
        except hf.errors.BudgetExceeded:
            return 0
        call.settle(model_calls=1)
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(400))) == 50
    assert meter.spent == Charge(model_calls=50)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40) | st.none())))
def test_law_spent_and_reserved_stay_within_the_cap_while_worst_cases_are_true(calls: Any) -> None:
    """Lost: the one thing that a budget is for."""
    meter = hf.Meter(hf.Budget(tokens=100))
    for worst, used in calls:
        try:
            call = meter.reserve(tokens=worst)
        except hf.errors.BudgetExceeded:
            continue
        if used is not None:
            call.settle(tokens=min(used, worst))
        assert meter.spent.tokens + meter.reserved.tokens <= 100
