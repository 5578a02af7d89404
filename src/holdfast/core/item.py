"""What stands on the board of a project: features and their evidence, tries, sessions and remarks. Plain data.

`core.board` says how they come about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from holdfast.core.feature import Feature, of_facts


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
    passes: int = 0
    """How often it came to pass since the list was frozen, or a person let the project go on."""


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
    is_useful: bool = False
    """It has changed the state of a feature."""


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
    """What its record said when it ended: see `core.digest`."""


class Left(NamedTuple):
    """A session that was ended from elsewhere, with its working tree as it left it."""

    number: int
    run: str
    feature: str


class Remark(NamedTuple):
    """A note of an agent's, or a view that somebody had edited."""

    at: float
    session: int
    text: str


def facts_of(item: Item) -> dict[str, Any]:
    """An item as plain data."""
    plain = {name: getattr(item, name) for name in item.__dataclass_fields__}
    return {**plain, "feature": item.feature.facts()}


def item_of(facts: Mapping[str, Any]) -> Item:
    """The item that `facts_of` wrote."""
    proof = facts["proof"]
    known: dict[str, Any] = {
        "feature": of_facts(facts["feature"]),
        "state": State(facts["state"]),
        "proof": None if proof is None else Proof(*proof),
        "tries": tuple(Try(*each) for each in facts["tries"]),
    }
    return Item(**{**facts, **known})
