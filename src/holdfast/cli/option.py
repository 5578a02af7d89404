"""Options and arguments that several verbs share."""

from __future__ import annotations

import getpass
import os
from typing import Any

import click

run = click.argument("run", metavar="KEY|RUN")
store = click.option("--store", metavar="URL", help="Such as sqlite:///holdfast.db; see HOLDFAST_STORE.")
json = click.option("--json", "is_json", is_flag=True, help="One JSON document on stdout.")
by = click.option("--by", metavar="NAME", help="Who does this; your user name when left out.")
config = click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")
why = click.option("--why", default="", metavar="TEXT", help="Kept in the record.")
policy = click.option(
    "--policy", multiple=True, metavar="TOOL.SETTING=VALUE", help="Such as look.retry.attempts=2; over holdfast.toml."
)
directory = click.option(
    "--directory", "-C", default=".", metavar="DIR", help="Within the working tree; here when left out."
)
wait = click.option(
    "--wait", default="60s", show_default=True, metavar="TIME", help="Stay so long for what is due; or 'forever'."
)


def name_of(by: str | None) -> str:
    """Who does this: `--by`, or the user's name as the system knows it."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def given(**options: str | None) -> list[str]:
    """Options that were given, as they are typed: for a command that is shown."""
    return [part for name, value in options.items() if value is not None for part in (f"--{name}", value)]


def flags(name: str, values: tuple[str, ...]) -> list[str]:
    """An option that may be repeated, as it was typed."""
    return [part for value in values for part in (name, value)]


def wait_of(text: str) -> str | None:
    """`--wait`: None for 'forever'; refused when it is no time."""
    from holdfast.core.policy import seconds

    if text == "forever":
        return None
    seconds(text, "--wait")
    return text


def policies_of(flags: tuple[str, ...]) -> dict[str, Any]:
    """What all `--policy` together say, by tool."""
    from holdfast.core.override import merged, parse_flag

    return dict(merged(*({tool: settings} for tool, settings in map(parse_flag, flags))))
