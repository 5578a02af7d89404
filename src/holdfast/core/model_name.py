"""Names of models: what is the same model under another name. What only looks like it is another model. Pure."""

from __future__ import annotations

import re

NAME_MAX = 300
_SNAPSHOT = re.compile(r"[-@](?:20\d{6}|20\d\d-[01]\d-[0-3]\d|latest)$")
"""The date of a snapshot: `-20250929`, `-2025-09-29`, `@20250929` (Vertex)."""
_NUMBER = re.compile(r"(?<=^gemini-)(.*)-00\d$")
"""The number of one of Google's: `gemini-2.0-flash-001`."""
_BEDROCK = re.compile(r"^(?:([a-z-]{2,8})\.)?anthropic\.(.+?)(?:-v\d+(?::\d+)?)?$")


def names_of(model: str) -> tuple[str, ...]:
    """This name, and the same without the date of its snapshot. Nothing for an empty one, or one beyond belief."""
    if not model or len(model) > NAME_MAX:
        return ()
    return tuple(dict.fromkeys((model, _NUMBER.sub(r"\1", _SNAPSHOT.sub("", model)))))


def at_bedrock(model: str) -> str:
    """Bedrock's name of a Claude model without its version; of the regions only `global` costs differently."""
    found = _BEDROCK.match(model[:NAME_MAX])
    if found is None:
        return model
    return f"{'global' if found[1] == 'global' else 'regional'}.{found[2]}"
