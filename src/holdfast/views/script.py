"""What in a text may deceive whoever reads it: alphabets that are mixed, letters that look like others, odd spaces.

It only remarks; nothing is changed or refused. It knows the alphabets whose letters are mistaken for each other, and
by name those letters that are drawn like Latin ones; it is no copy of Unicode's tables, and other likenesses (`rn` for
`m`, `l` for `1`) are as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

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
_LIKE_LATIN: Final = dict(
    zip(
        "аеорсухѕіјһԁԛԝАВЕКМНОРСТУХЅІЈαοικρυνΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսո",
        "aeopcyxsijhdqwABEKMHOPCTYXSIJaoikpuvABEZHIKMNOPTYXoun",
        strict=True,
    )
)
"""Letters of other alphabets that are drawn like a Latin one, and which: Cyrillic, Greek, Armenian."""


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
    elif scripts and "LATIN" not in scripts and all(letter in _LIKE_LATIN for letter in word if letter.isalpha()):
        yield f'"{word}" looks like "{_as_latin(word)}" and is {scripts.pop().capitalize()}'
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


def _as_latin(word: str) -> str:
    return "".join(_LIKE_LATIN.get(letter, letter) for letter in word)


def _in_ascii(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return "no valid name"
