"""The OpenAI Chat Completions API: at OpenAI, on Azure, and at servers that speak it (Ollama, vLLM, LiteLLM's proxy).

https://platform.openai.com/docs/api-reference/chat. Pure; it reads what strangers sent and never raises.
A stream says what it used only when it is asked to (`stream_options={"include_usage": True}`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from holdfast.core.events import Effect
from holdfast.models import bounds
from holdfast.models.call import Answered, Asked, Sse
from holdfast.models.fault import fault
from holdfast.models.field import count, members, names, object_in, rows, text
from holdfast.models.openai_usage import tier_of, usage_of
from holdfast.models.stream import DONE, Piece, folded, piece_of

NAME = "openai"
STEP = "chat"
HISTORY = "messages"

_PATH = re.compile(r".*?(?:/openai/deployments/([^/]+))?/chat/completions")
_GOES_ON = re.compile(rb'"finish_reason": ?null')
"""Cannot stand within a text: there the quotes are escaped."""
_READS = ("browser_search", "file_search", "web_search")
"""Tools that some servers run by themselves, and that change nothing."""


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """See `Provider`."""
    return method == "POST" and path.endswith("/chat/completions")


def asked(head: Mapping[str, Any], path: str, size: int) -> Asked:
    """See `Provider`."""
    model, tools = text(head.get("model")) or deployment(_PATH, path), rows(head.get("tools"))
    theirs = [kind for tool in tools if (kind := text(tool.get("type"))) not in ("function", "custom", "")]
    acting = [kind for kind in theirs if not kind.startswith(_READS)]
    own = [members(tool.get(text(tool.get("type")) or "function")).get("name") for tool in tools]
    searches = "web_search_options" in head or "-search-" in model
    return Asked(
        model=model,
        head_max=size,
        output_max=_output_max(head, size),
        is_stream=head.get("stream") is True,
        searches_max=None if theirs else int(searches),
        tier=tier_of(head),
        rounds=bounds.ROUNDS if theirs else 1 + searches,
        effect=Effect.ONCE if acting else Effect.READ,
        because=f"the server runs the tool {acting[0]}" if acting else "",
        tools=names([*own, *(function.get("name") for function in rows(head.get("functions")))]),
    )


def weigh(message: Any, size: int) -> int:
    """See `Provider`."""
    return bounds.weigh(message, size, _media, ("content",))


def with_model(head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
    """See `Provider`."""
    return {"model": model}, with_deployment(_PATH, path, model)


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    body = object_in(raw)
    if body is None:
        return Answered(status, is_object=False)
    return fault(status, body) or _completion(status, body, rows(body.get("choices")))


def streamed(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    return folded(status, raw, answered, _fold)


def ends(event: Sse) -> bool:
    """See `Provider`."""
    if _GOES_ON.search(event.data) and b'"error"' not in event.data:  # the most of them; not worth reading
        return False
    piece = piece_of(event)
    if piece is None:
        return False
    name, body = piece
    choices = rows(body.get("choices"))
    is_over = bool(choices) and all(choice.get("finish_reason") for choice in choices)
    return is_over or name == DONE or fault(200, body) is not None


# --- what Azure adds, also for the other APIs --------------------------------------------------------------------


def deployment(pattern: re.Pattern[str], path: str) -> str:
    """The deployment in an Azure path, which stands for the model; empty elsewhere."""
    found = pattern.fullmatch(path)
    return text(found[1]) if found is not None else ""


def with_deployment(pattern: re.Pattern[str], path: str, model: str) -> str:
    """The path with this deployment in the place of its own, if it has one."""
    found = pattern.fullmatch(path)
    if found is None or found[1] is None:
        return path
    return path[: found.start(1)] + quote(model, safe=":@.") + path[found.end(1) :]


# --- helpers -----------------------------------------------------------------------------------------------------


def _output_max(head: Mapping[str, Any], size: int) -> int | None:
    """For all answers together; a rejected prediction is billed as output, too."""
    given = [most for name in ("max_completion_tokens", "max_tokens") if (most := count(head.get(name))) is not None]
    if not given:
        return None
    return (max(given) + (size if "prediction" in head else 0)) * max(1, count(head.get("n")) or 1)


def _media(node: dict[str, Any]) -> bounds.Media | None:
    kind = node.get("type")
    if kind == "image_url":
        return bounds.picture(members(node.get("image_url")).get("url"), bounds.IMAGE_TOKENS)
    if kind == "file":
        data = members(node.get("file")).get("file_data")
        return bounds.Media(len(data) if isinstance(data, str) else 0, bounds.CONTEXT_MAX)
    if isinstance(node.get("audio"), dict):  # an earlier answer in sound, by its id
        return bounds.Media(0, bounds.CONTEXT_MAX)
    return None


def _fold(status: int, pieces: list[Piece]) -> Answered | None:
    last: dict[str, Any] = {}
    finish: dict[Any, str] = {}
    usage, is_done, is_known = None, False, False
    for name, body in pieces:
        wrong = fault(status, body)
        if wrong is not None:
            return wrong
        is_done = is_done or name == DONE
        if "choices" in body or "usage" in body:
            is_known, last = True, body
        for choice in rows(body.get("choices")):
            index = count(choice.get("index"))
            finish[index] = text(choice.get("finish_reason")) or finish.get(index, "")
        usage = _counted(body) or usage
    if not (is_known or is_done):
        return None
    is_complete = is_done or (bool(finish) and all(finish.values()))
    choices = [{"finish_reason": next(iter(finish.values()), "")}]
    return _completion(status, {**last, "usage": usage if is_complete else None}, choices)._replace(
        is_complete=is_complete
    )


def _counted(chunk: Mapping[str, Any]) -> Any:
    """The usage in this chunk; Groq has its own place for it."""
    return chunk.get("usage") or members(chunk.get("x_groq")).get("usage")


def _completion(status: int, body: Mapping[str, Any], choices: list[dict[str, Any]]) -> Answered:
    served = text(body.get("model"))
    return Answered(
        status,
        is_object=True,
        served=served,
        stop_reason=text(choices[0].get("finish_reason")) if choices else "",
        usage=usage_of(
            body.get("usage"), "prompt", "completion", searches=int("-search-" in served), tier=tier_of(body)
        ),
    )
