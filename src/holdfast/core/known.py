"""What a brief is made of: the board, what is known of open sessions, and what git says of the tree. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from holdfast.core.assignment import Work
from holdfast.core.board import Board, Item
from holdfast.core.events import Charge


class Rank(IntEnum):
    """What is left out first: the highest."""

    NEVER = 0
    DOUBT = 1
    SESSION = 2
    TREE = 3
    NEXT = 4
    TRIED_NEXT = 5
    COMMAND = 6
    REGRESSED = 7
    DECIDED = 8
    TRIED = 9
    OPEN = 10
    RULED = 11
    NOTE = 12
    EDITED = 13
    PASSING = 14


class Hold(StrEnum):
    """Where the run of an open session is."""

    ALIVE = "alive"
    """A process holds it."""
    GONE = "gone"
    """None does, and its record has no end."""
    NOWHERE = "nowhere"
    """The same, and its working tree is not there any more: nothing goes on with it by itself."""
    WAITING = "waiting"
    """For a person, a time or a message."""
    OVER = "over"
    """Its record has an end that the board has not heard of yet."""
    UNKNOWN = "unknown"
    """The store has no such run."""


class Live(NamedTuple):
    """What is known of an open session's run."""

    hold: Hold
    why: str = ""
    """What it waits for, or how it ended."""
    digest: Mapping[str, Any] = {}
    """What its record says so far (`core.digest`)."""
    key: str = ""
    """Of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a brief is made of."""

    board: Board
    work: Work
    """What is next."""
    now: float
    me: str = ""
    """The run of the session that is to read it; empty: none is under way."""
    place: str = ""
    """The working tree whose next session is to read it, as a session names it."""
    live: Mapping[str, Live] = field(default_factory=dict)
    """Of open sessions, by run."""
    commit: str = ""
    branch: str = ""
    """Empty: the head is detached, or there is no commit."""
    dirty: Sequence[str] = ()
    """Paths that are not as the last commit has them."""
    unknown_tree: str = ""
    """Why git said nothing of that; empty: it has."""
    put_aside: Mapping[str, float] = field(default_factory=dict)
    """Branches of unfinished work that are there, and when it was put on them."""
    has_init: bool = False
    """There is an init.sh."""
    spent: Charge | None = None
    """By all sessions; None: it is not known."""


def following(facts: Facts) -> Item | None:
    """The feature that is next; None: there is none."""
    feature = facts.work.feature
    return None if feature is None else facts.board.items.get(feature.id)
