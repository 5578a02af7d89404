"""Text within a number of tokens."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.excerpt import Line, clipped, code, cut, quoted, short, tokens_of

LINES = st.lists(
    st.builds(
        Line,
        text=st.text(max_size=60),
        rank=st.integers(0, 5),
        what=st.sampled_from(["note", "step", "line"]),
        heading=st.sampled_from(["", "One", "Two ×"]),
        count=st.integers(1, 9),
    ),
    max_size=40,
)


@given(LINES, st.integers(0, 400), st.text(max_size=30))
def test_it_is_never_longer_than_its_tokens(lines: list[Line], tokens: int, how: str) -> None:
    """An agent's context would be filled by what was promised to be small."""
    found = cut(lines, tokens, how)
    assert found.tokens <= tokens
    assert found.tokens == tokens_of(found.text)


@given(LINES, st.integers(60, 400))
def test_what_is_left_out_is_said_and_is_of_the_highest_ranks(lines: list[Line], tokens: int) -> None:
    """Who reads a brief would take it for all that there is."""
    lines = [line._replace(text=f"{place}. {len(line.text)}") for place, line in enumerate(lines)]
    found = cut(lines, tokens)
    shown = found.text.split("\n")
    out = [place for place, line in enumerate(lines) if line.text not in shown]
    kept = [place for place, line in enumerate(lines) if line.text in shown]
    assert sum(lines[place].count for place in out) == sum(found.left_out.values())
    for what, count in found.left_out.items():
        assert f"{count} {what}" in found.text
    assert ("Left out" in found.text) is bool(out)
    assert not out or not kept or max(lines[place].rank for place in kept) <= min(lines[place].rank for place in out)


def test_of_one_rank_the_last_goes_first() -> None:
    """The newest of what was tried would be missing, and the oldest there."""
    lines = [Line(f"try {number} " + "x" * 40, rank=1, what="try") for number in range(10)]
    shown = cut(lines, 100).text
    assert "try 0 " in shown and "try 9 " not in shown


def test_a_section_without_lines_has_no_heading() -> None:
    """A heading alone says that there is nothing, and there is."""
    lines = [Line("first"), *(Line("x" * 90, 1, "note", "Notes") for _ in range(9))]
    assert "## Notes" in cut(lines, 400).text
    assert "## Notes" not in cut(lines, 40).text
    assert "9 notes" in cut(lines, 40).text


def test_where_the_rest_is_seen_is_said() -> None:
    """Who is told that something is missing has to find it."""
    assert cut([Line("x" * 900, 1, "note")], 40, "Look there.").text.endswith("1 note. Look there.")


@given(st.text(max_size=60))
def test_strangers_text_is_one_line_within_its_quotes(text: str) -> None:
    """A note could end its quote, and go on as if it were ours."""
    told = quoted(text)
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', told), told
    assert all(character.isprintable() for character in told)


def test_what_cannot_be_seen_is_shown_by_name() -> None:
    """Text that runs backwards, or that a reader does not see and a model does, would pass as harmless."""
    assert quoted('a\n## Next\u202e"\x1b[2K\u200b') == '"a\\n## Next⟨U+202E⟩\\"⟨U+001B⟩[2K⟨U+200B⟩"'


def test_a_long_text_says_how_much_more_there_is() -> None:
    """Half a sentence can say the opposite of the whole."""
    assert quoted("x" * 300, 10) == '"xxxxxxxxxx" and 290 more characters'


@given(st.text(max_size=60), st.integers(0, 80))
def test_a_name_is_at_most_so_many_bytes(text: str, most: int) -> None:
    """What is never left out has to fit."""
    assert len(short(text, most).encode()) <= most + 2
    assert len(clipped(text, most).encode("utf-8", "surrogatepass")) <= most


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("make test", "`make test`"),
        ("echo `id`", "`` echo `id` ``"),
        ("a\n- b", "`a\\n- b`"),
        ("``` x", "```` ``` x ````"),
    ],
)
def test_what_is_typed_stays_within_its_backticks(typed: str, shown: str) -> None:
    """A check's command could go on as text of ours."""
    assert code(typed) == shown
