"""Which requests ask a model, and which hosts are a model provider's. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast.models import anthropic, gemini, openai_chat, openai_embeddings, openai_responses
from holdfast.models.call import Provider

PROVIDERS: tuple[Provider, ...] = (anthropic, openai_chat, openai_responses, openai_embeddings, gemini)
HOSTS = re.compile(
    r"api\.anthropic\.com|api\.openai\.com|[\w-]+\.(openai|services\.ai|cognitiveservices)\.azure\.com"
    r"|generativelanguage\.googleapis\.com|([\w-]+-)?aiplatform\.googleapis\.com"
    r"|bedrock-runtime[\w-]*\.[\w-]+\.amazonaws\.com"
    r"|api\.(mistral|deepseek|x|together|fireworks|cohere|perplexity|cerebras)\.(ai|com|xyz)|api\.groq\.com"
    r"|openrouter\.ai|router\.huggingface\.co|api-inference\.huggingface\.co",
    re.IGNORECASE,
)
"""Hosts of model providers; a host that was asked for a model becomes one for that run."""


def provider_of(method: str, path: str, headers: Mapping[str, str]) -> Provider | None:
    """The wire shape of a request that asks a model; None for all others."""
    if method != "POST":
        return None
    return next((provider for provider in PROVIDERS if provider.is_call(method, path, headers)), None)


def is_model_host(host: str) -> bool:
    """Whether this host is known as a model provider's."""
    return HOSTS.fullmatch(host) is not None
