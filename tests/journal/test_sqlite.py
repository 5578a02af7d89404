"""What only the SQLite engine has: a file, a log beside it, locks, a disk that fails, and other processes."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import accept
from holdfast.core.budget import Limits
from holdfast.core.events import Charge, Event
from holdfast.core.heads import Head, OpenQuestion, Status
from holdfast.errors import (
    InternalError,
    JournalCorrupt,
    JournalError,
    LeaseLost,
    MailWaiting,
    NotFound,
    OthersWriting,
    StoreForeign,
    StoreUnreachable,
    UsageError,
)
from holdfast.journal import file, rows
from holdfast.journal.haste import hasty
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import open_journal
from holdfast.journal.process import this_worker
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Account, Append, Cell, Claim, Lease, Post, Worker
from holdfast.testing.conformance import TTL_S, Store, start_of, step
from holdfast.testing.disk import Change, Disk
from holdfast.testing.disk import Failing as HowItFails
from holdfast.testing.power import Loss, Power

Fingerprint = dict[str, bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def open_sqlite(path: Path, **options: Any) -> SqliteJournal:
    return SqliteJournal(path, clock=time.time, **options)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    def open_engine(name: str, *, clock: Callable[[], float], is_dead: Callable[[Worker], bool]) -> SqliteJournal:
        return SqliteJournal(path, clock=clock, is_dead=is_dead)

    store = Store(open_engine, "store")
    yield store
    store.close()


def fingerprint(path: Path) -> Fingerprint:
    return {found.name: found.read_bytes() for found in path.parent.iterdir() if found.is_file()}


def fill(path: Path, events: int = 30) -> list[Event]:
    """A closed store with one run of so many events, and mail."""
    with_mail = Store(lambda name, *, clock, is_dead: SqliteJournal(path, clock=clock, is_dead=is_dead), "store")
    claim = with_mail.hold()
    written = [step(number, json.dumps({"n": number, "text": "x" * 900}).encode()) for number in range(events)]
    assert with_mail.write(claim, written) is None
    with_mail.journal.post("r1", "m1", accept.cancel(by="ada"))
    with_mail.close()
    return written


# The file


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read_any_file_of_the_store(path: Path, umask: int) -> None:
    """Otherwise other users of the machine could read what agents were told."""
    before = os.umask(umask)
    try:
        journal = open_sqlite(path)
        journal.post("r1", "m1", start_of("r1"))
        modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
        journal.close()
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_file_that_others_can_read_is_a_problem(path: Path) -> None:
    """Otherwise nobody would notice a store that was copied with other rights."""
    open_sqlite(path).close()
    path.chmod(0o644)
    journal = open_sqlite(path)
    assert any("0644" in problem and "chmod 600" in problem for problem in journal.facts()["problems"])
    journal.close()


def test_people_can_read_the_journal_with_sqlite(path: Path) -> None:
    """Otherwise a record would only be readable through us."""
    fill(path, events=2)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA trusted_schema = OFF")
    found = connection.execute("SELECT run_id, number, time, kind, name, tool_calls, body FROM journal").fetchall()
    assert found[1][:6] == ("r1", 2, "1970-01-12 13:46:40.500", "StepSucceeded", "fetch", 1)
    assert json.loads(str(found[1][6]))["n"] == 1
    assert connection.execute("PRAGMA journal_mode").get == "wal"
    assert connection.execute("PRAGMA application_id").get == file.APPLICATION_ID
    connection.close()


def text_file(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def short_text_file(path: Path) -> None:
    path.write_text("hi")


def other_database(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE diary (entry); INSERT INTO diary VALUES ('dear')")
    shutil.copy(f"{path}-wal", f"{path}-kept")  # as if its owner had been killed
    connection.close()
    shutil.move(f"{path}-kept", f"{path}-wal")


def directory(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / "store.db")


def half(path: Path) -> None:
    fill(path)
    os.truncate(path, path.stat().st_size // 8192 * 4096)


def only_the_start(path: Path) -> None:
    fill(path)
    os.truncate(path, 60)


def emptied(path: Path) -> None:
    journal = open_sqlite(path)
    journal.post("r1", "m1", start_of("r1"))
    log = Path(f"{path}-wal").read_bytes()
    journal.close()
    path.write_bytes(b"")
    Path(f"{path}-wal").write_bytes(log)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (text_file, StoreForeign),
        (short_text_file, StoreForeign),
        (other_database, StoreForeign),
        (directory, StoreForeign),
        (dangling, StoreUnreachable),
        (half, JournalCorrupt),
        (only_the_start, JournalCorrupt),
        (emptied, JournalCorrupt),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], error: type[JournalError]
) -> None:
    """Otherwise a typing error would destroy somebody's data, or a damaged store would be made worse."""
    make(path)
    before = fingerprint(path)
    with pytest.raises(error, match=str(path)) as caught:
        open_sqlite(path)
    assert "othing" in str(caught.value) or "Name a file" in str(caught.value)
    after = fingerprint(path)
    assert {name: after[name] for name in before} == before


def test_no_directory_is_made(tmp_path: Path) -> None:
    """Otherwise a typing error would scatter directories."""
    with pytest.raises(StoreUnreachable, match="mkdir -p"):
        open_sqlite(tmp_path / "no" / "store.db")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    """Otherwise a crash while a store is made would leave a file that nobody can open."""
    path.touch()
    journal = open_sqlite(path)
    assert len(journal.hash_key) == 32
    journal.close()


def cut_in_the_making(path: Path) -> None:
    """The power goes when the journal is safe and, of the new pages, all but the first sector."""
    with Disk(path.parent) as disk:
        open_sqlite(path).close()
    written = [op for op in disk.ops if op.change is Change.WRITTEN]
    content = b"".join(op.data for op in written if op.name == path.name)
    header = bytes.fromhex("d9d505f920a163d7") + bytes(4) + written[0].data[12:]
    path.write_bytes(bytes(512) + content[512:])
    Path(f"{path}-journal").write_bytes(header)


def test_a_store_that_was_cut_in_its_making_is_made_anew(path: Path) -> None:
    """Otherwise a power cut at the first start would leave a file that every later start refuses."""
    cut_in_the_making(path)
    journal = open_sqlite(path)
    assert journal.post("r1", "m1", start_of("r1")).is_stored and journal.facts()["integrity"] == "ok"
    journal.close()


@pytest.mark.parametrize("spoil", [lambda header: header[:16] + b"\0\0\0\1" + header[20:], lambda header: b"notes"])
def test_a_file_with_another_journal_beside_it_is_not_ours(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """Otherwise a file that had something in it would be emptied."""
    cut_in_the_making(path)
    journal = Path(f"{path}-journal")
    journal.write_bytes(spoil(journal.read_bytes()))
    before = fingerprint(path)
    with pytest.raises(StoreForeign):
        open_sqlite(path)
    assert fingerprint(path) == before


def test_another_program_that_was_faster_keeps_its_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two programs that begin with one name would write into one file."""
    path.touch()
    opened = file.opened

    def too_late(name: str) -> apsw.Connection:
        connection = opened(name)
        connection.execute("CREATE TABLE diary (entry)")
        return connection

    monkeypatch.setattr(file, "opened", too_late)
    with pytest.raises(StoreForeign, match="another program"):
        open_sqlite(path)
    assert apsw.Connection(str(path)).execute("SELECT name FROM sqlite_schema").fetchall() == [("diary",)]


def test_many_may_make_the_store_at_once(path: Path) -> None:
    """Otherwise the first start of two workers would give two hash keys, and so two ids for each run."""
    code = (
        "import sys, time; from holdfast.journal.sqlite import SqliteJournal; sys.stdin.read(1);"
        "print(SqliteJournal(sys.argv[1], clock=time.time).hash_key.hex())"
    )
    children = [python(code, path) for _ in range(4)]
    for child in children:
        tell(child, "x")
    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(lambda _: hash_key_of(path), range(4)))
    keys |= {child.communicate()[0].strip() for child in children}
    assert len(keys) == 1


def test_a_store_that_others_are_making_is_opened_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one of two workers that start together on a new store would be told that somebody has been writing for
    five seconds: SQLite does not wait for a writer when it is to change to the write-ahead log."""
    open_sqlite(path).close()
    other = apsw.Connection(str(path))
    other.pragma("journal_mode", "delete")  # as a store is that another process is making
    monkeypatch.setattr(file, "BUSY_MS", 50)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OthersWriting):
        open_sqlite(path)
    opened = file.opened

    def released_when_waited_for(path: str) -> apsw.Connection:
        connection = opened(path)
        connection.set_busy_handler(lambda count: other.execute("COMMIT") is not None)
        return connection

    monkeypatch.setattr(file, "opened", released_when_waited_for)
    journal = open_sqlite(path)
    journal.post("r1", "m1", start_of("r1"))
    assert journal.facts()["wal_bytes"] > 0
    journal.close()
    other.close()


def hash_key_of(path: Path) -> str:
    journal = open_sqlite(path)
    journal.close()
    return journal.hash_key.hex()


def test_opening_it_twice_in_a_process_drops_no_lock(path: Path) -> None:
    """Otherwise another process could believe that it is alone, and remove the log under us (POSIX locks)."""
    journal = open_sqlite(path)
    open_sqlite(path).close()
    journal.post("r1", "m1", start_of("r1"))
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+b');"
        "fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"  # SQLite's shared range
    )
    with python(code, path) as child:
        assert "BlockingIOError" in child.communicate()[1]
    journal.close()
    with path.open("r+b") as free:
        fcntl.lockf(free, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)


def test_tenants_do_not_see_each_other(path: Path) -> None:
    """Otherwise one customer's runs would be another's."""
    one, two = open_sqlite(path, tenant="one"), open_sqlite(path, tenant="two")
    one.post("r1", "m1", start_of("r1"))
    for journal in (one, two):
        journal.register(this_worker("w"), 30)
    assert (two.head("r1"), two.heads(), two.mail("r1"), two.claim("w")) == (None, [], [], [])
    assert two.post("r1", "m1", start_of("r1", digest="other")).is_stored
    assert [claim.head.input_digest for claim in one.claim("w")] == ["d1"]
    assert [claim.head.input_digest for claim in two.claim("w")] == ["other"]
    for journal in (one, two):
        journal.close()


# Damage


def read_all(path: Path) -> tuple[object, ...]:
    journal = SqliteJournal(path, clock=lambda: 2e6)
    try:
        return journal.events("r1"), journal.mail("r1"), journal.head("r1")
    finally:
        journal.close()


def test_no_flipped_bit_is_ever_handed_out(path: Path, tmp_path: Path) -> None:
    """Otherwise a run would go on from what never happened. (A bit in an index can hide a run: `facts` tells.)"""
    fill(path)
    whole, content = read_all(path), path.read_bytes()
    draw = random.Random(20261123)
    seen: Counter[str] = Counter()
    for trial in range(400):
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        broken = tmp_path / f"{trial}.db"
        broken.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        outcome = what_is_read(broken, whole)
        assert outcome in ("whole", "refused", "hidden"), f"bit {bit} of byte {place}: {outcome}"
        seen[outcome] += 1
        for leftover in tmp_path.glob(f"{trial}.db*"):
            leftover.unlink()
    assert seen["refused"] > 100


def what_is_read(path: Path, whole: tuple[object, ...]) -> str:
    try:
        found = read_all(path)
    except JournalError:
        return "refused"
    if found == whole:
        return "whole"
    journal = open_sqlite(path)
    try:
        return "hidden" if found == ([], [], None) and journal.facts()["integrity"] != "ok" else f"wrong: {found}"
    except JournalError:
        return "refused"
    finally:
        journal.close()


@pytest.mark.parametrize("column", ["body", "meta", "kind", "at", "name", "tenant", "format", "logical", "tokens"])
def test_each_column_of_an_event_is_sealed(path: Path, column: str) -> None:
    """Otherwise some part of the record could be changed unseen."""
    fill(path, events=3)
    change(path, f"UPDATE events SET {column} = CASE typeof({column}) WHEN 'text' THEN {column} || ' '"
        f" WHEN 'blob' THEN zeroblob(length({column})) ELSE {column} + 1 END WHERE number = 2")  # fmt: skip
    with pytest.raises(JournalCorrupt, match="Event 2 of run r1"):
        read_all(path)


def test_a_row_that_a_damaged_index_leads_to_is_not_taken_for_the_run(path: Path, store: Store) -> None:
    """Otherwise one bit would show one run as another, and write the steps of one into the other's log."""
    claims = [store.hold(f"r{number}") for number in (1, 2)]
    group = [store.appending(claim) for claim in claims]
    store.close()
    connection = apsw.Connection(str(path))
    kept = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'runs_by_id'").fetchone()
    for sql in (
        "DELETE FROM sqlite_schema WHERE name = 'runs_by_id'",
        "INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)",
    ):
        connection.pragma("writable_schema", "ON")
        connection.execute(sql, kept if "?" in sql else ())
        connection.close()
        connection = apsw.Connection(str(path))
        if "?" not in sql:  # without its index, so that it does not notice
            connection.execute("UPDATE runs SET run_no = run_no + 10; UPDATE runs SET run_no = 13 - run_no")
    connection.close()
    journal = store.open()
    for read in (journal.head, journal.events):
        with pytest.raises(JournalCorrupt, match="run r1"):
            read("r1")
    journal.register(Worker("w1", pid=1), TTL_S)
    assert all(isinstance(result, JournalCorrupt) for result in journal.append(group))


@pytest.mark.parametrize("column", ["key", "status"])
def test_a_run_that_is_found_under_what_it_is_not_is_damage(path: Path, column: str) -> None:
    """Otherwise a question about one key would be answered with another's run."""
    fill(path)
    change(path, f"UPDATE runs SET {column} = 'other'")
    journal = open_sqlite(path)
    asked: dict[str, Any] = {column: "other"}
    with pytest.raises(JournalCorrupt, match="run r1"):
        journal.heads(**asked)
    journal.close()


def test_text_that_is_no_text_is_damage(path: Path) -> None:
    """Otherwise a flipped bit in a letter would surface as a Python error without a name."""
    fill(path, events=3)
    change(path, "UPDATE events SET meta = CAST(x'ff41' AS TEXT) WHERE number = 2")
    with pytest.raises(JournalCorrupt):
        read_all(path)
    fill_head = "UPDATE runs SET worker_id = CAST(x'ff41' AS TEXT)"
    change(path, fill_head)
    journal = open_sqlite(path)
    head = journal.head("r1")
    assert head is not None
    [result] = journal.append([Append(Lease("r1", "w1", 1), 3, [step(3)], head)])
    assert isinstance(result, JournalCorrupt)
    journal.close()


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


def test_a_changed_time_wakes_nobody_early(path: Path) -> None:
    """Otherwise a bad bit would fire a timer before its time (P9)."""
    fill(path)
    change(path, "UPDATE runs SET worker_id = NULL, mail_read = mail_posted, due_at = 1")
    change(path, "UPDATE runs SET wake_at = 5")
    journal = open_sqlite(path)
    journal.register(this_worker("w"), 30)
    assert journal.claim("w") == []
    with pytest.raises(JournalCorrupt):
        journal.claim("w", run_ids=["r1"])
    journal.close()


# A disk that fails


class Failing(SqliteJournal):
    """Its commits do what the test plans."""

    plan: list[Callable[[], None]]

    def _commit(self) -> None:
        if not getattr(self, "plan", None):
            return super()._commit()
        self.plan.pop(0)()

    def really(self) -> None:
        super()._commit()


@pytest.fixture
def failing(path: Path) -> Iterator[Store]:
    store = Store(lambda name, *, clock, is_dead: Failing(path, clock=clock, is_dead=is_dead), "store")
    yield store
    store.close()


def fail() -> None:
    raise apsw.FullError("planned by the test")


def test_a_group_of_unknown_outcome_keeps_its_refusals(failing: Store) -> None:
    """Otherwise a worker would learn from a failing disk that it still owns a run that it has lost."""
    journal = failing.journal
    assert isinstance(journal, Failing)
    claims = [failing.hold(f"r{number}") for number in range(3)]
    group = [failing.appending(claim) for claim in claims]
    group[1] = group[1]._replace(lease=group[1].lease._replace(epoch=9))

    def written_but_not_told() -> None:
        journal.really()
        fail()

    for count, plan in enumerate(([written_but_not_told], [fail], [fail, written_but_not_told]), 1):
        journal.plan = list(plan)
        results = journal.append([append._replace(after=count - 1) for append in group])
        assert [type(result) for result in results] == [type(None), LeaseLost, type(None)]
        assert [len(journal.events(f"r{number}")) for number in range(3)] == [count, 0, count]


def test_when_it_cannot_be_read_back_nothing_is_repeated(failing: Store, path: Path) -> None:
    """Otherwise a step could be recorded twice."""
    journal = failing.journal
    assert isinstance(journal, Failing)
    claim = failing.hold()
    append = failing.appending(claim)

    def gone() -> None:
        journal.really()
        path.rename(path.with_name("away.db"))
        fail()

    journal.plan = [gone]
    with pytest.raises(StoreUnreachable, match="could not be read back"):
        journal.append([append])
    path.with_name("away.db").rename(path)
    [result] = journal.append([append])
    assert issubclass(type(result), InternalError) and len(journal.events("r1")) == 1


def test_a_writer_who_does_not_let_go_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a stopped process with an open transaction would look like a bug of ours."""
    monkeypatch.setattr(file, "BUSY_MS", 1)
    journal, other = open_sqlite(path), apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnreachable, match="Another process has been writing"):
        journal.post("r1", "m1", start_of("r1"))
    assert journal.head("r1") is None, "reading goes on"
    other.execute("ROLLBACK")
    assert journal.post("r1", "m1", start_of("r1")).is_stored
    other.close()
    journal.close()


def test_a_sync_that_failed_takes_nothing_with_it_that_came_later(path: Path) -> None:
    """Otherwise what could not be written once would end the log there at the next power cut, and all steps recorded
    since would be gone, although each of them was synced."""
    open_sqlite(path).close()
    with Disk(path.parent) as disk:
        journal = open_sqlite(path)
        journal.post("r1", "m1", start_of("r1"))
        journal.register(this_worker("w"), 30)  # is in the log, and not synced
        disk.fail(1, HowItFails.IO, {"sync"})
        journal.post("r2", "m1", start_of("r2"))
        journal.post("r3", "m1", start_of("r3"))
        assert [hit.name for hit in disk.hits] == [f"{path.name}-wal"]
        ops = list(disk.ops)
        journal.close()
    power = Power()
    for op in ops:
        power.take(op)
    for name, data in power.left(Loss.UNSYNCED, random.Random(1)).items():
        path.with_name(name).write_bytes(data)
    journal = open_sqlite(path)
    assert {head.run_id for head in journal.heads()} == {"r1", "r2", "r3"}
    journal.close()


def test_a_read_that_failed_leaves_no_older_state_behind(path: Path, store: Store) -> None:
    """Otherwise whoever keeps the error keeps the reader in the state in which it failed, for good."""
    claim = store.hold()
    assert store.write(claim, [step(0), step(1, random.Random(1).randbytes(1_000_000)), step(2)]) is None
    store.close()
    errors = []
    with Disk(path.parent) as disk:
        journal = open_sqlite(path)
        for at in range(1, 20):
            disk.fail(at, HowItFails.IO, {"read"})
            with pytest.raises(StoreUnreachable) as failed:
                journal.events("r1")
            errors.append(failed.value)
            journal.post(f"later{at}", "m1", start_of(f"later{at}"))
            assert journal.head(f"later{at}") is not None
        journal.close()
    assert len(errors) == len(disk.hits)


@pytest.mark.parametrize(
    "unfit",
    [
        step(0)._replace(meta="\ud800"),
        step(0)._replace(meta="a\0b"),
        step(0)._replace(charge=Charge(tokens=2**63)),
        step(0)._replace(logical=2**70),
        step(0)._replace(body="text"),  # type: ignore[arg-type]
    ],
)
def test_what_no_column_can_hold_fails_alone(store: Store, unfit: Event) -> None:
    """Otherwise one such value would stop all runs of the worker."""
    group = [store.appending(store.hold(f"r{number}"), [step(0), step(1)]) for number in range(3)]
    group[1] = group[1]._replace(events=[step(0), unfit], posts=[Post("child", "m1", start_of("child"))])
    results = store.journal.append(group)
    assert results[0] is None and results[2] is None
    assert all(isinstance(results[1], kind) for kind in (InternalError, JournalError))
    assert [len(store.journal.events(f"r{number}")) for number in range(3)] == [2, 0, 2]
    assert store.journal.head("child") is None


def test_a_damaged_receiver_fails_only_its_sender(store: Store, path: Path) -> None:
    """Otherwise one bad row would stop all runs of the worker."""
    claims = [store.hold(f"r{number}") for number in range(3)]
    change(path, "UPDATE runs SET head = replace(head, 'ready', 'stopped') WHERE run_id = 'r2'")
    group = [store.appending(claim) for claim in claims[:2]]
    group[0] = group[0]._replace(posts=[Post("r2", "m1", accept.cancel(by="r0"))])
    results = store.journal.append(group)
    assert isinstance(results[0], JournalCorrupt) and results[1] is None
    assert [len(store.journal.events(f"r{number}")) for number in range(2)] == [0, 1]


# The log and the threads


class Watched(apsw.VFS):
    """Writes down who writes and syncs which file."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.at_open: Callable[[str, str], object] = lambda name, thread: None
        self.under = apsw.vfs_names()[0]
        super().__init__("watched", self.under, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "WatchedFile":
        opened = WatchedFile(self, name, flags)
        self.at_open(opened.name, threading.current_thread().name)
        return opened


class WatchedFile(apsw.VFSFile):
    def __init__(self, vfs: Watched, name: Any, flags: list[int]) -> None:
        super().__init__(vfs.under, name, flags)
        self._calls = vfs.calls
        self.name = os.path.basename(name.filename() if isinstance(name, apsw.URIFilename) else name or "")

    def xWrite(self, data: bytes, offset: int) -> None:
        self._calls.append(("write", self.name, threading.current_thread().name))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._calls.append(("sync", self.name, threading.current_thread().name))
        super().xSync(flags)


@pytest.fixture
def watched() -> Iterator[Watched]:
    vfs = Watched()
    yield vfs
    vfs.unregister()
    assert apsw.vfs_names()[0] == vfs.under


def test_what_returns_has_been_synced(watched: Watched, store: Store) -> None:
    """Otherwise a power cut could take back an accepted run, a step or a claim (P1)."""
    me = threading.current_thread().name

    def syncs(action: Callable[[], object]) -> int:
        watched.calls.clear()
        action()
        return watched.calls.count(("sync", "store.db-wal", me))

    assert syncs(lambda: store.start("r1")) >= 1
    store.register("w1")
    claims: list[Claim] = []
    assert syncs(lambda: claims.extend(store.journal.claim("w1"))) >= 1
    append = store.appending(claims[0])
    assert syncs(lambda: store.journal.append([append])) >= 1
    assert syncs(lambda: store.register("w1")) == 0, "may be lost, and comes each ten seconds"
    assert syncs(lambda: store.journal.release(claims[0].lease, None)) == 0, "lost, it comes back as a takeover"


def test_the_log_stays_short_and_no_caller_copies_it(watched: Watched, path: Path) -> None:
    """Otherwise the log would fill the disk, or a step would now and then take a hundred times as long."""
    journal = open_sqlite(path)
    journal.register(this_worker("w"), 30)
    journal.post("r1", "m1", start_of("r1"))
    [claim] = journal.claim("w")
    watched.calls.clear()
    head = claim.head._replace(status=Status.RUNNING)
    for group in range(60):
        events = [step(number, b"x" * 10_000) for number in range(50)]
        assert journal.append([Append(claim.lease, 50 * group, events, head, 1)]) == [None]
    size = journal.facts()["wal_bytes"]
    copied_by = {thread for call, name, thread in watched.calls if (call, name) == ("write", "store.db")}
    journal.close()
    assert copied_by == {"holdfast-checkpoint"}
    assert size < 15_000_000, "30 MB were written"


def test_the_log_that_is_moved_was_opened_while_nobody_wrote(watched: Watched, path: Path, store: Store) -> None:
    """Otherwise a sync of the log that fails just then is told to its writer alone: the log, of which a part is lost,
    would be moved into the file, and a power cut in between leave what is neither the old state nor the new."""
    claim, told = store.hold(), list[str]()
    is_opened = threading.Event()

    def opened(name: str, thread: str) -> None:
        if (name, thread) != (f"{path.name}-wal", "holdfast-checkpoint"):
            return
        try:
            with hasty():
                store.journal.post("r2", "m1", start_of("r2"))
            told.append("somebody could write")
        except OthersWriting:
            told.append("nobody could write")
        is_opened.set()

    watched.at_open = opened
    assert store.write(claim, [step(number, b"x" * 200_000) for number in range(30)]) is None
    assert is_opened.wait(20) and told == ["nobody could write"]


def test_threads_may_share_a_journal(store: Store) -> None:
    """Otherwise a tool in a thread could not report its outcome."""
    with ThreadPoolExecutor(8) as pool:
        posted = list(pool.map(lambda number: store.start(f"r{number % 40}"), range(80)))
    assert sum(one.is_stored for one in posted) == 40
    claims = {f"r{number}": store.hold(f"r{number}") for number in range(8)}

    def work(run_id: str) -> list[JournalError | None]:
        return [store.write(claims[run_id]) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, claims)) == [[None] * 20] * 8
    assert [len(store.journal.events(run_id)) for run_id in claims] == [20] * 8


def test_a_closed_journal_says_so(path: Path) -> None:
    """Otherwise a use after the end would be a riddle of the database module."""
    journal = open_sqlite(path)
    journal.close()
    for call in (lambda: journal.head("r1"), lambda: journal.post("r1", "m1", start_of("r1"))):
        with pytest.raises(UsageError, match="has been closed"):
            call()


# Other processes


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line)
    child.stdin.flush()


def hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


WORKER = """
import sys, time
from dataclasses import replace
from holdfast.core.heads import Status
from holdfast.journal.process import this_worker
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append
from holdfast.testing.conformance import step
journal = SqliteJournal(sys.argv[1], clock=time.time)
journal.register(this_worker("child"), 30)
[claim] = journal.claim("child")
print("held", flush=True)
number = 0
while sys.stdin.readline() or len(sys.argv) > 2:
    append = Append(claim.lease, number, [step(number)], claim.head._replace(status=Status.RUNNING), 1)
    [refused] = journal.append([append])
    number += refused is None
    print(type(refused).__name__ if refused else number, flush=True)
"""


@pytest.fixture
def shifted(path: Path) -> Iterator[tuple[SqliteJournal, list[float]]]:
    """A journal with run r1, whose clock can be ahead of the child's."""
    ahead = [0.0]
    journal = SqliteJournal(path, clock=lambda: time.time() + ahead[0])
    journal.post("r1", "m1", start_of("r1"))
    yield journal, ahead
    journal.close()


def test_a_killed_worker_is_replaced_at_once(path: Path, shifted: tuple[SqliteJournal, list[float]]) -> None:
    """Otherwise each crash would cost the length of a lease."""
    journal, _ = shifted
    with python(WORKER, path) as child:
        assert hear(child) == "held"
        journal.register(this_worker("parent"), TTL_S)
        assert journal.claim("parent") == []
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        [claim] = journal.claim("parent")
    assert claim.is_takeover and claim.lease.epoch == 2


def test_a_stopped_worker_keeps_its_run_until_the_lease_expires(
    path: Path, shifted: tuple[SqliteJournal, list[float]]
) -> None:
    """Otherwise a paused machine would lose its runs to a guess; and, when it wakes, mix its steps with the new
    owner's."""
    journal, ahead = shifted
    with python(WORKER, path) as child:
        assert hear(child) == "held"
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        journal.register(this_worker("parent"), 10 * TTL_S)
        assert journal.claim("parent") == []
        ahead[0] = TTL_S + 1
        [claim] = journal.claim("parent")
        assert claim.is_takeover
        child.send_signal(signal.SIGCONT)
        tell(child, "\n")
        assert hear(child) == "LeaseLost"
        child.kill()
    assert journal.events("r1") == []


def test_what_append_returned_survives_kill_9(tmp_path: Path) -> None:
    """Otherwise a step that an agent has built upon would be gone (P1)."""
    for trial in range(0, 20, 4):
        path = tmp_path / f"{trial}.db"
        journal = open_sqlite(path)
        journal.post("r1", "m1", start_of("r1"))
        with python(WORKER, path, "for ever") as child:
            assert child.stdin is not None
            child.stdin.close()
            assert hear(child) == "held"
            heard = [hear(child) for _ in range(trial + 1)]
            child.kill()
            assert child.stdout is not None
            heard += child.stdout.read().splitlines()
        events = journal.events("r1")
        assert len(heard) <= len(events) <= len(heard) + 1
        assert events == [step(number) for number in range(len(events))]
        journal.close()


def test_a_journal_does_not_cross_a_fork(path: Path) -> None:
    """Otherwise parent and child would share SQLite's locks, and could write over each other."""
    code = """
import os, sys, time
from holdfast.errors import UsageError
from holdfast.journal.sqlite import SqliteJournal
journal = SqliteJournal(sys.argv[1], clock=time.time)
if os.fork() == 0:
    for call in (lambda: journal.head("r1"), lambda: journal.retire("w")):
        try:
            call()
        except UsageError as error:
            print(error, flush=True)
    journal.close()
    os._exit(0)
os.wait()
journal.retire("w")
print("the parent goes on", flush=True)
journal.close()
"""
    with python(code, path) as child:
        out, err = child.communicate()
    assert out.count("after the fork") == 2 and "the parent goes on" in out, err


# Names of stores


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///rel.db", "rel.db"),
        ("sqlite:///sub/rel.sqlite", "sub/rel.sqlite"),
        ("plain.db", "plain.db"),
        ("./plain.db", "plain.db"),
    ],
)
def test_names_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    """Otherwise the store would be somewhere else than the user said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    journal = open_journal(url, clock=time.time)
    assert journal.facts()["path"] == str(tmp_path / expected) and (tmp_path / expected).exists()
    journal.close()
    absolute = open_journal(f"sqlite:///{tmp_path}/abs.db", clock=time.time, tenant="t")
    assert (tmp_path / "abs.db").exists() and absolute.facts()["tenant"] == "t"
    absolute.close()


def test_a_store_in_memory() -> None:
    """Otherwise a trial would need a file."""
    assert isinstance(open_journal("memory:", clock=time.time), MemoryJournal)


@pytest.mark.parametrize(
    "url", ["", "store", "sqlite:", "sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///x.db?mode=ro",
            "redis://localhost/x", "file:x.db", "mysql:///x.db"],
)  # fmt: skip
def test_other_names_are_refused(url: str) -> None:
    """Otherwise a typing error would make a store that nobody looks into."""
    with pytest.raises(UsageError, match=r"sqlite:///relative\.db"):
        open_journal(url, clock=time.time)


def test_a_reader_makes_no_store(path: Path) -> None:
    """Otherwise `holdfast ls` in the wrong directory would leave an empty store."""
    with pytest.raises(NotFound, match="no store at"):
        open_journal(str(path), clock=time.time, must_exist=True)
    assert not path.exists()
    open_sqlite(path).close()
    open_journal(str(path), clock=time.time, must_exist=True).close()


# Rows


QUESTIONS = st.builds(
    OpenQuestion, st.text(), st.text(), st.text(), st.lists(st.text()).map(tuple), st.text(), st.floats(0, 1e10)
)
HEADS = st.builds(
    Head,
    *[st.text(), st.text(), st.text(), st.text(), st.sampled_from(Status), st.floats(0, 1e10), st.floats(0, 1e10)],
    why=st.text(),
    wake_at=st.none() | st.floats(0, 1e10),
    spent=st.builds(Charge, st.integers(0), st.integers(0), st.integers(0), st.integers(0)),
    questions=st.lists(QUESTIONS, max_size=2).map(tuple),
    is_unwound=st.booleans(),
    children=st.integers(0, 1_000),
    is_forgotten=st.booleans(),
)


@given(HEADS)
def test_a_head_is_stored_as_its_facts(head: Head) -> None:
    """The text is written by hand, for speed: a field that is forgotten there would be lost."""
    facts = json.loads(rows.head_text(head))
    assert facts == json.loads(json.dumps(head.facts()))
    assert Head.from_facts(facts) == head


def test_minus_zero_is_zero_in_a_head() -> None:
    """Lost: equal heads with equal seals, where what a process wrote before decides how a time is spelled."""
    for first, second in ((0.0, -0.0), (-0.0, 0.0)):
        texts = [rows.head_text(Head("r", "k", "a", "d", Status.READY, at, at, wake_at=at)) for at in (first, second)]
        assert texts[0] == texts[1]
        assert "-0.0" not in texts[0]


# Speed that is a promise


def test_a_search_for_work_reads_no_sleeping_run(path: Path) -> None:
    """Otherwise ten thousand suspended runs would cost each worker a scan a second."""
    scanned: list[tuple[str, int]] = []

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)

    def note(event: dict[str, Any]) -> None:
        scanned.append((event["sql"], event["stmt_status"]["SQLITE_STMTSTATUS_FULLSCAN_STEP"]))

    apsw.connection_hooks.append(watch)
    try:
        store = Store(lambda name, *, clock, is_dead: SqliteJournal(path, clock=clock, is_dead=is_dead), "store")
    finally:
        apsw.connection_hooks.remove(watch)
    for number in range(80):
        claim = store.hold(f"r{number}")
        assert store.write(claim, status=Status.SUSPENDED, wake_at=None) is None
        store.journal.release(claim.lease, None if number % 2 else store.time + 900 + number)
    store.journal.post("r7", "m1", accept.cancel(by="ada"))
    store.hold("held", "w2")
    store.dead.add("w2")
    store.register("w1")
    scanned.clear()
    assert store.claim("w1") == ["r7", "held"]
    assert store.journal.claim("w1", agents=["agent"]) == []
    assert [head.run_id for head in store.journal.heads(limit=1)] == ["held"]
    store.close()
    assert scanned and max(steps for _, steps in scanned) < 10, scanned


def test_what_another_process_wrote_is_seen_at_once(path: Path) -> None:
    """The writer remembers rows between appends: otherwise it could write on after a takeover."""
    store = Store(lambda name, *, clock, is_dead: SqliteJournal(path, clock=clock, is_dead=is_dead), "store")
    other = store.open()
    old = store.hold(worker_id="w1")
    for number in range(3):
        assert store.write(old, [step(number)]) is None
    assert other.post("r1", "m1", accept.cancel(by="ada")).is_stored
    end = store.appending(old, mail_read=1, status=Status.SUCCEEDED, wake_at=None)
    assert isinstance(store.journal.append([end])[0], MailWaiting)
    store.dead.add("w1")
    other.register(Worker("w2"), 30)
    [new] = other.claim("w2")
    [refused] = store.journal.append([end._replace(head=old.head)])
    assert isinstance(refused, LeaseLost)
    assert other.append([Append(new.lease, 3, [step(3)], new.head, 2)]) == [None]
    assert len(store.journal.events("r1")) == 4
    store.close()


def test_what_a_tenant_shares_is_its_own(path: Path) -> None:
    """Otherwise one customer would pay for another, or turn another's switches."""
    mine, theirs = (SqliteJournal(path, clock=lambda: 1.0, tenant=tenant) for tenant in ("mine", "theirs"))
    assert mine.swap("a", 0, "x") and theirs.cell("a") is None and theirs.swap("a", 0, "y")
    mine.cap("a", Limits(tokens=1))
    assert theirs.account("a") is None
    theirs.cap("a", Limits(tokens=2))
    assert mine.cell("a") == Cell(1, "x") and mine.account("a") == Account(limits=Limits(tokens=1))
    theirs.close()
    mine.close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE cells SET tenant = 'other' WHERE tenant = 'mine'")
    connection.close()
    other = SqliteJournal(path, clock=lambda: 1.0, tenant="other")
    with pytest.raises(JournalCorrupt, match="cell a"):
        other.cell("a")
    other.close()


def test_who_has_come_upon_damage_sees_what_is_written_later(path: Path) -> None:
    """Lost: while anybody kept the error of one damaged record, everything was as it had been then."""
    journal = SqliteJournal(path, clock=time.time)
    journal.post("r1", "start", start_of("r1"))
    journal.register(Worker("w"), TTL_S)
    (claim,) = journal.claim("w")
    assert journal.append([Append(claim.lease, 0, [step(1), step(2)], claim.head)]) == [None]
    damage = apsw.Connection(str(path))
    damage.execute("UPDATE events SET meta = 'x' WHERE number = 1")
    damage.close()
    with pytest.raises(JournalCorrupt) as kept:
        journal.events("r1")
    journal.post("r2", "start", start_of("r2"))
    assert journal.head("r2") is not None, kept
    journal.close()
