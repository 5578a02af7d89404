"""What a process takes over of what operators have switched."""

from __future__ import annotations

import pytest

from holdfast.core.desk import CELL, Off, Switches
from holdfast.core.failure import FailureKind
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import SystemClock
from holdfast.runtime.policies import Policies
from holdfast.runtime.switches import Switchboard


def test_the_cell_is_taken_over_with_its_policies() -> None:
    """Lost: an order that every process has seen and none obeys."""
    journal, policies = MemoryJournal(clock=SystemClock().now), Policies()
    board = Switchboard(policies)
    board.look(journal)
    assert board.refused("pay") is None
    switched = Switches(off={"pay": Off("ann", "it pays twice", 0.0)}, policies={"look": {"timeout": "5s"}})
    assert journal.swap(CELL, 0, switched.text())
    board.look(journal)
    refused = board.refused("pay")
    assert refused is not None and refused.is_definite and refused.kind is FailureKind.REFUSED
    assert "since 1970-01-01 00:00:00Z by ann: it pays twice" in refused.text and not refused.kind.is_retryable
    assert policies.desk == {"look": {"timeout": "5s"}} and board.refused("look") is None
    assert journal.swap(CELL, 1, Switches().text())
    board.look(journal)
    assert board.refused("pay") is None and policies.desk == {}


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"off": {"pay": 1}}', '{"off": {"pay": [1]}}', '{"off": 3}'])
def test_a_cell_that_cannot_be_read_changes_nothing(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Lost: one bad text in the store would stop every worker, or switch every tool on again."""
    journal, board = MemoryJournal(clock=SystemClock().now), Switchboard(Policies())
    assert journal.swap(CELL, 0, Switches(off={"pay": Off("ann", "w", 0.0)}).text())
    board.look(journal)
    assert journal.swap(CELL, 1, text)
    for _ in range(2):
        board.look(journal)
    assert board.refused("pay") is not None
    assert caplog.text.count("cannot be read") == 1
