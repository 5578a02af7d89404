"""What the wire needs to know about one model call, whichever provider it goes to.

A provider is a module of plain functions (`Provider`), one for each wire shape. Nothing here does I/O, and a provider
never sees a header that holds a secret's value. A request is read in parts, so that a long conversation is not read
again at each turn: `head` is its JSON object without the conversation, and each message of that is weighed by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from holdfast.core.events import Effect
from holdfast.core.usage import Usage


class Asked(NamedTuple):
    """What a request asks for, read from its head."""

    model: str
    head_max: int
    """Upper bound of the input tokens that the head causes: system text, tools, schemas."""
    output_max: int | None
    """Upper bound of the output tokens, of all its answers together; None when the request does not bound it."""
    is_stream: bool = False
    keeps_long: bool = False
    """Its head asks for a cache that is kept for an hour; a message may, too (`bounds.long_kept_at`)."""
    searches_max: int | None = 0
    """Web searches that the provider may make and bill one by one; None: any number."""
    tier: str = ""
    """The tier of service that it asks for; empty for the ordinary one."""
    rounds: int = 1
    """How often the provider may read the whole conversation for one answer: more than once when it runs tools."""
    effect: Effect = Effect.READ
    """ONCE when the provider runs tools with effects, or writes into a conversation that it keeps."""
    because: str = ""
    """What makes it so, for a person."""
    tools: tuple[str, ...] = ()
    """Names of the caller's own tools that the model may call; without those that the provider runs."""


class Answered(NamedTuple):
    """A response."""

    status: int
    """HTTP status; the one that the error stands for, where an error came with a 2xx."""
    is_object: bool
    """Whether the body is what the API answers: a JSON object, or a stream of events of this API."""
    is_complete: bool = True
    """False: a stream that broke off before its end."""
    served: str = ""
    """The model that answered."""
    stop_reason: str = ""
    usage: Usage | None = None
    """None when absent, or when its numbers make no sense."""
    error: str = ""
    """The provider's type of error; empty without one."""
    code: str = ""
    """The most telling of its error codes."""
    message: str = ""
    retry_after_s: float | None = None
    """How long to wait, where the body says it instead of a header (Google)."""


class Sse(NamedTuple):
    """One server-sent event."""

    event: str
    """Its `event:` line, empty without one."""
    data: bytes
    """Its `data:` lines, joined by a line feed."""


class Provider(Protocol):
    """One wire shape. Every function is pure, is given bytes of strangers, and never raises."""

    NAME: str
    """As a person reads it, and as prices are looked up: `anthropic`, `openai`, `google`."""
    STEP: str
    """Name of its steps: `messages`, `chat`, `responses`, `embeddings`, `generate`."""
    HISTORY: str
    """Member of the request that holds the conversation, a list of messages; empty where there is none."""

    def is_call(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Whether this request asks the model in this shape, at whatever host."""

    def asked(self, head: Mapping[str, Any], path: str, size: int) -> Asked:
        """Read a request: `head` is its JSON object without `HISTORY`, `size` the bytes of that head."""

    def weigh(self, message: Any, size: int) -> int:
        """Upper bound of the input tokens of one message of the conversation, which has `size` bytes of JSON."""

    def with_model(self, head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
        """What to send to ask another model: members of the head to replace, and the path. None: it cannot be."""

    def answered(self, status: int, raw: bytes) -> Answered:
        """Read a response that is no stream."""

    def streamed(self, status: int, raw: bytes) -> Answered:
        """Read what came of a stream, to its end or not."""

    def ends(self, event: Sse) -> bool:
        """Whether this event says that the answer is over: it, and what follows, is held back until recorded."""
