"""What was approved last of the same tool: what a new call is compared with."""

from __future__ import annotations

from typing import Final

from holdfast.core.approval import ABOUT, APPROVE
from holdfast.protocols import Journal
from holdfast.views.asking import Item, history

HEADS_MAX: Final = 1_000
"""So many runs are looked at, the newest,"""
RECORDS_MAX: Final = 50
"""and of those of the same agent so many are read."""


def precedent(journal: Journal, item: Item) -> Item | None:
    """The call of this tool by this agent that a person approved last before this one was asked about; None: none."""
    if item.about != ABOUT or not item.tool or isinstance(item.arguments, list):
        return None
    heads = [head for head in journal.heads(limit=HEADS_MAX) if head.agent == item.agent and not head.is_forgotten]
    found = [one for head in heads[:RECORDS_MAX] for one in history(journal, head.run_id) if _is_like(one, item)]
    return max(found, key=lambda one: one.closed_at or 0.0, default=None)


def _is_like(one: Item, item: Item) -> bool:
    is_approved = (one.about, one.state, one.choice) == (ABOUT, "answered", APPROVE)
    is_before = one.closed_at is not None and one.closed_at <= item.asked_at
    return is_approved and is_before and one.tool == item.tool and isinstance(one.arguments, dict)
