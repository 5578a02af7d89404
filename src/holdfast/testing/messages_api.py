"""The Anthropic Messages API as the fake provider speaks it: what it refuses, and the form of what it answers.

`refusal` holds the strict rules. A policy, such as a `script`, sees a `Request` and says a `Reply` (made by
`text`, `tool_use`, `tool_uses`, `error`); `render` puts it on the wire. `model_server` decides when each has its turn.

Invariants
1. `refusal` names the first violation only; each check may rely on all before it.
2. A body that `refusal` has nothing against has the fields that `render` reads.
3. Equal arguments give equal answers: ids are hashes of the seed, tokens are counted from the bytes.

Never: does I/O, reads a clock, streams (yet), looks into images, documents or thinking, or keeps state, but
for how far a `Script` has come.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from typing import Any

from holdfast.testing.loopback import Answer, Call, canonical

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


@dataclass(frozen=True, slots=True)
class Request:
    """A valid request, as the policy sees it."""

    n: int
    """Number of this request at this server, from 1."""
    model: str
    system: Any
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    max_tokens: int
    headers: Mapping[str, str]
    """As received, names in lower case."""
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model or the provider says; made by `text`, `tool_use`, `tool_uses` and `error`."""

    content: tuple[dict[str, Any], ...] = ()
    stop_reason: str = "end_turn"
    usage: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the default: a token is 4 bytes, rounded up, of the canonical JSON of `[system, messages,
    tools]` for the input and of the content for the output."""
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


Policy = Callable[[Request], Reply]


def text(text: str, *, usage: Mapping[str, Any] | None = None, stop_reason: str = "end_turn") -> Reply:
    """The model answers with text."""
    return Reply(({"type": "text", "text": text},), stop_reason, usage or {})


def tool_use(
    name: str,
    input: Mapping[str, Any],
    id: str | None = None,
    text: str | None = None,
    *,
    usage: Mapping[str, Any] | None = None,
) -> Reply:
    """The model calls one tool, after some `text` if given; without `id` the server makes one."""
    return tool_uses([(name, input, id)], text=text, usage=usage)


def tool_uses(
    calls: Sequence[tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], str | None]],
    *,
    text: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Reply:
    """The model calls several tools at once; each call is `(name, input)` or `(name, input, id)`."""
    said = [] if text is None else [{"type": "text", "text": text}]
    used = [
        {
            "type": "tool_use",
            "id": call[2] if len(call) == 3 else None,
            "name": call[0],
            "input": dict(call[1]),
        }
        for call in calls
    ]
    return Reply((*said, *used), "tool_use", usage or {})


def error(
    status: int,
    type: str | None = None,
    message: str = "planned by the test",
    *,
    headers: Mapping[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Reply:
    """The provider answers with an error; `type` is the one that belongs to the status unless given."""
    told = {"type": type or ERROR_TYPES.get(status, "api_error"), "message": message}
    return Reply(status=status, error=told | ({"details": details} if details else {}), headers=headers or {})


class Script:
    """A policy that answers from a list in order; a step may be a policy itself. Made by `script`."""

    def __init__(self, steps: Sequence[Reply | Policy]) -> None:
        self._steps = list(steps)
        self._taken = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        """The next step; AssertionError when there is none left."""
        with self._lock:
            assert self._taken < len(self._steps), f"surplus: the script has only {len(self._steps)} steps"
            step = self._steps[self._taken]
            self._taken += 1
        return step if isinstance(step, Reply) else step(request)

    def unused(self) -> list[str]:
        """The steps that were never asked for, numbered from 1."""
        left = list(enumerate(self._steps, 1))[self._taken :]
        return [f"script step {number} of {len(self._steps)} was never used: {step}" for number, step in left]


def script(steps: Sequence[Reply | Policy]) -> Script:
    """A policy that answers from `steps` in order; `check()` fails on unused steps and on surplus requests."""
    return Script(steps)


def render(reply: Reply, n: int, body: Any, seed: str) -> Answer:
    """`reply` on the wire, to request number `n` with this `body`; generated ids come from `seed`."""
    request_id = f"req_{n:024d}"
    headers = {"request-id": request_id, **reply.headers}
    if reply.status != 200:
        return Answer(reply.status, {"type": "error", "error": reply.error, "request_id": request_id}, headers)
    content = [_with_id(block, f"{seed}:{index}") for index, block in enumerate(reply.content)]
    asked = [body.get(part) for part in ("system", "messages", "tools")]
    message = {
        "id": _id("msg_", seed),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": _tokens(asked), "output_tokens": _tokens(content), **reply.usage},
    }
    return Answer(200, message, headers)


def _with_id(block: dict[str, Any], seed: str) -> dict[str, Any]:
    return block | {"id": block["id"] or _id("toolu_", seed)} if block["type"] == "tool_use" else block


def _id(prefix: str, seed: str) -> str:
    return prefix + sha256(seed.encode()).hexdigest()[:24]


def _tokens(value: Any) -> int:
    return -(-len(canonical(value)) // 4)


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
    wrong_with = next(_violations(body), None)
    return error(400, message=wrong_with) if wrong_with else None


def _violations(body: Any) -> Iterator[str]:
    # Only the first is ever taken: each check may rely on all before it.
    if not isinstance(body, dict):
        yield "The request body must be a JSON object"
        return
    yield from (f"{name}: Field required" for name in ("model", "max_tokens", "messages") if name not in body)
    if not isinstance(body["model"], str) or not body["model"].strip():
        yield "model: Input should be a valid, non-empty string"
    if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
        yield "max_tokens: Input should be an integer greater than or equal to 1"
    if body.get("stream"):
        yield "stream: this test server does not stream yet; send the request without `stream`"
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
        return
    for index, message in enumerate(messages):
        yield from _message_violations(f"messages.{index}", message, final=index == len(messages) - 1)
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    yield from _pairing_violations(messages)


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
