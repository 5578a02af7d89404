"""The OpenAI Embeddings API, at OpenAI, on Azure, and at servers that speak it.

https://platform.openai.com/docs/api-reference/embeddings. Pure; it reads what strangers sent and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from holdfast.models.call import Answered, Asked, Sse
from holdfast.models.fault import fault
from holdfast.models.field import object_in, text
from holdfast.models.openai_chat import deployment
from holdfast.models.openai_usage import usage_of

NAME = "openai"
STEP = "embeddings"
HISTORY = ""

_PATH = re.compile(r"(?:.*/v\d\w*|.*/openai(?:/deployments/([^/]+))?)?/embeddings")
"""Not just any collection that somebody calls so."""


def is_call(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """See `Provider`."""
    return method == "POST" and _PATH.fullmatch(path) is not None


def asked(head: Mapping[str, Any], path: str, size: int) -> Asked:
    """See `Provider`."""
    return Asked(text(head.get("model")) or deployment(_PATH, path), head_max=size, output_max=0)


def weigh(message: Any, size: int) -> int:
    """See `Provider`."""
    return size


def with_model(head: Mapping[str, Any], path: str, model: str) -> tuple[dict[str, Any], str] | None:
    """Never: the vectors of another model mean something else."""
    return None


def answered(status: int, raw: bytes) -> Answered:
    """See `Provider`."""
    body = object_in(raw)
    if body is None:
        return Answered(status, is_object=False)
    usage = usage_of(body.get("usage"), "prompt", "completion")
    return fault(status, body) or Answered(status, True, served=text(body.get("model")), usage=usage)


def streamed(status: int, raw: bytes) -> Answered:
    """It has no streams."""
    return answered(status, raw)


def ends(event: Sse) -> bool:
    """It has no streams."""
    return False
