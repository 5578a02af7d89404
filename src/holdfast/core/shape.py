"""Whether the facts of a message are of the form that its kind has: what reads them later need not ask again. Pure.

A message of another form was made by a program that is not this one. It is refused before it is stored: once it is
mail, every process that takes its run over would stumble over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from holdfast.core.budget import Limits
from holdfast.core.heads import Status

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < inf


def _is_limits(value: Any) -> bool:
    is_list = isinstance(value, list) and len(value) <= len(Limits._fields)
    return is_list and all(amount is None or _is_amount(amount) for amount in value)


def _is_raise(value: Any) -> bool:
    return _is_limits(value) and bool(value) and None not in value


def _is_ask(value: Any) -> bool:
    """Whom to ask for more than a cap, and for how long."""
    return isinstance(value, dict) and _is_text(value.get("who")) and _is_amount(value.get("within_s"))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_end(value: Any) -> bool:
    return value in set(Status) and Status(value).is_end if _is_text(value) else False


_NEEDED: Final[Mapping[str, Mapping[str, Check]]] = {
    "start": {"agent": _is_text, "key": _is_text, "input_digest": _is_text},
    "answer": {"question": _is_text},
    "cap": {"caps": _is_table},
    "ended": {"child": _is_text, "outcome": _is_end},
}
_KNOWN: Final[Mapping[str, Check]] = {
    "by": _is_text, "why": _is_text, "choice": _is_text, "limit": _is_text, "parent": _is_text, "previous": _is_text,
    "digest": _is_text, "via": _is_text, "form": _is_table, "ask": _is_ask,
    "now": _is_flag, "unpause": _is_flag, "detached": _is_flag, "is_priced": _is_flag, "with_parent": _is_flag,
    "limits": _is_limits, "raised": _is_raise, "fate": _is_end, "depth": _is_count, "chapter": _is_count,
    "accounts": _is_names,
}  # fmt: skip
"""What a message may say beside that; None, where it says nothing, is left out of it."""


def misshapen(kind: str, facts: Any) -> str:
    """Why these facts are not those of a message of this kind; empty when they are."""
    if not isinstance(facts, dict):
        return f"A message of kind {kind} says nothing that can be read. Nothing was stored."
    needed = _NEEDED.get(kind, {})
    wrong = [name for name, check in needed.items() if not check(facts.get(name))]
    wrong += [name for name, check in _KNOWN.items() if facts.get(name) is not None and not check(facts[name])]
    if not wrong:
        return ""
    return f"A message of kind {kind} cannot say {wrong[0]} = {facts.get(wrong[0])!r}. Nothing was stored."
