"""INPUT of `holdfast run`: a text, read by the agent's annotation.

`@file` and `-` (stdin) bring the text from elsewhere, as it is. For `str` the text is taken as typed, unless it is a
JSON string: so `'"@home"'` is how a text that begins with @ is given. Without an annotation: JSON if it is some, else
the text. For everything else pydantic reads the JSON, or the bare text where that fits (a date, a choice).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from holdfast.errors import UsageError

_SHOWN_MAX = 10


def given(text: str) -> str:
    """The text that INPUT stands for."""
    try:
        if text == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        if text.startswith("@"):
            return Path(text[1:]).read_bytes().decode("utf-8")
    except OSError as missing:
        raise UsageError(f"INPUT {text!r} cannot be read: {missing.strerror}. Nothing was started.") from missing
    except UnicodeDecodeError as wrong:
        raise UsageError(f"INPUT {text!r} is no UTF-8 text: {wrong}. Nothing was started.") from wrong
    return text


def value(text: str, annotation: Any) -> Any:
    """What `text` says to an agent whose input has this annotation; `UsageError` says what does not fit."""
    if annotation is None or annotation is Any or annotation is str:
        try:
            parsed = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return text
        return text if annotation is str and not isinstance(parsed, str) else parsed
    return _validated(text, annotation)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _validated(text: str, annotation: Any) -> Any:
    import pydantic  # heavy; only for annotations that say more than str

    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticUserError as error:
        raise UsageError(
            f"The agent's input is annotated {annotation!r}, which pydantic cannot read: {error}"
        ) from error
    try:
        return adapter.validate_json(text)
    except pydantic.ValidationError as wrong:
        try:
            return adapter.validate_strings(text)
        except pydantic.ValidationError:
            raise UsageError(
                f"INPUT does not fit {_name(annotation)}: {_problems(wrong)}. Nothing was started."
            ) from wrong


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


def _problems(wrong: Any) -> str:
    """The first errors that pydantic found, each with its place."""
    found = wrong.errors(include_url=False, include_context=False, include_input=False)
    told = [": ".join((".".join(map(str, e["loc"])), e["msg"])).removeprefix(": ") for e in found[:_SHOWN_MAX]]
    more = f"; and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
    return "; ".join(told) + more
