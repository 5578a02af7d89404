"""Who is hasty does not wait for other writers. Each test says what would be lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from holdfast.errors import OthersWriting
from holdfast.journal.haste import hasty, is_hasty
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal
from holdfast.testing.conformance_store import Store, start_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a file."""

    def open_engine(name: str, **how: object) -> Journal:
        return SqliteJournal(tmp_path / name, **how)  # type: ignore[arg-type]

    store = Store(open_engine, "store.db")
    yield store
    store.close()


@pytest.fixture
def other(store: Store, tmp_path: Path) -> Iterator[apsw.Connection]:
    """Another process that is writing."""
    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_nothing_is_written_while_another_process_writes_and_all_of_it_after(
    store: Store, other: apsw.Connection
) -> None:
    """Lost: the loop, for the five seconds that SQLite waits; or the append that could not be written."""
    with hasty(), pytest.raises(OthersWriting):
        store.start()
    assert store.journal.head("r1") is None
    other.execute("ROLLBACK")
    with hasty():
        claim = store.hold()
        assert store.write(claim) is None
    other.execute("BEGIN IMMEDIATE")
    append = store.appending(claim)
    for _ in range(3):
        with hasty(), pytest.raises(OthersWriting):
            store.journal.append([append])
        with hasty(), pytest.raises(OthersWriting):
            store.journal.release(claim.lease, None)
    other.execute("ROLLBACK")
    with hasty():
        assert store.journal.append([append]) == [None]
    assert len(store.journal.events("r1")) == 2


def test_one_that_will_soon_be_over_is_not_waited_for(store: Store, other: apsw.Connection) -> None:
    """Lost: the loop, for as long as the other takes."""
    over = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    over.start()
    try:
        with hasty(), pytest.raises(OthersWriting):
            store.start()
    finally:
        over.join()


def test_nor_while_another_thread_of_this_process_writes(store: Store) -> None:
    """Lost: the loop waits for a commit that was handed to a thread so that it need not."""
    is_in, may_go = threading.Event(), threading.Event()
    store.start()

    class Slow(SqliteJournal):
        def _commit(self) -> None:
            is_in.set()
            assert may_go.wait(20)
            super()._commit()

    journal = store.journal
    assert isinstance(journal, SqliteJournal)
    slow = Slow(journal.path, clock=lambda: store.time)
    thread = threading.Thread(target=slow.post, args=("r2", "start", start_of("r2")))
    thread.start()
    assert is_in.wait(20)
    for waiting in (journal, slow):
        with hasty(), pytest.raises(OthersWriting):
            waiting.post("r3", "start", start_of("r3"))
    may_go.set()
    thread.join()
    with hasty():
        assert journal.post("r3", "start", start_of("r3")).is_stored
    slow.close()
    assert {head.run_id for head in journal.heads()} == {"r1", "r2", "r3"}


def test_who_is_not_hasty_waits(store: Store, other: apsw.Connection) -> None:
    """Lost: patience, after one call in haste: what a thread writes would fail at the first other writer."""
    with hasty(), pytest.raises(OthersWriting):
        store.start()
    timer = threading.Timer(0.2, lambda: None)
    thread = threading.Thread(target=store.start)
    thread.start()
    timer.start()
    timer.join()
    assert thread.is_alive()
    other.execute("ROLLBACK")
    thread.join()
    assert store.journal.head("r1") is not None


def test_haste_is_of_one_thread_and_ends(store: Store) -> None:
    """Lost: one hasty loop makes the threads of all others give up."""
    seen: list[bool] = []
    with hasty():
        thread = threading.Thread(target=lambda: seen.append(is_hasty()))
        thread.start()
        thread.join()
        assert is_hasty()
    assert seen == [False] and not is_hasty()
    with pytest.raises(KeyError), hasty():
        raise KeyError
    assert not is_hasty()
