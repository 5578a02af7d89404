"""The Anthropic Messages API, at Anthropic, on Bedrock (not streamed) and on Vertex.

https://platform.claude.com/docs/en/api/messages, …/api/errors and …/build-with-claude/streaming. Pure; it reads what
strangers sent and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from holdfast.core.events import Effect
from holdfast.core.usage import Usage
from holdfast.models import bounds
from holdfast.models.call import Answered, Asked, Sse
from holdfast.models.fault import fault
from holdfast.models.field import count, members, names, object_in, part, rows, text
from holdfast.models.stream import Piece, folded, piece_of

NAME = "anthropic"
STEP = "messages"
HISTORY = "messages"

TOOL_PROMPT_TOKENS = 1_000
"""For any tools, and once more for each that the provider defines: the documented prompts have 200 to 800
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing)."""
_PATH = re.compile(
    r"(.*/v1/messages|.*?/model/(.+)/invoke|.*/publishers/anthropic/models/([^/:]+):(?:streamR|r)awPredict)"
)
_COUNT_TOKENS = "count-tokens"
"""On Vertex, what looks like a model and counts tokens."""
ENDS = ("message_stop", "error")
_BLOCKS = ("content_block_start", "content_block_delta", "content_block_stop")
_EVENTS = ("message_start", "message_delta", "ping", *_BLOCKS, *ENDS)
_ELSEWHERE = ("advisor_message", "compaction")
"""Iterations whose tokens are billed, and left out of the sum in `usage`."""
_CALLERS_OWN = ("bash_", "browser_toolset_", "computer_", "memory_", "text_editor_")
"""Tools that the provider describes to the model, and the caller runs."""
_READS = ("advisor_", "tool_search_tool_", "web_fetch_", "web_search_")
"""Tools that the provider runs, and that change nothing."""


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """See `Provider`: a message is asked for, of whatever server."""
    found = _PATH.fullmatch(path)
    if method != "POST" or found is None:
        return False
    bedrock, vertex = found[2], found[3]
    if vertex is not None:
        return bool(vertex != _COUNT_TOKENS)
    return "anthropic-version" in headers or "anthropic" in (bedrock or "")


def asked(head: Mapping[str, Any], path: str, size: int) -> Asked:
    """See `Provider`."""
    found, tools = _PATH.fullmatch(path), rows(head.get("tools"))
    theirs = [tool for tool in tools if not _is_own(tool)]
    uses = [count(tool.get("max_uses")) for tool in theirs]
    because = _because(head, theirs)
    return Asked(
        model=text(head.get("model")) or (text(found[2] or found[3]) if found is not None else ""),
        head_max=weigh(head.get("system"), size) + _tool_prompts(tools),
        output_max=count(head.get("max_tokens")),
        is_stream=head.get("stream") is True or path.endswith(":streamRawPredict"),
        keeps_long=_keeps_long(head),
        searches_max=_searches_max(theirs),
        tier=_tier(head),
        rounds=bounds.rounds(uses) if theirs or because else 1,
        effect=Effect.ONCE if because else Effect.READ,
        because=because,
        tools=names([tool.get("name") for tool in tools if _is_own(tool)]),
    )


def weigh(message: Any, size: int) -> int:
    """See `Provider`."""
    return bounds.weigh(message, size, _media, ("content",))


def with_model(head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
    """See `Provider`."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    group = 2 if found[2] else 3
    if found[group] is None:
        return {"model": model}, path
    begin, end = found.span(group)
    return {}, path[:begin] + quote(model, safe=":;@.") + path[end:]


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    body = object_in(raw)
    if body is None:
        return Answered(status, is_object=False)
    return fault(status, body) or _message(status, body, body.get("usage"))


def streamed(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    return folded(status, raw, answered, _fold, unread=_BLOCKS)


def ends(event: Sse) -> bool:
    """See `Provider`."""
    if event.event and event.event not in ENDS:  # the most of them; their data need not be read
        return False
    piece = piece_of(event)
    return piece is not None and piece[0] in ENDS


# --- requests ----------------------------------------------------------------------------------------------------


def _is_own(tool: Mapping[str, Any]) -> bool:
    """Whether the caller runs this tool."""
    kind = tool.get("type")
    return kind is None or kind == "custom" or (isinstance(kind, str) and kind.startswith(_CALLERS_OWN))


def _because(head: Mapping[str, Any], theirs: list[dict[str, Any]]) -> str:
    """What of this request may change the world; empty when nothing."""
    for tool in theirs:
        kind = text(tool.get("type"))
        if not kind.startswith(_READS):
            return f"the provider runs the tool {kind or 'without a type'}"
    named = [name for name in ("mcp_servers", "container", "thread") if head.get(name)]
    return f"it uses {', '.join(named)} at the provider" if named else ""


def _searches_max(theirs: list[dict[str, Any]]) -> int | None:
    uses = [count(tool.get("max_uses")) for tool in theirs if text(tool.get("type")).startswith("web_search_")]
    return None if None in uses else sum(use for use in uses if use is not None)


def _tool_prompts(tools: list[dict[str, Any]]) -> int:
    described = sum(1 for tool in tools if "input_schema" not in tool)
    return TOOL_PROMPT_TOKENS * (1 + described) if tools else 0


def _keeps_long(head: Mapping[str, Any]) -> bool:
    """Whether the head writes a cache that is kept for an hour."""
    marked = [head, *rows(head.get("system")), *rows(head.get("tools"))]
    caches = [members(holder.get(name)) for holder in marked for name in ("cache_control", "caching")]
    return any(cache.get("ttl") == "1h" for cache in caches)


def _media(block: dict[str, Any]) -> bounds.Media | None:
    kind, source = block.get("type"), block.get("source")
    if kind not in ("image", "document", "container_upload") or (kind == "document" and _is_text(source)):
        return None
    tokens = bounds.CLAUDE_IMAGE_TOKENS if kind == "image" else bounds.CONTEXT_MAX
    data = members(source).get("data")
    return bounds.Media(len(data) if isinstance(data, str) else 0, tokens)


def _is_text(source: Any) -> bool:
    return members(source).get("type") in ("text", "content")


# --- answers -----------------------------------------------------------------------------------------------------


def _fold(status: int, pieces: list[Piece]) -> Answered | None:
    message: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    is_known = False
    for name, body in pieces:
        is_known = is_known or name in _EVENTS
        if name == "error" or isinstance(body.get("error"), dict):
            return fault(status, body) or fault(status, {"error": body})
        if name == "message_start":
            message = members(body.get("message"))
            usage = {**members(message.get("usage"))}
        elif name == "message_delta":  # its counts are sums so far, not additions
            message = {**message, **_given(body.get("delta"))}
            usage |= _given(body.get("usage"))
        elif name == "message_stop":
            return _message(status, message, usage)
    return _message(status, message, None)._replace(is_complete=False) if is_known else None


def _given(value: Any) -> dict[str, Any]:
    """The members of this object that are not null."""
    return {name: given for name, given in members(value).items() if given is not None}


def _message(status: int, body: Mapping[str, Any], usage: Any) -> Answered:
    return Answered(
        status,
        is_object=True,
        served=text(body.get("model")),
        stop_reason=text(body.get("stop_reason")),
        usage=_usage(usage),
    )


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    apart = [each for each in rows(usage.get("iterations")) if each.get("type") in _ELSEWHERE]
    parts = [_one(each) for each in (usage, *apart)]
    whole = [one for one in parts if one is not None]
    if len(whole) < len(parts):
        return None
    searches = part(members(usage.get("server_tool_use")).get("web_search_requests"))
    total = Usage(*(sum(column) for column in zip(*whole, strict=True)))
    return None if searches is None else total._replace(searches=searches, tier=_tier(usage))


def _tier(holder: Mapping[str, Any]) -> str:
    """What is asked for, or was delivered, beyond the ordinary: speed, and a region."""
    words = ["fast"] * (holder.get("speed") == "fast") + ["us"] * (holder.get("inference_geo") == "us")
    return " ".join(words)


def _one(usage: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The counts of one sampling, in the order of `Usage`."""
    given = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    cached = [part(usage.get(f"cache_{what}_input_tokens")) for what in ("read", "creation")]
    input, output, cache_read, cache_write = *given, *cached
    if input is None or output is None or cache_read is None or cache_write is None:
        return None
    long = count(members(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0
    thought = count(members(usage.get("output_tokens_details")).get("thinking_tokens")) or 0
    return input, output, cache_read, cache_write, min(long, cache_write), min(thought, output)
