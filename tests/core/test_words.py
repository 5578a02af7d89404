"""Words, parts and snippets: what it means that a text matches.

If these fail, people do not find what is there, or find what is not.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.words import PARTS_MAX, TYPED_MAX, WORDS_MAX, Part, matches, parts, snippet, words
from holdfast.errors import UsageError


def texts(text: str) -> list[str]:
    return [word.text for word in words(text)]


def test_words_are_letters_and_digits_folded() -> None:
    """Lost: `Café` that nobody finds by `cafe`, and a name in code that is found only as a whole."""
    assert texts("Café ÜBER find_invoice(4711) don't e\u0301") == [
        "cafe",
        "uber",
        "find",
        "invoice",
        "4711",
        "don",
        "t",
        "e",
    ]
    assert texts("Straße ﬁn İstanbul ½") == ["strasse", "fin", "istanbul", "1", "2"]
    assert texts("東京 ガイド한국") == ["東", "京", "カ", "イ", "ト", *texts("한국")]
    assert texts("\n\t -_*' ") == []


@given(st.text(max_size=60))
def test_words_are_plain_whatever_the_text(text: str) -> None:
    """Lost: the promise on which engines build: a word is never syntax of theirs."""
    for word in words(text):
        assert word.text and all(character.isalnum() for character in word.text) and "'" not in word.text
        assert 0 <= word.begin < word.end <= len(text)


@given(st.text(max_size=40))
def test_a_text_matches_each_of_its_words(text: str) -> None:
    """Lost: a word that can be read in a run, and that does not find it."""
    for word in words(text):
        assert matches(text, (Part((word.text,)),)) and not matches(text, (Part((word.text,), False, True),))


def test_parts_as_people_type_them() -> None:
    """Lost: quotes, a minus or a star that mean something else than people think."""
    assert parts('refund "Of Cafe" -lost inv* "a b"*') == (
        Part(("refund",)),
        Part(("of", "cafe")),
        Part(("lost",), False, True),
        Part(("inv",), True),
        Part(("a", "b"), True),
    )
    assert parts("ticket-4711 --flag - * 'x'") == (Part(("ticket", "4711")), Part(("flag",)), Part(("x",)))
    assert parts('"open quote') == (Part(("open", "quote")),)
    assert parts('-"not this"') == (Part(("not", "this"), False, True),)
    plain = [" ".join(part.words) for part in parts("OR AND NOT NEAR(a b)")]
    assert plain == ["or", "and", "not", "near a", "b"], "no word is an operator"
    assert parts("") == parts("   ") == ()


def test_what_cannot_be_looked_for_is_refused() -> None:
    """Lost: a search that ignores what was typed and shows everything."""
    for typed in ("!!!", '"-*"', "x" * (TYPED_MAX + 1), "a " * (PARTS_MAX + 1)):
        with pytest.raises(UsageError):
            parts(typed)


def test_a_text_of_too_many_words_is_known_by_the_first_ones() -> None:
    """Lost: a bound on what one run costs everybody."""
    assert len(words("a " * (WORDS_MAX + 5))) == WORDS_MAX


def test_the_snippet_is_around_the_match_and_marks_it() -> None:
    """Lost: why a run was found."""
    text = "word " * 100 + "the Refund of café\nfailed " + "word " * 100
    found = snippet(text, parts('refund "cafe failed" -x'))
    assert len(found.text) < 260 and "\n" not in found.text and found.text.startswith("…") and found.text.endswith("…")
    assert [found.text[begin:end] for begin, end in found.marks] == ["Refund", "café failed"]
    assert snippet("short text", parts("nothing")) == ("short text", ())


@given(st.text(max_size=300), st.lists(st.sampled_from(["a", "b*", '"a b"', "-c", "é"]), max_size=3).map(" ".join))
def test_marks_are_in_order_and_within(text: str, typed: str) -> None:
    """Lost: a mark that cuts the text at the wrong place, where it is escaped piece by piece."""
    found = snippet(text, parts(typed), 50)
    places = [place for mark in found.marks for place in mark]
    assert places == sorted(places) and all(0 <= place <= len(found.text) for place in places)
    assert all(begin < end for begin, end in found.marks)
