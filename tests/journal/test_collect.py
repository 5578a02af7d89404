"""`gc`: cut short at every write and done again, with writers beside it, and how large a store becomes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.journal.mortal import Died, Mortality, end, run, runs, sqlite

from holdfast.core import accept
from holdfast.core.charges import rebuilt
from holdfast.core.events import Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Status
from holdfast.core.retention import GRACE_S, WORKER_GRACE_S, Retention
from holdfast.journal.collect import collect, every_id
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.protocols import BODY_IN_ROW_MAX, Journal, Worker

ALL = Retention(ended_before_s=0.0)
NOW = 5_000_000.0
BIG = b'"%s"' % (b"x" * BODY_IN_ROW_MAX)


def sqlite_store(path: Path) -> Journal:
    return sqlite(path / "h.db", lambda: NOW)("default")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store of each engine."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").url(f"gc_{tmp_path.name[-24:]}")
        journal = open_journal(url, clock=lambda: NOW, owns_clock=True)
    else:
        journal = sqlite_store(tmp_path) if request.param == "sqlite" else MemoryJournal(clock=lambda: NOW)
    yield journal
    journal.close()


def paid(number: int, used: Charge, body: bytes = b"1") -> Event:
    """A model call."""
    address = Address("", f"s{number}", "d", 0)
    return Event(Kind.STEP_SUCCEEDED, 100.0, address, StepKind.MODEL, Effect.READ, 1, 1, used, "", body)


def fill(journal: Journal) -> None:
    """Two families, a chapter, a run that waits, one in the middle, and one that nobody has begun."""
    run(journal, "old", [paid(0, Charge(0, 1, 5, 7), BIG), end(100.0)])
    asked = Event(Kind.RUN_SUSPENDED, 100.0, meta=meta(why="question"))
    run(journal, "waits", [paid(0, Charge(0, 1, 5, 7), BIG + b" "), asked])
    child = Event(
        Kind.STEP_INTENDED, 50.0, Address("", "c", "d", 0), StepKind.CHILD, Effect.ONCE, 1, 1,
        meta=meta(child="child", key="child", shares=True),
    )  # fmt: skip
    run(journal, "parent", [child, end(100.0, "failed")])
    journal.post("child", "start", accept.start(
        agent="a", key="child", input_digest="d", limits=None, body=b"1", parent="parent", accounts=["run/parent"],
    ))  # fmt: skip
    run(journal, "fresh", [end(NOW - 5)])


def sums(journal: Journal) -> Any:
    return rebuilt(journal.events(run_id) for run_id in every_id(upkeep_of(journal)))


def counts(journal: Journal) -> list[Any]:
    return [journal.facts()[name] for name in ("runs", "events", "blobs", "blob_bytes")]


def forgotten(journal: Journal) -> list[str]:
    return sorted(head.run_id for head in journal.heads(limit=99) if head.is_forgotten)


def test_what_may_go_goes_and_nothing_else(journal: Journal) -> None:
    """Lost: a child that nobody has begun, whose parent is gone; or a store that never shrinks."""
    fill(journal)
    before = sums(journal)
    done = collect(journal, upkeep_of(journal), Retention(ended_before_s=60.0))
    assert done.forgotten == ["old"] and forgotten(journal) == ["old"]
    assert done.kept == {"a run that it belongs to is live": 1, "it ended not long ago": 1}
    assert done.blobs == 0, "it was put a moment ago"
    assert sums(journal) == before


def test_a_trial_changes_nothing(journal: Journal) -> None:
    """Lost: the look before the leap."""
    fill(journal)
    facts = counts(journal)
    assert collect(journal, upkeep_of(journal), ALL, is_trial=True).forgotten == ["old", "fresh"]
    assert counts(journal) == facts and forgotten(journal) == []


def test_without_a_policy_no_run_goes(journal: Journal) -> None:
    """Lost: everything, by a command that was only to tidy up."""
    fill(journal)
    assert collect(journal, upkeep_of(journal), Retention()).forgotten == [] == forgotten(journal)


def test_workers_that_are_gone_go_a_day_after_their_lease(journal: Journal) -> None:
    """Lost: room, for each process that was ever killed; or the row of one that was stopped for an hour."""
    for name, ended_ago in {"gone": WORKER_GRACE_S + 1, "holds": WORKER_GRACE_S + 1, "stopped": 3_600.0}.items():
        journal.post(name, "start", accept.start(agent=name, key=name, input_digest="d", limits=None, body=b"1"))
        journal.register(Worker(name, pid=1), 30.0)
        if name == "holds":
            assert len(journal.claim(name, agents=[name])) == 1
        journal.register(Worker(name, pid=1), -ended_ago)
    tried = collect(journal, upkeep_of(journal), Retention(), is_trial=True)
    assert (tried.workers, collect(journal, upkeep_of(journal), Retention()).workers) == (1, 1)
    assert collect(journal, upkeep_of(journal), Retention()).workers == 0
    assert journal.owner("holds") == (Worker("holds", pid=1), NOW - WORKER_GRACE_S - 1)
    assert upkeep_of(journal).sweep_workers(NOW) == 1, "of the one that was stopped"


@pytest.mark.parametrize("is_written", [False, True])
def test_cut_short_at_any_write_it_is_done_again(tmp_path: Path, is_written: bool) -> None:
    """Lost: money, a live run, or a family of which only a part is left for good."""
    seen: set[str] = set()
    for number in range(1, 100):
        home = tmp_path / f"{number}"
        home.mkdir()
        journal = sqlite_store(home)
        fill(journal)
        end_child(journal)
        before, live = sums(journal), upkeep_of(journal).record("waits")
        fate = Mortality(number, is_written=is_written)
        try:
            collect(journal, fate.of(upkeep_of(journal)), ALL)
        except Died:
            seen.add(fate.writes[-1])
        else:
            journal.close()
            break
        assert sums(journal) == before and upkeep_of(journal).record("waits") == live
        child, parent = journal.head("child"), journal.head("parent")
        assert child is not None and parent is not None
        assert parent.is_forgotten or not child.is_forgotten, "a parent that is resumed would wait for it for ever"
        collect(journal, upkeep_of(journal), ALL)
        assert forgotten(journal) == ["child", "fresh", "old", "parent"] and sums(journal) == before
        journal.close()
    assert seen == {"condense", "sweep_workers", "sweep_blobs", "compact"}, "too few deaths prove nothing"


def end_child(journal: Journal) -> None:
    journal.register(Worker("w", pid=1), 30.0)
    [claim] = journal.claim("w", run_ids=["child"])
    journal.release(claim.lease, None)
    run(journal, "child", [end(100.0, "cancelled")])


class Resumed:
    """Upkeep during which somebody resumes a run, just before it is forgotten."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._upkeep = journal, upkeep_of(journal)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._upkeep, name)

    def condense(self, *arguments: Any) -> bool:
        self._journal.post("failed", "m1", accept.resume(by="ada"))
        return self._upkeep.condense(*arguments)


def test_a_run_that_is_resumed_meanwhile_is_kept(journal: Journal) -> None:
    """Lost: a resume that was accepted, and a run that begins anew from its first line."""
    run(journal, "failed", [end(100.0, "failed")])
    done = collect(journal, Resumed(journal), ALL)  # type: ignore[arg-type]
    assert (done.forgotten, done.kept) == ([], {"it is in use": 1})
    assert len(journal.events("failed")) == 2 and len(journal.mail("failed")) == 1


def test_a_run_that_cannot_be_read_is_left(tmp_path: Path) -> None:
    """Lost: what somebody could still save of it."""
    journal = sqlite_store(tmp_path)
    for name in ("r1", "r2", "r3"):
        run(journal, name, [end(100.0)])
    connection = apsw.Connection(str(tmp_path / "h.db"))
    connection.execute("UPDATE events SET body = x'00' WHERE number = 2 AND run_no = 1")
    connection.execute("UPDATE runs SET seal = x'00' WHERE run_no = 2")
    connection.close()
    done = collect(journal, upkeep_of(journal), ALL)
    assert (done.forgotten, done.kept) == (["r3"], {"it cannot be read": 2})
    journal.close()


@pytest.mark.parametrize("held", ["BEGIN IMMEDIATE", "BEGIN; SELECT count(*) FROM runs"])
def test_while_others_are_at_work_it_does_not_fail(tmp_path: Path, held: str) -> None:
    """Lost: what was forgotten already would be reported as an error of the store, each night."""
    journal = sqlite_store(tmp_path)
    run(journal, "r1", [*(paid(step, Charge(), b"x" * 9_000) for step in range(50)), end(100.0)])
    other = apsw.Connection(str(tmp_path / "h.db"))
    begun: list[str] = []

    class Late:
        """Upkeep beside which another process begins something just before space is given back."""

        def __getattr__(self, name: str) -> Any:
            return getattr(upkeep_of(journal), name)

        def compact(self) -> None:
            begun.append(held)
            other.execute(held).fetchall()
            upkeep_of(journal).compact()

    assert collect(journal, Late(), ALL).forgotten == ["r1"] and begun  # type: ignore[arg-type]
    other.execute("ROLLBACK")
    other.close()
    size = os.path.getsize(tmp_path / "h.db")
    upkeep_of(journal).compact()
    assert os.path.getsize(tmp_path / "h.db") <= size and len(journal.events("r1")) == 2
    journal.close()


class Time:
    """A clock that a test sets."""

    now = NOW


def test_ten_thousand_runs_fit_into_a_bounded_store(tmp_path: Path) -> None:
    """Lost: the disk of a machine that nobody looks at. Of each run that goes only its tombstone stays."""
    path, rounds, each, keep = tmp_path / "h.db", 6, 60, 10
    journal = sqlite(path, lambda: Time.now)("default")
    sizes = []
    for number in range(rounds):
        Time.now = NOW + number * 2 * GRACE_S
        logs = {}
        for place in range(each):
            name = f"r{number}-{place}"
            body = b'"%s"' % (f"{name} ".encode() * 1_000)
            large = [paid(9, Charge(0, 1), BIG + name.encode())] if place % 20 == 0 else []
            logs[name] = [*(paid(step, Charge(0, 1), body) for step in range(3)), *large, end(Time.now)]
        runs(journal, logs)
        done = collect(journal, upkeep_of(journal), Retention(keep=keep))
        assert len(done.forgotten) == (each - keep if number == 0 else each)
        sizes.append(os.path.getsize(path) + os.path.getsize(f"{path}-wal"))
    assert len(journal.heads(limit=9_999)) == rounds * each and journal.facts()["runs"] == {"succeeded": rounds * each}
    assert sum(not head.is_forgotten for head in journal.heads(limit=9_999)) == keep
    a_run = 4 * 1_000 * 7
    grown_by = (sizes[-1] - sizes[1]) / ((rounds - 2) * each)
    assert grown_by < 3_000 < a_run, f"{grown_by:.0f} bytes stay of each run: {sizes}"
    journal.close()


@pytest.mark.parametrize("status", [status for status in Status if status.is_end])
def test_a_forgotten_run_is_found_by_its_key_and_counted_by_its_end(journal: Journal, status: Status) -> None:
    """Lost: what `ls` and `show` say of it."""
    run(journal, "r1", [end(100.0, str(status))])
    collect(journal, upkeep_of(journal), ALL)
    [head] = journal.heads(key="r1")
    assert head.status is status and head.is_forgotten and journal.heads(status=status) == [head]
