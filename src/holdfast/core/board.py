"""The board of a project: its features, who works on which, and what was tried, as its log says.

A project is a run without code, under the key `@project/NAME`, as the operator's desk is one. A command to it is mail;
whoever holds it turns mail into events (`core.project`), and what these amount to is the board. Now and then the whole
board is written into the log, too, so that nobody has to begin at its first event. Pure.

Invariants
1. The board is a fold over the project's events, and over nothing else: what is written down of it can be computed anew
   at any time.
2. A feature passes only by evidence, which is what a check gave that holdfast performed; evidence against it always
   counts.
3. At most one session holds a feature, a session holds at most one, and at most one session is open at a place.
4. The list of features changes by a freeze alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from holdfast.core.budget import Limits
from holdfast.core.events import Event, Kind
from holdfast.core.feature import Feature, of_facts
from holdfast.core.item import Ended as Ended
from holdfast.core.item import Item as Item
from holdfast.core.item import Left as Left
from holdfast.core.item import Proof as Proof
from holdfast.core.item import Remark as Remark
from holdfast.core.item import Session as Session
from holdfast.core.item import State as State
from holdfast.core.item import Try as Try
from holdfast.core.item import facts_of, item_of

PROJECT: Final = "@project"
"""The agent of all projects."""
FREEZE, GO_ON, STOP, RAISE = "freeze", "go_on", "stop", "raise"
"""What operators tell a project."""
BEGIN, CLAIM, EVIDENCE, NOTE, RESTORED, ENDED = "begin", "claim", "evidence", "note", "restored", "ended"
CLEARED: Final = "cleared"
"""What sessions tell it."""
BOARD: Final = "board"
"""The event whose body is the board after it."""
UNSAID: Final = "not said"
"""What stands for a reason that nobody gave."""
TRIES_KEPT, ENDED_KEPT, EDITED_KEPT, NOTES_KEPT = 3, 10, 10, 20
PASSES_COUNTED: Final = 3
"""A feature that comes to pass, or to fail again, more often than that since a person last looked is no progress."""
FORMAT: Final = 1
"""Of the text; a board that was written in another one is computed anew."""


NO_CAPS: Final = Limits()


def key_of(name: str) -> str:
    """The key of the project of that name."""
    return f"{PROJECT}/{name}"


def cell_of(name: str) -> str:
    """The cell that says which event has the last written board; also the account of what its sessions use."""
    return f"project/{name}"


@dataclass(frozen=True, slots=True)
class Board:
    """What a project's events amount to."""

    name: str = ""
    count: int = 0
    """Number of events that are in it."""
    items: Mapping[str, Item] = field(default_factory=dict)
    """By feature, in the order of the list."""
    digest: str = ""
    """Of the frozen list; empty: none is frozen yet."""
    frozen_by: str = ""
    sessions: Mapping[str, Session] = field(default_factory=dict)
    """Those that are open, by run."""
    numbered: int = 0
    """Sessions begun in all."""
    ended: tuple[Ended, ...] = ()
    """The last few, oldest first."""
    idle: int = 0
    """Sessions in a row that ended and changed no feature's state, since the last change or the last go-on."""
    notes: tuple[Remark, ...] = ()
    edited: tuple[Remark, ...] = ()
    revision: int = 0
    """`count` when the views were last written by the end of a session; an older view was put back by somebody."""
    revisions: Mapping[str, int] = field(default_factory=dict)
    """The same of each place."""
    left: Mapping[str, Left] = field(default_factory=dict)
    """By place, the session whose work still lies there, as it was ended from another place."""
    stopped: str = ""
    """Why no further session is to begin, as a person said it; empty: nobody has."""
    caps: Limits = NO_CAPS
    """What all its sessions together may use."""

    def after(self, event: Event) -> Board:
        """The board after one more event of the project."""
        board = replace(self, count=self.count + 1)
        facts = event.facts
        match event.kind:
            case Kind.RUN_STARTED:
                return replace(board, name=facts["key"].removeprefix(f"{PROJECT}/"))
            case Kind.BUDGET_CHANGED if "account" in facts:
                return replace(board, caps=Limits(*facts["limits"]))
            case Kind.DECIDED if "refused" not in facts:
                return _AFTER.get(facts["what"], _unchanged)(board, event.at, facts)
            case _:
                return board

    @property
    def passing(self) -> list[Item]:
        """The features that pass."""
        return [item for item in self.items.values() if item.state is State.PASSING]

    def held(self) -> dict[str, Session]:
        """By feature, the open session that holds it."""
        return {session.feature: session for session in self.sessions.values() if session.feature}

    def lacks(self, item: Item) -> list[str]:
        """The features that have to pass before this one's turn comes, and do not."""
        passing = {each.feature.id for each in self.passing}
        return [name for name in item.feature.after if name not in passing]

    def text(self) -> str:
        """As it is written down."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        items = [facts_of(item) for item in self.items.values()]
        return json.dumps({**plain, "items": items, "sessions": [*self.sessions.values()], "format": FORMAT})

    @staticmethod
    def of(text: str) -> Board:
        """What `text` wrote; ValueError, KeyError or TypeError for what it did not."""
        found = json.loads(text)
        if found.pop("format") != FORMAT:
            raise ValueError("a board of another version")
        items = [item_of(facts) for facts in found["items"]]
        sessions = [Session(*facts) for facts in found["sessions"]]
        lists: dict[str, Any] = {
            "items": {item.feature.id: item for item in items},
            "sessions": {session.run: session for session in sessions},
            "ended": tuple(Ended(*facts) for facts in found["ended"]),
            "notes": tuple(Remark(*facts) for facts in found["notes"]),
            "edited": tuple(Remark(*facts) for facts in found["edited"]),
            "left": {place: Left(*facts) for place, facts in found["left"].items()},
            "caps": Limits(*found["caps"]),
        }
        return Board(**found | lists)


def fold(events: Iterable[Event], board: Board | None = None) -> Board:
    """What these events amount to, from the project's first on, or after `board`."""
    board = Board() if board is None else board
    for event in events:
        board = board.after(event)
    return board


# --- what an event changes -----------------------------------------------------------------------------------------


def _unchanged(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    return board


def _frozen(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    """What is the same feature stays where it was; what is another one under that name is open."""
    items: dict[str, Item] = {}
    for listed in facts["features"]:
        feature = of_facts(listed)
        known = board.items.get(feature.id)
        if known is not None and _sense(known.feature) == _sense(feature):
            items[feature.id] = replace(known, feature=feature, passes=0)
        else:
            items[feature.id] = Item(feature, since=at)
    idle = board.idle if facts["digest"] == board.digest else 0  # the same list is no progress
    return replace(board, items=items, digest=facts["digest"], frozen_by=facts.get("by", ""), idle=idle)


def _sense(feature: Feature) -> Feature:
    """What a feature is, apart from when its turn is, and from how pytest is set up."""
    return replace(feature, priority=0, after=(), fixed={})


def _gone_on(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    items = {name: replace(item, passes=0) for name, item in board.items.items()}
    return replace(board, items=items, idle=0, stopped="")


def _stopped(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    return replace(board, stopped=facts["because"])


def _begun(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    run = facts["session"]
    session = Session(facts["number"], run, facts["place"], at, by=facts.get("by", ""))
    sessions = {**board.sessions, run: session}
    left = _without(board.left, session.place)  # it begins in a tree that is clean
    return replace(board, sessions=sessions, left=left, numbered=max(board.numbered, facts["number"]))


def _without(left: Mapping[str, Left], place: str) -> dict[str, Left]:
    return {at: each for at, each in left.items() if at != place}


def _claimed(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    session = board.sessions[facts["session"]]._replace(feature=facts["feature"])
    return replace(board, sessions={**board.sessions, session.run: session})


def _evident(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    item = board.items[facts["feature"]]
    session = board.sessions.get(facts["session"])
    passed = facts["passed"]
    seen = Proof(
        passed,
        at,
        facts["number"],
        facts["commit"],
        facts["tree"],
        facts["because"],
        facts.get("exit_code"),
        facts.get("output_sha256", ""),
        board.count,
    )
    is_changed = passed is not (item.state is State.PASSING) and (passed or item.state is State.PASSING)
    state = State.PASSING if passed else State.REGRESSED if item.state is State.PASSING else item.state
    known = replace(item, state=state, since=at if is_changed else item.since, proof=seen, is_flaky=facts["is_flaky"])
    if is_changed and passed:
        known = replace(known, tries=(), passes=item.passes + 1)
    board = replace(board, items={**board.items, item.feature.id: known})
    return _useful(board, session) if is_changed and known.passes <= PASSES_COUNTED else board


def _useful(board: Board, session: Session | None) -> Board:
    """Something has changed, by that session or outside of every one."""
    if session is None:
        return replace(board, idle=0)
    return replace(board, idle=0, sessions={**board.sessions, session.run: session._replace(is_useful=True)})


def _noted(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    return replace(board, notes=(*board.notes, _remark(board, at, facts))[-NOTES_KEPT:])


def _restored(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    return replace(board, edited=(*board.edited, _remark(board, at, facts))[-EDITED_KEPT:])


def _remark(board: Board, at: float, facts: Mapping[str, Any]) -> Remark:
    session = board.sessions.get(facts["session"])
    return Remark(at, 0 if session is None else session.number, facts["text"])


def _over(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    session = board.sessions[facts["session"]]
    sessions = {run: each for run, each in board.sessions.items() if run != session.run}
    end = Ended(
        session.number,
        session.run,
        session.feature,
        facts["outcome"],
        at,
        facts["commit"],
        facts["branch"],
        facts["record"],
    )
    items = dict(board.items)
    item = items.get(session.feature)
    if item is not None and item.state is not State.PASSING:
        tried = Try(session.number, at, _why_not(item, session, facts), facts["branch"])
        items[session.feature] = replace(item, tries=(*item.tries, tried)[-TRIES_KEPT:], tried=item.tried + 1)
    left = {**board.left, session.place: Left(session.number, session.run, session.feature)}
    return replace(
        board,
        sessions=sessions,
        items=items,
        left=left if facts.get("is_left") else board.left,
        ended=(*board.ended, end)[-ENDED_KEPT:],
        idle=board.idle if session.is_useful or facts["outcome"] == "nothing" else board.idle + 1,
        revisions={**board.revisions, session.place: facts["revision"]},
        revision=max(board.revision, facts["revision"]),
    )


def _cleared(board: Board, at: float, facts: Mapping[str, Any]) -> Board:
    """What a session left elsewhere is on a branch now."""
    place, branch = facts["place"], facts["branch"]
    left = board.left[place]
    ended = tuple(one._replace(branch=branch) if one.run == left.run else one for one in board.ended)
    item, items = board.items.get(left.feature), dict(board.items)
    if item is not None:
        tries = tuple(one._replace(branch=branch) if one.session == left.number else one for one in item.tries)
        items[left.feature] = replace(item, tries=tries)
    return replace(board, left=_without(board.left, place), ended=ended, items=items)


def _why_not(item: Item, session: Session, facts: Mapping[str, Any]) -> str:
    """Why a session ended without its feature passing, in one line: as it said itself, or as its last evidence did."""
    if facts["because"] != UNSAID:
        return str(facts["because"])
    proof = item.proof
    is_own = proof is not None and proof.session == session.number and not proof.passed
    return " ".join(proof.because.split()) if proof is not None and is_own else str(facts["outcome"])


_AFTER: Final = {
    FREEZE: _frozen,
    GO_ON: _gone_on,
    STOP: _stopped,
    BEGIN: _begun,
    CLAIM: _claimed,
    EVIDENCE: _evident,
    NOTE: _noted,
    RESTORED: _restored,
    ENDED: _over,
    CLEARED: _cleared,
}
