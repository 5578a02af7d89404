"""Small JSON texts are those of `json`, also where Python has no C half for them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import small_json

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
ENCODERS = (
    json.JSONEncoder(),
    json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")),
)


def written(write: Any, value: Any) -> str:
    try:
        return str(write(value))
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("encoder", ENCODERS)
@given(value=VALUES)
def test_a_value_is_written_as_the_encoder_writes_it(encoder: json.JSONEncoder, value: Any) -> None:
    assert written(small_json.writer(encoder), value) == written(encoder.encode, value)


def test_without_a_c_half_the_encoder_writes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.encoder.c_make_encoder", None)
    assert small_json.writer(ENCODERS[1])({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


@given(text=VALUES.map(json.dumps) | st.text('{}[]":, 1a\n', max_size=12).map(lambda text: "{" + text))
def test_a_text_is_read_as_json_reads_it(text: str) -> None:
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            small_json.read(text)
    else:
        assert same(small_json.read(text), expected)


@pytest.mark.parametrize("text", ['{"a":1} {"b":2}', '{"a":1}x', "", "{", ' {"a":1}x'])
def test_what_is_more_or_less_than_one_value_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        small_json.read(text)


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN is NaN."""
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)
