"""What becomes of a command to a project: who may begin, claim and say that something passes, as the board is then.

Commands are judged in the order in which they came. What is refused is an event too, with the reason, and changes
nothing. Pure.

Invariants
1. `carried_out` takes whatever `order.refusal` let through, and never raises: stored commands are mail for everybody.
2. Evidence that something passes counts only when its results say so (`feature.judged`), when they are of the check
   that is on the board, and from the session that holds the feature, or for a feature that passes anyway. Outside of
   every session it counts for a feature that nobody holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from holdfast.core import board as b
from holdfast.core.board import Board, Item, Session, State
from holdfast.core.events import Event, Kind, meta
from holdfast.core.feature import Feature, digest
from holdfast.core.verdict import Result, Verdict, judged

_EXITS: Final = ("command", "pytest")
"""Kinds of checks that pass by an exit code."""


class _Ruling(NamedTuple):
    """What becomes of a command."""

    choice: str
    """What is chosen, on one line; when it is refused, why."""
    facts: Mapping[str, Any]
    """What the event says beside that."""
    is_refused: bool = False


def _refused(why: str, **facts: Any) -> _Ruling:
    return _Ruling(why, facts, is_refused=True)


def carried_out(board: Board, facts: Mapping[str, Any], body: bytes | None, now: float) -> tuple[Board, list[Event]]:
    """The board after a command, and the event that says what became of it."""
    verb, by, because = facts["verb"], facts.get("by") or None, facts.get("why") or b.UNSAID
    if verb == b.RAISE:
        limits = board.caps._replace(**facts["caps"])
        told = meta(account=b.cell_of(board.name), limits=list(limits), because=because, by=by, id=facts.get("id"))
        event = Event(Kind.BUDGET_CHANGED, now, meta=told)
    else:
        ruling = _RULED[verb](board, facts)
        choice = f"refused: {ruling.choice}" if ruling.is_refused else ruling.choice
        told = meta(
            what=verb,
            choice=choice,
            because=because,
            by=by,
            id=facts.get("id"),
            refused=ruling.choice if ruling.is_refused else None,
            **ruling.facts,
        )
        event = Event(Kind.DECIDED, now, meta=told, body=body)
    return board.after(event), [event]


def _freeze(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    count = len(facts["features"])
    kept = {"features": facts["features"], "digest": facts["digest"]}
    return _Ruling(f"{count} feature{'' if count == 1 else 's'}, digest {facts['digest'][:12]}", kept)


def _go_on(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    return _Ruling("further sessions may begin", {})


def _stop(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    return _Ruling("no further session begins", {})


def _begin(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    """`number` is the one that its key was made of; 0: it has a key of its own, and takes the next."""
    run, place, number = facts["session"], facts["place"], facts["number"]
    of = {"session": run, "place": place}
    there = next((each for each in board.sessions.values() if each.place == place), None)
    if there is not None:
        return _refused(f"session {there.number} is open at {place}", **of)
    if run in board.sessions:
        return _refused(f"it is session {board.sessions[run].number}, at {board.sessions[run].place}", **of)
    if any(each.run == run for each in board.ended):
        return _refused("its run was a session of this project, which has ended", **of)
    if board.stopped:
        return _refused(f"stopped: {board.stopped}", **of)
    if number not in (0, board.numbered + 1):
        return _refused(f"session {number} has begun elsewhere", **of)
    number = board.numbered + 1
    return _Ruling(f"session {number} at {place}", {**of, "number": number})


def _claim(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    run, name = facts["session"], facts["feature"]
    of = {"session": run, "feature": name}
    session, item, holder = board.sessions.get(run), board.items.get(name), board.held().get(name)
    if session is None:
        return _refused("it is no open session", **of)
    if session.feature == name:
        return _Ruling(f"session {session.number} has {name}", of)
    why = _why_not(board, name, item, session, holder)
    return _refused(why, **of) if why else _Ruling(f"session {session.number} has {name}", of)


def _why_not(board: Board, name: str, item: Item | None, session: Session, holder: Session | None) -> str:
    """Why this session cannot have that feature."""
    if session.feature:
        return f"session {session.number} has {session.feature}, and one session has one feature"
    if item is None:
        return f"there is no feature {name} on the list" if board.digest else "no list is frozen"
    if holder is not None:
        return f"held by session {holder.number} at {holder.place}"
    if item.state is State.PASSING:
        return f"{name} passes"
    if lacking := board.lacks(item):
        return f"{name} comes after {', '.join(lacking)}"
    return f"stopped: {board.stopped}" if board.stopped else ""


def _evidence(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    run, name = facts["session"], facts["feature"]
    results = [Result(**each) for each in facts["results"]]
    last = results[-1] if results else None
    of = {
        "session": run,
        "feature": name,
        "passed": facts["passed"],
        "is_flaky": facts["is_flaky"],
        "commit": facts["commit"],
        "tree": facts["tree"],
        "results": facts["results"],
        "exit_code": None if last is None else last.exit_code,
        "output_sha256": "" if last is None else last.output_sha256,
        "number": _number(board, run),
    }
    item = board.items.get(name)
    if item is None:
        return _refused(f"there is no feature {name} on the list", **of)
    if facts["passed"] and (why := _why_unproven(board, item, facts, results)):
        return _refused(why, **of)
    return _Ruling(f"{name} {'passes' if facts['passed'] else 'does not pass'}", of)


def _number(board: Board, run: str) -> int:
    """Which session that is or was, as far as it is known."""
    if run in board.sessions:
        return board.sessions[run].number
    return next((each.number for each in board.ended if each.run == run), 0)


def _why_unproven(board: Board, item: Item, facts: Mapping[str, Any], results: list[Result]) -> str:
    """Why a feature does not pass by this."""
    name, run = item.feature.id, facts["session"]
    if not results:
        return f"no check of {name} was performed"
    if any(result.passed and not _can_pass(item.feature, result) for result in results):
        return f"a check of {name} that passed cannot have ended so"
    verdict: Verdict = judged(results)
    if not verdict.passed:
        return f"the check of {name} has not passed: {verdict.because}"
    if facts["spec"] != digest([item.feature]):
        return f"the check was another one than that of {name}"
    session, holder = board.sessions.get(run), board.held().get(name)
    if run and session is None:
        return "it is no open session"
    if session is None:
        return "" if holder is None else f"held by session {holder.number} at {holder.place}"
    if session.feature != name and item.state is not State.PASSING:
        return f"session {session.number} does not have {name}"
    return ""


def _can_pass(feature: Feature, result: Result) -> bool:
    return result.has_run and (feature.check.kind not in _EXITS or result.exit_code == 0)


def _note(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    of = {"session": facts["session"], "text": facts["text"]}
    if facts["session"] not in board.sessions:
        return _refused("it is no open session", **of)
    return _Ruling("a note", of)


def _restored(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    return _Ruling(facts["text"], {"session": facts["session"], "text": facts["text"]})


def _ended(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    """A session that says of itself that it passed is one whose feature passes."""
    run, outcome = facts["session"], facts["outcome"]
    session = board.sessions.get(run)
    if session is None:
        return _refused("it is no open session", session=run, outcome=outcome)
    item = board.items.get(session.feature)
    if outcome == "passed" and (item is None or item.state is not State.PASSING):
        outcome = "partial" if session.feature else "nothing"
    of = {
        "session": run,
        "outcome": outcome,
        "commit": facts["commit"],
        "branch": facts["branch"],
        "record": facts["record"],
        "revision": min(facts["revision"], board.count),
        "is_left": True if facts.get("is_left") is True else None,
    }
    return _Ruling(f"session {session.number}: {outcome}", of)


def _cleared(board: Board, facts: Mapping[str, Any]) -> _Ruling:
    place, branch = facts["place"], facts["branch"]
    left = board.left.get(place)
    if left is None:
        return _refused(f"no session has left anything at {place}", place=place, branch=branch)
    what = f"on {branch}" if branch else "nothing"
    return _Ruling(f"session {left.number} had left {what} at {place}", {"place": place, "branch": branch})


_RULED: Final[Mapping[str, Callable[[Board, Mapping[str, Any]], _Ruling]]] = {
    b.FREEZE: _freeze,
    b.GO_ON: _go_on,
    b.STOP: _stop,
    b.BEGIN: _begin,
    b.CLAIM: _claim,
    b.EVIDENCE: _evidence,
    b.NOTE: _note,
    b.RESTORED: _restored,
    b.ENDED: _ended,
    b.CLEARED: _cleared,
}
