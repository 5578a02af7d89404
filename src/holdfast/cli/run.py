"""`holdfast run FILE.py:AGENT INPUT --key K`: starts a run, or goes on with it."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout

import click

from holdfast.cli import option

_INPUT_MAX = 200


@click.command()
@click.argument("target", metavar="FILE.py:AGENT")
@click.argument("input", metavar="INPUT")
@click.option("--key", required=True, metavar="K", help="Names the run: the same key goes on, never reruns.")
@option.store
@option.wait
@option.policy
@click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")
@click.option(
    "--budget",
    multiple=True,
    metavar="PART=CAP",
    help="usd=1.5, tokens=5000, tool_calls=, model_calls=, active=20m, wall=2h.",
)
@click.option("--by", metavar="NAME", help="Who asks for it, for the record: they may not approve what it does.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Show caps, prices, tools and policies; start nothing.")
@option.json
def run(
    target: str,
    input: str,
    key: str,
    store: str | None,
    wait: str,
    policy: tuple[str, ...],
    config: str | None,
    budget: tuple[str, ...],
    by: str | None,
    is_dry: bool,
    is_json: bool,
) -> int:
    """Start a run, or go on with it; prints its result.

    INPUT is read by the agent's annotation; @FILE reads a file, - stdin. What the agent prints goes to stderr.
    """
    from holdfast.cli import input as given  # these load asyncio and the runtime
    from holdfast.cli import source
    from holdfast.cli.drive import Order, budget_of, drive
    from holdfast.cli.store import address

    options = [*option.given(store=store, config=config), *option.flags("--policy", policy)]
    caps, stay, policies = budget_of(budget), option.wait_of(wait), option.policies_of(policy)
    with redirect_stdout(sys.stderr):
        agent = source.load(target)
    if is_dry:
        from holdfast.cli.dry import dry_run

        given.value(given.given(input), agent.takes)  # it is refused as it would be
        return dry_run(agent, caps, config, policies, is_json=is_json)
    order = Order(
        agent=agent,
        file=source.path_of(target),
        input=given.value(given.given(input), agent.takes),
        key=key,
        store=address(store, config),
        config=config,
        budget=caps,
        wait=stay,
        again=shlex.join(["holdfast", "run", target, _shown(input), "--key", key, *options]),
        reopen=shlex.join(["holdfast", "resume", key, target, *options]),
        is_json=is_json,
        policies=policies,
        by=by or "",
    )
    return drive(order)


def _shown(input: str) -> str:
    return input if len(input) <= _INPUT_MAX else "INPUT"
