"""Values as they are laid before a person. If these fail, nobody sees what has changed or what runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.views.asking import Item
from holdfast.views.sheet import sheet
from holdfast.views.values import Call, Row, call

ITEM = Item(
    run="run_1",
    key="k",
    agent="a",
    id="q1",
    about="approve",
    text="May pay be called with these arguments?",
    options=("approve", "decline"),
    to="finance",
    asked_at=100.0,
    expires_at=None,
    is_urgent=False,
    digest="d",
    tool="pay",
    arguments={"iban": "CH93", "cents": 4200},
)


def row(now: Any, before: Any) -> Row:
    (found,) = call("pay", {"to": now}, {"to": before}).rows
    return found


def test_what_is_as_it_was_says_nothing() -> None:
    """Lost: the one change, among all that has not changed."""
    assert row("K-17", "K-17") == Row("to", "K-17") and row(4200, 4200).before is None


@pytest.mark.parametrize(
    ("now", "before", "was"),
    [
        ("K-18", "K-17", "K-17"),
        (4200, 42, "42"),
        (1, True, "true"),
        ("1", 1, "1"),
        ({"a": 1}, {"a": 2}, '{\n  "a": 2\n}'),
    ],
)
def test_what_has_changed_says_what_it_was(now: Any, before: Any, was: str) -> None:
    """Lost: the account that is another one than last month."""
    assert row(now, before).before == was


def test_what_is_drawn_like_last_time_and_is_another_is_named() -> None:
    """Lost: the payee by one letter: each alone looks well (S13)."""
    assert row("CH93 O076", "CH93 0076").remarks == (
        'looks like "CH93 0076", which was approved last, and is another text',
    )
    assert row("K-18", "K-17").remarks == ()


def test_what_is_new_or_gone_is_named() -> None:
    """Lost: an argument that is there for the first time, or not any more."""
    rows = call("pay", {"cents": 1, "note": "x"}, {"cents": 1, "limit": 5}).rows
    assert [(each.name, each.value, each.remarks, each.before) for each in rows] == [
        ("cents", "1", (), None),
        ("note", "x", ("was not given last time",), None),
        ("limit", "", ("is not given this time",), "5"),
    ]


def test_what_stood_there_is_safe_to_show() -> None:
    """Lost: the terminal, by the arguments of last month."""
    assert row("x", "a\u202eb\x1b[2K").before == "a⟨U+202E⟩b⟨U+001B⟩[2K"


def test_with_what_it_is_compared_is_said() -> None:
    """Lost: “last time” of which nobody knows when that was, and who approved it."""
    last = replace(ITEM, state="answered", choice="approve", by="ada", closed_at=50.0, arguments={"iban": "CH94"})
    shown = sheet(ITEM, 200.0, last)
    assert shown.compared.startswith("Compared with the call that ada approved at 1970-01-01 00:00:50Z")
    assert shown.calls[0].rows[0].before == "CH94" and sheet(ITEM, 200.0).compared == ""


def test_a_tool_whose_name_deceives_is_named() -> None:
    """Lost: a tool of somebody else that is called like ours (S13)."""
    assert call("p\u0430y", {}).remarks == ('its name: "p\u0430y" mixes Cyrillic and Latin letters',)
    assert call("pay", {}) == Call("pay", ())


def test_what_nobody_can_read_an_effect_off_is_marked_and_must_be_opened() -> None:
    """Lost: a command that is approved as a sentence (S16)."""
    shown = sheet(replace(ITEM, arguments={"command": "ls", "who": "ada"}), 200.0)
    (first, second) = shown.calls[0].rows
    assert (first.opaque, first.is_long, second.opaque, second.is_long) == ("a command", True, "", False)
    assert shown.long_rows == 1
    assert shown.uninspectable.startswith("Uninspectable: command is a command. What it does cannot be read off it")
    assert sheet(ITEM, 200.0).uninspectable == ""


def test_the_commands_of_a_list_are_marked_too() -> None:
    """Lost: the same, in a list of calls."""
    calls = [{"tool": "sh", "arguments": {"cmd": "ls"}}, {"tool": "db", "arguments": {"q": "drop table t"}}]
    shown = sheet(replace(ITEM, arguments=calls), 200.0)
    assert "cmd is a command, q is SQL" in shown.uninspectable and shown.long_rows == 2


def test_names_that_a_reader_takes_for_one_are_named() -> None:
    """Lost: “Amount” and “amount”, of which a receiver takes the other one (S15)."""
    nested = call("pay", {"order": {"amount": 1, "Amount": 2}, "list": [{"a": 1, "\u0430": 2}]})
    assert nested.rows[0].remarks == ('has both "amount" and "Amount"',)
    assert 'has both "a" and "\u0430"' in nested.rows[1].remarks
    assert call("pay", {"amount": 1, "AMOUNT": 2}).remarks == ('its arguments: has both "amount" and "AMOUNT"',)
    assert call("pay", {"amount": 1, "amounts": {"x": {"y": 2}}}).remarks == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=3), child, max_size=3),
    max_leaves=5,
)


@given(VALUES)
def test_what_is_shown_is_what_the_tool_gets(value: Any) -> None:
    """Lost: a number that is rounded on the way to the reader, or a value that is shown as its neighbour (S15)."""
    (shown,) = call("pay", {"a": value}).rows
    if not isinstance(value, str):
        assert json.loads(shown.value) == value and type(json.loads(shown.value)) is type(value)


@given(VALUES, VALUES)
def test_two_values_are_not_drawn_as_one(one: Any, other: Any) -> None:
    """Lost: the difference between two calls, for whoever approves one of them (S15)."""
    assume(json.dumps(one) != json.dumps(other) and not (isinstance(one, str) and isinstance(other, str)))
    (first,), (second,) = (call("pay", {"a": each}).rows for each in (one, other))
    assert (first.value, first.remarks) != (second.value, second.remarks)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63) - 1, 10**40, 1.5, 1e300, 0.1])
def test_a_number_is_shown_in_all_its_digits(number: Any) -> None:
    """Lost: the last digits of an account number, which another program would round (S15)."""
    assert call("pay", {"a": number}).rows[0].value == repr(number)
