"""Whether a person can be reached by a chain, as something measured: what was taken, what failed, who is there. Pure.

A chain is REACHABLE when
1. somebody has taken a probe, or a real question, by one of its ways in the last seven days (that a channel accepted a
   notice is no proof that anybody reads it);
2. what was sent last by each of its ways was not refused;
3. it has two levels at least, and two channels at least that do not fail together;
4. somebody is there now, and for as long as a question can be answered;
5. the watch over holdfast itself was told that it lives, within its period.
One of these that does not hold makes it DEGRADED. Nobody there now, or nothing that was sent lately got through:
UNREACHABLE. Nobody has ever taken anything: UNPROVEN, as everything is that was only configured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

from holdfast.core.duration import span

PROVEN_S: Final = 7 * 86_400.0
"""How long it counts that somebody has taken something."""
LAPSE_S: Final = 3_600.0
LAPSE_FINAL_S: Final = 90_000.0
"""How long it counts against a chain that a notice was refused, for a while or for good. A way that still fails is
tried again within that by whoever watches (`core.probing`); where nobody does, a question may try it then: nothing is
out of reach for ever since it was so once."""


class State(StrEnum):
    """What is known about a chain."""

    REACHABLE = "reachable"
    DEGRADED = "degraded"
    UNREACHABLE = "unreachable"
    UNPROVEN = "unproven"


class Fact(StrEnum):
    """What can become of notices to one person by one channel."""

    PROBED = "probed"
    """It was decided to ask them whether this way reaches them."""
    ACCEPTED = "accepted"
    """The channel took a notice. That is not that it was read."""
    REFUSED = "refused"
    """It did not, or said later that it could not deliver."""
    TAKEN = "taken"
    """The person took a question, or confirmed a probe, that came this way."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What has become of notices to one person by one channel: the latest time of each fact."""

    accepted_at: float | None = None
    refused_at: float | None = None
    refusal: str = ""
    is_final: bool = False
    """The refusal was one that time does not change."""
    taken_at: float | None = None
    probed_at: float | None = None

    @staticmethod
    def of(cells: Mapping[Fact, str]) -> Evidence:
        """What the cells hold; one that says nothing that is understood holds nothing."""
        told = {fact: _told(text) for fact, text in cells.items()}
        refused = told.get(Fact.REFUSED, {})
        at = {fact: told.get(fact, {}).get("at") for fact in Fact}
        return Evidence(
            at[Fact.ACCEPTED],
            at[Fact.REFUSED],
            str(refused.get("why", "")),
            refused.get("is_final") is True,
            at[Fact.TAKEN],
            at[Fact.PROBED],
        )

    @property
    def is_refused(self) -> bool:
        """Whether what was sent last did not get through."""
        later = [at for at in (self.accepted_at, self.taken_at) if at is not None]
        return self.refused_at is not None and self.refused_at > max(later, default=float("-inf"))

    def is_broken(self, now: float) -> bool:
        """Whether that still counts: it was tried lately."""
        return self.is_refused and now - (self.refused_at or 0.0) < (LAPSE_FINAL_S if self.is_final else LAPSE_S)

    def accepted(self, at: float) -> Evidence:
        """A notice was accepted."""
        return replace(self, accepted_at=at)

    def refused(self, at: float, why: str) -> Evidence:
        """A notice was refused."""
        return replace(self, refused_at=at, refusal=why)

    def taken(self, at: float) -> Evidence:
        """The person took it."""
        return replace(self, taken_at=at)


def text_of(at: float, why: str = "", *, is_final: bool = False) -> str:
    """A fact, for its cell."""
    return json.dumps({"at": at} | ({"why": why, "is_final": is_final} if why else {}), sort_keys=True)


def _told(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        return {}
    is_told = isinstance(told, dict) and type(told.get("at")) in (int, float)
    return told if is_told else {}


def cell_of(channel: str, person: str, fact: Fact) -> str:
    """Name of the cell that holds when this last happened; neither name has a slash.

    Each fact has its own: runs that learn of different ones at once do not write over each other's.
    """
    return f"reach/{channel}/{person}/{fact}"


class Way(NamedTuple):
    """One person of a chain, by one of their channels."""

    level: int
    person: str
    channel: str
    domain: str
    """What fails together with it: a host, a provider, a phone."""
    evidence: Evidence


class Watch(NamedTuple):
    """Somebody outside who is told that holdfast lives, and alarms when it is not."""

    told_at: float | None
    period_s: float


class Route(NamedTuple):
    """A chain as of now."""

    name: str
    levels: int
    ways: Sequence[Way]
    """Of those who are there now, and of those who come within the deadline."""
    is_somebody_there: bool
    gap_at: float | None
    """From when on nobody is there, if that is before the deadline."""
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Reachability:
    """What is known, and why it is no more than that."""

    state: State
    because: tuple[str, ...] = ()


def judged(route: Route, now: float) -> Reachability:
    """What is known about a chain."""
    ways = route.ways
    taken = [way.evidence.taken_at for way in ways if way.evidence.taken_at is not None]
    if not route.is_somebody_there:
        return Reachability(State.UNREACHABLE, ("nobody is there now",))
    if not ways:
        return Reachability(State.UNREACHABLE, ("there is no way to tell anybody",))
    if all(way.evidence.is_broken(now) for way in ways):
        return Reachability(State.UNREACHABLE, tuple(_refused(ways)))
    if not taken:
        return Reachability(State.UNPROVEN, ("nobody has ever taken a question or a probe by any of its ways",))
    because = tuple(
        [*_stale(max(taken), now), *_refused(ways), *_narrow(route), *_gap(route, now), *_unwatched(route.watch, now)]
    )
    return Reachability(State.DEGRADED if because else State.REACHABLE, because)


def _stale(taken_at: float, now: float) -> Iterable[str]:
    if not now - PROVEN_S <= taken_at <= now:
        yield f"the last time that somebody took anything was {span(abs(now - taken_at))} ago"


def _refused(ways: Sequence[Way]) -> Iterable[str]:
    for way in ways:
        if way.evidence.is_refused:
            yield f"{way.channel} to {way.person} failed last: {way.evidence.refusal or 'not said why'}"


def _narrow(route: Route) -> Iterable[str]:
    if route.levels < 2:
        yield "it has only one level"
    domains = {way.domain for way in route.ways}
    if len(domains) < 2:
        yield f"all its channels fail together ({next(iter(domains))})"


def _gap(route: Route, now: float) -> Iterable[str]:
    if route.gap_at is not None:
        yield f"nobody is there any more in {span(max(0.0, route.gap_at - now))}"


def _unwatched(watch: Watch | None, now: float) -> Iterable[str]:
    if watch is None:
        yield "nobody outside watches whether holdfast lives"
    elif watch.told_at is None or not now - watch.period_s <= watch.told_at <= now:
        yield "the watch outside was not told in its period that holdfast lives"
