"""What looks like what. If these fail, a payee that is drawn like the usual one is approved as that (S13, UTS 39)."""

from __future__ import annotations

import string
import unicodedata
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.views.skeleton import is_alike, look, skeleton


def pairs() -> list[tuple[str, str]]:
    """Unicode's own table: what is drawn alike."""
    lines = files("holdfast.views").joinpath("confusables.txt").read_text("utf-8").splitlines()
    found = []
    for line in lines:
        if not line.startswith("#"):
            to, _, alike = line.partition(" = ")
            target = "".join(chr(int(point, 16)) for point in to.split())
            found += [(chr(int(point, 16)), target) for point in alike.split()]
    return found


def test_each_line_of_the_table_is_alike() -> None:
    """Lost: the corpus of the standard, by a table that was cut or is not read."""
    table = pairs()
    assert len(table) == 6_311
    wrong = [(a, b) for a, b in table if skeleton(a) != skeleton(b) and unicodedata.normalize("NFD", a) == a]
    assert wrong == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paypal", "p\u0430ypal"),
        ("paypal", "paypaI"),
        ("paypa1", "paypal"),
        ("modern", "rnodern"),
        ("scope", "\u0455\u0441\u043e\u0440\u0435"),
        ("example.com", "ex\u0430mple.com"),
        ("example.com", "example\u2024com"),
        ("CH93 0076", "\u0421\u041d93 0076"),
        ("CH93 0076", "CH93 O076"),
        ("K-17", "K\u201017"),
        ("refund", "re\u200bfund"),
        ("a/b", "a\u2215b"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u05d0", "\u2135"),
    ],
)
def test_what_is_taken_for_each_other_is_alike(one: str, other: str) -> None:
    """Lost: the name that a person reads, and that a computer does not."""
    assert is_alike(one, other) and is_alike(other, one)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("ab", "ba"), ("K-17", "K-18"), ("a", "a"), ("A", "a")])
def test_what_looks_different_or_is_the_same_is_not(one: str, other: str) -> None:
    """Lost: a warning that stands beside everything."""
    assert not is_alike(one, other)


@given(st.text())
def test_the_skeleton_of_a_skeleton_is_itself(text: str) -> None:
    """Lost: likeness that depends on how often it is asked for."""
    assert skeleton(skeleton(text)) == skeleton(text)


def test_a_latin_letter_looks_like_itself_and_a_foreign_one_like_it() -> None:
    """Lost: “looks like rnodern”, which nobody reads as modern."""
    assert all(look(letter) == letter for letter in string.ascii_letters + string.digits)
    assert [look(letter) for letter in "\u0430\u0435\uff4d\u0391\u03bd\u057d\u13aa\u0436"] == [*"aemAvuA", ""]
