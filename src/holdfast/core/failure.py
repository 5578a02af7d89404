"""Failures as data: what went wrong, and whether the world may have changed.

The runtime reads the facts off an exception (`Facts`); this module says what they mean. For a `read` or a model
call an exception is an outcome. For an `idempotent` or `once` effect every exception after the intent is
*unknown* unless something makes it definite: the tool said so (`NotDone`, `definite=`), or it declared that its
body sends one request and a table of that request's outcomes says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from holdfast.core.events import Effect


class FailureKind(StrEnum):
    """What a failure calls for."""

    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    PERMANENT = "permanent"
    UNAUTHORISED = "unauthorised"
    INVALID = "invalid"
    REFUSED = "refused"
    """Nothing was begun: an operator, a breaker or a guard said no. Or the other side answered that it did not."""
    INVALID_OUTPUT = "invalid_output"
    """It answered, and what it gave is not what it declares, or did not pass its check."""
    INTERRUPTED = "interrupted"
    """The process ended, or a person's answer says no more than that it failed."""

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may do better later."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {FailureKind.TRANSIENT, FailureKind.RATE_LIMITED, FailureKind.INTERRUPTED, FailureKind.INVALID_OUTPUT}
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the runtime read off an exception or a response; no judgement."""

    error: str
    """Class name."""
    text: str
    repr: str
    ancestors: tuple[str, ...] = ()
    """Names of the class and of its bases."""
    status: int | None = None
    """HTTP status, where there was a response."""
    code: str = ""
    """The provider's own error code, where it sent one."""
    retry_after_s: float | None = None
    is_unsent: bool = False
    """The connection was refused before a byte was sent."""
    is_not_done: bool = False
    """The tool raised `NotDone`."""
    is_declared: bool = False
    """The class stands in the tool's `definite=`."""
    raised: int | None = None
    """Index of the class in the tool's `raises=`."""
    is_answer: bool = False
    """Nothing was raised: the result itself says that it failed."""
    kind: str = ""
    """What the tool's own predicate calls it; empty when it was not asked, or could not say."""
    remark: str = ""
    """Why the predicate could not say."""


FINE: Final = "ok"
"""What a table or a predicate calls what looks like a failure and is none."""
NOT_OK: Final = "ok_false"
"""Code of a result that says `{"ok": false}`."""
IS_ERROR: Final = "is_error"
"""Code of a result whose `isError` is true, as the Model Context Protocol has it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt or step, as it is written to the journal."""

    kind: FailureKind
    error: str
    text: str
    repr: str
    is_definite: bool = True
    """False: the effect may have happened."""
    status: int | None = None
    retry_after_s: float | None = None
    raised: int | None = None
    because: str = ""
    """The rule that decided the kind."""
    code: str = ""
    """The provider's own error code, where it sent one."""

    def facts(self) -> dict[str, Any]:
        """For an event's meta; `from_facts` reads it back."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @staticmethod
    def from_facts(facts: dict[str, Any]) -> Failure:
        """The failure in an event's meta; names it does not know are ignored."""
        known = {name: facts[name] for name in Failure.__dataclass_fields__ if name in facts}
        known["kind"] = FailureKind(known["kind"])
        return Failure(**{"text": "", "repr": "", **known})


ONE_REQUEST: Final = "one_request"
"""For `definite=`: the tool's body sends one HTTP request, so that request's status says what happened."""

_PERMANENT_ERRORS = frozenset(
    {
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "FileNotFoundError",
        "ImportError",
        "IsADirectoryError",
        "LookupError",
        "NameError",
        "NotADirectoryError",
        "NotImplementedError",
        "PermissionError",
        "TypeError",
        "UsageError",
        "ValueError",
    }
)
_RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limited", "ratelimited", "too_many_requests"})
_NOT_DEFINITE_4XX = frozenset({408, 409, 425})
_RETRYABLE_4XX = frozenset({408, 409, 425})
BILLING_CODES = frozenset(
    {
        "BILLING_DISABLED",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "enforced_spend_limit_reached",
        "insufficient_quota",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
"""Provider codes that mean "no money", whatever the status; waiting does not help."""
OVERLOAD_CODES = frozenset({"overloaded_error", "server_is_overloaded", "slow_down"})
"""Provider codes that mean that it has too much to do, for everybody: another model may have less."""
_OVERLOADED_STATUS = 529


def is_overloaded(status: int | None, code: str) -> bool:
    """Whether the provider says that it has too much to do, so that a fallback should be asked early."""
    return status == _OVERLOADED_STATUS or code in OVERLOAD_CODES


def named_in(facts: Facts, table: Mapping[str, str]) -> tuple[str, str] | None:
    """What a table of `classify` calls this, and the entry that says so: by code, class, then status."""
    status = "" if facts.status is None else str(facts.status)
    for name in (facts.code, facts.error, *facts.ancestors, status):
        if name and name in table:
            return table[name], name
    return None


def kind_of(facts: Facts, table: Mapping[str, str] | None = None) -> tuple[FailureKind, str]:
    """The kind of a failure and the rule that says so: the tool's table, its predicate, then what holds for all."""
    found = named_in(facts, table) if table else None
    if found is not None and found[0] != FINE:
        return FailureKind(found[0]), f"classify: {found[1]} is {found[0]}"
    if facts.kind:
        return FailureKind(facts.kind), f"classify: the tool calls it {facts.kind}"
    kind, because = _kind_of(facts)
    return kind, f"{because}; {facts.remark}" if facts.remark else because


def _kind_of(facts: Facts) -> tuple[FailureKind, str]:
    if facts.is_not_done:
        return FailureKind.PERMANENT, "the tool said that the effect did not happen"
    if facts.code in BILLING_CODES:
        return FailureKind.UNAUTHORISED, f"{facts.code}: the account has no money; waiting does not help"
    if facts.status is not None:
        kind, because = _kind_of_status(facts.status)
        return kind, f"{because}, overloaded" if is_overloaded(facts.status, facts.code) else because
    if facts.code in _RATE_CODES:
        return FailureKind.RATE_LIMITED, facts.code
    if facts.is_answer:
        return FailureKind.REFUSED, "its own answer says that it failed"
    permanent = _PERMANENT_ERRORS.intersection(facts.ancestors)
    if permanent and not {"ConnectionError", "TimeoutError"}.intersection(facts.ancestors):
        return FailureKind.PERMANENT, f"{facts.error} does not go away by itself"
    return FailureKind.TRANSIENT, f"{facts.error} may go away"


def _kind_of_status(status: int) -> tuple[FailureKind, str]:
    if status == 429:
        return FailureKind.RATE_LIMITED, "HTTP 429"
    if status in (401, 402, 403):
        return FailureKind.UNAUTHORISED, f"HTTP {status}"
    if status >= 500 or status in _RETRYABLE_4XX:
        return FailureKind.TRANSIENT, f"HTTP {status}"
    if status in (400, 413, 422):
        return FailureKind.INVALID, f"HTTP {status}"
    return FailureKind.PERMANENT, f"HTTP {status}"


def is_definite(facts: Facts, *, is_one_request: bool) -> bool:
    """Whether it is certain that the effect did not happen."""
    if facts.is_not_done or facts.is_declared:
        return True
    if not is_one_request:
        return False
    if facts.is_answer:  # its one request was answered, with a no
        return True
    if facts.status is None:
        return facts.is_unsent
    return 400 <= facts.status < 500 and facts.status not in _NOT_DEFINITE_4XX


def classify(
    facts: Facts, effect: Effect, *, is_one_request: bool = False, table: Mapping[str, str] | None = None
) -> Failure:
    """The failure that `facts` of an attempt with this effect amount to. table: `Policy.classify`."""
    kind, because = kind_of(facts, table)
    return Failure(
        kind=kind,
        error=facts.error,
        text=facts.text,
        repr=facts.repr,
        is_definite=not effect.is_write or is_definite(facts, is_one_request=is_one_request),
        status=facts.status,
        retry_after_s=facts.retry_after_s,
        raised=facts.raised,
        because=because,
        code=facts.code,
    )


def unfit(error: str, text: str, because: str, effect: Effect) -> Failure:
    """The failure of a result that must not be used. The effect of a write has probably happened: nobody knows."""
    kind = FailureKind.INVALID_OUTPUT
    return Failure(kind, error, text, text, is_definite=not effect.is_write, because=because)
