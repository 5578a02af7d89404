"""A state machine that compares an engine with the model of `journal_model`, step by step.

`JournalConformance.test_all_of_it_against_a_model` runs it: the tests of single invariants say what each means, this
one finds what their combinations break.

Never: sleeps, reads a clock, looks into an engine. Needs hypothesis (`holdfast[test]`).

1. After each step the engine says of each run what the model says: events, head, unread mail, and who has some.
2. Each call's answer is foreseen by the model, before it changes (J1 to J9, J15, J16, J19 to J21).
3. Opening the store again changes nothing (J10, J11), nor does moving it, where there is a place for it (U1 to U11),
   nor a commit that failed before or after it was written (J13).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.core import accept
from holdfast.core.budget import Limits
from holdfast.core.events import Charge
from holdfast.core.heads import Head, Status
from holdfast.errors import JournalError, StoreBusy, StoreUnreachable
from holdfast.journal.open import upkeep_of
from holdfast.protocols import BODY_IN_ROW_MAX, AccountCharge, Append, Cell, Lease, Post
from holdfast.testing.conformance_engine import Moment
from holdfast.testing.conformance_store import TTL_S, Store, question, reply, start_of, step
from holdfast.testing.journal_model import Model

RUNS, WORKERS = st.sampled_from(["r1", "r2", "r3"]), st.sampled_from(["w1", "w2"])
DELAYS = st.none() | st.sampled_from([0.0, 5.0, 40.0])
_IDS = st.sampled_from(["start", "m1", "m2", "m3", "m4"])
_SENT = st.sampled_from(["start", "cancel", "yes", "no", "signal", "pause"])
_CAP = 3
"""What the account `a` has room for."""
_QUESTION = question()
_EXPIRING = replace(_QUESTION, expires_at=1_000_020.0)


def message_of(what: str, run_id: str) -> accept.Message:
    """A message to this run."""
    match what:
        case "start":
            return start_of(run_id)
        case "cancel":
            return accept.cancel(by="ada")
        case "signal":
            return accept.signal("go", by="ada", body=None)
        case "pause":
            return accept.pause(by="ada")
        case _:
            return reply(what)


class AgainstModel(RuleBasedStateMachine):
    """Two workers, three runs, time, death, mail, questions, charges, failing commits, stale leases, in any order."""

    def open_store(self) -> Store:
        """A new store."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Open the store again, if the engine's stores last."""
        raise NotImplementedError

    def fail_commit(self, moments: Sequence[Moment]) -> bool:
        """Let the next commits fail, each at its moment; whether this engine has any."""
        return False

    def move(self) -> Store | None:
        """Move all runs to another store; that store, or None where there is no such place. May raise `StoreBusy`."""
        return None

    def saw(self, what: str) -> None:
        """Told what has happened; for those who count."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open_store()
        self.model = Model()
        self.model.dead = self.store.dead
        self.leases: list[Lease] = []
        self.limit("a", _CAP)

    @initialize(others=st.lists(st.sampled_from(["r2", "r3"]), unique=True))
    def begin(self, others: list[str]) -> None:
        """A run that a worker holds, so that not every program has to find the way to one."""
        self.post([(run_id, "start", "start") for run_id in ["r1", *others]])
        self.register("w1")
        self.register("w2")
        self.claim("w1", "r1")

    def limit(self, account: str, cap: int) -> None:
        """Both keep the cap."""
        self.store.journal.cap(account, Limits(tool_calls=cap))
        self.model.caps[account] = cap

    def teardown(self) -> None:
        self.store.close()

    # --- mail --------------------------------------------------------------------------------------------------

    @rule(sent=st.lists(st.tuples(RUNS, _IDS, _SENT), min_size=1, max_size=4))
    def post(self, sent: list[tuple[str, str, str]]) -> None:
        posts = [Post(run_id, message_id, message_of(what, run_id)) for run_id, message_id, what in sent]
        for posted, one in zip(self.store.journal.post_all(posts), posts, strict=True):
            wanted = self.model.post(one, self.store.time)
            assert (posted.is_stored, bool(posted.refused)) == (wanted == "stored", wanted == "refused"), (one, wanted)
            self.saw(f"{one.message.kind} {wanted}")

    # --- time, life and death ------------------------------------------------------------------------------------

    @rule(worker=WORKERS)
    def register(self, worker: str) -> None:
        self.store.register(worker)
        self.store.dead.discard(worker)
        self.model.expires[worker] = self.store.time + TTL_S

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        self.store.dead.add(worker)

    @rule(worker=WORKERS)
    def retire(self, worker: str) -> None:
        self.store.journal.retire(worker)
        self.model.expires.pop(worker, None)

    @rule(seconds=st.sampled_from([1.0, 5.0, 35.0]), sweeps=st.booleans())
    def wait(self, seconds: float, sweeps: bool) -> None:
        self.store.time += seconds
        if sweeps:
            self._sweep()

    def _sweep(self) -> None:
        runs, expires, now = self.model.runs.values(), self.model.expires, self.store.time
        idle = set(expires) - {run.worker for run in runs}
        gone = [worker for worker in idle if expires[worker] < now or worker in self.store.dead]
        assert upkeep_of(self.store.journal).sweep_workers(now) == len(gone)
        for worker in gone:
            del expires[worker]
            self.saw("worker swept")

    @rule(worker=WORKERS, by_id=st.none() | RUNS)
    def claim(self, worker: str, by_id: str | None) -> None:
        claims = self.store.journal.claim(worker, run_ids=None if by_id is None else [by_id])
        wanted = self.model.claim(worker, by_id, self.store.time)
        assert {claim.lease.run_id: claim for claim in claims} == wanted and len(claims) == len(wanted)
        self.leases += [claim.lease for claim in claims]
        for claim in claims:
            self.saw("takeover" if claim.is_takeover else "claim")

    claim_more = claim

    @precondition(lambda self: self.leases)
    @rule(chance=st.integers(0, 3))
    def restart(self, chance: int) -> None:
        if chance == 0:  # it is dear, and most programs need only one
            self.reopen()
            self.saw("restart")

    @precondition(lambda self: self.leases)
    @rule(chance=st.integers(0, 6))
    def migrate(self, chance: int) -> None:
        if chance:
            return
        now, runs = self.store.time, self.model.runs.values()
        owners = {run.worker for run in runs if run.worker is not None} - self.store.dead
        is_busy = any(self.model.expires.get(owner, 0) > now for owner in owners)
        try:
            moved = self.move()
        except StoreBusy:
            assert is_busy
            self.saw("migration refused")
            return
        if moved is not None:
            assert not is_busy
            self.store = moved
            self.model.expires.clear()  # nobody works there yet
            self.saw("migration")

    # --- writing -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), moments=st.sampled_from([[], [], [], ["before"], ["after"], ["before", "after"]]))
    def append(self, data: st.DataObject, moments: list[Moment]) -> None:
        leases = data.draw(st.lists(self._lease(), min_size=1, max_size=3, unique_by=lambda lease: lease.run_id))
        group = [self._append(data, lease) for lease in leases]
        can_be_looked_up = all(append.events for append in group)
        is_failing = bool(moments) and can_be_looked_up and self.fail_commit(moments)
        try:
            results = self.store.journal.append(group)
        except StoreUnreachable as error:  # it could not see that anything stands, because nothing does
            assert is_failing
            results = [error] * len(group)
        for one, result in zip(group, results, strict=True):
            self._judge(one, result)
        if is_failing:
            self.fail_commit([])
            self.saw(f"commit failed {' '.join(moments)}")

    def _lease(self) -> st.SearchStrategy[Lease]:
        """Mostly one that holds, if there is any."""
        runs = self.model.runs.items()
        held = [Lease(run_id, run.worker, run.epoch) for run_id, run in runs if run.worker is not None]
        return st.sampled_from([*held, *held, *self.leases[-3:]])

    def _judge(self, append: Append, result: JournalError | None) -> None:
        wanted = self.model.append(append, self.store.time)
        is_told = isinstance(result, (*wanted, StoreUnreachable)) if wanted else result is None
        assert is_told, (result, wanted)
        self.saw("append" if result is None else type(result).__name__)

    def _append(self, data: st.DataObject, lease: Lease) -> Append:
        draw: Any = data.draw
        run, now = self.model.runs[lease.run_id], self.store.time
        count, size = draw(st.integers(0, 3)), draw(st.sampled_from([9, 9, 9, BODY_IN_ROW_MAX + 1]))
        events = [step(len(run.events) + place, b"%09d" % place * (size // 9)) for place in range(count)]
        blobs = {}
        if events and draw(st.booleans()):
            blobs = {place: self.store.journal.put_blob(event.body or b"") for place, event in enumerate(events)}
        head = self._head(data, run.head)
        more: dict[str, Any] = {}
        if events and draw(st.booleans()):
            asks = Charge(draw(st.integers(0, 2)))
            more = {"charges": [AccountCharge("a", reserved=asks, asks=asks)], "cells": {"c": f"{now}"}}
        if draw(st.booleans()):
            other = draw(RUNS)
            more["posts"] = [Post(other, f"of {lease.run_id} {lease.epoch}", message_of("signal", other))]
        read = len(run.mail) if draw(st.booleans()) else run.read
        return Append(
            lease,
            len(run.events),
            events,
            head,
            read,
            releases=draw(st.sampled_from([False, False, False, True])),
            blobs=blobs,
            **more,
        )

    def _head(self, data: st.DataObject, head: Head) -> Head:
        status = data.draw(st.sampled_from([Status.RUNNING, Status.SUSPENDED, Status.SUSPENDED, Status.SUCCEEDED]))
        delay = None if status.is_end else data.draw(DELAYS)
        asked = [] if status.is_end else data.draw(st.sampled_from([[], [_QUESTION], [_EXPIRING]]))
        now = self.store.time
        wake_at = None if delay is None else now + delay
        return head._replace(status=status, wake_at=wake_at, updated_at=now, questions=tuple(asked))

    append_more = append
    append_again = append

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS)
    def release(self, data: st.DataObject, delay: float | None) -> None:
        lease = data.draw(self._lease())
        wake_at = None if delay is None else self.store.time + delay
        self.store.journal.release(lease, wake_at)
        self.model.release(lease, wake_at)

    @rule(version=st.integers(0, 3))
    def swap(self, version: int) -> None:
        before = self.model.cells.get("c", Cell(0, ""))
        assert self.store.journal.swap("c", version, "swapped") is (version == before.version)
        if version == before.version:
            self.model.cells["c"] = Cell(version + 1, "swapped")
        self.saw("swap" if version == before.version else "swap refused")

    # --- what must hold after each step ----------------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        journal = self.store.journal
        for run_id, run in self.model.runs.items():
            assert journal.events(run_id) == run.events and journal.head(run_id) == run.head
            assert [mail.number for mail in journal.mail(run_id)] == list(range(run.read + 1, len(run.mail) + 1))
        for worker in ("w1", "w2"):
            runs = self.model.runs.items()
            held = {run_id for run_id, run in runs if run.worker == worker and len(run.mail) > run.read}
            unread = journal.unread(worker)
            assert set(unread) == held and len(unread) == len(held)
        account = journal.account("a")
        assert account is not None and account.reserved.tool_calls == self.model.used.get("a", 0)
        assert journal.cell("c") == self.model.cells.get("c")
