"""What a policy of the fake provider sees and says, in one vocabulary for all APIs.

A policy is a plain function from a `Request` to a `Reply`. It may look at the transcript as the API has it
(`messages`, `tools`, `body`), or at what every API has in common (`last_text`, `tool_calls`, `tool_results`,
`tool_names`): then one policy serves them all. Replies are made by `text`, `tool_use`, `tool_uses`, `vectors` and
`error`; their words for tokens and reasons to stop are those of the Anthropic Messages API, and each API puts its own
in their place.

Never: knows a wire format, does I/O, reads a clock, or keeps state, but for how far a `Script` has come.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Usage = Mapping[str, Any] | Literal["missing"]
"""Tokens: `input_tokens` (read from no cache), `cache_read_input_tokens`, `cache_creation_input_tokens`,
`output_tokens` (with those of reasoning), `reasoning_tokens`. Each API gets its own names and sums; any other name is
passed on as it is. "missing": an answer without usage."""


class Said(NamedTuple):
    """Text in the transcript."""

    by: Literal["user", "model"]
    text: str


class Called(NamedTuple):
    """A tool call of the model in the transcript."""

    name: str
    arguments: Any
    """As parsed; the text itself where it is no JSON."""
    id: str = ""


class Result(NamedTuple):
    """What a tool answered, in the transcript."""

    name: str
    text: str
    is_error: bool = False
    """Always false at the APIs of OpenAI, which have no such mark."""
    id: str = ""


Part = Said | Called | Result


@dataclass(frozen=True, slots=True)
class Request:
    """A valid request, as the policy sees it."""

    n: int
    """Number of this request at this server, from 1."""
    model: str
    system: Any
    """As sent; of the Chat API the text of all system and developer messages."""
    messages: list[dict[str, Any]]
    """The transcript as the API has it: `messages`, `input` or `contents`."""
    tools: list[dict[str, Any]]
    max_tokens: int
    """0: not limited by the request."""
    headers: Mapping[str, str]
    """As received, names in lower case."""
    body: Mapping[str, Any]
    api: str = "messages"
    """"messages", "chat", "responses", "embeddings" or "gemini"."""
    stream: bool = False
    parts: tuple[Part, ...] = ()
    """The transcript as every API has it, without the system's text, images and files."""
    tool_names: tuple[str, ...] = ()
    """The functions that the request declares."""

    @property
    def last_text(self) -> str:
        """The latest text of the user; of an embeddings request its last input."""
        return next((part.text for part in reversed(self.parts) if isinstance(part, Said) and part.by == "user"), "")

    @property
    def tool_calls(self) -> list[Called]:
        """Every tool call so far, in order."""
        return [part for part in self.parts if isinstance(part, Called)]

    @property
    def tool_results(self) -> list[Result]:
        """Every tool result so far, in order."""
        return [part for part in self.parts if isinstance(part, Result)]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model or the provider says; made by `text`, `tool_use`, `tool_uses`, `vectors` and `error`."""

    content: tuple[dict[str, Any], ...] = ()
    """Blocks of the Messages API; the `input` of a tool use may be text, which need not be JSON."""
    stop_reason: str = "end_turn"
    """"end_turn", "tool_use", "max_tokens", "stop_sequence" or "refusal"."""
    usage: Usage = field(default_factory=dict)
    """Laid over the default: a token is 4 bytes, rounded up, of the canonical JSON of `[system, messages,
    tools]` for the input and of the content for the output."""
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    vectors: tuple[tuple[float, ...], ...] = ()
    """Of an embeddings request; none: made from the inputs."""


Policy = Callable[[Request], Reply]
ToolInput = Mapping[str, Any] | str


def text(text: str, *, usage: Usage | None = None, stop_reason: str = "end_turn") -> Reply:
    """The model answers with text."""
    return Reply(({"type": "text", "text": text},), stop_reason, usage or {})


def tool_use(
    name: str, input: ToolInput, id: str | None = None, text: str | None = None, *, usage: Usage | None = None
) -> Reply:
    """The model calls one tool, after some `text` if given; without `id` the server makes one.

    An `input` that is text is sent as it is: malformed arguments.
    """
    return tool_uses([(name, input, id)], text=text, usage=usage)


def tool_uses(
    calls: Sequence[tuple[str, ToolInput] | tuple[str, ToolInput, str | None]],
    *,
    text: str | None = None,
    usage: Usage | None = None,
) -> Reply:
    """The model calls several tools at once; each call is `(name, input)` or `(name, input, id)`."""
    said = [] if text is None else [{"type": "text", "text": text}]
    used = [
        {
            "type": "tool_use",
            "id": call[2] if len(call) == 3 else None,
            "name": call[0],
            "input": call[1] if isinstance(call[1], str) else dict(call[1]),
        }
        for call in calls
    ]
    return Reply((*said, *used), "tool_use", usage or {})


def vectors(vectors: Sequence[Sequence[float]], *, usage: Usage | None = None) -> Reply:
    """The answer to an embeddings request, a vector for each input."""
    return Reply(usage=usage or {}, vectors=tuple(tuple(map(float, vector)) for vector in vectors))


def error(
    status: int,
    type: str | None = None,
    message: str = "planned by the test",
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    details: Any = None,
    retry_after_s: float | None = None,
    billing: bool = False,
) -> Reply:
    """The provider answers with an error; `type` and `code` are those that belong to the status unless given.

    `billing`: with status 429, the provider's way to say that the money ran out. `retry_after_s` is told in the
    provider's way. `details` are passed on by the APIs that have them (Messages, Gemini).
    """
    given = {"type": type, "code": code, "param": param, "details": details, "retry_after_s": retry_after_s}
    told = {name: value for name, value in given.items() if value is not None}
    return Reply(status=status, error=told | {"message": message, "billing": billing}, headers=headers or {})


def echo(request: Request) -> Reply:
    """The policy of `holdfast model-server` without another: it repeats the user's latest text."""
    return text(f"You said: {request.last_text}")


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


def arguments_text(input: ToolInput) -> str:
    """The arguments of a call as a model writes them."""
    return input if isinstance(input, str) else json.dumps(input, ensure_ascii=False, separators=(",", ":"))


def arguments_value(input: Any) -> Any:
    """The arguments of a call as a value: text is parsed, and stays text where it is no JSON."""
    if not isinstance(input, str):
        return input
    try:
        return json.loads(input)
    except ValueError:
        return input


def named(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, with the name of the tool put into results that have only the id of their call."""
    names = {part.id: part.name for part in parts if isinstance(part, Called)}
    return tuple(
        part._replace(name=names.get(part.id, "")) if isinstance(part, Result) and not part.name else part
        for part in parts
    )
