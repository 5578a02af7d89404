"""A response as it is recorded, what is made of the record again, and what an answer that failed calls for.

Invariants
1. The record holds the status, the body bit for bit, and the headers of `KEPT`: never a cookie or a credential.
2. What the caller gets is made of the record alone, live and on replay.
3. A class is never looked up by a recorded name other than in `ERRORS`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2

from holdfast.core.events import Effect, Event, Kind
from holdfast.core.failure import BILLING_CODES, Facts, Failure, FailureKind, classify
from holdfast.core.retry_after import retry_after_s
from holdfast.journal.codec import decode, encode
from holdfast.models.call import Answered
from holdfast.runtime.facts import ADDRESS, facts_of, mark, safe

KEPT = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry")
KEPT_PREFIX = "anthropic-ratelimit-"
SHOULD_RETRY = "x-should-retry"

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
ERRORS = {
    cls.__name__: cls
    for cls in (
        httpx2.CloseError,
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.DecodingError,
        httpx2.LocalProtocolError,
        httpx2.NetworkError,
        httpx2.PoolTimeout,
        httpx2.ProtocolError,
        httpx2.ProxyError,
        httpx2.ReadError,
        httpx2.ReadTimeout,
        httpx2.RemoteProtocolError,
        httpx2.TimeoutException,
        httpx2.TooManyRedirects,
        httpx2.TransportError,
        httpx2.UnsupportedProtocol,
        httpx2.WriteError,
        httpx2.WriteTimeout,
    )
}
"""What a call that ended without an answer may raise."""


# --- the record ------------------------------------------------------------------------------------------------


def recorded(response: httpx2.Response, status: int) -> bytes:
    """The response in the codec's bytes; `Unencodable` when it is too large."""
    headers = {
        name: value.encode("ascii", "replace").decode()
        for name, value in response.headers.items()
        if name in KEPT or name.startswith(KEPT_PREFIX)
    }
    return encode({"status": status, "headers": headers, "body": _plain(response.content)})


def _plain(content: bytes) -> str | bytes:
    """As text where that is the same, else as it is."""
    try:
        return content.decode() if b"\x00" not in content else content
    except UnicodeDecodeError:
        return content


def rebuilt(outcome: Event, request: httpx2.Request) -> httpx2.Response | httpx2.RequestError:
    """The response, or the error to raise, that this outcome of a model call stands for.

    A failed one names its step, and asks the SDK not to try again: that was done.
    """
    failure = Failure.from_facts(outcome.facts) if outcome.kind is Kind.STEP_FAILED else None
    if failure is not None and (failure.status is None or outcome.body is None):
        cls = ERRORS.get(failure.error, httpx2.TransportError)
        text = failure.text if failure.error in ERRORS else f"{failure.error}: {failure.text}"
        error = cls(text, request=request)
        mark(error, outcome.address)
        return error
    kept: dict[str, Any] = decode(outcome.body or b"{}")
    body, is_failed = kept["body"], failure is not None
    response = httpx2.Response(
        kept["status"],
        headers=kept["headers"] | ({SHOULD_RETRY: "false"} if is_failed else {}),
        content=body.encode() if isinstance(body, str) else body,
        request=request,
        extensions={ADDRESS: outcome.address} if is_failed else {},
    )
    response.elapsed = timedelta(0)
    return response


# --- judgement -------------------------------------------------------------------------------------------------


def failure_of(answered: Answered, headers: httpx2.Headers) -> Failure | None:
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
        retry_after_s=retry_after_s(headers),
    )
    failure = classify(facts, Effect.READ)
    if says == "false" and failure.kind.is_retryable:
        return replace(failure, kind=FailureKind.PERMANENT, because=f"{failure.because}, x-should-retry: false")
    has_no_money = status == 402 or answered.code in BILLING_CODES
    if says == "true" and not failure.kind.is_retryable and not has_no_money:
        return replace(failure, kind=FailureKind.TRANSIENT, because=f"{failure.because}, x-should-retry: true")
    return failure


def _no_json(status: int, headers: httpx2.Headers) -> Failure:
    kind = safe(headers.get("content-type", "no content type"), 100)
    text = f"the answer is no JSON object: HTTP {status}, {kind}; is the base URL right, or a proxy in the way?"
    return Failure(FailureKind.INVALID, "DecodingError", text, text, because="the answer is no JSON")


def failure_without(error: Exception) -> Failure:
    """What a call that ended without an answer calls for."""
    failure = classify(facts_of(error), Effect.READ)
    failure = replace(failure, status=None)  # what a response would have; there is none
    if isinstance(error, _HOPELESS):
        return replace(failure, kind=FailureKind.PERMANENT, because=f"{failure.error} does not go away by itself")
    return failure


def is_unsent(error: Exception) -> bool:
    """Whether it is certain that no byte of the request left: it cost nothing."""
    return isinstance(error, _UNSENT)
