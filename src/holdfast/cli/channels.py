"""`holdfast channels`: by whom and what questions reach somebody, as `holdfast.toml` says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, paint, say, text

if TYPE_CHECKING:
    from holdfast.inbox.directory import Directory

config = click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def channels(context: click.Context) -> int:
    """How questions reach somebody. Without a verb: `show`."""
    return context.invoke(show) if context.invoked_subcommand is None else 0


@channels.command()
@config
@option.json
def show(config: str | None, is_json: bool) -> int:
    """The chains as a picture, who is on call now, and when nobody will be."""
    from holdfast.inbox.config import load  # these load the core
    from holdfast.inbox.picture import picture, warnings
    from holdfast.runtime.clock import SystemClock

    directory, now = load(config), SystemClock().now()
    if is_json:
        document({"schema": SCHEMA, **_facts(directory, now), "warnings": warnings(directory, now)})
        return 0
    if not directory.channels and not directory.people:
        say("Nobody is told of questions: holdfast.toml names no [people], [channels] and [chains].")
        return 0
    paint(*(text(line, "yellow" if line.startswith("warning:") else "") for line in picture(directory, now)))
    return 0


def _facts(directory: Directory, now: float) -> dict[str, Any]:
    chains = {
        chain.name: {
            "levels": [{"to": list(step.to), "by": list(step.by), "wait_s": step.wait_s} for step in chain.levels],
            "repeat": chain.repeat,
            "ack_s": chain.ack_s,
        }
        for chain in directory.chains.values()
    }
    return {
        "people": sorted(directory.people),
        "channels": {name: channel.kind for name, channel in directory.channels.items()},
        "on_call": {name: rota.on_call(now) for name, rota in directory.rotas.items()},
        "chains": chains,
    }
