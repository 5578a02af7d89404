"""A model of a journal in few lines, and a state machine that compares an engine with it.

`JournalConformance.test_all_of_it_against_a_model` runs it: the tests of single invariants say what each means, this
one finds what their combinations break.

Never: sleeps, reads a clock, looks into an engine. Needs hypothesis (`holdfast[test]`).

1. After each step the engine says of each run what the model says: events, head, unread mail, and who has some.
2. Each call's answer is foreseen by the model, before it changes (J1 to J9, J15, J16).
3. Opening the store again changes nothing (J10, J11).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.core import accept
from holdfast.core.events import Event
from holdfast.core.heads import Head, Status
from holdfast.errors import LeaseLost, MailWaiting
from holdfast.protocols import BODY_IN_ROW_MAX, Append, Claim, Lease, Post
from holdfast.testing.conformance_store import TTL_S, Store, start_of, step


@dataclass
class ModelRun:
    """What the model knows of a run."""

    head: Head
    events: list[Event] = field(default_factory=list)
    mail: list[str] = field(default_factory=list)
    read: int = 0
    worker: str | None = None
    epoch: int = 0


RUNS, WORKERS = st.sampled_from(["r1", "r2", "r3"]), st.sampled_from(["w1", "w2"])
DELAYS = st.none() | st.sampled_from([0.0, 5.0, 40.0])


class AgainstModel(RuleBasedStateMachine):
    """Two workers, three runs, time, death, mail and stale leases, in any order."""

    def open_store(self) -> Store:
        """A new store."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Open the store again, if the engine's stores last."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open_store()
        self.runs: dict[str, ModelRun] = {}
        self.expires: dict[str, float] = {}
        self.leases: list[Lease] = []

    def teardown(self) -> None:
        self.store.close()

    @rule(run_id=RUNS)
    def start(self, run_id: str) -> None:
        self._agree_on(self.store.start(run_id), run_id, "start")

    @rule(run_id=RUNS, message_id=st.sampled_from(["m1", "m2", "m3"]))
    def cancel(self, run_id: str, message_id: str) -> None:
        posted = self.store.journal.post(run_id, message_id, accept.cancel(by="ada"))
        self._agree_on(posted, run_id, message_id)

    @rule(names=st.lists(st.tuples(RUNS, st.sampled_from(["start", "m1", "m2", "m3"])), max_size=4))
    def post_all(self, names: list[tuple[str, str]]) -> None:
        posts = [Post(*name, start_of(name[0]) if name[1] == "start" else accept.cancel(by="ada")) for name in names]
        for posted, name in zip(self.store.journal.post_all(posts), names, strict=True):
            self._agree_on(posted, *name)

    def _agree_on(self, posted: accept.Posted, run_id: str, message_id: str) -> None:
        """Judge a start, or a cancellation under another id, as the engine should have judged it."""
        run, now = self.runs.get(run_id), self.store.time
        is_known = run is not None and message_id in run.mail
        is_welcome = message_id == "start" if run is None else not is_known and not run.head.status.is_end
        assert (posted.is_stored, bool(posted.refused)) == (is_welcome, not is_welcome and not is_known)
        if is_welcome and run is None:
            head = Head(run_id, run_id, "agent", "d1", Status.READY, now, now, wake_at=now)
            run = self.runs[run_id] = ModelRun(head)
        if is_welcome and run is not None:
            run.mail.append(message_id)

    @rule(worker=WORKERS)
    def register(self, worker: str) -> None:
        self.store.register(worker)
        self.store.dead.discard(worker)
        self.expires[worker] = self.store.time + TTL_S

    @rule(worker=WORKERS)
    def die(self, worker: str) -> None:
        self.store.dead.add(worker)

    @rule(worker=WORKERS)
    def retire(self, worker: str) -> None:
        self.store.journal.retire(worker)
        self.expires.pop(worker, None)

    @rule(seconds=st.sampled_from([1.0, 5.0, 35.0]))
    def wait(self, seconds: float) -> None:
        self.store.time += seconds

    @rule(worker=WORKERS, by_id=st.none() | RUNS)
    def claim(self, worker: str, by_id: str | None) -> None:
        claims = self.store.journal.claim(worker, run_ids=None if by_id is None else [by_id])
        wanted = {name: run for name, run in self.runs.items() if by_id in (None, name) and self._may_take(worker, run)}
        assert {claim.lease.run_id for claim in claims} == set(wanted)
        for claim in claims:
            run = wanted[claim.lease.run_id]
            assert claim == Claim(Lease(run.head.run_id, worker, run.epoch + 1), run.head, run.worker is not None)
            run.worker, run.epoch = worker, run.epoch + 1
            self.leases.append(claim.lease)

    def _may_take(self, worker: str, run: ModelRun) -> bool:
        now = self.store.time
        is_due = (run.head.wake_at is not None and run.head.wake_at <= now) or len(run.mail) > run.read
        is_free = run.worker is None or (
            run.worker != worker and (self.expires.get(run.worker, 0.0) <= now or run.worker in self.store.dead)
        )
        return self.expires.get(worker, 0.0) > now and is_due and is_free

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        count=st.integers(0, 3),
        status=st.sampled_from([Status.RUNNING, Status.SUSPENDED, Status.SUCCEEDED]),
        delay=DELAYS,
        reads=st.booleans(),
        releases=st.booleans(),
        size=st.sampled_from([9, 9, 9, BODY_IN_ROW_MAX + 1]),
        is_put=st.booleans(),
    )
    def append(
        self,
        data: st.DataObject,
        count: int,
        status: Status,
        delay: float | None,
        reads: bool,
        releases: bool,
        size: int,
        is_put: bool,
    ) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        run = self.runs[lease.run_id]
        wake_at = None if delay is None or status.is_end else self.store.time + delay
        head = replace(run.head, status=status, wake_at=wake_at, updated_at=self.store.time)
        events = [step(len(run.events) + place, b"%09d" % place * (size // 9)) for place in range(count)]
        blobs = {place: self.store.journal.put_blob(event.body or b"") for place, event in enumerate(events)}
        read = len(run.mail) if reads else run.read
        append = Append(lease, len(run.events), events, head, read, (), releases, blobs if is_put else {})
        [result] = self.store.journal.append([append])
        if (run.worker, run.epoch) != (lease.worker_id, lease.epoch):
            assert isinstance(result, LeaseLost)
        elif status.is_end and len(run.mail) > read:
            assert isinstance(result, MailWaiting)
        else:
            assert result is None
            run.head, run.read = head, read
            run.events.extend(events)
            run.worker = None if releases else run.worker

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), delay=DELAYS)
    def release(self, data: st.DataObject, delay: float | None) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        run = self.runs[lease.run_id]
        wake_at = None if delay is None else self.store.time + delay
        self.store.journal.release(lease, wake_at)
        if (run.worker, run.epoch) == (lease.worker_id, lease.epoch):
            run.worker, run.head = None, replace(run.head, wake_at=wake_at)

    @rule()
    def restart(self) -> None:
        self.reopen()

    @invariant()
    def agree(self) -> None:
        journal = self.store.journal
        for run_id, run in self.runs.items():
            assert journal.events(run_id) == run.events and journal.head(run_id) == run.head
            assert [mail.number for mail in journal.mail(run_id)] == list(range(run.read + 1, len(run.mail) + 1))
        for worker in ("w1", "w2"):
            held = {run_id for run_id, run in self.runs.items() if run.worker == worker and len(run.mail) > run.read}
            unread = journal.unread(worker)
            assert set(unread) == held and len(unread) == len(held)
