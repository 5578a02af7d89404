"""`holdfast channels`: by whom and what questions reach somebody, as `holdfast.toml` says it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, paint, report, say, text
from holdfast.errors import NotFound, UsageError

if TYPE_CHECKING:
    from holdfast.inbox.directory import Directory

COLOURS = {"reachable": "", "degraded": "yellow", "unreachable": "red", "unproven": "red"}
"""What nobody has proven is shown as what does not work."""


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def channels(context: click.Context) -> int:
    """How questions reach somebody. Without a verb: `show`."""
    return context.invoke(show) if context.invoked_subcommand is None else 0


@channels.command()
@option.config
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


@channels.command()
@click.argument("name")
@click.option("--to", "person", metavar="PERSON", help="Whom to tell; needed where it can tell several.")
@click.option("--wait", metavar="TIME", help="Ask them to confirm it, and wait so long; what comes of it is kept.")
@option.config
@option.store
@option.json
def test(name: str, person: str | None, wait: str | None, config: str | None, store: str | None, is_json: bool) -> int:
    """Tell one person by one channel that this is a test. Whether it has arrived, they can say: --wait asks them."""
    from holdfast.inbox.config import load  # these load the core, smtplib and ssl
    from holdfast.inbox.load import made
    from holdfast.inbox.probing import probe
    from holdfast.protocols import Undelivered
    from holdfast.runtime.clock import SystemClock

    directory, clock = load(config), SystemClock()
    if name not in directory.channels:
        listed = ", ".join(directory.channels) or "none"
        raise NotFound(f"There is no channel {name!r}. There is: {listed}. Nothing was sent.")
    whom = _whom(directory, name, person)
    if wait is not None:
        return _confirmed(whom, name, wait, config, store, is_json=is_json)
    channel = made(directory.channels[name], os.environ, clock.now)
    told: dict[str, Any] = {"schema": SCHEMA, "channel": name, "person": whom}
    try:
        receipt = channel.send(probe(whom, directory.address(whom, name), clock.fresh_id(), clock.now()))
    except Undelivered as refused:
        report([f"{whom} was not told by {name}: {refused}"], type(refused).__name__, Exit.FAILED, is_json=is_json)
        return Exit.FAILED
    say(f"{name} took a test for {whom} ({receipt.state}). Whether it has arrived, {whom} can tell.")
    if is_json:
        document(told | {"state": receipt.state, "reference": receipt.reference})
    return Exit.DONE


def _confirmed(person: str, channel: str, wait: str, config: str | None, store: str | None, *, is_json: bool) -> int:
    """A probe as a run of its own, driven here until it is over."""
    from holdfast.cli import probe  # these load asyncio and the runtime
    from holdfast.core.policy import seconds

    became = probe.confirmed(person, channel, seconds(wait, "--wait"), config, store)
    outcome = became["outcome"]
    told = {
        "confirmed": f"{person} has confirmed it: {channel} reaches them.",
        "refused": f"{person} was not told by {channel}: {became['because']}",
        "answered": f"{became['by'] or 'Somebody'} has confirmed it in the place of {person}, which proves nothing.",
    }.get(outcome, f"{channel} took it, and {person} has not confirmed within {wait} that it reached them.")
    if outcome == "confirmed":
        say(told)
        if is_json:
            document({"schema": SCHEMA, "channel": channel, "person": person, "state": outcome})
        return Exit.DONE
    report([told], "Unconfirmed", Exit.FAILED, is_json=is_json)
    return Exit.FAILED


@channels.command()
@option.config
@option.store
@option.json
def status(config: str | None, store: str | None, is_json: bool) -> int:
    """Whether somebody can be reached by each chain, as it was measured; exit code 1 when by one nobody can."""
    from holdfast.cli.reach import measured
    from holdfast.core.reach import State
    from holdfast.inbox.report import facts, lines  # these load the core

    found = measured(config, store)
    if is_json:
        document({"schema": SCHEMA, **facts(found)})
    elif not found.chains:
        say("There is no chain: holdfast.toml names no [chains], and nobody is told of questions by one.")
    else:
        paint(*(text(line, COLOURS[state]) for line, state in lines(found)))
    return Exit.FAILED if any(each.found.state is State.UNREACHABLE for each in found.chains) else Exit.DONE


def _whom(directory: Directory, channel: str, person: str | None) -> str:
    there = [name for name in directory.people if directory.address(name, channel)]
    if person is None and len(there) == 1:
        return there[0]
    if person in there:
        return str(person)
    listed = ", ".join(there) or "nobody"
    asked = f"{channel} cannot tell {person}" if person is not None else f"{channel} can tell several people"
    raise UsageError(f"{asked}. Write --to with one of: {listed}. Nothing was sent.")


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
