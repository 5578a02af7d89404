"""The contract of `Journal` as tests: what an engine must do, J1 to J15, one class to inherit from.

    class TestMyEngine(JournalConformance):
        @pytest.fixture
        def open_engine(self, tmp_path):
            def open_engine(name, *, clock, is_dead):
                return MyJournal(tmp_path / name, clock=clock, is_dead=is_dead)
            return open_engine

The same `name` opens the same store again; another name, a new one. What an engine cannot do by its nature (a store
in memory does not outlive its process) it declares in `not_applicable`, with the reason; what the suite cannot do
without knowing the engine (changing bytes behind its back, a commit that fails) are the methods `damage`,
`fail_commits`, `make_newer` and `make_foreign`.

Never: sleeps, reads a clock, looks into an engine. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from holdfast.core import accept
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Head, OpenQuestion, Status
from holdfast.errors import (
    InternalError,
    JournalCorrupt,
    JournalError,
    LeaseLost,
    MailWaiting,
    SchemaNewer,
    StoreForeign,
    StoreUnreachable,
)
from holdfast.protocols import Append, Claim, Journal, Lease, Post, Worker

Damage = Literal["body", "meta", "kind", "missing", "swapped", "tail", "head", "mail", "mail missing"]
"""What is changed: of event 2 the body, meta or kind; event 2 removed, or swapped with 3; the last event removed;
the head; the oldest unread message, or its place in the store."""
Moment = Literal["before", "after"]
"""A commit that fails before it has written anything, or after it has written everything."""
TTL_S = 30.0


class OpenEngine(Protocol):
    """How the suite opens a store of the engine under test."""

    def __call__(self, name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> Journal: ...


class Store:
    """One store with a clock that only the test moves, and a list of the workers that are proven dead."""

    def __init__(self, open_engine: OpenEngine, name: str) -> None:
        self.name = name
        self.time = 1_000_000.0
        self.dead: set[str] = set()
        self._open_engine = open_engine
        self._opened: list[Journal] = []
        self.journal = self.open()

    def open(self) -> Journal:
        """Another journal of this store, as another process would open it."""
        journal = self._open_engine(self.name, clock=lambda: self.time, is_dead=lambda worker: worker.id in self.dead)
        self._opened.append(journal)
        return journal

    def reopen(self) -> Journal:
        """Close everything and open the store again."""
        self.close()
        self.journal = self.open()
        return self.journal

    def close(self) -> None:
        """Close all journals of this store."""
        while self._opened:
            self._opened.pop().close()

    def start(self, run_id: str = "r1", *, agent: str = "agent", message_id: str = "start") -> accept.Posted:
        """Post the start of a run whose key is its id."""
        return self.journal.post(run_id, message_id, start_of(run_id, agent))

    def register(self, worker_id: str) -> None:
        """Give the worker a fresh lease row."""
        self.journal.register(Worker(worker_id, pid=1), TTL_S)

    def claim(self, worker_id: str, *run_ids: str) -> list[str]:
        """The ids of what the worker could take, in the order in which it was given."""
        return [claim.lease.run_id for claim in self.journal.claim(worker_id, run_ids=run_ids or None)]

    def hold(self, run_id: str = "r1", worker_id: str = "w1") -> Claim:
        """Start the run if need be, and claim it."""
        self.start(run_id)
        self.register(worker_id)
        [claim] = self.journal.claim(worker_id, run_ids=[run_id])
        return claim

    def write(self, claim: Claim, events: Sequence[Event] = (), **changed: Any) -> JournalError | None:
        """Append `events` with a head that differs from the claim's in what `changed` says, reading all mail."""
        return self.journal.append([self.appending(claim, events, **changed)])[0]

    def appending(
        self,
        claim: Claim,
        events: Sequence[Event] = (),
        *,
        after: int | None = None,
        mail_read: int | None = None,
        posts: Sequence[Post] = (),
        **changed: Any,
    ) -> Append:
        """What `write` appends. Unless told otherwise it comes after all events and reads all mail."""
        run_id = claim.lease.run_id
        head = replace(claim.head, **({"status": Status.RUNNING} | changed))
        if mail_read is None:
            mail_read = max((mail.number for mail in self.journal.mail(run_id)), default=0)
        if after is None:
            after = len(self.journal.events(run_id))
        return Append(claim.lease, after, events or [step(after)], head, mail_read, posts)

    def record(self, run_id: str = "r1") -> tuple[object, ...]:
        """All that the store says about a run."""
        return self.journal.events(run_id), self.journal.head(run_id), self.journal.mail(run_id)


def start_of(run_id: str, agent: str = "agent", digest: str = "d1") -> accept.Message:
    """The start of a run whose key is its id."""
    return accept.start(agent=agent, key=run_id, input_digest=digest, limits=None, body=b'{"order":1}')


def step(number: int, body: bytes = b'{"ok":true}') -> Event:
    """A step that succeeded."""
    address = Address("", "fetch", "d1g357", number)
    return Event(Kind.STEP_SUCCEEDED, 1_000_000.5, address, StepKind.TOOL, Effect.READ, 1, 1, Charge(1), "", body)


def question(name: str = "q1") -> OpenQuestion:
    """A question that may be answered with yes or no."""
    return OpenQuestion(name, "ask", "Refund?", ("yes", "no"), asked_at=1_000_000.0)


def reply(choice: str = "yes", *, to: str = "q1", by: str = "ada") -> accept.Message:
    """An answer to that question."""
    return accept.answer(to, choice=choice, by=by, body=None)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
COUNTS = st.integers(0, 2**62)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    at=st.floats(1, 4e9),
    address=st.none() | st.builds(Address, TEXTS, TEXTS, TEXTS, st.integers(0, 99)),
    step=st.none() | st.sampled_from(StepKind),
    effect=st.none() | st.sampled_from(Effect),
    logical=st.integers(0, 9),
    attempt=st.integers(0, 9),
    charge=st.just(NOTHING) | st.builds(Charge, COUNTS, COUNTS, COUNTS, COUNTS),
    meta=st.just("") | TEXTS.map(lambda text: meta(text=text)),
    body=st.none() | st.binary(max_size=200),
    asked=st.integers(0, 99),
)
"""Any event that an engine must give back as it was."""

GENTLE = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


class JournalConformance:
    """Inherit from it and give it the fixture `open_engine`. Each test is named after the invariant it checks."""

    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Invariants that this engine cannot have, each with the reason."""

    @pytest.fixture
    def open_engine(self) -> OpenEngine:
        """Override it: a function that opens stores of your engine."""
        raise NotImplementedError("give the class a fixture `open_engine`; see holdfast.testing.conformance")

    def damage(self, name: str, damage: Damage) -> None:
        """Override it: change run `r1` of the closed store `name`, as a bad disk would."""
        raise NotImplementedError

    def fail_commits(self, journal: Journal, moments: Sequence[Moment]) -> None:
        """Override it: let the next commits fail, each at its moment."""
        raise NotImplementedError

    def make_newer(self, name: str) -> None:
        """Override it: let the closed store `name` be of a schema that nobody knows yet."""
        raise NotImplementedError

    def make_foreign(self, name: str) -> None:
        """Override it: let there be something else at the place of the store `name`."""
        raise NotImplementedError

    def fingerprint(self, name: str) -> object:
        """Override it: all bytes at the place of the store `name`."""
        raise NotImplementedError

    def need(self, invariant_name: str) -> None:
        """Skip the test if the engine declares that it cannot have the invariant."""
        if invariant_name in self.not_applicable:
            pytest.skip(f"{invariant_name} is not applicable: {self.not_applicable[invariant_name]}")

    @pytest.fixture
    def store(self, open_engine: OpenEngine) -> Iterator[Store]:
        """A new store."""
        store = Store(open_engine, "store")
        yield store
        store.close()

    def test_j1_a_message_that_counts_is_stored_with_its_time(self, store: Store) -> None:
        """J1. Without it an accepted run would be lost."""
        posted = store.start()
        assert posted.is_stored and not posted.refused
        [mail] = store.journal.mail("r1")
        assert (mail.number, mail.at, mail.message) == (1, store.time, start_of("r1"))
        head = store.journal.head("r1")
        assert head is not None and (head.status, head.wake_at, head.key) == (Status.READY, store.time, "r1")

    def test_j1_a_refused_message_stores_nothing(self, store: Store) -> None:
        """J1. Without it a refused answer could still be read by the run."""
        assert "There is no run" in store.journal.post("r1", "m1", accept.cancel(by="ada")).refused
        assert store.journal.head("r1") is None and store.journal.heads() == []
        store.start()
        before = store.record()
        for message in (reply(), accept.resume(by="ada"), start_of("r1", digest="other")):
            posted = store.journal.post("r1", "m2", message)
            assert posted.refused and not posted.is_stored
        assert store.record() == before

    def test_j1_the_guard_sees_the_head_of_the_last_append(self, store: Store) -> None:
        """J1. Without it an answer to a closed question would be stored."""
        claim = store.hold()
        store.write(claim, questions=(question(),))
        assert "not open" in store.journal.post("r1", "m1", reply(to="q2")).refused
        assert "Choose one of: yes, no" in store.journal.post("r1", "m1", reply("perhaps")).refused
        assert store.journal.post("r1", "m1", reply()).is_stored

    def test_j2_the_same_message_counts_once(self, store: Store) -> None:
        """J2. Without it a client that repeats a lost request would act twice."""
        store.start()
        assert store.journal.post("r1", "m1", accept.cancel(by="ada")).is_stored
        before = store.record()
        again = store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert not again.is_stored and not again.refused
        assert not store.start().is_stored
        assert store.record() == before

    def test_j2_also_after_the_run_has_read_it_and_ended(self, store: Store) -> None:
        """J2. Without it the repeat of an answered request would be an error, or count anew."""
        claim = store.hold()
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert store.write(claim, status=Status.CANCELLED, wake_at=None) is None
        again = store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert not again.is_stored and not again.refused
        assert store.journal.post("r1", "m2", accept.cancel(by="ada")).refused

    def test_j2_a_message_id_belongs_to_its_run(self, store: Store) -> None:
        """J2. Without it a message to one run could swallow one to another."""
        assert store.start("r1").is_stored and store.start("r2").is_stored
        assert store.journal.post("r1", "m1", accept.cancel(by="ada")).is_stored
        assert store.journal.post("r2", "m1", accept.cancel(by="ada")).is_stored

    def test_j3_the_first_answer_counts(self, store: Store) -> None:
        """J3. Without it two people could both decide."""
        claim = store.hold()
        store.write(claim, questions=(question("q1"), question("q2")))
        assert store.journal.post("r1", "m1", reply("yes")).is_stored
        before = store.record()
        late = store.journal.post("r1", "m2", reply("no", by="bob"))
        assert not late.is_stored and "answered already" in late.refused and "ada" in late.refused
        assert store.record() == before
        assert store.journal.post("r1", "m3", reply("no", to="q2")).is_stored

    def test_j3_also_after_the_run_has_read_the_first(self, store: Store) -> None:
        """J3. Without it an answer between reading and closing would count as a second decision."""
        claim = store.hold()
        store.write(claim, questions=(question(),))
        store.journal.post("r1", "m1", reply("yes"))
        store.write(claim, questions=(question(),))
        assert store.journal.mail("r1") == []
        assert "answered already" in store.journal.post("r1", "m2", reply("no")).refused

    def test_j4_what_is_due_is_claimed_once(self, store: Store) -> None:
        """J4. Without it two workers would run the same run, or nobody."""
        store.start()
        store.register("w1")
        store.register("w2")
        [claim] = store.journal.claim("w1")
        assert claim.lease == Lease("r1", "w1", 1) and not claim.is_takeover
        assert claim.head == store.journal.head("r1")
        assert store.claim("w2") == store.claim("w1") == store.claim("w2", "r1") == []

    def test_j4_each_claim_raises_the_epoch(self, store: Store) -> None:
        """J4. Without it an old owner could not be told from the new one."""
        claim = store.hold()
        for epoch in (2, 3, 4):
            store.journal.release(claim.lease, store.time)
            [claim] = store.journal.claim("w1")
            assert claim.lease.epoch == epoch

    def test_j4_a_time_is_not_early(self, store: Store) -> None:
        """J4. Without it a timer would fire early."""
        claim = store.hold()
        store.write(claim)
        store.journal.release(claim.lease, store.time + 10)
        for now, expected in ((9.5, []), (10.0, ["r1"])):
            store.time = 1_000_000.0 + now
            assert store.claim("w1") == expected

    def test_j4_mail_wakes_whatever_the_time(self, store: Store) -> None:
        """J4. Without it an answer would not wake the run that waits for it."""
        claim = store.hold()
        store.write(claim)
        store.journal.release(claim.lease, None)
        assert store.claim("w1") == []
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        store.time -= 3600  # the machine's clock was set back
        store.register("w1")
        assert store.claim("w1") == ["r1"]

    def test_j4_mail_that_was_left_unread_wakes_again(self, store: Store) -> None:
        """J4. Without it a message that came while the run went to sleep would be forgotten."""
        claim = store.hold()
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        store.write(claim, mail_read=1, wake_at=None)
        store.journal.release(claim.lease, None)
        assert [mail.number for mail in store.journal.mail("r1")] == [2]
        assert store.claim("w1") == ["r1"]

    def test_j4_by_id_by_agent_and_no_more_than_asked(self, store: Store) -> None:
        """J4. Without it a worker would take runs whose code it does not have."""
        for number, agent in enumerate(["a", "b", "a", "b"]):
            store.start(f"r{number}", agent=agent)
            store.time += 1
        store.register("w1")
        assert store.claim("w1", "nothing") == []
        assert [claim.lease.run_id for claim in store.journal.claim("w1", agents=["b", "c"], limit=1)] == ["r1"]
        assert [claim.lease.run_id for claim in store.journal.claim("w1", agents=["a"])] == ["r0", "r2"]
        assert store.journal.claim("w1", run_ids=["r3"], agents=["a"]) == []
        assert store.journal.claim("w1", limit=0) == []
        assert store.claim("w1", "r3", "r1") == ["r3"]

    def test_j4_the_longest_due_comes_first(self, store: Store) -> None:
        """J4. Without it a run could starve."""
        wakes = {"r1": 30.0, "r2": 10.0, "r3": 20.0}
        for run_id, delay in wakes.items():
            claim = store.hold(run_id)
            store.write(claim)
            store.journal.release(claim.lease, store.time + delay)
        store.time += 60
        store.register("w1")
        taken = [store.journal.claim("w1", limit=1)[0].lease.run_id for _ in wakes]
        assert taken == ["r2", "r3", "r1"]

    def test_j4_a_worker_without_a_valid_row_takes_nothing(self, store: Store) -> None:
        """J4. Without it a worker that was given up could go on to take runs."""
        store.start()
        assert store.claim("w1") == []
        store.register("w1")
        store.time += TTL_S
        assert store.claim("w1") == store.claim("w1", "r1") == []
        store.register("w1")
        assert store.claim("w1") == ["r1"]

    def test_j5_not_before_the_lease_expires(self, store: Store) -> None:
        """J5. Without it a slow worker would be replaced while it acts, or a lost one never."""
        store.hold(worker_id="w1")
        store.time += TTL_S - 1
        store.register("w2")
        assert store.claim("w2") == store.claim("w2", "r1") == []
        store.time += 1
        [claim] = store.journal.claim("w2")
        assert claim.lease == Lease("r1", "w2", 2) and claim.is_takeover

    def test_j5_a_renewed_lease_holds(self, store: Store) -> None:
        """J5. Without it long work would be taken away."""
        store.hold(worker_id="w1")
        for _ in range(5):
            store.time += TTL_S - 1
            store.register("w1")
            store.register("w2")
            assert store.claim("w2") == []

    def test_j5_the_dead_are_replaced_at_once(self, store: Store) -> None:
        """J5. Without it each crash would cost the length of a lease."""
        store.hold(worker_id="w1")
        store.register("w2")
        store.dead.add("w1")
        [claim] = store.journal.claim("w2")
        assert claim.lease.epoch == 2 and claim.is_takeover

    def test_j5_a_retired_worker_leaves_its_runs(self, store: Store) -> None:
        """J5. Without it a worker that stops in order would block what it could not release."""
        store.hold(worker_id="w1")
        assert store.journal.owner("r1") == (Worker("w1", pid=1), store.time + TTL_S)
        store.journal.retire("w1")
        assert store.journal.owner("r1") is None
        store.register("w2")
        [claim] = store.journal.claim("w2")
        assert claim.is_takeover

    def test_j5_nobody_takes_over_from_itself(self, store: Store) -> None:
        """J5. Without it a worker would run the same run twice."""
        store.hold(worker_id="w1")
        store.time += TTL_S + 1
        store.dead.add("w1")
        store.register("w1")
        assert store.claim("w1") == store.claim("w1", "r1") == []

    def test_j5_what_the_dead_held_and_nobody_needs_stays(self, store: Store) -> None:
        """J5. Without it an ended run would be taken up again because its owner died before the release."""
        claim = store.hold(worker_id="w1")
        store.write(claim, status=Status.SUCCEEDED, wake_at=None)
        store.dead.add("w1")
        store.register("w2")
        assert store.claim("w2") == []

    def test_j6_events_head_mail_and_posts_are_written_together(self, store: Store) -> None:
        """J6. Without it a child could start whose parent does not know it."""
        claim = store.hold()
        posts = [Post("child", "m1", start_of("child")), Post("r1", "m2", accept.cancel(by="child"))]
        store.journal.post("r1", "m1", accept.resume(by="ada", raised=[1, 0, 0, 0]))
        assert store.write(claim, [step(0), step(1)], posts=posts, spent=Charge(2)) is None
        assert store.journal.events("r1") == [step(0), step(1)]
        head = store.journal.head("r1")
        assert head is not None and (head.spent, head.status) == (Charge(2), Status.RUNNING)
        assert [mail.number for mail in store.journal.mail("r1")] == [3]
        assert [mail.message for mail in store.journal.mail("child")] == [start_of("child")]

    def test_j6_what_was_read_stays_read(self, store: Store) -> None:
        """J6. Without it an answer would be acted upon twice."""
        claim = store.hold()
        assert store.write(claim, mail_read=1) is None and store.write(claim, mail_read=0) is None
        assert store.journal.mail("r1") == []

    def test_j6_a_post_to_the_run_itself_is_mail(self, store: Store) -> None:
        """J6. Without it a run could end over a message that it wrote to itself."""
        claim = store.hold()
        assert store.write(claim, posts=[Post("r1", "m1", accept.cancel(by="r1"))]) is None
        assert isinstance(store.write(claim, mail_read=1, status=Status.SUCCEEDED, wake_at=None), MailWaiting)
        assert [mail.number for mail in store.journal.mail("r1")] == [2]

    def test_j6_a_refused_append_leaves_nothing(self, store: Store) -> None:
        """J6. Without it a worker that lost its run could still start children or swallow mail."""
        claim = store.hold()
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        before = store.record()
        stale = replace(claim, lease=claim.lease._replace(epoch=7))
        refused = store.write(stale, spent=Charge(9), posts=[Post("child", "m1", start_of("child"))])
        assert isinstance(refused, LeaseLost)
        assert store.record() == before and store.journal.head("child") is None

    def test_j6_a_refused_post_does_not_fail_its_append(self, store: Store) -> None:
        """J6. Without it a run could not end because its parent has ended before."""
        claim = store.hold()
        posts = [Post("gone", "m1", accept.cancel(by="r1")), Post("child", "m2", start_of("child"))]
        assert store.write(claim, posts=posts) is None
        assert store.journal.mail("gone") == [] and store.journal.head("child") is not None

    def test_j7_the_old_owner_writes_nothing(self, store: Store) -> None:
        """J7. Without it two workers would mix their steps in one record."""
        old = store.hold(worker_id="w1")
        store.write(old)
        store.journal.release(old.lease, store.time)
        for taker in ("w1", "w2"):
            store.register(taker)
            [new] = store.journal.claim(taker)
            before = store.record()
            assert isinstance(store.write(old), LeaseLost)
            assert store.record() == before
            assert store.write(new) is None
            store.journal.release(new.lease, store.time)

    def test_j7_a_lease_that_was_given_back_or_never_given(self, store: Store) -> None:
        """J7. Without it a released run would still be written to."""
        claim = store.hold()
        elsewhere = Claim(Lease("unknown", "w1", 1), replace(claim.head, run_id="unknown"), False)
        assert isinstance(store.write(elsewhere), LeaseLost)
        store.journal.release(claim.lease, None)
        assert isinstance(store.write(claim), LeaseLost)

    def test_j7_an_expired_lease_writes_until_it_is_taken(self, store: Store) -> None:
        """J7. Without it a pause would throw away work that nobody else has begun."""
        claim = store.hold()
        store.time += 10 * TTL_S
        assert store.write(claim) is None

    def test_j8_no_end_with_unread_mail(self, store: Store) -> None:
        """J8. Without it a cancellation that was accepted would never be answered."""
        claim = store.hold()
        store.write(claim)
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        before = store.record()
        for status in (status for status in Status if status.is_end):
            refused = store.write(claim, mail_read=1, status=status, wake_at=None)
            assert isinstance(refused, MailWaiting)
        assert store.record() == before
        assert store.write(claim, mail_read=1) is None
        assert store.write(claim, mail_read=2, status=Status.SUCCEEDED, wake_at=None) is None

    def test_j9_each_of_a_group_fails_alone(self, store: Store) -> None:
        """J9. Without it one lost run would hold up all others of the worker."""
        claims = [store.hold(f"r{number}") for number in range(5)]
        store.journal.post("r2", "m1", accept.cancel(by="ada"))
        group = [store.appending(claim) for claim in claims]
        group[1] = replace(group[1], lease=group[1].lease._replace(epoch=9))
        group[2] = store.appending(claims[2], mail_read=1, status=Status.FAILED, wake_at=None)
        group[3] = replace(group[3], after=4)
        results = store.journal.append(group)
        expected = [type(None), LeaseLost, MailWaiting, InternalError, type(None)]
        assert [isinstance(*pair) for pair in zip(results, expected, strict=True)] == [True] * 5
        assert [len(store.journal.events(f"r{number}")) for number in range(5)] == [1, 0, 0, 0, 1]

    def test_j9_one_run_may_be_twice_in_a_group(self, store: Store) -> None:
        """J9. Without it the steps of one tick could not be one commit."""
        claim = store.hold()
        first, second = store.appending(claim, [step(0)]), store.appending(claim, [step(1)], after=1)
        assert store.journal.append([first, second]) == [None, None]
        assert store.journal.events("r1") == [step(0), step(1)]
        assert store.journal.append([]) == []

    def test_j10_what_was_written_outlives_its_process(self, store: Store) -> None:
        """J10. Without it an accepted run could be gone after a restart."""
        self.need("J10")
        claim = store.hold()
        store.write(claim, [step(0, b"\0\xff" * 3000)], questions=(question(),), spent=Charge(1, 2, 3, 4))
        store.journal.post("r1", "m1", reply())
        before, key = store.record(), store.journal.hash_key
        store.reopen()
        assert store.record() == before and store.journal.hash_key == key and len(key) == 32
        assert store.write(claim) is None

    def test_j10_two_journals_of_a_store_see_the_same(self, store: Store) -> None:
        """J10. Without it an answer from another process would not arrive."""
        self.need("J10")
        claim = store.hold()
        other = store.open()
        store.write(claim, questions=(question(),))
        assert other.events("r1") == store.journal.events("r1")
        assert other.post("r1", "m1", reply()).is_stored
        assert [mail.message for mail in store.journal.mail("r1")] == [reply()]
        assert store.write(claim) is None and other.mail("r1") == []

    def test_j11_events_come_back_as_they_were(self, open_engine: OpenEngine) -> None:
        """J11. Without it a replay would see something else than what happened."""
        names = itertools.count()

        @GENTLE
        @given(st.lists(st.lists(EVENTS, min_size=1, max_size=4), max_size=3))
        def check(groups: list[list[Event]]) -> None:
            store = Store(open_engine, f"events-{next(names)}")
            try:
                claim = store.hold()
                for events in groups:
                    assert store.write(claim, events) is None
                written = list(itertools.chain(*groups))
                assert store.journal.events("r1") == written
                for after in range(len(written) + 2):
                    assert store.journal.events("r1", after) == written[after:]
            finally:
                store.close()

        check()

    def test_j11_no_run_has_no_events(self, store: Store) -> None:
        """J11. Without it a reader could not tell an unknown run from a broken store."""
        assert store.record("unknown") == ([], None, [])

    @pytest.mark.parametrize("damage", ["body", "meta", "kind", "missing", "swapped", "tail"])
    def test_j12_changed_events_are_found(self, store: Store, damage: Damage) -> None:
        """J12. Without it a run would go on from what never happened."""
        self.need("J12")
        self._write_then_damage(store, damage)
        with pytest.raises(JournalCorrupt, match=r"\br1\b"):
            store.journal.events("r1")
        assert store.journal.events("r2") == [step(0)]

    @pytest.mark.parametrize("damage", ["head", "mail", "mail missing"])
    def test_j12_a_changed_head_or_message_is_found(self, store: Store, damage: Damage) -> None:
        """J12. Without it a person's decision could become another."""
        self.need("J12")
        self._write_then_damage(store, damage)
        with pytest.raises(JournalCorrupt, match=r"\br1\b"):
            store.journal.head("r1") if damage == "head" else store.journal.mail("r1")
        assert len(store.journal.mail("r2")) == 0

    def _write_then_damage(self, store: Store, damage: Damage) -> None:
        for run_id in ("r1", "r2"):
            claim = store.hold(run_id)
            events = [step(0)._replace(meta='{"n":0}'), step(1)._replace(meta='{"n":1}'), step(2)]
            assert store.write(claim, events if run_id == "r1" else [step(0)]) is None
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        store.journal.post("r1", "m2", accept.cancel(by="bob"))
        store.close()
        self.damage(store.name, damage)
        store.reopen()

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j13_a_commit_of_unknown_outcome_is_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13. Without it a step would be in the record twice, or not at all."""
        self.need("J13")
        claim = store.hold()
        self.fail_commits(store.journal, moments)
        assert store.write(claim, [step(0)], posts=[Post("child", "m1", start_of("child"))]) is None
        assert store.journal.events("r1") == [step(0)] and len(store.journal.mail("child")) == 1
        self.fail_commits(store.journal, moments)
        assert store.journal.post("r1", "m1", accept.cancel(by="ada")).is_stored
        assert [mail.number for mail in store.journal.mail("r1")] == [2]
        store.journal.release(claim.lease, None)
        self.fail_commits(store.journal, moments)
        assert [claim.lease for claim in store.journal.claim("w1", run_ids=["r1"])] == [Lease("r1", "w1", 2)]

    def test_j13_what_fails_twice_is_given_up(self, store: Store) -> None:
        """J13. Without it a full disk would be an endless loop, or pass for success."""
        self.need("J13")
        claim = store.hold()
        before = store.record()
        append = store.appending(claim)
        self.fail_commits(store.journal, ["before", "before"])
        with pytest.raises(StoreUnreachable):
            store.journal.append([append])
        self.fail_commits(store.journal, ["before", "before"])
        with pytest.raises(StoreUnreachable):
            store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert store.record() == before
        assert store.journal.append([append]) == [None]

    def test_j14_a_newer_store_is_left_alone(self, store: Store) -> None:
        """J14. Without it an old program would write what the new one cannot read."""
        self.need("J14")
        self._refused(store, self.make_newer, SchemaNewer)

    def test_j14_a_foreign_store_is_left_alone(self, store: Store) -> None:
        """J14. Without it a typing error would write into somebody else's database."""
        self.need("J14")
        self._refused(store, self.make_foreign, StoreForeign)

    def _refused(self, store: Store, make: Callable[[str], None], error: type[JournalError]) -> None:
        store.start()
        store.close()
        make(store.name)
        before = self.fingerprint(store.name)
        with pytest.raises(error, match=r"Nothing was changed"):
            store.open()
        assert self.fingerprint(store.name) == before

    def test_j15_a_released_run_wakes_at_its_time_or_by_mail(self, store: Store) -> None:
        """J15. Without it a suspended run would sleep for ever."""
        claim = store.hold()
        store.write(claim, status=Status.SUSPENDED, wake_at=None)
        store.journal.release(claim.lease, store.time + 5)
        head = store.journal.head("r1")
        assert head is not None and (head.status, head.wake_at) == (Status.SUSPENDED, store.time + 5)
        assert store.journal.owner("r1") is None and store.claim("w1") == []
        store.time += 5
        [claim] = store.journal.claim("w1")
        assert not claim.is_takeover

    def test_j15_nor_does_an_older_lease_of_the_same_worker(self, store: Store) -> None:
        """J15. Without it a late release would give away what its worker has just taken again."""
        old = store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        assert store.journal.owner("r1") is not None and store.claim("w1") == []

    def test_j15_a_stale_lease_releases_nothing(self, store: Store) -> None:
        """J15. Without it the old owner could give away what the new one holds."""
        old = store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        new = store.hold(worker_id="w2")
        for lease in (old.lease, new.lease._replace(worker_id="w1"), new.lease._replace(run_id="unknown")):
            store.journal.release(lease, store.time)
            assert store.claim("w1") == []
        assert store.journal.owner("r1") == (Worker("w2", pid=1), store.time + TTL_S)

    def test_heads_are_found_by_key_prefix_and_status(self, store: Store) -> None:
        """Text is data: what looks like a pattern or like SQL finds only itself."""
        hostile = ["a%", "a_b", "axb", "a' OR '1'='1", 'a"; DROP TABLE runs; --', "ä\U0001f600", "b"]
        for run_id in hostile:
            store.start(run_id)
        assert [head.run_id for head in store.journal.heads()] == hostile[::-1]
        assert [head.run_id for head in store.journal.heads(limit=2)] == hostile[:-3:-1]
        for run_id in hostile:
            assert [head.run_id for head in store.journal.heads(key=run_id)] == [run_id]
            assert run_id in [head.run_id for head in store.journal.heads(prefix=run_id)]
        assert [head.run_id for head in store.journal.heads(prefix="a_")] == ["a_b"]
        assert [head.run_id for head in store.journal.heads(prefix="a%")] == ["a%"]
        claim = store.hold("b")
        store.write(claim)
        assert [head.run_id for head in store.journal.heads(status="running")] == ["b"]
        assert store.journal.heads(status="running", key="a%") == store.journal.heads(status="' OR 1") == []

    def test_facts_say_what_is_there(self, store: Store) -> None:
        """Without it `doctor` would have nothing to say."""
        claim = store.hold()
        store.start("r2")
        store.write(claim, [step(0), step(1)])
        facts = store.journal.facts()
        assert facts["engine"] and facts["integrity"] == "ok" and facts["problems"] == []
        assert facts["runs"] == {"ready": 1, "running": 1} and facts["events"] == 2
        store.journal.close()
        store.journal.close()

    def test_all_of_it_against_a_model(self, open_engine: OpenEngine) -> None:
        """J1 to J11 and J15, in any order: what the engine says is what thirty plain lines say."""
        names = itertools.count()
        is_lasting = "J10" not in self.not_applicable

        class Comparison(AgainstModel):
            def open_store(self) -> Store:
                return Store(open_engine, f"model-{next(names)}")

            def reopen(self) -> None:
                if is_lasting:
                    self.store.reopen()

        run_state_machine_as_test(Comparison, settings=settings(GENTLE, stateful_step_count=40))


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
        posted = self.store.start(run_id)
        assert posted.is_stored is (run_id not in self.runs) and not posted.refused
        if posted.is_stored:
            now = self.store.time
            head = Head(run_id, run_id, "agent", "d1", Status.READY, now, now, wake_at=now)
            self.runs[run_id] = ModelRun(head, mail=["start"])

    @rule(run_id=RUNS, message_id=st.sampled_from(["m1", "m2", "m3"]))
    def cancel(self, run_id: str, message_id: str) -> None:
        posted = self.store.journal.post(run_id, message_id, accept.cancel(by="ada"))
        run = self.runs.get(run_id)
        is_known = run is not None and message_id in run.mail
        is_welcome = run is not None and not is_known and not run.head.status.is_end
        assert (posted.is_stored, bool(posted.refused)) == (is_welcome, not is_welcome and not is_known)
        if run is not None and is_welcome:
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
    )
    def append(self, data: st.DataObject, count: int, status: Status, delay: float | None, reads: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        run = self.runs[lease.run_id]
        wake_at = None if delay is None or status.is_end else self.store.time + delay
        head = replace(run.head, status=status, wake_at=wake_at, updated_at=self.store.time)
        events = [step(len(run.events) + place) for place in range(count)]
        read = len(run.mail) if reads else run.read
        [result] = self.store.journal.append([Append(lease, len(run.events), events, head, read)])
        if (run.worker, run.epoch) != (lease.worker_id, lease.epoch):
            assert isinstance(result, LeaseLost)
        elif status.is_end and len(run.mail) > read:
            assert isinstance(result, MailWaiting)
        else:
            assert result is None
            run.head, run.read = head, read
            run.events.extend(events)

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
