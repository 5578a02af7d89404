"""Readers of strangers' JSON believe little and never raise."""

from typing import Any

import pytest

from holdfast.models.field import TOKENS_MAX, count, members, names, object_in, parsed, part, rows, text

DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe\x00", DEEP, b'{"a":' * 50_000, b"9" * 10_000, b"\xd8\x00"])
def test_what_is_no_json_reads_as_nothing(raw: bytes) -> None:
    """A bomb of brackets, or a number of ten thousand digits, must not end the agent."""
    assert parsed(raw) is None
    assert object_in(raw) is None


def test_only_an_object_is_one() -> None:
    """A list has no members."""
    assert object_in(b'{"a": 1}') == {"a": 1}
    assert object_in(b"[1]") is None and parsed(b"[1]") == [1]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (7, 7),
        (TOKENS_MAX, TOKENS_MAX),
        (TOKENS_MAX + 1, None),
        (-1, None),
        (True, None),
        (1.0, None),
        ("7", None),
    ],
)
def test_a_count_is_a_number_of_tokens_or_nothing(value: Any, number: int | None) -> None:
    """A negative one would give budget back, `true` would count for one."""
    assert count(value) == part(value) == number
    assert (count(None), part(None)) == (None, 0)


def test_texts_can_be_stored_and_are_bounded() -> None:
    """A lone surrogate or a NUL breaks the store; ten megabytes of model name fill it."""
    assert text("a\ud800b\x00") == "a\\ud800b\\x00"
    assert len(text("x" * 10_000_000)) < 300
    assert text(7) == text(None) == text(["x"]) == ""


def test_the_rest_reads_as_empty() -> None:
    """So that a reader needs no check of its own."""
    assert rows([{"a": 1}, 7, None, [], {"b": 2}]) == [{"a": 1}, {"b": 2}]
    assert rows({"a": 1}) == rows(None) == []
    assert members([1]) == members(None) == {}
    assert names(["a", 7, None, "", "b", "a"]) == ("a", "b")
    assert len(names([str(i) for i in range(5_000)])) == 1_000
