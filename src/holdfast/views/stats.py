"""How much people are asked, how long it waits, and how they answer: counted from heads and logs, of the newest runs.

It counts what is recorded. What it makes of that is said as a remark, and nothing follows from it by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, NamedTuple

from holdfast.core.approval import ABOUT, APPROVE
from holdfast.protocols import Journal
from holdfast.views.asking import Item, closed, items
from holdfast.views.text import ago, safe_text

LATEST: Final = 50
"""So many of the latest answers about a tool are looked at."""
ALWAYS: Final = 0.95
"""A larger share than that, of `LATEST`, is no decision any more."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What is open and was put to one name."""

    to: str
    open: int
    urgent: int
    oldest_s: float
    median_s: float


@dataclass(frozen=True, slots=True)
class Answering:
    """How one person has answered."""

    by: str
    answered: int
    approved: int
    declined: int
    median_s: float
    """From the question to the answer."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What became of the latest approvals of one tool that somebody has answered."""

    tool: str
    answered: int
    approved: int

    @property
    def is_always(self) -> bool:
        """Whether it is approved whatever it is."""
        return self.answered >= LATEST and self.approved > ALWAYS * self.answered


@dataclass(frozen=True, slots=True)
class Stats:
    """All of it."""

    open: int
    urgent: int
    oldest_s: float | None
    median_s: float | None
    queues: tuple[Queue, ...]
    """The longest first."""
    answering: tuple[Answering, ...]
    """Who has answered most first."""
    rates: tuple[Rate, ...]
    expired: int
    """Questions that nobody answered in time."""

    @property
    def remarks(self) -> list[str]:
        """What should be thought about."""
        return [
            f"{safe_text(rate.tool, 60)}: {rate.approved} of the last {rate.answered} were approved. Who approves "
            "everything decides nothing: think of a rule for what is harmless, and ask about the rest alone."
            for rate in self.rates
            if rate.is_always
        ]

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"remarks": self.remarks}


def stats(journal: Journal) -> Stats:
    """As of now."""
    return counted(_of_agents(items(journal)), _of_agents(closed(journal, "")), journal.now())


def _of_agents(found: Iterable[Item]) -> list[Item]:
    """Without what runs of holdfast's own ask, such as whether a channel works."""
    return [one for one in found if not one.agent.startswith("@")]


def counted(open_: Iterable[Item], closed_: Sequence[Item], now: float) -> Stats:
    """Of these. closed_: the newest first."""
    waiting = [one for one in open_ if one.state == "open"]
    ages = [now - one.asked_at for one in waiting]
    return Stats(
        open=len(waiting),
        urgent=sum(one.is_urgent for one in waiting),
        oldest_s=max(ages, default=None),
        median_s=median(ages) if ages else None,
        queues=tuple(sorted(_queues(waiting, now), key=lambda each: (-each.open, each.to))),
        answering=tuple(sorted(_answering(closed_), key=lambda each: (-each.answered, each.by))),
        rates=tuple(sorted(_rates(closed_), key=lambda each: (-each.answered, each.tool))),
        expired=sum(one.state in ("expired", "undeliverable") for one in closed_),
    )


def _queues(waiting: Sequence[Item], now: float) -> Iterator[Queue]:
    for to in {one.to for one in waiting}:
        own = [one for one in waiting if one.to == to]
        ages = [now - one.asked_at for one in own]
        yield Queue(to or "anybody", len(own), sum(one.is_urgent for one in own), max(ages), median(ages))


def _answering(closed_: Sequence[Item]) -> Iterator[Answering]:
    answered = [one for one in closed_ if one.state == "answered" and one.by]
    for by in {one.by for one in answered}:
        own = [one for one in answered if one.by == by]
        choices = [one.choice for one in own if one.about == ABOUT]
        took = [one.closed_at - one.asked_at for one in own if one.closed_at is not None]
        approved = choices.count(APPROVE)
        yield Answering(by, len(own), approved, len(choices) - approved, median(took) if took else 0.0)


def _rates(closed_: Sequence[Item]) -> Iterator[Rate]:
    latest: dict[str, list[bool]] = {}
    for one in sorted(closed_, key=lambda each: -(each.closed_at or 0.0)):
        for tool in _tools(one) if one.about == ABOUT and one.state == "answered" else ():
            latest.setdefault(tool, []).append(one.choice == APPROVE)
    for tool, said in latest.items():
        yield Rate(tool, len(said[:LATEST]), sum(said[:LATEST]))


def _tools(item: Item) -> set[str]:
    """What it was about; of a list, each tool once."""
    if isinstance(item.arguments, list):
        return {str(each.get("tool", "")) for each in item.arguments if isinstance(each, dict)}
    return {item.tool}


# --- as people read it -------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """Some of it, as text."""

    caption: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary(found: Stats) -> str:
    """In one line."""
    urgent = f", {found.urgent} of them urgent" if found.urgent else ""
    oldest = "" if found.oldest_s is None else f"; the oldest waits for {ago(found.oldest_s)}"
    return f"{found.open} open{urgent}{oldest}. {found.expired} ended without an answer, of the newest runs."


def tables(found: Stats) -> list[Table]:
    """All that there is something of."""
    waits = [(one.to, one.open, one.urgent, ago(one.oldest_s), ago(one.median_s)) for one in found.queues]
    answers = [(one.by, one.answered, one.approved, one.declined, ago(one.median_s)) for one in found.answering]
    rates = [(one.tool, one.answered, f"{100 * one.approved // one.answered} %") for one in found.rates]
    all_ = [
        _table("What waits", ("put to", "open", "urgent", "oldest", "half are older than"), waits),
        _table("Who answers", ("who", "answers", "approved", "declined", "half within"), answers),
        _table("Approvals", ("of", "answered of late", "approved"), rates),
    ]
    return [table for table in all_ if table.rows]


def _table(caption: str, names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Table:
    return Table(caption, names, tuple(tuple(safe_text(str(cell), 60) for cell in row) for row in rows))
