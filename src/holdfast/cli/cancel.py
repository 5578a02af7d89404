"""`holdfast cancel`: leaves the cancel in the store; an effect in flight finishes first."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import find, opened, post, who_goes_on


@click.command()
@option.run
@option.why
@click.option(
    "--now", "is_now", is_flag=True, help="Do not wait for what is under way: it is left in doubt, and named."
)
@option.by
@option.store
@option.json
def cancel(run: str, why: str, is_now: bool, by: str | None, store: str | None, is_json: bool) -> int:
    """Cancel a run. Its record stays; nothing more of it begins."""
    from holdfast.core import accept

    with opened(store) as journal:
        head = find(journal, run)
        post(journal, head.run_id, accept.cancel(by=option.name_of(by), why=why, is_now=is_now))
        say(f"{head.run_id} ({head.key}) is to be cancelled. {who_goes_on(journal, head.run_id)}")
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}})
    return 0
