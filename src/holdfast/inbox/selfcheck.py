"""A look at ourselves, before anybody outside is told that holdfast lives: what of the work in the store is late."""

from __future__ import annotations

from typing import Final

from holdfast.core.chain import AGENT
from holdfast.core.checkup import Found
from holdfast.core.heads import Head, Status
from holdfast.inbox.directory import Directory
from holdfast.protocols import Journal

HEADS_MAX: Final = 10_000
"""Of the runs of each status so many are looked at: the newest."""


def found(directory: Directory, journal: Journal, now: float) -> Found:
    """What there is to see in the store; it reads many heads, and is called on a thread."""
    statuses = (Status.SUSPENDED, Status.READY, Status.RUNNING)
    heads = [head for status in statuses for head in journal.heads(status=status, limit=HEADS_MAX)]
    ends = [asked.expires_at for head in heads for asked in head.questions if asked.expires_at is not None]
    chains = [_late_s(head, now) for head in heads if head.agent == AGENT]
    return Found(
        overdue_s=max([0.0, *(now - end for end in ends)]),
        behind_s=max([0.0, *chains]),
        without_anybody=[name for name in directory.chains if not _is_somebody_there(directory, name, now)],
        problems=len(journal.facts().get("problems", ())),
    )


def _late_s(head: Head, now: float) -> float:
    is_due = head.status is not Status.RUNNING and head.wake_at is not None
    return now - head.wake_at if is_due and head.wake_at is not None else 0.0


def _is_somebody_there(directory: Directory, chain: str, now: float) -> bool:
    plan = directory.plan(directory.chains[chain], now, deadline=None, is_urgent=True)
    return any(reach.channels for level in plan.levels for reach in level.people)
