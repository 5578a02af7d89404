"""Which hosts are a model provider's. Pure."""

from __future__ import annotations

import re

HOSTS = re.compile(
    r"api\.anthropic\.com|api\.openai\.com|[\w-]+\.(openai|services\.ai|cognitiveservices)\.azure\.com"
    r"|generativelanguage\.googleapis\.com|([\w-]+-)?aiplatform\.googleapis\.com"
    r"|bedrock-runtime[\w-]*\.[\w-]+\.amazonaws\.com"
    r"|api\.(mistral|deepseek|x|together|fireworks|cohere|perplexity|cerebras)\.(ai|com|xyz)|api\.groq\.com"
    r"|openrouter\.ai|router\.huggingface\.co|api-inference\.huggingface\.co",
    re.IGNORECASE,
)
"""Hosts of model providers; a host that was asked for a model becomes one for that run."""


def is_model_host(host: str) -> bool:
    """Whether this host is known as a model provider's."""
    return HOSTS.fullmatch(host) is not None
