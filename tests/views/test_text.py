"""Text of strangers, made safe to show.

If these fail, what a model, a tool or a question says can hide or repaint what a person decides about.
"""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from holdfast.views.text import ago, safe_json, safe_lines, safe_text

STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FILLERS = "\u115f\u1160\u3164\uffa0\u2800\u034f\U000e0101"


def test_no_code_point_survives_that_steers_or_hides() -> None:
    """Without this, one forgotten character is enough to hide a command (S12)."""
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    unsafe = [c for c in every if unicodedata.category(c) in STEERING or (unicodedata.category(c) == "Zs" and c != " ")]
    assert len(unsafe) > 900_000
    shown = safe_text("".join(every))
    assert not any(unicodedata.category(c) in STEERING for c in set(shown))
    assert not set(shown) & (set(unsafe) | set(FILLERS))
    drawn = set(every) - set(unsafe)
    assert len(drawn - set(shown)) < 300, "a letter is shown as itself"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünï and 日本語", "plain, ünï and 日本語"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("two\nlines", "two\\nlines"),
        ("\r\x1b[2K", "⟨U+000D⟩⟨U+001B⟩[2K"),
        ("\udcff", "⟨U+DCFF⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("a\u3164b", "a⟨U+3164⟩b"),
        ("a\u00a0b", "a⟨U+00A0⟩b"),
        ("", ""),
    ],
)
def test_what_is_not_drawn_is_named(text: str, shown: str) -> None:
    """Without this, a reader would not see that something was there."""
    assert safe_text(text) == shown


def test_a_limit_says_how_much_it_hides() -> None:
    """Without this, the end of a long command could be hidden by its beginning."""
    assert safe_text("abcdef", 4) == "abcd… (2 more characters)"
    assert safe_text("abcd", 4) == "abcd"


def test_lines_keep_their_breaks_and_nothing_else() -> None:
    """Without this, a result of several lines would be unreadable on a terminal, or unsafe."""
    assert safe_lines("a\n\tb\x07") == "a\n\tb⟨U+0007⟩"


def test_json_says_the_same_and_steers_nothing() -> None:
    """Without this, a document on a terminal would be obeyed, or an escaped one would say something else."""
    tree = {"k\u202e": ["\x1b\x9b", "\u2028", "日本", "\U000e0041", "\u3164", {"n": 1.5}]}
    for indent in (None, 2):
        text = safe_json(tree, indent)
        assert json.loads(text) == tree
        assert "日本" in text
        assert all(c.isprintable() for line in text.split("\n") for c in line)


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (59, "59 s"), (120, "2 min"), (7200, "2 h"), (86400 * 3, "3 d")]
)
def test_a_span_is_said_in_one_unit(seconds: float, said: str) -> None:
    """Without this, "since 840.2 s" would be left to the reader to work out."""
    assert ago(seconds) == said
