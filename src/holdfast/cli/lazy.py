"""A group of verbs whose modules are imported when they are called; help and completion come from a table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Verb(NamedTuple):
    """One line of the table."""

    home: str
    """Where the command is: "package.module:attribute"."""
    help: str
    """What the overview says about it."""


class LazyGroup(click.Group):
    """Verbs by name; none is loaded by listing them."""

    def __init__(self, *args: Any, verbs: Mapping[str, Verb], **options: Any) -> None:
        super().__init__(*args, **options)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the table's order."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, loaded; None when there is none of that name."""
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name].home.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without loading a verb."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in self.verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Verbs and options that begin so."""
        from click.shell_completion import CompletionItem  # only a shell asks for it

        found = [CompletionItem(n, help=v.help) for n, v in self.verbs.items() if n.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]
