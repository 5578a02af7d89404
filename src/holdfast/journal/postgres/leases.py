"""Who may work on which run, in Postgres: workers, claims and releases. All of it inside a transaction.

Invariants
1. A run is given to a worker only when it is due or has unread mail, and nobody holds it, or its holder's row is
   gone, has expired by the store's clock, or names a process that is proven dead (J4, J5).
2. Each claim raises the run's epoch by one. A worker never takes over from itself.
3. Several workers that look at the same moment get different runs: what one of them is about to take, the others pass
   over. Whoever asks for a run by its id waits for it instead.
4. Who takes runs keeps its own row from being removed until they are taken (U11); it may be renewed meanwhile.
5. What is free, what has mail and what is held is found by indexes; the number of sleeping runs costs nothing.
6. The server looks for the mail of many runs while their heads are read here, and takes them while their mail is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.heads import Head
from holdfast.errors import JournalCorrupt
from holdfast.journal import rows
from holdfast.journal.postgres import held, mailbox, server
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.server import Db
from holdfast.protocols import Claim, Lease, Mail, Worker

_COLUMNS = f"SELECT {held.COLUMNS} FROM runs WHERE tenant = $1"
_OF_AGENTS = " AND ($4::text[] IS NULL OR agent = ANY($4))"
_FIRST = " ORDER BY due_at LIMIT $3"
_PASSING = " FOR UPDATE SKIP LOCKED"
_DUE = f"{_COLUMNS} AND worker_id IS NULL AND due_at <= $2{_OF_AGENTS}{_FIRST}"
_WITH_MAIL = (
    f"{_COLUMNS} AND worker_id IS NULL AND mail_posted > mail_read AND $2::float8 IS NOT NULL{_OF_AGENTS}{_FIRST}"
)
_ABANDONED = f"{_COLUMNS} AND worker_id = ANY($5) AND (due_at <= $2 OR mail_posted > mail_read){_OF_AGENTS}{_FIRST}"
_BY_ID = (
    f"{_COLUMNS} AND run_id = ANY($6) AND (due_at <= $2 OR mail_posted > mail_read)"
    f" AND (worker_id IS NULL OR worker_id = ANY($5)){_OF_AGENTS}"
)
_ALL_BY_ID = f"{_BY_ID} AND $3::int8 > 0 ORDER BY run_id FOR UPDATE"
_SOME_BY_ID = f"WITH found AS MATERIALIZED ({_BY_ID}) SELECT * FROM found LIMIT $3"
"""Found by their ids all the same: for so few the server might rather go through all runs in some order."""
_HOLDERS = """
    WITH RECURSIVE holder(id) AS (
        (SELECT worker_id FROM runs WHERE tenant = $1 AND worker_id IS NOT NULL ORDER BY worker_id LIMIT 1)
        UNION ALL
        SELECT (SELECT worker_id FROM runs WHERE tenant = $1 AND worker_id > holder.id ORDER BY worker_id LIMIT 1)
        FROM holder WHERE holder.id IS NOT NULL
    )
    SELECT holder.id, w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host, w.expires_at
    FROM holder LEFT JOIN workers w ON w.tenant = $1 AND w.worker_id = holder.id
    WHERE holder.id IS NOT NULL AND holder.id <> $2
"""
_IS_REGISTERED = "SELECT expires_at > $3 FROM workers WHERE tenant = $1 AND worker_id = $2"
_STAYS = " FOR KEY SHARE"
_REGISTER = (
    "INSERT INTO workers VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant, worker_id) DO UPDATE SET"
    " boot_id = excluded.boot_id, pid_namespace = excluded.pid_namespace, pid = excluded.pid,"
    " started = excluded.started, host = excluded.host, expires_at = excluded.expires_at"
)
_RETIRE = "DELETE FROM workers WHERE tenant = $1 AND worker_id = $2"
_TAKE = "UPDATE runs SET worker_id = $1, epoch = epoch + 1 WHERE run_no = ANY($2)"
_HELD = "SELECT 1 FROM runs WHERE tenant = $1 AND run_id = $2 AND worker_id = $3 AND epoch = $4 FOR UPDATE"
_HELD_WITH_MAIL = "SELECT run_id FROM runs WHERE tenant = $1 AND worker_id = $2 AND mail_posted > mail_read"
_OF_WORKER = "SELECT run_id, worker_id, epoch FROM runs WHERE tenant = $1 AND worker_id = $2 ORDER BY run_no"
_OWNER = (
    "SELECT w.worker_id, w.boot_id, w.pid_namespace, w.pid, w.started, w.host, w.expires_at"
    " FROM runs r JOIN workers w ON w.tenant = r.tenant AND w.worker_id = r.worker_id"
    " WHERE r.tenant = $1 AND r.run_id = $2"
)


def register(db: Db, tenant: str, worker: Worker, expires_at: float) -> None:
    """Create or renew the worker's row."""
    process = (worker.boot_id, worker.pid_namespace, worker.pid, worker.started, worker.host)
    db.execute(_REGISTER, (tenant, worker.id, *process, expires_at))


def retire(db: Db, tenant: str, worker_id: str) -> None:
    """Remove the worker's row."""
    db.execute(_RETIRE, (tenant, worker_id))


@dataclass(frozen=True, slots=True)
class Search:
    """One worker's wish for runs, at one time."""

    tenant: str
    worker_id: str
    now: float
    is_dead: Callable[[Worker], bool]
    run_ids: Sequence[str] | None
    agents: Sequence[str] | None
    limit: int

    def has_any(self, db: Db) -> bool:
        """Whether there is a run to take."""
        return bool(self._candidates(db, 1, self._lost(db, is_taking=False), is_taking=False))

    def take(self, db: Db) -> list[tuple[Claim, Held]]:
        """Take what may be taken; with each claim its row."""
        lost = self._lost(db, is_taking=True)
        found = self._candidates(db, self.limit, lost, is_taking=True)
        asked = mailbox.ask_brought(db, found)
        server.send_part(db)
        judged = [(run, head) for run in found if (head := self._judged(run)) is not None]
        written = [] if asked is None else asked.fetchall()
        if judged:
            db.execute(_TAKE, (self.worker_id, [run.run_no for run, _ in judged]))
            server.send_part(db)
        brought = mailbox.brought(self.tenant, [run for run, _ in judged], written)
        return [self._claimed(run, head, lost or {}, brought.get(run.run_id)) for run, head in judged]

    def _candidates(self, db: Db, limit: int, lost: dict[str, float | None] | None, *, is_taking: bool) -> list[Held]:
        if limit <= 0 or lost is None:
            return []
        agents = None if self.agents is None else list(self.agents)
        found: dict[str, Held] = {}
        if self.run_ids is not None:
            values: tuple[Any, ...] = (self.tenant, self.now, limit, agents, list(lost), sorted(self.run_ids))
            asked = [db.execute(_ALL_BY_ID if is_taking else _SOME_BY_ID, values, binary=True)]
        else:
            values = (self.tenant, self.now, limit, agents)
            passing = _PASSING if is_taking else ""
            asked = [db.execute(statement + passing, values, binary=True) for statement in (_DUE, _WITH_MAIL)]
            if lost:
                asked.append(db.execute(_ABANDONED + passing, (*values, list(lost)), binary=True))
        for cursor in asked:
            found |= held.taken(cursor)
        return sorted(found.values(), key=lambda run: (run.due_at or 0.0, run.run_no or 0))[:limit]

    def _lost(self, db: Db, *, is_taking: bool) -> dict[str, float | None] | None:
        """Holders of runs who may be replaced now, and when their leases end, where it is known. None: this worker is
        not registered, so it may take nothing."""
        mine = _IS_REGISTERED + (_STAYS if is_taking else "")
        registered = db.execute(mine, (self.tenant, self.worker_id, self.now), binary=True)
        asked = db.execute(_HOLDERS, (self.tenant, self.worker_id), binary=True)
        if registered.fetchone() != (True,):
            return None
        holders: list[Any] = asked.fetchall()
        return {
            holder: expires_at
            for holder, *worker, expires_at in holders
            if expires_at is None or expires_at <= self.now or self.is_dead(Worker(*worker))
        }

    def _judged(self, run: Held) -> Head | None:
        """The head of a run that may be taken."""
        try:
            head = run.read_head(self.tenant)
        except JournalCorrupt:
            if self.run_ids is not None:
                raise
            return None  # `head` and `facts` tell of it; the other runs go on
        if run.mail_posted <= run.mail_read and (head.wake_at is None or head.wake_at > self.now):
            return None  # its row says that it is due, its head does not: never wake early
        return head

    def _claimed(
        self, run: Held, head: Head, lost: dict[str, float | None], mail: Sequence[Mail] | None
    ) -> tuple[Claim, Held]:
        was_held, until = run.worker_id is not None, None if run.worker_id is None else lost.get(run.worker_id)
        run.worker_id, run.epoch = self.worker_id, run.epoch + 1
        lease = Lease(run.run_id, run.worker_id, run.epoch)
        return Claim(lease, head, is_takeover=was_held, held_until=until, mail=mail), run


def stands(db: Db, tenant: str, claims: list[tuple[Claim, Held]]) -> bool:
    """Whether the transaction that made these claims is in the store; waits while it is under way."""
    return bool(claims) and server.row(db, _HELD, tenant, *claims[0][0].lease) is not None


def release(db: Db, tenant: str, lease: Lease, wake_at: float | None, now: float) -> float | None:
    """Give the run back, if the lease is the newest; since when it may be claimed now."""
    run = held.taken(held.ask(db, tenant, [lease.run_id])).get(lease.run_id)
    if run is None or (run.worker_id, run.epoch) != (lease.worker_id, lease.epoch):
        return None
    if wake_at != run.wake_at:
        run.head = rows.head_text(run.read_head(tenant)._replace(wake_at=wake_at))
        run.seal, run.wake_at = rows.seal(tenant, lease.run_id, run.head), wake_at
    has_mail = run.mail_posted > run.mail_read
    run.due_at = (now if run.due_at is None else run.due_at) if has_mail else wake_at
    run.worker_id = None
    held.write(db, tenant, [run])
    return run.due_at


def with_mail(db: Db, tenant: str, worker_id: str) -> list[str]:
    """Ids of the runs that this worker holds and that have unread mail."""
    return [run_id for (run_id,) in server.rows(db, _HELD_WITH_MAIL, tenant, worker_id)]


def of_worker(db: Db, tenant: str, worker_id: str) -> list[Lease]:
    """The leases of the runs that this worker holds."""
    return [Lease(*row) for row in server.rows(db, _OF_WORKER, tenant, worker_id)]


def owner(db: Db, tenant: str, run_id: str) -> tuple[Worker, float] | None:
    """Who holds the run, and until when."""
    row = server.row(db, _OWNER, tenant, run_id)
    return None if row is None else (Worker(*row[:-1]), row[-1])
