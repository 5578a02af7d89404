"""Ordinary steps of several runs, a statement for about every `PART` of them, all in one transaction.

As `quick` does it for one run: what the statement needs to know of each run, its writer knows since its last append or
its claim, and the statement looks all of it up in the runs' rows. A run of which anything differs is left as it is, the
others are written; the general way (`log`) then says why, or finds out what is known wrongly. The end of a run, which
gives it back, is written here too: nobody is woken by it.

The rows come in the order of the runs' ids, as everybody locks them. Should the server take them in another order, two
writers may lock each other out: then it takes one of them back, and that one begins again.

Never: writes mail, accounts, cells or blobs, or wakes anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from holdfast.journal import refusal, rows
from holdfast.journal.postgres import direct, log
from holdfast.journal.postgres.held import Held
from holdfast.journal.postgres.quick import Known, is_ordinary, stepped
from holdfast.journal.postgres.server import Db
from holdfast.protocols import Append

PART = 32
"""About so many runs are sent at once; the server writes them while the next ones are made ready for it."""

_OWN = (
    *(("run_no", "int8"), ("known_count", "int8"), ("known_chain", "bytea"), ("to_head", "text"), ("to_seal", "bytea")),
    *(("at", "float8"), ("digest", "text"), ("meta", "text"), ("body", "bytea"), ("to_chain", "bytea")),
    ("alike_no", "int8"),
)
"""Columns of which each row has its own: of the run as it is known, of its row as it is to be, of its event; and which
of the rest is its own."""
_ALIKE = (
    *(("known_worker", "text"), ("known_epoch", "int8"), ("is_end", "int8"), ("gives_back", "int8")),
    *(("to_read", "int8"), ("to_status", "text"), ("to_wake_at", "float8"), ("kind", "text"), ("scope", "text")),
    *(("name", "text"), ("n", "int8"), ("step", "text"), ("effect", "text"), ("logical", "int8"), ("attempt", "int8")),
    *(("asked", "int8"), ("tool_calls", "int8"), ("model_calls", "int8"), ("tokens", "int8"), ("usd_nano", "int8")),
)
"""Columns of which many rows have the same: what occurs comes once, and a row takes its own out of the array by
`alike_no`. Unnested as the others are, each value of each row would cost the server 0.1 µs and its bytes."""
_EVENT = rows.EVENT_COLUMNS.removeprefix("number, ").partition(", tenant")[0]
"""From `at` to `meta`."""


_ARRAYS = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(_OWN, 3))
_TAKEN = ", ".join(
    f"(${place}::{kind}[])[alike_no] AS {name}" for place, (name, kind) in enumerate(_ALIKE, 3 + len(_OWN))
)
_STEPS = direct.Statement(
    "holdfast steps",
    # A run is found by its number alone, and compared in a way that no index knows: before the server has counted the
    # table's rows, it would take an index of all held runs for the shorter way, and go through all of them for each.
    "WITH grown AS (UPDATE runs SET worker_id = CASE WHEN gives_back = 0 THEN known_worker END,"
    " count = known_count + 1, chain = to_chain, mail_read = to_read, status = to_status, wake_at = to_wake_at,"
    " due_at = to_wake_at, head = to_head, seal = to_seal"
    f" FROM (SELECT *, {_TAKEN} FROM unnest({_ARRAYS}) AS own({', '.join(name for name, _ in _OWN)})) AS given"
    " WHERE runs.run_no = given.run_no AND runs.tenant IS NOT DISTINCT FROM $1"
    " AND (SELECT id = $2 AND moved_to IS NULL FROM store)"
    " AND worker_id IS NOT DISTINCT FROM known_worker AND epoch = known_epoch"
    " AND count = known_count AND chain = known_chain AND mail_read <= to_read AND mail_posted >= to_read"
    " AND (is_end = 0 OR mail_posted <= to_read)"
    f" RETURNING runs.run_no, count, {_EVENT}, body, chain)"
    f" INSERT INTO events (run_no, number, {_EVENT}, tenant, format, key_id, body, chain)"
    f" SELECT run_no, count, {_EVENT}, $1, {rows.FORMAT}, '{rows.KEY_ID}', body, chain FROM grown RETURNING run_no",
    ("text", "text", *(f"{kind}[]" for _, kind in (*_OWN, *_ALIKE))),
)


class Steps:
    """One event each of several runs, and which of them were written."""

    def __init__(self, tenant: str, store_id: str, known: Known, appends: Sequence[Append]) -> None:
        """appends: in the order of their runs' ids."""
        self._tenant = tenant
        self._store_id = store_id
        self._known = known
        self._appends = appends
        self._pairs: list[tuple[Append, Held]] = []
        """Those that were sent, each with its run's row as it was known."""
        self.runs: list[Held] = []
        """Their rows after it."""
        self.written: set[int | None] = set()
        """Numbers of the runs whose event is in the store."""

    def _parts(self) -> Iterator[list[bytes | None]]:
        appends, count = self._appends, max(1, round(len(self._appends) / PART))
        for begin, end in pairwise(len(appends) * part // count for part in range(count + 1)):
            pairs = [pair for append in appends[begin:end] if (pair := self._pair(append)) is not None]
            if pairs:
                self._pairs += pairs
                yield self._values(pairs)

    def _pair(self, append: Append) -> tuple[Append, Held] | None:
        """The append and its run's row; None when it takes the general way."""
        run = self._known.get(append.lease.run_id)
        if run is None or run.run_no is None:
            return None
        counts = (run.worker_id, run.epoch, run.count, max(run.mail_posted, append.mail_read), run.mail_read)
        return (append, run) if refusal.refuse_append(append, *counts) is None else None

    def _values(self, pairs: Sequence[tuple[Append, Held]]) -> list[bytes | None]:
        alike: dict[rows.Row, int] = {}
        own = [self._row(append, known, alike) for append, known in pairs]
        return _STEPS.written((self._tenant, self._store_id, *zip(*own, strict=True), *zip(*alike, strict=True)))

    def _row(self, append: Append, known: Held, alike: dict[rows.Row, int]) -> rows.Row:
        """What the row has by itself, and the number of what it has in common with others."""
        run, row = stepped(known, append, self._tenant)
        self.runs.append(run)
        _, _, at, kind, scope, name, digest, n, step, effect, logical, attempt, asked, *charged, meta = row[:18]
        after = (append.head.status.is_end, append.releases, run.mail_read, run.status, run.wake_at)
        common = (known.worker_id, known.epoch, *after, kind, scope, name, n, step, effect, logical, attempt, asked)
        number = alike.setdefault((*common, *charged), len(alike) + 1)
        return (run.run_no, known.count, known.chain, run.head, run.seal, at, digest, meta, row[21], row[22], number)

    def write(self, db: Db) -> set[int | None]:
        """Send them; the numbers of the runs that the server found as they were known."""
        results = _STEPS.ask_all(db, self._parts())
        return {number for result in results for number in direct.numbers(result)}

    def stand(self, db: Db) -> bool:
        """Whether the transaction is in the store; then `written` tells what it wrote."""
        proofs = [log.proof(run, append) for run, (append, _) in zip(self.runs, self._pairs, strict=True)]
        found = log.standing(db, self._tenant, proofs)
        self.written = {run.run_no for run, stands in zip(self.runs, found, strict=True) if stands}
        return bool(self.written)


def prepared(known: Known, tenant: str, store_id: str, appends: Sequence[Append]) -> Steps | None:
    """The statements for these appends; None when they take the general way, all of them."""
    if not all(is_ordinary(append) or _is_ordinary_end(append) for append in appends):
        return None
    ordered = sorted(appends, key=lambda append: append.lease.run_id)
    if any(one.lease.run_id == other.lease.run_id for one, other in pairwise(ordered)):
        return None
    return Steps(tenant, store_id, known, ordered)


def _is_ordinary_end(append: Append) -> bool:
    """Whether it gives back a run that nothing wakes but mail, of which there is none."""
    gives_back = append.releases and append.head.status.is_end and append.head.wake_at is None
    return gives_back and is_ordinary(append._replace(releases=False))
