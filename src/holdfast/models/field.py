"""Reads fields out of JSON that strangers sent. Pure; whatever the input, nothing here raises.

What is absent, of the wrong type or beyond belief reads as "nothing": `None`, an empty text, an empty list. Texts
come back bounded and such that every store can hold them (no lone surrogates, no NUL).
"""

from __future__ import annotations

import json
from typing import Any

from holdfast.runtime.facts import safe

TOKENS_MAX = 100_000_000
"""A count above this is taken for nonsense; the largest context has two million."""


def parsed(raw: bytes | str) -> Any:
    """The JSON value in these bytes, None when they are no JSON, or nested too deep to read."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # also what is no UTF-8, and numbers of thousands of digits
        return None


def object_in(raw: bytes | str) -> dict[str, Any] | None:
    """The JSON object in these bytes, None when they hold anything else."""
    value = parsed(raw)
    return value if isinstance(value, dict) else None


def text(value: Any, limit: int = 200) -> str:
    """This text, at most so many characters of it (as they came; what a store cannot hold is written out)."""
    if not isinstance(value, str):
        return ""
    return safe(value if len(value) <= limit else f"{value[:limit]}…", 10 * limit)


def count(value: Any) -> int | None:
    """This number of tokens, None when it is absent or makes no sense."""
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def part(value: Any) -> int | None:
    """The same for a part that may be left out: 0 when it is absent or null, None when it makes no sense."""
    return 0 if value is None else count(value)


def members(value: Any) -> dict[str, Any]:
    """This object, an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """The objects in this list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def names(value: list[Any], limit: int = 1_000) -> tuple[str, ...]:
    """The texts among these, each once, in their order."""
    return tuple(dict.fromkeys(name for name in map(text, value[:limit]) if name))
