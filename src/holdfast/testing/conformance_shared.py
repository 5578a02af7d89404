"""The contract of what runs share, as tests: cells and accounts, J19 to J21. `JournalConformance` inherits them.

Never: sleeps, reads a clock, looks into an engine. Needs pytest and hypothesis (`holdfast[test]`).
"""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from holdfast.core.accounts import excess_of
from holdfast.core.budget import Excess, Limits
from holdfast.core.events import NOTHING, Charge
from holdfast.core.heads import Status
from holdfast.errors import BudgetRefused, InternalError, JournalCorrupt, LeaseLost, MailWaiting, StoreUnreachable
from holdfast.protocols import BODY_IN_ROW_MAX, Account, AccountCharge, Append, Cell, Claim, Journal
from holdfast.testing.conformance_engine import EngineUnderTest, Moment
from holdfast.testing.conformance_store import Store, step

HOSTILE = ["a%", "a_b", "axb", "a' OR '1'='1", "ä\U0001f600", "a/b", "run/x"]
"""Names that are data, whatever they look like."""


CAP = Limits(usd_nano=10)
ONE = Charge(model_calls=1, usd_nano=4)
"""Fits twice under `CAP`."""


def asking(key: str = "a", charge: Charge = ONE, **more: Any) -> AccountCharge:
    """A reservation."""
    return AccountCharge(key, reserved=charge, asks=charge, **more)


def settling(used: Charge, key: str = "a", reserved: Charge = ONE) -> AccountCharge:
    """The settlement of a reservation."""
    return AccountCharge(key, used, NOTHING.minus(reserved))


def changing(store: Store, claim: Claim, **changed: Any) -> Append:
    """An append of one step that also changes cells or accounts."""
    return store.appending(claim)._replace(**changed)


class SharedConformance(EngineUnderTest):
    """Each test is named after the invariant it checks."""

    def test_j19_a_cell_counts_its_writes(self, store: Store) -> None:
        """J19. Without it a reader could not tell an old value from a new one."""
        journal, claim = store.journal, store.hold()
        assert journal.cell("a") is None
        assert journal.swap("a", 0, "one") and journal.cell("a") == Cell(1, "one")
        assert journal.append([changing(store, claim, cells={"a": "two", "b": ""})]) == [None]
        assert (journal.cell("a"), journal.cell("b")) == (Cell(2, "two"), Cell(1, ""))
        assert journal.swap("a", 2, "two") and journal.cell("a") == Cell(3, "two")

    def test_j19_a_swap_of_another_version_writes_nothing(self, store: Store) -> None:
        """J19. Without it two processes would each believe that they decided."""
        assert not store.journal.swap("a", 1, "x") and store.journal.cell("a") is None
        assert store.journal.swap("a", 0, "first")
        for version in (0, 2, -1):
            assert not store.journal.swap("a", version, "second")
        assert store.journal.cell("a") == Cell(1, "first")

    def test_j19_names_of_cells_are_data(self, store: Store) -> None:
        """J19. Without it the cell of one tool could be taken for that of another."""
        for name in HOSTILE:
            assert store.journal.swap(name, 0, name[::-1])
        assert [store.journal.cell(name) for name in HOSTILE] == [Cell(1, name[::-1]) for name in HOSTILE]

    @pytest.mark.parametrize(
        ("name", "value"), [("", "x"), ("a\0b", "x"), ("a", "\0"), ("a", "\ud800"), ("a", "x" * 65_536)]
    )
    def test_j19_what_no_cell_can_hold_is_refused(self, store: Store, name: str, value: str) -> None:
        """J19. Without it a cell would come back as another, or a switch grow to a megabyte."""
        claims = [store.hold(f"r{number}") for number in range(3)]
        appends = [changing(store, claim, cells={"good": "x"}) for claim in claims]
        appends[1] = changing(store, claims[1], cells={"good": "x", name: value})
        results = store.journal.append(appends)
        assert [isinstance(result, InternalError) for result in results] == [False, True, False]
        with pytest.raises(InternalError):
            store.journal.swap(name, 0, value)
        assert store.journal.cell("good") == Cell(2, "x") and store.journal.events("r1") == []

    def test_j19_a_refused_append_leaves_the_cells_as_they_were(self, store: Store) -> None:
        """J6 and J19. Without it a worker that lost its run would still turn switches."""
        old = store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        new = store.hold(worker_id="w2")
        store.start("r2")
        stale = changing(store, old, cells={"a": "old"})
        bare = changing(store, new, cells={"a": "bare"})._replace(events=[])
        unread = changing(store, new, cells={"a": "end"}, mail_read=0)
        unread = unread._replace(head=unread.head._replace(status=Status.SUCCEEDED, wake_at=None))
        for append, error in ((stale, LeaseLost), (unread, MailWaiting), (bare, InternalError)):
            [result] = store.journal.append([append])
            assert isinstance(result, error)
        assert store.journal.cell("a") is None and store.journal.events("r1") == []

    def test_j19_a_group_sets_cells_in_its_order(self, store: Store) -> None:
        """J9 and J19. Without it the last word would not be the last."""
        claims = [store.hold(f"r{number}") for number in range(3)]
        group = [changing(store, claim, cells={"a": f"{number}"}) for number, claim in enumerate(claims)]
        assert store.journal.append(group) == [None] * 3
        assert store.journal.cell("a") == Cell(3, "2")

    def test_j19_of_many_swaps_each_version_is_written_once(self, store: Store) -> None:
        """J19. Without it a count that several keep together would lose some."""
        self.need("J10")
        journals = [store.open() for _ in range(4)]

        def count(journal: Journal) -> None:
            for _ in range(10):
                while True:
                    cell = journal.cell("count") or Cell(0, "0")
                    if journal.swap("count", cell.version, f"{int(cell.value) + 1}"):
                        break

        threads = [threading.Thread(target=count, args=(journal,)) for journal in journals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.journal.cell("count") == Cell(40, "40")

    def test_j19_a_cell_outlives_its_process(self, store: Store) -> None:
        """J10 and J19. Without it an open breaker would be closed by a restart."""
        self.need("J10")
        store.journal.swap("a", 0, "x")
        assert store.journal.append([changing(store, store.hold(), cells={"b": "y"})]) == [None]
        store.reopen()
        assert (store.journal.cell("a"), store.journal.cell("b")) == (Cell(1, "x"), Cell(1, "y"))

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j19_a_commit_of_unknown_outcome_is_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13 and J19. Without it a swap would be done twice, or said to have failed."""
        self.need("J13")
        claim = store.hold()
        self.fail_commits(store.journal, moments)
        assert store.journal.swap("a", 0, "x") and store.journal.cell("a") == Cell(1, "x")
        self.fail_commits(store.journal, moments)
        assert store.journal.append([changing(store, claim, cells={"a": "y"})]) == [None]
        assert store.journal.cell("a") == Cell(2, "y")
        self.fail_commits(store.journal, ["before", "before"])
        with pytest.raises(StoreUnreachable):
            store.journal.swap("a", 2, "z")
        assert store.journal.cell("a") == Cell(2, "y")

    def test_j19_a_changed_cell_is_found(self, store: Store) -> None:
        """J12 and J19. Without it a switch could be turned, or a good result be swapped, behind everybody's back."""
        self.need("J12")
        store.journal.swap("a", 0, "off")
        store.journal.swap("b", 0, "off")
        store.close()
        self.damage(store.name, "cell")
        store.reopen()
        with pytest.raises(JournalCorrupt, match="cell a"):
            store.journal.cell("a")
        with pytest.raises(JournalCorrupt, match="cell a"):
            store.journal.swap("a", 1, "on")
        assert store.journal.cell("b") == Cell(1, "off")

    def test_j20_charges_add_up_with_their_append(self, store: Store) -> None:
        """J20. Without it a budget would not know what was used."""
        journal, claim = store.journal, store.hold()
        assert journal.account("a") is None
        assert journal.append([changing(store, claim, charges=[asking(), asking("b", limits=CAP)])]) == [None]
        assert journal.account("a") == Account(NOTHING, ONE) and journal.account("b") == Account(NOTHING, ONE, CAP)
        used = Charge(tool_calls=2, model_calls=1, tokens=30, usd_nano=3)
        assert journal.append([changing(store, claim, charges=[settling(used), settling(used, "b")])]) == [None]
        assert journal.account("a") == Account(used, NOTHING) and journal.account("b") == Account(used, NOTHING, CAP)

    def test_j20_names_of_accounts_are_data(self, store: Store) -> None:
        """J20. Without it one run could pay with the budget of another."""
        charges = [asking(name, Charge(tokens=number)) for number, name in enumerate(HOSTILE)]
        assert store.journal.append([changing(store, store.hold(), charges=charges)]) == [None]
        for number, name in enumerate(HOSTILE):
            assert store.journal.account(name) == Account(NOTHING, Charge(tokens=number))

    def test_j20_caps_can_be_set_outside_of_runs(self, store: Store) -> None:
        """J20. Without it a cap could not stand before the first run."""
        for limits in (CAP, Limits(1, None, 2, 3), Limits()):
            store.journal.cap("a", limits)
            assert store.journal.account("a") == Account(NOTHING, NOTHING, limits)
        assert store.journal.append([changing(store, store.hold(), charges=[asking()])]) == [None]
        store.journal.cap("a", CAP)
        store.journal.cap("a", CAP)
        assert store.journal.account("a") == Account(NOTHING, ONE, CAP)

    def test_j20_a_refused_append_charges_nothing(self, store: Store) -> None:
        """J6 and J20. Without it calls that were never made would use up the budget."""
        old = store.hold(worker_id="w1")
        store.journal.release(old.lease, store.time)
        new = store.hold(worker_id="w2")
        stale = changing(store, old, charges=[asking()])
        bare = changing(store, new, charges=[asking()])._replace(events=[])
        for append, error in ((stale, LeaseLost), (bare, InternalError)):
            [result] = store.journal.append([append])
            assert isinstance(result, error)
        assert store.journal.account("a") is None

    def test_j20_an_append_that_cannot_be_written_charges_nothing(self, store: Store) -> None:
        """J9 and J20. Without it, when a group goes again without one of its appends, the others would pay twice."""
        claims = [store.hold(f"r{number}") for number in range(3)]
        group = [changing(store, claim, charges=[asking()], cells={"c": "x"}) for claim in claims]
        group[1] = group[1]._replace(events=[step(0, bytes(BODY_IN_ROW_MAX + 1))], blobs={0: "0" * 64})
        results = store.journal.append(group)
        assert [isinstance(result, InternalError) for result in results] == [False, True, False]
        assert store.journal.account("a") == Account(NOTHING, ONE.plus(ONE)) and store.journal.cell("c") == Cell(2, "x")

    def test_j20_an_account_outlives_its_process(self, store: Store) -> None:
        """J10 and J20. Without it a restart would refill the budget."""
        self.need("J10")
        claim = store.hold()
        assert store.journal.append([changing(store, claim, charges=[asking(limits=CAP)])]) == [None]
        store.reopen()
        assert store.journal.account("a") == Account(NOTHING, ONE, CAP)
        results = [store.journal.append([changing(store, claim, charges=[asking()])])[0] for _ in range(2)]
        assert results[0] is None and isinstance(results[1], BudgetRefused)

    @pytest.mark.parametrize("moments", [["before"], ["after"], ["before", "after"]])
    def test_j20_a_commit_of_unknown_outcome_is_looked_up(self, store: Store, moments: list[Moment]) -> None:
        """J13 and J20. Without it one call would be paid twice, or not at all."""
        self.need("J13")
        claim = store.hold()
        self.fail_commits(store.journal, moments)
        assert store.journal.append([changing(store, claim, charges=[asking(limits=CAP)])]) == [None]
        assert store.journal.account("a") == Account(NOTHING, ONE, CAP)
        self.fail_commits(store.journal, moments)
        store.journal.cap("a", Limits(usd_nano=9))
        assert store.journal.account("a") == Account(NOTHING, ONE, Limits(usd_nano=9))
        self.fail_commits(store.journal, ["before", "before"])
        append = changing(store, claim, charges=[asking()])
        with pytest.raises(StoreUnreachable):
            store.journal.append([append])
        assert store.journal.account("a") == Account(NOTHING, ONE, Limits(usd_nano=9))
        assert store.journal.append([append]) == [None]

    def test_j20_a_changed_account_is_found(self, store: Store) -> None:
        """J12 and J20. Without it a budget could be refilled behind everybody's back."""
        self.need("J12")
        claim, other = store.hold(), store.hold("r2")
        used = changing(store, claim, charges=[AccountCharge("a", ONE), AccountCharge("b", ONE)])
        assert store.journal.append([used]) == [None]
        store.close()
        self.damage(store.name, "account")
        store.reopen()
        with pytest.raises(JournalCorrupt, match="account a"):
            store.journal.account("a")
        group = [changing(store, claim, charges=[asking()]), changing(store, other, charges=[asking("b")])]
        results = store.journal.append(group)
        assert isinstance(results[0], JournalCorrupt) and results[1] is None
        assert len(store.journal.events("r1")) == 1

    def test_j21_what_does_not_fit_is_refused_whole(self, store: Store) -> None:
        """J21. Without it a call that nobody can pay for would be sent."""
        journal, claim = store.journal, store.hold()
        journal.cap("a", CAP)
        for _ in range(2):
            assert journal.append([changing(store, claim, charges=[asking()])]) == [None]
        before = store.record()
        third = changing(store, claim, charges=[asking("b"), asking()], cells={"c": "x"}, releases=True)
        [refused] = journal.append([third])
        assert isinstance(refused, BudgetRefused) and (refused.account, refused.cap) == ("a", "a")
        assert excess_of(refused) == Excess("usd_nano", 10, 8, 4) and "Nothing was written" in str(refused)
        assert journal.account("a") == Account(NOTHING, Charge(model_calls=2, usd_nano=8), CAP)
        assert journal.account("b") is None and journal.cell("c") is None
        assert store.record() == before and journal.owner("r1") is not None
        assert journal.append([changing(store, claim, charges=[asking(charge=Charge(usd_nano=2))])]) == [None]

    def test_j21_each_of_a_group_is_judged_after_those_before_it(self, store: Store) -> None:
        """J9 and J21. Without it the calls of one tick would share room that only one of them has."""
        claims = [store.hold(f"r{number}") for number in range(5)]
        store.journal.cap("a", CAP)
        results = store.journal.append([changing(store, claim, charges=[asking()]) for claim in claims])
        assert [isinstance(result, BudgetRefused) for result in results] == [False, False, True, True, True]
        assert [len(store.journal.events(f"r{number}")) for number in range(5)] == [1, 1, 0, 0, 0]
        group = [
            changing(store, claims[4], charges=[asking()]),
            changing(store, claims[0], charges=[settling(NOTHING)]),
        ]
        assert isinstance(store.journal.append(group)[0], BudgetRefused)
        assert store.journal.append(group[:1]) == [None]

    def test_j21_what_asks_for_nothing_is_never_refused(self, store: Store) -> None:
        """J21. Without it money that was spent would not be in the books."""
        journal, claim = store.journal, store.hold()
        assert journal.append([changing(store, claim, charges=[asking(limits=CAP)])]) == [None]
        over = Charge(1, 1, 1, 25)
        assert journal.append([changing(store, claim, charges=[settling(over)])]) == [None]
        assert journal.append([changing(store, claim, charges=[AccountCharge("a", over)])]) == [None]
        assert journal.account("a") == Account(over.plus(over), NOTHING, CAP)
        calls = asking(charge=Charge(tool_calls=5, model_calls=5, tokens=5))  # no cap on these
        assert journal.append([changing(store, claim, charges=[calls])]) == [None]

    def test_j21_a_settlement_makes_room_for_what_comes_with_it(self, store: Store) -> None:
        """J21. Without it a run could not go on with what its last call has left, or would with what it has not."""
        journal, claim = store.journal, store.hold()
        journal.cap("a", Limits(usd_nano=5))
        assert journal.append([changing(store, claim, charges=[asking()])]) == [None]
        for used, is_refused in ((2, True), (1, False)):
            both = AccountCharge("a", Charge(1, usd_nano=used), NOTHING, asks=ONE)
            [result] = journal.append([changing(store, claim, charges=[both])])
            assert isinstance(result, BudgetRefused) is is_refused

    def test_j21_the_caps_of_another_account_hold(self, store: Store) -> None:
        """J21. Without it a cap for each day could not be stated once."""
        journal, claim = store.journal, store.hold()
        journal.cap("day", CAP)
        for day in ("day/1", "day/2"):
            for _ in range(2):
                assert journal.append([changing(store, claim, charges=[asking(day, cap="day")])]) == [None]
            [refused] = journal.append([changing(store, claim, charges=[asking(day, cap="day")])])
            assert isinstance(refused, BudgetRefused) and (refused.account, refused.cap) == (day, "day")
        assert journal.account("day") == Account(limits=CAP)

    def test_j21_caps_that_are_set_hold_for_the_append_that_sets_them(self, store: Store) -> None:
        """J21. Without it the first call after a cap was lowered would not be held by it."""
        journal, claim = store.journal, store.hold()
        both = [asking("day/1", cap="day"), AccountCharge("day", limits=Limits(usd_nano=3))]
        assert isinstance(journal.append([changing(store, claim, charges=both)])[0], BudgetRefused)
        assert journal.account("day") is None
        both[1] = AccountCharge("day", limits=Limits(usd_nano=4))
        assert journal.append([changing(store, claim, charges=both)]) == [None]

    def test_j21_a_cap_that_was_raised_makes_room(self, store: Store) -> None:
        """J21. Without it nobody could let a stopped run go on."""
        journal, claim = store.journal, store.hold()
        for usd, is_refused in ((4, False), (7, True), (8, False), (0, True)):
            journal.cap("a", Limits(usd_nano=usd))
            [result] = journal.append([changing(store, claim, charges=[asking()])])
            assert isinstance(result, BudgetRefused) is is_refused

    def test_j21_of_many_writers_no_more_fit_than_there_is_room(self, store: Store) -> None:
        """J21. Without it processes that ask at the same moment would each see the room of all."""
        self.need("J10")
        store.journal.cap("a", Limits(usd_nano=4 * 7))
        claims = [store.hold(f"r{number}") for number in range(20)]
        appends = [changing(store, claim, charges=[asking()]) for claim in claims]
        journals, results = [store.open() for _ in range(4)], list[Any]()

        def write(place: int) -> None:
            for append in appends[place::4]:
                results.extend(journals[place].append([append]))

        threads = [threading.Thread(target=write, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(isinstance(result, BudgetRefused) for result in results) == [False] * 7 + [True] * 13
        assert store.journal.account("a") == Account(NOTHING, Charge(model_calls=7, usd_nano=28), Limits(usd_nano=28))

    def test_j11_events_can_be_read_a_few_at_a_time(self, store: Store) -> None:
        """J11. Without it one recorded result would cost the reading of a whole run."""
        claim, events = store.hold(), [step(number) for number in range(5)]
        assert store.write(claim, events) is None
        for after, limit in itertools.product(range(7), range(7)):
            assert store.journal.events("r1", after, limit) == events[after : after + limit]
        assert store.journal.events("r1", limit=None) == events and store.journal.events("r1", 1, -3) == []
