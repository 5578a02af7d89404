"""The OpenAI Responses API, at OpenAI and on Azure.

https://platform.openai.com/docs/api-reference/responses and …/responses-streaming. Pure; it reads what strangers sent
and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from holdfast.core.events import Effect
from holdfast.models import bounds
from holdfast.models.call import Answered, Asked, Sse
from holdfast.models.fault import fault
from holdfast.models.field import count, members, names, object_in, rows, text
from holdfast.models.openai_chat import deployment, with_deployment
from holdfast.models.openai_usage import tier_of, usage_of
from holdfast.models.stream import Piece, folded, piece_of

NAME = "openai"
STEP = "responses"
HISTORY = "input"

_PATH = re.compile(r"(?:.*/v\d\w*|.*/codex|.*/openai(?:/deployments/([^/]+))?)?/responses")
"""Not just any collection that somebody calls so."""
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_OWN = ("apply_patch", "computer", "custom", "function", "local_shell", "namespace")
"""Tools that the caller runs."""
_READS = ("file_search", "image_generation", "tool_search", "web_search")
"""Tools that the provider runs, and that change nothing."""
_NAMED = ("context_management", "conversation", "previous_response_id", "prompt")
"""What the provider holds for the request, of any length."""


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """See `Provider`."""
    return method == "POST" and _PATH.fullmatch(path) is not None


def asked(head: Mapping[str, Any], path: str, size: int) -> Asked:
    """See `Provider`."""
    tools = rows(head.get("tools"))
    theirs = [text(tool.get("type")) or "without a type" for tool in tools if not _is_own(tool)]
    because = _because(head, theirs)
    uses = count(head.get("max_tool_calls"))
    named = bounds.CONTEXT_MAX * any(head.get(name) for name in _NAMED)
    own = [inner for tool in tools if _is_own(tool) for inner in (tool, *rows(tool.get("tools")))]
    return Asked(
        model=text(head.get("model")) or deployment(_PATH, path),
        head_max=size + named,
        output_max=count(head.get("max_output_tokens")),
        is_stream=head.get("stream") is True,
        keeps_long=members(head.get("prompt_cache_options")).get("ttl") == "12h",
        searches_max=uses if any(kind.startswith("web_search") for kind in theirs) else 0,
        tier=tier_of(head),
        rounds=bounds.rounds([uses]) if theirs or head.get("prompt") else 1,
        effect=Effect.ONCE if because else Effect.READ,
        because=because,
        tools=names([_name(tool) for tool in own]),
    )


def weigh(message: Any, size: int) -> int:
    """See `Provider`."""
    return bounds.weigh(message, size, _media, ("content", "output"))


def with_model(head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
    """See `Provider`."""
    return {"model": model}, with_deployment(_PATH, path, model)


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    body = object_in(raw)
    if body is None:
        return Answered(status, is_object=False)
    return fault(status, body) or _response(status, body)


def streamed(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    return folded(status, raw, answered, _fold)


def ends(event: Sse) -> bool:
    """See `Provider`."""
    if event.event not in ("", *_ENDS, "error") and b'"error"' not in event.data:  # the most; not worth reading
        return False
    piece = piece_of(event)
    return piece is not None and (piece[0] in (*_ENDS, "error") or isinstance(piece[1].get("error"), dict))


# --- helpers -----------------------------------------------------------------------------------------------------


def _is_own(tool: Mapping[str, Any]) -> bool:
    """Whether the caller runs this tool. A shell is the provider's, unless it is said to be local."""
    kind = text(tool.get("type"))
    if kind == "shell":
        return members(tool.get("environment")).get("type") == "local"
    return kind in _OWN or kind.startswith("computer_use_preview")


def _name(tool: Mapping[str, Any]) -> str:
    """A tool that the provider describes has its type for a name; a group of tools has none."""
    kind = text(tool.get("type"))
    return "" if kind == "namespace" else text(tool.get("name")) or kind


def _because(head: Mapping[str, Any], theirs: list[str]) -> str:
    acting = [kind for kind in theirs if not kind.startswith(_READS)]
    if acting:
        return f"the provider runs the tool {acting[0]}"
    if head.get("conversation"):
        return "it writes into a conversation that the provider keeps"
    return "the provider goes on with it in the background" if head.get("background") is True else ""


def _media(node: dict[str, Any]) -> bounds.Media | None:
    kind = node.get("type")
    if kind in ("input_image", "computer_screenshot"):
        return bounds.picture(node.get("image_url"), bounds.IMAGE_TOKENS)
    if kind == "input_file":
        data = node.get("file_data")
        return bounds.Media(len(data) if isinstance(data, str) else 0, bounds.CONTEXT_MAX)
    if kind in ("image_generation_call", "item_reference"):
        data = node.get("result")
        return bounds.Media(len(data) if isinstance(data, str) else 0, bounds.CONTEXT_MAX)
    return None


def _fold(status: int, pieces: list[Piece]) -> Answered | None:
    begun: dict[str, Any] = {}
    is_known = False
    for name, body in pieces:
        response = members(body.get("response"))
        if name in _ENDS:
            return fault(status, response) or _response(status, response)
        if name == "error" or isinstance(body.get("error"), dict):
            return fault(status, body if isinstance(body.get("error"), dict) else {"error": {**body, "type": ""}})
        is_known = is_known or name.startswith("response.")
        begun = response or begun
    if not is_known:
        return None
    return Answered(status, is_object=True, is_complete=False, served=text(begun.get("model")))


def _response(status: int, body: Mapping[str, Any]) -> Answered:
    searches = sum(1 for item in rows(body.get("output")) if _is_billed_search(item))
    return Answered(
        status,
        is_object=True,
        served=text(body.get("model")),
        stop_reason=text(members(body.get("incomplete_details")).get("reason")) or text(body.get("status")),
        usage=usage_of(body.get("usage"), "input", "output", searches=searches, tier=tier_of(body)),
    )


def _is_billed_search(item: Mapping[str, Any]) -> bool:
    """A search is billed; opening a page that it found, and looking for words in it, are not."""
    kind = members(item.get("action")).get("type")
    return item.get("type") == "web_search_call" and kind in (None, "search")
