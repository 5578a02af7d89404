"""What of a project went wrong, and what was decided, and why. Pure. Part of the brief (`core.brief`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.core.board import State
from holdfast.core.excerpt import Line, counted, quoted
from holdfast.core.known import Facts, Rank, following
from holdfast.core.wording import ago, lasting, proof_of, rows

TRIES_SHOWN: Final = 3


def regressed(facts: Facts) -> Iterator[Line]:
    for item in facts.board.items.values():
        if item.state is State.REGRESSED:
            proof = f"; its last check {proof_of(item, facts.now)}" if item.proof is not None else ""
            told = f"- {item.feature.id} passed once and does not any more, for {lasting(item.since, facts.now)}{proof}"
            yield Line(told, Rank.REGRESSED, "regression", "Regressed")


def tried(facts: Facts) -> Iterator[Line]:
    """Of the next feature first; the newest first."""
    heading = "Tried, and why it failed"
    first = following(facts)
    others = [item for item in facts.board.items.values() if item is not first and item.state is not State.PASSING]
    for item in [*([first] if first is not None else []), *others]:
        rank = Rank.TRIED_NEXT if item is first else Rank.TRIED
        name = item.feature.id
        for one in reversed(item.tries[-TRIES_SHOWN:]):
            told = f"- {name}, session {one.session}, {ago(one.at, facts.now)}: {quoted(one.why)}"
            yield Line(told, rank, "failed session", heading)
        if item.tried > len(item.tries[-TRIES_SHOWN:]):
            yield Line(f"- {name} was tried {counted(item.tried, 'time')} in all", rank, "line", heading)
    for number, digest in _digests(facts):
        for name, why in rows(digest, "failed", 2):
            told = f"- session {number}: step {quoted(name, 80)} failed: {quoted(why)}"
            yield Line(told, Rank.TRIED, "failed step", heading)
        if failure := digest.get("failure"):
            yield Line(f"- session {number} ended by {quoted(failure)}", Rank.TRIED, "failed session", heading)


def decided(facts: Facts) -> Iterator[Line]:
    heading = "Decided, and why"
    for key, by, rank in (("decided", "its agent", Rank.DECIDED), ("ruled", "holdfast", Rank.RULED)):
        for number, digest in _digests(facts):
            for what, choice, because in rows(digest, key, 3):
                told = f"- session {number}, {by}: {quoted(what, 80)} is {quoted(choice)}, since {quoted(because)}"
                yield Line(told, rank, "decision", heading)


def _digests(facts: Facts) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """What records of sessions say: of open ones, then of ended ones, the newest first."""
    board = facts.board
    for session in sorted(board.sessions.values(), key=lambda session: -session.number):
        if session.run in facts.live:
            yield session.number, facts.live[session.run].digest
    for ended in reversed(board.ended):
        yield ended.number, ended.digest
