"""R26: payloads as providers send them price to the cent, and to the last digit; each sum was done by hand in its file.

If one fails, bills are wrong; if a payload without a sensible usage is given one, a budget is.
"""

import importlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.rates import ModelPrice, Rates, Tier
from holdfast.core.usage import Usage
from holdfast.models.call import Answered

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.json"))
CASES = {path.stem: json.loads(path.read_text("utf-8")) for path in CORPUS}


def raw(case: dict[str, Any]) -> bytes:
    """The body of the response, as it came."""
    if "stream" not in case:
        return json.dumps(case["response"]).encode()
    events = []
    for name, data in case["stream"]:
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        events.append((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
    return "".join(events).encode()


def read(case: dict[str, Any]) -> Answered:
    """What the parser of its provider makes of it."""
    provider = importlib.import_module(f"holdfast.models.{case['provider']}")
    answered: Answered = (provider.streamed if "stream" in case else provider.answered)(200, raw(case))
    return answered


def tiers(rows: list[dict[str, Any]]) -> tuple[Tier, ...]:
    """The rates that the file states."""
    return tuple(
        Tier(row["above"], Rates(**{name: Decimal(usd) for name, usd in row.items() if name != "above"}))
        for row in rows
    )


def price(case: dict[str, Any]) -> ModelPrice:
    """The price that the file states."""
    given = case["price"]
    services = {name: tiers(rows) for name, rows in given.get("services", {}).items()}
    return ModelPrice("m", "by hand", tiers(given["tiers"]), Decimal(given["web_search"]), services)


def test_the_corpus_has_what_it_is_for() -> None:
    """A file that is lost leaves a hole that no other test sees."""
    assert {case["provider"] for case in CASES.values()} == {
        "anthropic",
        "gemini",
        "openai_chat",
        "openai_embeddings",
        "openai_responses",
    }
    for provider in ("anthropic", "gemini", "openai_chat", "openai_responses"):
        assert f"{provider.removeprefix('openai_')}-stream-aborted" in CASES
    parts = {name for case in CASES.values() for name in case["usage"] or ()}
    assert parts == {*Usage._fields}
    assert len(CASES) >= 35


@pytest.mark.parametrize("name", CASES)
def test_a_payload_has_the_usage_that_it_states(name: str) -> None:
    """No part may be counted twice, and none left out; what makes no sense is no usage."""
    case = CASES[name]
    answered = read(case)
    expected = None if case["usage"] is None else Usage(**case["usage"])
    assert answered.usage == expected
    assert (answered.is_object, answered.is_complete) == (True, case.get("is_complete", True))
    assert answered.status == case.get("status", 200)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["usd"] is not None])
def test_a_payload_costs_what_was_worked_out_by_hand(name: str) -> None:
    """In 10⁻⁹ USD, so that it is right to the cent for any sum of calls."""
    case = CASES[name]
    usage = read(case).usage
    assert usage is not None
    assert Decimal(price(case).cost_nano(usage)) / 10**9 == Decimal(case["usd"]), case["by_hand"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["usd"] is not None])
def test_what_was_reserved_for_a_payload_covers_it(name: str) -> None:
    """P7, with real shapes."""
    case = CASES[name]
    usage = read(case).usage
    assert usage is not None
    worst = price(case).worst_nano(
        input=usage.input + usage.cache_read + usage.cache_write,
        output=usage.output,
        keeps_long=usage.cache_write_long > 0,
        searches=usage.searches,
        tier=usage.tier,
    )
    assert Decimal(worst) / 10**9 >= Decimal(case["usd"])
