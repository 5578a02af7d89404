"""What the APIs of the fake provider have in common: the seam that each implements, and the small parts of an answer.

A dialect is a module: `messages_api`, `chat_api`, `responses_api`, `embeddings_api`, `gemini_api`.

Invariants
1. `refusal` names the first violation only; each check may rely on all before it.
2. `request`, `render` and `error_event` see only what `refusal` had nothing against, `render` of an error anything.
3. Equal arguments give equal answers: ids are hashes of the seed, tokens are counted from the bytes.

Never: does I/O, reads a clock, or keeps state.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from holdfast.testing.loopback import Answer, Call, Pieces, canonical
from holdfast.testing.policy import Reply, Request, error

CREATED = 1_700_000_000
"""In place of the time, where an API tells one (Unix seconds)."""
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
SLICE = 16
"""Characters of text in one event of a stream; more where there would be above `SLICES_MAX` events."""
SLICES_MAX = 500


class Turn(NamedTuple):
    """One request that is answered."""

    n: int
    """Number of this request at this server, from 1."""
    call: Call
    body: Any
    seed: str
    """Of the ids that are made."""


class Dialect(Protocol):
    """One API, as the server needs it."""

    NAME: str

    def serves(self, call: Call) -> bool:
        """Whether this path belongs to the API, whatever the method."""
        ...

    def refusal(self, call: Call) -> Reply | None:
        """What the real API answers before any model sees the request; None when it has nothing against it."""
        ...

    def is_stream(self, call: Call, body: Any) -> bool:
        """Whether a stream is asked for; of any request at all."""
        ...

    def request(self, turn: Turn) -> Request:
        """The request as the policy sees it."""
        ...

    def render(self, reply: Reply, turn: Turn) -> Answer | Pieces:
        """The reply on the wire: an error, a whole answer, or the events of a stream."""
        ...

    def error_event(self, reply: Reply, turn: Turn, index: int) -> bytes:
        """The error as event number `index`, from 0, of a stream that has begun."""
        ...


class Wrong(NamedTuple):
    """A violation of the rules."""

    message: str
    param: str | None = None


def minted(prefix: str, seed: str) -> str:
    """An id: `prefix` and a hash of `seed`."""
    return prefix + sha256(seed.encode()).hexdigest()[:24]


def tokens(value: Any) -> int:
    """Tokens of a value: a token is 4 bytes, rounded up, of its canonical JSON."""
    return -(-len(canonical(value)) // 4)


class Tokens(NamedTuple):
    """Token counts of an answer; normally integers, but a test may say anything."""

    input: Any
    cache_read: Any
    cache_write: Any
    output: Any
    reasoning: Any
    more: Mapping[str, Any]
    """Names that no API shares: passed on as they are."""


def counted(reply: Reply, asked: Any) -> Tokens | None:
    """The tokens of an answer to what was `asked`, as the reply says or by bytes; None when usage shall be missing."""
    if reply.usage == "missing":
        return None
    left = dict(reply.usage)
    return Tokens(
        left.pop("input_tokens", tokens(asked)),
        left.pop("cache_read_input_tokens", 0),
        left.pop("cache_creation_input_tokens", 0),
        left.pop("output_tokens", tokens(list(reply.content))),
        left.pop("reasoning_tokens", 0),
        left,
    )


def total(*counts: Any) -> Any:
    """The sum; of counts that are no integers the first such, so that nonsense stays nonsense."""
    odd = [count for count in counts if type(count) is not int]
    return odd[0] if odd else sum(counts)


def sse(data: Any, event: str | None = None) -> bytes:
    """One server-sent event with JSON data."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def slices(text: str) -> Iterator[str]:
    """The text as a stream brings it."""
    size = max(SLICE, -(-len(text) // SLICES_MAX))
    return (text[start : start + size] for start in range(0, len(text), size))


def parsed(call: Call) -> Any:
    """The body of a call as JSON, else as text."""
    try:
        return call.json()
    except ValueError:
        return call.body.decode(errors="replace")


def is_count(value: Any, least: int = 1) -> bool:
    """Whether it is an integer of at least `least`."""
    return type(value) is int and value >= least


def is_text(value: Any) -> bool:
    """Whether it is text with something in it."""
    return isinstance(value, str) and bool(value.strip())


def refused(wrong: Iterator[Wrong]) -> Reply | None:
    """The first violation as the reply of status 400; None when there is none."""
    first = next(wrong, None)
    return first and error(400, message=first.message, param=first.param)


def repeats(ids: Sequence[str]) -> list[str]:
    """Those that stand there more than once."""
    return sorted({id for id in ids if ids.count(id) > 1})
