"""`holdfast gc`: runs are forgotten as retention says, what no run names any more goes, and space is given back.

Invariants
1. What may go is decided by `core.retention`; the store looks once more in the transaction that forgets a run.
2. Each step is a transaction of its own, and it may be cut short after any: the next time goes on.
3. A run that cannot be read is left as it is: its bytes may be all that is left of it.
4. What is forgotten goes from the search index too; an index that is not there is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from holdfast.core.accept import MessageKind
from holdfast.core.heads import Head
from holdfast.core.retention import GRACE_S, WORKER_GRACE_S, Known, Retention, choose, known, tombstone
from holdfast.errors import JournalCorrupt
from holdfast.journal.lookup import catch_up
from holdfast.journal.open import index_of
from holdfast.protocols import Journal, Upkeep

PAGE = 1_000


@dataclass(slots=True)
class Collected:
    """What was done, or in a trial would be."""

    forgotten: list[str] = field(default_factory=list)
    """Ids of runs."""
    kept: dict[str, int] = field(default_factory=dict)
    """How many runs that have ended stay, by the reason."""
    blobs: int = 0
    blob_bytes: int = 0
    workers: int = 0
    """Those that are gone, and that no run names."""

    def add(self, other: Collected) -> None:
        """What was done for another tenant."""
        self.forgotten += other.forgotten
        for why, count in other.kept.items():
            self.kept[why] = self.kept.get(why, 0) + count
        self.blobs += other.blobs
        self.blob_bytes += other.blob_bytes
        self.workers += other.workers


def every_id(upkeep: Upkeep) -> Iterator[str]:
    """The ids of all runs, in the order in which they were made."""
    after = ""
    while page := upkeep.run_ids(after, PAGE):
        yield from page
        after = page[-1]


def collect(journal: Journal, upkeep: Upkeep, retention: Retention, *, is_trial: bool = False) -> Collected:
    """Do it for the runs of one tenant. is_trial: change nothing."""
    now, done = journal.now(), Collected()
    if retention:
        runs, damaged = _survey(journal, upkeep)
        chosen = choose(retention, runs, now)
        done.kept = chosen.kept | ({"it cannot be read": damaged} if damaged else {})
        for run_id in chosen.forget:
            if is_trial or (why := _forget(journal, upkeep, run_id, now)) is None:
                done.forgotten.append(run_id)
            else:
                done.kept[why] = done.kept.get(why, 0) + 1
    done.workers = upkeep.sweep_workers(now - WORKER_GRACE_S, is_trial=is_trial)
    if not is_trial:
        _leave_index(journal)
        done.blobs, done.blob_bytes = upkeep.sweep_blobs(now - GRACE_S)
        upkeep.compact()
    return done


def _leave_index(journal: Journal) -> None:
    """What is forgotten goes from the search index too, where there is one."""
    if hasattr(journal, "index"):
        index = index_of(journal)
        try:
            if index.is_made:
                catch_up(journal, index)
        finally:
            index.close()


def _survey(journal: Journal, upkeep: Upkeep) -> tuple[list[Known], int]:
    """All runs, and how many cannot be judged."""
    found, damaged = [], 0
    living = {worker.id for worker in upkeep.living()}
    for run_id in every_id(upkeep):
        try:
            head = journal.head(run_id)
            if head is not None:
                found.append(_known(journal, head, living))
        except JournalCorrupt:
            damaged += 1
    return found, damaged


def _known(journal: Journal, head: Head, living: Collection[str]) -> Known:
    run_id = head.run_id
    first = next(iter(journal.events(run_id, limit=1)), None)
    begins = [] if first is not None else journal.mail(run_id)
    facts = next((mail.message.facts for mail in begins if mail.message.kind is MessageKind.START), {})
    owner = journal.owner(run_id) if head.status.is_end else None
    is_in_use = head.status.is_end and (bool(journal.mail(run_id)) or (owner is not None and owner[0].id in living))
    return known(head, first, facts, is_in_use)


def _forget(journal: Journal, upkeep: Upkeep, run_id: str, now: float) -> str | None:
    """Why the run stays after all; None when it is forgotten."""
    try:
        events = journal.events(run_id)
    except JournalCorrupt:
        return "it cannot be read"
    left = tombstone(events, now)
    if upkeep.condense(run_id, len(events), left.events, left.head):
        return None
    return "it is in use"
