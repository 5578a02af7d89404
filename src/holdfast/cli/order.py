"""Orders of an operator: to the desk, for all runs; or to one run, which the desk keeps on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.cli.output import SCHEMA, document, say
from holdfast.cli.store import who_goes_on
from holdfast.errors import MessageRefused

if TYPE_CHECKING:
    from holdfast.core.accept import Message
    from holdfast.core.heads import Head
    from holdfast.protocols import Journal

TENANT = "default"


def to_run(journal: Journal, head: Head, message: Message) -> None:
    """Leave a message for the run; the desk records who did it and why. `MessageRefused` says why it cannot count."""
    from holdfast.core import accept
    from holdfast.core.desk import ABOUT, NAMES_MAX
    from holdfast.protocols import Post
    from holdfast.runtime import desk  # loads asyncio
    from holdfast.runtime.clock import SystemClock

    refused = accept.accept(journal.head(head.run_id), head.run_id, message, journal.now()).refused
    if refused:
        raise MessageRefused(refused)
    clock, facts = SystemClock(), message.facts
    name, what = f"{head.run_id} ({head.key})"[:NAMES_MAX], str(message.kind)
    what += " now" if facts.get("now") else ""
    told = accept.command(ABOUT, name, by=facts["by"], why=(facts.get("why") or ""), what=what)
    posted = desk.order(journal, told, clock.fresh_id(), TENANT, before=[Post(head.run_id, clock.fresh_id(), message)])
    if posted.refused:
        raise MessageRefused(posted.refused)
    desk.carry_out(journal, clock, TENANT)


def to_desk(journal: Journal, message: Message) -> None:
    """Order it at the desk, and carry it out; `MessageRefused` says why it cannot count."""
    from holdfast.runtime import desk  # loads asyncio
    from holdfast.runtime.clock import SystemClock

    clock = SystemClock()
    posted = desk.order(journal, message, clock.fresh_id(), TENANT)
    if posted.refused:
        raise MessageRefused(posted.refused)
    if not desk.carry_out(journal, clock, TENANT):
        say("Another process is at the desk. The order is kept, and carried out by it or by the next worker.")


def tell(journal: Journal, head: Head, what: str, *, is_json: bool) -> None:
    """What was ordered of a run, and who goes on with it."""
    say(f"{head.run_id} ({head.key}) {what} {who_goes_on(journal, head)}")
    if is_json:
        document({"schema": SCHEMA, "run": {"id": head.run_id, "key": head.key}})


def switches(journal: Journal) -> Any:
    """What is switched now, as `core.desk.Switches`."""
    from holdfast.core.desk import CELL, Switches

    cell = journal.cell(CELL)
    return Switches() if cell is None else Switches.of(cell.value)
