"""What a text looks like: its skeleton by Unicode's table of what is drawn alike (UTS 39, section 4).

Two texts with one skeleton can be taken for each other. A skeleton is for comparing, and for nobody to read: `m` and
`rn` have the same. How a foreign letter looks to a reader of Latin ones is `look`.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

from holdfast.views.text import is_drawn

_TABLE: Final = "confusables.txt"
_TIMES: Final = 4
"""What a letter looks like may, taken apart, look like something else again; no longer chain is in the table."""


@cache
def _table() -> dict[str, str]:
    """By character what it looks like; read at the first text that is not ASCII, or that is compared."""
    found: dict[str, str] = {}
    for line in files("holdfast.views").joinpath(_TABLE).read_text("utf-8").splitlines():
        if not line.startswith("#"):
            look, _, alike = line.partition(" = ")
            target = "".join(chr(int(point, 16)) for point in look.split())
            found.update((chr(int(point, 16)), target) for point in alike.split())
    return found


def skeleton(text: str) -> str:
    """Equal for texts that look alike. What cannot be seen is left out."""
    for _ in range(_TIMES):
        before, text = text, _drawn(text)
        if text == before:
            break
    return text


def _drawn(text: str) -> str:
    table = _table()
    looks = (table.get(each, each if is_drawn(each) else "") for each in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", "".join(looks))


def is_alike(one: str, other: str) -> bool:
    """Whether two texts that differ can be taken for each other."""
    return one != other and skeleton(one) == skeleton(other)


@cache
def _plain() -> dict[str, str]:
    """By skeleton the ASCII letter or digit that is no stranger to it: itself, else the one that has that skeleton."""
    table = _table()
    known = {target: letter for letter in map(chr, range(0x7E, 0x20, -1)) if (target := table.get(letter)) is not None}
    return known | {letter: letter for letter in map(chr, range(0x21, 0x7F)) if letter not in table}


def look(letter: str) -> str:
    """The ASCII text that this foreign letter is drawn like; empty when it is like none."""
    if letter.isascii():
        return letter
    compatible = unicodedata.normalize("NFKC", letter)
    if compatible.isascii():
        return compatible
    target = _table().get(letter, "")
    return _plain().get(target, target) if target.isascii() else ""
