"""Python files as trees, for tests that look at what is written."""

from __future__ import annotations

import ast
from pathlib import Path

from holdfast.runtime.collector import uncollected


def parsed(path: Path) -> ast.Module:
    """The tree of a file. The collector rests meanwhile: a task that it ends may log a traceback, for which Python 3.11
    parses source again, and within parsing that is an error."""
    text = path.read_text("utf-8")
    with uncollected():
        return ast.parse(text)
