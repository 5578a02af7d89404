"""The fields of a form as a person fills them in, and what they have sent of it. All text here is safe to show.

Names, titles and choices are the agent's own words: they stand where its words stand, and name no button of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast.core.form import TEXT_MAX, names, told
from holdfast.views.text import safe_lines, safe_text

LINE_MAX: Final = 200
"""A text that may be longer is written over several lines."""
_YES_NO: Final = (("yes", "Yes"), ("no", "No"))
_SORTS: Final = {"email": "email", "uri": "url", "date": "date"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field."""

    id: str
    """Ours: a field's name may be anything."""
    name: str
    label: str
    takes: str
    """What it takes, in our words."""
    more: str
    """What the agent says about it."""
    sort: str
    """text, lines, email, url, date, number or choice."""
    is_required: bool
    value: str
    """What stands in it: what was typed, or the default; of a choice its place."""
    choices: tuple[tuple[str, str], ...] = ()
    least: str = ""
    most: str = ""
    step: str = ""


def fields(schema: Mapping[str, Any], typed: Mapping[str, str]) -> list[Field]:
    """The form with what was typed into it before, by the ids of the fields."""
    required = schema.get("required", ())
    return [_field(f"field-{place}", name, field, name in required, typed) for place, name, field in _placed(schema)]


def _placed(schema: Mapping[str, Any]) -> list[tuple[int, str, Mapping[str, Any]]]:
    return [(place, name, schema["properties"][name]) for place, name in enumerate(names(schema))]


def _field(id: str, name: str, field: Mapping[str, Any], is_required: bool, typed: Mapping[str, str]) -> Field:
    is_text, choices = field["type"] == "string", _choices(field)
    bounds = ("minLength", "maxLength") if is_text else ("minimum", "maximum")
    least, most = (str(field[key]) if key in field else "" for key in bounds)
    return Field(
        id=id,
        name=safe_text(name, 100),
        label=safe_text(field.get("title") or name, 200),
        takes=safe_text(told(field), 400),
        more=safe_lines(field.get("description", "")),
        sort=_sort(field),
        is_required=is_required,
        value=typed.get(id, _default(field)).replace("\r\n", "\n"),
        choices=choices,
        least=least,
        most=most,
        step="" if is_text else "1" if field["type"] == "integer" else "any",
    )


def _sort(field: Mapping[str, Any]) -> str:
    if "enum" in field or field["type"] == "boolean":
        return "choice"
    if field["type"] != "string":
        return "number"
    if "format" in field:
        return _SORTS.get(field["format"], "text")
    return "lines" if field.get("maxLength", TEXT_MAX) > LINE_MAX else "text"


def _choices(field: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """By their places: as text they may be drawn as something else than they are."""
    if field["type"] == "boolean":
        return _YES_NO
    named = field.get("enumNames", field.get("enum", ()))
    return tuple((str(place), safe_text(each, 400)) for place, each in enumerate(named))


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    if default is None:
        return ""
    if field["type"] == "boolean":
        return "yes" if default else "no"
    return str(field["enum"].index(default)) if "enum" in field else str(default)


def sent(schema: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, str]:
    """What was typed, by the names of the fields; one that was left empty is left out."""
    found = {}
    for place, name, field in _placed(schema):
        text = typed.get(f"field-{place}", "").replace("\r\n", "\n")
        if text.strip():
            found[name] = _chosen(field, text)
    return found


def _chosen(field: Mapping[str, Any], text: str) -> str:
    choices = field.get("enum")
    if choices is None:
        return text
    return str(choices[int(text)]) if text.isascii() and text.isdigit() and int(text[:9]) < len(choices) else text
