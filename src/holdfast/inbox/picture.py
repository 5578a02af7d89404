"""The chains of a directory as a picture of plain text: who is told, when at the earliest, by what, and what then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from holdfast.core.duration import span
from holdfast.core.rota import Rota
from holdfast.inbox.directory import (
    DEFAULT,
    Apprise,
    Chain,
    ChannelSettings,
    Directory,
    Email,
    FromEnvironment,
    Gap,
    Slack,
    Webhook,
)

AHEAD_S: Final = 28 * 86400.0
"""So far ahead is looked for gaps."""
_TIMES: Final = ("", "once", "twice")


class Row(NamedTuple):
    """A level: after how long it begins at the earliest, whom it names, and by what."""

    after: str
    who: str
    by: str


def picture(directory: Directory, now: float) -> list[str]:
    """All chains, and what is wrong with them."""
    lines = [line for chain in directory.chains.values() for line in (*_chain(directory, chain, now), "")]
    return [*lines, *_others(directory), *(f"warning: {each}" for each in warnings(directory, now))]


def warnings(directory: Directory, now: float) -> list[str]:
    """What makes that a question reaches nobody for a time, or that nobody hears of it at all."""
    found = [_gap(directory, gap) for gap in directory.gaps(now, now + AHEAD_S)]
    if directory.channels and not directory.chains:
        found.append("there are channels but no chain: only questions that name a person or a rota reach somebody")
    return found


def _gap(directory: Directory, gap: Gap) -> str:
    rota = directory.rotas[directory.chains[gap.chain].levels[gap.level].to[0]]
    begin, end = (_moment(rota, at) for at in gap.shift[1:])
    where = f"chain {gap.chain}, level {gap.level + 1}"
    return f"{where}: nobody is on call from {begin} to {end}; the next level is told at once"


def _moment(rota: Rota, at: float) -> str:
    return f"{datetime.fromtimestamp(at, rota.zone).isoformat(' ', 'minutes')[:16]} ({rota.zone})"


def _chain(directory: Directory, chain: Chain, now: float) -> Iterator[str]:
    rows = list(_rows(directory, chain, now))
    widths = [max(len(row[part]) for row in rows) for part in range(2)]
    yield f"chain {chain.name}"
    for number, row in enumerate(rows):
        bend = "├─" if number < len(rows) - 1 else "└─"
        cells = (row.after.rjust(widths[0]), row.who.ljust(widths[1]), row.by)
        yield f"  {bend} {'  '.join(cells)}".rstrip()
    yield f"     Whoever acknowledges has {span(chain.ack_s)}; then it begins from the top."


def _rows(directory: Directory, chain: Chain, now: float) -> Iterator[Row]:
    after_s = 0.0
    for step in chain.levels:
        who = ", ".join(_named(directory, name, now) for name in step.to)
        yield Row("at once" if not after_s else f"after {span(after_s)}", who, ", else ".join(step.by))
        after_s += step.wait_s
    again = _TIMES[chain.repeat] if chain.repeat < len(_TIMES) else f"{chain.repeat} times"
    what = f"from the top again, {again}; then nobody else is told" if chain.repeat else "nobody else is told"
    yield Row(f"after {span(after_s)}", what, "")


def _named(directory: Directory, name: str, now: float) -> str:
    rota = directory.rotas.get(name)
    if rota is None:
        return name
    [shift, *_] = rota.shifts(now, now + AHEAD_S)
    if not shift.who:
        return f"{name} (nobody is on call until {_moment(rota, shift.ends_at)})"
    until = f" until {_moment(rota, shift.ends_at)}" if shift.ends_at < now + AHEAD_S else ""
    return f"{name} (now {shift.who}{until})"


def _others(directory: Directory) -> Iterator[str]:
    for name, channel in directory.channels.items():
        yield f"channel {name}: {channel.kind}, {_place(channel)}"
    if DEFAULT not in directory.chains:
        yield "Of questions that name no chain, person or rota nobody is told; a chain called default would be."


def _place(channel: ChannelSettings) -> str:
    match channel:
        case Email():
            return f"{channel.host}:{channel.port}, from {channel.sender}"
        case Webhook():
            return f"${channel.url.name}" if isinstance(channel.url, FromEnvironment) else channel.url
        case Slack():
            heard = [
                *(["/slack of holdfast serve"] if channel.signing else []),
                *(["Socket Mode"] if channel.app_token else []),
            ]
            return f"buttons by {' and '.join(heard)}" if heard else "without buttons"
        case Apprise():
            return "each person's own URL"
