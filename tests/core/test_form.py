"""Forms: what can be asked, and what counts as an answer. Each test says what would be lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.form import (
    FIELDS_MAX,
    FORMATS,
    NUMBER_MAX,
    TEXT_MAX,
    checked,
    filled,
    misfit,
    names,
    read,
    told,
    wrong,
)
from holdfast.errors import UsageError


def form(*required: str, **fields: Any) -> dict[str, Any]:
    """A form with these fields."""
    schema = {"type": "object", "properties": fields}
    return checked(schema | ({"required": list(required)} if required else {}))


TEXT, WHOLE, NUMBER, YES_NO = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
SIZES = {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]}
SHIP = form("street", street={"type": "string", "minLength": 3}, boxes={"type": "integer", "default": 1}, size=SIZES)


# --- what can be asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (None, "no JSON schema"),
        ({"type": "array"}, "no JSON schema"),
        ({"type": "object"}, "no properties"),
        ({"type": "object", "properties": {}}, "no properties"),
        ({"type": "object", "properties": {str(n): TEXT for n in range(FIELDS_MAX + 1)}}, "more than 50"),
        ({"type": "object", "properties": {"a": TEXT}, "required": ["b"]}, "no property"),
        ({"type": "object", "properties": {"a": TEXT}, "required": "a"}, "no property"),
        ({"type": "object", "properties": {"a": TEXT}, "additionalProperties": True}, "nobody has declared"),
        ({"type": "object", "properties": {"a": TEXT}, "oneOf": []}, "'oneOf'"),
        ({"type": "object", "properties": {"a": TEXT}, "title": 1}, "no text"),
        ({"type": "object", "properties": {"a": TEXT}, "title": "\ud800"}, "no text"),
        ({"type": "object", "properties": {"a": TEXT | {"description": "x" * 40_000}}}, "characters"),
        ({"type": "object", "properties": {"a=b": TEXT}}, "names no field"),
        ({"type": "object", "properties": {"": TEXT}}, "names no field"),
        ({"type": "object", "properties": {"a\u202e": TEXT}}, "names no field"),
    ],
)
def test_what_is_no_form_is_refused_with_the_reason(schema: Any, said: str) -> None:
    """Lost: a question that nobody can answer, or one whose answer is not what was declared."""
    with pytest.raises(UsageError, match=said):
        checked(schema)


@pytest.mark.parametrize(
    "field",
    [
        "string",
        {},
        {"type": "object", "properties": {"b": TEXT}},
        {"type": "array", "items": TEXT},
        {"type": ["string", "null"]},
        {"type": "null"},
        TEXT | {"pattern": "(a+)+$"},
        TEXT | {"format": "ipv4"},
        TEXT | {"minLength": 5, "maxLength": 4},
        TEXT | {"minLength": -1},
        TEXT | {"maxLength": 1.5},
        TEXT | {"minimum": 1},
        WHOLE | {"minimum": 1.5},
        WHOLE | {"minimum": 2**60},
        WHOLE | {"multipleOf": 2},
        WHOLE | {"enum": [1, 2]},
        NUMBER | {"maximum": float("nan")},
        NUMBER | {"minimum": True},
        YES_NO | {"enum": [True]},
        TEXT | {"enum": []},
        TEXT | {"enum": ["a", "a"]},
        TEXT | {"enum": ["a", 1]},
        TEXT | {"enum": ["\ud800"]},
        SIZES | {"enumNames": ["Small"]},
        TEXT | {"enumNames": ["Small"]},
        TEXT | {"title": 1},
        TEXT | {"default": 1},
        SIZES | {"default": "m"},
        WHOLE | {"default": True},
    ],
    ids=str,
)
def test_a_field_that_is_not_flat_or_says_more_than_is_checked_is_refused(field: Any) -> None:
    """Lost: a rule that the agent relies on and nobody keeps."""
    with pytest.raises(UsageError, match="Nothing was asked"):
        form(a=field)


def test_what_is_recorded_is_what_was_declared() -> None:
    """Lost: the form, when the caller changes the dict that it was made of."""
    schema = {"type": "object", "properties": {"a": dict(TEXT)}, "required": ["a"], "title": "T", "$schema": "…"}
    found = checked(schema)
    schema["properties"]["a"]["type"] = "boolean"  # type: ignore[index]
    order = {"propertyOrdering": ["a"]}
    assert found == {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "title": "T"} | order
    assert checked(found) == found


def test_the_order_of_the_fields_survives_what_sorts_them() -> None:
    """Lost: a form whose questions come in the order of the alphabet."""
    schema = form(street=TEXT, boxes=WHOLE, age=WHOLE)
    kept = json.loads(json.dumps(schema, sort_keys=True))
    assert list(kept["properties"]) != names(kept) == ["street", "boxes", "age"]


# --- what is answered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"street": "Main", "boxes": 2, "size": "l"}, ""),
        ({"street": "Main"}, ""),
        ({}, "Field 'street' is missing"),
        ({"street": "Main", "colour": 1}, "no field 'colour'"),
        ({"street": "ab"}, "'street': 'ab' is not a text of at least 3 characters"),
        ({"street": None}, "'street'"),
        ({"street": "Main", "boxes": "2"}, "'boxes': '2' is not a whole number"),
        ({"street": "Main", "boxes": True}, "'boxes'"),
        ({"street": "Main", "boxes": 1.0}, "'boxes'"),
        ({"street": "Main", "boxes": 2**53}, "'boxes'"),
        ({"street": "Main", "size": "Large"}, "'size': 'Large' is not one of: s, l"),
        ({"street": "\ud800ain"}, "'street'"),
        ({"street": "Ma\0n"}, "'street'"),
        ({"street": "x" * (TEXT_MAX + 1)}, f"of {TEXT_MAX + 3:,} characters"),
        ([], "an object"),
        (None, "an object"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_counts_or_is_refused_with_its_field(values: Any, said: str) -> None:
    """Lost: an agent that gets what it cannot use, or a run that stumbles over its own mail."""
    found = wrong(SHIP, values)
    assert said in found and bool(found) is bool(said)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("email", ["ada@example.org", "ä@b.c"], ["ada", "a@b@c", "a b@c", "@", "a@\n"]),
        ("uri", ["https://example.com/x", "mailto:ada@b.c"], ["example.com", "https://a b", ":x", ""]),
        ("date", ["2026-01-31"], ["2026-02-30", "20260131", "2026-1-31", "\uff12026-01-31", "2026-01-31\n"]),
        (
            "date-time",
            ["2026-01-31T09:30:00Z", "2026-01-31t09:30:00.5+01:00"],
            ["2026-01-31T09:30:00", "2026-01-31", "2026-01-31 09:30:00Z", "2026-01-31T25:00:00Z"],
        ),
    ],
)
def test_formats(kind: str, good: list[str], bad: list[str]) -> None:
    """Lost: a date that its reader takes for another day, or for none."""
    field = TEXT | {"format": kind}
    assert [misfit(field, text) for text in good] == ["" for _ in good]
    assert all(FORMATS[kind] in misfit(field, text) for text in bad)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (WHOLE | {"minimum": 1, "maximum": 9}, "a whole number from 1 to 9"),
        (NUMBER | {"minimum": 0.5}, "a number at least 0.5"),
        (NUMBER | {"maximum": 2}, "a number at most 2"),
        (TEXT | {"maxLength": 5}, "a text of at most 5 characters"),
        (TEXT | {"minLength": 1, "maxLength": 5}, "a text of 1 to 5 characters"),
        (TEXT, "a text"),
        (YES_NO, "yes or no (true or false)"),
    ],
)
def test_what_a_field_takes_is_said_in_words(field: Any, words: str) -> None:
    """Lost: what to write."""
    assert told(field) == words


@pytest.mark.parametrize("edge", [1, 9])
def test_limits_count_themselves(edge: int) -> None:
    """Lost: the largest answer that was allowed."""
    field = WHOLE | {"minimum": 1, "maximum": 9}
    assert not misfit(field, edge) and misfit(field, edge + (1 if edge == 9 else -1))
    assert not misfit(WHOLE, NUMBER_MAX) and misfit(NUMBER, float("inf"))


def test_defaults_fill_what_is_left_out() -> None:
    """Lost: a field that the form shows as filled in, and the agent does not get."""
    assert filled(SHIP, {"street": "Main"}) == {"street": "Main", "boxes": 1}
    assert filled(SHIP, {"street": "Main", "boxes": 3}) == {"street": "Main", "boxes": 3}
    assert filled(form(a=YES_NO | {"default": True}), {"a": False}) == {"a": False}


# --- what is typed -------------------------------------------------------------------------------------------------

TYPED = form(text=TEXT, whole=WHOLE, number=NUMBER, yes=YES_NO)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "1", "1"),
        ("text", " a ", " a "),
        ("whole", " 12 ", 12),
        ("whole", "-3", -3),
        ("number", "1.5", 1.5),
        ("number", "2", 2),
        ("yes", "Yes", True),
        ("yes", "false", False),
    ],
)
def test_what_is_typed_becomes_a_value_of_its_field(name: str, text: str, value: Any) -> None:
    """Lost: a text where a number was typed, or a number where a text was."""
    found = read(TYPED, {name: text})
    assert found == {name: value} and type(found[name]) is type(value) and not wrong(TYPED, found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("whole", "1.0"),
        ("whole", "1_000"),
        ("whole", "\u0661"),
        ("whole", "9" * 5_000),
        ("number", "nan"),
        ("number", "1e999"),
        ("number", "0x10"),
        ("yes", "1"),
        ("yes", "on"),
        ("yes", ""),
        ("colour", "red"),
    ],
)
def test_what_means_nothing_is_refused_by_name(name: str, text: str) -> None:
    """Lost: a guess at what somebody meant."""
    assert repr(name) in wrong(TYPED, read(TYPED, {name: text}))


LETTERS = st.text(st.sampled_from("sl1 \0\ud800\u00e9"), max_size=8)
VALUES = st.one_of(LETTERS, st.integers(), st.none(), st.floats(), st.booleans())


@given(st.dictionaries(st.sampled_from(["street", "boxes", "size"]), VALUES))
def test_whatever_counts_can_be_kept(values: dict[str, Any]) -> None:
    """Lost: the run, which reads its mail again and again and cannot record it."""
    if not wrong(SHIP, values):
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert not wrong(SHIP, filled(SHIP, values))
        json.dumps(values, ensure_ascii=False).encode()
