"""`holdfast tools`: what operators have switched, and the switches themselves. Workers obey within about a second."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli import option
from holdfast.cli.order import switches, to_desk
from holdfast.cli.output import SCHEMA, document, paint, say, text
from holdfast.cli.store import opened
from holdfast.errors import UsageError


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def tools(context: click.Context) -> int:
    """What is switched for all runs; with a verb, switch it. Without one: `ls`."""
    return context.invoke(ls) if context.invoked_subcommand is None else 0


@tools.command()
@option.store
@option.json
def ls(store: str | None, is_json: bool) -> int:
    """List tools that are off, and policies that were set, with who and why."""
    with opened(store) as journal:
        switched = switches(journal)
    if is_json:
        off = {tool: off._asdict() for tool, off in switched.off.items()}
        document({"schema": SCHEMA, "off": off, "policies": dict(switched.policies)})
        return 0
    if not switched.off and not switched.policies:
        say("Every tool is on, and follows its own policy.")
    paint(*(text(line) for line in _lines(switched)))
    return 0


def _lines(switched: Any) -> list[str]:
    from holdfast.views.verdict import moment

    lines = [f"{tool}  off since {moment(off.at)} by {off.by}: {off.why}" for tool, off in sorted(switched.off.items())]
    for tool, settings in sorted(switched.policies.items()):
        lines.append(f"{tool}  " + "  ".join(f"{name}={value}" for name, value in settings.items()))
    return lines


@tools.command()
@click.argument("name")
@option.why
@option.by
@option.store
@option.json
def disable(name: str, why: str, by: str | None, store: str | None, is_json: bool) -> int:
    """Switch a tool off: a call of it is a failure of which it is certain that nothing was begun."""
    from holdfast.core.accept import command
    from holdfast.core.desk import DISABLE

    return _order(command(DISABLE, name, by=option.name_of(by), why=why), store, f"{name} is off.", is_json=is_json)


@tools.command()
@click.argument("name")
@option.why
@option.by
@option.store
@option.json
def enable(name: str, why: str, by: str | None, store: str | None, is_json: bool) -> int:
    """Switch a tool on again."""
    from holdfast.core.accept import command
    from holdfast.core.desk import ENABLE

    return _order(command(ENABLE, name, by=option.name_of(by), why=why), store, f"{name} is on.", is_json=is_json)


@tools.command()
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[SETTING=VALUE]...")
@click.option("--reset", "is_reset", is_flag=True, help="As code, file and command line say, again.")
@option.why
@option.by
@option.store
@option.json
def policy(
    name: str, settings: tuple[str, ...], is_reset: bool, why: str, by: str | None, store: str | None, is_json: bool
) -> int:
    """Set parts of a tool's policy, such as retry.attempts=1 timeout=5s."""
    from holdfast.core.accept import command
    from holdfast.core.desk import POLICY
    from holdfast.core.override import parse_flag

    if is_reset is bool(settings):
        raise UsageError("Give settings, such as retry.attempts=1, or --reset. Nothing was changed.")
    given: dict[str, Any] = {}
    for part in settings:
        given |= parse_flag(f"{name}.{part}")[1]
    message = command(POLICY, name, by=option.name_of(by), why=why, settings=None if is_reset else given)
    told = "follows its own policy again" if is_reset else f"has {', '.join(settings)}"
    return _order(message, store, f"{name} {told}.", is_json=is_json)


def _order(message: Any, store: str | None, told: str, *, is_json: bool) -> int:
    with opened(store) as journal:
        to_desk(journal, message)
    say(f"{told} Live runs follow within about a second.")
    if is_json:
        facts = message.facts
        document({"schema": SCHEMA, "tool": facts["name"], "verb": facts["verb"], "settings": facts.get("settings")})
    return 0
