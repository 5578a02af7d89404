"""What becomes of sessions whose runs have ended without their end: killed for good, failed, stopped, cancelled.

Whoever opens the project next settles them, before anything new begins: the tree is put aside on a branch that says
that it is partial, and the project is told how the session ended, which gives its feature back.

Invariants
1. A session whose run may still go on is left alone, whoever holds it; one of another place that a person has cancelled
   may not, once no process holds it, also where none comes to carry that out.
2. Only the tree of this place is touched, and only of a session that found it clean when it began. At another place the
   claim is given back, and the tree is left; what then lies there, and was certainly not written since the session's
   run ended, is put aside by whoever opens the project there next.
3. Settling twice, or by two processes at once, is settling once.
4. What a session has proven stays, where it was proven; everything else that it did, its own commits too, is put aside.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from holdfast.core.accept import MessageKind
from holdfast.core.board import Left, Session
from holdfast.core.heads import Status
from holdfast.core.state import State, fold
from holdfast.journal.codec import decode
from holdfast.journal.process import holder
from holdfast.memory.git import Head
from holdfast.runtime.clock import SystemClock

if TYPE_CHECKING:
    from holdfast.memory.project import Project

WIP: Final = "holdfast/wip"
"""Branches of unfinished work begin so."""
BEARINGS: Final = "project.bearings"
"""The step whose outcome says where a session began."""
_clock = SystemClock()
_OUTCOMES = {Status.FAILED: "failed", Status.STOPPED: "stopped", Status.CANCELLED: "cancelled"}


def settle(project: Project) -> list[int]:
    """Settle all sessions that are over, and what one has left here that was ended from elsewhere; the numbers of those
    that are ended by that."""
    with alone(project):
        _clear(project)
        return _settled(project)


def _settled(project: Project) -> list[int]:
    settled = []
    for session in project.board().sessions.values():
        head = project.journal.head(session.run)
        if head is None:  # one without a run is begun by whoever comes to its place
            continue
        is_cancelled = session.place != project.place.id and _is_cancelled(project, session)
        if not (head.status.is_end or is_cancelled):
            continue
        branch, to = "", _stands_at(project, session)
        if session.place == project.place.id and to is not None:  # else what is in the tree is not its own
            branch = put_aside(project, session.number, session.run, to=to)
        outcome = "partial" if branch else "cancelled" if is_cancelled else _OUTCOMES.get(head.status, "failed")
        is_left = session.place != project.place.id and to is not None
        project.end(session.run, outcome, branch, message_id=f"settled:{session.run}", is_left=is_left)
        settled.append(session.number)
    return settled


def _is_cancelled(project: Project, session: Session) -> bool:
    """Whether a cancel lies there for its run, and no process would carry it out."""
    journal = project.journal
    told = any(mail.message.kind is MessageKind.CANCEL for mail in journal.mail(session.run))
    return told and holder(journal, session.run) is None


def _clear(project: Project) -> None:
    """Put aside what a session has left here that was ended from another place. What may be somebody else's stays, and
    is told of by `Project.check_tree`."""
    left = project.board().left.get(project.place.id)
    to = None if left is None else _stands_at(project, left)
    if left is None or to is None or not _is_its_own(project, left, to):
        return
    branch = put_aside(project, left.number, left.run, to=to)
    project.record.cleared(project.place.id, branch, message_id=f"cleared:{left.run}")


def _is_its_own(project: Project, left: Left, to: Head) -> bool:
    """Whether nothing of what `to` has not was written or committed after the run of that session had ended. Files and
    commits have the time of this host, the end that of the store: they are compared by how far the two are apart now,
    at most. Where a clock was set since, or another host has written the files, that may be wrong by as much."""
    end = fold(project.journal.events(left.run)).end
    before = _clock.now()
    ahead_s = project.journal.now() - before
    return end is not None and project.git.newest(to.commit) + ahead_s <= end.at


@contextmanager
def alone(project: Project) -> Iterator[None]:
    """No other process settles, or puts aside, in this repository meanwhile."""
    with (project.place.config.parent / "settling.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, also by a death
        yield


def _stands_at(project: Project, session: Session | Left) -> Head | None:
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
