"""The board of a project as a store has it: read from where it was last written down, and written down again in time.

A cell holds little, and a board may be large: so the board itself is in an event (`board`), and the cell names which.
Whoever reads takes that event and those after it. A cell that is missing, damaged, or names something else is no loss:
then the log is read from its first event.

Never: writes to the store. What `written` says is part of the append that the events are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from holdfast.core import board as b
from holdfast.core.board import Board, fold
from holdfast.core.events import Event, Kind, meta
from holdfast.errors import JournalCorrupt
from holdfast.protocols import Journal

_GROWN_MIN: Final = 32 * 1024
"""Characters of events after a written board, before it is written again: so many, or as many as it has itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """A board as it was read."""

    board: Board
    written: int = 0
    """Characters of the last written board; 0: there is none."""
    grown: int = 0
    """Characters of the events after it."""
    is_sound: bool = True
    """The cell can be set."""


def read(journal: Journal, run_id: str, name: str) -> Found:
    """The board of that project; an empty one when there is no such project."""
    is_sound = True
    try:
        cell = journal.cell(b.cell_of(name))
        at = int(cell.value) if cell is not None and cell.value.isdecimal() else 0
    except JournalCorrupt:
        at, is_sound = 0, False
    events = journal.events(run_id, after=at - 1) if at else []
    board = board_of(events[0]) if events else None
    if board is not None and board.count == at:
        return Found(fold(events[1:], board), len(events[0].body or b""), _size(events[1:]), is_sound)
    events = journal.events(run_id)
    return Found(fold(events), 0, _size(events), is_sound)


def board_of(event: Event) -> Board | None:
    """The board that this event wrote down; None when it did not, or in another form than this version's."""
    if event.kind is not Kind.DECIDED or event.body is None or event.facts.get("what") != b.BOARD:
        return None
    try:
        return Board.of(event.body.decode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def written(found: Found, board: Board, events: Sequence[Event], now: float) -> Event | None:
    """The event that writes the board down, when it is time to: after `events`, which lead from `found` to `board`."""
    if found.grown + _size(events) < max(_GROWN_MIN, found.written):
        return None
    body = replace(board, count=board.count + 1).text().encode()
    because = "the whole board, so that nobody need read from the beginning"
    return Event(Kind.DECIDED, now, meta=meta(what=b.BOARD, choice=f"{board.count} events", because=because), body=body)


def _size(events: Sequence[Event]) -> int:
    return sum(len(event.meta) for event in events)
