"""`holdfast search`: past runs by words, outcome, agent, tool, error, time and cost; what matches best on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, paint, say, text
from holdfast.cli.store import opened

if TYPE_CHECKING:
    from rich.text import Text

    from holdfast.core.document import Found

_COLOURS = {"succeeded": "green", "failed": "red", "stopped": "red", "cancelled": "dim", "suspended": "yellow"}
_NAMES_MAX = 8


@click.command()
@click.argument("words", nargs=-1)
@click.option("--agent", metavar="NAME", help="Only runs of this agent.")
@click.option("--outcome", metavar="STATUS", help="Only runs that ended or stand so, such as failed.")
@click.option("--tool", metavar="NAME", help="Only runs that called this tool.")
@click.option("--error", metavar="CLASS", help="Only runs in which this failed, such as TimeoutError; attempts too.")
@click.option("--key", metavar="BEGINNING", help="Only runs whose key begins so.")
@click.option("--since", metavar="TIME", help="Only runs that went on after it: a date, or so long ago, such as 7d.")
@click.option("--until", metavar="TIME", help="Only runs that were accepted before it.")
@click.option("--usd-min", type=float, metavar="USD", help="Only runs that cost at least so much.")
@click.option("--usd-max", type=float, metavar="USD", help="Only runs that cost at most so much.")
@click.option("--sort", metavar="ORDER", help="rank (what matches best), newest or cost.")
@click.option("--limit", type=int, metavar="N", help="At most so many; 20 when left out.")
@option.store
@option.json
def search(words: tuple[str, ...], store: str | None, is_json: bool, **filters: Any) -> int:
    """Find past runs.

    All WORDS must be there. In one argument: '"in this order" begin* -without'.
    """
    from holdfast.core.query import read  # with what follows: loads the core
    from holdfast.journal.lookup import search as look

    with opened(store) as journal:
        query = read(" ".join(words), filters, journal.now())
        looked, now = look(journal, query), journal.now()
    if looked.unread:
        say(f"{len(looked.unread)} runs are damaged and were not searched: {', '.join(looked.unread[:5])}")
    if is_json:
        document({"schema": SCHEMA, "runs": [_row(each) for each in looked.found], "unread": looked.unread})
    elif looked.found:
        paint(*(line for each in looked.found for line in _lines(each, now)))
    else:
        say("No run matches.")
    return 0


def _row(found: Found) -> dict[str, Any]:
    facts = found._asdict()
    return {"id": facts.pop("run_id"), **facts}


def _lines(found: Found, now: float) -> list[Text]:
    """What it is, what it did, and where the words stand."""
    from holdfast.views.text import ago

    head = text(found.outcome, _COLOURS.get(found.outcome, ""))
    head.append_text(text(f"  {found.agent}  "))
    head.append_text(text(found.key, "bold", limit=80))
    head.append_text(text(f"  {ago(now - found.updated_at)} ago  ${found.usd:.4f}  {found.run_id[:16]}", "dim"))
    if found.why:
        head.append_text(text(f"  {found.why}", limit=120))
    did = [f"{name}: {_names(names)}" for name, names in (("tools", found.tools), ("errors", found.errors)) if names]
    lines = [head, *([text("  " + " · ".join(did), "dim")] if did else [])]
    return [*lines, *([_snippet(found)] if found.snippet else [])]


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more


def _snippet(found: Found) -> Text:
    """The words marked, by signs too where there is no colour; each piece is escaped by itself."""
    line, at = text("  "), 0
    for begin, end in found.marks:
        line.append_text(text(found.snippet[at:begin]))
        line.append_text(text(f"«{found.snippet[begin:end]}»", "bold yellow"))
        at = end
    line.append_text(text(found.snippet[at:]))
    return line
