"""The disk that a test owns: it says what SQLite did, in order, and fails exactly where it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from holdfast.errors import StoreUnreachable
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.conformance_store import start_of
from holdfast.testing.disk import Change, Disk, Failing


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path) as disk:
        yield disk


def opened(path: Path) -> SqliteJournal:
    return SqliteJournal(path / "store.db", clock=lambda: 1.0)


def test_it_says_what_was_done_so_that_the_files_can_be_made_again(tmp_path: Path, disk: Disk) -> None:
    """Lost: a recording that is not what happened, and so a proof about other files."""
    journal = opened(tmp_path)
    journal.post("r1", "m1", start_of("r1"))
    files: dict[int, bytearray] = {}
    for op in disk.ops:
        content = files.setdefault(op.file, bytearray(op.data if op.change is Change.FOUND else b""))
        if op.change is Change.WRITTEN:
            content += bytes(max(op.offset - len(content), 0))
            content[op.offset : op.offset + len(op.data)] = op.data
        elif op.change is Change.CUT:
            del content[op.offset :]
    names = {op.name: op.file for op in disk.ops if op.change in (Change.FOUND, Change.MADE)}
    for name in ("store.db", "store.db-wal"):
        assert bytes(files[names[name]]) == (tmp_path / name).read_bytes()
    journal.close()


def test_a_commit_is_written_and_then_synced_with_the_name_of_a_new_file(tmp_path: Path, disk: Disk) -> None:
    """Lost: a log whose bytes are safe under a name that is not."""
    journal = opened(tmp_path)
    before = len(disk.ops)
    journal.post("r1", "m1", start_of("r1"))
    done = [op.change for op in disk.ops[before:]]
    assert done[:3] == [Change.WRITTEN, Change.SYNCED, Change.DIRECTORY_SYNCED]
    assert done[3:].count(Change.WRITTEN) == len(done) - 4 and done[-1] is Change.SYNCED
    journal.close()


def test_what_was_there_before_is_safe(tmp_path: Path) -> None:
    """Lost: a store that a cut would empty although it is years old."""
    opened(tmp_path).close()
    content = (tmp_path / "store.db").read_bytes()
    with Disk(tmp_path) as disk:
        assert [(op.change, op.name, op.data) for op in disk.ops] == [(Change.FOUND, "store.db", content)]


@pytest.mark.parametrize("failing", Failing)
def test_a_fault_hits_the_call_that_was_named_and_no_other(tmp_path: Path, disk: Disk, failing: Failing) -> None:
    """Lost: faults that are counted and never happened."""
    journal = opened(tmp_path)
    journal.post("r1", "m1", start_of("r1"))
    disk.fail(2, failing, {"write"})
    journal.post("r2", "m1", start_of("r2"))  # the second try succeeds
    assert disk.hits == [("write", "store.db-wal", failing, False)]
    disk.fail(1, failing, {"write"}, lasts=True)
    with pytest.raises(StoreUnreachable):
        journal.post("r3", "m1", start_of("r3"))
    assert len(disk.hits) > 2
    disk.heal()
    assert journal.post("r3", "m1", start_of("r3")).is_stored
    journal.close()


def test_half_a_write_is_written_and_said(tmp_path: Path, disk: Disk) -> None:
    """Lost: torn writes that the recording does not know of."""
    journal = opened(tmp_path)
    journal.post("r1", "m1", start_of("r1"))
    size, before = (tmp_path / "store.db-wal").stat().st_size, len(disk.ops)
    disk.fail(2, Failing.SHORT, {"write"}, lasts=True)
    with pytest.raises(StoreUnreachable):
        journal.post("r2", "m1", start_of("r2"))
    assert [(op.offset, len(op.data)) for op in disk.ops[before : before + 2]] == [(size, 24), (size + 24, 2048)]
    disk.heal()
    journal.close()


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    """Lost: a test whose fault hits another test's store."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    with Disk(ours) as disk:
        disk.fail(1, Failing.IO, lasts=True)
        opened(theirs).close()
        assert disk.ops == [] and disk.hits == []
    assert apsw.vfs_names()[0] == disk.under


def test_threads_are_written_down_one_after_the_other(tmp_path: Path, disk: Disk) -> None:
    """Lost: a sync that is said to cover a write that came after it."""
    journal = opened(tmp_path)
    threads = [threading.Thread(target=lambda name=name: journal.post(name, "m1", start_of(name))) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.heads()) == 6
    assert [op.change for op in disk.ops if op.name == "store.db-wal"][-1] is Change.SYNCED
    journal.close()
