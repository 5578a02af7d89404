"""Rows of runs that a transaction has locked, as they will be after it; and the statements that make them so.

Invariants
1. Rows are locked in the order of the runs' ids, all of them by one statement, before anything is judged. So no two
   transactions of holdfast wait for each other's runs.
2. What is written is computed from the locked row. A run that was not there is inserted; if somebody else is as fast,
   the second insert fails and its transaction begins again (`Database`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.heads import Head
from holdfast.journal import rows
from holdfast.journal.postgres.server import Db
from holdfast.journal.rows import Row

COLUMNS = "run_id, run_no, worker_id, epoch, count, chain, mail_posted, mail_read, status, wake_at, due_at, head, seal"
_LOOK = f"SELECT {COLUMNS} FROM runs WHERE tenant = $1 AND run_id = $2"
_LOCK = f"SELECT {COLUMNS} FROM runs WHERE tenant = $1 AND run_id = ANY($2) ORDER BY run_id FOR UPDATE"
_ADD = (
    "INSERT INTO runs (tenant, run_id, key, agent, status, wake_at, due_at, worker_id, epoch, count, chain,"
    " mail_posted, mail_read, head, seal, format, key_id)"
    " SELECT $1, run_id, key, agent, status, wake_at, due_at, NULL, 0, 0, chain, mail_posted, 0, head, seal, $11, $12"
    " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::float8[], $8::bytea[], $9::int8[],"
    " $10::text[], $13::bytea[])"
    " AS given(run_id, key, agent, status, wake_at, due_at, chain, mail_posted, head, seal)"
)
_SET = (
    "UPDATE runs SET worker_id = given.worker_id, count = given.count, chain = given.chain,"
    " mail_posted = given.mail_posted, mail_read = given.mail_read, status = given.status, wake_at = given.wake_at,"
    " due_at = given.due_at, head = given.head, seal = given.seal"
    " FROM unnest($2::text[], $3::text[], $4::int8[], $5::bytea[], $6::int8[], $7::int8[], $8::text[], $9::float8[],"
    " $10::float8[], $11::text[], $12::bytea[])"
    " AS given(run_id, worker_id, count, chain, mail_posted, mail_read, status, wake_at, due_at, head, seal)"
    " WHERE tenant = $1 AND runs.run_id = given.run_id"
)


@dataclass(slots=True)
class Held:
    """One run's row."""

    run_id: str
    run_no: int | None
    """None while it is not in the store yet."""
    worker_id: str | None
    epoch: int
    count: int
    chain: bytes
    mail_posted: int
    mail_read: int
    status: str
    wake_at: float | None
    due_at: float | None
    head: str
    seal: bytes

    def copied(self) -> Held:
        """The same row, to be changed. By hand: `dataclasses.replace`, once a step, takes five times as long."""
        names = (self.run_id, self.run_no, self.worker_id, self.epoch)
        counts = (self.count, self.chain, self.mail_posted, self.mail_read)
        return Held(*names, *counts, self.status, self.wake_at, self.due_at, self.head, self.seal)

    def read_head(self, tenant: str) -> Head:
        """The head, checked."""
        return rows.read_head(tenant, self.run_id, self.head, self.seal, self.wake_at)


def look(db: Db, tenant: str, run_id: str) -> Held | None:
    """One run's row, not locked; None when there is no such run."""
    found = db.execute(_LOOK, (tenant, run_id), binary=True).fetchone()
    return None if found is None else Held(*found)


def ask(db: Db, tenant: str, run_ids: Collection[str]) -> Any:
    """Lock these runs; their rows come with the first answer that is waited for."""
    return db.execute(_LOCK, (tenant, sorted(run_ids)), binary=True)


def taken(asked: Any) -> dict[str, Held]:
    """The rows that were asked for, by run id."""
    return {found[0]: Held(*found) for found in asked.fetchall()}


def begun(tenant: str, head: Head, now: float) -> Held:
    """The row of a run that begins with one message."""
    due_at = now if head.wake_at is None else min(head.wake_at, now)
    place, chain = (head.status, head.wake_at, due_at), rows.root(tenant, head.run_id)
    return Held(head.run_id, None, None, 0, 0, chain, 1, 0, *place, *rows.sealed_first(tenant, head))


def add(db: Db, tenant: str, new: Sequence[tuple[Held, Head]]) -> None:
    """Insert runs, in the order of their ids."""
    ordered = sorted(new, key=lambda pair: pair[0].run_id)
    named = [(held.run_id, head.key, head.agent) for held, head in ordered]
    states = [(held.status, held.wake_at, held.due_at, held.chain, held.mail_posted, held.head) for held, _ in ordered]
    seals = [held.seal for held, _ in ordered]
    db.execute(_ADD, (tenant, *columns(named), *columns(states), rows.FORMAT, rows.KEY_ID, seals))


def write(db: Db, tenant: str, changed: Iterable[Held]) -> None:
    """Write rows that are there."""
    values = [
        (
            *(held.run_id, held.worker_id, held.count, held.chain, held.mail_posted, held.mail_read),
            *(held.status, held.wake_at, held.due_at, held.head, held.seal),
        )
        for held in changed
    ]
    db.execute(_SET, (tenant, *columns(values)))


def columns(table: Sequence[Row]) -> list[list[Any]]:
    """Rows, turned into what `unnest` takes."""
    return [list(column) for column in zip(*table, strict=True)]
