"""The Gemini API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. It serves `…/models/NAME:generateContent` and
`…/models/NAME:streamGenerateContent`, as events with `alt=sse` and as an array of JSON without. Field names may be in
camelCase or snake_case, as in all protobuf JSON. Calls have no ids unless the reply gives one.

Never: does I/O, reads a clock, looks into images or files, or keeps state.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from holdfast.testing.dialect import Tokens, Turn, Wrong, counted, minted, refused, repeats, slices, sse, total
from holdfast.testing.loopback import Answer, Call, Pieces, canonical
from holdfast.testing.policy import Called, Part, Reply, Request, Result, Said, arguments_value, error

__all__ = ["FIELDS", "FINISH", "MODES", "NAME", "error_event", "is_stream", "refusal", "render", "request", "serves"]

NAME = "gemini"
PATH = re.compile(r"/v1(?:beta|alpha|beta1)?/(?:.+/)?models/([^/:]+):(generateContent|streamGenerateContent)")
FINISH = {"max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}
"""The finish reason of each reason to stop; any other is `STOP`."""
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
FIELDS = {
    "model",
    "contents",
    "tools",
    "tool_config",
    "safety_settings",
    "system_instruction",
    "generation_config",
    "cached_content",
    "labels",
    "service_tier",
    "store",
}
"""Fields of a request; any other is refused."""
MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
SPENT = "Your prepayment credits are depleted. Add credits to your billing account, then try again."
"""Google has no code of its own for it: the 429 is that of a rate limit, and only the text says what it is."""


def serves(call: Call) -> bool:
    """Whether the path is of this API."""
    return PATH.fullmatch(call.path) is not None


def is_stream(call: Call, body: Any) -> bool:
    """Whether a stream is asked for: the path says so."""
    return call.path.endswith(":streamGenerateContent")


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    body = turn.body
    config, system = (field(body, name) or {} for name in ("generation_config", "system_instruction"))
    contents, tools = _contents(body), field(body, "tools") or []
    return Request(
        n=turn.n,
        model=_model(turn.call),
        system="".join(part.get("text", "") for part in system.get("parts", ())) or None,
        messages=contents,
        tools=tools,
        max_tokens=field(config, "max_output_tokens") or 0,
        headers=turn.call.headers,
        body=body,
        api=NAME,
        stream=is_stream(turn.call, body),
        parts=tuple(part for content in contents for part in _parts(content)),
        tool_names=tuple(_declared(body)),
    )


def field(value: Mapping[str, Any], name: str) -> Any:
    """A field by its name in snake_case, also where it is written in camelCase; None when it is not there."""
    head, *rest = name.split("_")
    return value.get(head + "".join(map(str.capitalize, rest)), value.get(name))


def _contents(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    contents = body["contents"]
    return [contents] if isinstance(contents, dict) else contents


def _declared(body: Mapping[str, Any]) -> list[str]:
    tools = field(body, "tools") or []
    return [each["name"] for tool in tools for each in field(tool, "function_declarations") or []]


def _parts(content: Mapping[str, Any]) -> Iterator[Part]:
    said = "".join(part["text"] for part in content["parts"] if "text" in part and not part.get("thought"))
    if said:
        yield Said("model" if content.get("role") == "model" else "user", said)
    for part in content["parts"]:
        if call := field(part, "function_call"):
            yield Called(call["name"], call.get("args") or {}, call.get("id") or "")
        if result := field(part, "function_response"):
            told = result["response"]
            value = told.get("result", told.get("output", told.get("error", told)))
            said = value if isinstance(value, str) else canonical(value).decode(errors="replace")
            yield Result(result["name"], said, "error" in told, result.get("id") or "")


def _model(call: Call) -> str:
    found = PATH.fullmatch(call.path)
    assert found is not None
    return unquote(found[1])


# --- what it answers ---------------------------------------------------------------------------------------------


def render(reply: Reply, turn: Turn) -> Answer | Pieces:
    """`reply` on the wire; the id comes from the turn's seed."""
    if reply.status != 200:
        return Answer(reply.status, {"error": _error(reply)}, reply.headers)
    parts = [_part(block) for block in reply.content]
    used = counted(reply, [field(turn.body, part) for part in ("system_instruction", "contents", "tools")])
    if not is_stream(turn.call, turn.body):
        return Answer(200, _frame(reply, turn, parts, used, is_last=True), reply.headers)
    frames = [_frame(reply, turn, [part], used, is_last=False) for whole in parts for part in _sliced(whole)]
    frames.append(_frame(reply, turn, [{"text": ""}], used, is_last=True))
    if turn.call.query.get("alt") == "sse":
        return Pieces(200, list(map(sse, frames)), {"content-type": "text/event-stream", **reply.headers})
    pieces = [(b"," if number else b"[") + canonical(frame) + b"\n" for number, frame in enumerate(frames)]
    pieces[-1] += b"]"
    return Pieces(200, pieces, {"content-type": "application/json; charset=UTF-8", **reply.headers})


def error_event(reply: Reply, turn: Turn, index: int) -> bytes:
    """The error as an event of a stream."""
    told = {"error": _error(reply)}
    if turn.call.query.get("alt") == "sse":
        return sse(told)
    return (b"," if index else b"[") + canonical(told) + b"]"


def _error(reply: Reply) -> dict[str, Any]:
    told = reply.error
    details = list(told["details"]) if isinstance(told.get("details"), list | tuple) else []
    if (wait := told.get("retry_after_s")) is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait:g}s"})
    status = told.get("type") or STATUS.get(reply.status, "UNKNOWN")
    named = {"code": reply.status, "message": SPENT if told.get("billing") else told["message"], "status": status}
    return named | ({"details": details} if details else {})


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"text": block["text"]}
    id = {"id": block["id"]} if block["id"] else {}
    return {"functionCall": {**id, "name": block["name"], "args": arguments_value(block["input"])}}


def _sliced(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "text" not in part:
        yield part
    yield from ({"text": piece} for piece in slices(part.get("text", "")))


def _frame(
    reply: Reply, turn: Turn, parts: list[dict[str, Any]], used: Tokens | None, *, is_last: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if is_last:
        candidate["finishReason"] = FINISH.get(reply.stop_reason, "STOP")
    counts = {"usageMetadata": _usage(used, is_last=is_last)} if used else {}
    return {
        "candidates": [candidate],
        **counts,
        "modelVersion": _model(turn.call),
        "responseId": minted("", turn.seed),
    }


def _usage(used: Tokens, *, is_last: bool) -> dict[str, Any]:
    """All of the input are in `promptTokenCount`, also those of the cache; those of thoughts stand by themselves."""
    asked = total(used.input, used.cache_read, used.cache_write)
    told = {"promptTokenCount": asked}
    if used.cache_read:
        told["cachedContentTokenCount"] = used.cache_read
    if not is_last:
        return told | {"totalTokenCount": asked}
    said = used.output
    if used.reasoning:
        told["thoughtsTokenCount"] = used.reasoning
        said = total(said, -used.reasoning) if type(used.reasoning) is int else said
    return {**told, "candidatesTokenCount": said, "totalTokenCount": total(asked, used.output), **used.more}


# --- what it refuses ---------------------------------------------------------------------------------------------


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    if call.method != "POST":
        return error(404, message=f"Not found: {call.method} {call.path}")
    bearer = call.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not (call.headers.get("x-goog-api-key", "").strip() or call.query.get("key", "").strip() or bearer):
        return error(403, message="Unregistered callers are refused: send an API key as `x-goog-api-key`.")
    try:
        body = call.json()
    except ValueError as wrong:
        return error(400, message=f"Invalid JSON payload received: {wrong}")
    return refused(Wrong(message) for message in _violations(body))


def _violations(body: Any) -> Iterator[str]:
    # Only the first is ever taken: each check may rely on all before it.
    if not isinstance(body, dict):
        yield "Invalid JSON payload received: the root element must be an object."
        return
    for name in body:
        if re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name) not in FIELDS:
            yield f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    if not body.get("contents"):
        yield "* GenerateContentRequest.contents: contents is not specified"
    if not isinstance(body["contents"], list | dict):
        yield "Invalid value at 'contents': expected a list"
    system = field(body, "system_instruction")
    if system is not None and not (isinstance(system, dict) and isinstance(system.get("parts"), list)):
        yield "Invalid value at 'system_instruction': expected content with parts"
    contents = _contents(body)
    yield from _tool_violations(body)
    for index, content in enumerate(contents):
        yield from _content_violations(f"contents[{index}]", content)
    yield from _turn_violations(contents)


def _tool_violations(body: Mapping[str, Any]) -> Iterator[str]:
    tools = field(body, "tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        yield "Invalid value at 'tools': expected a list of tools"
    for tool in tools:
        for each in field(tool, "function_declarations") or []:
            if not isinstance(each, dict) or not re.fullmatch(r"[a-zA-Z_][\w.:-]{0,127}", str(each.get("name", ""))):
                yield "tools.function_declarations.name: must begin with a letter or an underscore, at most 128 long"
    names = _declared(body)
    if twice := repeats(names):
        yield f"Duplicate function declaration found: {', '.join(twice)}"
    config = field(field(body, "tool_config") or {}, "function_calling_config") or {}
    mode, allowed = config.get("mode", "AUTO"), field(config, "allowed_function_names") or []
    if mode not in MODES:
        yield f"Invalid value at 'tool_config.function_calling_config.mode': {mode!r}"
    if mode in ("ANY", "VALIDATED") and not names:
        yield f"Function calling mode {mode} needs function declarations"
    if allowed and mode not in ("ANY", "VALIDATED"):
        yield "allowed_function_names may only be set when the function calling mode is ANY or VALIDATED"
    if unknown := [name for name in allowed if name not in names]:
        yield f"allowed_function_names that are not declared: {', '.join(unknown)}"


def _content_violations(at: str, content: Any) -> Iterator[str]:
    if not isinstance(content, dict) or content.get("role", "user") not in ("user", "model", "function"):
        yield f"{at}.role: Please use a valid role: user, model."
        return
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        yield f"* GenerateContentRequest.{at}.parts: must not be empty"
        return
    for index, part in enumerate(parts):
        yield from _part_violations(f"{at}.parts[{index}]", part, is_model=content.get("role") == "model")


def _part_violations(at: str, part: Any, *, is_model: bool) -> Iterator[str]:
    kinds = ("text", "inline_data", "file_data", "function_call", "function_response", "executable_code")
    more = ("code_execution_result", "tool_call", "tool_response")
    given = [kind for kind in (*kinds, *more) if isinstance(part, dict) and field(part, kind) is not None]
    if len(given) != 1:
        yield f"{at}.data: required oneof field 'data' must have one initialized field"
        return
    value = field(part, given[0])
    match given[0], value:
        case "text", str():
            pass
        case "function_call", {"name": str()} if is_model and isinstance(value.get("args", {}), dict):
            pass
        case "function_response", {"name": str(), "response": dict()} if not is_model:
            pass
        case "text" | "function_call" | "function_response" as kind, _:
            yield f"{at}.{kind}: is malformed, or does not belong in content of this role"
        case _:
            pass  # files, code: not looked into


def _turn_violations(contents: list[dict[str, Any]]) -> Iterator[str]:
    open_calls: list[tuple[str, str]] = []
    for index, content in enumerate(contents):
        results = _named(content, "function_response")
        if results or open_calls:
            yield from _answer_violations(index, open_calls, results)
        open_calls = _named(content, "function_call")
        if open_calls and (index == 0 or contents[index - 1].get("role") == "model"):
            yield f"contents[{index}]: a function call turn must come right after a user or function response turn."
    if contents[-1].get("role") == "model":
        yield "Please ensure that the last content has the role user, or is a function response."


def _named(content: Mapping[str, Any], kind: str) -> list[tuple[str, str]]:
    found = [field(part, kind) for part in content["parts"]]
    return [(each["name"], each.get("id") or "") for each in found if each is not None]


def _answer_violations(index: int, calls: list[tuple[str, str]], results: list[tuple[str, str]]) -> Iterator[str]:
    if not calls:
        yield f"contents[{index}]: a function response turn must come right after a function call turn."
    if len(results) != len(calls):
        yield (
            f"contents[{index}]: the number of function response parts must be equal to the number of function call "
            f"parts of the function call turn: {len(results)} for {len(calls)}."
        )
    if sorted(results) != sorted(calls):
        wanted = ", ".join(name for name, _ in calls)
        yield f"contents[{index}]: the names and ids of function responses must be those of the calls: {wanted}."
