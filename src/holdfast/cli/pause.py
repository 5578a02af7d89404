"""`holdfast pause`: leaves the pause in the store; what is under way finishes first."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.order import tell, to_run
from holdfast.cli.store import find, opened


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
        to_run(journal, head, accept.pause(by=option.name_of(by), why=why))
        tell(journal, head, "is to be paused.", is_json=is_json)
    return 0
