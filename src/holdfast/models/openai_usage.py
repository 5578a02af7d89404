"""Tokens as the OpenAI APIs, and the servers that speak like them, count them. Pure.

https://platform.openai.com/docs/api-reference/chat/object#chat-object-usage. Their input holds the cached tokens, and
their output the reasoning; ours takes the former apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.core.usage import Usage
from holdfast.models.field import count, members, part, text

ORDINARY = ("auto", "default")
"""Tiers of service at the ordinary price."""


def usage_of(usage: Any, input: str, output: str, *, searches: int = 0, tier: str = "") -> Usage | None:
    """The usage in this object, whose members are named `<input>_tokens` and `<output>_tokens`."""
    if not isinstance(usage, dict):
        return None
    details, made = members(usage.get(f"{input}_tokens_details")), members(usage.get(f"{output}_tokens_details"))
    asked, answered = count(usage.get(f"{input}_tokens")), part(usage.get(f"{output}_tokens"))
    read = part(_first(details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens")))  # the latter: DeepSeek
    write = part(_first(details.get("cache_write_tokens"), details.get("cache_creation_tokens")))  # the latter: LiteLLM
    if asked is None or answered is None or read is None or write is None or read > asked:
        return None
    write = min(write, asked - read)
    answered = max(answered, (count(usage.get("total_tokens")) or 0) - asked)  # Google leaves the thoughts out there
    long = count(members(details.get("cache_write_tokens_details")).get("ttl_12h_tokens")) or 0
    thought = count(made.get("reasoning_tokens")) or 0
    fresh = asked - read - write
    return Usage(
        fresh,
        answered,
        read,
        write,
        cache_write_long=min(long, write),
        reasoning=min(thought, answered),
        searches=searches,
        sound_input=min(count(details.get("audio_tokens")) or 0, fresh),
        sound_output=min(count(made.get("audio_tokens")) or 0, answered),
        tier=tier,
    )


def tier_of(holder: Mapping[str, Any]) -> str:
    """The tier of service that a request asks for, or a response was served at; empty for the ordinary one."""
    tier = text(holder.get("service_tier"))
    return "" if tier in ORDINARY else tier


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
