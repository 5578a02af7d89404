"""Breakers and shared retries on a store: what several processes see of each other, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import holdfast as hf
from holdfast.core.breaker import BREAKER, Breaker
from holdfast.core.failure import FailureKind
from holdfast.core.health import Said
from holdfast.errors import JournalCorrupt, StoreUnreachable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Cell
from holdfast.runtime.breakers import BREAKERS, FRESH_S, RETRIES, TELL_S, Breakers
from holdfast.testing.clock import ManualClock

NAME = "find_invoice"


class Counting:
    """A store that counts what is asked of its cells, and can be told to fail or to be slower than others."""

    def __init__(self, journal: Any) -> None:
        self.journal = journal
        self.reads = self.writes = 0
        self.is_down = False
        self.loses = 0

    def cell(self, name: str) -> Cell | None:
        """A read."""
        self.reads += 1
        if self.is_down:
            raise StoreUnreachable("the disk is gone")
        return self.journal.cell(name)  # type: ignore[no-any-return]

    def swap(self, name: str, version: int, value: str) -> bool:
        """A write; somebody else is faster as often as was said."""
        if self.is_down:
            raise StoreUnreachable("the disk is gone")
        self.writes += 1
        if self.loses:
            self.loses -= 1
            found = self.journal.cell(name)
            self.journal.swap(name, 0 if found is None else found.version, "" if found is None else found.value)
        return self.journal.swap(name, version, value)  # type: ignore[no-any-return]


class Process:
    """One of those that call the tool."""

    def __init__(self, journal: Any, clock: ManualClock) -> None:
        self.store = Counting(journal)
        self.breakers = Breakers(self.store, clock)  # type: ignore[arg-type]
        self.attempts = 0

    def call(self, said: Said | None, policy: Breaker = BREAKER) -> Any:
        """One attempt that ends so; None: it does not end. What came of it."""
        self.attempts += 1
        told = self.breakers.entered(NAME, policy, self.attempts)
        if told.failure is None and said is not None:
            return self.breakers.observed(NAME, policy, self.attempts, said, "")
        return told


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal(clock: ManualClock) -> MemoryJournal:
    return MemoryJournal(clock=clock.now)


@pytest.fixture
def one(journal: MemoryJournal, clock: ManualClock) -> Process:
    return Process(journal, clock)


@pytest.fixture
def two(journal: MemoryJournal, clock: ManualClock) -> Process:
    return Process(journal, clock)


def test_a_healthy_tool_costs_no_write_and_two_reads_a_second(one: Process, clock: ManualClock) -> None:
    """A step on the happy path must not pay for what goes wrong."""
    for _ in range(1_000):
        one.call(Said.WELL)
        clock.jump(0.001)
    assert one.store.writes == 0
    assert one.store.reads <= 1.0 / FRESH_S + 1


def test_processes_open_it_together_and_all_are_refused(one: Process, two: Process) -> None:
    """Five timeouts in a row are five whoever had them."""
    for process in (one, two, one, two):
        assert process.call(Said.LATE).choice == ""
    assert one.call(Said.LATE).choice == "opened"
    for process in (one, two):
        refused = process.call(Said.WELL)
        assert refused.failure.kind is FailureKind.REFUSED
        assert refused.choice == "refused"
        assert "5 attempts in a row without an answer in time" in refused.failure.text


def test_it_stays_open_when_all_processes_are_new(
    one: Process, journal: MemoryJournal, clock: ManualClock, tmp_path: Path
) -> None:
    """A restart that forgets would begin the flood anew."""
    for _ in range(5):
        one.call(Said.LATE)
    assert Process(journal, clock).call(Said.WELL).failure is not None
    path = tmp_path / "h.db"
    first = SqliteJournal(path, clock=clock.now)
    for _ in range(5):
        Process(first, clock).call(Said.LATE)
    first.close()
    second = SqliteJournal(path, clock=clock.now)
    assert Process(second, clock).call(Said.WELL).failure is not None
    second.close()


def test_one_process_probes_and_the_others_hear_of_it(one: Process, two: Process, clock: ManualClock) -> None:
    for _ in range(5):
        one.call(Said.LATE)
    clock.jump(30.0)
    assert one.call(None).choice == "probe"
    assert two.call(Said.WELL).failure is not None
    closed = one.breakers.observed(NAME, BREAKER, one.attempts, Said.WELL, "")
    assert closed.choice == "closed"
    assert two.call(Said.WELL).failure is None


def test_a_look_takes_nobodys_turn(one: Process, two: Process, clock: ManualClock) -> None:
    """Whoever looks before it queues may wait long; the probe must not be its."""
    for _ in range(5):
        one.call(Said.LATE)
    assert two.breakers.peeked(NAME, BREAKER).failure is not None
    clock.jump(30.0)
    assert two.breakers.peeked(NAME, BREAKER).failure is None
    assert one.call(Said.WELL).choice == "closed"
    assert two.breakers.peeked(NAME, BREAKER).failure is None


def test_a_probe_that_fails_keeps_it_open(one: Process, two: Process, clock: ManualClock) -> None:
    for _ in range(5):
        one.call(Said.LATE)
    clock.jump(30.0)
    assert two.call(Said.LATE).choice == "reopened"
    clock.jump(29.0)
    assert one.call(Said.WELL).failure is not None
    clock.jump(1.0)
    assert one.call(Said.WELL).choice == "closed"


def test_a_success_ends_a_row_of_timeouts_with_one_write(one: Process, two: Process) -> None:
    """Otherwise five timeouts in a week, with thousands of good calls between them, shut a tool out."""
    policy = Breaker(errors=1.0)
    for n in range(3):
        for _ in range(4):
            assert one.call(Said.LATE, policy).choice == ""
        for _ in range(5):
            two.call(Said.WELL, policy)
        assert two.store.writes == n + 1


def test_successes_of_others_are_heard_while_failures_are_about(one: Process, two: Process, clock: ManualClock) -> None:
    """A process that fails alone must not open the breaker of a tool that serves everybody else."""
    for _ in range(200):
        clock.jump(0.3)
        for _ in range(4):
            two.call(Said.WELL)
        assert one.call(Said.ILL).choice == ""
    assert two.store.writes <= 200 * 0.3 / TELL_S + 2


def test_successes_are_told_with_the_next_failure_and_only_once(one: Process, clock: ManualClock) -> None:
    for _ in range(30):
        one.call(Said.WELL)
    for _ in range(9):
        assert one.call(Said.ILL).choice == ""
    assert one.store.writes == 9
    clock.jump(120.0)
    told = [one.call(Said.ILL).choice for _ in range(10)]
    assert told == [""] * 9 + ["opened"], "old successes counted again"


def test_a_write_that_was_lost_to_another_is_made_again(one: Process, two: Process) -> None:
    one.store.loses = 3
    one.call(Said.LATE)
    assert one.store.writes == 4
    for _ in range(3):
        two.call(Said.LATE)
    assert two.call(Said.LATE).choice == "opened", "the first timeout was lost"


def test_a_failure_that_cannot_be_told_is_told_with_the_next(one: Process) -> None:
    """A store that others write to all the time must not swallow what was seen."""
    one.store.loses = 1_000
    for _ in range(4):
        assert one.call(Said.LATE).choice == ""
    one.store.loses = 0
    assert one.call(Said.LATE).choice == "opened"


def test_a_store_that_cannot_be_read_is_no_permission(one: Process, clock: ManualClock) -> None:
    one.store.is_down = True
    with pytest.raises(StoreUnreachable):  # no word about the tool: its step is not begun, and has not failed
        one.call(Said.WELL)
    assert one.breakers.take_retry(NAME, 20) == "", "an outage of the store has used no retry up"
    assert one.breakers.observed(NAME, BREAKER, 1, Said.LATE, "").choice == ""


def test_a_breaker_that_was_changed_is_no_permission(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(name: str) -> Cell:
        raise JournalCorrupt("its seal is broken")

    monkeypatch.setattr(one.store, "cell", cell)
    refused = one.call(Said.WELL)
    assert refused.failure.kind is FailureKind.REFUSED
    assert "cannot be read" in refused.failure.text


def test_a_store_that_is_away_for_a_moment_fails_no_step(world: Any) -> None:
    """Lost: a run that has failed for good because its database was restarted between two steps."""
    called = []

    @hf.tool(effect="once")
    async def pay(cents: int) -> int:
        called.append(cents)
        return cents

    @hf.agent(budget=hf.Budget(tool_calls=10))
    async def payer(run: hf.Run, given: Any) -> int:
        return await pay(7)

    def away(journal: Any) -> None:
        def cell(name: str) -> Cell | None:
            if name.startswith(BREAKERS):
                raise StoreUnreachable("it is restarted")
            return world.store.cell(name)  # type: ignore[no-any-return]

        journal.cell = cell

    with pytest.raises(StoreUnreachable):
        world.run(payer, prepare=away)
    assert called == [] and not world.head().status.is_end
    assert world.run(payer) == 7 and called == [7]


def test_a_record_that_is_none_counts_as_open_until_a_probe(
    one: Process, journal: MemoryJournal, clock: ManualClock
) -> None:
    journal.swap(BREAKERS + NAME, 0, "nonsense")
    assert "could not be read" in one.call(Said.WELL).failure.text
    clock.jump(30.0)
    assert one.call(Said.WELL).choice == "closed"


def test_all_processes_share_the_retries(one: Process, two: Process, clock: ManualClock) -> None:
    taken = [process.breakers.take_retry(NAME, 20) for _ in range(15) for process in (one, two)]
    assert taken.count("") == 20
    assert taken[20] == "all 20 shared retries are used up; 10 a minute come back"
    clock.jump(60.0)
    assert [one.breakers.take_retry(NAME, 20) for _ in range(12)].count("") == 10


def test_successes_earn_retries_once(one: Process) -> None:
    for _ in range(20):
        one.breakers.take_retry(NAME, 20)
    for _ in range(25):
        one.call(Said.WELL, BREAKER)
    assert [one.breakers.take_retry(NAME, 20) for _ in range(5)].count("") == 2


def test_a_tool_without_a_breaker_earns_retries_too(one: Process) -> None:
    for _ in range(20):
        one.breakers.take_retry(NAME, 20)
    for _ in range(10):
        one.breakers.observed(NAME, None, 1, Said.WELL, "")
    assert one.breakers.take_retry(NAME, 20) == ""
    assert one.store.journal.cell(BREAKERS + NAME) is None


def test_an_unreadable_bucket_is_empty_and_time_refills_it(
    one: Process, journal: MemoryJournal, clock: ManualClock
) -> None:
    journal.swap(RETRIES + NAME, 0, "nonsense")
    assert one.breakers.take_retry(NAME, 20) != ""
    clock.jump(60.0)
    assert one.breakers.take_retry(NAME, 20) == ""


def test_a_race_for_retries_that_is_lost_too_often_gives_none(one: Process) -> None:
    one.store.loses = 1_000
    assert one.breakers.take_retry(NAME, 20) == "the shared retries are in too great demand at this moment"


def test_names_made_anew_for_each_step_do_not_pile_up(one: Process) -> None:
    """A name per item of a list of millions must not fill the memory."""
    for n in range(5_000):
        one.breakers.observed(f"step-{n}", BREAKER, n, Said.WELL, "")
    assert one.store.writes == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.4, 0.6, 7.0, 31.0])), max_size=120))
def test_law_of_a_dead_tool_among_five_processes(steps: list[tuple[int, float]]) -> None:
    """R6. Half a second after it was found down, nothing is sent to it but one probe in each wait."""
    clock = ManualClock()
    journal = MemoryJournal(clock=clock.now)
    processes = [Process(journal, clock) for _ in range(5)]
    opened_at: float | None = None
    probed_at = 0.0
    for place, wait in steps:
        clock.jump(wait)
        told = processes[place].call(Said.LATE)
        if told.choice == "opened":
            opened_at = probed_at = clock.now()
        elif told.choice == "reopened":
            assert clock.now() - probed_at >= 30.0
            probed_at = clock.now()
        elif told.failure is None and opened_at is not None:
            assert clock.now() - opened_at <= FRESH_S
    assert sum(process.store.writes for process in processes) <= 2 * len(steps) + 2


def test_two_tenants_share_neither_breaker_nor_retries(tmp_path: Path, clock: ManualClock) -> None:
    """S32. One tenant's dead endpoint must not shut the others out."""
    path = tmp_path / "h.db"
    ours, theirs = (SqliteJournal(path, clock=clock.now, tenant=tenant) for tenant in ("ours", "theirs"))
    a, b = Process(ours, clock), Process(theirs, clock)
    for _ in range(5):
        a.call(Said.LATE)
    for _ in range(20):
        assert a.breakers.take_retry(NAME, 20) == ""
    assert a.call(Said.WELL).failure is not None
    assert a.breakers.take_retry(NAME, 20) != ""
    assert b.call(Said.WELL).failure is None
    assert b.breakers.take_retry(NAME, 20) == ""
    ours.close()
    theirs.close()


SHORT = Breaker(errors=0.5, calls=4, timeouts=3, of="2s", wait="1s")
LONG = Breaker(errors=0.6, calls=6, timeouts=4, of="20s", wait="3s")
_SAID = st.sampled_from([Said.WELL, Said.WELL, Said.WELL, Said.ILL, Said.LATE])
_CALLS = st.tuples(_SAID, st.sampled_from([0.0, 0.01, 0.2, 0.4, 0.6, 2.5]), st.sampled_from([SHORT, SHORT, LONG]))


@given(st.lists(_CALLS, max_size=60))
@example([(Said.WELL, 0.0, SHORT), (Said.WELL, 0.4, SHORT), (Said.ILL, 0.0, SHORT)])
@example([(Said.WELL, 0.0, SHORT), (Said.WELL, 0.01, LONG), (Said.ILL, 0.0, LONG)])
@example([(Said.WELL, 0.0, LONG), (Said.LATE, 0.01, LONG), (Said.WELL, 0.0, LONG)])
def test_successes_that_are_only_counted_come_to_the_same(calls: list[tuple[Said, float, Breaker]]) -> None:
    """Lost: what went well, counted in another slice of time or over a failure: a breaker that opens too late, or for
    nothing."""
    clock = ManualClock()
    processes = [Process(MemoryJournal(clock=clock.now), clock) for _ in range(2)]
    for number, (said, wait_s, policy) in enumerate(calls):
        clock.jump(wait_s)
        for process in processes:
            breakers, is_quick = process.breakers, process is processes[0]
            if breakers.entered(NAME, policy, number).failure is not None:
                continue
            if not (is_quick and said is Said.WELL and breakers.went_well(NAME, policy)):
                breakers.observed(NAME, policy, number, said, "")
        one, other = (process.store.journal.cell(BREAKERS + NAME) for process in processes)
        assert one == other, f"after call {number}"
