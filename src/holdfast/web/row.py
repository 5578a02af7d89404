"""One line of the inbox, as the page draws it and as its script is told of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from holdfast.protocols import Journal
from holdfast.views.asking import Item, items
from holdfast.views.sheet import title
from holdfast.views.taking import taken
from holdfast.views.text import ago, safe_text
from holdfast.views.verdict import moment

ROWS_MAX: Final = 200
"""Of more than that the page says how many there are."""


def read(journal: Journal) -> dict[str, Any]:
    """What is open now."""
    found, now = items(journal), journal.now()
    waiting = [one for one in found if one.state == "open"]
    return {
        "rows": [row(taken(journal, one), now) for one in found[:ROWS_MAX]],
        "open": len(waiting),
        "urgent": sum(one.is_urgent for one in waiting),
        "more": max(0, len(found) - ROWS_MAX),
        "oldest": _oldest(waiting, now),
    }


def row(item: Item, now: float) -> dict[str, Any]:
    """Its facts as text that is safe to show."""
    left = None if item.expires_at is None else item.expires_at - now
    return {
        "id": item.id,
        "href": f"/q/{item.run}/{item.id}",
        "title": title(item),
        "to": safe_text(item.to or "anybody", 60),
        "run": safe_text(f"{item.agent} / {item.key}", 120),
        "age": f"{ago(now - item.asked_at)} ago",
        "ends": "no deadline" if left is None else f"ends in {ago(left)}" if left > 0 else "over",
        "ends_at": "" if item.expires_at is None else moment(item.expires_at),
        "is_soon": left is not None and left < _SOON_S,
        "is_urgent": item.is_urgent,
        "is_posted": item.state == "posted",
        "state": state(item, now),
    }


def state(item: Item, now: float) -> str:
    """Who has answered it, takes care of it, or has seen it; empty: nobody is known to."""
    if item.state == "posted":
        return f"answered by {safe_text(item.by, 60)}"
    if item.taken_at is None:
        return f"seen by {safe_text(', '.join(item.seen_by), 80)}" if item.seen_by else ""
    return f"{safe_text(item.taken_by, 60)} took it {ago(now - item.taken_at)} ago"


_SOON_S: Final = 600.0


def _oldest(waiting: Sequence[Item], now: float) -> str:
    return ago(now - min(one.asked_at for one in waiting)) if waiting else ""
