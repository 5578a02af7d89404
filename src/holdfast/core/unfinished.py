"""What of a project is half done: open sessions and what they hold, effects in doubt, the tree, branches. Pure.

Part of the brief (`core.brief`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.core.board import Board, Session, State
from holdfast.core.excerpt import Line, code, counted, quoted
from holdfast.core.known import Facts, Hold, Live, Rank
from holdfast.core.wording import ago, ours, rows, short_commit, some

OLD_S: Final = 14 * 86_400.0
"""A branch of unfinished work that is younger is nobody's to remove."""


def half_done(facts: Facts) -> Iterator[Line]:
    heading = "Half done, and who holds what"
    board = facts.board
    here_first = sorted(board.sessions.values(), key=lambda session: (session.place != facts.place, -session.number))
    for session in here_first:
        live = facts.live.get(session.run, Live(Hold.UNKNOWN))
        yield Line(f"- {_session(session, live, facts)}", Rank.SESSION, "session", heading)
        for text in _asked(live.digest):
            yield Line(f"- session {session.number} asks a person: {quoted(text)}", Rank.SESSION, "question", heading)
        for name in _doubts(live.digest, is_alive=live.hold is Hold.ALIVE):
            yield _doubt(name, session.number, heading)
    for ended in reversed(board.ended):
        for name in _doubts(ended.digest, is_alive=False):
            yield _doubt(name, ended.number, heading)
    for place, left in board.left.items():
        where = "in this working tree" if place == facts.place else f"at {quoted(place)}"
        told = (
            f"- session {left.number} was ended from elsewhere; what it left {where} is put aside by the next one there"
        )
        yield Line(told, Rank.SESSION, "session", heading)
    yield from _tree(facts, heading)


def _session(session: Session, live: Live, facts: Facts) -> str:
    holds = f"holds {session.feature}" if session.feature else "holds no feature"
    if session.run == facts.me:
        return f"this is session {session.number}: it {holds}"
    where = "in this working tree" if session.place == facts.place else f"at {quoted(session.place)}"
    by = f" by {quoted(session.by, 80)}" if session.by else ""
    begun = f"session {session.number} {holds}, begun {ago(session.at, facts.now)} {where}{by}"
    match live.hold:
        case Hold.ALIVE:
            return f"{begun}; its process lives"
        case Hold.GONE:
            return f"{begun}; its process is gone, and it was not ended: `holdfast project run` there goes on with it"
        case Hold.NOWHERE:
            return f"{begun}; its process and its working tree are gone: {give_back(session, live)}"
        case Hold.WAITING:
            return f"{begun}; it waits: {ours(live.why) or 'for what it was told to'}"
        case Hold.OVER:
            why = f" ({quoted(live.why)})" if live.why else ""
            return f"{begun}; its run is over{why}, and what it left is not settled: the next session does it"
        case Hold.UNKNOWN:
            return f"{begun}; this store has no record of its run"


def give_back(session: Session, live: Live) -> str:
    """By which command what a session holds is free again."""
    what = f"gives {session.feature} back" if session.feature else "ends it"
    return f"{code(f'holdfast cancel {live.key or session.run}')} {what}"


def _doubt(name: str, session: int, heading: str) -> Line:
    told = f"- in doubt since session {session}: nobody knows whether {quoted(name)} happened"
    return Line(f"{told}; find out before it is done again", Rank.DOUBT, "effect in doubt", heading)


def _doubts(digest: Mapping[str, Any], *, is_alive: bool) -> list[str]:
    """Effects that were begun and whose outcome nobody knows; what a live process has under way is not among them."""
    names = [name for name, *_ in rows(digest, "in_doubt", 1)]
    return names if is_alive else [*names, *(name for name, *_ in rows(digest, "under_way", 1))]


def _tree(facts: Facts, heading: str) -> Iterator[Line]:
    if facts.unknown_tree:
        told = f"- what of this working tree no commit has is not known: {quoted(facts.unknown_tree)}"
        yield Line(told, Rank.TREE, "change of the working tree", heading)
    if facts.dirty:
        what = counted(len(facts.dirty), "path")
        told = f"- in this working tree, not as the last commit has it: {what}: {some(facts.dirty)}"
        yield Line(told, Rank.TREE, "change of the working tree", heading)
    elif facts.commit:
        yield Line("- this working tree is as its last commit has it", Rank.TREE, "line", heading)
    if facts.commit and not facts.branch:
        told = f"- the head of this working tree is detached, at {short_commit(facts.commit)}"
        yield Line(told, Rank.TREE, "change of the working tree", heading)
    for branch, told in branches(facts.board).items():
        yield Line(f"- {told}: branch {quoted(branch)}", Rank.TREE, "branch of unfinished work", heading)


def branches(board: Board) -> dict[str, str]:
    """Branches with work of sessions that was put aside and of which no feature has come, the newest first."""
    ended = [(one.number, one.feature, one.branch) for one in board.ended]
    tried = [(one.session, name, one.branch) for name, item in board.items.items() for one in item.tries]
    found: dict[str, str] = {}
    for number, feature, branch in sorted([*ended, *tried], reverse=True):
        item = board.items.get(feature)
        if branch and branch not in found and (item is None or item.state is not State.PASSING):
            found[branch] = f"session {number} left unfinished work" + (f" on {feature}" if feature else "")
    return found


def _asked(digest: Mapping[str, Any]) -> list[str]:
    return [text for text, *_ in rows(digest, "asked", 1)]


def forgotten(board: Board, found: Mapping[str, float], now: float) -> list[str]:
    """Of the branches of unfinished work (by name, when it was put there) those that nobody is told of any more: old,
    and of features that pass by now, or were tried often since."""
    told = branches(board)
    return sorted(name for name, at in found.items() if name not in told and now - at >= OLD_S)
