"""The OpenAI Embeddings API as the fake provider speaks it: what it refuses, and the form of what it answers.

A `Dialect`; see there for the seam and the invariants. The policy is asked here too: what it says as text does not
matter, `vectors(...)` gives the answer, and an error is an error. Without vectors each input gets one that is made
from it, of length one.

Never: does I/O, reads a clock, or keeps state.
"""

import base64
import struct
from collections.abc import Iterator, Sequence
from hashlib import sha256
from math import sqrt
from typing import Any

from holdfast.testing.dialect import Turn, Wrong, counted, is_count, total
from holdfast.testing.loopback import Answer, Call, canonical
from holdfast.testing.openai_form import error_of, failed, gate, headers_of, model_of
from holdfast.testing.policy import Reply, Request, Said

NAME = "embeddings"
DIMENSIONS = 8
"""Of a vector, when the request does not say."""
INPUTS_MAX = 2048


def serves(call: Call) -> bool:
    """Whether the path is of this API: any that ends so, as with Azure and compatible servers."""
    return call.path.endswith("/embeddings")


def is_stream(call: Call, body: Any) -> bool:
    """There is no stream of embeddings."""
    return False


def request(turn: Turn) -> Request:
    """The request as the policy sees it."""
    inputs = _inputs(turn.body)
    return Request(
        n=turn.n,
        model=model_of(turn.call, turn.body),
        system=None,
        messages=[],
        tools=[],
        max_tokens=0,
        headers=turn.call.headers,
        body=turn.body,
        api=NAME,
        parts=tuple(Said("user", each) for each in inputs if isinstance(each, str)),
    )


def _inputs(body: dict[str, Any]) -> list[Any]:
    given = body["input"]
    is_one = isinstance(given, str) or isinstance(given[0], int)
    return [given] if is_one else list(given)


def render(reply: Reply, turn: Turn) -> Answer:
    """`reply` on the wire."""
    if reply.status != 200:
        return failed(reply, turn)
    body = turn.body
    size = body.get("dimensions") or DIMENSIONS
    vectors = reply.vectors or [_made(each, size) for each in _inputs(body)]
    as_text = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if as_text else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    told: dict[str, Any] = {"object": "list", "data": data, "model": model_of(turn.call, body)}
    if used := counted(reply, body["input"]):
        asked = total(used.input, used.cache_read, used.cache_write)
        told["usage"] = {"prompt_tokens": asked, "total_tokens": asked, **used.more}
    return Answer(200, told, headers_of(turn, reply))


def error_event(reply: Reply, turn: Turn, index: int) -> bytes:
    """Never asked for, since there is no stream."""
    return canonical({"error": error_of(reply)})


def _made(value: Any, size: int) -> tuple[float, ...]:
    numbers = [int.from_bytes(sha256(canonical([value, n])).digest()[:4]) / 2**31 - 1 for n in range(size)]
    norm = sqrt(sum(number * number for number in numbers)) or 1.0
    return tuple(number / norm for number in numbers)


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def refusal(call: Call) -> Reply | None:
    """What the real API answers before any model sees the request; None when it has nothing against it."""
    return gate(call, lambda body: _violations(call, body))


def _violations(call: Call, body: dict[str, Any]) -> Iterator[Wrong]:
    if not model_of(call, body):
        yield Wrong("You must provide a model parameter.", "model")
    given = body.get("input")
    if given is None:
        yield Wrong("Missing required parameter: 'input'.", "input")
    if not isinstance(given, str | list) or not given:
        yield Wrong("Invalid 'input': expected text, or an array of texts or tokens that is not empty.", "input")
    inputs = _inputs(body)
    if len(inputs) > INPUTS_MAX:
        yield Wrong(f"Invalid 'input': at most {INPUTS_MAX} inputs, not {len(inputs)}.", "input")
    if not all(_is_input(each) for each in inputs):
        yield Wrong("Invalid 'input': each is a text that is not empty, or an array of tokens.", "input")
    if body.get("encoding_format") not in (None, "float", "base64"):
        yield Wrong("Invalid 'encoding_format': expected 'float' or 'base64'.", "encoding_format")
    if body.get("dimensions") is not None and not is_count(body["dimensions"]):
        yield Wrong("Invalid 'dimensions': expected an integer of at least 1.", "dimensions")


def _is_input(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(is_count(token, 0) for token in value)
    return isinstance(value, str) and bool(value)
