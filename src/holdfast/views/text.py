"""Text of strangers made safe to show: what models, tools, keys and questions say never steers a terminal.

What would not be drawn as itself is shown by name, see `core.drawn`. A line break is shown as `\\n`.
"""

from __future__ import annotations

import json
from typing import Any

from holdfast.core.drawn import is_drawn as is_drawn
from holdfast.core.drawn import safe_text as safe_text


def safe_lines(text: str) -> str:
    """`text` with its line breaks and tabs, everything else as in `safe_text`."""
    return "\n".join("\t".join(map(safe_text, line.split("\t"))) for line in text.split("\n"))


def safe_json(tree: Any, indent: int | None = 2) -> str:
    """`tree` as JSON that says the same and holds no character that is not drawn: those are `\\uXXXX`."""
    text = json.dumps(tree, ensure_ascii=False, indent=indent, allow_nan=False)
    return "".join(c if c == "\n" or is_drawn(c) else json.dumps(c)[1:-1] for c in text)


def ago(seconds: float) -> str:
    """A time span in one unit, as a person says it."""
    left = max(0.0, seconds)
    for unit, size, enough in (("s", 1, 90), ("min", 60, 90 * 60), ("h", 3600, 36 * 3600)):
        if left < enough:
            return f"{left / size:.0f} {unit}"
    return f"{left / 86400:.0f} d"


def counted(number: int, what: str) -> str:
    """So many of it: `1 step`, `3 steps`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
