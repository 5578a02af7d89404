"""Whether what a tool gave is a result at all: the gate between an attempt and everybody who reads its outcome.

In this order: does the answer itself say that it failed (`{"ok": false}`, `isError`, the tool's own predicate); is it
of the declared type; does it pass the tool's `check`. What does not pass is a failure before anybody reads it. Of a
write such a failure is *unknown*, as its effect has probably happened.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from typing import Any, Final

from holdfast.core.events import ONE_TOOL_CALL
from holdfast.core.failure import (
    FINE,
    IS_ERROR,
    NOT_OK,
    ONE_REQUEST,
    Facts,
    Failure,
    FailureKind,
    classify,
    named_in,
    unfit,
)
from holdfast.errors import JournalCorrupt, Unencodable
from holdfast.journal.codec import Opaque, decode, encode, opaque
from holdfast.journal.fit import fits, misfit
from holdfast.journal.typed import adapter_of
from holdfast.runtime.facts import facts_of, safe
from holdfast.runtime.spec import Spec
from holdfast.runtime.thread import in_thread
from holdfast.runtime.way import Attempted

CHECK_S: Final = 30.0
"""Time box of one `check`; one that hangs does not hold the step up for ever."""
_TEXT_MAX = 500
_TYPE = "it is not of the declared type"
_SAYS_NOTHING: Final = (str, bytes, int, float, list, type(None))
"""Results that cannot say of themselves that they are a refusal."""
_KINDS: Final = frozenset(str(kind) for kind in FailureKind)


async def judged(spec: Spec, result: Any) -> Attempted:
    """The attempt that gave `result`."""
    weighing = weighed(spec, result)
    if weighing.failure is not None or spec.check is None:
        return weighing
    given = result if weighing.facts else decode(weighing.body or b"", spec.returns)  # facts: it could not be written
    failure = await unchecked(spec, given)
    return weighing if failure is None else Attempted(None, ONE_TOOL_CALL, failure)


def weighed(spec: Spec, result: Any) -> Attempted:
    """The same before its `check`, which may take time."""
    said = refusal(spec, result)
    if said is not None:
        return Attempted(None, ONE_TOOL_CALL, said)
    try:
        body = encode(result, spec.returns)
    except Unencodable as error:
        return _lost(spec, result, error)
    wrong = wrong_type(spec, result, body)
    failure = unfit("InvalidOutput", wrong, _TYPE, spec.effect) if wrong else None
    return Attempted(None if wrong else body, ONE_TOOL_CALL, failure)


def _lost(spec: Spec, result: Any, error: Exception) -> Attempted:
    """A result that cannot be written: after an effect it is kept as opaque, and the effect is not repeated."""
    if spec.effect.is_write:
        return Attempted(encode(opaque(result)), ONE_TOOL_CALL, facts={"lost": safe(str(error))})
    text = safe(f"its result cannot be recorded: {error}")
    failure = Failure(FailureKind.PERMANENT, type(error).__name__, text, text, because="a result must be plain data")
    return Attempted(None, ONE_TOOL_CALL, failure, error=error)


async def unfit_alone(spec: Spec, result: Any) -> Failure | None:
    """The same for a result that nobody writes down: None when it is good."""
    said = refusal(spec, result)
    if said is not None:
        return said
    try:
        wrong = wrong_type(spec, result, encode(result, spec.returns)) if spec.returns is not None else ""
    except Unencodable:
        wrong = ""  # nothing is written, so nothing has to be
    return unfit("InvalidOutput", wrong, _TYPE, spec.effect) if wrong else await unchecked(spec, result)


# --- what the answer says ----------------------------------------------------------------------------------------


def refusal(spec: Spec, result: Any) -> Failure | None:
    """The failure that the result itself tells of."""
    facts = _refused(result)
    if spec.classify is not None:
        facts = _asked(spec, result, facts)
    if facts is None:
        return None
    named = named_in(facts, spec.policy.classify)
    if named is not None and named[0] == FINE:
        return None
    is_one = spec.definite == ONE_REQUEST
    return classify(facts, spec.effect, is_one_request=is_one, table=spec.policy.classify)


def failure_of(spec: Spec, error: BaseException) -> Failure:
    """The failure that an exception of the tool's body amounts to."""
    classes = spec.definite if isinstance(spec.definite, tuple) else ()
    facts = facts_of(error, raises=spec.raises, definite=classes)
    facts = _asked(spec, error, facts) or replace(facts, remark="classify= called it ok, which an exception is not")
    is_one = spec.definite == ONE_REQUEST
    return classify(facts, spec.effect, is_one_request=is_one, table=spec.policy.classify)


def _refused(result: Any) -> Facts | None:
    if isinstance(result, _SAYS_NOTHING):
        return None
    if isinstance(result, dict):
        if result.get("ok") is False:
            return _facts("NotOk", NOT_OK, result)
        return _facts("IsError", IS_ERROR, result) if result.get("isError") is True else None
    try:
        is_error = getattr(result, "isError", None) is True or getattr(result, "is_error", None) is True
        content = getattr(result, "content", None) if is_error else None
    except Exception:  # the user's own attributes
        return None
    return None if content is None else _facts("IsError", IS_ERROR, {"content": content})


def _facts(error: str, mark: str, answer: dict[Any, Any]) -> Facts:
    code = next((answer[name] for name in ("code", "error_code", "error") if _is_code(answer.get(name))), "")
    text = _text(answer)
    return Facts(error, text, text, ancestors=(mark,), code=code, is_answer=True)


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable() and " " not in value


def _text(answer: dict[Any, Any]) -> str:
    for name in ("error", "message", "reason", "detail", "content"):
        if answer.get(name):
            return safe(_plain_text(answer[name]), _TEXT_MAX)
    return "it does not say why"


def _plain_text(value: Any) -> str:
    """The words in an answer: a text, or the texts in the parts of a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return " ".join(_plain_text(part) for part in value[:20])
    text = value.get("text") or value.get("message") if isinstance(value, dict) else getattr(value, "text", None)
    return text if isinstance(text, str) else safe(repr(value), _TEXT_MAX)


def _asked(spec: Spec, outcome: Any, facts: Facts | None) -> Facts | None:
    """The facts, with what the tool's own predicate says of its outcome. None: it is a result."""
    remark, predicate = "", spec.classify
    if predicate is None:
        return facts
    try:
        said: Any = predicate(outcome)
    except Exception as error:  # the user's predicate: one that fails has not classified anything
        said, remark = None, safe(f"classify= raised {type(error).__name__}: {error}", _TEXT_MAX)
    if said is not None and str(said) == FINE:
        return None
    if said is not None and str(said) not in _KINDS:
        said, remark = None, safe(f"classify= gave {said!r}, which is no kind of failure", _TEXT_MAX)
    if facts is None:
        if said is None:
            return None
        text = safe(repr(outcome), _TEXT_MAX)
        facts = Facts("Classified", text, text, is_answer=True)
    return replace(facts, kind="" if said is None else str(said), remark=remark)


# --- what it has to be -------------------------------------------------------------------------------------------


def wrong_type(spec: Spec, result: Any, body: bytes) -> str:
    """Why the result is not of the type that the tool declares, empty when it is."""
    if spec.returns is None:
        return ""
    try:
        if adapter_of(spec.returns) is None:
            return "" if fits(spec.returns, result) else misfit(spec.returns, result)
        decode(body, spec.returns)
    except (Unencodable, ValueError, JournalCorrupt) as wrong:  # ValueError: pydantic's word for "not of this type"
        return safe(str(wrong), _TEXT_MAX)
    return ""


async def unchecked(spec: Spec, result: Any) -> Failure | None:
    """The failure of a result that does not pass the tool's `check`; one that raises or hangs has not passed it."""
    check = spec.check
    if check is None:
        return None
    name = getattr(check, "__name__", "check")
    try:
        async with asyncio.timeout(CHECK_S):
            is_here = spec.is_async or inspect.iscoroutinefunction(check)
            said = check(result) if is_here else await in_thread(f"check {spec.name}", lambda: check(result))
            said = await said if inspect.isawaitable(said) else said
            said = said if said is None or isinstance(said, str) else bool(said)
    except TimeoutError:
        said = f"it gave no answer within {CHECK_S:g} s"
    except Exception as error:  # the user's check: whatever it raises, the result is not known to be good
        said = f"{type(error).__name__}: {error}".rstrip(": ")
    if said in (None, True, ""):
        return None
    text = safe(said, _TEXT_MAX) if isinstance(said, str) else "it said no"
    return unfit("InvalidOutput", f"{name}: {text}", f"it did not pass its check {name}", spec.effect)


async def unfit_body(spec: Spec, body: bytes | None) -> str:
    """Why a result that somebody else gave cannot be the tool's, empty when it can: its type, and then its check."""
    if body is None:
        return ""
    try:
        result = decode(body, spec.returns)
    except (Unencodable, ValueError) as wrong:
        return safe(str(wrong), _TEXT_MAX)
    wrong_as = "" if isinstance(result, Opaque) else wrong_type(spec, result, body)
    failed = None if wrong_as else await unchecked(spec, result)
    return wrong_as or (failed.text if failed is not None else "")
