"""What in a text may deceive whoever reads it: alphabets that are mixed, letters that look like others, odd spaces.

It only remarks; nothing is changed or refused. Which letters are drawn alike is Unicode's table (`views.skeleton`); of
Latin letters alone (`rn` for `m`, `l` for `1`) it is said where there is something to compare with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from holdfast.views.skeleton import is_alike, look
from holdfast.views.text import counted, is_drawn, safe_text

_ALSO: Final = {
    "FULLWIDTH": "LATIN",
    "MATHEMATICAL": "LATIN",
    "FEMININE": "LATIN",
    "MASCULINE": "LATIN",
    "MICRO": "GREEK",
    "HALFWIDTH": "KATAKANA",
    "IDEOGRAPHIC": "CJK",
    "MODIFIER": "",
}
"""Letters whose names begin with something else than their alphabet."""
REMARKS_MAX: Final = 5
"""More remarks about one text than that are counted, not listed."""
_WORD = re.compile(r"[^\W_]+")
_DOTTED = re.compile(r"[\w.-]+")
_TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
"""Alphabets that one word of Japanese, Chinese or Korean may mix (the "highly restrictive" profile of UTS 39)."""
_OTHER_HANDS: Final = frozenset(
    {"ARABIC", "HEBREW", "SYRIAC", "THAANA", "NKO", "CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
)
"""Alphabets of which no whole word is taken for one of Latin letters, although single letters are drawn like some."""


def compared(text: str, known: str) -> list[str]:
    """What a reader should know who remembers `known`: that this is another text, and looks the same."""
    if not is_alike(text, known):
        return []
    return [f'looks like "{safe_text(known, 80)}", which was approved last, and is another text']


def remarks(text: str) -> list[str]:
    """What a reader should know about `text`, each in a few words that are safe to show."""
    found = [safe_text(each, 200) for each in dict.fromkeys(_remarks(text))]
    more = len(found) - REMARKS_MAX
    return [*found[:REMARKS_MAX], f"and {more} more"] if more > 0 else found


def _remarks(text: str) -> Iterator[str]:
    undrawn = sum(1 for character in text if not is_drawn(character) and character not in "\n\t")
    if undrawn:
        yield f"{counted(undrawn, 'character')} that cannot be seen, shown as ⟨U+…⟩"
    if text != text.strip(" "):
        yield "begins or ends with spaces"
    if text.isascii():
        return
    for host in map(_trimmed, _DOTTED.findall(text)):
        if not host.isascii() and _is_host(host):
            yield f'the name "{host}" is {_in_ascii(host)} to computers'
    for word in _WORD.findall(text):
        if not word.isascii():
            yield from _of_word(word)


def _of_word(word: str) -> Iterator[str]:
    scripts = {script(letter) for letter in word if letter.isalpha()} - {""}
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        yield f'"{word}" mixes {" and ".join(sorted(each.capitalize() for each in scripts))} letters'
    elif len(scripts) == 1 and not scripts & (_OTHER_HANDS | {"LATIN"}) and all(map(_is_like_latin, word)):
        yield f'"{word}" looks like "{"".join(map(look, word))}" and is {scripts.pop().capitalize()}'
    zeros = {ord(digit) - unicodedata.decimal(digit) for digit in word if digit.isdecimal()}
    if len(zeros) > 1 or (zeros - {ord("0")} and "LATIN" in scripts):
        yield f'"{word}" has digits that are not those of its letters: {_in_digits(word)}'
    plain = unicodedata.normalize("NFKC", word)
    if plain != word and plain != unicodedata.normalize("NFC", word):
        yield f'"{word}" is written with unusual forms of "{plain}"'


@lru_cache(4096)
def script(letter: str) -> str:
    """The alphabet of a letter, by the first word of its name: LATIN, CYRILLIC, CJK; empty for marks and digits."""
    if not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "").split(" ", 1)[0]
    return _ALSO.get(first, first)


def _trimmed(name: str) -> str:
    return name.strip(".-_")


def _is_host(name: str) -> bool:
    *labels, last = name.split(".")
    return bool(labels) and all(labels) and len(last) > 1 and last.isalpha()


def _is_like_latin(letter: str) -> bool:
    return not letter.isalpha() or look(letter).isalpha()


def _in_digits(word: str) -> str:
    return "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in word)


def _in_ascii(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return "no valid name"
