"""The most that a run can use (R24), before it starts. If these fail, a printed maximum is passed by a bill."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.budget import Limits, Price
from holdfast.core.usage import Usage
from holdfast.core.worst import Model, worst
from holdfast.runtime.pricing import Prices


def model(name: str = "m", *, input: str = "3", output: str = "15", context: int = 1_000, most: int = 100) -> Model:
    """A model at these prices per million tokens."""
    dollars = Decimal(input)
    price = Price(dollars, Decimal(output), dollars / 10, dollars * Decimal("1.25"))
    return Model(name, Prices({name: price}).find("anthropic", name), context, most)


def test_a_cap_on_money_is_the_most() -> None:
    """Lost: the plainest answer."""
    found = worst(Limits(usd_nano=10**9), [model()])
    assert (found.usd, found.because["usd"]) == (1.0, "the cap on usd")
    assert found.tool_calls is None and "no cap" in found.because["tool_calls"]


def test_money_is_bounded_by_tokens() -> None:
    """Lost: the answer, for the default caps: they know no money."""
    found = worst(Limits(tool_calls=9, tokens=1_000_000), [model("cheap", output="1", input="1"), model("dear")])
    assert found.usd == 15 * 1.1, "all of them output, with the surcharge of a region"
    assert "dear" in found.because["usd"] and "searches" in found.because["usd"]
    assert (found.tokens, found.because["tokens"]) == (1_000_000, "the cap on tokens")


def test_tokens_are_bounded_by_calls() -> None:
    """Lost: the tighter of two bounds."""
    found = worst(Limits(model_calls=3, tokens=1_000_000), [model(), model("large", context=2_000)])
    assert (found.model_calls, found.tokens) == (3, 3 * 2_100)
    assert found.because["tokens"] == "3 calls of large, 2100 tokens each"
    assert worst(Limits(model_calls=3, tokens=50), [model()]).tokens == 50


def test_the_tighter_bound_on_money_counts() -> None:
    """Lost: a maximum that is true and of no use."""
    assert worst(Limits(usd_nano=10**12, tokens=1_000), [model()]).because["usd"].startswith("1000 tokens")
    assert worst(Limits(usd_nano=1, tokens=1_000), [model()]).usd_nano == 1


def test_what_is_not_known_is_said() -> None:
    """Lost: a zero where there is no answer."""
    unknown = Model("new", None, 10, 10)
    found = worst(Limits(tokens=1_000), [model(), unknown])
    assert found.usd is None and "price of new is not known" in found.because["usd"]
    assert worst(Limits(tokens=1_000, usd_nano=5), [unknown]).usd_nano == 5
    nameless = worst(Limits(model_calls=5), [])
    assert (nameless.usd, nameless.tokens) == (None, None)
    assert worst(Limits(model_calls=0), []).usd_nano == 0


@given(
    st.integers(0, 10**5),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 200)), min_size=1, max_size=5),
    st.decimals("0.01", "100", places=2),
    st.decimals("0.01", "100", places=2),
)
def test_no_usage_within_the_caps_costs_more(
    spare: int, calls: list[tuple[int, int]], input: Decimal, output: Decimal
) -> None:
    """Lost: the maximum: whatever a run does within its caps costs no more than was said."""
    asked = model(input=str(input), output=str(output))
    tokens = sum(read + written for read, written in calls) + spare
    found = worst(Limits(tokens=tokens), [asked])
    assert asked.price is not None and found.usd_nano is not None
    cost = sum(asked.price.cost_nano(Usage(input=read, output=written)) for read, written in calls)
    assert cost <= found.usd_nano + len(calls), "a call's cost is rounded up by itself"
