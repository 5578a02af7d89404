"""What the Anthropic Messages API refuses before any model sees the request. The other half of `messages_api`.

Invariants
1. Only the first violation is named; each check may rely on all before it.
2. A body that it has nothing against has the fields that `messages_api` reads.

Never: looks into images, documents or thinking.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from holdfast.testing.dialect import TOOL_NAME, Wrong, is_count, is_text, refused, repeats
from holdfast.testing.loopback import Call
from holdfast.testing.policy import Reply, error

BEDROCK = re.compile(r"/model/([^/]+)/invoke")


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    is_bedrock = BEDROCK.fullmatch(call.path) is not None
    if call.path != "/v1/messages" and not is_bedrock:
        return error(404, message="Not Found")
    if call.method != "POST":
        return error(405, "invalid_request_error", "Method Not Allowed", headers={"allow": "POST"})
    bearer = call.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not (call.headers.get("x-api-key", "").strip() or bearer):
        return error(401, message="x-api-key header is required")
    if not is_bedrock and not call.headers.get("anthropic-version", "").strip():
        return error(400, message="anthropic-version: header is required")
    try:
        body = call.json()
    except ValueError as wrong:
        return error(400, message=f"The request body is not valid JSON: {wrong}")
    needed = ("anthropic_version",) if is_bedrock else ("model",)
    return refused(Wrong(message) for message in _violations(body, (*needed, "max_tokens", "messages")))


def _violations(body: Any, needed: tuple[str, ...]) -> Iterator[str]:
    # Only the first is ever taken: each check may rely on all before it.
    if not isinstance(body, dict):
        yield "The request body must be a JSON object"
        return
    yield from (f"{name}: Field required" for name in needed if name not in body)
    if not is_text(body[needed[0]]):
        yield f"{needed[0]}: Input should be a valid, non-empty string"
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
