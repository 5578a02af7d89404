"""Whether a command to a project is of the form that its verb has, before it is stored. Pure.

What is stored is mail for every process that takes the project, so what they could stumble over is refused here.
Whether it comes at the right time is judged by the board (`core.project`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from holdfast.core import board as b
from holdfast.core.events import meta
from holdfast.core.feature import digest, listed
from holdfast.errors import UsageError

NOTE_MAX: Final = 500
WHY_MAX: Final = 1_000
TEXT_MAX: Final = 4_000
RECORD_MAX: Final = 8_000
"""Characters of what a session's own record said when it ended."""
LIST_MAX: Final = 1_000_000
"""Characters of a whole list of features."""
OUTCOMES: Final = ("passed", "partial", "failed", "cancelled", "stopped", "lost", "nothing")
CAPPED: Final = ("tool_calls", "model_calls", "tokens", "usd_nano")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_MAX


def _is_name(value: Any) -> bool:
    return _is_text(value) and value.strip() != ""


def _is_note(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= NOTE_MAX


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and len(meta(record=value)) <= RECORD_MAX


def _is_outcome(value: Any) -> bool:
    return value in OUTCOMES


def _is_results(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10 and all(map(_is_result, value))


def _is_result(value: Any) -> bool:
    if not isinstance(value, dict) or not {"has_run", "passed"} <= value.keys() <= _RESULT.keys():
        return False
    return all(_RESULT[name](each) for name, each in value.items())


def _is_caps(value: Any) -> bool:
    is_table = isinstance(value, dict) and value != {} and value.keys() <= set(CAPPED)
    return is_table and all(amount is None or _is_count(amount) for amount in value.values())


_RESULT: Final[Mapping[str, Callable[[Any], bool]]] = {
    "has_run": _is_flag,
    "passed": _is_flag,
    "why": _is_text,
    "exit_code": lambda value: value is None or type(value) is int,
    "output_sha256": _is_text,
    "took_s": lambda value: type(value) in (int, float) and 0 <= value < inf,
}
_OF_SESSION: Final = {"session": _is_name}
_NEEDED: Final[Mapping[str, Mapping[str, Callable[[Any], bool]]]] = {
    b.FREEZE: {"features": lambda value: isinstance(value, list), "digest": _is_name},
    b.GO_ON: {},
    b.STOP: {},
    b.RAISE: {"caps": _is_caps},
    b.BEGIN: {**_OF_SESSION, "place": _is_name, "number": _is_count},
    b.CLAIM: {**_OF_SESSION, "feature": _is_name},
    b.EVIDENCE: {
        "session": _is_text,
        "feature": _is_name,
        "passed": _is_flag,
        "is_flaky": _is_flag,
        "results": _is_results,
        "commit": _is_text,
        "tree": _is_text,
        "spec": _is_text,
    },
    b.NOTE: {**_OF_SESSION, "text": _is_note},
    b.RESTORED: {"session": _is_text, "text": _is_note},
    b.ENDED: {
        **_OF_SESSION,
        "outcome": _is_outcome,
        "commit": _is_text,
        "branch": _is_text,
        "record": _is_record,
        "revision": _is_count,
    },
    b.CLEARED: {"place": _is_name, "branch": _is_text},
}


def refusal(facts: Mapping[str, Any]) -> str:
    """Why a command makes no sense; empty when it does."""
    verb = facts.get("verb")
    needed = _NEEDED.get(verb) if isinstance(verb, str) else None
    if needed is None:
        return f"A project does not know the command {verb!r}. Nothing was changed."
    if len(facts.get("why") or "") > WHY_MAX:
        return f"The reason is longer than {WHY_MAX} characters. Nothing was changed."
    wrong = [name for name, check in needed.items() if not check(facts.get(name))]
    if not isinstance(facts.get("id", ""), str):
        wrong.append("id")
    if wrong:
        return f"A project cannot be told {verb} with {wrong[0]} = {facts.get(wrong[0])!r:.100}. Nothing was changed."
    return _unfit_list(facts) if verb == b.FREEZE else ""


def _unfit_list(facts: Mapping[str, Any]) -> str:
    if len(meta(features=facts["features"])) > LIST_MAX:
        return f"The list of features is longer than {LIST_MAX} characters. Nothing was changed."
    try:
        found = listed(facts["features"])
    except UsageError as wrong:
        return str(wrong)
    if digest(found) != facts["digest"]:
        return "The list of features is not the one that was shown: it has another digest. Nothing was changed."
    return ""
