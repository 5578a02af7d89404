"""`holdfast pause`: leaves the pause in the store; what is under way finishes first."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import find, opened, post, who_goes_on


@click.command()
@option.run
@option.why
@option.by
@option.store
@option.json
def pause(run: str, why: str, by: str | None, store: str | None, is_json: bool) -> int:
    """Let a run begin nothing more until `holdfast resume`. What is under way finishes; nothing is lost."""
    from holdfast.core import accept

    with opened(store) as journal:
        head = find(journal, run)
        post(journal, head.run_id, accept.pause(by=option.name_of(by), why=why))
        say(f"{head.run_id} ({head.key}) is to be paused. {who_goes_on(journal, head.run_id)}")
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}})
    return 0
