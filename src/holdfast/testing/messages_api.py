"""The Anthropic Messages API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. The makers of replies stand in `policy` and can be imported
from here, too.

Never: does I/O, reads a clock, looks into images, documents or thinking, or keeps state.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from holdfast.testing.dialect import (
    TOOL_NAME,
    Tokens,
    Turn,
    Wrong,
    counted,
    is_count,
    is_text,
    minted,
    refused,
    repeats,
    slices,
    sse,
)
from holdfast.testing.loopback import Answer, Call, Pieces
from holdfast.testing.policy import (
    Called,
    Part,
    Policy,
    Reply,
    Request,
    Result,
    Said,
    Script,
    arguments_text,
    arguments_value,
    error,
    named,
    script,
    text,
    tool_use,
    tool_uses,
)

__all__ = [
    "ERROR_TYPES",
    "NAME",
    "Policy",
    "Reply",
    "Request",
    "Script",
    "error",
    "error_event",
    "is_stream",
    "refusal",
    "render",
    "request",
    "script",
    "serves",
    "text",
    "tool_use",
    "tool_uses",
]

NAME = "messages"
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""https://platform.claude.com/docs/en/api/errors; any other status is `api_error`."""
SPENT = {"error_code": "enforced_spend_limit_reached"}


def serves(call: Call) -> bool:
    """Whether this is a path of the API, or of something beside it that is not here."""
    return call.path.startswith(("/v1/messages", "/v1/complete"))


def is_stream(call: Call, body: Any) -> bool:
    """Whether a stream is asked for."""
    return isinstance(body, dict) and body.get("stream") is True


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    body = turn.body
    return Request(
        n=turn.n,
        model=body["model"],
        system=body.get("system"),
        messages=body["messages"],
        tools=body.get("tools") or [],
        max_tokens=body["max_tokens"],
        headers=turn.call.headers,
        body=body,
        api=NAME,
        stream=is_stream(turn.call, body),
        parts=named([part for message in body["messages"] for part in _parts(message)]),
        tool_names=tuple(tool["name"] for tool in body.get("tools") or []),
    )


def _parts(message: Mapping[str, Any]) -> Iterator[Part]:
    by: Any = {"user": "user", "assistant": "model"}[message["role"]]
    if isinstance(message["content"], str):
        yield Said(by, message["content"])
    for block in _blocks(message):
        match block:
            case {"type": "text", "text": said}:
                yield Said(by, said)
            case {"type": "tool_use", "id": id, "name": name, "input": input}:
                yield Called(name, input, id)
            case {"type": "tool_result", "tool_use_id": id}:
                yield Result("", _text_of(block.get("content")), bool(block.get("is_error")), id)
            case _:
                pass


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


# --- what it answers ---------------------------------------------------------------------------------------------


def render(reply: Reply, turn: Turn) -> Answer | Pieces:
    """`reply` on the wire; generated ids come from the turn's seed."""
    headers = {"request-id": _request_id(turn), **reply.headers}
    if reply.status != 200:
        if (wait := reply.error.get("retry_after_s")) is not None:
            headers = {"retry-after": f"{wait:g}", **headers}
        return Answer(reply.status, _failed(reply, turn), headers)
    asked = [turn.body.get(part) for part in ("system", "messages", "tools")]
    message = _message(reply, turn, counted(reply, asked))
    if not is_stream(turn.call, turn.body):
        return Answer(200, message, headers)
    return Pieces(200, list(_events(message, reply)), {"content-type": "text/event-stream; charset=utf-8", **headers})


def error_event(reply: Reply, turn: Turn, index: int) -> bytes:
    """The error as an event of a stream."""
    return sse(_failed(reply, turn), "error")


def _failed(reply: Reply, turn: Turn) -> dict[str, Any]:
    told = {"type": ERROR_TYPES.get(reply.status, "api_error"), "message": reply.error["message"]}
    told |= {name: reply.error[name] for name in ("type", "details") if name in reply.error}
    if reply.error.get("billing"):
        told = {"details": SPENT} | told
    return {"type": "error", "error": told, "request_id": _request_id(turn)}


def _request_id(turn: Turn) -> str:
    return f"req_{turn.n:024d}"


def _message(reply: Reply, turn: Turn, used: Tokens | None) -> dict[str, Any]:
    message = {
        "id": minted("msg_", turn.seed),
        "type": "message",
        "role": "assistant",
        "model": turn.body["model"],
        "content": [_block(block, f"{turn.seed}:{index}") for index, block in enumerate(reply.content)],
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
    }
    return message | ({"usage": _usage(used)} if used else {})


def _block(block: dict[str, Any], seed: str) -> dict[str, Any]:
    if block["type"] != "tool_use":
        return block
    return block | {"id": block["id"] or minted("toolu_", seed), "input": arguments_value(block["input"])}


def _usage(used: Tokens) -> dict[str, Any]:
    cached = {"cache_read_input_tokens": used.cache_read, "cache_creation_input_tokens": used.cache_write}
    thought = {"output_tokens_details": {"thinking_tokens": used.reasoning}} if used.reasoning else {}
    told = {"input_tokens": used.input, "output_tokens": used.output} | {k: v for k, v in cached.items() if v}
    return {**told, **thought, **used.more}


def _events(message: dict[str, Any], reply: Reply) -> Iterator[bytes]:
    usage = {"usage": message["usage"]} if "usage" in message else {}
    begun = {name: usage[name] | {"output_tokens": 1} for name in usage}
    start = message | {"content": [], "stop_reason": None} | begun
    yield sse({"type": "message_start", "message": start}, "message_start")
    for index, (block, said) in enumerate(zip(message["content"], reply.content, strict=True)):
        empty = {"text": {"text": ""}, "tool_use": {"input": {}}}.get(block["type"], {})
        yield sse(
            {"type": "content_block_start", "index": index, "content_block": block | empty}, "content_block_start"
        )
        if index == 0:
            yield sse({"type": "ping"}, "ping")
        for delta in _deltas(said):
            yield sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
        yield sse({"type": "content_block_stop", "index": index}, "content_block_stop")
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield sse({"type": "message_delta", "delta": stop, **usage}, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    match block["type"]:
        case "text":
            yield from ({"type": "text_delta", "text": part} for part in slices(block["text"]))
        case "tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            written = slices(arguments_text(block["input"]))
            yield from ({"type": "input_json_delta", "partial_json": part} for part in written)
        case _:
            pass  # whole in its first event


# --- what it refuses ---------------------------------------------------------------------------------------------


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    if call.path != "/v1/messages":
        return error(404, message="Not Found")
    if call.method != "POST":
        return error(405, "invalid_request_error", "Method Not Allowed", headers={"allow": "POST"})
    bearer = call.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not (call.headers.get("x-api-key", "").strip() or bearer):
        return error(401, message="x-api-key header is required")
    if not call.headers.get("anthropic-version", "").strip():
        return error(400, message="anthropic-version: header is required")
    try:
        body = call.json()
    except ValueError as wrong:
        return error(400, message=f"The request body is not valid JSON: {wrong}")
    return refused(Wrong(message) for message in _violations(body))


def _violations(body: Any) -> Iterator[str]:
    # Only the first is ever taken: each check may rely on all before it.
    if not isinstance(body, dict):
        yield "The request body must be a JSON object"
        return
    yield from (f"{name}: Field required" for name in ("model", "max_tokens", "messages") if name not in body)
    if not is_text(body["model"]):
        yield "model: Input should be a valid, non-empty string"
    if not is_count(body["max_tokens"]):
        yield "max_tokens: Input should be an integer greater than or equal to 1"
    if not isinstance(body.get("stream", False), bool):
        yield "stream: Input should be a valid boolean"
    yield from _tool_violations(body)
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
        return
    for index, message in enumerate(messages):
        yield from _message_violations(f"messages.{index}", message, final=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    yield from _pairing_violations(messages)


def _tool_violations(body: Mapping[str, Any]) -> Iterator[str]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        yield "tools: Input should be a valid list"
    for index, tool in enumerate(tools or []):
        if not isinstance(tool, dict) or not TOOL_NAME.fullmatch(str(tool.get("name", ""))):
            yield f"tools.{index}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        elif tool.get("type", "custom") == "custom" and not isinstance(tool.get("input_schema"), dict):
            yield f"tools.{index}.input_schema: Field required"
    names = [tool["name"] for tool in tools or []]
    if twice := repeats(names):
        yield f"tools: Tool names must be unique; repeated: {', '.join(twice)}"
    if choice is None:
        return
    if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
        yield "tool_choice: Input should have a `type` of 'auto', 'any', 'tool' or 'none'"
    elif not names:
        yield "tool_choice: may only be specified while providing tools"
    elif choice["type"] == "tool" and choice.get("name") not in names:
        yield f"tool_choice: Tool {choice.get('name')!r} not found in provided tools"


def _message_violations(at: str, message: Any, *, final: bool) -> Iterator[str]:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        yield f"{at}.role: Input should be 'user' or 'assistant'"
        return
    content = message.get("content")
    if not isinstance(content, str | list):
        yield f"{at}.content: Input should be a string or a list of content blocks"
    elif not content and not (final and message["role"] == "assistant"):
        yield f"{at}: all messages must have non-empty content except for the optional final assistant message"
    for index, block in enumerate(_blocks(message)):
        yield from _block_violations(f"{at}.content.{index}", message["role"], block)


def _block_violations(at: str, role: str, block: Any) -> Iterator[str]:
    match block:
        case {"type": "text", "text": str(said)}:
            if not said:
                yield f"{at}: text content blocks must be non-empty"
        case {"type": "tool_use", "id": str(id), "name": str(), "input": dict()} if role == "assistant":
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", id):
                yield f"{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        case {"type": "tool_result", "tool_use_id": str()} if role == "user":
            pass
        case {"type": "text" | "tool_use" | "tool_result" as kind}:
            yield f"{at}: `{kind}` block is malformed or does not belong in a message of role {role}"
        case {"type": str()}:
            pass  # images, documents, thinking: not looked into
        case _:
            yield f"{at}.type: Field required"


def _pairing_violations(messages: list[dict[str, Any]]) -> Iterator[str]:
    used: set[str] = set()
    expected: list[str] = []
    for index, message in enumerate(messages):
        yield from _result_violations(index, expected, _blocks(message))
        expected = [block["id"] for block in _blocks(message) if block["type"] == "tool_use"]
        if len(used | set(expected)) < len(used) + len(expected):
            yield f"messages.{index}.content: `tool_use` ids must be unique"
        used |= set(expected)
    if expected:
        yield _unanswered(len(messages) - 1, expected)


def _result_violations(index: int, expected: list[str], blocks: list[Any]) -> Iterator[str]:
    leading = takewhile(lambda block: block["type"] == "tool_result", blocks)  # text before a result is refused
    given = [block["tool_use_id"] for block in leading]
    if missing := [id for id in expected if id not in given]:
        yield _unanswered(index - 1, missing)
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if orphans := [id for id in results if id not in expected]:
        yield (
            f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
            f"{', '.join(orphans)}. Each `tool_result` block must have a corresponding `tool_use` block in the "
            "previous message."
        )
    if len(set(results)) < len(results):
        yield f"messages.{index}.content: each `tool_use` must have a single result"


def _unanswered(index: int, ids: list[str]) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
        "message."
    )


def _blocks(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []
