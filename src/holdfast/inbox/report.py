"""What is known of each chain and each way, as lines of text and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from holdfast.core.duration import span
from holdfast.core.reach import State, Way
from holdfast.inbox.heartbeat import Told
from holdfast.inbox.routes import Judged, Measured

_SAID = {
    State.REACHABLE: "somebody can be reached",
    State.DEGRADED: "somebody can be reached, but not all that should hold does",
    State.UNREACHABLE: "nobody can be reached",
    State.UNPROVEN: "nobody has shown yet that it reaches them",
}
_COLUMNS = ("person", "channel", "accepted", "refused", "taken")


def lines(measured: Measured) -> Iterator[tuple[str, State]]:
    """All of it, each line with the state that it is about."""
    now = measured.at
    for route, found in measured.chains:
        yield said(route.name, found.state), found.state
        yield from ((f"  {because}", found.state) for because in found.because)
        rows = [_COLUMNS, *(_row(way, now) for way in route.ways)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield f"    {'  '.join(cells)}".rstrip(), State.REACHABLE

    yield outside(measured.outside, now)


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


def said(chain: str, state: State) -> str:
    """A chain's state in words."""
    return f"chain {chain}: {state.upper()}, {_SAID[state]}"


def _row(way: Way, now: float) -> tuple[str, ...]:
    known = way.evidence
    return way.person, way.channel, *(_age(at, now) for at in (known.accepted_at, known.refused_at, known.taken_at))


def _age(at: float | None, now: float) -> str:
    return "never" if at is None else f"{span(round(max(0.0, now - at)))} ago"


def facts(measured: Measured) -> dict[str, Any]:
    """The same as plain data; times are seconds since the epoch, UTC."""
    told = None if measured.outside is None else asdict(measured.outside) | {"wrong": list(measured.outside.wrong)}
    return {"at": measured.at, "chains": [_chain(each) for each in measured.chains], "outside": told}


def _chain(judged: Judged) -> dict[str, Any]:
    route, found = judged
    return {
        "chain": route.name,
        "state": str(found.state),
        "because": list(found.because),
        "ways": [_way(way) for way in route.ways],
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
