"""Text of strangers made safe to show: what models, tools, keys and questions say never steers a terminal.

Everything that a terminal, a log or a chat would not draw as itself is shown by name, `⟨U+202E⟩`, never dropped:
a reader sees that something was there. That is each character of the Unicode categories Cc, Cf, Cs, Co, Cn, Zl and
Zp, each Zs but the plain space, and the letters and marks that are drawn as nothing. A line break is shown as `\\n`.
"""

from __future__ import annotations

import json
from typing import Any, Final

_UNDRAWN: Final = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160),  # Hangul fillers
        (0x17B4, 0x17B5),  # Khmer inherent vowels
        (0x180B, 0x180F),  # Mongolian selectors
        (0x2800, 0x2800),  # the Braille pattern without a dot
        (0x3164, 0x3164),  # Hangul filler
        (0xFE00, 0xFE0D),  # variation selectors, but for the two that choose between text and emoji
        (0xFFA0, 0xFFA0),  # half-width Hangul filler
        (0xE0100, 0xE01EF),  # more variation selectors: they can carry a hidden message
    )
    for code in range(first, last + 1)
)


def is_drawn(character: str) -> bool:
    """Whether a terminal draws this character as itself."""
    return character.isprintable() and character not in _UNDRAWN  # isprintable: none of the categories above


def safe_text(text: str, limit: int | None = None) -> str:
    """`text` on one line, every character that is not drawn by name; past `limit` it says how much is hidden."""
    hidden = 0 if limit is None else max(0, len(text) - limit)
    kept = text[:limit] if hidden else text
    shown = "".join(character if is_drawn(character) else _named(character) for character in kept)
    return f"{shown}… ({hidden} more characters)" if hidden else shown


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


def _named(character: str) -> str:
    return "\\n" if character == "\n" else f"⟨U+{ord(character):04X}⟩"
