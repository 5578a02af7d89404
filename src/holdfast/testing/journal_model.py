"""What a journal is, in fifty plain lines: the model that `conformance_model` compares every engine with.

It keeps numbers and names where an engine keeps bytes, asks the core what a message may do (`accept`), and says of each
call what the engine must answer. Never: reads a clock, knows an engine, keeps what nothing compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.core.accept import accept
from holdfast.core.events import Event
from holdfast.core.heads import Head
from holdfast.errors import BudgetRefused, JournalError, LeaseLost, MailWaiting
from holdfast.protocols import Append, Cell, Claim, Lease, Post


@dataclass
class ModelRun:
    """What the model knows of a run."""

    head: Head
    events: list[Event] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    read: int = 0
    worker: str | None = None
    epoch: int = 0


class Model:
    """All runs, leases, cells and accounts of one store."""

    def __init__(self) -> None:
        self.runs: dict[str, ModelRun] = {}
        self.expires: dict[str, float] = {}
        self.dead: set[str] = set()
        self.cells: dict[str, Cell] = {}
        self.used: dict[str, int] = {}
        self.caps: dict[str, int] = {}

    def post(self, post: Post, now: float) -> str:
        """J1 to J3: what becomes of a message, "stored", "known" or "refused"."""
        run = self.runs.get(post.run_id)
        if run is not None and post.message_id in run.mail:
            return "known"
        posted = accept(run.head if run else None, post.run_id, post.message, now)
        is_answered = run is not None and posted.is_stored and posted.subject in run.subjects
        if posted.refused or is_answered or not posted.is_stored:
            return "refused" if posted.refused or is_answered else "known"
        run = self.runs.setdefault(post.run_id, ModelRun(posted.head)) if posted.head else self.runs[post.run_id]
        run.mail.append(post.message_id)
        run.subjects |= {posted.subject} if posted.subject else set()
        return "stored"

    def claim(self, worker: str, wanted: str | None, now: float) -> dict[str, Claim]:
        """J4, J5: what this worker is given, by id. Which is the longest due, a test of its own says."""
        given = {}
        for run_id, run in self.runs.items():
            is_due = (run.head.wake_at is not None and run.head.wake_at <= now) or len(run.mail) > run.read
            is_held = run.worker is not None and run.worker not in self.dead and self.expires.get(run.worker, 0) > now
            is_alive = self.expires.get(worker, 0) > now
            if is_due and is_alive and not is_held and run.worker != worker and wanted in (None, run_id):
                given[run_id] = self._take(run, worker)
        return given

    def _take(self, run: ModelRun, worker: str) -> Claim:
        last, run.worker, run.epoch = run.worker, worker, run.epoch + 1
        lease = Lease(run.head.run_id, worker, run.epoch)
        return Claim(lease, run.head, last is not None, self.expires.get(last) if last is not None else None)

    def append(self, append: Append, now: float) -> tuple[type[JournalError], ...]:
        """J6 to J9, J19 to J21: why it is refused, nothing when it is written; of several reasons any may be told."""
        run, used = self.runs[append.lease.run_id], dict(self.used)
        for charge in append.charges:
            used[charge.key] = used.get(charge.key, 0) + charge.reserved.tool_calls
        over = [c.key for c in append.charges if c.asks.tool_calls and used[c.key] > self.caps.get(c.key, used[c.key])]
        is_unread = append.head.status.is_end and len(run.mail) > max(run.read, append.mail_read)
        if (run.worker, run.epoch) != append.lease[1:]:
            return (LeaseLost,)
        if is_unread or over:
            return (*([MailWaiting] if is_unread else []), *([BudgetRefused] if over else []))
        self.used = used
        run.events.extend(append.events)
        run.head, run.read = append.head, max(run.read, append.mail_read)
        run.worker = None if append.releases else run.worker
        for name, value in append.cells.items():
            self.cells[name] = Cell(self.cells[name].version + 1 if name in self.cells else 1, value)
        for post in append.posts:
            self.post(post, now)
        return ()

    def release(self, lease: Lease, wake_at: float | None) -> None:
        """J15: a stale lease changes nothing."""
        run = self.runs[lease.run_id]
        if (run.worker, run.epoch) == lease[1:]:
            run.worker, run.head = None, run.head._replace(wake_at=wake_at)
