"""What was learned of ways to people: written by runs of ours, in the append of the step that learned it; read by all.

Written from within the body of a step alone: what a replay does again would put old facts over new ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from holdfast.core.reach import Evidence, Fact, cell_of, text_of
from holdfast.errors import JournalCorrupt
from holdfast.protocols import Journal
from holdfast.runtime import current


class Learned(NamedTuple):
    """One fact about one way."""

    fact: Fact
    person: str
    channel: str
    at: float
    why: str = ""
    """Of a refusal: in words that are harmless."""
    is_final: bool = False


def write(*learned: Learned) -> None:
    """Keep it, with whatever the run whose step calls this writes next."""
    here = current.place()
    assert here is not None and here.inside is not None, "only the body of a step learns anything"
    for fact, person, channel, at, why, is_final in learned:
        here.driver.record.set_cell(cell_of(channel, person, fact), text_of(at, why, is_final=is_final))


def keep(name: str, text: str) -> None:
    """A cell of our own, by the same rule."""
    here = current.place()
    assert here is not None and here.inside is not None, "only the body of a step learns anything"
    here.driver.record.set_cell(name, text)


def shut(channel: str, until: float | None, mark: str = "") -> None:
    """Keep that this channel takes nothing before then; None: never, as long as its receiver is the one of this mark.
    By the same rule as `write`."""
    here = current.place()
    assert here is not None and here.inside is not None, "only the body of a step learns anything"
    here.driver.record.set_cell(_shut(channel), json.dumps({"until": until, "mark": mark}))


def is_shut(journal: Journal, channel: str, now: float, mark: str) -> bool:
    """Whether it has said that it takes nothing now."""
    text = _value(journal, _shut(channel))
    if not text:
        return False
    said = json.loads(text)
    return bool(said["mark"] == mark if said["until"] is None else now < said["until"])


def _shut(channel: str) -> str:
    return f"shut/{channel}"


def read(journal: Journal | None, person: str, channel: str) -> Evidence:
    """What is known of this way; without a store, nothing."""
    if journal is None:
        return Evidence()
    return Evidence.of({fact: _value(journal, cell_of(channel, person, fact)) for fact in Fact})


def _value(journal: Journal, name: str) -> str:
    try:
        cell = journal.cell(name)
    except JournalCorrupt:  # then nothing is known; `doctor --rebuild` empties it
        return ""
    return "" if cell is None else cell.value


def credited(told: Iterable[Any], by: str) -> str:
    """By which channel a person was told last, of pairs of person and channel; empty when they were not."""
    return next((channel for person, channel in reversed([*told]) if person == by), "")
