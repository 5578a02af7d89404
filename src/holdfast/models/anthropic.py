"""The Anthropic Messages API: what a request asks for at most, and what a response says.

https://platform.claude.com/docs/en/api/messages and …/api/errors. Pure; it reads bytes and never raises.

The bound of the input is one token for each byte of the request, plus a provider's own prompt for tools. It holds
for everything that the request carries. It does not hold for what a request only names (an image or a document by
URL or file id, a search that the provider makes by itself); such a call can settle above its reservation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from holdfast.core.failure import BILLING_CODES
from holdfast.models.call import Answered, Asked, Usage

NAME = "anthropic messages"
STEP = "messages"

TOOL_PROMPT_TOKENS = 1_000
"""For any tools, and once more for each that the provider defines: the documented prompts have 200 to 800."""
TOKENS_MAX = 100_000_000
"""A count above this is taken for nonsense; the largest context has a million."""
ERROR_STATUS = {
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
}
"""The status that each type of error comes with; used where a gateway sends it with a 2xx."""


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """A message is asked for, at whatever host."""
    return method == "POST" and path.endswith("/v1/messages") and "anthropic-version" in headers


def asked(raw: bytes) -> Asked | None:
    """See `Provider`."""
    body = _object(raw)
    if body is None:
        return None
    model, messages = body.get("model"), body.get("messages")
    model = model if isinstance(model, str) else ""
    return Asked(
        body=body,
        model=model,
        input_max=len(raw) + _tool_prompts(body.get("tools")),
        output_max=_count(body.get("max_tokens")) or 0,
        keeps_long=b'"1h"' in raw,
        is_stream=bool(body.get("stream")),
        shown=f"{model}, {len(messages) if isinstance(messages, list) else 0} messages",
    )


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    body = _object(raw)
    if body is None:
        return Answered(status, is_object=False)
    error = body.get("error")
    if isinstance(error, dict):
        kind = _text(error.get("type"))
        meant = status if status >= 300 else ERROR_STATUS.get(kind, 500)
        return Answered(meant, True, error=kind or "error", code=_code(error), message=_text(error.get("message")))
    return Answered(
        status,
        is_object=True,
        served=_text(body.get("model")),
        stop_reason=_text(body.get("stop_reason")),
        usage=_usage(body.get("usage")),
    )


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    """A number of tokens, None when it is absent or makes no sense."""
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _tool_prompts(tools: Any) -> int:
    if not isinstance(tools, list) or not tools:
        return 0
    theirs = sum(1 for tool in tools if not (isinstance(tool, dict) and "input_schema" in tool))
    return TOOL_PROMPT_TOKENS * (1 + theirs)


def _code(error: dict[str, Any]) -> str:
    """The code that says that no money is left, if one does; otherwise the type of the error."""
    details = error.get("details")
    named = details.get("error_code") if isinstance(details, dict) else None
    codes = [_text(named), _text(error.get("code")), _text(error.get("type"))]
    return next((code for code in codes if code in BILLING_CODES), codes[-1])


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    given = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    cached = [_count(usage.get(f"cache_{what}_input_tokens") or 0) for what in ("read", "creation")]
    input, output, cache_read, cache_write = *given, *cached
    if input is None or output is None or cache_read is None or cache_write is None:
        return None
    by_time = usage.get("cache_creation")
    long = _count(by_time.get("ephemeral_1h_input_tokens")) if isinstance(by_time, dict) else None
    return Usage(input, output, cache_read, cache_write, min(long or 0, cache_write))
