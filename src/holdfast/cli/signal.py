"""`holdfast signal`: leaves a signal for a run, which a `run.signal` takes, now or later."""

from __future__ import annotations

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import find, opened, post, who_goes_on


@click.command()
@option.run
@click.argument("name")
@click.argument("value", required=False)
@option.by
@option.store
@option.json
def signal(run: str, name: str, value: str | None, by: str | None, store: str | None, is_json: bool) -> int:
    """Tell a run something it may be waiting for. VALUE is read like INPUT of `run`: JSON if it is some, else text."""
    from holdfast.cli import input
    from holdfast.core import accept
    from holdfast.journal.codec import encode

    told = None if value is None else input.value(input.given(value), None)
    with opened(store) as journal:
        head = find(journal, run)
        post(journal, head.run_id, accept.signal(name, by=option.name_of(by), body=encode(told)))
        say(f"{head.run_id} ({head.key}) was told {name!r}. {who_goes_on(journal, head)}")
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}, "signal": name, "value": told})
    return 0
