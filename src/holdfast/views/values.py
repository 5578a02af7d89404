"""Values as a person reads them: each under its name, all of it, with what may deceive a reader, and what it was last.

All text here is safe to show (`views.text`); nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from holdfast.core.opaque import found
from holdfast.views.script import compared, remarks
from holdfast.views.skeleton import skeleton
from holdfast.views.text import safe_json, safe_lines, safe_text

LONG: Final = 400
"""A value of more characters, or of more than `LINES` lines, is long: it must be opened before it can be approved."""
LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One value that would be handed over, or that the agent shows."""

    name: str
    value: str
    """All of it; its line breaks are kept."""
    remarks: tuple[str, ...] = ()
    """What may deceive a reader, and what the value cannot show of itself."""
    opaque: str = ""
    """What it is, if nobody can read off it what it does: a command, SQL, code, data in an encoding."""
    before: str | None = None
    """What stood there when this tool was approved last, if that was something else."""

    @property
    def is_long(self) -> bool:
        """Whether it has to be opened first: since it is long, or since nobody can say what it does."""
        return bool(self.opaque) or len(self.value) > LONG or self.value.count("\n") >= LINES


@dataclass(frozen=True, slots=True)
class Call:
    """One call that would be made."""

    tool: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    """What of the tool's name, and of the names of its arguments, may deceive a reader."""


def call(tool: str, arguments: Any, before: Any = None) -> Call:
    """One call. before: with what it was approved last."""
    whats = {each.name: each.what for each in found(arguments)}
    rows = [replace(row, opaque=whats.get(name, "")) for name, row in _named(arguments)]
    if isinstance(before, dict) and isinstance(arguments, dict):
        rows = [_beside(row, name, arguments, before) for row, name in zip(rows, arguments, strict=True)]
        rows += [_gone(name, value) for name, value in before.items() if name not in arguments]
    shallow = arguments if isinstance(arguments, dict) else {}
    odd = [f"its arguments: {each}" for each in _alike_names(dict.fromkeys(shallow))]
    return Call(safe_text(tool, 200), tuple(rows), (*(f"its name: {each}" for each in remarks(tool)), *odd))


def rows_of(value: Any) -> Iterator[Row]:
    """A value, or those of a table."""
    yield from (row for _, row in _named(value))


def _named(value: Any) -> Iterator[tuple[str, Row]]:
    if isinstance(value, dict):
        yield from ((str(name), _row(name, child)) for name, child in value.items())
    elif value is not None:
        yield "value", _row("value", value)


def _beside(row: Row, name: str, now: dict[str, Any], before: dict[str, Any]) -> Row:
    """With what stood there before, and whether that looks the same."""
    if name not in before:
        return replace(row, remarks=(*row.remarks, "was not given last time"))
    was = _row(name, before[name])
    if before[name] == now[name] and was.value == row.value:
        return row
    both = (now[name], before[name])
    same = compared(*both) if all(isinstance(each, str) for each in both) else []
    return replace(row, before=was.value, remarks=(*row.remarks, *same))


def _gone(name: str, value: Any) -> Row:
    return Row(safe_text(name), "", ("is not given this time",), before=_row(name, value).value)


def _row(name: str, value: Any) -> Row:
    odd = [f"its name: {each}" for each in remarks(name)] + [each for text in _texts(value) for each in remarks(text)]
    odd += _alike_names(value)
    if not isinstance(value, str):
        return Row(safe_text(name), safe_json(value), tuple(dict.fromkeys(odd)))
    if not value:
        odd.append("an empty text")
    elif _reads_as_data(value):
        odd.append("a text, not a number or a constant")
    return Row(safe_text(name), safe_lines(value), tuple(dict.fromkeys(odd)))


def _alike_names(value: Any) -> Iterator[str]:
    """Names in one object that differ in nothing that a reader would see: a receiver may take either."""
    if isinstance(value, dict):
        seen: dict[str, str] = {}
        for name in map(str, value):
            first = seen.setdefault(skeleton(name.casefold()), name)
            if first != name:
                yield f'has both "{safe_text(first, 40)}" and "{safe_text(name, 40)}"'
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _alike_names(child)


def _texts(value: Any) -> Iterator[str]:
    """Each text in it, names too."""
    match value:
        case str():
            yield value
        case dict():
            for name, child in value.items():
                yield from (str(name), *_texts(child))
        case list():
            for child in value:
                yield from _texts(child)
        case _:
            pass


def _reads_as_data(text: str) -> bool:
    """Whether it would be drawn just like a value that is no text."""
    if text.strip() in ("true", "false", "null", "None", "True", "False"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
