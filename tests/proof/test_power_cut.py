"""A sample of the power cuts, each kind of loss at each stage, with the real engine; and some that lost something."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import pytest
from proof import power_cut
from proof.deeds import NAME, put
from proof.part import Plan, in_memory

from holdfast.journal import checkpoint
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Worker
from holdfast.testing.conformance_store import start_of
from holdfast.testing.disk import Disk, DiskFile, Failing, Op
from holdfast.testing.power import Loss, Power


def test_no_power_cut_loses_what_had_returned(tmp_path: Path) -> None:
    """Lost: an accepted run, a step or a store, on the day when the lights go out."""
    scale = 4 / power_cut.TRIALS
    seen = power_cut.run(Plan(tmp_path, scale=scale))
    assert seen.problems == []
    often = {what: count for what, count in power_cut.WANTED.items() if count >= 10_000}
    assert seen.lacks(often, scale / 3) == []
    assert seen.lacks(dict.fromkeys(("in_creation", "in_upgrade", "in_flight_there", "went_on"), 1)) == []


def opened(directory: Path) -> SqliteJournal:
    return SqliteJournal(directory / NAME, clock=lambda: 1_000_000.0, is_wherever=True)


def assert_safe(place: Path, ops: list[Op], since: int, runs: set[str]) -> None:
    """Whenever the power goes from here on, the runs are there."""
    power, chance, seen = Power(), random.Random(1), set[str]()
    with in_memory(place) as image:
        for number, op in enumerate(ops):
            power.take(op)
            if number < since:
                continue
            for loss in Loss:
                files = power.left(loss, chance)
                if (digest := repr(sorted(files.items()))) not in seen:
                    seen.add(digest)
                    put(image, files)
                    journal = opened(image)
                    assert {head.run_id for head in journal.heads()} == runs, f"change {number}, {loss}"
                    assert journal.facts()["integrity"] == "ok"
                    journal.close()


class Beside(Disk):
    """While the log is written, another connection begins a checkpoint, whose sync fails."""

    left = 0
    other: apsw.Connection

    @contextmanager
    def doing(self, call: str, name: str) -> Iterator[Failing | None]:
        with super().doing(call, name) as failing:
            yield failing
        if call == "write" and name == f"{NAME}-wal" and self.left:
            self.left -= 1
            if not self.left:
                self.fail(1, Failing.IO, {"sync"})
                with suppress(apsw.IOError):
                    self.other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def test_a_checkpoint_whose_sync_fails_beside_a_commit_takes_nothing_of_it(tmp_path: Path) -> None:
    """Lost: a run that was accepted while a checkpoint on its thread met a failing disk. The commit is told."""
    with in_memory(tmp_path) as place, Beside(place) as disk:
        journal = opened(place)
        journal.post("r1", "m1", start_of("r1"))
        disk.other = apsw.Connection(str(place / NAME))
        disk.other.execute("SELECT * FROM store").fetchall()
        disk.left = 5
        journal.post("r2", "m1", start_of("r2"))
        since = len(disk.ops)
        assert [hit.call for hit in disk.hits] == ["sync"]
        disk.other.close()
        journal.close()
    assert_safe(tmp_path, disk.ops, since - 1, {"r1", "r2"})


class Telling(Disk):
    """Says when a sync has failed."""

    def owe(self, failed: DiskFile) -> None:
        super().owe(failed)
        self.told.set()

    told: threading.Event


def test_a_log_in_doubt_is_not_moved_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: the whole store, when its log, of which a checkpoint could not sync all, is moved by whoever opens it next,
    and the power goes when half of it is."""
    monkeypatch.setattr(checkpoint, "PAGES_MAX", 20)
    with in_memory(tmp_path) as place, Telling(place) as disk:
        disk.told = threading.Event()
        journal = opened(place)
        journal.post("r1", "m1", start_of("r1"))
        since = len(disk.ops)
        disk.fail(1, Failing.IO, {"sync"})
        for number in range(30):
            journal.register(Worker(f"w{number}", pid=1), 30.0)  # is in the log, and not synced
            if disk.told.wait(0.01):
                break
        assert [(hit.call, hit.name) for hit in disk.hits] == [("sync", f"{NAME}-wal")]
        journal.close()
        opened(place).close()
    assert_safe(tmp_path, disk.ops, since - 1, {"r1"})


class Awaited(Disk):
    """A sync of another thread comes when more has been written."""

    @contextmanager
    def doing(self, call: str, name: str) -> Iterator[Failing | None]:
        if threading.current_thread() is not threading.main_thread():
            if call == "sync":
                self.begun.set()
                assert self.is_written.wait(20.0)
            elif call == "write":
                self.moved.set()
        with super().doing(call, name) as failing:
            yield failing

    begun: threading.Event
    is_written: threading.Event
    moved: threading.Event


def test_a_checkpoint_that_failed_is_not_made_again_before_the_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the same, when so much was written meanwhile that the next checkpoint is due at once."""
    monkeypatch.setattr(checkpoint, "PAGES_MAX", 20)
    with in_memory(tmp_path) as place, Awaited(place) as disk:
        disk.begun, disk.is_written, disk.moved = (threading.Event() for _ in range(3))
        journal = opened(place)
        journal.post("r1", "m1", start_of("r1"))
        disk.fail(1, Failing.IO, {"sync"})
        for number in range(60):
            journal.register(Worker(f"w{number}", pid=1), 30.0)
        assert disk.begun.wait(20.0)
        for number in range(60, 120):
            journal.register(Worker(f"w{number}", pid=1), 30.0)
        since = len(disk.ops)
        disk.is_written.set()
        assert not disk.moved.wait(0.2), "a part of the log is in the file"
        journal.close()
        opened(place).close()
    assert_safe(tmp_path, disk.ops, since - 1, {"r1"})
