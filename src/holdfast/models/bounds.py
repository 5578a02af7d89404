"""Upper bounds of the tokens of a call, before it is sent. Pure.

The input of a model is at most one token for each byte of the request that carries it: the tokenisers of all providers
here work on bytes, and JSON never writes a text shorter than its UTF-8. Three things cost more than their bytes, and
have a table instead: pictures and documents, which are named or compressed; the provider's own prompts for tools; and
tools that the provider runs, whose results it reads. None of it can be more than the model's context, each time the
provider reads that (`Asked.rounds`).

What is not covered, so that a call can settle above its reservation: results of provider-run tools where neither the
request nor the provider's documentation bounds how often it runs them (`ROUNDS` is then the documented default), what
the provider charges per container or per file search, and models that the request names for the provider to consult.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from holdfast.core.budget import Price
from holdfast.models.call import Asked

IMAGE_TOKENS = 50_000
"""One picture, with any provider: gpt-4o-mini charges up to 2,833 + 8 × 5,667 = 48,169 tokens for one
(https://platform.openai.com/docs/guides/images-vision#calculating-costs), Claude up to 4,784
(https://platform.claude.com/docs/en/build-with-claude/vision), Gemini 3 up to 2,240
(https://ai.google.dev/gemini-api/docs/media-resolution)."""
CLAUDE_IMAGE_TOKENS = 4_784
"""https://platform.claude.com/docs/en/build-with-claude/vision"""
GEMINI_IMAGE_TOKENS = 16_000
"""2,240 at the highest resolution; Gemini 2 cuts a picture into tiles of 258 tokens, 60 of them at most
(https://ai.google.dev/gemini-api/docs/tokens)."""
ROUNDS = 10
"""How often a provider runs its own tools in one call, where the request does not say
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/server-tools: ten iterations, then `pause_turn`)."""


class Window(NamedTuple):
    """What a model can take in, and put out, in one go."""

    context: int
    """Input and output together."""
    output: int


UNKNOWN = Window(2_000_000, 128_000)
"""For a model in no table: the largest of each that is documented anywhere below. Too much is reserved rather than too
little; `context` and `output_max` in `holdfast.toml` say it better."""
CONTEXT_MAX = UNKNOWN.context
"""For a document that is only named, or so compressed that its bytes say nothing: the whole context."""

_WINDOWS: tuple[tuple[str, Window], ...] = (
    # https://platform.claude.com/docs/en/about-claude/models/overview
    (r"claude-3-(haiku|opus|sonnet)", Window(200_000, 4_096)),
    (r"claude-3-5-", Window(200_000, 8_192)),
    (r"claude-3-7-", Window(200_000, 128_000)),
    (r"claude-opus-4(-[01])?(-20\d{6}|-v|@|$)", Window(200_000, 32_000)),
    (r"claude-(opus|haiku)-4-5", Window(200_000, 64_000)),
    (r"claude-sonnet-4", Window(1_000_000, 128_000)),
    (r"claude-(opus|sonnet|haiku|fable|mythos)-", Window(1_000_000, 128_000)),
    # https://platform.openai.com/docs/models
    (r"gpt-3\.5", Window(16_385, 4_096)),
    (r"gpt-4-turbo", Window(128_000, 4_096)),
    (r"gpt-4o", Window(128_000, 16_384)),
    (r"gpt-4\.1", Window(1_047_576, 32_768)),
    (r"gpt-5(\.[0-3])?(-|$)", Window(400_000, 128_000)),
    (r"gpt-[56]", Window(1_050_000, 128_000)),
    (r"o[134](-|$)", Window(200_000, 100_000)),
    (r"text-embedding-", Window(8_192, 0)),
    # https://ai.google.dev/gemini-api/docs/models
    (r"gemini-1\.5", Window(2_000_000, 8_192)),
    (r"gemini-2\.0", Window(1_048_576, 8_192)),
    (r"gemini-", Window(1_048_576, 65_536)),
)
_KNOWN = tuple((re.compile(pattern), window) for pattern, window in _WINDOWS)
_LONG = b'"1h"'
_PREFIX = re.compile(r"^(?:.*/)?(?:[a-z]{2,6}\.)?(?:anthropic\.)?")
"""What Bedrock, Vertex and gateways put before a model's name."""


def window_of(model: str, overrides: Mapping[str, Price] | None = None) -> Window:
    """The window of this model: what the operator says, else its family's, else `UNKNOWN`."""
    name = _PREFIX.sub("", model[:300])
    found = next((window for pattern, window in _KNOWN if pattern.match(name)), UNKNOWN)
    told = (overrides or {}).get(model)
    if told is None:
        return found
    return Window(told.context or found.context, found.output if told.output_max is None else told.output_max)


def input_max(asked: Asked, messages: int, window: Window) -> int:
    """The most input tokens of a call whose messages weigh so much, each time the provider reads it together.

    messages: the sum of `Provider.weigh`, or the provider's own count of a prefix and the weight of the rest.
    """
    if asked.rounds > 1:  # the results of tools fill up what is left of the context
        return asked.rounds * window.context
    return min(asked.head_max + messages, window.context)


def output_max(asked: Asked, window: Window) -> int:
    """The most output tokens of a call: what it asks for, else what the model can do."""
    return window.output if asked.output_max is None else asked.output_max


def rounds(uses: list[int | None]) -> int:
    """How often a conversation is read when the provider may use tools so many times; None: it is not said."""
    said = sum(use for use in uses if use is not None)
    return ROUNDS if None in uses or not uses else max(1, said + 1)


def long_kept_at(raw: bytes, start: int = 0) -> int:
    """Where a request, as it is sent, may ask for a cache that is kept for an hour; -1 when it does not. It is looked
    for in all its bytes from `start` on: fast, and at worst too much is reserved."""
    return raw.find(_LONG, start)


class Media(NamedTuple):
    """A picture, a sound or a document in a message."""

    inline: int
    """Characters of the message that hold its data, and that are not read as text."""
    tokens: int


def weigh(message: Any, size: int, media: Callable[[dict[str, Any]], Media | None], inner: tuple[str, ...]) -> int:
    """A token for each byte, but what `media` knows by its table.

    inner: members of a block that hold blocks. No other member is looked into: an argument of a tool that looks like
    a picture is text.
    """
    bound, open_ = size, [message]
    while open_:
        node = open_.pop()
        if isinstance(node, list):
            open_ += node
        elif isinstance(node, dict):
            found = media(node)
            if found is not None:
                bound += found.tokens - found.inline
            else:
                open_ += [node[name] for name in inner if name in node]
    return max(bound, 0)


def picture(url: Any, tokens: int) -> Media:
    """A picture by its address, which may hold it (`data:`)."""
    return Media(len(url) if isinstance(url, str) and url.startswith("data:") else 0, tokens)
