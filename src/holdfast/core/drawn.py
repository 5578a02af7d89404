"""Text of strangers on one line, with everything that would not be drawn as itself shown by name. Pure.

That is each character of the Unicode categories Cc, Cf, Cs, Co, Cn, Zl and Zp, each Zs but the plain space, and the
letters and marks that are drawn as nothing: `⟨U+202E⟩`. Never dropped: a reader sees that something was there.
"""

from __future__ import annotations

from typing import Final

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


def _named(character: str) -> str:
    return "\\n" if character == "\n" else f"⟨U+{ord(character):04X}⟩"
