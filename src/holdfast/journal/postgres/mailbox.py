"""Mail in Postgres: storing messages if they can count, and reading what is unread. All of it inside a transaction.

Invariants
1. A message is looked for by its id before it is judged: what stands already stays, whatever the run is now (J2).
2. `accept` decides; a refused message stores nothing (J1). Of each subject the first message counts (J3).
3. Messages of a run are numbered 1, 2, 3 …; a gap below the run's count is damage.
4. The run's row is locked before its mail is looked at: nobody else adds to it meanwhile.
5. Of many messages about every `PART` are sent at once, in the order of their runs' ids: the server writes them while
   the next ones are judged. Those of one run keep their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from holdfast.core.accept import Posted, accept
from holdfast.core.heads import Head
from holdfast.errors import JournalCorrupt
from holdfast.journal import refusal, rows
from holdfast.journal.postgres import blobs, held, server
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.server import Db
from holdfast.protocols import BODY_IN_ROW_MAX, Mail, Post

PART = 100
"""Messages that are sent at once."""

_STANDING = (
    "SELECT run_id, message_id FROM unnest($2::text[], $3::text[]) AS given(run_id, message_id)"
    " JOIN runs USING (run_id) JOIN mail USING (run_no, message_id) WHERE runs.tenant = $1"
)
_ADD = (
    f"INSERT INTO mail (run_no, {rows.MAIL_COLUMNS})"
    " SELECT run_no, number, at, message_id, subject, kind, meta, given.tenant, given.format, given.key_id, body,"
    " given.seal"
    " FROM unnest($2::text[], $3::int8[], $4::float8[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],"
    " $10::int8[], $11::text[], $12::bytea[], $13::bytea[])"
    " AS given(run_id, number, at, message_id, subject, kind, meta, tenant, format, key_id, body, seal)"
    " JOIN runs ON runs.tenant = $1 AND runs.run_id = given.run_id"
)
_FIRST_OF_SUBJECT = f"SELECT {rows.MAIL_COLUMNS} FROM mail WHERE run_no = $1 AND subject = $2"
_UNREAD = (
    f"SELECT mail_posted, mail_read, {', '.join('mail.' + name for name in rows.MAIL_COLUMNS.split(', '))} FROM runs"
    " LEFT JOIN mail ON mail.run_no = runs.run_no AND number > mail_read"
    " WHERE runs.tenant = $1 AND run_id = $2 ORDER BY number"
)

_UNREAD_OF = (
    f"SELECT mail.run_no, {', '.join('mail.' + name for name in rows.MAIL_COLUMNS.split(', '))}"
    " FROM unnest($1::int8[], $2::int8[]) AS given(run_no, read) JOIN mail USING (run_no)"
    " WHERE number > read ORDER BY run_no, number"
)


class Delivery:
    """Messages that are judged one after the other and written together.

    `runs` holds the locked rows of the runs that they go to, and gets those that they begin.
    """

    def __init__(self, db: Db, tenant: str, now: float, posts: Sequence[Post]) -> None:
        self.runs: dict[str, Held] = {}
        self.changed: dict[str, Held] = {}
        """Rows that are there and are to be written."""
        self._db = db
        self._tenant = tenant
        self._now = now
        self._asked = self._ask(posts)
        self.standing: set[tuple[str, str]] = set()
        self._subjects: dict[tuple[str, str | None], Mail] = {}
        self._begun: dict[str, tuple[Held, Head]] = {}
        self._mail: list[rows.Row] = []

    def _ask(self, posts: Sequence[Post]) -> Any:
        names = [(post.run_id, post.message_id) for post in posts]
        return self._db.execute(_STANDING, (self._tenant, *held.columns(names)), binary=True) if names else None

    def look(self, runs: dict[str, Held]) -> None:
        """Take over the locked rows, and which messages stand already."""
        self.runs = runs
        if self._asked is not None:
            self.standing = {(run_id, message_id) for run_id, message_id in self._asked.fetchall()}

    def deliver(self, post: Post) -> Posted:
        """Store the message for the run if it can count."""
        run = self.runs.get(post.run_id)
        if run is None:
            posted = accept(None, post.run_id, post.message, self._now)
            if posted.is_stored:
                self._begin_run(posted, post)
            return posted
        if (post.run_id, post.message_id) in self.standing:
            return Posted(False)
        posted = accept(run.read_head(self._tenant), post.run_id, post.message, self._now)
        if not posted.is_stored:
            return posted
        refused = self._taken(run, posted.subject)
        if refused:
            return Posted(False, refused, posted.subject)
        self._keep(run.mail_posted + 1, posted.subject, post)
        run.mail_posted += 1
        run.due_at = self._now if run.due_at is None else min(run.due_at, self._now)
        if post.run_id not in self._begun:
            self.changed[post.run_id] = run
        return posted

    def _begin_run(self, posted: Posted, post: Post) -> None:
        assert posted.head is not None
        self._keep(1, posted.subject, post)
        run = self.runs[post.run_id] = held.begun(self._tenant, posted.head, self._now)
        self._begun[post.run_id] = run, posted.head

    def _keep(self, number: int, subject: str | None, post: Post) -> None:
        row = rows.mail_row(
            self._tenant, post.run_id, number, self._now, post.message_id, subject, post.message, self._blob(post)
        )
        self._mail.append((post.run_id, *row))
        self.standing.add((post.run_id, post.message_id))
        if subject is not None:
            self._subjects[post.run_id, subject] = Mail(number, self._now, post.message)

    def _blob(self, post: Post) -> bytes | None:
        """The hash of the message's blob, which is put here unless the post names it; None for a small body."""
        body = post.message.body
        if body is None or len(body) <= BODY_IN_ROW_MAX:
            return None
        if post.blob:
            return blobs.named(self._db, self._tenant, post.blob, len(body))
        return blobs.put(self._db, self._tenant, body, self._now)

    def _taken(self, run: Held, subject: str | None) -> str:
        """Why no second message of that subject counts; empty when there is no first."""
        if subject is None:
            return ""
        first = self._subjects.get((run.run_id, subject))
        if first is None and run.run_no is not None:
            row = server.row(self._db, _FIRST_OF_SUBJECT, run.run_no, subject)
            if row is not None:
                fetch = blobs.reader(self._db, self._tenant)
                [first] = rows.read_mail(self._tenant, run.run_id, row[0] - 1, [row], fetch)
        return "" if first is None else refusal.had_already(run.run_id, subject, first)

    def flush(self) -> None:
        """Send what was stored: runs, then their mail, then the rows that were there."""
        if self._begun:
            held.add(self._db, self._tenant, list(self._begun.values()))
        add(self._db, self._tenant, self._mail)
        if self.changed:
            held.write(self._db, self._tenant, self.changed.values())
        self._begun.clear()
        self._mail.clear()
        self.changed.clear()


def add(db: Db, tenant: str, mail: Sequence[rows.Row]) -> None:
    """Insert messages, each with the id of its run first."""
    if mail:
        db.execute(_ADD, (tenant, *held.columns(mail)))


def deliver(db: Db, tenant: str, posts: Sequence[Post], now: float) -> list[Posted]:
    """Offer messages in one transaction; each is judged by itself, after those before it."""
    asked = held.ask(db, tenant, {post.run_id for post in posts})
    delivery = Delivery(db, tenant, now, posts)
    delivery.look(held.taken(asked))
    posted: dict[int, Posted] = {}
    for place in sorted(range(len(posts)), key=lambda place: posts[place].run_id):
        if posted and len(posted) % PART == 0:
            delivery.flush()
            server.send_part(db)
        posted[place] = delivery.deliver(posts[place])
    delivery.flush()
    return [posted[place] for place in range(len(posts))]


def standing(db: Db, tenant: str, posts: Sequence[Post]) -> set[tuple[str, str]]:
    """Which of these messages are in the store; waits for whoever is still writing to their runs."""
    asked = held.ask(db, tenant, {post.run_id for post in posts})
    delivery = Delivery(db, tenant, 0.0, posts)
    delivery.look(held.taken(asked))
    return set(delivery.standing)


def unread(db: Db, tenant: str, run_id: str) -> list[Mail]:
    """The run's unread mail, oldest first."""
    table = server.rows(db, _UNREAD, tenant, run_id)
    if not table:
        return []
    posted, read = table[0][:2]
    there = [row[2:] for row in table if row[2] is not None]
    found = rows.read_mail(tenant, run_id, read, there, blobs.reader(db, tenant))
    if read + len(found) != posted:
        raise rows.corrupt_mail(run_id, min(read + len(found), posted) + 1)
    return found


def ask_brought(db: Db, runs: Sequence[Held]) -> Any:
    """Ask for the unread mail of these runs; None when there is none."""
    written_to = [(run.run_no, run.mail_read) for run in runs if run.mail_posted > run.mail_read]
    return db.execute(_UNREAD_OF, held.columns(written_to), binary=True) if written_to else None


def brought(tenant: str, runs: Sequence[Held], written: Sequence[rows.Row]) -> dict[str, Sequence[Mail]]:
    """What claims of these runs bring along of the mail that was asked for, by run id. Those whose mail is large or
    damaged are left out: that is told when it is read."""
    found = defaultdict[int, list[rows.Row]](list)
    for run_no, *row in written:
        found[run_no].append(tuple(row))
    given: dict[str, Sequence[Mail]] = {}
    for run in runs:
        try:
            mail = rows.read_small_mail(tenant, run.run_id, run.mail_read, run.mail_posted, found[run.run_no or 0])
        except JournalCorrupt:
            mail = None
        if mail is not None:
            given[run.run_id] = mail
    return given
