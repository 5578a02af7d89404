"""What commands print: data to stdout, the rest to stderr, all of it safe for a terminal.

Text of strangers passes `views.text`; colour only on a terminal, never with NO_COLOR. JSON is one document and holds
no character that a terminal would obey. A result that goes into a pipe or a file is written as it is.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.cli.exit import Exit
from holdfast.views.text import safe_json, safe_lines, safe_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

SCHEMA = 1
_WIDE = 10_000
"""Columns off a terminal: nothing is wrapped or cut for a program."""


def say(text: str) -> None:
    """One line for the person, to stderr."""
    print(safe_text(text), file=sys.stderr, flush=True)


def data(text: str) -> None:
    """A result to stdout: as it is, but on a terminal without what the terminal would obey."""
    _write(safe_lines(text) if sys.stdout.isatty() else text)


def document(tree: dict[str, Any]) -> None:
    """One JSON document to stdout."""
    _write(safe_json(tree))


def paint(*parts: RenderableType) -> None:
    """Rich text and tables to stdout."""
    from rich.console import Console  # heavy; only for the human form

    is_terminal = sys.stdout.isatty()
    console = Console(highlight=False, markup=False, emoji=False, width=None if is_terminal else _WIDE)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    _write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def text(value: Any, style: str = "", limit: int | None = None) -> Text:
    """A cell of a table, or a line: safe, on one line."""
    from rich.text import Text  # heavy; see `paint`

    return Text(safe_text(str(value), limit), style=style)


def report(lines: list[str], kind: str, code: int, *, is_json: bool, run: dict[str, Any] | None = None) -> None:
    """What went wrong: for the person on stderr, and with --json as a document on stdout."""
    for line in lines:
        say(line)
    if is_json:
        about = {} if run is None else {"run": run}
        document({"schema": SCHEMA, **about, "error": {"type": kind, "message": "\n".join(lines)}, "exit": int(code)})


def _write(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        leave_pipe()


def leave_pipe() -> NoReturn:
    """Whoever read stdout has gone (`holdfast ls | head`): end as SIGPIPE would, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail again
    sys.exit(Exit.CLOSED_PIPE)
