"""What becomes of sessions whose runs have ended without their end: killed for good, failed, stopped, cancelled.

Whoever opens the project next settles them, before anything new begins: the tree is put aside on a branch that says
that it is partial, and the project is told how the session ended, which gives its feature back.

Invariants
1. A session whose run may still go on is left alone, whoever holds it.
2. Only the tree of this place is touched, and only of a session that found it clean when it began. At another place the
   claim is given back, and the tree is left.
3. Settling twice, or by two processes at once, is settling once.
4. What a session has proven stays, where it was proven; everything else that it did, its own commits too, is put aside.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from holdfast.core.board import Session
from holdfast.core.heads import Status
from holdfast.core.state import State, fold
from holdfast.journal.codec import decode
from holdfast.memory.git import Head

if TYPE_CHECKING:
    from holdfast.memory.project import Project

WIP: Final = "holdfast/wip"
"""Branches of unfinished work begin so."""
BEARINGS: Final = "project.bearings"
"""The step whose outcome says where a session began."""
_OUTCOMES = {Status.FAILED: "failed", Status.STOPPED: "stopped", Status.CANCELLED: "cancelled"}


def settle(project: Project) -> list[int]:
    """Settle all sessions that are over; their numbers."""
    with alone(project):
        return _settled(project)


def _settled(project: Project) -> list[int]:
    settled = []
    for session in project.board().sessions.values():
        head = project.journal.head(session.run)
        if head is None or not head.status.is_end:  # one without a run is begun by whoever comes to its place
            continue
        branch, to = "", _stands_at(project, session)
        if session.place == project.place.id and to is not None:  # else what is in the tree is not its own
            branch = put_aside(project, session.number, session.run, to=to)
        outcome = "partial" if branch else _OUTCOMES.get(head.status, "failed")
        project.end(session.run, outcome, branch, message_id=f"settled:{session.run}")
        settled.append(session.number)
    return settled


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """No other process settles, or puts aside, in this repository meanwhile."""
    with (project.place.config.parent / "settling.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a death
        yield


def _stands_at(project: Project, session: Session) -> Head | None:
    """Where the tree was when the session began, or where its feature was seen to pass; None: it had not begun."""
    began = began_at(fold(project.journal.events(session.run)))
    item = project.board().items.get(session.feature)
    proof = item.proof if item is not None else None
    if began is not None and proof is not None and proof.passed and proof.session == session.number:
        return began._replace(commit=proof.commit)
    return began


def began_at(state: State) -> Head | None:
    """Where the tree was when the session of this run began."""
    for slot in state.slots.values():
        if slot.address.name == BEARINGS and slot.outcome is not None and slot.outcome.body is not None:
            found = decode(slot.outcome.body)
            return Head(found["commit"], found["branch"], "")
    return None


def put_aside(project: Project, number: int, key: str, name: str = "session", to: Head | None = None) -> str:
    """Everything that is not committed, or not in `to`, onto a branch of its own; its name, empty when there was
    nothing. Called again with this key it gives the same."""
    trailers = {"Holdfast-Session": str(number), "Holdfast-Partial": "yes", "Holdfast-Key": f"aside:{key}"}
    branch, message = f"{WIP}/{name}-{number}", f"Partial: {name} {number}, not finished"
    if to is None:
        return project.git.quarantine(branch, message, trailers)
    return project.git.take_back(branch, to, message, trailers)
