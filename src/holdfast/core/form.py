"""Forms: a question that is answered by a few named values, each of one plain type. Pure.

A form is a JSON schema of the flat sort that MCP's elicitation has: an object whose properties are texts, numbers, yes
or no, and choices from a list. Whatever a schema says beyond that is refused when the question is asked: what cannot be
checked here would be promised to the agent all the same.

1. `wrong` is what an answer is checked by before it is stored: it names the field, and knows nothing but the schema.
2. No text is given a meaning that it does not have: "1" is no number, and 1 is no yes.
3. What people type (`read`) becomes a value by the field's type alone, on the page and on the terminal alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from math import isfinite
from typing import Any, Final

from holdfast.errors import UsageError

FIELDS_MAX: Final = 50
TEXT_MAX: Final = 20_000
"""So many characters a text has at most, also where the schema sets no limit."""
NUMBER_MAX: Final = 2**53 - 1
"""Larger whole numbers are read differently by different programs."""
SCHEMA_MAX: Final = 32_000
"""Characters of names, titles, descriptions and choices together."""

_ABOUT_ALL: Final = frozenset({"type", "title", "description", "default"})
_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "format", "enum", "enumNames"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "boolean": frozenset(),
}
_OF_FORM: Final = frozenset(
    {"type", "properties", "required", "title", "description", "additionalProperties", "propertyOrdering", "$schema"}
)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
FORMATS: Final[Mapping[str, str]] = {
    "email": "an email address",
    "uri": "an address such as https://example.com/",
    "date": "a date such as 2026-01-31",
    "date-time": "a time with its zone, such as 2026-01-31T09:30:00Z",
}
_YES, _NO = ("yes", "true"), ("no", "false")


# --- what can be asked -------------------------------------------------------------------------------------------


def checked(schema: Any) -> dict[str, Any]:
    """The form as it is recorded; `UsageError` says what in it no form can have."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise _none("it is no JSON schema of an object, {'type': 'object', 'properties': {…}}")
    fields, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(fields, Mapping) or not fields:
        raise _none("it has no properties, so there is nothing to fill in")
    if len(fields) > FIELDS_MAX:
        raise _none(f"it has {len(fields)} fields; more than {FIELDS_MAX} are no form that a person fills in")
    if beyond := sorted(set(map(str, schema)) - _OF_FORM):
        raise _none(f"of {beyond[0]!r} a flat form knows nothing")
    if schema.get("additionalProperties", False) is not False:
        raise _none("additionalProperties would let in what nobody has declared")
    if not isinstance(required, list) or not all(name in fields for name in required):
        raise _none(f"required={required!r} names what is no property of it")
    found = {"type": "object", "properties": {_named(name): _field(name, field) for name, field in fields.items()}}
    found["propertyOrdering"] = names(schema)
    texts = {name: _text(name, schema[name]) for name in ("title", "description") if name in schema}
    found |= texts | ({"required": sorted(set(required))} if required else {})
    if len(str(found)) > SCHEMA_MAX:
        raise _none(f"its names, titles and choices have more than {SCHEMA_MAX:,} characters")
    return found


def names(schema: Mapping[str, Any]) -> list[str]:
    """The fields in the order in which they were declared, which what is recorded keeps beside them."""
    fields = schema["properties"]
    ordered = [name for name in schema.get("propertyOrdering", ()) if name in fields]
    return ordered if len(ordered) == len(fields) else list(fields)


def _none(because: str) -> UsageError:
    return UsageError(
        f"This is no form: {because}. Nothing was asked. A form is an object of texts, numbers, yes or no, and choices "
        "from a list: see `run.ask` in docs/reference.md."
    )


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100 or "=" in name:
        raise _none(f"{name!r} names no field: 1 to 100 printable characters, without =")
    return name


def _field(name: str, field: Any) -> dict[str, Any]:
    kind = field.get("type") if isinstance(field, Mapping) else None
    if not isinstance(kind, str) or kind not in _KEYWORDS:
        raise _none(f"field {name!r} is not flat: its type is {kind!r}, and not one of {', '.join(_KEYWORDS)}")
    if beyond := sorted(set(map(str, field)) - _ABOUT_ALL - _KEYWORDS[kind]):
        raise _none(f"field {name!r} says {beyond[0]!r}, which a {kind} of a form cannot")
    found = {key: value for key, value in field.items() if value is not None}
    for key in ("title", "description"):
        if key in found:
            _text(f"{name}.{key}", found[key])
    _bounds(name, found)
    _choices(name, found)
    if found.get("format", "date") not in FORMATS:
        raise _none(f"field {name!r} has the format {found['format']!r}, and not one of {', '.join(FORMATS)}")
    if "default" in found and (odd := misfit(found, found["default"])):
        raise _none(f"the default of field {name!r} does not fit it: {odd}")
    return found


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _is_storable(value):
        raise _none(f"{name} is {value!r} and no text that can be kept")
    return value


def _bounds(name: str, field: Mapping[str, Any]) -> None:
    whole = field["type"] != "number"
    for low, high in (("minLength", "maxLength"), ("minimum", "maximum")):
        ends = [field[key] for key in (low, high) if key in field]
        if not all(_is_number(end, whole=whole) and (low == "minimum" or end >= 0) for end in ends):
            raise _none(f"field {name!r} has a limit that is no number for it: {ends!r}")
        if len(ends) == 2 and ends[0] > ends[1]:
            raise _none(f"nothing fits field {name!r}: {low} is above {high}")


def _choices(name: str, field: Mapping[str, Any]) -> None:
    choices, names = field.get("enum"), field.get("enumNames")
    if choices is None and names is None:
        return
    if not _are_texts(choices) or not choices or len(set(choices)) < len(choices):
        raise _none(f"the choices of field {name!r} are {choices!r}: give texts, each once")
    if names is not None and (not _are_texts(names) or len(names) != len(choices)):
        raise _none(f"field {name!r} has {len(choices)} choices, and enumNames do not give each its name")


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and _is_storable(value) for value in values)


def _is_number(value: Any, *, whole: bool) -> bool:
    if type(value) is int:
        return abs(value) <= NUMBER_MAX
    return type(value) is float and not whole and isfinite(value)


# --- what is answered --------------------------------------------------------------------------------------------


def wrong(schema: Mapping[str, Any], values: Any) -> str:
    """Why these values are no answer to the form; empty when they are."""
    if not isinstance(values, Mapping):
        return "A form is answered by an object, a value for each of its fields."
    fields = schema["properties"]
    for name in values:
        if name not in fields:
            return f"The form has no field {str(name)!r}. It has {', '.join(names(schema))}."
    for name in schema.get("required", ()):
        if name not in values:
            return f"Field {name!r} is missing: it is {told(fields[name])}."
    for name, value in values.items():
        if odd := misfit(fields[name], value):
            return f"Field {name!r}: {odd}"
    return ""


def misfit(field: Mapping[str, Any], value: Any) -> str:
    """Why this value does not fit the field; empty when it does."""
    is_one = {
        "string": type(value) is str,
        "boolean": type(value) is bool,
        "integer": _is_number(value, whole=True),
        "number": _is_number(value, whole=False),
    }
    fits = is_one[field["type"]] and (field["type"] == "boolean" or _is_within(field, value))
    return "" if fits else f"{_short(value)} is not {told(field)}."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}… (of {len(text):,} characters)"


def _is_within(field: Mapping[str, Any], value: Any) -> bool:
    if field["type"] != "string":
        return bool(field.get("minimum", value) <= value <= field.get("maximum", value))
    if "enum" in field and value not in field["enum"]:
        return False
    most = min(field.get("maxLength", TEXT_MAX), TEXT_MAX)
    is_long_enough = field.get("minLength", 0) <= len(value) <= most
    return is_long_enough and _is_storable(value) and _is_of(field.get("format", ""), value)


def _is_storable(text: str) -> bool:
    """Whether a store can keep it as a value: over what it cannot, the run would stumble whenever it reads its mail."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def _is_of(form: str, text: str) -> bool:
    match form:
        case "email":
            return _EMAIL.fullmatch(text) is not None
        case "uri":
            return _URI.fullmatch(text) is not None
        case "date":
            return _DATE.fullmatch(text) is not None and _is_time(date.fromisoformat, text)
        case "date-time":
            return _MOMENT.fullmatch(text) is not None and _is_time(datetime.fromisoformat, text.upper())
        case _:
            return True


def _is_time(read: Any, text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def told(field: Mapping[str, Any]) -> str:
    """What the field takes, in words: "a whole number from 1 to 10"."""
    if field["type"] == "boolean":
        return "yes or no (true or false)"
    if "enum" in field:
        return f"one of: {', '.join(field['enum'])}"
    if field["type"] == "string":
        what, unit, ends = FORMATS.get(field.get("format", ""), "a text"), " characters", ("minLength", "maxLength")
        what += " of" if ends[0] in field or ends[1] in field else ""
    else:
        what, unit = "a whole number" if field["type"] == "integer" else "a number", ""
        ends = ("minimum", "maximum")
    low, high = field.get(ends[0]), field.get(ends[1])
    if low is not None and high is not None:
        return f"{what} {'' if unit else 'from '}{low} to {high}{unit}"
    if low is None and high is None:
        return what
    return f"{what} at least {low}{unit}" if low is not None else f"{what} at most {high}{unit}"


def filled(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and the defaults of the fields that are left out."""
    fields = schema["properties"]
    defaults = {name: fields[name]["default"] for name in names(schema) if "default" in fields[name]}
    return defaults | dict(values)


# --- what is typed -----------------------------------------------------------------------------------------------


def read(schema: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """The values that these texts mean. What means none of its field's type stays a text, which `wrong` then names."""
    fields = schema["properties"]
    return {name: _value(fields[name], text) if name in fields else text for name, text in texts.items()}


def _value(field: Mapping[str, Any], text: str) -> Any:
    plain = text.strip()
    match field["type"]:
        case "boolean" if plain.lower() in (*_YES, *_NO):
            return plain.lower() in _YES
        case "integer":
            return _number(int, plain, text)
        case "number":
            return _number(int, plain, _number(float, plain, text))
        case _:
            return text


def _number(kind: Any, text: str, otherwise: Any) -> Any:
    """What Python reads as a number; 1_000 and the digits of other scripts are left as text."""
    try:
        return kind(text) if text.isascii() and "_" not in text else otherwise
    except ValueError:
        return otherwise
