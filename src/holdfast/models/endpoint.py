"""Which requests ask a model. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.models import anthropic, gemini, openai_chat, openai_embeddings, openai_responses
from holdfast.models.call import Provider

PROVIDERS: tuple[Provider, ...] = (anthropic, openai_chat, openai_responses, openai_embeddings, gemini)


def provider_of(method: str, path: str, headers: Mapping[str, str]) -> Provider | None:
    """The wire shape of a request that asks a model; None for all others."""
    if method != "POST":
        return None
    return next((provider for provider in PROVIDERS if provider.is_call(method, path, headers)), None)
