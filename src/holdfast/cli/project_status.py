"""`holdfast project status`: each feature of a project, where it is, by what evidence, and who holds it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli import option
from holdfast.cli.output import SCHEMA, document, paint, text

if TYPE_CHECKING:
    from holdfast.core.board import Board, Item, Session
    from holdfast.core.known import Facts, Live

_COLOURS = {"passing": "green", "regressed": "red", "open": ""}
_BAR_WIDTH = 20
_BRANCHES_SHOWN = 20


@click.command()
@option.directory
@option.json
def status(directory: str, is_json: bool) -> int:
    """Each feature of the project: where it is, by what evidence, how often it was tried, and who holds it."""
    from holdfast.memory.brief import gather, opened  # loads the engine

    with opened(directory) as project:
        facts = gather(project, with_branches=True)
    if is_json:
        document({"schema": SCHEMA, **facts_of(facts)})
    else:
        _table(facts)
    return 0


def facts_of(facts: Facts) -> dict[str, Any]:
    """The project as plain data."""
    from holdfast.core.unfinished import forgotten

    board, work, tree = facts.board, facts.work, facts
    return {
        "project": {
            "name": board.name,
            "digest": board.digest,
            "frozen_by": board.frozen_by,
            "sessions": board.numbered,
            "idle": board.idle,
            "stopped": board.stopped,
            "spent": None if facts.spent is None else facts.spent._asdict(),
            "next": None if work.feature is None else work.feature.id,
            "why": work.why,
            "is_over": work.is_over,
        },
        "features": [_feature(item, facts) for item in board.items.values()],
        "sessions": [_session(session, facts.live[session.run]) for session in board.sessions.values()],
        "ended": [{**one._asdict(), "digest": dict(one.digest)} for one in board.ended],
        "left": [{**one._asdict(), "place": place} for place, one in board.left.items()],
        "notes": [note._asdict() for note in board.notes],
        "edited": [edit._asdict() for edit in board.edited],
        "put_aside": [
            {"branch": name, "at": at, "is_old": name in forgotten(board, tree.put_aside, tree.now)}
            for name, at in tree.put_aside.items()
        ],
        "tree": {"commit": tree.commit, "branch": tree.branch, "dirty": list(tree.dirty), "why": tree.unknown_tree},
    }


def _session(session: Session, live: Live) -> dict[str, Any]:
    return {**session._asdict(), "hold": str(live.hold), "why": live.why, "digest": dict(live.digest)}


def _feature(item: Item, facts: Facts) -> dict[str, Any]:
    feature = item.feature
    holder = next((each.number for each in facts.board.sessions.values() if each.feature == feature.id), None)
    return {
        "id": feature.id,
        "description": feature.description,
        "check": {"kind": feature.check.kind, "target": feature.check.target},
        "priority": feature.priority,
        "after": list(feature.after),
        "state": str(item.state),
        "since": item.since,
        "proof": None if item.proof is None else item.proof._asdict(),
        "is_flaky": item.is_flaky,
        "tried": item.tried,
        "tries": [each._asdict() for each in item.tries],
        "held_by": holder,
    }


def _table(facts: Facts) -> None:
    from rich.table import Table  # heavy; only for the human form

    from holdfast.core.brief import amount, counts
    from holdfast.views.text import counted

    board = facts.board
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("feature", "state", "evidence", "tried", "held by", "what it is to do"):
        table.add_column(title, no_wrap=title in ("feature", "state", "tried"), overflow="fold")
    for item in map(lambda each: _feature(each, facts), board.items.values()):
        held = "" if item["held_by"] is None else f"session {item['held_by']}"
        state = item["state"] + (", flaky" if item["is_flaky"] else "")
        cells = (_evidence(item, facts.now), str(item["tried"]), held, item["description"])
        table.add_row(
            text(item["id"]), text(state, _COLOURS[item["state"]]), *(text(cell, limit=200) for cell in cells)
        )
    spent = "" if facts.spent is None else f" · {amount(facts.spent)}"
    paint(
        text(f"{_bar(board)} {counts(board)} {counted(board.numbered, 'session')}{spent}", "bold"),
        table,
        text(_next(facts)),
        *(text(told) for told in (*_stranded(facts), *_old_branches(facts))),
    )


def _stranded(facts: Facts) -> list[str]:
    """Sessions that nobody can go on with, and how what they hold is free again."""
    from holdfast.core.unfinished import give_back

    ours = [(session, facts.live[session.run]) for session in facts.board.sessions.values()]
    return [
        f"session {session.number}: its process and its working tree are gone; {give_back(session, live)}"
        for session, live in ours
        if live.hold == "nowhere"
    ]


def _old_branches(facts: Facts) -> list[str]:
    """Branches that nobody is told of any more, and how they go: nothing removes them by itself."""
    from holdfast.core.unfinished import forgotten

    old = forgotten(facts.board, facts.put_aside, facts.now)
    if not old:
        return []
    some = shlex.join(old[:_BRANCHES_SHOWN])  # names that an agent may have chosen
    more = f"; then there are {len(old) - _BRANCHES_SHOWN} more" if len(old) > _BRANCHES_SHOWN else ""
    return [f"old unfinished work that no brief names any more goes by: git branch -D -- {some}{more}"]


def _bar(board: Board) -> str:
    passing = sum(item.state == "passing" for item in board.items.values())
    filled = _BAR_WIDTH * passing // len(board.items) if board.items else 0
    return "█" * filled + "░" * (_BAR_WIDTH - filled)


def _evidence(item: dict[str, Any], now: float) -> str:
    from holdfast.views.text import ago

    proof = item["proof"]
    if proof is None:
        return "none yet"
    said = "passed" if proof["passed"] else proof["because"]
    return f"{said}, {ago(now - proof['at'])} ago, on {proof['commit'][:10] or 'no commit'}"


def _next(facts: Facts) -> str:
    work = facts.work
    return f"next: {work.why}" if work.feature is None else f"next: {work.feature.id}, {work.why}"
