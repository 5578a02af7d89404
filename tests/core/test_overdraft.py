"""What a person is asked at a cap, and what their answer is worth. Each test says what would be spent otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import USD_NANO, Limits
from holdfast.core.form import checked, filled, wrong
from holdfast.core.overdraft import raised, schema, text

PARTS = Limits._fields


@given(st.sampled_from(PARTS), st.integers(0, 10**15), st.integers(0, 10**15))
def test_the_form_is_one_and_its_default_raises_by_half_or_by_what_is_needed(name: str, cap: int, needs: int) -> None:
    """Lost: a question that nobody can answer; a raise that is none, or one without a bound."""
    form = schema(name, cap, needs)
    checked(form)
    values = filled(form, {})
    assert wrong(form, values) == ""
    before = Limits(*(cap for _ in PARTS))
    after = raised(name, values, before, passed_ms=0)
    unit = {"usd_nano": USD_NANO // 100, "active_ms": 60_000, "wall_ms": 60_000}.get(name, 1)
    most = {"tokens": 10**10, "usd_nano": 10**6 * USD_NANO}.get(name, 10**6 * unit)
    more = getattr(after, name) - cap
    wanted = max(cap / 2, needs, 1)
    assert min(wanted, most) - 1 <= more <= min(wanted + unit + 1, most)
    assert after._replace(**{name: cap}) == before, "no other cap is raised"


@pytest.mark.parametrize(("passed_ms", "cap"), [(30_000, 120_000), (60_000, 120_000), (3_660_000, 3_720_000)])
def test_time_since_the_start_is_given_from_the_answer_on(passed_ms: int, cap: int) -> None:
    """Lost: a raise that was used up before it was given."""
    limits = Limits(wall_ms=60_000)
    assert raised("wall_ms", {"minutes": 1}, limits, passed_ms).wall_ms == cap


def test_what_has_no_cap_gets_none() -> None:
    """Lost: a cap that an answer makes up."""
    assert raised("tokens", {"tokens": 5}, Limits(tokens=1), 0) == Limits(tokens=6)


@pytest.mark.parametrize(
    ("name", "cap", "used", "needs", "words"),
    [
        (
            "usd_nano",
            USD_NANO,
            USD_NANO,
            USD_NANO // 2,
            "$1.0000 of $1.0000 are used, and what comes next needs $0.5000",
        ),
        ("tokens", 10, 9, 0, "9 tokens of 10 tokens are used."),
        ("active_ms", 60_000, 61_000, 0, "at work are used."),
    ],
)
def test_the_question_has_both_amounts(name: str, cap: int, used: int, needs: int, words: str) -> None:
    """Lost: what the money was for."""
    assert words in text(name, cap, used, needs)
