"""The contract of `Journal` as tests: what an engine must do, J1 to J23, one class to inherit from.

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

`conformance_store` holds what the tests are built from, `conformance_engine` what an engine gives them,
`conformance_shared` the tests of cells and accounts, `conformance_doorbell` those of `listen`, `conformance_upkeep`
those of `Upkeep` (U1 to U11), `conformance_model` the state machine that the last of them runs.
The invariants are numbered in `holdfast.protocols`; each test is named after the one it checks. This file is long
because the tests stay together, in that order: one class is what an engine inherits, and whoever changes a number
reads all that is said about it in one place.

Never: sleeps, reads a clock, looks into an engine. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from holdfast.core import accept
from holdfast.core.events import Charge, Event
from holdfast.core.heads import Status
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
from holdfast.protocols import BODY_IN_ROW_MAX, Claim, Lease, Post, Worker
from holdfast.testing.conformance_doorbell import DoorbellConformance
from holdfast.testing.conformance_engine import GENTLE, Damage, Moment
from holdfast.testing.conformance_model import DELAYS, AgainstModel
from holdfast.testing.conformance_shared import SharedConformance
from holdfast.testing.conformance_store import (
    COUNTS,
    EVENTS,
    TEXTS,
    TTL_S,
    OpenEngine,
    Store,
    question,
    reply,
    start_of,
    step,
)
from holdfast.testing.conformance_upkeep import UpkeepConformance
from holdfast.testing.journal_model import Model, ModelRun

__all__ = [
    "COUNTS", "DELAYS", "EVENTS", "GENTLE", "TEXTS", "TTL_S", "AgainstModel", "Damage", "JournalConformance",
    "Model", "ModelRun", "Moment", "OpenEngine", "Store", "question", "reply", "start_of", "step",
]  # fmt: skip

LARGE = bytes(range(251)) * 10_000
"""A body that is a blob of several pieces, if the engine has pieces; of no power of two."""


class JournalConformance(SharedConformance, DoorbellConformance, UpkeepConformance):
    """Inherit from it and give it the fixture `open_engine`. Each test is named after the invariant it checks."""

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

    def test_j1_messages_posted_together_are_judged_one_after_the_other(self, store: Store) -> None:
        """J1. Without it a message to a run that starts in the same call would be refused, or one would fail all."""
        names = [("r1", "start"), ("r1", "m1"), ("gone", "m1"), ("r2", "start")]
        posts = [Post(*name, start_of(name[0]) if name[1] == "start" else accept.cancel(by="ada")) for name in names]
        posted = store.journal.post_all(posts)
        assert [one.is_stored for one in posted] == [True, True, False, True]
        assert [bool(one.refused) for one in posted] == [False, False, True, False]
        assert [mail.message for mail in store.journal.mail("r1")] == [posts[0].message, posts[1].message]
        assert [mail.number for mail in store.journal.mail("r2")] == [1]
        assert store.journal.head("gone") is None and store.journal.mail("gone") == []
        assert store.journal.post_all([]) == []

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

    def test_j2_also_of_messages_posted_together(self, store: Store) -> None:
        """J2. Without it a group that is offered again, or names a message twice, would count twice."""
        posts = [Post("r1", "start", start_of("r1")), *[Post("r1", "m1", accept.cancel(by="ada"))] * 2]
        assert [one.is_stored for one in store.journal.post_all(posts)] == [True, True, False]
        before = store.record()
        more = [*posts, Post("r1", "m2", accept.cancel(by="bob"))]
        again = store.journal.post_all(posts)
        assert [(one.is_stored, one.refused) for one in again] == [(False, "")] * 3 and store.record() == before
        assert [one.is_stored for one in store.journal.post_all(more)] == [False, False, False, True]
        assert [mail.number for mail in store.journal.mail("r1")] == [1, 2, 3]

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

    def test_j3_also_of_answers_posted_together(self, store: Store) -> None:
        """J3. Without it two answers that arrive at the same moment would both count."""
        claim = store.hold()
        store.write(claim, questions=(question("q1"), question("q2")))
        answers = [reply("yes"), reply("no", by="bob"), reply("no", to="q2")]
        posted = store.journal.post_all([Post("r1", f"m{number}", one) for number, one in enumerate(answers)])
        assert [one.is_stored for one in posted] == [True, False, True]
        assert "answered already" in posted[1].refused and "ada" in posted[1].refused
        assert [mail.message for mail in store.journal.mail("r1")] == [answers[0], answers[2]]

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

    def test_j4_a_claim_brings_the_unread_mail_and_no_other(self, store: Store) -> None:
        """J4. Without it a message would be read twice, or passed over."""
        large = b'"' + b"x" * BODY_IN_ROW_MAX + b'"'
        for run_id in ("r1", "r2", "r3", "r4"):
            claim = store.hold(run_id)
            store.write(claim, mail_read=1)
            store.journal.release(claim.lease, store.time)
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        store.journal.post("r1", "m2", accept.cancel(by="bob"))
        store.journal.post("r3", "m1", accept.signal("go", by="ada", body=large))
        store.journal.post("r3", "m2", accept.cancel(by="ada"))
        store.journal.post("r4", "m1", accept.cancel(by="cyd"))
        brought = {claim.lease.run_id: claim.mail for claim in store.journal.claim("w1")}
        assert set(brought) == {"r1", "r2", "r3", "r4"}
        for run_id, mail in brought.items():
            assert mail is None or list(mail) == store.journal.mail(run_id)
        assert len(store.journal.mail("r1")) == len(store.journal.mail("r3")) == 2 and not store.journal.mail("r2")

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

    def test_j5_a_takeover_tells_when_the_lease_ended(self, store: Store) -> None:
        """J5. Without it nobody could say for how long the lost owner was at work."""
        store.hold(worker_id="w1")
        store.time += 5
        store.register("w1")
        ends_at = store.time + TTL_S
        store.register("w2")
        store.dead.add("w1")
        [claim] = store.journal.claim("w2")
        assert claim.held_until == ends_at
        store.journal.release(claim.lease, store.time)
        store.register("w3")
        [claim] = store.journal.claim("w3")
        assert not claim.is_takeover and claim.held_until is None

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
        elsewhere = Claim(Lease("unknown", "w1", 1), claim.head._replace(run_id="unknown"), False)
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
        group[1] = group[1]._replace(lease=group[1].lease._replace(epoch=9))
        group[2] = store.appending(claims[2], mail_read=1, status=Status.FAILED, wake_at=None)
        group[3] = group[3]._replace(after=4)
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

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j13_messages_posted_together_are_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13. Without it the first message of a group could be told to be stored, and the others lost."""
        self.need("J13")
        posts = [Post("gone", "m1", accept.cancel(by="ada")), *[Post(f"r{n}", "m1", start_of(f"r{n}")) for n in (1, 2)]]
        self.fail_commits(store.journal, moments)
        assert [one.is_stored for one in store.journal.post_all(posts)] == [False, True, True]
        assert [len(store.journal.mail(run_id)) for run_id in ("r1", "r2")] == [1, 1]
        self.fail_commits(store.journal, ["before", "before"])
        with pytest.raises(StoreUnreachable):
            store.journal.post_all([Post("r3", "m1", start_of("r3")), Post("r1", "m2", accept.cancel(by="ada"))])
        assert store.journal.head("r3") is None and len(store.journal.mail("r1")) == 1

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j13_an_append_that_releases_is_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13. Without it a run could be given back without its last event, or held with it."""
        self.need("J13")
        claim = store.hold()
        self.fail_commits(store.journal, moments)
        assert store.write(claim, [step(0)], releases=True) is None
        assert store.journal.events("r1") == [step(0)] and store.journal.owner("r1") is None

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

    @pytest.mark.parametrize("delay", [5.0, None])
    def test_j15_an_append_that_releases_wakes_at_the_time_of_its_head(self, store: Store, delay: float | None) -> None:
        """J15. Without it a suspended run would wake early, never, or only when its worker is dead."""
        claim = store.hold()
        wake_at = None if delay is None else store.time + delay
        assert store.write(claim, [step(0)], status=Status.SUSPENDED, wake_at=wake_at, releases=True) is None
        assert store.journal.events("r1") == [step(0)] and store.journal.owner("r1") is None
        head = store.journal.head("r1")
        assert head is not None and (head.status, head.wake_at) == (Status.SUSPENDED, wake_at)
        store.time += 4.5
        assert store.claim("w1") == []
        store.time += 0.5
        assert store.claim("w1") == ([] if delay is None else ["r1"])

    def test_j15_an_append_that_releases_leaves_the_epoch_to_the_next_claim(self, store: Store) -> None:
        """J15. Without it the worker that gave the run back could go on to write to it."""
        old = store.hold()
        assert store.write(old, wake_at=store.time, releases=True) is None
        assert isinstance(store.write(old), LeaseLost)
        for epoch, worker in ((2, "w2"), (3, "w1")):
            store.register(worker)
            [claim] = store.journal.claim(worker)
            assert claim.lease == Lease("r1", worker, epoch) and not claim.is_takeover
            assert claim.head == store.journal.head("r1")
            assert store.write(claim, releases=True) is None

    def test_j15_unread_mail_makes_what_an_append_released_due_at_once(self, store: Store) -> None:
        """J15. Without it a message that came during the last append would wait for the next time, or for ever."""
        claim = store.hold()
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert store.write(claim, mail_read=1, status=Status.SUSPENDED, wake_at=None, releases=True) is None
        [claim] = store.journal.claim("w1")
        own = [Post("r1", "m2", accept.cancel(by="r1"))]
        assert store.write(claim, posts=own, wake_at=store.time + 60, releases=True) is None
        [claim] = store.journal.claim("w1")
        assert [mail.number for mail in store.journal.mail("r1")] == [3]
        assert store.write(claim, wake_at=None, releases=True) is None
        assert store.claim("w1") == []
        store.journal.post("r1", "m3", accept.cancel(by="ada"))
        assert store.claim("w1") == ["r1"]

    def test_j15_an_append_that_is_refused_releases_nothing(self, store: Store) -> None:
        """J15. Without it the old owner could give away what the new one holds, or a run end over unread mail."""
        old = store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        new = store.hold(worker_id="w2")
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        before = store.record()
        assert isinstance(store.write(old, wake_at=store.time, releases=True), LeaseLost)
        ending = store.write(new, mail_read=1, status=Status.SUCCEEDED, wake_at=None, releases=True)
        assert isinstance(ending, MailWaiting)
        assert store.journal.owner("r1") == (Worker("w2", pid=1), store.time + TTL_S)
        assert store.claim("w1") == [] and store.record() == before

    def test_j15_of_a_group_only_the_appends_that_say_so_release(self, store: Store) -> None:
        """J15. Without it one run's rest would cost the others of its worker their leases."""
        claims = [store.hold(f"r{number}") for number in range(3)]
        group = [store.appending(claim, releases=number == 1) for number, claim in enumerate(claims)]
        group.insert(1, store.appending(claims[1], [step(0)]))
        group[2] = group[2]._replace(after=1)
        assert store.journal.append(group) == [None] * 4
        assert [len(store.journal.events(f"r{number}")) for number in range(3)] == [1, 2, 1]
        assert [store.journal.owner(f"r{number}") is None for number in range(3)] == [False, True, False]

    @pytest.mark.parametrize("count", [0, 1])
    def test_j15_nothing_follows_a_release_in_its_group(self, store: Store, count: int) -> None:
        """J15. Without it the last words of a writer could change what it has given back."""
        claim = store.hold()
        released = store.appending(claim, mail_read=1, status=Status.SUSPENDED, wake_at=store.time + 5, releases=True)
        released = released._replace(events=[step(0)][:count])
        late = store.appending(claim, [step(1)], after=count)
        results = store.journal.append([released, late])
        assert results[0] is None and isinstance(results[1], LeaseLost)
        assert store.journal.events("r1") == [step(0)][:count] and store.journal.owner("r1") is None
        assert store.journal.head("r1") == released.head

    def test_j16_unread_names_the_held_runs_that_have_mail(self, store: Store) -> None:
        """J16. Without it an answer would not reach the run that is awake, or a worker would look into all of its."""
        claims = {run_id: store.hold(run_id) for run_id in ("r1", "r2", "r3")} | {"r4": store.hold("r4", "w2")}
        store.start("r5")
        assert sorted(store.journal.unread("w1")) == ["r1", "r2", "r3"]  # nobody has read their starts
        for claim in claims.values():
            assert store.write(claim) is None
        assert store.journal.unread("w1") == store.journal.unread("w2") == []
        for run_id in ("r1", "r1", "r3", "r4", "r5"):
            store.journal.post(run_id, f"m{len(store.journal.mail(run_id))}", accept.cancel(by="ada"))
        assert sorted(store.journal.unread("w1")) == ["r1", "r3"]
        assert store.journal.unread("w2") == ["r4"] and store.journal.unread("w3") == []
        assert store.write(claims["r1"], mail_read=2) is None
        assert sorted(store.journal.unread("w1")) == ["r1", "r3"]  # one of two is left
        assert store.write(claims["r1"]) is None
        assert store.journal.unread("w1") == ["r3"]

    def test_j16_unread_follows_the_owner(self, store: Store) -> None:
        """J16. Without it a worker would read mail of a run that it has given back or lost."""
        claim = store.hold(worker_id="w1")
        store.journal.post("r1", "m1", accept.cancel(by="ada"))
        assert store.write(claim, mail_read=1, releases=True) is None
        assert store.journal.unread("w1") == []
        store.hold(worker_id="w1")
        assert store.journal.unread("w1") == ["r1"]
        store.dead.add("w1")
        store.hold(worker_id="w2")
        assert store.journal.unread("w1") == [] and store.journal.unread("w2") == ["r1"]

    def test_j23_held_tells_the_leases_of_a_worker(self, store: Store) -> None:
        """J23. Without it a claim whose answer was lost would keep its run from everybody while its worker lives."""
        claims = [store.hold(run_id) for run_id in ("r1", "r2")] + [store.hold("r3", "w2")]
        store.start("r4")
        assert sorted(store.journal.held("w1")) == [claims[0].lease, claims[1].lease]
        assert store.journal.held("w2") == [claims[2].lease] and store.journal.held("w3") == []
        store.journal.release(claims[0].lease, None)
        assert store.journal.held("w1") == [claims[1].lease]
        store.dead.add("w1")
        [taken] = store.journal.claim("w2", run_ids=["r2"])
        assert store.journal.held("w1") == [] and sorted(store.journal.held("w2")) == [taken.lease, claims[2].lease]

    def test_j17_a_blob_comes_back_as_it_was(self, store: Store) -> None:
        """J17. Without it a large value would come back cut, or as another."""
        values = [b"", b"\0", bytes(range(256)) * 5_000, LARGE]
        refs = [store.journal.put_blob(value) for value in values]
        assert refs == [hashlib.sha256(value).hexdigest() for value in values]
        assert [store.journal.get_blob(ref) for ref in refs] == values

    def test_j17_the_same_bytes_are_one_blob(self, store: Store) -> None:
        """J17. Without it each retry would fill the disk with another copy."""
        assert store.journal.put_blob(LARGE) == store.journal.put_blob(bytes(bytearray(LARGE)))
        facts = store.journal.facts()
        assert (facts["blobs"], facts["blob_bytes"]) == (1, len(LARGE)) and facts["problems"] == []

    @pytest.mark.parametrize("ref", ["0" * 64, "", "0" * 63, "G" * 64, "' OR '1'='1"])
    def test_j17_what_was_never_put_is_no_blob(self, store: Store, ref: str) -> None:
        """J17. Without it a lost value would read as an empty one."""
        store.journal.put_blob(LARGE)
        with pytest.raises(JournalCorrupt, match="othing of it was handed out"):
            store.journal.get_blob(ref)

    def test_j17_a_blob_outlives_its_process(self, store: Store) -> None:
        """J10 and J17. Without it a row could name what a crash has taken."""
        self.need("J10")
        ref = store.journal.put_blob(LARGE)
        assert store.reopen().get_blob(ref) == LARGE and store.open().put_blob(LARGE) == ref
        assert store.journal.facts()["blobs"] == 1

    @pytest.mark.parametrize("size", [-1, 0, 1, 3 * BODY_IN_ROW_MAX])
    def test_j18_nobody_notices_where_a_body_lives(self, store: Store, size: int) -> None:
        """J18. Without it a value would be lost or changed when it grows over the limit."""
        body = b"x" * (BODY_IN_ROW_MAX + size if size < 2 else size)
        start = accept.start(agent="agent", key="r1", input_digest="d1", limits=None, body=body)
        assert store.journal.post("r1", "start", start).is_stored
        claim = store.hold()
        assert [mail.message for mail in store.journal.mail("r1")] == [start]
        events = [step(0, body), step(1), step(2, body[:-1] + b"y"), step(3, body)]
        posts = [Post("child", "m1", start._replace(meta=start_of("child").meta))]
        assert store.write(claim, events, posts=posts) is None
        assert store.journal.events("r1") == events and store.journal.events("r1", 2) == events[2:]
        assert [mail.message for mail in store.journal.mail("child")] == [posts[0].message]
        assert store.journal.facts()["blobs"] == (0 if len(body) <= BODY_IN_ROW_MAX else 2)

    def test_j18_an_append_names_what_was_put_before(self, store: Store) -> None:
        """J18. Without it the loop would write again what a thread has written for it."""
        claim = store.hold()
        append = store.appending(claim, [step(0), step(1, LARGE), step(2, b"y" + LARGE)])
        ref = store.journal.put_blob(LARGE)
        assert store.journal.append([append._replace(blobs={1: ref})]) == [None]
        assert store.journal.events("r1") == append.events
        start = start_of("r2")._replace(body=LARGE)
        assert store.journal.post_all([Post("r2", "m1", start, ref)])[0].is_stored
        assert store.journal.mail("r2")[0].message == start
        assert store.journal.facts()["blobs"] == 2

    def test_j18_an_append_that_names_no_blob_fails_alone(self, store: Store) -> None:
        """J18. Without it a row would name a value that nobody can ever read."""
        claims = [store.hold(f"r{number}") for number in range(4)]
        other = store.journal.put_blob(LARGE + b"!")
        appends = [store.appending(claim, [step(0, LARGE)]) for claim in claims]
        appends[1] = appends[1]._replace(blobs={0: "0" * 64})
        appends[2] = appends[2]._replace(blobs={0: other})
        results = store.journal.append(appends)
        assert [isinstance(result, InternalError) for result in results] == [False, True, True, False]
        assert [len(store.journal.events(f"r{number}")) for number in range(4)] == [1, 0, 0, 1]
        with pytest.raises(InternalError):
            store.journal.post_all([Post("r5", "m1", start_of("r5")._replace(body=LARGE), "0" * 64)])
        assert store.journal.head("r5") is None

    def test_j18_what_is_refused_leaves_no_blob(self, store: Store) -> None:
        """J18. Without it a worker that lost its run, or a stranger's message, would fill the disk."""
        claim = store.hold()
        stale = replace(claim, lease=claim.lease._replace(epoch=7))
        assert isinstance(store.write(stale, [step(0, LARGE)]), LeaseLost)
        assert store.journal.post("gone", "m1", reply()._replace(body=LARGE)).refused
        assert store.journal.facts()["blobs"] == 0

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j18_a_commit_of_unknown_outcome_is_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13 with a blob. Without it a large step would be in the record twice, or without its value."""
        self.need("J13")
        claim = store.hold()
        self.fail_commits(store.journal, moments)
        ref = store.journal.put_blob(LARGE + b"put")
        self.fail_commits(store.journal, moments)
        assert store.write(claim, [step(0, LARGE)]) is None
        assert store.journal.events("r1") == [step(0, LARGE)] and store.journal.get_blob(ref) == LARGE + b"put"
        assert store.journal.facts()["blobs"] == 2

    @pytest.mark.parametrize("damage", ["blob", "blob missing"])
    def test_j18_a_changed_or_lost_blob_is_found(self, store: Store, damage: Damage) -> None:
        """J12 with a blob. Without it a run would go on from a value that never was."""
        self.need("J12")
        assert store.write(store.hold(), [step(0), step(1, LARGE)]) is None
        assert store.write(store.hold("r2"), [step(0)]) is None
        store.close()
        self.damage(store.name, damage)
        store.reopen()
        with pytest.raises(JournalCorrupt, match=r"\br1\b"):
            store.journal.events("r1")
        with pytest.raises(JournalCorrupt):
            store.journal.get_blob(hashlib.sha256(LARGE).hexdigest())
        assert store.journal.events("r2") == [step(0)]
        assert bool(store.journal.facts()["problems"]) is (damage == "blob missing")

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
        """J1 to J11, J13, J15, J16, J18 to J21, in any order: what the engine says is what fifty plain lines say."""
        names = itertools.count()
        is_lasting, can_fail = "J10" not in self.not_applicable, "J13" not in self.not_applicable
        fail_commits = self.fail_commits

        class Comparison(AgainstModel):
            def open_store(self) -> Store:
                return Store(open_engine, f"model-{next(names)}")

            def reopen(self) -> None:
                if is_lasting:
                    self.store.reopen()

            def fail_commit(self, moments: Sequence[Moment]) -> bool:
                if can_fail:
                    fail_commits(self.store.journal, moments)
                return can_fail

        run_state_machine_as_test(
            Comparison, settings=settings(GENTLE, max_examples=self.model_runs, stateful_step_count=40)
        )
