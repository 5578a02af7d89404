"""Large values in an SQLite store: other writers between the pieces, kills, bad bits, tenants, an older file."""

import gzip
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from tests import warm

from holdfast.core import accept
from holdfast.errors import JournalCorrupt, JournalError, SchemaNewer
from holdfast.journal import blobs, file
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Claim, Worker
from holdfast.testing.conformance import LARGE, start_of, step

REF = hashlib.sha256(LARGE).hexdigest()
SCHEMA_1 = Path(__file__).parent.parent / "journals" / "schema-1.db.gz"
"""A real file, with a run that waits for a person."""


class Watched(SqliteJournal):
    """Tells who commits, before each commit."""

    def __init__(self, path: Path) -> None:
        self.commits: list[str] = []
        self.on_commit: Callable[[], None] = lambda: None
        super().__init__(path, clock=time.time)

    def _commit(self) -> None:
        self.commits.append(threading.current_thread().name)
        self.on_commit()
        super()._commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def opened(path: Path, tenant: str = "default") -> SqliteJournal:
    return SqliteJournal(path, clock=time.time, tenant=tenant)


def held(journal: SqliteJournal, run_id: str = "r1") -> Claim:
    journal.post(run_id, "start", start_of(run_id))
    journal.register(Worker("w1", pid=1), 30)
    [claim] = journal.claim("w1", run_ids=[run_id])
    return claim


def change(path: Path, sql: str, *values: object) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, values)  # type: ignore[arg-type]
    connection.close()


def test_an_append_goes_between_the_pieces_of_a_large_value(path: Path) -> None:
    """Otherwise every run of the process would stand still, and lose its lease, while 100 MB are written."""
    journal = Watched(path)
    claim = held(journal)
    begun, asked = threading.Event(), threading.Event()

    def wait_for_the_other() -> None:
        if threading.current_thread().name == "putter" and not begun.is_set():
            begun.set()
            asked.wait()

    journal.commits.clear()
    journal.on_commit = wait_for_the_other
    data = os.urandom(30 * blobs.PIECE)
    putter = threading.Thread(target=journal.put_blob, args=(data,), name="putter")
    putter.start()
    begun.wait()
    asked.set()
    assert journal.append([Append(claim.lease, 0, [step(0)], claim.head, 1)]) == [None]
    putter.join()
    me = journal.commits.index(threading.current_thread().name)
    assert journal.commits.count("putter") == 32 and me < 20, journal.commits
    assert journal.get_blob(hashlib.sha256(data).hexdigest()) == data
    journal.close()


def test_one_large_commit_is_never_held_in_memory_twice(path: Path) -> None:
    """Otherwise ten large results at once would take a machine's memory."""
    journal = opened(path)
    data = bytes(40 * blobs.PIECE)
    before = apsw.memory_used()
    apsw.memory_high_water(True)
    ref = journal.put_blob(data)
    assert journal.get_blob(ref) == data
    grown = apsw.memory_high_water() - before
    assert grown < 39 * blobs.PIECE, "two connections have a page cache of 16 MB each; the value alone is more"
    journal.close()


KILLED = """
import os, signal, sys, time
from holdfast.journal.sqlite import SqliteJournal
from holdfast.testing.conformance import LARGE

class Dying(SqliteJournal):
    left = int(sys.argv[2])
    def _commit(self):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        super()._commit()

journal = Dying(sys.argv[1], clock=time.time)
journal.put_blob(LARGE)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("commits", range(6))
def test_killed_at_every_commit_of_a_put(path: Path, commits: int) -> None:
    """Otherwise half a value could be read as a whole one, or a store could not be opened after a crash."""
    opened(path).close()
    assert warm.run([sys.executable, "-c", KILLED, str(path), str(commits)], timeout=50).returncode == -9
    journal = opened(path)
    facts = journal.facts()
    assert facts["integrity"] == "ok" and facts["problems"] == [] and facts["blobs"] == (commits >= 5)
    if commits < 5:
        with pytest.raises(JournalCorrupt):
            journal.get_blob(REF)
    assert journal.put_blob(LARGE) == REF and journal.get_blob(REF) == LARGE
    claim = held(journal)
    assert journal.append([Append(claim.lease, 0, [step(0, LARGE)], claim.head, 1, blobs={0: REF})]) == [None]
    assert journal.events("r1") == [step(0, LARGE)] and journal.facts()["blob_bytes"] == len(LARGE)
    journal.close()


def test_a_piece_that_went_bad_before_the_blob_was_whole_is_written_again(path: Path) -> None:
    """Otherwise what a dead writer left could spoil the value for everybody after it."""
    journal = opened(path)
    journal.put_blob(LARGE)
    journal.close()
    change(path, "UPDATE blobs SET is_whole = 0")
    change(path, "UPDATE pieces SET bytes = x'00' WHERE number = 1")
    journal = opened(path)
    assert journal.get_blob(journal.put_blob(LARGE)) == LARGE
    journal.close()


def test_no_flipped_bit_of_a_blob_is_ever_handed_out(path: Path, tmp_path: Path) -> None:
    """Otherwise a run would go on from a value that never was (R12)."""
    journal = opened(path)
    claim = held(journal)
    assert journal.append([Append(claim.lease, 0, [step(0, LARGE)], claim.head, 1)]) == [None]
    journal.close()
    content = path.read_bytes()
    refused = 0
    for place in range(len(content) // 40, len(content), len(content) // 40):
        broken = tmp_path / "broken.db"
        broken.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            journal = opened(broken)
            try:
                assert journal.events("r1") == [step(0, LARGE)]
            finally:
                journal.close()
        except JournalError:
            refused += 1
        for leftover in tmp_path.glob("broken.db*"):
            leftover.unlink()
    assert refused >= 30


def test_a_tenant_gets_no_byte_of_another(path: Path) -> None:
    """Otherwise whoever knows or guesses a hash could read, or probe for, what another customer has (S22)."""
    one, two = opened(path, "one"), opened(path, "two")
    assert one.put_blob(LARGE) == REF
    with pytest.raises(JournalCorrupt):
        two.get_blob(REF)
    claim = held(two)
    [refused] = two.append([Append(claim.lease, 0, [step(0, LARGE)], claim.head, 1, blobs={0: REF})])
    assert refused is not None and two.facts()["blobs"] == 0
    assert two.put_blob(LARGE) == REF
    change(path, "DELETE FROM pieces WHERE blob_no = (SELECT blob_no FROM blobs WHERE tenant = 'one')")
    assert two.get_blob(REF) == LARGE and two.facts()["problems"] == []
    assert one.facts()["problems"] == [f"blob {REF} has lost a piece"]
    one.close()
    two.close()


def test_doctor_names_the_rows_whose_blob_is_missing(path: Path) -> None:
    """Otherwise a lost value would be found on the day on which it is needed."""
    journal = opened(path)
    claim = held(journal)
    assert journal.append([Append(claim.lease, 0, [step(0), step(1, LARGE)], claim.head, 1)]) == [None]
    message = accept.cancel(by="ada")._replace(body=LARGE + b"2")
    assert journal.post("r1", "m1", message).is_stored
    journal.close()
    change(path, "DELETE FROM blobs")
    journal = opened(path)
    assert journal.facts()["problems"] == [
        "the blob of event 2 of run r1 is missing",
        "the blob of message 2 of run r1 is missing",
    ]
    with pytest.raises(JournalCorrupt, match="Message 2 to run r1"):
        journal.mail("r1")
    journal.close()


def test_people_see_the_name_of_a_large_body(path: Path) -> None:
    """Otherwise a look at the record would print a hundred megabytes, or nonsense."""
    journal = opened(path)
    claim = held(journal)
    assert journal.append([Append(claim.lease, 0, [step(0), step(1, LARGE)], claim.head, 1)]) == [None]
    journal.close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA trusted_schema = OFF")
    assert connection.execute("SELECT body FROM journal").fetchall() == [('{"ok":true}',), (f"blob {REF}",)]
    connection.close()


# A file of schema 1


@pytest.fixture
def old(path: Path) -> Path:
    path.write_bytes(gzip.decompress(SCHEMA_1.read_bytes()))
    path.chmod(0o600)
    return path


def test_a_store_of_schema_1_is_brought_up_to_date_and_keeps_all(old: Path) -> None:
    """Otherwise whoever upgrades would lose their runs."""
    connection = apsw.Connection(str(old), flags=apsw.SQLITE_OPEN_READWRITE)
    before = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("runs", "events", "mail")]
    [(run_id, identity)] = connection.execute("SELECT run_id, id FROM runs, store").fetchall()
    assert connection.pragma("user_version") == 1
    connection.close()
    journal = opened(old)
    assert [event.kind for event in journal.events(str(run_id))] == [
        "RunStarted", "StepSucceeded", "QuestionAsked", "RunSuspended"
    ]  # fmt: skip
    facts = journal.facts()
    assert (facts["schema"], facts["store"], facts["blobs"]) == (file.SCHEMA, identity, 0)
    assert facts["integrity"] == "ok" and facts["problems"] == []
    assert journal.get_blob(journal.put_blob(LARGE)) == LARGE
    journal.close()
    connection = apsw.Connection(str(old), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("user_version") == file.SCHEMA
    assert [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("runs", "events", "mail")] == before
    connection.close()


def test_an_upgrade_that_is_cut_short_leaves_the_old_store(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a crash during an upgrade would leave a store of no schema."""
    before = old.read_bytes()
    change(old, "CREATE TABLE pieces (in_the_way)")
    with pytest.raises(JournalError):
        opened(old)
    change(old, "DROP TABLE pieces")
    connection = apsw.Connection(str(old), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("user_version") == 1
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'blobs'").get == 0
    connection.close()
    opened(old).close()
    old.write_bytes(before)
    opened(old).close()


def test_what_is_newer_than_an_upgrade_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the program of yesterday would write into the store of today."""
    opened(old).close()
    before = old.read_bytes()
    monkeypatch.setattr(file, "SCHEMA", file.SCHEMA - 1)
    with pytest.raises(SchemaNewer):
        opened(old)
    assert old.read_bytes() == before
