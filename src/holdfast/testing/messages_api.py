"""The Anthropic Messages API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. `messages_rules` has what it refuses; the makers of replies
stand in `policy`, and can be imported from here, too. Amazon Bedrock's `/model/NAME/invoke` is served as well, without
streams, which are no text there.

Never: does I/O, reads a clock, looks into images, documents or thinking, or keeps state.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from holdfast.testing.dialect import (
    Tokens,
    Turn,
    counted,
    minted,
    slices,
    sse,
)
from holdfast.testing.loopback import Answer, Call, Pieces
from holdfast.testing.messages_rules import BEDROCK, refusal
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
BEDROCK_ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html"""
SPENT = {"error_code": "enforced_spend_limit_reached"}


def serves(call: Call) -> bool:
    """Whether this is a path of the API, or of something beside it that is not here."""
    return call.path.startswith(("/v1/messages", "/v1/complete")) or BEDROCK.fullmatch(call.path) is not None


def is_stream(call: Call, body: Any) -> bool:
    """Whether a stream is asked for."""
    return isinstance(body, dict) and body.get("stream") is True


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    body = turn.body
    return Request(
        n=turn.n,
        model=_model(turn),
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
    bedrock = BEDROCK.fullmatch(turn.call.path)
    headers = {"x-amzn-requestid" if bedrock else "request-id": _request_id(turn), **reply.headers}
    if bedrock and reply.status != 200:
        kind = BEDROCK_ERRORS.get(reply.status, "InternalServerException")
        return Answer(reply.status, {"message": reply.error["message"]}, {"x-amzn-errortype": kind, **headers})
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


def _model(turn: Turn) -> str:
    bedrock = BEDROCK.fullmatch(turn.call.path)
    return unquote(bedrock[1]) if bedrock else str(turn.body["model"])


def _request_id(turn: Turn) -> str:
    return f"req_{turn.n:024d}"


def _message(reply: Reply, turn: Turn, used: Tokens | None) -> dict[str, Any]:
    message = {
        "id": minted("msg_", turn.seed),
        "type": "message",
        "role": "assistant",
        "model": _model(turn),
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


def _blocks(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []
