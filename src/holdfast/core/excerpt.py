"""Text for whoever goes on, within a number of tokens: which lines are left out first, and what is said of them. Pure.

A token counts as three bytes of UTF-8. That needs no model's tokenizer, and prose, code and paths are fewer tokens than
that for all of them; digests, which are more, are shortened.

Invariants
1. A text is never longer than its tokens, whatever the lines are.
2. Lines are left out in one fixed order: those of the highest rank first, and of one rank the last one first.
3. What is left out is said: how many of what, and how to see it.
4. What strangers wrote stands in quotes on one line, with every quote in it escaped and everything that is not drawn
   shown by name: it is never a line of its own, and never looks like one of ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from holdfast.core.drawn import safe_text

BYTES_PER_TOKEN: Final = 3
TOKENS_MIN: Final = 300
"""Below, not even the first lines of what whoever goes on has to know would fit."""
QUOTE_MAX: Final = 240
"""Characters of a stranger's text that are shown, unless it is said otherwise."""


class Line(NamedTuple):
    """One line, and how much it matters."""

    text: str
    rank: int = 0
    """0: never left out while there is room for it alone."""
    what: str = "line"
    """What is counted when it is left out, in the singular."""
    heading: str = ""
    """The section that it stands in, whose lines stand together; it is shown while any of them is."""
    count: int = 1  # type: ignore[assignment] # the word for it, whatever tuples call so
    """Of how many of these it tells."""


class Excerpt(NamedTuple):
    """What is left of lines within some tokens."""

    text: str
    tokens: int
    left_out: Mapping[str, int]
    """How many of what, in the order in which they were left out."""


def cut(lines: Sequence[Line], tokens: int, how: str = "") -> Excerpt:
    """As much of the lines as the tokens allow. how: where the rest is seen, as a sentence."""
    room = max(tokens, 0) * BYTES_PER_TOKEN
    headings = list(dict.fromkeys(line.heading for line in lines))
    lines = sorted(lines, key=lambda line: headings.index(line.heading))  # each heading once
    shown = Counter(line.heading for line in lines)
    size = sum(_size(line.text) for line in lines) + sum(map(_heading_size, shown))
    out: set[int] = set()
    left: Counter[str] = Counter()
    for place in sorted(range(len(lines)), key=lambda place: (-lines[place].rank, -place)):
        if size + _size(_said(left, how)) + 1 <= room:
            break
        line = lines[place]
        out.add(place)
        left[line.what] += line.count
        shown[line.heading] -= 1
        size -= _size(line.text) + (0 if shown[line.heading] else _heading_size(line.heading))
    text = clipped(_text([line for place, line in enumerate(lines) if place not in out], _said(left, how)), room)
    return Excerpt(text, tokens_of(text), dict(left))


def tokens_of(text: str) -> int:
    """How many tokens a text counts as."""
    return -(-len(_bytes(text)) // BYTES_PER_TOKEN)


def _text(lines: Iterable[Line], said: str) -> str:
    parts: list[str] = []
    heading = ""
    for line in lines:
        if line.heading != heading:
            heading = line.heading
            parts += ["", f"## {heading}"] if heading else [""]
        parts.append(line.text)
    return "\n".join([*parts, *(["", said] if said else [])])


def _said(left: Mapping[str, int], how: str) -> str:
    if not left:
        return ""
    return f"Left out, for want of room: {', '.join(counted(n, what) for what, n in left.items())}. {how}".rstrip()


def counted(number: int, what: str) -> str:
    """So many of it: `1 note`, `3 notes`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _size(line: str) -> int:
    return len(_bytes(line)) + 1


def _heading_size(heading: str) -> int:
    """With what stands before it, and the empty line above."""
    return len(_bytes(heading)) + 5


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


# --- text of strangers -------------------------------------------------------------------------------------------


def clipped(text: str, most: int) -> str:
    """`text`, or the beginning of it that is at most so many bytes; at its end three dots, where there is room."""
    whole = _bytes(text)
    if len(whole) <= most:
        return text
    dots = "…" if most >= BYTES_PER_TOKEN else ""
    return whole[: most - len(_bytes(dots))].decode("utf-8", "ignore") + dots


def quoted(text: Any, most: int = QUOTE_MAX) -> str:
    """What a stranger wrote, in quotes; past `most` characters it is said, outside of them, how many more there are."""
    whole = str(text)
    more = len(whole) - most
    return f'"{_escaped(whole[:most])}"' + (f" and {counted(more, 'more character')}" if more > 0 else "")


def short(text: str, most: int) -> str:
    """The same of a name: at most so many bytes of it, without a word of how many more there are."""
    return f'"{clipped(_escaped(text), most)}"'


def _escaped(text: str) -> str:
    return safe_text(text.replace("\\", "\\\\").replace('"', '\\"'))


def code(text: str, most: int = QUOTE_MAX) -> str:
    """What is typed, between as many backticks as it takes; on one line."""
    kept = safe_text(text, most)
    ticks = "`"
    while ticks in kept:
        ticks += "`"
    pad = " " if kept.startswith("`") or kept.endswith("`") else ""
    return f"{ticks}{pad}{kept}{pad}{ticks}"
