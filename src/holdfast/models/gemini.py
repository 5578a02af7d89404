"""Google's Gemini API (`generateContent`), with an API key and on Vertex.

https://ai.google.dev/api/generate-content. Pure; it reads what strangers sent and never raises. JSON of Google's may be
written in camelCase or snake_case.
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
from holdfast.models.field import count, members, names, parsed, part, rows, text
from holdfast.models.stream import Piece, folded, piece_of

NAME = "google"
STEP = "generate"
HISTORY = "contents"

_PATH = re.compile(r".*/(?:models|tunedModels|endpoints)/([^/:]+):(generateContent|streamGenerateContent)")
_OWN = ("computerUse", "functionDeclarations")
"""Tools that the caller runs."""
_SEARCHES = ("enterpriseWebSearch", "googleSearch", "googleSearchRetrieval")
_READS = (*_SEARCHES, "fileSearch", "googleMaps", "retrieval", "urlContext")
"""Tools that Google runs, and that change nothing."""
_ONE_SEARCH = re.compile(r"(?:.*/)?gemini-[12]\b")
"""Models whose searches are billed by the prompt, not by the query
(https://ai.google.dev/gemini-api/docs/google-search#pricing)."""
_TIERS = ("flex", "priority")


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """See `Provider`."""
    return method == "POST" and _PATH.fullmatch(path) is not None


def asked(head: Mapping[str, Any], path: str, size: int) -> Asked:
    """See `Provider`."""
    found, tools = _PATH.fullmatch(path), rows(head.get("tools"))
    theirs = [name for tool in tools for name in map(_camel, tool) if name not in _OWN]
    acting = [name for name in theirs if name not in _READS]
    named = bounds.CONTEXT_MAX * bool(_get(head, "cachedContent"))
    system = weigh(_get(head, "systemInstruction"), size)
    model = text(found[1]) if found is not None else ""
    return Asked(
        model=model,
        head_max=system + named,
        output_max=_output_max(members(_get(head, "generationConfig"))),
        is_stream=path.endswith(":streamGenerateContent"),
        searches_max=_searches_max(theirs, model),
        tier=_tier(head),
        rounds=bounds.ROUNDS if theirs else 1,
        effect=Effect.ONCE if acting else Effect.READ,
        because=f"the provider runs the tool {text(acting[0])}" if acting else "",
        tools=names([one.get("name") for tool in tools for one in rows(_get(tool, "functionDeclarations"))]),
    )


def weigh(message: Any, size: int) -> int:
    """See `Provider`."""
    return bounds.weigh(message, size, _media, ("parts", "functionResponse", "function_response"))


def with_model(head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
    """See `Provider`."""
    found = _PATH.fullmatch(path)
    if found is None or _get(head, "cachedContent"):  # which belongs to one model
        return None
    return {}, path[: found.start(1)] + quote(model, safe="@.") + path[found.end(1) :]


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`. A stream without `alt=sse` is a list of chunks, and so may an error be."""
    body = parsed(raw)
    if isinstance(body, list):
        pieces: list[Piece] = [("", row) for row in rows(body)]
        return _fold(status, pieces) or Answered(status, is_object=False)
    if not isinstance(body, dict):
        return Answered(status, is_object=False)
    return fault(status, body) or _content(status, [body])


def streamed(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    if status < 300 and raw.lstrip()[:1] == b"[":
        whole = answered(status, raw)
        return whole if whole.is_object else Answered(status, is_object=True, is_complete=False)
    return folded(status, raw, answered, _fold)


def ends(event: Sse) -> bool:
    """See `Provider`."""
    piece = piece_of(event)
    return piece is not None and (_is_over([piece[1]]) or fault(200, piece[1]) is not None)


# --- requests ----------------------------------------------------------------------------------------------------


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _get(holder: Mapping[str, Any], name: str) -> Any:
    """This member, in either way of writing."""
    if name in holder:
        return holder[name]
    return holder.get(re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name))


def _output_max(config: Mapping[str, Any]) -> int | None:
    """For all its answers together; thoughts are within."""
    most = count(_get(config, "maxOutputTokens"))
    return None if most is None else most * max(1, count(_get(config, "candidateCount")) or 1)


def _searches_max(theirs: list[str], model: str) -> int | None:
    if not any(name in _SEARCHES for name in theirs):
        return 0
    return 1 if _ONE_SEARCH.match(model) else None


def _tier(holder: Mapping[str, Any]) -> str:
    tier = text(_get(holder, "serviceTier")).lower()
    return tier if tier in _TIERS else ""


def _media(node: dict[str, Any]) -> bounds.Media | None:
    inline, file = members(_get(node, "inlineData")), members(_get(node, "fileData"))
    if not inline and not file:
        return None
    kind = text(_get(inline or file, "mimeType"))
    tokens = bounds.GEMINI_IMAGE_TOKENS if kind.startswith("image/") else bounds.CONTEXT_MAX
    data = inline.get("data")
    return bounds.Media(len(data) if isinstance(data, str) else 0, tokens)


# --- answers -----------------------------------------------------------------------------------------------------


def _fold(status: int, pieces: list[Piece]) -> Answered | None:
    bodies = [body for _, body in pieces]
    wrong = next((found for body in bodies if (found := fault(status, body)) is not None), None)
    if wrong is not None:
        return wrong
    known = [body for body in bodies if {"candidates", "usageMetadata", "promptFeedback"} & body.keys()]
    if not known:
        return None
    return (
        _content(status, known) if _is_over(known) else _content(status, known)._replace(is_complete=False, usage=None)
    )


def _is_over(bodies: list[dict[str, Any]]) -> bool:
    """Whether every candidate has come to its end, or the prompt was refused."""
    if any(members(body.get("promptFeedback")).get("blockReason") for body in bodies):
        return True
    ends: dict[int | None, bool] = {}
    for candidate in (one for body in bodies for one in rows(body.get("candidates"))):
        index = count(candidate.get("index"))
        ends[index] = ends.get(index, False) or bool(candidate.get("finishReason"))
    return bool(ends) and all(ends.values())


def _content(status: int, bodies: list[dict[str, Any]]) -> Answered:
    candidates = [one for body in bodies for one in rows(body.get("candidates"))]
    served = next((name for body in bodies if (name := text(body.get("modelVersion")))), "")
    blocked = (text(members(body.get("promptFeedback")).get("blockReason")) for body in bodies)
    reasons = [reason for one in candidates if (reason := text(one.get("finishReason")))]
    counts = next((body["usageMetadata"] for body in reversed(bodies) if "usageMetadata" in body), None)
    return Answered(
        status,
        is_object=True,
        served=served,
        stop_reason=reasons[0] if reasons else next(filter(None, blocked), ""),
        usage=_usage(counts, _searches(candidates, served)),
    )


def _searches(candidates: list[dict[str, Any]], served: str) -> int:
    asked_for = [members(one.get("groundingMetadata")).get("webSearchQueries") for one in candidates]
    queries = {query for some in asked_for if isinstance(some, list) for query in names(some)}
    return min(len(queries), 1) if _ONE_SEARCH.match(served) else len(queries)


def _usage(counts: Any, searches: int) -> Usage | None:
    """The prompt holds the cached tokens; what tools read, and the thoughts, are apart from it and from the answer."""
    if not isinstance(counts, dict):
        return None
    prompt, total = count(counts.get("promptTokenCount")), part(counts.get("totalTokenCount"))
    cached, answer = part(counts.get("cachedContentTokenCount")), part(counts.get("candidatesTokenCount"))
    thought, tools = part(counts.get("thoughtsTokenCount")), part(counts.get("toolUsePromptTokenCount"))
    if prompt is None or cached is None or answer is None or thought is None or tools is None or total is None:
        return None
    if cached > prompt:
        return None
    fresh = prompt - cached + tools
    output = max(answer + thought, total - prompt - tools)
    made = counts.get("candidatesTokensDetails")
    return Usage(
        fresh,
        output,
        cache_read=cached,
        reasoning=thought,
        searches=searches,
        sound_input=min(_of(counts.get("promptTokensDetails"), "AUDIO"), fresh),
        sound_output=min(_of(made, "AUDIO"), answer),
        picture_output=min(_of(made, "IMAGE", "VIDEO"), answer),
        tier=_tier(counts),
    )


def _of(details: Any, *modalities: str) -> int:
    """The tokens of these kinds."""
    return sum(count(row.get("tokenCount")) or 0 for row in rows(details) if row.get("modality") in modalities)
