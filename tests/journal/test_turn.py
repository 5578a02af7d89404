"""Whose turn it is. Each test says what would be lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.turn import Turn
from holdfast.runtime.clock import SystemClock
from holdfast.testing.conformance_store import start_of

PATIENCE_S = 5.0


def waited_for(turn: Turn) -> bool:
    """Whether somebody waits for it: one who does not wait is refused although nobody may have it yet."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if turn._next.locked():
            return True
        time.sleep(0.001)
    return False


def test_who_waits_comes_before_who_comes_again() -> None:
    """Lost: a checkpoint, or a lease, as long as one thread writes again and again."""
    turn, order = Turn(), list[str]()

    def wait() -> None:
        with turn:
            order.append("who waited")

    with turn:
        other = threading.Thread(target=wait)
        other.start()
        assert waited_for(turn)
        assert not turn.take(waits=False)
    with turn:
        order.append("who came again")
    other.join(PATIENCE_S)
    assert order == ["who waited", "who came again"]


def test_who_does_not_wait_is_refused_and_keeps_nobody_else() -> None:
    """Lost: the loop of a process, for as long as somebody else writes; or all who come after it."""
    turn = Turn()
    with turn:
        assert not turn.take(waits=False)
    assert turn.take(waits=False)
    turn.leave()
    with turn:
        pass


def test_a_checkpoint_waits_in_line(tmp_path: Path) -> None:
    """Lost: the disk, to a log that grows for as long as the load goes on."""
    journal = SqliteJournal(tmp_path / "store.db", clock=SystemClock().now)
    database = journal._database
    with database._writing:
        checkpoint = threading.Thread(target=database._checkpointer._checkpoint)
        checkpoint.start()
        assert waited_for(database._writing)
    checkpoint.join(PATIENCE_S)
    assert not checkpoint.is_alive()
    journal.close()


@pytest.mark.parametrize("use", ["write", "alone", "read"])
def test_who_waited_while_a_journal_was_closed_opens_nothing(tmp_path: Path, use: str) -> None:
    """Lost: the file of a store that was closed, to a connection that a late thread opened and nobody closes."""
    journal = SqliteJournal(tmp_path / "store.db", clock=SystemClock().now)
    database = journal._database
    check, is_first = database._check_usable, [True]

    def close_meanwhile() -> None:
        check()
        if is_first.pop():
            is_first.append(False)
            journal.close()

    database._check_usable = close_meanwhile  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="closed"):
        if use == "write":
            journal.post("r1", "m1", start_of("r1"))
        elif use == "alone":
            database.alone(lambda writer: None)
        else:
            journal.head("r1")
