"""`holdfast ls`: runs, newest first, those that need a person on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, paint, text
from holdfast.cli.store import driver_of, opened
from holdfast.core.heads import BLOCKED, Status, Why

if TYPE_CHECKING:
    from holdfast.core.heads import Head
    from holdfast.protocols import Journal

_SUSPENDED_MAX = 10_000
_COLOURS = {"succeeded": "green", "failed": "red", "stopped": "red", "cancelled": "dim"}


@click.command()
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only runs of this status.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many runs.")
@option.store
@option.json
def ls(status: str | None, limit: int, store: str | None, is_json: bool) -> int:
    """List runs; those that need you first, then the newest."""
    with opened(store) as journal:
        heads = _needing_first(journal, status, limit)
        runs = [_row(head, journal) for head in heads]
        now = journal.now()
    if is_json:
        document({"schema": SCHEMA, "runs": runs})
    else:
        _table(runs, now)
    return 0


def _needing_first(journal: Journal, status: str | None, limit: int) -> list[Head]:
    newest = _newest(journal, status, limit)
    suspended = journal.heads(status=Status.SUSPENDED, limit=_SUSPENDED_MAX) if status is None else newest
    needing = [head for head in suspended if _needs_you(head)]
    first = {head.run_id for head in needing}
    return [*needing, *(head for head in newest if head.run_id not in first)][:limit]


def _newest(journal: Journal, status: str | None, limit: int) -> list[Head]:
    """Without those of holdfast's own: the desk, and the chains that tell people of questions."""
    asked = limit + 1
    while True:
        heads = journal.heads(status=status, limit=asked)
        newest = [head for head in heads if not head.agent.startswith("@")][:limit]
        if len(newest) == limit or len(heads) < asked:
            return newest
        asked *= 4


def _needs_you(head: Head) -> bool:
    """Whether only a person brings this run on."""
    return bool(head.questions) or (head.status is Status.SUSPENDED and head.why in BLOCKED | {Why.PAUSED})


def _row(head: Head, journal: Journal) -> dict[str, Any]:
    from holdfast.views.show import amounts, question  # loads the codec

    why = "its record was removed by retention" if head.is_forgotten else head.why
    is_orphan = head.status is Status.RUNNING and driver_of(journal, head.run_id) is None
    return {
        "id": head.run_id,
        "key": head.key,
        "agent": head.agent,
        "status": str(head.status),
        "why": "its process is gone; it goes on with the next worker or `holdfast run`" if is_orphan else why,
        "needs_you": _needs_you(head),
        "questions": [question(asked) for asked in head.questions],
        "usage": amounts(head.spent) | {"reserved": amounts(head.reserved)},
        "created_at": head.created_at,
        "updated_at": head.updated_at,
        "wake_at": head.wake_at,
    }


def _table(runs: list[dict[str, Any]], now: float) -> None:
    from rich.table import Table  # heavy; only for the human form

    from holdfast.views.text import ago

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("id", "status", "agent", "key", "age", "spent"):
        table.add_column(title, no_wrap=title in ("id", "age", "spent"), overflow="fold")
    shown = _short_ids([run["id"] for run in runs])
    for run in runs:
        usage = run["usage"]
        spent = f"{usage['tool_calls']} tool, {usage['model_calls']} model, ${usage['usd']:.4f}"
        asked = "; ".join(asked["text"] for asked in run["questions"])
        why = ": ".join(part for part in (run["why"], asked) if part)
        colour = "bold yellow" if run["needs_you"] else _COLOURS.get(run["status"], "")
        status = text(f"{run['status']} ({why})" if why else run["status"], colour, limit=100)
        table.add_row(
            text(shown[run["id"]]),
            status,
            text(run["agent"]),
            text(run["key"], limit=60),
            text(ago(now - run["created_at"])),
            text(spent),
        )
    paint(table)


def _short_ids(ids: list[str]) -> dict[str, str]:
    """Each id's beginning, long enough that it names one of these runs."""
    length = 12
    while len({name[:length] for name in ids}) < len(set(ids)):
        length += 1
    return {name: name[:length] for name in ids}
