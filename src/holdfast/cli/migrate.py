"""`holdfast migrate`: the runs of one store go on in another, whatever the engines."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import click

from holdfast.cli import option
from holdfast.cli.exit import Exit
from holdfast.cli.output import SCHEMA, document, paint, say, text
from holdfast.errors import StoreBusy

if TYPE_CHECKING:
    from holdfast.journal.migrate import Moved, Place
    from holdfast.protocols import Journal

_LOOK_S = 0.2


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--wait", default="0s", show_default=True, metavar="TIME", help="Wait so long for workers; or 'forever'.")
@click.option("--give-up", "is_given_up", is_flag=True, help="A move that was begun: stay with FROM.")
@option.json
def migrate(source: str, target: str, wait: str, is_given_up: bool, is_json: bool) -> int:
    """Move all runs of the store FROM to the store TO, which is empty or not there yet.

    Runs that wait go along with their questions, mail, budgets and keys, and go on in TO. FROM stays as it is and takes
    no more writes. Cut short, the same command goes on.
    """
    from holdfast.journal.migrate import give_up

    left, filled = _place(source, must_exist=True), _place(target, must_exist=is_given_up)
    if is_given_up:
        give_up(left, filled)
        _tell({"from": left.url, "to": filled.url, "given_up": True}, [f"{left.url} is open again."], is_json)
        return Exit.DONE
    moved = _moved(left, filled, option.wait_of(wait))
    counts = moved._asdict() if moved is not None else {}
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    line = f"Moved {told}." if counts else "They were moved before."
    how = f"They go on in {filled.url}; {left.url} takes no more writes."
    _tell({"from": left.url, "to": filled.url, "moved": counts or None, "given_up": False}, [line, how], is_json)
    return Exit.DONE


def _moved(left: Place, filled: Place, wait: str | None) -> Moved | None:
    from holdfast.core.policy import seconds  # with what follows: loads the core and asyncio
    from holdfast.journal.migrate import migrate
    from holdfast.runtime.clock import SystemClock

    clock = SystemClock()
    give_up_at = None if wait is None else clock.monotonic() + seconds(wait, "--wait")
    while True:
        try:
            return migrate(left, filled, clock.fresh_id(), say)
        except StoreBusy:
            if give_up_at is not None and clock.monotonic() >= give_up_at:
                raise
            threading.Event().wait(_LOOK_S)


def _place(url: str, *, must_exist: bool) -> Place:
    from holdfast.core.standing import shown
    from holdfast.journal.migrate import Place
    from holdfast.journal.open import open_journal  # loads the engine
    from holdfast.runtime.clock import SystemClock

    def opened(tenant: str) -> Journal:
        return open_journal(url, clock=SystemClock().now, tenant=tenant, must_exist=must_exist)

    return Place(shown(_absolute(url)), opened)


def _absolute(url: str) -> str:
    """A file's store by a URL that means the same from everywhere."""
    path = url.removeprefix("sqlite:///")
    is_file = url.startswith("sqlite:///") or "://" not in url
    return f"sqlite:///{os.path.abspath(path)}" if is_file else url


def _tell(found: dict[str, object], lines: list[str], is_json: bool) -> None:
    document({"schema": SCHEMA, **found}) if is_json else paint(*(text(line) for line in lines))
