"""A person's answer as a message: the option or text they gave, and the result where the answer carries one.

Whichever way it comes, it goes through `post`, or through `check` and the guard that `post` asks: so who may answer is
one rule for all ways. It is told by the question itself, and by whom its names stand for now (`Roll`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdfast.core import accept, approvers
from holdfast.core.accept import Message
from holdfast.errors import MessageRefused, UsageError
from holdfast.journal.codec import encode
from holdfast.protocols import Journal, Roll
from holdfast.runtime.asking import late


def message(
    question: str, about: str, value: str, *, result: str | None = None, digest: str = "", by: str, via: str
) -> Message:
    """The answer `value` to a question of this sort. result: JSON, with an answer that carries one. digest: what was
    shown to whoever answers."""
    with_result = accept.WITH_RESULT.get(about)
    if result is not None and (with_result is None or value != with_result):
        raise UsageError(
            f"--result belongs to {' and '.join(accept.WITH_RESULT.values())}, for a step in doubt or one that failed. "
            "Nothing was answered."
        )
    body = encode(parsed(result, "--result")) if result is not None else None if with_result else encode(value)
    return accept.answer(question, choice=value, by=by, body=body, digest=digest, via=via)


def refusal(asked: approvers.Asked, by: str, roll: Roll | None) -> str:
    """Why this person may not answer it; empty when they may. roll: whom names stand for now; None: for themselves."""
    refused = approvers.refusal(asked, by)
    if refused or not asked.approvers:
        return refused
    members = asked.approvers if roll is None else roll.members(asked.approvers)
    return approvers.has_left(asked, by, members)


def check(journal: Journal, run_id: str, answer: Message, roll: Roll | None) -> None:
    """`MessageRefused` when whoever answers may not. What the question itself says of it is looked at again by the
    guard of the store."""
    facts, head = answer.facts, journal.head(run_id)
    asked = next((each for each in head.questions if each.id == facts["question"]), None) if head is not None else None
    refused = "" if asked is None else refusal(asked, facts.get("by") or "", roll)
    if refused:
        raise MessageRefused(refused)


def of_form(question: str, about: str, values: Mapping[str, Any], *, by: str, via: str) -> Message:
    """The answer that fills in a form; whether the values fit is for the guard to say."""
    return accept.answer(question, choice=accept.WITH_FORM.get(about), by=by, body=None, via=via, form=values)


def post(journal: Journal, run_id: str, message_id: str, answer: Message, roll: Roll | None) -> None:
    """Leave the answer for the run; `MessageRefused` says why it cannot count, or who was first. roll: see `check`."""
    check(journal, run_id, answer, roll)
    posted = journal.post(run_id, message_id, answer)
    if posted.refused:
        raise MessageRefused(late(journal, run_id, answer) or posted.refused)


def parsed(text: str, what: str) -> Any:
    """The JSON that somebody has typed; `UsageError` when it is none."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as wrong:
        raise UsageError(
            f"{what} {text!r} is no JSON: {wrong}. Nothing was answered. A text goes in double quotes: '\"R-17\"'."
        ) from wrong


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; refused when a name stands in it twice, since readers differ in which of the two they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found
