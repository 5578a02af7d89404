"""Reads facts off exceptions, and builds exceptions from records: the same text live and on replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from holdfast.core.events import Address, Effect, Event
from holdfast.core.failure import Facts, Failure, FailureKind
from holdfast.core.retry_after import retry_after_s
from holdfast.errors import NotApproved, NotDone, ToolFailed, Unverified
from holdfast.journal.codec import decode

CODE_MAX = 64
"""Longer texts are no codes."""
ADDRESS = "holdfast_address"
"""Attribute of an exception, or key of a response's extensions: which step it came from."""
_ELSEWHERE = "holdfast_facts"


def safe(text: str, limit: int = 4_000) -> str:
    """Text that every store can hold: no lone surrogates, no NUL, bounded."""
    cleaned = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
    return cleaned if len(cleaned) <= limit else f"{cleaned[:limit]}… ({len(cleaned) - limit} more characters)"


def _described(describe: Callable[[BaseException], str], error: BaseException) -> str:
    try:
        return safe(describe(error))
    except Exception as worse:  # the user's own __str__ or __repr__
        return f"<{type(error).__name__}, whose text cannot be shown: {type(worse).__name__}>"


def facts_of(
    error: BaseException,
    *,
    raises: tuple[type[BaseException], ...] = (),
    definite: tuple[type[BaseException], ...] = (),
) -> Facts:
    """What can be read off an exception that a step raised."""
    told = getattr(error, "__dict__", {}).get(_ELSEWHERE)
    if isinstance(told, Facts):
        place = next((i for i, cls in enumerate(raises) if isinstance(error, cls)), told.raised)
        return replace(told, is_declared=told.is_declared or isinstance(error, definite), raised=place)
    status, wait_s = _read(error)
    return Facts(
        error=type(error).__name__,
        text=_described(str, error),
        repr=_described(repr, error),
        ancestors=tuple(cls.__name__ for cls in type(error).__mro__),
        status=status,
        code=_code(error),
        retry_after_s=wait_s,
        is_unsent=_is_unsent(error),
        is_not_done=isinstance(error, NotDone),
        is_declared=isinstance(error, definite),
        raised=next((i for i, cls in enumerate(raises) if isinstance(error, cls)), None),
    )


def told_elsewhere(error: BaseException, facts: Facts) -> BaseException:
    """The exception, with what was read off it where it was raised."""
    error.__dict__[_ELSEWHERE] = facts
    return error


def _read(error: BaseException) -> tuple[int | None, float | None]:
    """HTTP status and Retry-After, where there are any."""
    try:
        response = getattr(error, "response", None)
        status = _status(error, response)
        headers = getattr(response, "headers", None) or getattr(error, "headers", None)
        return status, retry_after_s(headers) if headers is not None else None
    except Exception:  # the user's own attributes: properties that raise, headers that are no mapping
        return None, None


def _code(error: BaseException) -> str:
    """The provider's own code, where the exception has one as text."""
    try:
        code = getattr(error, "code", None)
    except Exception:  # the user's own property
        return ""
    return code if isinstance(code, str) and len(code) <= CODE_MAX and code.isprintable() else ""


def _status(error: BaseException, response: Any) -> int | None:
    """The HTTP status, where requests, httpx, urllib, aiohttp or an SDK keep it."""
    for holder in (response, error):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
                return value
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_unsent(error: BaseException) -> bool:
    """Whether the connection was refused, and nothing in what led to it says that an earlier one was not."""
    links = list(_chain(error))
    return any(isinstance(link, ConnectionRefusedError) for link in links) and not any(map(_was_connected, links))


def _was_connected(error: BaseException) -> bool:
    """Whether it tells of a connection on which something may have been sent."""
    broken = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError)
    return isinstance(error, broken) or any("Timeout" in cls.__name__ for cls in type(error).__mro__)


def rebuilt(event: Event, name: str, raises: tuple[type[BaseException], ...]) -> BaseException:
    """The exception that a recorded failure stands for."""
    failure = Failure.from_facts(event.facts)
    error: BaseException | None = None
    if failure.raised is not None and failure.raised < len(raises) and event.body is not None:
        error = instance(raises[failure.raised], decode(event.body), failure)
    if error is None:
        error = _of_ours(event, failure) or ToolFailed(f"{name} failed: {failure.error}: {failure.text}")
    mark(error, event.address)
    return error


def _of_ours(event: Event, failure: Failure) -> BaseException | None:
    """The exception of ours that it stands for; None: it was the tool that failed."""
    if failure.error == "Unverified":
        return Unverified(failure.text)
    if failure.error != "NotApproved" or failure.kind is not FailureKind.REFUSED:
        return None
    error = NotApproved(failure.text)
    error.outcome, error.by = failure.code, event.facts.get("by", "")
    return error


def instance(cls: type[BaseException], args: list[Any], failure: Failure | Facts) -> BaseException | None:
    """An instance that looks as the recorded one did, else None."""
    if cls.__name__ != failure.error:
        return None
    try:
        error = cls(*args)
        looks_equal = (safe(str(error)), safe(repr(error))) == (failure.text, failure.repr)
    except Exception:  # the user's own constructor; ToolFailed with the same text is the answer then
        return None
    return error if looks_equal else None


def mark(error: BaseException, address: Address | None) -> None:
    """Note on the exception which step it came from."""
    if address is not None and hasattr(error, "__dict__"):
        error.__dict__[ADDRESS] = address


def causes(error: BaseException) -> list[Address]:
    """The steps whose failure this exception is: itself, what it was raised from, or the members of its group.

    The implicit `__context__` is not followed: a failure that the agent handled did not end the run.
    """
    found = _address_of(error)
    if found is not None:
        return [found]
    if isinstance(error, BaseExceptionGroup):
        return list(dict.fromkeys(address for member in error.exceptions for address in causes(member)))
    return causes(error.__cause__) if error.__cause__ is not None else []


def _address_of(error: BaseException) -> Address | None:
    found = getattr(error, "__dict__", {}).get(ADDRESS)
    if found is None:
        extensions = getattr(getattr(error, "response", None), "extensions", None)
        found = extensions.get(ADDRESS) if isinstance(extensions, dict) else None
    return found if isinstance(found, Address) else None


def is_stronger(inner: Effect, outer: Effect) -> bool:
    """Whether a step of this effect may not be made inside one of the other."""
    return inner.strength > outer.strength
