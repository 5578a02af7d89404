"""Approvals that runs need and that nobody is asked for, since nobody can be reached. Read off heads and logs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from holdfast.core.heads import Head, Status, Why
from holdfast.core.state import fold
from holdfast.protocols import Journal
from holdfast.views.asking import HEADS_MAX


@dataclass(frozen=True, slots=True)
class Unasked:
    """One of them."""

    run: str
    key: str
    agent: str
    tool: str
    to: str
    because: str
    since: float
    until: float | None
    """When its default is taken; None: it waits until somebody can be reached."""

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def unasked(journal: Journal) -> list[Unasked]:
    """All of them, the oldest first."""
    heads = journal.heads(status=Status.SUSPENDED, limit=HEADS_MAX)
    found = [one for head in heads if head.why == Why.UNREACHABLE for one in _of(journal, head)]
    return sorted(found, key=lambda one: one.since)


def _of(journal: Journal, head: Head) -> Iterator[Unasked]:
    for address, decided in fold(journal.events(head.run_id)).withheld.items():
        facts = decided.facts
        yield Unasked(
            head.run_id,
            head.key,
            head.agent,
            address.name,
            facts.get("to", ""),
            facts["because"],
            facts["since"],
            facts.get("until"),
        )
