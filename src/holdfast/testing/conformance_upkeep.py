"""The contract of `Upkeep` as tests, U1 to U11. `JournalConformance` inherits them.

Never: sleeps, reads a clock, looks into an engine. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from holdfast.core import accept
from holdfast.core.budget import Limits
from holdfast.core.events import Charge, Event, Kind, meta
from holdfast.core.heads import Status
from holdfast.core.standing import OPEN, Passage, Standing
from holdfast.errors import JournalCorrupt, JournalError, LeaseLost, StoreMoved, StoreUnreachable
from holdfast.journal.open import upkeep_of
from holdfast.protocols import (
    BODY_IN_ROW_MAX,
    Account,
    AccountCharge,
    Cell,
    Claim,
    Identity,
    Journal,
    Post,
    Record,
    Upkeep,
    Worker,
)
from holdfast.testing.conformance_engine import EngineUnderTest, Moment
from holdfast.testing.conformance_store import TTL_S, OpenEngine, Store, question, reply, step

FILLING = Standing(Passage.FILLING, "t1", "memory:from")
LEAVING = Standing(Passage.LEAVING, "t1", "memory:to")
LEFT = Standing(Passage.LEFT, "t1", "memory:to")
BIG = b'"%s"' % (b"holdfast" * (BODY_IN_ROW_MAX // 8 + 1))
ENDED = Event(Kind.RUN_ENDED, 1_000_001.0, meta=meta(outcome="succeeded", forgotten=True))
PAID = Account(Charge(1, 2, 3, 4), Charge(5, 6, 7, 8), Limits(usd_nano=9))


def ended(store: Store, run_id: str = "r1", body: bytes = b"1") -> Claim:
    """A run that has ended and that nobody holds, with two events and some mail that was read."""
    claim = store.hold(run_id)
    assert store.write(claim, [step(0, body)]) is None
    store.journal.post(run_id, "m1", accept.cancel(by="ada"))
    assert store.write(claim, [step(1)], status=Status.SUCCEEDED, wake_at=None, releases=True) is None
    return claim


def waiting(store: Store, run_id: str = "r1") -> Claim:
    """A suspended run with an open question, a body in a blob, unread mail and a time to wake; nobody holds it."""
    claim = store.hold(run_id)
    facts = {"status": Status.SUSPENDED, "wake_at": store.time + 50, "questions": (question(),)}
    assert store.write(claim, [step(0), step(1, BIG)], releases=True, **facts) is None
    assert store.journal.post(run_id, "m1", reply("yes")).is_stored
    assert store.journal.post(run_id, "m2", accept.signal("go", by="eve", body=BIG)).is_stored
    return claim


class UpkeepConformance(EngineUnderTest):
    """Each test is named after the invariant it checks."""

    def keep(self, store: Store) -> Upkeep:
        """The store, for whoever keeps it."""
        return upkeep_of(store.journal)

    @pytest.fixture
    def target(self, open_engine: OpenEngine) -> Any:
        """A second store, which is being filled."""
        target = Store(open_engine, "target")
        assert self.keep(target).pass_on(OPEN, FILLING)
        yield target
        target.close()

    def open_again(self, target: Store) -> None:
        assert self.keep(target).pass_on(FILLING, OPEN)

    def move(self, store: Store, target: Store) -> list[Record]:
        """Every run, as it stands there."""
        there = self.keep(target)
        records = [self.keep(store).record(run_id) for run_id in self.keep(store).run_ids()]
        assert all(record is not None and there.install(record) for record in records)
        return [record for record in records if record is not None]

    def test_u1_runs_are_named_once_in_the_order_in_which_they_were_made(self, store: Store) -> None:
        """U1. Without it a migration would lose runs, or turn the chapters of a key round."""
        names = ["r9", "r1", "r5", "r3", "r7"]
        for name in names:
            store.start(name)
        keep = self.keep(store)
        assert keep.run_ids() == names and keep.run_ids(limit=2) == names[:2] and keep.run_ids(limit=0) == []
        assert keep.run_ids("r1", 2) == ["r5", "r3"] and keep.run_ids("r7") == keep.run_ids("gone") == []
        store.start("r0")
        assert keep.run_ids("r3") == ["r7", "r0"]

    def test_u1_tenants_are_those_that_have_anything(self, store: Store) -> None:
        """U1. Without it the runs of a tenant would be left behind in a store that is closed."""
        assert self.keep(store).tenants() == []
        store.journal.swap("a", 0, "x")
        assert self.keep(store).tenants() == ["default"]

    def test_u2_a_record_is_all_of_a_run(self, store: Store) -> None:
        """U2. Without it a moved run would lack what was not copied."""
        keep, claim = self.keep(store), waiting(store)
        record = keep.record("r1")
        assert record is not None and keep.record("gone") is None
        assert (record.head, record.events) == (store.journal.head("r1"), store.journal.events("r1"))
        assert [letter.mail for letter in record.letters[1:]] == store.journal.mail("r1")
        assert [letter[1:] for letter in record.letters] == [
            ("start", "start"),
            ("m1", "answer:q1"),
            ("m2", None),
        ]
        assert (record.epoch, record.mail_read, record.holder) == (claim.lease.epoch, 1, "")
        store.hold("r2", "w9")
        held = keep.record("r2")
        assert held is not None and (held.holder, held.epoch, held.events) == ("w9", 1, [])

    def test_u2_a_record_is_checked(self, store: Store) -> None:
        """J12 and U2. Without it damage would be carried into the next store and sealed there."""
        self.need("J12")
        for damage in ("body", "tail", "head", "mail", "blob"):
            target = Store(store._open_engine, f"damaged {damage}")  # a new one for each
            claim = target.hold()
            assert target.write(claim, [step(0), step(1), step(2, BIG * 9)], releases=True, wake_at=None) is None
            target.journal.post("r1", "m1", accept.cancel(by="ada"))
            assert self.keep(target).record("r1") is not None
            target.close()
            self.damage(target.name, damage)
            target.reopen()
            with pytest.raises(JournalCorrupt):
                self.keep(target).record("r1")
            target.close()

    def test_u3_an_installed_run_is_the_same_in_all(self, store: Store, target: Store) -> None:
        """U3. Without it a run would not go on as it was: mail, questions, epochs, what was read."""
        waiting(store, "r3")
        ended(store, "r1")
        store.start("r2")
        records = self.move(store, target)
        assert self.keep(target).run_ids() == ["r3", "r1", "r2"]
        assert [self.keep(target).record(run_id) for run_id in ("r3", "r1", "r2")] == records
        assert target.record("r3") == store.record("r3")
        assert [head.run_id for head in target.journal.heads()] == ["r2", "r1", "r3"]
        if "J10" not in self.not_applicable:
            target.reopen()
            assert [self.keep(target).record(run_id) for run_id in ("r3", "r1", "r2")] == records

    def test_u3_an_installed_run_goes_on(self, store: Store, target: Store) -> None:
        """U3. Without it an answered run would sleep for ever, or a repeated message count twice."""
        waiting(store)
        self.move(store, target)
        self.open_again(target)
        target.register("w1")
        [claim] = target.journal.claim("w1", run_ids=["r1"])
        assert claim.lease.epoch == 2 and not claim.is_takeover
        assert not target.journal.post("r1", "m1", reply("no")).is_stored
        assert "answered already" in target.journal.post("r1", "m3", reply("no")).refused
        assert target.write(claim, [step(2)]) is None
        assert len(target.journal.events("r1")) == 3 and target.journal.mail("r1") == []

    def test_u3_a_time_of_an_installed_run_is_kept(self, store: Store, target: Store) -> None:
        """P9 and U3. Without it a timer would fire early, or never."""
        claim = store.hold()
        store.write(claim, wake_at=store.time + 50, releases=True, status=Status.SUSPENDED)
        self.move(store, target)
        self.open_again(target)
        for now, expected in ((49.5, []), (50.0, ["r1"])):
            target.time = 1_000_000.0 + now
            target.register("w1")
            assert target.claim("w1") == expected

    def test_u3_a_run_that_was_held_is_taken_over(self, store: Store, target: Store) -> None:
        """U3. Without it what was in flight when its process died would be taken for never begun."""
        store.hold("r1", "w1")
        store.register("idle")
        self.move(store, target)
        self.open_again(target)
        assert target.journal.owner("r1") is None, "workers do not go along"
        assert self.keep(target).sweep_workers(store.time + 2 * TTL_S) == 0
        target.register("w2")
        [claim] = target.journal.claim("w2")
        assert claim.is_takeover and claim.lease.epoch == 2 and claim.held_until is None

    def test_u3_a_run_whose_holder_died_over_unread_mail_goes_along(self, store: Store, target: Store) -> None:
        """U2 and U3. Without it such a run, which was suspended just as its mail came, would be taken for damaged, and
        no store that holds one could be moved."""
        claim = store.hold()
        assert store.write(claim, wake_at=None, mail_read=1) is None
        store.journal.post("r1", "m1", accept.signal("go", by="eve", body=None))
        assert store.write(claim, status=Status.SUSPENDED, wake_at=None, mail_read=1) is None
        store.dead.add("w1")
        assert [len(record.letters) for record in self.move(store, target)] == [2]
        self.open_again(target)
        target.register("w2")
        [claim] = target.journal.claim("w2")
        assert claim.is_takeover and len(target.journal.mail("r1")) == 1

    def test_u3_a_run_that_is_there_stays(self, store: Store, target: Store) -> None:
        """U3. Without it a migration that is run again would write over what it has done."""
        waiting(store)
        [record] = self.move(store, target)
        changed = replace(record, epoch=99, events=[step(7)])
        assert not self.keep(target).install(changed)
        assert self.keep(target).record("r1") == record

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_u3_an_unknown_commit_is_read_back(self, store: Store, target: Store, moment: Moment) -> None:
        """J13 and U3. Without it a run would be installed twice, or not at all, and nobody would know."""
        self.need("J13")
        waiting(store)
        record = self.keep(store).record("r1")
        assert record is not None
        self.fail_commits(target.journal, [moment])
        assert self.keep(target).install(record)
        assert self.keep(target).record("r1") == record and self.keep(target).run_ids() == ["r1"]

    def test_u3_only_a_store_that_is_being_filled_is_filled(self, store: Store, target: Store) -> None:
        """U3 and U9. Without it the runs of two stores would be mixed."""
        waiting(store)
        record = self.keep(store).record("r1")
        assert record is not None
        self.open_again(target)
        with pytest.raises(JournalError, match="is open"):
            self.keep(target).install(record)
        assert self.keep(target).run_ids() == []

    def test_u4_a_condensed_run_is_its_new_log(self, store: Store) -> None:
        """U4. Without it retention would keep what it was to remove, or lose the place of the run."""
        claim = ended(store, body=BIG)
        store.start("r2")
        head = claim.head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        keep = self.keep(store)
        assert keep.condense("r1", 2, [step(0), ENDED], head)
        assert store.record() == ([step(0), ENDED], head, [])
        record = keep.record("r1")
        assert record is not None and (record.epoch, record.mail_read, record.letters) == (1, 2, [])
        assert keep.run_ids() == ["r1", "r2"]
        store.register("w1")
        assert store.claim("w1", "r1") == []
        assert store.journal.post("r1", "m9", accept.cancel(by="ada")).refused
        assert not keep.condense("r1", 9, [ENDED], head)

    def test_u4_a_condensed_run_can_be_moved(self, store: Store, target: Store) -> None:
        """U3 and U4. Without it the key of a forgotten run would begin anew in the next store."""
        claim = ended(store)
        head = claim.head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        assert self.keep(store).condense("r1", 2, [ENDED], head)
        records = self.move(store, target)
        assert [self.keep(target).record("r1")] == records
        self.open_again(target)
        assert not target.start("r1").is_stored

    def test_u4_only_what_has_ended_and_is_left_alone(self, store: Store) -> None:
        """U4. Without it retention would take the log from under a run that goes on."""
        keep = self.keep(store)
        gone = store.hold("r0").head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        waiting(store, "r1")
        claim = store.hold("r2")
        store.write(claim, [step(0)], status=Status.FAILED, wake_at=None)  # and still held
        ended(store, "r3")
        ended(store, "r4")
        failed = store.hold("r5")
        store.write(failed, [step(0)], status=Status.FAILED, wake_at=None, releases=True)
        assert store.journal.post("r5", "m1", accept.resume(by="ada")).is_stored
        before = [store.record(f"r{number}") for number in range(6)]
        for run_id, after in (("r0", 0), ("r1", 2), ("r2", 1), ("r3", 1), ("r4", 3), ("r5", 1), ("gone", 0)):
            assert not keep.condense(run_id, after, [ENDED], gone._replace(run_id=run_id, key=run_id))
        assert [store.record(f"r{number}") for number in range(6)] == before

    def test_u4_what_a_dead_worker_holds_is_given_back(self, store: Store) -> None:
        """J7 and U4. Without it a run whose process died at its end would stay for ever, or its ghost write to it."""
        claim = store.hold()
        assert store.write(claim, [step(0), step(1)], status=Status.FAILED, wake_at=None) is None
        head = claim.head._replace(status=Status.FAILED, wake_at=None, is_forgotten=True)
        assert not self.keep(store).condense("r1", 2, [step(0), ENDED], head)
        store.time += TTL_S
        assert self.keep(store).condense("r1", 2, [step(0), ENDED], head)
        record = self.keep(store).record("r1")
        assert record is not None and (record.epoch, record.holder) == (claim.lease.epoch + 1, "")
        store.register("w1")
        assert isinstance(store.write(claim, [step(2)], after=2), LeaseLost)
        assert store.journal.events("r1") == [step(0), ENDED]

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_u4_an_unknown_commit_is_read_back(self, store: Store, moment: Moment) -> None:
        """J13 and U4. Without it a condensed run would be reported as left alone."""
        self.need("J13")
        head = ended(store).head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        self.fail_commits(store.journal, [moment])
        assert self.keep(store).condense("r1", 2, [ENDED], head)
        assert store.journal.events("r1") == [ENDED]

    def test_u5_a_head_is_written_over_a_damaged_one(self, store: Store) -> None:
        """U5. Without it a run with a sound log could not go on."""
        self.need("J12")
        claim = store.hold()
        assert store.write(claim, [step(0), step(1)], releases=True) is None
        whole = store.journal.head("r1")
        assert whole is not None
        store.close()
        self.damage(store.name, "head")
        store.reopen()
        with pytest.raises(JournalCorrupt):
            store.journal.head("r1")
        assert self.keep(store).mend("r1", 2, whole)
        assert store.journal.head("r1") == whole and store.journal.heads(status=whole.status) == [whole]
        assert self.keep(store).record("r1") is not None
        store.register("w1")
        assert store.claim("w1") == ["r1"]

    def test_u5_a_mended_run_is_due_when_its_head_says_so(self, store: Store) -> None:
        """P9 and U5. Without it a mended run would wake early or never."""
        claim = store.hold()
        store.write(claim, wake_at=None, releases=True, status=Status.SUSPENDED)
        head = store.journal.head("r1")
        assert head is not None and self.keep(store).mend("r1", 1, head._replace(wake_at=store.time + 5, agent="b"))
        for now, expected in ((4.5, []), (5.0, ["r1"])):
            store.time = 1_000_000.0 + now
            store.register("w1")
            assert [one.lease.run_id for one in store.journal.claim("w1", agents=["b"])] == expected

    def test_u5_not_of_a_run_that_moves(self, store: Store) -> None:
        """U5. Without it a head that was computed a moment ago would hide what was written since."""
        claim = store.hold()
        store.write(claim)
        head = store.journal.head("r1")
        assert head is not None
        assert not self.keep(store).mend("r1", 1, head._replace(agent="b"))
        store.dead.add("w1")
        assert self.keep(store).mend("r1", 1, head._replace(why="mended"))
        held = self.keep(store).record("r1")
        assert held is not None and (held.head.why, held.holder) == ("mended", "w1")
        store.dead.clear()
        store.journal.release(claim.lease, None)
        assert not self.keep(store).mend("r1", 2, head._replace(agent="b"))
        assert not self.keep(store).mend("gone", 0, head._replace(run_id="gone"))
        now = store.journal.head("r1")
        assert now is not None and now.agent == "agent" and store.journal.head("gone") is None

    def test_u6_accounts_and_cells_are_listed_and_written(self, store: Store) -> None:
        """U6. Without it what runs share would not go along, or a cell's version fall back."""
        keep = self.keep(store)
        assert keep.accounts() == {} and keep.cells() == {}
        assert keep.put_account("b", None, PAID) and keep.put_cell("z", None, Cell(7, "x"))
        assert not keep.put_account("b", None, Account()) and not keep.put_cell("z", Cell(6, "x"), Cell(8, "y"))
        assert keep.put_account("a", None, Account()) and keep.put_account("b", PAID, PAID._replace(spent=Charge()))
        assert list(keep.accounts()) == ["a", "b"]
        assert keep.accounts()["b"] == store.journal.account("b") == PAID._replace(spent=Charge())
        assert keep.cells() == {"z": store.journal.cell("z")} == {"z": Cell(7, "x")}
        assert store.journal.swap("z", 7, "y") and store.journal.cell("z") == Cell(8, "y")

    def test_u6_what_is_damaged_is_listed_and_replaced(self, store: Store) -> None:
        """J12 and U6. Without it a damaged account would stop every run that charges it, for good."""
        self.need("J12")
        keep = self.keep(store)
        assert keep.put_account("a", None, PAID) and keep.put_cell("a", None, Cell(3, "off"))
        store.close()
        self.damage(store.name, "account")
        self.damage(store.name, "cell")
        store.reopen()
        keep = self.keep(store)
        assert keep.accounts() == {"a": None} and keep.cells() == {"a": None}
        assert keep.put_account("a", None, PAID) and keep.put_cell("a", None, Cell(4, "off"))
        assert (store.journal.account("a"), store.journal.cell("a")) == (PAID, Cell(4, "off"))

    def test_u6_an_account_is_not_written_when_a_log_has_grown(self, store: Store) -> None:
        """U6. Without it a sum of logs that have grown would take back what was spent since."""
        keep, changes = self.keep(store), list[Callable[[], object]]()
        claim = store.hold()
        spending = store.appending(claim)._replace(charges=[AccountCharge("a", Charge(1))])
        changes += [lambda: store.start("r2"), lambda: store.hold("r2"), lambda: store.journal.append([spending])]
        for change in changes:
            mark, before = keep.mark(), store.journal.account("a")
            assert keep.mark() == mark
            change()
            assert keep.mark() != mark and not keep.put_account("a", before, PAID, mark)
        assert store.journal.account("a") == Account(Charge(1))
        assert keep.put_account("a", Account(Charge(1)), PAID, keep.mark()) and store.journal.account("a") == PAID

    def test_u7_what_is_named_or_new_stays(self, store: Store) -> None:
        """U7. Without it a value would be lost, or garbage stay for ever."""
        keep, journal = self.keep(store), store.journal
        waiting(store)
        old = journal.put_blob(b"old" * BODY_IN_ROW_MAX)
        again = journal.put_blob(b"again" * BODY_IN_ROW_MAX)
        store.time += 100
        new = journal.put_blob(b"new" * BODY_IN_ROW_MAX)
        assert journal.put_blob(b"again" * BODY_IN_ROW_MAX) == again
        before = journal.facts()["blobs"]
        assert keep.sweep_blobs(store.time) == (1, 3 * BODY_IN_ROW_MAX)
        assert keep.sweep_blobs(store.time) == (0, 0) and journal.facts()["blobs"] == before - 1
        assert journal.get_blob(new) and journal.get_blob(again)
        assert keep.record("r1") is not None and journal.mail("r1")[-1].message.body == BIG
        with pytest.raises(JournalCorrupt):
            journal.get_blob(old)

    def test_u7_what_no_log_names_any_more_goes(self, store: Store) -> None:
        """U4 and U7. Without it retention would free rows and keep the bytes."""
        claim = ended(store, body=BIG)
        head = claim.head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        store.time += 100
        assert self.keep(store).sweep_blobs(store.time) == (0, 0)
        assert self.keep(store).condense("r1", 2, [ENDED], head)
        assert self.keep(store).sweep_blobs(store.time) == (1, len(BIG))
        assert store.journal.put_blob(BIG) == hashlib.sha256(BIG).hexdigest()

    def test_u8_nothing_that_can_be_read_is_changed(self, store: Store) -> None:
        """U8. Without it making a store smaller could make it another one."""
        keep, claim = self.keep(store), ended(store, "r0", body=BIG)
        waiting(store, "r1")
        head = claim.head._replace(status=Status.SUCCEEDED, wake_at=None, is_forgotten=True)
        keep.condense("r0", 2, [ENDED], head)
        records = [keep.record(run_id) for run_id in keep.run_ids()]
        keep.compact()
        assert [keep.record(run_id) for run_id in keep.run_ids()] == records
        if "J10" not in self.not_applicable:
            store.reopen()
            assert [self.keep(store).record(run_id) for run_id in ("r0", "r1")] == records
        assert store.write(store.hold("r1", "w2"), [step(2)]) is None

    def writes(self, store: Store, claim: Claim) -> Sequence[Callable[[Journal], object]]:
        """Every way to write."""
        change = store.appending(claim, after=1, mail_read=1)._replace(cells={"a": "x"})
        return (
            lambda journal: journal.post("r9", "start", accept.open_desk(b"1", "d")),
            lambda journal: journal.post_all([Post("r1", "m1", accept.signal("go", by="", body=None))]),
            lambda journal: journal.append([change]),
            lambda journal: journal.register(Worker("w9", pid=1), TTL_S),
            lambda journal: journal.claim("w1", run_ids=["r2"]),
            lambda journal: journal.release(claim.lease, None),
            lambda journal: journal.retire("w1"),
            lambda journal: journal.swap("c", 0, "x"),
            lambda journal: journal.cap("a", Limits()),
            lambda journal: journal.put_blob(b"x"),
        )

    @pytest.mark.parametrize("path", [[LEAVING], [LEAVING, LEFT]])
    def test_u9_a_store_that_is_left_takes_no_writes(self, store: Store, path: list[Standing]) -> None:
        """U9. Without it two stores would go on with the same runs."""
        claim = store.hold()
        store.write(claim)
        store.start("r2")
        store.dead.add("w1")
        elsewhere = store.open() if "J10" not in self.not_applicable else store.journal
        elsewhere.swap("b", 0, "x")  # a process that has written, and believes to know where the store stands
        before, now = store.record(), OPEN
        for after in path:
            assert self.keep(store).pass_on(now, after)
            now = after
        for journal in (elsewhere, store.journal):
            for write in self.writes(store, claim):
                with pytest.raises(StoreMoved, match="memory:to") as refused:
                    write(journal)
                assert refused.value.url == "memory:to"
            assert (journal.cell("a"), journal.cell("b")) == (None, Cell(1, "x"))
        assert store.record() == before and self.keep(store).standing() == now
        with pytest.raises(StoreMoved):
            self.keep(store).condense("r1", 1, [ENDED], claim.head)
        with pytest.raises(StoreMoved):
            self.keep(store).sweep_workers(store.time)

    def test_u9_a_store_that_was_opened_again_goes_on(self, store: Store) -> None:
        """U9. Without it a migration that is given up would leave no store."""
        claim = store.hold()
        store.dead.add("w1")
        assert self.keep(store).pass_on(OPEN, LEAVING) and self.keep(store).pass_on(LEAVING, OPEN)
        assert store.write(claim) is None

    def test_u9_only_from_where_it_stands(self, store: Store) -> None:
        """U9. Without it an attempt that was given up could close or open a store behind the one that counts."""
        keep = self.keep(store)
        assert not keep.pass_on(LEAVING, OPEN) and not keep.pass_on(OPEN, LEFT)
        assert keep.pass_on(OPEN, LEAVING)
        for before, after in (
            (LEAVING._replace(attempt="t2"), LEFT),
            (LEAVING, LEFT._replace(attempt="t2")),
            (LEAVING, FILLING),
            (OPEN, FILLING),
        ):
            assert not keep.pass_on(before, after) and keep.standing() == LEAVING
        assert keep.pass_on(LEAVING, LEFT) and not keep.pass_on(LEFT, OPEN) and not keep.pass_on(LEFT, LEAVING)
        if "J10" not in self.not_applicable:
            store.reopen()
            assert self.keep(store).standing() == LEFT

    def test_u9_not_while_a_living_worker_holds_a_run(self, store: Store) -> None:
        """U9. Without it the outcome of an effect that is under way could not be written, and would be in doubt."""
        keep, claim = self.keep(store), store.hold()
        store.register("w2")
        assert [worker.id for worker in keep.living()] == ["w1"] and not keep.pass_on(OPEN, LEAVING)
        store.dead.add("w1")
        assert keep.living() == []
        store.dead.clear()
        store.time += TTL_S
        assert keep.living() == []
        store.register("w1")
        assert len(keep.living()) == 1
        store.journal.release(claim.lease, None)
        assert keep.living() == [] and keep.pass_on(OPEN, LEAVING)

    def test_u9_a_store_that_holds_anything_is_not_filled(self, open_engine: OpenEngine) -> None:
        """U9. Without it runs of the store would be hidden by those that are moved into it."""
        fill: list[Callable[[Store], object]] = [
            lambda store: store.start(),
            lambda store: store.journal.swap("a", 0, "x"),
            lambda store: store.journal.cap("a", Limits(usd_nano=1)),
        ]
        for number, begin in enumerate(fill):
            store = Store(open_engine, f"store {number}")
            begin(store)
            assert not self.keep(store).pass_on(OPEN, FILLING) and self.keep(store).standing() == OPEN
            store.close()

    def test_u9_an_unknown_commit_is_read_back(self, store: Store) -> None:
        """J13 and U9. Without it nobody would know which of two stores goes on."""
        self.need("J13")
        moments: list[Moment] = ["before", "after"]
        for moment in moments:
            self.fail_commits(store.journal, [moment])
            assert self.keep(store).pass_on(OPEN, LEAVING) and self.keep(store).pass_on(LEAVING, OPEN)
        self.fail_commits(store.journal, ["before", "before"])
        with pytest.raises(StoreUnreachable):
            self.keep(store).pass_on(OPEN, LEAVING)
        assert self.keep(store).standing() == OPEN

    def test_u10_an_identity_goes_along(self, store: Store, target: Store) -> None:
        """U10. Without it every key would name another run, and every effect have another idempotency key."""
        identity = Identity("f" * 32, b"k" * 32)
        assert self.keep(target).take_identity(identity) and self.keep(target).identity() == identity
        self.open_again(target)
        with pytest.raises(StoreMoved, match="Start the process again"):
            target.journal.swap("a", 0, "x")
        if "J10" not in self.not_applicable:
            target.reopen()
            assert target.journal.hash_key == identity.hash_key and target.journal.swap("a", 0, "x")

    def test_u10_only_of_an_empty_store_that_is_being_filled(self, store: Store, target: Store) -> None:
        """U10. Without it the runs of a store would lose their names."""
        before = self.keep(store).identity()
        assert not self.keep(store).take_identity(Identity("f" * 32, b"k" * 32))
        assert self.keep(store).identity() == before and before.hash_key == store.journal.hash_key
        waiting(store)
        self.move(store, target)
        assert not self.keep(target).take_identity(Identity("f" * 32, b"k" * 32))

    def test_u11_the_rows_of_workers_that_are_gone_go(self, store: Store) -> None:
        """U11. Without it a store would keep a row of every process that was ever killed."""
        keep = self.keep(store)
        store.register("old")
        store.time += 100
        store.register("late")
        store.time += TTL_S + 1
        store.register("dead")
        store.register("alive")
        store.dead.add("dead")
        a_while_ago = store.time - 60
        assert keep.sweep_workers(a_while_ago, is_trial=True) == 2 == keep.sweep_workers(a_while_ago, is_trial=True)
        assert keep.sweep_workers(a_while_ago) == 2 and keep.sweep_workers(a_while_ago) == 0
        assert keep.sweep_workers(store.time) == 1 and keep.sweep_workers(store.time) == 0
        store.start()
        assert store.claim("alive") == ["r1"]

    def test_u11_never_of_a_worker_that_may_be_alive(self, store: Store) -> None:
        """U11. Without it a worker that has nothing to do just now would be given nothing any more."""
        store.register("w1")
        store.time += TTL_S
        assert self.keep(store).sweep_workers(store.time) == 0, "its lease ends now, not before"
        store.register("w1")
        assert self.keep(store).sweep_workers(store.time) == 0, "it was renewed"
        store.start()
        assert store.claim("w1") == ["r1"]

    def test_u11_never_of_a_worker_that_a_run_names(self, store: Store) -> None:
        """U11. Without it nobody could tell who holds a run, and until when whatever it began may go on."""
        claim = store.hold()
        store.start("r2")
        store.dead.add("w1")
        store.time += TTL_S + 1
        keep = self.keep(store)
        for _ in range(2):
            assert keep.sweep_workers(store.time, is_trial=True) == 0 == keep.sweep_workers(store.time)
            assert store.journal.owner("r1") == (Worker("w1", pid=1), 1_000_000.0 + TTL_S)
            store.write(claim, status=Status.FAILED, wake_at=None)  # it is held all the same
        store.journal.release(claim.lease, None)
        assert keep.sweep_workers(store.time) == 1 and store.journal.owner("r1") is None

    def test_u11_what_a_takeover_is_told_stays(self, store: Store) -> None:
        """J5 and U11. Without it a takeover could not tell until when its predecessor may still be sending."""
        store.hold()
        store.time += TTL_S + 1
        assert self.keep(store).sweep_workers(store.time) == 0
        store.register("w2")
        [claim] = store.journal.claim("w2")
        assert claim.is_takeover and claim.held_until == 1_000_000.0 + TTL_S
        assert self.keep(store).sweep_workers(store.time) == 1

    def test_u11_a_worker_that_was_only_stopped_goes_on_with_nothing_of_before(self, store: Store) -> None:
        """J7 and U11. Without it a process that was stopped for a day would write to runs that are not its own any
        more, or be of no use for ever."""
        stale = store.hold()
        store.time += TTL_S + 1
        fresh = store.hold("r1", "w2")
        assert store.write(fresh, wake_at=store.time, releases=True) is None
        assert self.keep(store).sweep_workers(store.time) == 1
        assert store.claim("w1") == [], "it has to register"
        for _ in range(2):
            assert isinstance(store.write(stale), LeaseLost)
            store.journal.release(stale.lease, None)
            assert store.journal.held("w1") == [] == store.journal.unread("w1")
            store.register("w1")
        [claim] = store.journal.claim("w1")
        assert claim.lease.epoch == 3 and not claim.is_takeover and store.write(claim) is None

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_u11_an_unknown_commit_is_read_back(self, store: Store, moment: Moment) -> None:
        """J13 and U11. Without it what was removed would be told as nothing."""
        self.need("J13")
        store.register("w1")
        store.dead.add("w1")
        self.fail_commits(store.journal, [moment])
        assert self.keep(store).sweep_workers(store.time) == 1 and self.keep(store).sweep_workers(store.time) == 0
