"""What the body of an error says, in every form in which providers and the servers between send one. Pure.

https://platform.claude.com/docs/en/api/errors · https://platform.openai.com/docs/guides/error-codes ·
https://ai.google.dev/gemini-api/docs/troubleshooting. The judgement is `core.failure`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from holdfast.core.failure import BILLING_CODES
from holdfast.models.call import Answered
from holdfast.models.field import members, rows, text

STATUS: Mapping[str, int] = {
    # Anthropic
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # OpenAI, and servers that speak like it
    "BadRequestError": 400,
    "context_length_exceeded": 400,
    "invalid_image": 400,
    "invalid_prompt": 400,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "NotFoundError": 404,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "slow_down": 429,
    "tokens": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    # Google (https://cloud.google.com/apis/design/errors)
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The status that each type or code of error comes with; used where it comes with a 2xx, as within a stream."""
SAID = {"credits are depleted": "credit_balance_exhausted"}
"""Where only the text says that there is no money: Google's 429 of an empty prepaid account has no code of its own."""
MESSAGE_MAX = 4_000
_DELAY = re.compile(r"(\d{1,7}(?:\.\d{1,9})?)s")


def fault(status: int, body: Mapping[str, Any]) -> Answered | None:
    """The answer that this body makes if it is one of an error; None when it is none."""
    error = body.get("error")
    if isinstance(error, dict):
        return _told(status, error)
    if isinstance(error, str):  # Ollama
        return _told(status, {"message": error})
    if status >= 300 or body.get("object") == "error":  # vLLM, AWS, a gateway's own
        return _told(status, body)
    return None


def _told(status: int, error: Mapping[str, Any]) -> Answered:
    details = error.get("details")
    named = [error.get("code"), error.get("status"), error.get("type"), members(details).get("error_code")]
    named += [row.get("reason") for row in rows(details)]
    message = text(error.get("message") or error.get("detail"), MESSAGE_MAX)
    codes = [code for code in map(text, named) if code]
    codes += [code for words, code in SAID.items() if words in message]
    kind = text(error.get("type")) or text(error.get("status")) or (codes[0] if codes else "")
    return Answered(
        status if status >= 300 else _meant(error.get("code"), codes),
        is_object=True,
        error=kind or ("error" if "message" in error or not error else ""),
        code=next((code for code in codes if code in BILLING_CODES), codes[0] if codes else ""),
        message=message,
        retry_after_s=_retry_delay_s(details),
    )


def _meant(code: Any, codes: list[str]) -> int:
    """The status of an error that came with a 2xx: a code that is one, else by the first name that is known."""
    number = int(code) if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code) else code
    if type(number) is int and 400 <= number < 600:
        return number
    return next((STATUS[known] for known in codes if known in STATUS), 500)


def _retry_delay_s(details: Any) -> float | None:
    """Google says in the body how long to wait: `google.rpc.RetryInfo`."""
    given = [_DELAY.fullmatch(text(row.get("retryDelay"))) for row in rows(details)]
    return next((float(found[1]) for found in given if found), None)
