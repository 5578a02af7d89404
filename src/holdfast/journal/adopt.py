"""Saying what a store's file is that is not where it was: the store itself, moved, or a copy of it.

A store that was moved is what it was, at another place; nobody may still be working on the file at the old one. A copy
becomes a store of its own: another id, the same hash key (so that a receiver still knows a repeated effect by its key),
nobody at work in it, and each run that has not ended is paused by a message until a person lets it go on. All of it is
one transaction.

Never: looks at the original, which may be far away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from holdfast.core import accept
from holdfast.core.heads import Status
from holdfast.errors import UsageError
from holdfast.journal import file, mailbox, place
from holdfast.journal.database import Database
from holdfast.journal.process import proven_dead
from holdfast.protocols import Post, Worker

_STOOD = "SELECT id, place FROM store"
_STAY = "UPDATE store SET place = ?"
_BECOME = "UPDATE store SET place = ?, id = lower(hex(randomblob(16)))"
_WORKERS = "SELECT worker_id, boot_id, pid_namespace, pid, started, host FROM workers WHERE expires_at > ?"
_ENDED = ", ".join(f"'{status}'" for status in Status if status.is_end)
_OPEN_RUNS = (
    f"SELECT tenant, run_id FROM runs WHERE status NOT IN ({_ENDED}) AND substr(agent, 1, 1) <> '@' ORDER BY run_no"
)


def adopt(
    path: str,
    *,
    is_copy: bool,
    by: str,
    clock: Callable[[], float],
    is_dead: Callable[[Worker], bool] = proven_dead,
) -> list[str]:
    """Let the file at `path` be written again; the ids of the runs that were paused. `UsageError` says why it must not
    be, or need not."""
    now = clock()
    file.open_file(path, now)
    database = Database(path, lambda: database.commit())
    here = place.of_file(path)

    def work(db: apsw.Connection) -> list[str]:
        stood: Any = db.execute(_STOOD).fetchone()
        if here.stands(stood[1]):
            raise UsageError(
                f"{path} is where it was: it can be used, and there is nothing to adopt. Nothing was done."
            )
        if not is_copy:
            _refuse_living(db, path, now, is_dead)
            db.execute(_STAY, (here.text(),))
            return []
        db.execute("DELETE FROM workers")  # theirs is the original
        db.execute(_BECOME, (here.text(),))
        return _paused(db, place.of_text(stood[1]), by, now)

    def stands(db: apsw.Connection, _: list[str]) -> bool:
        row: Any = db.execute(_STOOD).fetchone()
        return bool(row[1] == here.text())

    try:
        with database.closed_on_failure():
            return database.write(work, stands, is_upkeep=True)
    finally:
        database.close()


def _refuse_living(db: apsw.Connection, path: str, now: float, is_dead: Callable[[Worker], bool]) -> None:
    living = [worker for row in db.execute(_WORKERS, (now,)) if not is_dead(worker := Worker(*row))]
    if living:
        raise UsageError(
            f"{path} was moved while a worker was at work in it (pid {living[0].pid} on {living[0].host}), which may "
            f"still write to the file that was. Nothing was done. Stop it, or wait until its lease is over (30 s); "
            f"or, if the original is still there, this is a copy: holdfast adopt --copied."
        )


def _paused(db: apsw.Connection, stood: place.Place, by: str, now: float) -> list[str]:
    paused = []
    why = f"the store was copied from {stood.path}; whether this run goes on here is for you to say"
    found: list[Any] = db.execute(_OPEN_RUNS).fetchall()
    for tenant, run_id in found:
        post = Post(run_id, f"adopt {apsw.randomness(8).hex()}", accept.pause(by=by, why=why))
        if mailbox.deliver(db, tenant, post, now).is_stored:
            paused.append(run_id)
    return paused
