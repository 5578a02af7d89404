"""What a search asks: filters by name, and nothing that is not understood.

If these fail, a filter that was meant to narrow is left out, and somebody sees rows that they did not ask for.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.core.document import Document
from holdfast.core.events import Charge
from holdfast.core.query import LIMIT_MAX, OUTCOMES, Filters, Query, fits, read
from holdfast.core.words import Part
from holdfast.errors import UsageError

NOW = 1_000_000.0
RUN = Document(
    "r1",
    "m",
    key="ticket-1",
    agent="support",
    outcome="failed",
    tools=("refund",),
    errors=("TimeoutError",),
    spent=Charge(usd_nano=5 * 10**8),
    created_at=100.0,
    updated_at=200.0,
    text="the invoice was lost",
)


def asked(words: str = "", **filters: Any) -> Query:
    return read(words, filters, NOW)


@pytest.mark.parametrize(
    "good, bad",
    [
        ({"agent": "support"}, {"agent": "suppor"}),
        ({"outcome": "failed"}, {"outcome": "succeeded"}),
        ({"tool": "refund"}, {"tool": "ref"}),
        ({"error": "TimeoutError"}, {"error": "Timeout"}),
        ({"key": "ticket-"}, {"key": "icket"}),
        ({"since": 200}, {"since": 200.5}),
        ({"until": 100}, {"until": 99.5}),
        ({"usd_min": 0.5}, {"usd_min": 0.51}),
        ({"usd_max": 0.5}, {"usd_max": 0.49}),
    ],
)
def test_each_filter_lets_in_and_keeps_out(good: dict[str, Any], bad: dict[str, Any]) -> None:
    """Lost: a filter that is read and not used."""
    assert fits(asked(**good), RUN) and not fits(asked(**bad), RUN)


def test_words_and_filters_must_all_hold() -> None:
    """Lost: "or" where everybody expects "and"."""
    assert fits(asked("lost invoice", agent="support"), RUN)
    assert not fits(asked("lost", agent="billing"), RUN) and not fits(asked("refunded", agent="support"), RUN)
    assert fits(asked("ticket timeouterror"), RUN), "key, tools and errors are words of a run too"


def test_an_unknown_filter_is_an_error_that_names_the_known_ones() -> None:
    """Lost: a misspelt filter that is left out, so that all runs are shown."""
    for name in ("tenant", "agents", "status", "where", "Agent", "agent ", "limit; --"):
        with pytest.raises(UsageError) as refused:
            read("", {name: "x"}, NOW)
        assert all(known in str(refused.value) for known in Filters.__annotations__)


@pytest.mark.parametrize("name", sorted(Filters.__annotations__))
@pytest.mark.parametrize(
    "value", ["", "\0", "\ud800", "x" * 1001, 1e308, float("nan"), True, b"x", [], {"$gt": 0}, object]
)
def test_a_value_of_no_meaning_is_an_error(name: str, value: Any) -> None:
    """Lost: an operator, a list or an empty text that widens what was meant to be narrow."""
    with pytest.raises(UsageError) as refused:
        read("", {name: value}, NOW)
    assert name in str(refused.value) and "Nothing was looked for" in str(refused.value)


def test_words_are_text() -> None:
    """Lost: the same for what is not among the filters."""
    for words in (None, 5, b"x", ["x"], "\0", "\ud800"):
        with pytest.raises(UsageError):
            read(words, {}, NOW)  # type: ignore[arg-type]


def test_none_is_not_asked() -> None:
    """Lost: a command line that passes all its options on."""
    assert read("", dict.fromkeys(Filters.__annotations__), NOW) == Query()


@pytest.mark.parametrize(
    "time, at",
    [
        ("7d", NOW - 7 * 86_400),
        ("90s", NOW - 90),
        (" 1.5h ", NOW - 5_400),
        ("1970-01-02", 86_400.0),
        ("1970-01-02T00:00:01+00:00", 86_401.0),
        (datetime(1970, 1, 2, tzinfo=UTC), 86_400.0),
        (5, 5.0),
    ],
)
def test_times_as_people_write_them(time: Any, at: float) -> None:
    """Lost: a search of another week."""
    assert asked(since=time).since == at == asked(until=time).until


UNCLEAR = ("yesterday", "7 days", "5", "-1d", "1e9d", "9" * 20 + "d", "2026-13-01", datetime(2026, 1, 1))


@pytest.mark.parametrize("time", UNCLEAR, ids=str)
def test_a_time_that_may_mean_anything_is_an_error(time: Any) -> None:
    """Lost: a guess at a time."""
    with pytest.raises(UsageError):
        asked(since=time)


def test_sort_and_limit() -> None:
    """Lost: an order or a number that reaches a statement as text."""
    assert asked().sort == "newest" == asked(sort="rank").sort == asked("-lost").sort
    assert asked("lost").sort == "rank" and asked("lost", sort="cost").sort == "cost"
    for bad in (
        {"sort": "key; --"},
        {"limit": 0},
        {"limit": LIMIT_MAX + 1},
        {"limit": "5"},
        {"limit": 1.0},
        {"usd_min": -1},
    ):
        with pytest.raises(UsageError):
            asked(**bad)
    assert asked(limit=LIMIT_MAX).limit == LIMIT_MAX


def test_holdfasts_own_runs_are_found_by_name_only() -> None:
    """Lost: a search full of the runs that tell people of questions."""
    own = Document("r2", "m", agent="@chain", outcome="succeeded")
    assert not fits(asked(), own) and fits(asked(agent="@chain"), own)


def test_a_forgotten_run_never_fits() -> None:
    """Lost: what retention has removed."""
    assert not fits(asked(), Document("r1", "m", agent="support", is_forgotten=True))


def test_positive_and_negative_parts_are_told_apart() -> None:
    """Lost: what engines build their queries of."""
    query = asked("lost -found")
    assert query.wanted == (Part(("lost",)),) and query.unwanted == (Part(("found",), False, True),)
    assert "failed" in OUTCOMES
