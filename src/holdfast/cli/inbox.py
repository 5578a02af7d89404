"""`holdfast inbox`: what people are asked, and one question with all that belongs to it. It only reads.

The facts are those of the page (`holdfast serve`), by the same code: `views.sheet`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, data, document, paint, say, text
from holdfast.cli.store import opened
from holdfast.errors import NotFound, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from holdfast.protocols import Journal
    from holdfast.views.asking import Item
    from holdfast.views.sheet import Row, Sheet
    from holdfast.views.stats import Stats

_ID_SHOWN = 10
_LISTED_MAX = 10


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stats", "is_stats", is_flag=True, help="How many, how old, and how people answer.")
@option.store
@option.json
@click.pass_context
def inbox(context: click.Context, is_stats: bool, store: str | None, is_json: bool) -> int:
    """What people are asked: the urgent first, then by deadline. `inbox show Q` is one question with its facts."""
    if context.invoked_subcommand is not None:
        context.obj = (store, is_json)
        return 0
    if is_stats:
        return _stats(store, is_json=is_json)
    from holdfast.views.asking import items  # these load the codec
    from holdfast.views.taking import taken
    from holdfast.views.unasked import unasked

    with opened(store) as journal:
        found, held, now = [taken(journal, one) for one in items(journal)], unasked(journal), journal.now()
    for one in held:
        what = f"{one.tool} of {one.agent}/{one.key} needs an approval by {one.to}"
        say(f"{what}, and nobody is asked, since nobody can be reached: {one.because}.")
    if is_json:
        document(
            {
                "schema": SCHEMA,
                "questions": [one.facts() for one in found],
                "unasked": [one.facts() for one in held],
            }
        )
    elif not found:
        say("Nobody is asked anything.")
    else:
        _table(found, now)
    return 0


@inbox.command()
@click.argument("question", metavar="Q")
@option.store
@option.json
@click.pass_context
def show(context: click.Context, question: str, store: str | None, is_json: bool) -> int:
    """One question, by its id or the beginning of it: what would be done, why, what then, and how to answer.

    Also one that is closed, of the newest runs: who answered it, and when.
    """
    from holdfast.views import asking, sheet  # loads the codec
    from holdfast.views.advice import advice
    from holdfast.views.precedent import precedent
    from holdfast.views.taking import taken

    outer_store, outer_json = context.obj or (None, False)
    store, is_json = store or outer_store, is_json or outer_json
    with opened(store) as journal:
        found = _find(journal, question)
        items, now, advised = asking.history(journal, found.run), journal.now(), advice(journal)
        item = taken(journal, next(one for one in items if one.id == found.id))
        last = precedent(journal, item)
    earlier = sheet.earlier(items, item)
    if is_json:
        before = [{"asked_at": at, "what": what, "became": became} for at, what, became in earlier]
        document({"schema": SCHEMA, "question": item.facts(), "earlier": before})
        return 0
    paint(*_shown(item, sheet.sheet(item, now, last), earlier, now))
    if advised and item.state == "open" and item.digest:
        say(advised)
    for line in _form(item) if item.state == "open" else ():
        data(line)
    if item.state == "open":  # not wrapped to the terminal's width: a command is copied whole
        data("\n".join(["", "Answer", *(f"  {way}" for way in _ways(item, store))]))
    return 0


@inbox.command()
@click.argument("question", metavar="Q")
@option.by
@option.store
@click.pass_context
def take(context: click.Context, question: str, by: str | None, store: str | None) -> int:
    """Say that you take care of a question: nobody else is called for a while. It decides nothing."""
    from holdfast.runtime import escalating  # loads the codec
    from holdfast.runtime.clock import SystemClock

    name = option.name_of(by)
    with opened(store or (context.obj or (None, False))[0]) as journal:
        found = _find(journal, question)
        escalating.take(journal, found.run, found.id, name, SystemClock().fresh_id())
    say(f"{found.id}: {name} takes care of it. It is still open.")
    return 0


# --- how much that is --------------------------------------------------------------------------------------------


def _stats(store: str | None, *, is_json: bool) -> int:
    from holdfast.views.stats import stats  # loads the codec

    with opened(store) as journal:
        found = stats(journal)
    if is_json:
        document({"schema": SCHEMA, "stats": found.facts()})
    else:
        paint(*_counted(found))
    return 0


def _counted(found: Stats) -> list[RenderableType]:
    from rich.table import Table  # heavy; only for the human form

    from holdfast.views.stats import summary, tables

    lines: list[RenderableType] = [text(summary(found), "bold")]
    for counts in tables(found):
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in counts.names:
            table.add_column(name, overflow="fold")
        for row in counts.rows:
            table.add_row(*(text(cell, limit=60) for cell in row))
        lines += [text(""), table]
    return [*lines, *(text(f"! {remark}", "yellow") for remark in found.remarks)]


# --- the list ----------------------------------------------------------------------------------------------------


def _table(found: Sequence[Item], now: float) -> None:
    from rich.table import Table  # heavy; only for the human form

    from holdfast.views.sheet import title
    from holdfast.views.text import ago

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "", "ends", "age", "to", "run", "what"):
        table.add_column(name, no_wrap=name in ("id", "", "ends", "age"), overflow="fold")
    length = _unique([one.id for one in found])
    for one in found:
        mark = "answered" if one.state == "posted" else "urgent" if one.is_urgent else "taken" if one.taken_by else ""
        table.add_row(
            text(one.id[:length]),
            text(mark, "bold red" if mark == "urgent" else "dim"),
            text(_ends(one, now)),
            text(ago(now - one.asked_at)),
            text(one.to or "anybody", limit=40),
            text(f"{one.agent}/{one.key}", limit=60),
            text(title(one), "dim" if one.state == "posted" else "bold"),
        )
    paint(table)


def _ends(item: Item, now: float) -> str:
    from holdfast.views.text import ago

    if item.expires_at is None:
        return "never"
    return f"in {ago(item.expires_at - now)}" if item.expires_at > now else "over"


def _unique(ids: Sequence[str]) -> int:
    length = _ID_SHOWN
    while len({name[:length] for name in ids}) < len(set(ids)):
        length += 1
    return length


# --- one question ------------------------------------------------------------------------------------------------


def _find(journal: Journal, name: str) -> Item:
    from holdfast.views.asking import closed, items

    beginning = name if name.startswith("q_") else f"q_{name}"
    found = [one for one in items(journal) if one.id.startswith(beginning)] or closed(journal, beginning)
    exact = [one for one in found if one.id == beginning]
    if not found or not name.isprintable():
        raise NotFound(f"There is no question {name!r} in this store. Look with `holdfast inbox`.")
    if len(found) > 1 and not exact:
        listed = ", ".join(one.id for one in found[:_LISTED_MAX])
        raise UsageError(f"{name!r} is the beginning of several ids: {listed}. Give more of it.")
    return (exact or found)[0]


def _shown(item: Item, shown: Sheet, earlier: list[tuple[float, str, str]], now: float) -> list[RenderableType]:
    from holdfast.views.text import ago

    whom = f"to {item.to}" if item.to else "to anybody"
    urgent = "urgent  " if item.is_urgent else ""
    lines: list[RenderableType] = [
        text(shown.title, "bold"),
        text(f"{item.id}  {urgent}{whom}  asked {ago(now - item.asked_at)} ago  of run {item.run} ({item.key})"),
    ]
    if item.taken_at is not None:
        lines.append(text(f"{item.taken_by} took it {ago(now - item.taken_at)} ago", "bold"))
    for call in shown.calls:
        lines += [text(""), text(f"What would be done: {call.tool}", "bold")]
        lines += [*(text(f"! {remark}", "bold yellow") for remark in call.remarks), *_rows(call.rows)]
    if shown.uninspectable:
        lines += [text(""), text(f"! {shown.uninspectable}", "bold yellow")]
    if shown.compared:
        lines += [text(""), text(shown.compared)]
    lines += [text(""), text("Why it is asked: " + shown.why)]
    if shown.whose:
        lines.append(text("Who may answer: " + shown.whose))
    label = "If nobody answers: " if item.state == "open" else ""
    lines.append(text(label + shown.silence))
    if shown.filled:
        lines += [text(""), text("What was filled in", "bold"), *_rows(shown.filled)]
    lines += _agents(shown)
    if earlier:
        lines += [text(""), text("Asked earlier in this run", "bold")]
        lines += [text(f"  {ago(now - at)} ago: {what} {became}") for at, what, became in earlier]
    return lines


def _rows(rows: Sequence[Row]) -> list[RenderableType]:
    """Names beside values, each wrapped in its own column: no value can be drawn where a name stands."""
    from rich.table import Table  # heavy; only for the human form
    from rich.text import Text

    if not rows:
        return [text("  without arguments", "dim")]
    table = Table(box=None, pad_edge=True, padding=(0, 2), show_header=False)
    table.add_column(overflow="fold", style="cyan")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(text(row.name), Text("\n").join(text(line) for line in row.value.split("\n")))
        for remark in (*([f"uninspectable: {row.opaque}"] if row.opaque else []), *row.remarks):
            table.add_row(text("!", "bold yellow"), text(remark, "bold yellow"))
        if row.before is not None:
            table.add_row(
                text("last time", "dim"), Text("\n").join(text(line, "dim") for line in row.before.split("\n"))
            )
    return [table]


def _agents(shown: Sheet) -> list[RenderableType]:
    from holdfast.views.sheet import Row

    if not shown.says and not shown.shows:
        return []
    said = _rows([Row("says", shown.says)]) if shown.says else []
    return [text(""), text("The agent says (unverified)", "bold"), *said, *(_rows(shown.shows) if shown.shows else ())]


def _form(item: Item) -> list[str]:
    """The fields of a form, and what each of them takes."""
    from holdfast.cli.answer import form_in_lines

    whose = " (as the agent words it)" if item.about == "ask" else ""
    return ["", f"The form{whose}", *form_in_lines(item.schema)] if item.schema is not None else []


def _ways(item: Item, store: str | None) -> list[str]:
    """The commands that answer it, as they are typed."""
    from holdfast.cli.answer import ways_to_answer
    from holdfast.views.text import safe_text

    command = shlex.join(["holdfast", "answer", item.run, *option.given(store=store), "--question", item.id])
    return [safe_text(f"{command} {way}") for way in ways_to_answer(item.about, item.options, item.schema)]
