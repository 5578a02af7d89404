"""The OpenAI Chat Completions API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. One choice only: `n` above 1 is refused.

Never: does I/O, reads a clock, looks into images, audio or files, or keeps state.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.testing.dialect import CREATED, Turn, Wrong, counted, is_count, minted, repeats, slices, sse
from holdfast.testing.loopback import Answer, Call, Pieces
from holdfast.testing.openai_form import (
    common_violations,
    error_of,
    failed,
    gate,
    headers_of,
    is_stream,
    model_of,
    text_of,
    tool_violations,
    usage_of,
)
from holdfast.testing.policy import Called, Part, Reply, Request, Result, Said, arguments_text, arguments_value, named

__all__ = ["FINISH", "NAME", "error_event", "is_stream", "refusal", "render", "request", "serves"]

NAME = "chat"
FINISH = {"tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
"""The finish reason of each reason to stop; any other is `stop`."""
ROLES = ("system", "developer", "user", "assistant", "tool")


def serves(call: Call) -> bool:
    """Whether the path is of this API: any that ends so, as with Azure and compatible servers."""
    return call.path.endswith("/chat/completions")


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    body = turn.body
    messages, tools = body["messages"], body.get("tools") or []
    system = [text_of(message["content"]) for message in messages if message["role"] in ("system", "developer")]
    return Request(
        n=turn.n,
        model=model_of(turn.call, body),
        system="\n".join(system) or None,
        messages=messages,
        tools=tools,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 0,
        headers=turn.call.headers,
        body=body,
        api=NAME,
        stream=is_stream(turn.call, body),
        parts=named([part for message in messages for part in _parts(message)]),
        tool_names=tuple(tool["function"]["name"] for tool in tools if tool["type"] == "function"),
    )


def _parts(message: Mapping[str, Any]) -> Iterator[Part]:
    said = text_of(message.get("content"))
    match message["role"]:
        case "user":
            yield Said("user", said)
        case "tool":
            yield Result("", said, id=message["tool_call_id"])
        case "assistant":
            if said:
                yield Said("model", said)
            for call in message.get("tool_calls") or []:
                asked = call.get("function") or {"name": call["custom"]["name"], "arguments": call["custom"]["input"]}
                yield Called(asked["name"], arguments_value(asked["arguments"]), call["id"])
        case _:
            pass


# --- what it answers ---------------------------------------------------------------------------------------------


def render(reply: Reply, turn: Turn) -> Answer | Pieces:
    """`reply` on the wire; generated ids come from the turn's seed."""
    if reply.status != 200:
        return failed(reply, turn)
    headers = headers_of(turn, reply)
    if not is_stream(turn.call, turn.body):
        choice = {"index": 0, "message": _message(reply, turn), "logprobs": None, "finish_reason": _finish(reply)}
        return Answer(200, _frame(turn, "chat.completion", [choice]) | _usage(reply, turn), headers)
    events = [*map(sse, _chunks(reply, turn)), b"data: [DONE]\n\n"]
    return Pieces(200, events, {"content-type": "text/event-stream; charset=utf-8", **headers})


def error_event(reply: Reply, turn: Turn, index: int) -> bytes:
    """The error as an event of a stream."""
    return sse({"error": error_of(reply)})


def _frame(turn: Turn, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": minted("chatcmpl-", turn.seed),
        "object": kind,
        "created": CREATED,
        "model": model_of(turn.call, turn.body),
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _usage(reply: Reply, turn: Turn) -> dict[str, Any]:
    used = counted(reply, [turn.body.get(part) for part in ("messages", "tools")])
    return {"usage": usage_of(used, "prompt", "completion")} if used else {}


def _finish(reply: Reply) -> str:
    return FINISH.get(reply.stop_reason, "stop")


def _message(reply: Reply, turn: Turn) -> dict[str, Any]:
    calls = _calls(reply, turn)
    told: dict[str, Any] = {"role": "assistant", "content": _text(reply), "refusal": None, "annotations": []}
    return told | ({"tool_calls": calls} if calls else {})


def _text(reply: Reply) -> str | None:
    said = [block["text"] for block in reply.content if block["type"] == "text"]
    return "".join(said) if said else None


def _calls(reply: Reply, turn: Turn) -> list[dict[str, Any]]:
    return [
        {
            "id": block["id"] or minted("call_", f"{turn.seed}:{index}"),
            "type": "function",
            "function": {"name": block["name"], "arguments": arguments_text(block["input"])},
        }
        for index, block in enumerate(reply.content)
        if block["type"] == "tool_use"
    ]


def _chunks(reply: Reply, turn: Turn) -> Iterator[dict[str, Any]]:
    counts = bool((turn.body.get("stream_options") or {}).get("include_usage"))

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _frame(turn, "chat.completion.chunk", [choice]) | ({"usage": None} if counts else {})

    said = _text(reply)
    yield chunk({"role": "assistant", "content": None if said is None else "", "refusal": None})
    yield from (chunk({"content": part}) for part in slices(said or ""))
    for index, call in enumerate(_calls(reply, turn)):
        asked = call["function"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {"name": asked["name"], "arguments": ""}}]})
        for part in slices(asked["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, _finish(reply))
    if counts and (usage := _usage(reply, turn)):
        yield _frame(turn, "chat.completion.chunk", []) | usage


# --- what it refuses ---------------------------------------------------------------------------------------------


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    return gate(call, lambda body: _violations(call, body))


def _violations(call: Call, body: dict[str, Any]) -> Iterator[Wrong]:
    # Only the first is ever taken: each check may rely on all before it.
    yield from common_violations(call, body)
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and not is_count(body[name]):
            yield Wrong(f"Invalid '{name}': expected an integer of at least 1.", name)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        yield Wrong("Set only one of 'max_tokens' and 'max_completion_tokens'.", "max_tokens")
    if body.get("n") not in (None, 1):
        yield Wrong("Invalid 'n': this test server gives one choice.", "n")
    yield from _tool_violations(body)
    messages = body.get("messages")
    if messages is None:
        yield Wrong("Missing required parameter: 'messages'.", "messages")
    if not isinstance(messages, list) or not messages:
        yield Wrong("Invalid 'messages': expected an array with at least one message.", "messages")
        return
    for index, message in enumerate(messages):
        yield from _message_violations(f"messages[{index}]", message)
    yield from _pairing_violations(messages)


def _tool_violations(body: Mapping[str, Any]) -> Iterator[Wrong]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and (not isinstance(tools, list) or not tools):
        yield Wrong("Invalid 'tools': expected an array with at least one tool.", "tools")
    if not tools and body.get("parallel_tool_calls") is not None:
        yield Wrong("'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls")
    functions: list[tuple[str, Any]] = []
    for index, tool in enumerate(tools or []):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in ("function", "custom"):
            yield Wrong(f"Invalid value: {kind!r}. Supported are 'function' and 'custom'.", f"tools[{index}].type")
        if not isinstance(tool.get(kind), dict):
            yield Wrong(f"Missing required parameter: 'tools[{index}].{kind}'.", f"tools[{index}].{kind}")
        functions.append((f"tools[{index}].{kind}.name", tool[kind].get("name")))
    chosen = None
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        named_by = choice.get(choice["type"])
        chosen = str(named_by.get("name")) if isinstance(named_by, dict) else ""
    yield from tool_violations(body, functions, chosen, ("function", "custom", "allowed_tools"))


def _message_violations(at: str, message: Any) -> Iterator[Wrong]:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ROLES:
        yield Wrong(f"Invalid value: {role!r}. Supported are {', '.join(map(repr, ROLES))}.", f"{at}.role")
    content, calls = message.get("content"), message.get("tool_calls")
    if content is None and not (role == "assistant" and (calls or message.get("refusal") or message.get("audio"))):
        yield Wrong(f"Invalid value for 'content': expected a string, got null, in {at}.", f"{at}.content")
    if content is not None and not isinstance(content, str):
        yield from _content_violations(f"{at}.content", role, content)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield Wrong(f"Missing parameter 'tool_call_id': messages with role 'tool' must have it, {at}.", at)
    if calls is not None and role != "assistant":
        yield Wrong(f"'tool_calls' is only allowed with role 'assistant', not in {at}.", f"{at}.tool_calls")
    if calls is not None:
        yield from _call_violations(f"{at}.tool_calls", calls)


def _content_violations(at: str, role: str | None, content: Any) -> Iterator[Wrong]:
    if not isinstance(content, list) or not content:
        yield Wrong(f"Invalid type for '{at}': expected a string or an array of content parts.", at)
    more = {"user": {"image_url", "input_audio", "file"}, "assistant": {"refusal"}}.get(role or "", set())
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in {"text", *more}:
            yield Wrong(f"Invalid value: {kind!r} does not belong in a message of role {role}.", f"{at}[{index}].type")
        if kind == "text" and not isinstance(part.get("text"), str):
            yield Wrong(f"Missing required parameter: '{at}[{index}].text'.", f"{at}[{index}].text")


def _call_violations(at: str, calls: Any) -> Iterator[Wrong]:
    if not isinstance(calls, list) or not calls:
        yield Wrong(f"Invalid '{at}': expected an array with at least one call.", at)
    for index, call in enumerate(calls):
        match call:
            case {"id": str(), "type": "function", "function": {"name": str(), "arguments": str()}}:
                pass
            case {"id": str(), "type": "custom", "custom": {"name": str(), "input": str()}}:
                pass
            case _:
                yield Wrong(f"'{at}[{index}]' lacks id, type, name or arguments (as text).", f"{at}[{index}]")
    if twice := repeats([call["id"] for call in calls]):
        yield Wrong(f"Duplicate value for 'tool_call_id' in {at}: {', '.join(twice)}", at)


def _pairing_violations(messages: list[dict[str, Any]]) -> Iterator[Wrong]:
    open_ids: list[str] = []
    calling = 0
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            id = message["tool_call_id"]
            if id not in open_ids:
                yield Wrong(
                    f"messages[{index}] with role 'tool' must be a response to a preceding message with 'tool_calls': "
                    f"{id} is not open.",
                    f"messages[{index}].role",
                )
            open_ids.remove(id)
            continue
        if open_ids:
            yield _unanswered(calling, open_ids)
        calling, open_ids = index, [call["id"] for call in message.get("tool_calls") or []]
    if open_ids:
        yield _unanswered(calling, open_ids)


def _unanswered(index: int, ids: list[str]) -> Wrong:
    return Wrong(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        f"'tool_call_id'. These had no response: {', '.join(ids)}",
        f"messages[{index}].tool_calls",
    )
