"""The board of a project: its features, who works on which, and what was tried, as its log says.

A project is a run without code, under the key `@project/NAME`, as the operator's desk is one. A command to it is mail;
whoever holds it turns mail into events, and what they amount to is written into one cell. Pure.

Invariants
1. The board is a fold over the project's events, and over nothing else: the cell can be computed anew at any time.
2. A feature passes only by evidence, which is what a check gave that holdfast performed; evidence against it always
   counts.
3. At most one session holds a feature, a session holds at most one, and at most one session is open at a place.
4. The list of features changes by a freeze alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from holdfast.core.feature import Feature

PROJECT: Final = "@project"
"""The agent of all projects."""


class State(StrEnum):
    """Where a feature is."""

    OPEN = "open"
    PASSING = "passing"
    REGRESSED = "regressed"
    """It passed once, and does not any more."""


class Try(NamedTuple):
    """A session that ended with a feature of its own not passing."""

    session: int
    at: float
    why: str
    """One line."""
    branch: str = ""
    """Where its unfinished work was put aside; empty when there was none."""


class Proof(NamedTuple):
    """The last evidence for or against a feature."""

    passed: bool
    at: float
    session: int
    """0: outside of every session."""
    commit: str
    """The commit on which it was performed, or which followed from it."""
    tree: str
    """What the check saw, as git names a tree."""
    because: str
    exit_code: int | None
    output_sha256: str
    event: int
    """Number of the event that has all of it; its body has the end of the output, and the artefacts."""


@dataclass(frozen=True, slots=True)
class Item:
    """A feature, and what is known of it."""

    feature: Feature
    state: State = State.OPEN
    since: float = 0.0
    """Since when it is in that state."""
    proof: Proof | None = None
    """None: its check was never performed."""
    is_flaky: bool = False
    tries: tuple[Try, ...] = ()
    """The last few since it last passed, oldest first."""
    tried: int = 0
    """How many there were in all."""


class Session(NamedTuple):
    """A session that has begun and not ended."""

    number: int
    run: str
    place: str
    """The working tree, as its host and path name it."""
    at: float
    feature: str = ""
    """What it holds; empty: nothing yet."""
    by: str = ""
    """Which process began it, for people: pid and host."""


class Ended(NamedTuple):
    """A session that is over."""

    number: int
    run: str
    feature: str
    outcome: str
    """passed, partial, failed, cancelled, stopped, lost, or nothing (it held no feature)."""
    at: float
    commit: str
    branch: str
    digest: Mapping[str, Any]
    """What its record said when it ended: see `memory.digest`."""


class Remark(NamedTuple):
    """A note of an agent's, or a view that somebody had edited."""

    at: float
    session: int
    text: str


@dataclass(frozen=True, slots=True)
class Board:
    """What a project's events amount to."""

    name: str = ""
    count: int = 0
    """Number of events that are in it."""
    items: Mapping[str, Item] = field(default_factory=dict)
    """By feature, in the order of the list."""
    digest: str = ""
    """Of the frozen list; empty: none is frozen yet."""
    frozen_by: str = ""
    sessions: Mapping[str, Session] = field(default_factory=dict)
    """Those that are open, by run."""
    numbered: int = 0
    """Sessions begun in all."""
    ended: tuple[Ended, ...] = ()
    """The last few, oldest first."""
    idle: int = 0
    """Sessions in a row that ended and changed no feature's state, since the last change or the last go-on."""
    notes: tuple[Remark, ...] = ()
    edited: tuple[Remark, ...] = ()
    revision: int = 0
    """`count` when the views were last written by the end of a session; an older view was put back by somebody."""
    stopped: str = ""
    """Why no further session is to begin, as a person said it; empty: nobody has."""
