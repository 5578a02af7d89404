"""A look at ourselves, before anybody outside is told that holdfast lives: what of the work in the store is late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holdfast.core.chain import AGENT
from holdfast.core.checkup import Found
from holdfast.core.heads import MISMATCHED, Head, Status, Why
from holdfast.inbox.directory import Directory
from holdfast.protocols import Journal
from holdfast.runtime.escalating import chain_id

HEADS_MAX: Final = 10_000
"""Of the runs of each status so many are looked at: the newest."""


def found(directory: Directory, journal: Journal, now: float) -> Found:
    """What there is to see in the store; it reads many heads, and is called on a thread."""
    statuses = (Status.SUSPENDED, Status.READY, Status.RUNNING)
    heads = [head for status in statuses for head in journal.heads(status=status, limit=HEADS_MAX)]
    ends = [asked.expires_at for head in heads for asked in head.questions if asked.expires_at is not None]
    chains = [_late_s(head, now) for head in heads if head.agent == AGENT]
    for head in heads:
        chains += [] if head.agent.startswith("@") else _untold_s(directory, journal, head, now)
    return Found(
        overdue_s=max([0.0, *(now - end for end in ends)]),
        behind_s=max([0.0, *chains]),
        without_anybody=[name for name in directory.chains if not _is_somebody_there(directory, name, now)],
        problems=len(journal.facts().get("problems", ())) + (len(heads) >= HEADS_MAX),
    )


def _untold_s(directory: Directory, journal: Journal, head: Head, now: float) -> Iterator[float]:
    """For how long each of its open questions has been without the run that should tell people of it."""
    for asked in head.questions:
        teller = journal.head(chain_id(journal, head.run_id, asked.id))
        if (teller is None or teller.status.is_end) and directory.chain_for(asked.to) is not None:
            yield now - asked.asked_at


def _late_s(head: Head, now: float) -> float:
    if head.status is Status.SUSPENDED and (head.why in MISMATCHED or head.why == Why.CRASH_LOOP):
        return now - head.updated_at
    is_due = head.status is not Status.RUNNING and head.wake_at is not None
    return now - head.wake_at if is_due and head.wake_at is not None else 0.0


def _is_somebody_there(directory: Directory, chain: str, now: float) -> bool:
    plan = directory.plan(directory.chains[chain], now, deadline=None, is_urgent=True)
    return any(reach.channels for level in plan.levels for reach in level.people)
