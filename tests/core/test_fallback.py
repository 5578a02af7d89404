"""When another model is asked, and which: never one that could not do better either, never on a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Effect
from holdfast.core.failure import BILLING_CODES, OVERLOAD_CODES, Facts, Failure, FailureKind, classify
from holdfast.core.fallback import Following, next_way
from holdfast.core.policy import Again, GiveUp, InDoubt

AGAIN, OVER, DOUBT = Again(1.0, "once more"), GiveUp("used up"), InDoubt("who knows")


def failed(status: int | None = None, code: str = "", effect: Effect = Effect.READ) -> Failure:
    """An answer of this status."""
    facts = Facts("E", "text", "repr", ancestors=("E",), status=status, code=code)
    return classify(facts, effect, is_one_request=True)


def further(failure: Failure, decision: Any, *others: str) -> int:
    """How many places further the next model is; 0 when none is asked."""
    found = next_way(failure, decision, "a", others)
    return 0 if found is None else found.further


@pytest.mark.parametrize(
    ("failure", "while_attempts_are_left", "when_they_are_used_up"),
    [
        (failed(529), 1, 1),
        (failed(503, "server_is_overloaded"), 1, 1),
        (failed(500), 0, 1),
        (failed(503), 0, 1),
        (failed(429), 0, 1),
        (failed(408), 0, 1),
        (failed(), 0, 1),  # no answer at all
        (failed(404), 0, 1),
        (failed(403, "model_not_found"), 0, 1),
        (failed(400), 0, 0),
        (failed(413), 0, 0),
        (failed(422), 0, 0),
        (failed(401), 0, 0),
        (failed(402), 0, 0),
        (failed(403), 0, 0),
        (failed(429, "insufficient_quota"), 0, 0),
    ],
)
def test_another_model_of_the_same_account_is_asked_only_where_it_may_do_better(
    failure: Failure, while_attempts_are_left: int, when_they_are_used_up: int
) -> None:
    """A wrong request is paid for once for each model otherwise; an overloaded one is waited for in vain."""
    assert further(failure, AGAIN, "a") == while_attempts_are_left
    assert further(failure, OVER, "a") == when_they_are_used_up


@pytest.mark.parametrize("code", sorted(BILLING_CODES))
def test_without_money_the_first_model_of_another_account_is_asked(code: str) -> None:
    """The account's other models are as little use; one of another account must not be missed behind them."""
    assert further(failed(429, code), OVER, "a", "a", "b", "c") == 3
    assert further(failed(429, code), OVER, "b") == 1
    assert further(failed(429, code), OVER, "a", "a") == 0


@pytest.mark.parametrize("code", sorted(OVERLOAD_CODES))
def test_overloaded_by_any_name_is_overloaded(code: str) -> None:
    """OpenAI says by a code what Anthropic says by a status."""
    assert further(failed(503, code), AGAIN, "a") == 1


def test_a_provider_that_asks_for_no_retry_may_be_passed_over() -> None:
    """`x-should-retry: false` says not again here; another model is not here."""
    assert further(replace(failed(503), kind=FailureKind.PERMANENT), OVER, "a") == 1


@given(st.integers(100, 599) | st.none(), st.sampled_from([*sorted(BILLING_CODES | OVERLOAD_CODES), ""]))
def test_nothing_follows_the_last_model_or_a_doubt(status: int | None, code: str) -> None:
    """A `once` request of unknown outcome would be done a second time, by another model."""
    failure = failed(status, code)
    assert next_way(failure, OVER, "a", []) is None
    assert next_way(failed(status, code, Effect.ONCE), DOUBT, "a", ["b"]) is None


@given(
    st.integers(100, 599) | st.none(),
    st.sampled_from([*sorted(BILLING_CODES | OVERLOAD_CODES), "", "x"]),
    st.sampled_from([AGAIN, OVER]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
)
def test_the_next_one_exists_and_has_a_reason(status: int | None, code: str, decision: Any, others: list[str]) -> None:
    """`why` shows each decision; a place that is not there would be a model of the list's other end."""
    found = next_way(failed(status, code), decision, "a", others)
    if found is not None:
        assert isinstance(found, Following)
        assert 1 <= found.further <= len(others)
        assert "asked" in found.because
