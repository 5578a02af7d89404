"""How much one person is told in an hour: so many notices, and then one that says how many questions wait. Pure.

1. What is urgent is not asked about here: it is told by itself, at once, however much else there is.
2. In an hour (from the first notice of it) a person gets `per_hour` notices at most, each of one question. What comes
   then is held. A moment after the first that is held, one digest is sent: it tells of all that wait then.
3. There is at most one digest in an hour. What comes after it is held until the next hour, or the next digest.
4. One of the runs whose question is held sends the digest; if it has not within `CLAIM_S`, another one does.
5. Of questions that are alike a person is told once an hour, while the first of them is open: all are in the inbox.
   That counts once a channel has taken the notice of the first; until then the others wait, for `CLAIM_S` at most.
6. Nobody counts twice: a run that asks again for the same notice, after a crash, gets the same answer.

What is held is not lost, and holds nothing up: the others of a level are told, deadlines run, and so do the levels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final, NamedTuple

HOUR_S: Final = 3600.0
PER_HOUR: Final = 20
"""Notices of one question each, where nothing else is said."""
PER_HOUR_MAX: Final = 500
COLLECT_S: Final = 60.0
"""So long the digest waits for more."""
CLAIM_S: Final = 120.0
"""So long one run may take to send it."""


class Told(NamedTuple):
    """A person was told of one question, in this hour."""

    notice: str
    """Which notice: of this question, in this round and level."""
    run: str
    question: str
    alike: str
    at: float = 0.0
    is_taken: bool = False
    """A channel has taken it: until then it stands for nothing else."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one person was told lately."""

    since: float = 0.0
    """When the hour began."""
    told: tuple[Told, ...] = ()
    digest_at: float | None = None
    """When the next digest is due."""
    claimed_by: str = ""
    claimed_at: float = 0.0
    sent_at: float = 0.0
    """When the latest digest was sent."""
    channel: str = ""
    """By which channel."""

    def text(self) -> str:
        """For a cell of the store."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(text: str) -> Load:
        """What a cell holds; names it does not know are ignored."""
        facts = json.loads(text) if text else {}
        known = {name: facts[name] for name in Load.__dataclass_fields__ if name in facts}
        return Load(**known | {"told": tuple(Told(*each[: len(Told._fields)]) for each in facts.get("told", ()))})


def cell_of(person: str) -> str:
    """Name of the cell that holds it. No name has a slash."""
    return f"load/{person}"


class Wanted(NamedTuple):
    """A notice that a run wants to send."""

    notice: str
    run: str
    question: str
    alike: str
    held_since: float | None = None
    """Since when it is held, if it is."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the person of this question."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now; ask again then."""

    until: float


@dataclass(frozen=True, slots=True)
class Covered:
    """The person knows already: by a digest, or since they were told of one that is alike."""

    channel: str = ""


@dataclass(frozen=True, slots=True)
class SendDigest:
    """This run is to send the digest."""

    due_at: float = 0.0
    """Since when it is due: by that it is known."""


Admission = Tell | Hold | Covered | SendDigest


def admitted(
    load: Load, wanted: Wanted, per_hour: int, now: float, is_open: Callable[[str, str], bool]
) -> tuple[Load, Admission]:
    """What becomes of this notice, and what is to be kept. is_open: whether a question of a run can be answered."""
    if wanted.held_since is not None and load.sent_at >= wanted.held_since:
        return load, Covered(load.channel)
    load = _at(load, now)
    if any(told.notice == wanted.notice for told in load.told):
        return load, Tell()
    alike = [told for told in load.told if told.alike == wanted.alike and _is_other(told, wanted)]
    waiting = [told for told in alike if is_open(told.run, told.question)]
    if any(told.is_taken for told in waiting):
        return load, Covered()
    under_way = [told.at + CLAIM_S for told in waiting if now < told.at + CLAIM_S]
    if under_way:
        return load, Hold(min(under_way))
    if len(load.told) < per_hour:
        told = Told(wanted.notice, wanted.run, wanted.question, wanted.alike, now)
        return replace(load, told=(*load.told, told)), Tell()
    if load.digest_at is None:
        due_at = max(now + COLLECT_S, load.sent_at + HOUR_S)
        return replace(load, digest_at=due_at), Hold(due_at)
    if now < load.digest_at:
        return load, Hold(load.digest_at)
    is_claimed = load.claimed_by not in ("", wanted.notice) and now < load.claimed_at + CLAIM_S
    if is_claimed:
        return load, Hold(load.claimed_at + CLAIM_S)
    return replace(load, claimed_by=wanted.notice, claimed_at=now), SendDigest(load.digest_at)


def taken(load: Load, notice: str) -> Load:
    """A channel has taken this notice."""
    return replace(
        load, told=tuple(told._replace(is_taken=True) if told.notice == notice else told for told in load.told)
    )


def sent(load: Load, channel: str, now: float) -> Load:
    """The digest was taken by this channel."""
    return replace(load, sent_at=now, channel=channel, digest_at=None, claimed_by="", claimed_at=0.0)


def _at(load: Load, now: float) -> Load:
    """With a new hour when the last one is over; a digest that is due stays so."""
    if load.since <= now < load.since + HOUR_S:
        return load
    return replace(load, since=now, told=())


def _is_other(told: Told, wanted: Wanted) -> bool:
    return (told.run, told.question) != (wanted.run, wanted.question)
