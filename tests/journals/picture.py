"""What the code of now makes of a store: the states that its logs fold to, and what `show --json` prints."""

from __future__ import annotations

import hashlib
from typing import Any

from holdfast.core.events import Event, Kind
from holdfast.core.state import State, fold
from holdfast.protocols import Journal
from holdfast.views.show import plain, show


def picture(journal: Journal) -> dict[str, Any]:
    """By run id: its state, its picture, its mail."""
    runs = {}
    for head in journal.heads(limit=10_000):
        events = journal.events(head.run_id)
        mail = [[mail.number, str(mail.message.kind), mail.message.meta] for mail in journal.mail(head.run_id)]
        runs[head.run_id] = {
            "head": plain(head.facts()),
            "events": [_digest(event) for event in events],
            "kinds": [str(event.kind) for event in events],
            "state": plain(state_of(fold(events))) if events else None,
            "show": plain(show(head, events)),
            "mail": mail,
        }
    return {"runs": runs}


def state_of(state: State) -> dict[str, Any]:
    """What the log says about a run, in words that outlive how `State` keeps it."""
    return {
        "count": state.count,
        "run": [state.run_id, state.key, state.agent, state.input_digest, state.seed, state.parent, state.chapter],
        "status": [str(state.status), state.why, state.wake_at],
        "limits": list(state.limits),
        "spent": list(state.spent),
        "reserved": list(state.reserved),
        "active_s": round(state.active_s, 3),
        "deaths": state.deaths,
        "open_children": sorted(state.open_children),
        "questions": sorted(state.questions),
        "signals": len(state.signals),
        "unheard": len(state.unheard),
        "order": [str(slot.address) for slot in state.order],
        "slots": [
            [
                list(slot.address), str(slot.step), str(slot.effect), slot.logical, slot.attempt, slot.is_in_flight,
                slot.is_unknown, str(slot.outcome.kind) if slot.outcome else None, slot.outcome_no, slot.retry_at,
                len(slot.failures), len(slot.verdicts), slot.abandoned, slot.is_undone, slot.served, slot.child,
            ]
            for slot in state.slots.values()
        ],
    }  # fmt: skip


def _digest(event: Event) -> str:
    """Each part of an event, in few letters."""
    kind = Kind(event.kind)
    told = repr((str(kind), *map(str, event[1:9]), event.body, event.asked))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
