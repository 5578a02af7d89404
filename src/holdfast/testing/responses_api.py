"""The OpenAI Responses API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. It remembers no response: with `previous_response_id` or
`conversation` the transcript is what the request holds, and an output may answer a call that is not in it.

Never: does I/O, reads a clock, looks into images, files, reasoning or calls of hosted tools, or keeps state.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from holdfast.testing.dialect import CREATED, Turn, Wrong, counted, is_count, is_text, minted, repeats, slices, sse
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

__all__ = ["NAME", "PARTS", "error_event", "is_stream", "refusal", "render", "request", "serves"]

NAME = "responses"
PARTS = {
    "user": {"input_text", "input_image", "input_file", "input_audio"},
    "assistant": {"output_text", "refusal"},
    "system": {"input_text", "input_image", "input_file"},
    "developer": {"input_text", "input_image", "input_file"},
}
"""Roles of messages, and the parts that each may have."""
INCOMPLETE = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}
OUTPUT_OF = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


def serves(call: Call) -> bool:
    """Whether the path is of this API: any that ends so, as with Azure and compatible servers."""
    return call.path.endswith("/responses")


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    body, tools = turn.body, turn.body.get("tools") or []
    items = _items(body)
    return Request(
        n=turn.n,
        model=model_of(turn.call, body),
        system=body.get("instructions"),
        messages=items,
        tools=tools,
        max_tokens=body.get("max_output_tokens") or 0,
        headers=turn.call.headers,
        body=body,
        api=NAME,
        stream=is_stream(turn.call, body),
        parts=named([part for item in items for part in _parts(item)]),
        tool_names=tuple(tool["name"] for tool in tools if tool["type"] in ("function", "custom")),
    )


def _items(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given: str | list[dict[str, Any]] = body["input"]
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def _parts(item: Mapping[str, Any]) -> Iterator[Part]:
    match item:
        case {"role": "user", "content": content}:
            yield Said("user", text_of(content))
        case {"role": "assistant", "content": content}:
            yield Said("model", text_of(content))
        case {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}:
            yield Called(name, arguments_value(arguments), id)
        case {"type": "custom_tool_call", "call_id": id, "name": name, "input": input}:
            yield Called(name, input, id)
        case {"type": "function_call_output" | "custom_tool_call_output", "call_id": id, "output": output}:
            yield Result("", text_of(output), id=id)
        case _:
            pass


# --- what it answers ---------------------------------------------------------------------------------------------


def render(reply: Reply, turn: Turn) -> Answer | Pieces:
    """`reply` on the wire; generated ids come from the turn's seed."""
    if reply.status != 200:
        return failed(reply, turn)
    headers = headers_of(turn, reply)
    response = _response(reply, turn)
    if not is_stream(turn.call, turn.body):
        return Answer(200, response, headers)
    events = [_event(number, event) for number, event in enumerate(_events(response))]
    return Pieces(200, events, {"content-type": "text/event-stream; charset=utf-8", **headers})


def error_event(reply: Reply, turn: Turn, index: int) -> bytes:
    """The error as an event of a stream."""
    told = error_of(reply)
    told = {"code": told["code"] or told["type"], "message": told["message"], "param": told["param"]}
    return _event(index, {"type": "error", **told})


def _event(number: int, event: dict[str, Any]) -> bytes:
    return sse({**event, "sequence_number": number}, event["type"])


def _response(reply: Reply, turn: Turn) -> dict[str, Any]:
    body = turn.body
    reason = INCOMPLETE.get(reply.stop_reason)
    used = counted(reply, [body.get(part) for part in ("instructions", "input", "tools")])
    output = [_output(block, f"{turn.seed}:{index}") for index, block in enumerate(reply.content)]
    return {
        "id": minted("resp_", turn.seed),
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model_of(turn.call, body),
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": usage_of(used, "input", "output") if used else None,
    }


def _output(block: Mapping[str, Any], seed: str) -> dict[str, Any]:
    if block["type"] == "text":
        part = {"type": "output_text", "text": block["text"], "annotations": [], "logprobs": []}
        said = {"id": minted("msg_", seed), "type": "message", "status": "completed", "role": "assistant"}
        return {**said, "content": [part]}
    return {
        "id": minted("fc_", seed),
        "type": "function_call",
        "status": "completed",
        "call_id": block["id"] or minted("call_", seed),
        "name": block["name"],
        "arguments": arguments_text(block["input"]),
    }


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    empty = response | {"status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield {"type": "response.created", "response": empty}
    yield {"type": "response.in_progress", "response": empty}
    for index, item in enumerate(response["output"]):
        at = {"output_index": index}
        begun: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {"type": "response.output_item.added", **at, "item": item | {"status": "in_progress"} | begun}
        written = _text_events if item["type"] == "message" else _call_events
        yield from written(item, {"item_id": item["id"], **at})
        yield {"type": "response.output_item.done", **at, "item": item}
    yield {"type": f"response.{response['status']}", "response": response}


def _text_events(item: Mapping[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    at = {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": part | {"text": ""}}
    for piece in slices(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": part}


def _call_events(item: Mapping[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in slices(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **at, **done}


# --- what it refuses ---------------------------------------------------------------------------------------------


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    return gate(call, lambda body: _violations(call, body))


def _violations(call: Call, body: dict[str, Any]) -> Iterator[Wrong]:
    # Only the first is ever taken: each check may rely on all before it.
    yield from common_violations(call, body)
    if body.get("max_output_tokens") is not None and not is_count(body["max_output_tokens"], 16):
        yield Wrong("Invalid 'max_output_tokens': expected an integer of at least 16.", "max_output_tokens")
    if body.get("instructions") is not None and not isinstance(body["instructions"], str):
        yield Wrong("Invalid type for 'instructions': expected a string.", "instructions")
    if body.get("previous_response_id") and body.get("conversation"):
        yield Wrong("Set only one of 'previous_response_id' and 'conversation'.", "previous_response_id")
    yield from _tool_violations(body)
    given = body.get("input")
    if given is None:
        yield Wrong("Missing required parameter: 'input'.", "input")
    if not isinstance(given, str | list) or not given:
        yield Wrong("Invalid 'input': expected a string or an array with at least one item.", "input")
    if isinstance(given, list):
        for index, item in enumerate(given):
            yield from _item_violations(f"input[{index}]", item)
        is_continued = bool(body.get("previous_response_id") or body.get("conversation"))
        yield from _pairing_violations(given, is_continued=is_continued)


def _tool_violations(body: Mapping[str, Any]) -> Iterator[Wrong]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        yield Wrong("Invalid 'tools': expected an array.", "tools")
    functions: list[tuple[str, Any]] = []
    for index, tool in enumerate(tools or []):
        if not isinstance(tool, dict) or not is_text(tool.get("type")):
            yield Wrong(f"Missing required parameter: 'tools[{index}].type'.", f"tools[{index}].type")
        if tool["type"] in ("function", "custom"):
            functions.append((f"tools[{index}].name", tool.get("name")))
    chosen = None
    kinds = ["function", "custom", "allowed_tools", "mcp", *(tool["type"] for tool in tools or [])]
    if isinstance(choice, dict) and choice.get("type") in ("function", "custom"):
        chosen = str(choice.get("name"))
    yield from tool_violations(body, functions, chosen, kinds)


def _item_violations(at: str, item: Any) -> Iterator[Wrong]:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    fields: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
        "function_call": {"call_id": str, "name": str, "arguments": str},
        "custom_tool_call": {"call_id": str, "name": str, "input": str},
        "function_call_output": {"call_id": str, "output": (str, list)},
        "custom_tool_call_output": {"call_id": str, "output": (str, list)},
        "item_reference": {"id": str},
    }
    if not isinstance(kind, str):
        yield Wrong(f"Invalid type for '{at}': expected an item.", at)
        return
    if kind == "message":
        yield from _message_violations(at, item)
    for name, types in fields.get(kind, {}).items():
        if not isinstance(item.get(name), types):
            yield Wrong(f"Missing required parameter: '{at}.{name}'.", f"{at}.{name}")


def _message_violations(at: str, item: Mapping[str, Any]) -> Iterator[Wrong]:
    role, content = str(item.get("role")), item.get("content")
    if role not in PARTS:
        yield Wrong(f"Invalid value: {role!r}. Supported are {', '.join(map(repr, PARTS))}.", f"{at}.role")
    if not isinstance(content, str | list):
        yield Wrong(f"Missing required parameter: '{at}.content'.", f"{at}.content")
    for index, part in enumerate(content if isinstance(content, list) else []):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PARTS[role]:
            yield Wrong(
                f"Invalid value: {kind!r} in a message of role {role}. Supported are {', '.join(sorted(PARTS[role]))}.",
                f"{at}.content[{index}].type",
            )
        if kind in ("input_text", "output_text") and not isinstance(part.get("text"), str):
            yield Wrong(f"Missing required parameter: '{at}.content[{index}].text'.", f"{at}.content[{index}].text")


def _pairing_violations(items: list[dict[str, Any]], *, is_continued: bool) -> Iterator[Wrong]:
    def ids(kinds: Callable[[str], bool]) -> list[str]:
        return [item["call_id"] for item in items if kinds(item.get("type", "message"))]

    calls, outputs = ids(OUTPUT_OF.__contains__), ids(lambda kind: kind in OUTPUT_OF.values())
    if twice := repeats(calls) or repeats(outputs):
        yield Wrong(f"Duplicate call_id in 'input': {', '.join(twice)}", "input")
    waiting: set[str] = set()
    for item in items:
        kind = item.get("type", "message")
        if kind in OUTPUT_OF:
            waiting.add(item["call_id"])
        elif kind in OUTPUT_OF.values():
            if item["call_id"] not in waiting and not (is_continued and item["call_id"] not in calls):
                yield Wrong(f"No tool call found for function call output with call_id {item['call_id']}.", "input")
            waiting.discard(item["call_id"])
    if waiting:
        unanswered = [id for id in calls if id in waiting]
        yield Wrong(f"No tool output found for function call {', '.join(unanswered)}.", "input")
