"""`holdfast project init SPEC`: makes a directory under git a project, with the list of features in SPEC."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, paint, say, text
from holdfast.errors import UsageError

_SIZE_MAX = 4_000_000


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option("--directory", "-C", default=".", metavar="DIR", help="Within the working tree; here when left out.")
@click.option("--name", metavar="NAME", help="What the project is called; as its directory when left out.")
@click.option(
    "--draft", metavar="FILE.py:AGENT", help="SPEC is a wish: this agent drafts the list, a person freezes it."
)
@click.option("--to", "escalate", default="", metavar="WHO", help="With --draft: who is asked.")
@option.by
@option.store
@option.config
@option.json
def init(
    spec: str,
    directory: str,
    name: str | None,
    draft: str | None,
    escalate: str,
    by: str | None,
    store: str | None,
    config: str | None,
    is_json: bool,
) -> int:
    """Make a directory a project. SPEC is a JSON or TOML file with a list of features.

    Called again, it replaces the list: what has not changed keeps its state. A store of its own is made in the
    repository's .git, where no checkout, clean or reset comes to it; --store names another one.
    """
    from holdfast.cli.project_store import made
    from holdfast.core.feature import features

    listed = None if draft else features(_read(spec))
    with made(directory, name, store, config) as project:
        if listed is None:
            from holdfast.cli.project_draft import drafted

            return drafted(project, spec, str(draft), escalate, config, is_json=is_json)
        board, unkept = project.freeze(listed, by=option.name_of(by)), project.unkept()
    if is_json:
        document({"schema": SCHEMA, "project": board.name, "features": list(board.items), "digest": board.digest})
        return 0
    say(f"Project {board.name}: {len(board.items)} features, frozen by {board.frozen_by}.")
    paint(*(text(f"{item.feature.id}  {item.feature.description}") for item in board.items.values()))
    if unkept:
        say(
            f"Checks run in a checkout of what is committed, without what git ignores: {', '.join(unkept)}. For checks "
            "that need it, write [checks] keep = [...] into the list, and call this again."
        )
    say("Go on with: holdfast project run FILE.py:AGENT, or holdfast project run -- COMMAND")
    return 0


def _read(spec: str) -> Any:
    path = Path(spec)
    try:
        if path.stat().st_size > _SIZE_MAX:
            raise UsageError(f"{spec} is larger than {_SIZE_MAX:,} bytes. Nothing was done.")
        content = path.read_text("utf-8")
        return tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    except (OSError, ValueError, RecursionError) as wrong:  # ValueError: what both formats raise, and bad UTF-8
        raise UsageError(f"{spec} cannot be read as a list of features: {wrong}. Nothing was done.") from wrong
