"""What is known of each chain and each way, as lines of text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from holdfast.core.duration import span
from holdfast.core.reach import State, Way
from holdfast.core.response import Response
from holdfast.inbox.heartbeat import Told
from holdfast.inbox.routes import Judged, Measured

_SAID = {
    State.REACHABLE: "somebody can be reached",
    State.DEGRADED: "somebody can be reached, but not all that should hold does",
    State.UNREACHABLE: "nobody can be reached",
    State.UNPROVEN: "nobody has shown yet that it reaches them",
}
COLUMNS = ("person", "channel", "accepted", "refused", "taken")


class Shown(NamedTuple):
    """A chain, as people see it."""

    name: str
    state: State
    said: str
    because: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """As `COLUMNS` has them."""
    pace: str
    """How long people took; empty where nobody was asked yet."""


def shown(measured: Measured) -> list[Shown]:
    """Each chain, for whoever draws it."""
    found = []
    for route, judged in measured.chains:
        took = measured.times.get(route.name)
        told = "" if took is None or not took.asked else pace(took)
        rows = [_row(way, measured.at) for way in route.ways]
        found.append(Shown(route.name, judged.state, _SAID[judged.state], judged.because, rows, told))
    return found


def lines(measured: Measured) -> Iterator[tuple[str, State]]:
    """All of it, each line with the state that it is about."""
    for chain in shown(measured):
        yield f"chain {chain.name}: {chain.state.upper()}, {chain.said}", chain.state
        yield from ((f"  {because}", chain.state) for because in chain.because)
        rows = [COLUMNS, *chain.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"    {'  '.join(cells)}".rstrip(), State.REACHABLE
        if chain.pace:
            yield f"  {chain.pace}", State.REACHABLE
    yield outside(measured.outside, measured.at)


def outside(told: Told | None, now: float) -> tuple[str, State]:
    """Whether somebody outside was told that holdfast lives."""
    if told is None:
        return "outside: nobody is told that holdfast lives; [heartbeat] in holdfast.toml says who", State.DEGRADED
    last = f"told {_age(told.told_at, now)} that all is well"
    if told.wrong:
        return f"outside: {last}; since then: {'; '.join(told.wrong)}", State.UNREACHABLE
    if told.refusal:
        return f"outside: {last}; {_age(told.tried_at, now)} nobody took it: {told.refusal}", State.DEGRADED
    return f"outside: {last}", State.REACHABLE if told.told_at is not None else State.DEGRADED


def pace(took: Response) -> str:
    """How long people took, in a sentence."""
    lengths = (took.taken_p50_s, took.taken_p95_s, took.answered_p50_s, took.answered_p95_s)
    taken, taken_95, answered, answered_95 = ("never" if each is None else span(round(each, 1)) for each in lengths)
    return (
        f"of {took.asked} that are closed: half taken within {taken}, 95 % within {taken_95}; half answered within "
        f"{answered}, 95 % within {answered_95}; {took.missed_share:.0%} missed"
    )


def _row(way: Way, now: float) -> tuple[str, ...]:
    known = way.evidence
    return way.person, way.channel, *(_age(at, now) for at in (known.accepted_at, known.refused_at, known.taken_at))


def _age(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    length_s = max(0.0, now - at)
    size_s = next((each for each in (86_400.0, 3_600.0, 60.0) if length_s >= each), 1.0)
    return f"{span(round(length_s / size_s) * size_s)} ago"


def facts(measured: Measured) -> dict[str, Any]:
    """The same as plain data; times are seconds since the epoch, UTC."""
    told = None if measured.outside is None else asdict(measured.outside) | {"wrong": list(measured.outside.wrong)}
    return {"at": measured.at, "chains": [_chain(each, measured.times) for each in measured.chains], "outside": told}


def _chain(judged: Judged, times: Mapping[str, Response]) -> dict[str, Any]:
    route, found = judged
    return {
        "chain": route.name,
        "state": str(found.state),
        "because": list(found.because),
        "ways": [_way(way) for way in route.ways],
        "times": None if route.name not in times else times[route.name]._asdict(),
    }


def _way(way: Way) -> dict[str, Any]:
    known = way.evidence
    return {
        "level": way.level + 1,
        "person": way.person,
        "channel": way.channel,
        "domain": way.domain,
        "accepted_at": known.accepted_at,
        "refused_at": known.refused_at,
        "refusal": known.refusal,
        "taken_at": known.taken_at,
        "probed_at": known.probed_at,
    }
