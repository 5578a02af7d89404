"""Words as search knows them, in documents and queries alike: every engine is given these, and makes none of its own.

Pure. A word is a run of letters and digits, without accents, its letters folded; a character of Chinese or Japanese is
a word by itself. What is between words says nothing: `find_invoice` is two words, one after the other.

Rules
1. What a person types is never syntax of an engine. A part stands for its words in that order: `ticket-4711`.
   `"of these words"` is one part, `-part` must not be there, and `part*` may go on.
2. A part without a word in it says nothing.
3. `matches` is what it means that a text matches; engines give what it gives.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from holdfast.errors import UsageError

WORDS_MAX: Final = 10_000
"""Of a text, the first so many words are found."""
WORD_MAX: Final = 64
"""Characters of a word; what is longer is its beginning."""
TYPED_MAX: Final = 1_000
PARTS_MAX: Final = 32
SNIPPET: Final = 240
_BEFORE: Final = 60
"""Characters of a snippet before the first match."""
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
_PART = re.compile(r'(?P<sign>-(?=[\w"]))?(?:"(?P<quoted>[^"]*)(?:"(?P<starred>\*)?|$)|(?P<plain>[^\s"]+))')


class Word(NamedTuple):
    """A word, and where in its text it stands."""

    text: str
    begin: int
    end: int


class Part(NamedTuple):
    """Words that stand one after the other."""

    words: tuple[str, ...]
    is_open: bool = False
    """The last of them may go on."""
    is_negative: bool = False
    """They must not be there."""


def words(text: str) -> list[Word]:
    """The words of a text, at most `WORDS_MAX` of them."""
    found: list[Word] = []
    for match in _WORD.finditer(text):
        found += (Word(part, match.start(), match.end()) for part in _folded(match[0]))
        if len(found) >= WORDS_MAX:
            break
    return found[:WORDS_MAX]


def _folded(word: str) -> list[str]:
    if word.isascii():
        return [word.lower()[:WORD_MAX]]
    apart = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(character for character in apart if not unicodedata.combining(character))
    return [part[:WORD_MAX] for part in _WORD.findall(plain.casefold())]


def parts(typed: str) -> tuple[Part, ...]:
    """What was typed, as its parts; UsageError when it is too long, or when there is no word in it."""
    if len(typed) > TYPED_MAX:
        raise UsageError(f"Nobody looks for {len(typed)} characters. Nothing was looked for. Give {TYPED_MAX} at most.")
    found = tuple(part for part in _parts(unicodedata.normalize("NFC", typed)) if part.words)
    if typed.strip() and not found:
        raise UsageError("There is no letter or digit in what is to be found. Nothing was looked for. Give a word.")
    if len(found) > PARTS_MAX:
        raise UsageError(f"{len(found)} words are too many. Nothing was looked for. Give {PARTS_MAX} at most.")
    return found


def _parts(typed: str) -> Iterator[Part]:
    for match in _PART.finditer(typed):
        plain, is_negative = match["plain"], match["sign"] is not None
        is_open = plain.endswith("*") if plain is not None else match["starred"] is not None
        text = plain if plain is not None else match["quoted"]
        yield Part(tuple(word.text for word in words(text)), is_open, is_negative)


def matches(text: str, asked: Sequence[Part]) -> bool:
    """Whether each part is in the text, or is not, as it says."""
    there = [word.text for word in words(text)]
    return all(part.is_negative is not _is_at(there, part) for part in asked)


def _is_at(there: Sequence[str], part: Part) -> bool:
    return next(_at(there, part), None) is not None


def _at(there: Sequence[str], part: Part) -> Iterator[int]:
    """The places at which the part stands, from the first; the last one of its words may go on."""
    *firsts, last = part.words
    size = len(firsts)
    for place in range(len(there) - size):
        end = there[place + size]
        if (end.startswith(last) if part.is_open else end == last) and list(there[place : place + size]) == firsts:
            yield place


class Snippet(NamedTuple):
    """A piece of a text, on one line, and where in it what was looked for stands."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def snippet(text: str, asked: Sequence[Part], size: int = SNIPPET) -> Snippet:
    """The piece around the first match; the beginning where there is none."""
    there = words(text)
    hits = sorted(_hits(there, asked))
    begin = max(0, hits[0][0] - _BEFORE) if hits else 0
    if begin:
        begin = next((word.begin for word in there if word.begin >= begin), begin)
    end = min(len(text), begin + size)
    before, after = "…" if begin else "", "…" if end < len(text) else ""
    piece = "".join(" " if character.isspace() else character for character in text[begin:end])
    marks = [(max(first, begin), min(last, end)) for first, last in hits if first < end and last > begin]
    moved = tuple((first - begin + len(before), last - begin + len(before)) for first, last in _joined(marks))
    return Snippet(f"{before}{piece}{after}", moved)


def _hits(there: Sequence[Word], asked: Sequence[Part]) -> Iterator[tuple[int, int]]:
    texts = [word.text for word in there]
    for part in asked:
        if not part.is_negative:
            for place in _at(texts, part):
                yield there[place].begin, there[place + len(part.words) - 1].end


def _joined(marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, none in another."""
    joined: list[tuple[int, int]] = []
    for begin, end in marks:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
