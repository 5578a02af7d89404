"""`holdfast cancel`: leaves the cancel in the store; an effect in flight finishes first."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.order import tell, to_run
from holdfast.cli.store import find, opened


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
        to_run(journal, head, accept.cancel(by=option.name_of(by), why=why, is_now=is_now))
        tell(journal, head, "is to be cancelled.", is_json=is_json)
    return 0
