"""`holdfast worker FILE.py …`: drives due runs of the agents in these files until a signal comes.

Several workers may share a store: each takes what nobody else holds, and goes on with what a dead one left behind.
stdout stays empty, also of what agents print; stderr tells what is taken and what becomes of it.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import click

from holdfast.cli import option


@click.command()
@click.argument("files", metavar="FILE.py[:AGENT]...", nargs=-1, required=True)
@option.store
@click.option("--until-idle", "is_brief", is_flag=True, help="End when nothing is left to drive.")
@click.option(
    "--wait",
    default="0s",
    show_default=True,
    metavar="TIME",
    help="With --until-idle: stay for what is due within this time.",
)
@option.policy
@click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")
def worker(
    files: tuple[str, ...], store: str | None, is_brief: bool, wait: str, policy: tuple[str, ...], config: str | None
) -> int:
    """Drive due runs of all agents in these files, also those that another process left behind.

    Ctrl-C and SIGTERM end it in order: nothing new begins, what is in flight finishes (at most 25 s), and its runs are
    given back. The signal once more ends it at once. Any number of workers may share a store.
    """
    from holdfast.cli import source, work  # these load asyncio and the runtime
    from holdfast.cli.chat import sockets_at
    from holdfast.cli.reach import inbox_of
    from holdfast.cli.store import address
    from holdfast.core.policy import seconds
    from holdfast.runtime.app import App

    stay_s = seconds(wait, "--wait") if is_brief else None
    policies = option.policies_of(policy)
    with redirect_stdout(sys.stderr):
        agents = source.agents_in(files)
        inbox = inbox_of(config)
        url = address(store, config)
        app = App(url, agents=agents, config=config, policies=policies, inbox=inbox)
        everybody = agents if inbox is None else [*agents, inbox.agent]
        return work.until_over(app, everybody, stay_s, lambda: sockets_at(config, url))
