"""What a model call is about, whatever else of its prompt has drifted: a digest of the end of its conversation.

The *tail* is the messages from the last assistant turn on that something follows, without system and developer texts;
all of them where there is no such turn. Ids that link a call to its result become numbers, times and generated ids are
masked (`mask`). It knows the messages of every provider: Anthropic, Chat Completions, Responses items and Gemini
contents. Pure; it never raises, and says "" where it cannot read, which no call is matched by.

Invariants
1. Two different questions of a user have different tails, if they differ in more than their times. An id that a user
   names is kept.
2. What is an id only by its name (`id` among the arguments of a tool) is kept: it says which invoice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from holdfast.models.mask import Masks

DEPTH_MAX = 60
CHARACTERS_MAX = 1_000_000
"""Of all texts together that are masked; what follows is taken as it is."""

_LINKS = frozenset({"id", "tool_call_id", "tool_use_id", "call_id", "item_id", "request_id", "approval_request_id"})
_GIVEN = frozenset({"input", "arguments", "args", "response", "output", "results", "action"})
"""Members in which the caller's own data begins."""
_OPAQUE = frozenset({"data", "file_data", "signature", "encrypted_content", "thoughtSignature"})
_LEFT_OUT = frozenset({"cache_control"})
_TIMES = re.compile(r"(?:.{0,60}_)?(?:at|ts|time|timestamp|date|created|updated|epoch)|.{0,60}[a-z](?:At|Time|Date)")
_ASSISTANT, _SYSTEM, _USER, _RESULT = "assistant", "system", "user", "result"
_SIDES = {"assistant": _ASSISTANT, "model": _ASSISTANT, "system": _SYSTEM, "developer": _SYSTEM, "user": _USER}


def tail_of(messages: Sequence[Any]) -> str:
    """Digest of what this conversation asks now; "" when that cannot be said.

    messages: as parsed from the request, in order; a text stands for a message of the user.
    """
    try:
        tail = [message for message in messages[start_of(messages) :] if _side(message) != _SYSTEM]
        masked = _Masking().masked(tail)
        text = json.dumps(masked, sort_keys=True, separators=(",", ":")) if tail else ""
    except (TypeError, ValueError, RecursionError):  # no JSON, or nested too deep
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:32] if text else ""


def start_of(messages: Sequence[Any]) -> int:
    """Where the last assistant turn begins that something follows: a prefilled answer is no turn to go on from."""
    end = len(messages)
    while end and _side(messages[end - 1]) in (_ASSISTANT, _SYSTEM):
        end -= 1
    last = next((place for place in range(end - 1, -1, -1) if _side(messages[place]) == _ASSISTANT), None)
    if last is None:
        return 0
    turn = takewhile(lambda place: _side(messages[place]) == _ASSISTANT, range(last, -1, -1))
    return min(turn)


def _side(message: Any) -> str:
    """Who speaks."""
    if not isinstance(message, dict):
        return _USER
    role, sort = message.get("role"), message.get("type")
    if isinstance(role, str):
        return _SIDES.get(role, _RESULT)
    if not isinstance(sort, str):
        return _USER
    return _RESULT if sort.endswith(("_output", "_response")) else _ASSISTANT


class _Masking:
    """Copies a tail without what was generated."""

    def __init__(self) -> None:
        self._masks = Masks()
        self._left = CHARACTERS_MAX

    def masked(self, tail: Sequence[Any]) -> list[Any]:
        """The messages."""
        return [self._message(message) for message in tail]

    def _message(self, message: Any) -> Any:
        if isinstance(message, dict) and message.get("type") == "item_reference":
            return message  # its id is all that it says
        is_user = _side(message) == _USER
        return self._value(message, self._masks.times if is_user else self._masks.all, "", 0, is_given=False)

    def _value(self, value: Any, mask: Callable[[str], str], name: str, depth: int, *, is_given: bool) -> Any:
        if depth > DEPTH_MAX:
            raise RecursionError
        match value:
            case str():
                return value if name in _OPAQUE else self._text(value, mask)
            case dict():
                return self._members(value, mask, depth, is_given=is_given)
            case list():
                return [self._value(child, mask, name, depth + 1, is_given=is_given) for child in value]
            case bool() | None:
                return value
            case int() | float() if _is_time(value) and _TIMES.fullmatch(name):
                return self._masks.sign("time", str(value))
            case _:
                return value

    def _members(self, members: dict[str, Any], mask: Callable[[str], str], depth: int, *, is_given: bool) -> Any:
        if not is_given and _is_result(members):
            mask = self._masks.all
        found = {}
        for name, child in sorted(members.items()):  # ids are numbered in an order that is not the writer's
            if not is_given and name in _LINKS and isinstance(child, str):
                found[name] = self._masks.sign("id", child)
            elif is_given or name not in _LEFT_OUT:
                found[name] = self._value(child, mask, name, depth + 1, is_given=is_given or name in _GIVEN)
        return found

    def _text(self, text: str, mask: Callable[[str], str]) -> str:
        self._left -= len(text)
        return mask(text) if self._left >= 0 else text


def _is_result(members: dict[str, Any]) -> bool:
    """Whether this part of a user's message is what a tool gave (Anthropic, Gemini)."""
    sort = members.get("type")
    return (isinstance(sort, str) and sort.endswith("tool_result")) or "functionResponse" in members


def _is_time(value: float) -> bool:
    return 1e9 <= value < 2.2e9 or 1e12 <= value < 2.2e12
