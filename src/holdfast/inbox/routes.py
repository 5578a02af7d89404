"""A chain as of now, with what is known of its ways: what `core.reach` judges.

Read off the directory and the store's cells; nothing is sent, nothing is changed, and no secret is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from holdfast.core.reach import Reachability, Route, State, Watch, Way, judged
from holdfast.core.response import Response
from holdfast.inbox import evidence, heartbeat
from holdfast.inbox.directory import Chain, ChannelSettings, Directory, Email, Slack, Step, Webhook
from holdfast.inbox.timing import times
from holdfast.protocols import Journal

AHEAD_S = 86_400.0
"""So far ahead somebody must be there for a question that says no deadline."""


class Judged(NamedTuple):
    """A chain, and what is known of it."""

    route: Route
    found: Reachability


class Measured(NamedTuple):
    """All that is known, at one moment."""

    at: float
    chains: list[Judged]
    times: Mapping[str, Response]
    """How long people took, by chain."""
    outside: heartbeat.Told | None
    """Of somebody outside who is told that holdfast lives; None: nobody is."""


def measured(directory: Directory, journal: Journal | None, now: float) -> Measured:
    """What somebody who looks is told."""
    outside = None if directory.heartbeat is None else heartbeat.told(journal)
    return Measured(now, all_judged(directory, journal, now), times(directory, journal), outside)


def all_judged(directory: Directory, journal: Journal | None, now: float) -> list[Judged]:
    """Each chain, as somebody who looks would be told now."""
    routes = [route(directory, chain, journal, now, now + AHEAD_S) for chain in directory.chains.values()]
    return [Judged(each, judged(each, now)) for each in routes]


def unreachable(directory: Directory, journal: Journal, to: str, within_s: float | None, now: float) -> str:
    """Why a question to `to` that is asked now would reach nobody; empty when it would, as far as is known."""
    chain = directory.chain_for(to)
    if chain is None:
        return f"{to} is no chain, no rota and no person of holdfast.toml, and there is no chain called default"
    until = now + (AHEAD_S if within_s is None else within_s)
    found = judged(route(directory, chain, journal, now, until), now)
    return "; ".join(found.because) if found.state is State.UNREACHABLE else ""


def route(directory: Directory, chain: Chain, journal: Journal | None, now: float, until: float) -> Route:
    """The chain for a question that is asked now and can be answered until then."""
    plan = directory.plan(chain, now, deadline=until, is_urgent=True)
    return Route(
        chain.name,
        len(chain.levels),
        list(_ways(directory, chain, journal, now, until)),
        any(reach.channels for level in plan.levels for reach in level.people),
        _gap(directory, chain, now, until),
        watch(directory, journal),
    )


def watch(directory: Directory, journal: Journal | None) -> Watch | None:
    """Who is told outside that holdfast lives, and when they were last; late by one time they are not yet told late."""
    beat = directory.heartbeat
    return None if beat is None else Watch(heartbeat.told(journal).told_at, 2 * beat.every_s)


def _ways(directory: Directory, chain: Chain, journal: Journal | None, now: float, until: float) -> Iterator[Way]:
    """Of everybody who is there at some time until then, each once."""
    seen = set()
    for level, step in enumerate(chain.levels):
        for person in dict.fromkeys(_people(directory, step, now, until)):
            for channel in directory.ways(person, step.by):
                if (person, channel) not in seen:
                    seen.add((person, channel))
                    domain = domain_of(directory.channels[channel])
                    yield Way(level, person, channel, domain, evidence.read(journal, person, channel))


def _people(directory: Directory, step: Step, now: float, until: float) -> Iterator[str]:
    for name in step.to:
        rota = directory.rotas.get(name)
        shifts = [shift.who for shift in rota.shifts(now, until)] if rota is not None else [name]
        yield from (who for who in shifts if who)


def _gap(directory: Directory, chain: Chain, now: float, until: float) -> float | None:
    """From when on none of its levels has anybody."""
    names = tuple(name for step in chain.levels for name in step.to)
    if not names or any(name not in directory.rotas for name in names):
        return None
    gaps = directory.gaps_of(Step(names, (), 0.0), now, until)
    return gaps[0].begins_at if gaps else None


def domain_of(settings: ChannelSettings) -> str:
    """What fails together with this channel."""
    match settings:
        case Email(host=host):
            return host
        case Webhook(url=str(url)):
            return urlsplit(url).hostname or settings.name
        case Slack():
            return "slack.com"
        case _:
            return settings.name
