"""`holdfast unwind`: undoes what an ended run did, the last step first, by what its tools declare as `undo=`.

The agent's own code does not run. Its module is needed, for the functions: with FILE.py:AGENT it is loaded here.
"""

from __future__ import annotations

import shlex
from typing import Any

import click

from holdfast.cli import option
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.resume import loaded, recorded
from holdfast.cli.store import address, find, opened


@click.command()
@option.run
@click.argument("target", metavar="[FILE.py:AGENT]", required=False)
@option.why
@option.by
@option.store
@option.wait
@click.option("--config", metavar="FILE", help="holdfast.toml to use; the one in this directory when left out.")
@option.json
def unwind(
    run: str,
    target: str | None,
    why: str,
    by: str | None,
    store: str | None,
    wait: str,
    config: str | None,
    is_json: bool,
) -> int:
    """Undo what a failed, stopped or cancelled run did; it ends as it had ended.

    With FILE.py:AGENT it is done here; without, the next worker or `holdfast run` does it. The same command goes on
    with an unwinding that waited for a person, or whose process died.
    """
    from holdfast.cli.order import tell, to_run
    from holdfast.core import accept

    stay, url = option.wait_of(wait), address(store, config)
    agent = loaded(target)
    with opened(url) as journal:
        head = find(journal, run)
        given = None if agent is None else recorded(journal, head, agent)
        is_under_way = head.is_unwound and not head.status.is_end  # it waits for a person, or its process is gone
        if not is_under_way:
            to_run(journal, head, accept.unwind(by=option.name_of(by), why=why))
        if agent is None or target is None:
            tell(journal, head, "is being unwound." if is_under_way else "is to be unwound.", is_json=is_json)
            return 0
    from holdfast.cli import source  # these load the runtime
    from holdfast.cli.drive import Order, drive

    again = shlex.join(["holdfast", "unwind", head.key, target, *option.given(store=store, config=config)])
    order = Order(
        agent=agent,
        file=source.path_of(target),
        input=given,
        key=head.key,
        store=url,
        config=config,
        budget=None,
        wait=stay,
        again=again,
        reopen=again,
        is_json=is_json,
        tell=lambda picture: _told(picture, is_json=is_json),
    )
    return drive(order)


def _told(picture: dict[str, Any], *, is_json: bool) -> int:
    run = picture["run"]
    undone, left = run["undone"], run["not_undone"]
    say(f"{run['id']} ({run['key']}) is unwound. Undone, in this order: {', '.join(undone) or 'nothing'}.")
    if left:
        failed = f" {run['unwind_failed']}" if run["unwind_failed"] else ""
        say(f"Not undone: {', '.join(left)}.{failed} `holdfast show` says why; `holdfast unwind` tries it again.")
    if is_json:
        document({"schema": SCHEMA, "run": run})
    return Exit.FAILED if left else Exit.DONE
