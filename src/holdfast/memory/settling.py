"""What becomes of sessions whose runs have ended without their end: killed for good, failed, stopped, cancelled.

Whoever opens the project next settles them, before anything new begins: the tree is put aside on a branch that says
that it is partial, and the project is told how the session ended, which gives its feature back.

Invariants
1. A session whose run may still go on is left alone, whoever holds it.
2. Only the tree of this place is touched. At another place the claim is given back, and the tree is left.
3. Settling twice, or by two processes at once, is settling once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.core.heads import Status

if TYPE_CHECKING:
    from holdfast.memory.project import Project

WIP: Final = "holdfast/wip"
"""Branches of unfinished work begin so."""
_OUTCOMES = {Status.FAILED: "failed", Status.STOPPED: "stopped", Status.CANCELLED: "cancelled"}


def settle(project: Project) -> list[int]:
    """Settle all sessions that are over; their numbers."""
    settled = []
    for session in project.board().sessions.values():
        head = project.journal.head(session.run)
        if head is None or not head.status.is_end:  # one without a run is begun by whoever comes to its place
            continue
        branch = ""
        if session.place == project.place.id:
            branch = put_aside(project, session.number, session.run)
        outcome = "partial" if branch else _OUTCOMES.get(head.status, "failed")
        project.end(session.run, outcome, branch, message_id=f"settled:{session.run}")
        settled.append(session.number)
    return settled


def put_aside(project: Project, number: int, key: str, name: str = "session") -> str:
    """Everything that is not committed onto a branch of its own; its name, empty when there was nothing. Called again
    with this key it gives the same."""
    trailers = {"Holdfast-Session": str(number), "Holdfast-Partial": "yes", "Holdfast-Key": f"aside:{key}"}
    return project.git.quarantine(f"{WIP}/{name}-{number}", f"Partial: {name} {number}, not finished", trailers)
