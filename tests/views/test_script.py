"""What may deceive whoever reads a text. Without it a person agrees to a name that only looks like the right one."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from holdfast.views.script import REMARKS_MAX, remarks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "K-17",
        "two lines\n\tand more",
        "Zürich, naïve café, Straße",
        "Ελλάδα",
        "Москва",
        "日本のLatin 漢字カナ",
        "한국어 漢字",
        "x\u0302y",
        "שלום",
        "ada@example.org",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Lost: remarks that mean something, among those that are always there."""
    assert remarks(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p\u0430ypal", ['"p\u0430ypal" mixes Cyrillic and Latin letters']),
        ("\u0440\u0430\u0443", ['"\u0440\u0430\u0443" looks like "pay" and is Cyrillic']),
        ("\u0391\u0392\u0395", ['"\u0391\u0392\u0395" looks like "ABE" and is Greek']),
        ("\uff41dmin", ['"\uff41dmin" is written with unusual forms of "admin"']),
        ("\ufb01ne", ['"\ufb01ne" is written with unusual forms of "fine"']),
        ("a\u202eb\u200b", ["2 characters that cannot be seen, shown as ⟨U+…⟩"]),
        ("K-17 ", ["begins or ends with spaces"]),
        ("bücher.example", ['the name "bücher.example" is xn--bcher-kva.example to computers']),
    ],
)
def test_what_may_deceive_is_named(text: str, said: list[str]) -> None:
    """Lost: a payee, a domain or a command that is drawn like another one (S13)."""
    assert remarks(text) == said


def test_many_remarks_are_counted() -> None:
    """Lost: the facts, under a heap of remarks about one of them."""
    text = " ".join(f"p\u0430y{letter}" for letter in "abcdefgh")
    assert len(remarks(text)) == REMARKS_MAX + 1 and remarks(text)[-1] == "and 3 more"


def test_no_text_makes_a_remark_unsafe_or_fails() -> None:
    """Lost: a remark that steers the terminal by itself; a question that cannot be shown."""
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    for start in range(0, len(every), 1_000):
        for remark in remarks(f"a{'.'.join(every[start : start + 1_000])}b.com"):
            assert all(c.isprintable() and unicodedata.category(c) != "Cf" for c in remark)


@pytest.mark.parametrize("text", ["\u0430" * 200_000, "\u0430." * 100_000, "\u0430-" * 100_000, "a\u0430 " * 70_000])
def test_a_long_text_takes_no_longer_than_its_length(text: str) -> None:
    """Lost: the page, for everybody, by one argument that is made to be slow to look at."""
    assert remarks(text)
