"""Measured confidence (R30): a score decides, a claim never does. If these fail, an agent vouches for itself."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.confidence import Judged, checked_otherwise, checked_threshold, claim, failed, judged
from holdfast.errors import PolicyInvalid


@pytest.mark.parametrize(
    ("score", "passed"), [(0.8, True), (0.79, False), (1, True), (0, False), (True, True), (False, False)]
)
def test_a_score_against_its_threshold(score: Any, passed: bool) -> None:
    """Lost: the comparison; at the threshold is enough."""
    assert judged(score, 0.8)[:2] == (passed, float(score))
    assert judged(Decimal("0.81"), 0.8).passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.01, 1.01, 99, Decimal("NaN")])
def test_what_is_no_score_does_not_pass(value: Any) -> None:
    """Lost: the gate, to a NaN that nothing is under, or to a score in per cent."""
    said = judged(value, 0.5)
    assert said[:2] == (False, None) and "no score from 0 to 1" in said.because


@pytest.mark.parametrize("value", ["0.99", None, [], {"score": 1}, 1j, Fraction(1, 1), object()])
def test_what_is_no_number_does_not_pass(value: Any) -> None:
    """Lost: the gate, to a text that says "high"."""
    said = judged(value, 0.5)
    assert said[:2] == (False, None) and "no number" in said.because and len(said.because) < 200


def test_a_repr_that_raises_does_not_pass_either() -> None:
    """Lost: the run, to a value that cannot even be shown."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "repr raises RuntimeError" in judged(Odd(), 0.5).because


def test_a_scorer_that_failed_does_not_pass() -> None:
    """Lost: the gate, to a check that did not run."""
    assert failed("timeout") == Judged(False, None, "the scorer failed: timeout")


@given(st.floats(0, 1), st.floats(0, 1, exclude_min=True))
def test_it_passes_exactly_when_it_is_not_under(score: float, threshold: float) -> None:
    """Lost: the rule."""
    assert judged(score, threshold).passed == (score >= threshold)


@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, math.nan, math.inf, True, "0.8", None])
def test_a_threshold_that_all_or_nothing_passes_is_refused(wrong: Any) -> None:
    """Lost: a gate that is one."""
    with pytest.raises(PolicyInvalid, match="tests"):
        checked_threshold("tests", wrong)
    assert checked_threshold("tests", 1) == 1.0


def test_what_follows_is_one_of_three() -> None:
    """Lost: a gate with a typing mistake in it, that lets everything through."""
    with pytest.raises(PolicyInvalid, match="shrug"):
        checked_otherwise("tests", "shrug")


@pytest.mark.parametrize(
    ("claimed", "recorded"),
    [(0.99, 0.99), (1, 1.0), (None, None), ("sure", "'sure'"), (math.nan, "nan"), (True, "True")],
)
def test_a_claim_is_recorded_as_it_is(claimed: Any, recorded: Any) -> None:
    """Lost: the record of what the agent said of itself."""
    assert claim(claimed) == recorded
