"""A response as it is recorded, what is made of the record again, and what an answer that failed calls for.

Invariants
1. The record holds the status, the body bit for bit, and the headers of `KEPT`: never a cookie or a credential.
2. What the caller gets is made of the record alone, live and on replay.
3. A class is never looked up by a recorded name other than one of `ERRORS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from holdfast.core.events import Address, Effect, Event, Kind
from holdfast.core.failure import BILLING_CODES, Facts, Failure, FailureKind, classify
from holdfast.core.retry_after import retry_after_s
from holdfast.errors import Unencodable
from holdfast.journal.codec import decode, encode
from holdfast.journal.tags import SIZE_MAX
from holdfast.models.call import Answered, Provider
from holdfast.models.mask import Masks
from holdfast.runtime.facts import facts_of, safe

KEPT = (
    "apim-request-id",
    "content-type",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "x-should-retry",
)
KEPT_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
SHOULD_RETRY = "x-should-retry"
_RECORDED = {"status", "headers", "body"}

ERRORS = frozenset(
    {
        "CloseError",
        "ConnectError",
        "ConnectTimeout",
        "DecodingError",
        "LocalProtocolError",
        "NetworkError",
        "PoolTimeout",
        "ProtocolError",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "TimeoutException",
        "TooManyRedirects",
        "TransportError",
        "UnsupportedProtocol",
        "WriteError",
        "WriteTimeout",
    }
)
"""What a call that ended without an answer may raise; both HTTP packages have them all."""
_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
_HOPELESS = frozenset({"UnsupportedProtocol", "LocalProtocolError"})


class Reply(NamedTuple):
    """A response, whichever package's."""

    status: int
    headers: dict[str, str]
    body: bytes
    address: Address | None = None
    is_failed: bool = False


class Broken(NamedTuple):
    """No response, or no whole one: an error of the HTTP package to raise."""

    error: str
    """Name of its class, one of `ERRORS`."""
    text: str
    address: Address | None = None
    reply: Reply | None = None
    """What had come of a stream before it."""


# --- the record ------------------------------------------------------------------------------------------------


def recorded(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The response in the codec's bytes; `Unencodable` when it is too large."""
    return encode({"status": status, "headers": kept_of(headers), "body": _plain(body)})


def recorded_part(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The same of an answer that did not come to its end; of one that is too large, so much as can be kept."""
    try:
        return recorded(status, headers, body)
    except Unencodable:  # a byte is at most six in the codec's text
        return recorded(status, headers, body[: SIZE_MAX // 8])


def kept_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are kept."""
    return {
        name: value.encode("ascii", "replace").decode()
        for name, value in headers.items()
        if name in KEPT or name.startswith(KEPT_PREFIXES)
    }


def _plain(content: bytes) -> str | bytes:
    """As text where that is the same, else as it is."""
    try:
        return content.decode() if b"\x00" not in content else content
    except UnicodeDecodeError:
        return content


def said(recorded_body: bytes | None) -> str:
    """What a recorded response says, without its times and generated ids: equal for equal answers."""
    reply = decode(recorded_body) if recorded_body is not None else {}
    body = reply.get("body", "") if isinstance(reply, dict) else ""
    return Masks().all(body if isinstance(body, str) else body.decode("utf-8", "replace"))


def rebuilt(outcome: Event) -> Reply | Broken:
    """The response, or the error to raise, that this outcome of a model call stands for."""
    failure = Failure.from_facts(outcome.facts) if outcome.kind is Kind.STEP_FAILED else None
    reply = None if outcome.body is None else _reply(decode(outcome.body), outcome.address, failure is not None)
    if failure is not None and (reply is None or failure.status is None):
        known = failure.error in ERRORS
        text = failure.text if known else f"{failure.error}: {failure.text}"
        return Broken(failure.error if known else "TransportError", text, outcome.address, reply)
    return reply or Reply(200, {}, b"", outcome.address)


def _reply(kept: Any, address: Address | None, is_failed: bool) -> Reply:
    if not isinstance(kept, dict) or kept.keys() != _RECORDED:  # a person gave it, see `misfit`
        return Reply(200, {"content-type": "application/json"}, _json(kept), address)
    body = kept["body"]
    headers = kept["headers"] | ({SHOULD_RETRY: "false"} if is_failed else {})
    return Reply(kept["status"], headers, body.encode() if isinstance(body, str) else body, address, is_failed)


async def misfit(body: bytes | None, provider: Provider, *, is_stream: bool) -> str:
    """Why what a person gave as the answer of a call in doubt cannot be it; empty when it can."""
    if is_stream:
        return "the answer was asked for as a stream, which cannot be entered. Choose another answer"
    answered = None if body is None else provider.answered(200, _json(decode(body)))
    if answered is not None and answered.is_object and not answered.error and (answered.served or answered.stop_reason):
        return ""
    return f"it is no answer of this API ({provider.NAME}). Give its JSON object, with the model that answered"


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


# --- judgement -------------------------------------------------------------------------------------------------


def failure_of(answered: Answered, headers: Mapping[str, str], effect: Effect = Effect.READ) -> Failure | None:
    """What an answer that is no success calls for; None for a success.

    `x-should-retry` wins over the status; that no money is left wins over both.
    """
    status, says = answered.status, headers.get(SHOULD_RETRY)
    if 200 <= status < 300:
        return None if answered.is_object else _no_json(status, headers)
    text = safe(f"HTTP {status}: {answered.message or 'without a message'}", 1_000)
    facts = Facts(
        error=safe(answered.error, 100) or f"HTTP {status}",
        text=text,
        repr=text,
        status=status,
        code=answered.code,
        retry_after_s=answered.retry_after_s if (said := retry_after_s(headers)) is None else said,
    )
    failure = classify(facts, effect, is_one_request=True)
    if says == "false" and failure.kind.is_retryable:
        return replace(failure, kind=FailureKind.PERMANENT, because=f"{failure.because}, x-should-retry: false")
    has_no_money = status == 402 or answered.code in BILLING_CODES
    if says == "true" and not failure.kind.is_retryable and not has_no_money:
        return replace(failure, kind=FailureKind.TRANSIENT, because=f"{failure.because}, x-should-retry: true")
    return failure


def _no_json(status: int, headers: Mapping[str, str]) -> Failure:
    kind = safe(headers.get("content-type", "no content type"), 100)
    text = f"the answer is none of this API: HTTP {status}, {kind}; is the base URL right, or a proxy in the way?"
    return Failure(FailureKind.INVALID, "DecodingError", text, text, because="the answer is no JSON")


def failure_without(error: Exception, effect: Effect = Effect.READ) -> Failure:
    """What a call that ended without an answer calls for."""
    failure = classify(facts_of(error), effect)
    failure = replace(failure, status=None)  # what a response would have; there is none
    if is_unsent(error):
        failure = replace(failure, is_definite=True)
    if failure.error in _HOPELESS:
        return replace(failure, kind=FailureKind.PERMANENT, because=f"{failure.error} does not go away by itself")
    return failure


def broke_off(error: str, text: str) -> Failure:
    """What a stream that ended before its end calls for: the reader has had part of it."""
    return Failure(FailureKind.TRANSIENT, error, text, text, because=f"{error} in the middle of the answer")


def is_unsent(error: Exception) -> bool:
    """Whether it is certain that no byte of the request left: it cost nothing."""
    return type(error).__name__ in _UNSENT
