"""What a model reads of a result, a failure or a person's answer.

The text is the same live and on replay: it is made of what the record says. It holds no address of an object, and
nothing that is not for a model: a misuse, a store that is unwell and a run that is closing are raised, not told.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any, Final

from holdfast.core.notice import told
from holdfast.errors import (
    ArgumentsInvalid,
    InternalError,
    JournalError,
    ToolFailed,
    Unencodable,
    Unverified,
    UsageError,
)
from holdfast.journal.codec import Opaque, encode
from holdfast.runtime import current
from holdfast.runtime.asking import Answer
from holdfast.runtime.facts import facts_of

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SPEAKS_FOR_ITSELF = (ToolFailed, Unverified, ArgumentsInvalid)


@dataclasses.dataclass(frozen=True, slots=True)
class ForModel:
    """What a model is told of one call, and the form that each provider wants it in."""

    text: str
    is_error: bool = False

    def anthropic(self, tool_use_id: str) -> dict[str, Any]:
        """A `tool_result` block of a user message."""
        return {"type": "tool_result", "tool_use_id": tool_use_id, "content": self.text, "is_error": self.is_error}

    def openai(self, tool_call_id: str) -> dict[str, Any]:
        """A `tool` message of Chat Completions."""
        return {"role": "tool", "tool_call_id": tool_call_id, "content": self.text}

    def openai_responses(self, call_id: str) -> dict[str, Any]:
        """An input item of Responses."""
        return {"type": "function_call_output", "call_id": call_id, "output": self.text}

    def gemini(self, name: str, call_id: str | None = None) -> dict[str, Any]:
        """A part of a user content of `generateContent`."""
        response = {"error" if self.is_error else "output": self.text}
        return {"function_response": {"name": name, "response": response} | ({"id": call_id} if call_id else {})}


def for_model(outcome: Any) -> ForModel:
    """What a model is to read of a tool's result, of the exception that it raised, or of an `Answer`.

    What the run has to say beside it (that a result is an old one, that a budget comes to its end) stands after it.
    Raises what is not for a model: cancellation, `UsageError` except `ArgumentsInvalid`, and errors of the store.
    """
    if isinstance(outcome, ForModel):
        return outcome
    where = current.place()
    return with_notices(reading(outcome), where.driver.notices.take(outcome) if where is not None else ())


def with_notices(said: ForModel, notices: Sequence[str]) -> ForModel:
    """The same, and these after it."""
    return dataclasses.replace(said, text="\n".join((said.text, *map(told, notices)))) if notices else said


def reading(outcome: Any) -> ForModel:
    """The same without notices, for who has heard them."""
    if isinstance(outcome, ForModel):
        return outcome
    if isinstance(outcome, BaseException):
        return ForModel(_failure(outcome), is_error=True)
    if isinstance(outcome, Answer):
        return ForModel(_answer(outcome))
    return ForModel(_whole(_result(outcome)))


def _failure(error: BaseException) -> str:
    is_misuse = isinstance(error, UsageError) and not isinstance(error, ArgumentsInvalid)
    if is_misuse or not isinstance(error, Exception) or isinstance(error, (JournalError, InternalError)):
        raise error
    facts = facts_of(error)
    text = facts.text if isinstance(error, _SPEAKS_FOR_ITSELF) else f"{facts.error}: {facts.text}".rstrip(": ")
    return _ADDRESS.sub("", text)


def _answer(answer: Answer) -> str:
    if answer.outcome == "answered":
        return f"Answered{f' by {answer.by}' if answer.by else ''}: {_whole(_result(answer.value))}"
    kept = "" if answer.value is None else f" Taken instead: {_whole(_result(answer.value))}"
    return f"{_UNANSWERED[answer.outcome]}{kept}"


_UNANSWERED: Final = {
    "expired": "Nobody answered in time.",
    "undeliverable": "Nobody could be told of the question in time.",
    "withdrawn": "The question was withdrawn.",
}


def _result(value: Any) -> str:
    if isinstance(value, str):
        return str.__str__(value) or "(empty)"
    if value is None:
        return "Done; it returned nothing."
    if isinstance(value, Opaque):
        return f"Done; its result ({value.type_name}) could not be kept."
    try:
        return _dumps(value)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, cycles: as the record writes it
        try:
            return encode(value).decode()
        except Unencodable:
            return f"Done; its result ({type(value).__name__}) cannot be shown."


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON can hold of this value."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=_dumps)  # its own order changes from process to process
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump()

    import pydantic_core  # heavy; only values that JSON does not know need it

    return pydantic_core.to_jsonable_python(value)


def _whole(text: str) -> str:
    """Without lone surrogates, which no request can carry."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
