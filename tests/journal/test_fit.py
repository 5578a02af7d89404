"""Declared types of values that no adapter looks at: said fast and in words, and both the same."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.journal.fit import fits, misfit
from holdfast.journal.typed import adapter_of


class Part(TypedDict):
    """Made of itself."""

    name: str
    parts: NotRequired[list[Part]]


ANNOTATIONS = [
    str,
    int,
    float,
    bool,
    bytes,
    dict,
    list,
    object,
    Any,
    date,
    datetime,
    Decimal,
    int | None,
    dict[str, int],
    list[str | None],
    dict[str, list[dict[str, float]]],
    dict[str, Any],
    Part,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(value=VALUES)
def test_law_both_say_the_same(value: Any) -> None:
    """Lost: a failure without a reason, or a reason without a failure."""
    for annotation in ANNOTATIONS:
        assert adapter_of(annotation) is None, annotation
        assert fits(annotation, value) == (misfit(annotation, value) == ""), annotation


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (float, 1, "1"),
        (int, True, 1.0),
        (list, (1,), {1}),
        (bytes, bytearray(b"x"), "x"),
        (Decimal, 1, 1.0),
        (date, datetime(2026, 1, 1), "2026-01-01"),
        (int | None, None, "x"),
        (dict[str, int], {}, {"a": None}),
        (Part, {"name": "a", "parts": [{"name": "b"}]}, {"name": "a", "parts": [{}]}),
        (Part, {"name": "a", "more": 1}, {"parts": []}),
    ],
)
def test_what_counts_as_what(annotation: Any, good: Any, bad: Any) -> None:
    """Lost: good results that are not of the very type, or bad ones that look like it."""
    assert fits(annotation, good) and not misfit(annotation, good)
    assert not fits(annotation, bad) and misfit(annotation, bad)
