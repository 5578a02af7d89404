"""The whole table of model errors: what the provider sent, through its parser, to what it calls for.

A row that is wrong costs money: an empty account that is asked again and again, or an answer that one more try
would have brought.
"""

import json
from typing import Any, NamedTuple

import pytest

from holdfast.core.events import Effect
from holdfast.core.failure import Facts, Failure, FailureKind, classify, is_overloaded
from holdfast.models import anthropic, gemini, openai_chat, openai_embeddings, openai_responses
from holdfast.models.call import Answered, Provider

K = FailureKind


class Row(NamedTuple):
    """One row."""

    status: int
    body: Any
    kind: FailureKind
    overloaded: bool = False


def claude(kind: str, **more: Any) -> dict[str, Any]:
    """An error as Anthropic sends it."""
    return {"type": "error", "error": {"type": kind, "message": "m"} | more, "request_id": "req_1"}


def gpt(code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    """An error as OpenAI sends it."""
    return {"error": {"message": "m", "type": kind, "param": None, "code": code}}


def google(code: int, status: str, **more: Any) -> dict[str, Any]:
    """An error as Google sends it."""
    return {"error": {"code": code, "message": "m", "status": status} | more}


DEPLETED = "Your prepayment credits are depleted."
SPENT = {"error_code": "enforced_spend_limit_reached"}
ANTHROPIC = [
    Row(400, claude("invalid_request_error"), K.INVALID),
    Row(401, claude("authentication_error"), K.UNAUTHORISED),
    Row(402, claude("billing_error"), K.UNAUTHORISED),
    Row(403, claude("permission_error"), K.UNAUTHORISED),
    Row(404, claude("not_found_error"), K.PERMANENT),
    Row(409, claude("conflict_error"), K.TRANSIENT),
    Row(413, claude("request_too_large"), K.INVALID),
    Row(429, claude("rate_limit_error"), K.RATE_LIMITED),
    Row(429, claude("rate_limit_error", details=SPENT), K.UNAUTHORISED),
    Row(500, claude("api_error"), K.TRANSIENT),
    Row(504, claude("timeout_error"), K.TRANSIENT),
    Row(529, claude("overloaded_error"), K.TRANSIENT, overloaded=True),
]
BEDROCK = [
    Row(400, {"message": "m"}, K.INVALID),
    Row(403, {"message": "m"}, K.UNAUTHORISED),
    Row(429, {"message": "Too many requests"}, K.RATE_LIMITED),
    Row(503, {"message": "m"}, K.TRANSIENT),
]
OPENAI = [
    Row(400, gpt("context_length_exceeded"), K.INVALID),
    Row(400, gpt("billing_hard_limit_reached"), K.UNAUTHORISED),
    Row(401, gpt("invalid_api_key"), K.UNAUTHORISED),
    Row(403, gpt("unsupported_country_region_territory", "request_forbidden"), K.UNAUTHORISED),
    Row(404, gpt("model_not_found"), K.PERMANENT),
    Row(409, gpt(None, "conflict_error"), K.TRANSIENT),
    Row(422, gpt(None), K.INVALID),
    Row(429, gpt("rate_limit_exceeded", "requests"), K.RATE_LIMITED),
    Row(429, gpt("rate_limit_exceeded", "tokens"), K.RATE_LIMITED),
    Row(429, gpt("slow_down", "slow_down"), K.RATE_LIMITED, overloaded=True),
    Row(503, gpt("slow_down", "slow_down"), K.TRANSIENT, overloaded=True),
    Row(503, gpt("server_is_overloaded", "server_error"), K.TRANSIENT, overloaded=True),
    Row(429, gpt("insufficient_quota", "insufficient_quota"), K.UNAUTHORISED),
    Row(429, gpt(None, "insufficient_quota"), K.UNAUTHORISED),
    Row(429, gpt("credit_balance_exhausted", "insufficient_quota"), K.UNAUTHORISED),
    Row(429, gpt("organization_spend_limit_exceeded", "insufficient_quota"), K.UNAUTHORISED),
    Row(429, gpt("project_spend_limit_exceeded", "insufficient_quota"), K.UNAUTHORISED),
    Row(429, gpt("organization_usage_limit_exceeded", "insufficient_quota"), K.UNAUTHORISED),
    Row(500, gpt("server_error", "server_error"), K.TRANSIENT),
]
COMPATIBLE = [
    Row(404, {"error": "model 'x' not found"}, K.PERMANENT),  # Ollama
    Row(404, {"object": "error", "message": "m", "type": "NotFoundError", "code": 404}, K.PERMANENT),  # vLLM
    Row(400, {"error": {"message": "m", "type": "BadRequestError", "code": 400}}, K.INVALID),  # vLLM
    Row(429, {"error": {"code": "429", "message": "m"}}, K.RATE_LIMITED),  # Azure
    Row(401, {"error": {"code": "401", "message": "m"}}, K.UNAUTHORISED),  # Azure
    Row(422, {"detail": "m"}, K.INVALID),
]
GOOGLE = [
    Row(400, google(400, "INVALID_ARGUMENT"), K.INVALID),
    Row(400, google(400, "FAILED_PRECONDITION"), K.INVALID),
    Row(401, google(401, "UNAUTHENTICATED"), K.UNAUTHORISED),
    Row(403, google(403, "PERMISSION_DENIED"), K.UNAUTHORISED),
    Row(403, google(403, "PERMISSION_DENIED", details=[{"reason": "BILLING_DISABLED"}]), K.UNAUTHORISED),
    Row(404, google(404, "NOT_FOUND"), K.PERMANENT),
    Row(429, google(429, "RESOURCE_EXHAUSTED"), K.RATE_LIMITED),
    Row(429, google(429, "RESOURCE_EXHAUSTED", message=DEPLETED), K.UNAUTHORISED),
    Row(500, google(500, "INTERNAL"), K.TRANSIENT),
    Row(503, google(503, "UNAVAILABLE"), K.TRANSIENT),
    Row(504, google(504, "DEADLINE_EXCEEDED"), K.TRANSIENT),
]
TABLE: list[tuple[Provider, Row]] = [
    *((anthropic, row) for row in ANTHROPIC + BEDROCK),
    *((openai_chat, row) for row in OPENAI + COMPATIBLE),
    *((openai_responses, row) for row in OPENAI),
    *((openai_embeddings, row) for row in OPENAI + COMPATIBLE),
    *((gemini, row) for row in GOOGLE),
]
NAMED = [
    (provider, row)
    for provider, row in TABLE
    if provider is not openai_embeddings and row not in BEDROCK and "detail" not in row.body
]
"""Those whose body alone says what is wrong."""


def judged(answered: Answered) -> Failure:
    """What the failure calls for."""
    facts = Facts(
        error=answered.error,
        text=answered.message,
        repr="",
        status=answered.status,
        code=answered.code,
        retry_after_s=None,
    )
    return classify(facts, Effect.READ)


@pytest.mark.parametrize(("provider", "row"), TABLE)
def test_an_error_calls_for_what_the_table_says(provider: Provider, row: Row) -> None:
    """By its status and its code, and as long as a person can read why."""
    answered = provider.answered(row.status, json.dumps(row.body).encode())
    failure = judged(answered)
    assert (failure.kind, failure.kind.is_retryable) == (row.kind, row.kind in (K.TRANSIENT, K.RATE_LIMITED))
    assert is_overloaded(answered.status, answered.code) is row.overloaded
    assert ("overloaded" in failure.because) is row.overloaded
    assert answered.message in ("m", "model 'x' not found", "Too many requests", DEPLETED) and answered.is_object


@pytest.mark.parametrize(("provider", "row"), NAMED)
def test_the_same_error_within_a_stream_calls_for_the_same(provider: Provider, row: Row) -> None:
    """After HTTP 200 only its body tells; a code that no table knows is taken for a fault of the server."""
    raw = f"event: error\ndata: {json.dumps(row.body)}\n\n".encode()
    answered = provider.streamed(200, raw)
    assert (answered.is_complete, answered.usage) == (True, None)
    kind = judged(answered).kind
    assert kind.is_retryable is row.kind.is_retryable or (answered.status, kind) == (500, K.TRANSIENT)
    if row.kind is K.UNAUTHORISED and row.status in (402, 429):
        assert not kind.is_retryable, "a billing error was retried"


@pytest.mark.parametrize(("provider", "row"), NAMED)
def test_the_same_error_with_status_200_is_no_success(provider: Provider, row: Row) -> None:
    """A gateway sends it so."""
    assert provider.answered(200, json.dumps(row.body).encode()).status >= 400


@pytest.mark.parametrize("provider", [anthropic, openai_chat, openai_responses, openai_embeddings, gemini])
@pytest.mark.parametrize("raw", [b"<html>Bad Gateway</html>", b"", b"null", b"[]", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_none_of_the_providers_leaves_the_status(provider: Provider, raw: bytes) -> None:
    """It is the proxy's word, and it counts."""
    assert judged(provider.answered(502, raw)).kind is K.TRANSIENT
    assert judged(provider.streamed(403, raw)).kind is K.UNAUTHORISED
