"""INPUT, read by the agent's annotation.

If these fail, an agent gets text where it declared a number, or another text than was typed.
"""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest

from holdfast.cli import input as given
from holdfast.errors import UsageError


class Ticket(pydantic.BaseModel):
    """What an agent may take."""

    number: int
    urgent: bool = False


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("hello", str, "hello"),
        ("4711", str, "4711"),
        ("null", str, "null"),
        ('{"a": 1}', str, '{"a": 1}'),
        ('"a \\"quoted\\" text"', str, 'a "quoted" text'),
        ('"@home"', str, "@home"),
        ("", str, ""),
        ("4711", None, 4711),
        ("hello", None, "hello"),
        ('{"a": [1]}', Any, {"a": [1]}),
        ("NaN", None, "NaN"),
        ("4711", int, 4711),
        ("[1, 2]", list[int], [1, 2]),
        ('{"number": 3}', Ticket, Ticket(number=3)),
        ("2026-11-23", date, date(2026, 11, 23)),
        ("low", Literal["low", "high"], "low"),
        ("hello", str | None, "hello"),
        ("null", str | None, None),
    ],
)
def test_a_text_is_read_by_the_annotation(text: str, annotation: Any, value: Any) -> None:
    """Without this, `4711` would be a number for one agent and a text for the next, at random."""
    read = given.value(text, annotation)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "annotation", "told"),
    [
        ('{"number": "many"}', Ticket, "number"),
        ("{number: 3}", Ticket, "Invalid JSON"),
        ("hello", int, "int"),
        ('{"number": 3, "urgent": []}', Ticket, "urgent"),
    ],
)
def test_what_does_not_fit_is_said(text: str, annotation: Any, told: str) -> None:
    """Without this, the agent would fail later, in the middle, with an error of its own."""
    with pytest.raises(UsageError, match=told):
        given.value(text, annotation)


def test_files_and_stdin_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a line break more or less would make the same file another input, and its key a mismatch."""
    file = tmp_path / "ticket.txt"
    file.write_bytes("naïve\r\n".encode())
    assert given.given(f"@{file}") == "naïve\r\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped\n")))
    assert given.given("-") == "piped\n"
    file.write_bytes(b"\xff\xfe")
    for wrong in (f"@{file}", f"@{tmp_path}", "@missing"):
        with pytest.raises(UsageError):
            given.given(wrong)
