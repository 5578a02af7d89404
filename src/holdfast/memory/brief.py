"""Gathers what the brief of a project is made of: its board, what the records of sessions say, and what git says.

It opens the store, reads, and closes it. Never: writes, carries out what lies there, or reads a view. Nothing of the
runtime that drives runs is loaded, so that a new process has the brief in a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from holdfast.core.assignment import next_work
from holdfast.core.board import Board, Ended, Session, cell_of
from holdfast.core.brief import TOKENS
from holdfast.core.brief import brief as made
from holdfast.core.digest import digest_of
from holdfast.core.events import Charge
from holdfast.core.heads import Status
from holdfast.core.known import Facts, Hold, Live
from holdfast.core.state import fold
from holdfast.journal.open import open_journal
from holdfast.journal.process import holder
from holdfast.memory.glance import glance
from holdfast.memory.place import Place, is_gone, named, place_of
from holdfast.memory.record import ProjectRecord
from holdfast.protocols import Journal
from holdfast.runtime.clock import SystemClock


class Opened(NamedTuple):
    """A project whose store is open."""

    journal: Journal
    name: str
    place: Place


@contextmanager
def opened(directory: str | Path) -> Iterator[Opened]:
    """The project of this directory, for as long as the block lasts; NotFound when there is none."""
    place = place_of(directory)
    known = named(place)
    journal = open_journal(known.store, clock=SystemClock().now, must_exist=True)
    try:
        yield Opened(journal, known.name, place)
    finally:
        journal.close()


def brief(directory: str | Path = ".", tokens: int = TOKENS, *, journal: Journal | None = None, me: str = "") -> str:
    """What the next agent in this directory has to know. journal: the project's store, where it is open already."""
    if journal is not None:
        place = place_of(directory)
        return made(replace(gather(Opened(journal, named(place).name, place)), me=me), tokens).text
    with opened(directory) as project:
        return made(gather(project), tokens).text


def gather(project: Opened, *, with_branches: bool = False) -> Facts:
    """Everything that the brief is made of, as it is now. with_branches: and those of unfinished work."""
    journal, name, place = project
    board = ProjectRecord(journal, name).board()
    tree = glance(place.directory, with_branches=with_branches)
    return Facts(
        board=replace(board, ended=tuple(_as_of_now(journal, each) for each in board.ended)),
        work=next_work(board, place=place.id),
        now=journal.now(),
        place=place.id,
        live={session.run: _live(journal, session) for session in board.sessions.values()},
        commit=tree.commit,
        branch=tree.branch,
        dirty=tree.dirty,
        unknown_tree=tree.why,
        put_aside=tree.put_aside,
        has_init=(place.directory / "init.sh").is_file(),
        spent=_spent(journal, board),
    )


def _live(journal: Journal, session: Session) -> Live:
    """Where the run of an open session is, and what its record says so far."""
    head = journal.head(session.run)
    if head is None:
        return Live(Hold.UNKNOWN)
    digest = _digest(journal, session.run)
    if head.status.is_end:
        return Live(Hold.OVER, f"{head.status}: {head.why}" if head.why else str(head.status), digest)
    if head.status is Status.SUSPENDED:
        return Live(Hold.WAITING, head.why, digest)
    if holder(journal, session.run) is not None:
        return Live(Hold.ALIVE, "", digest, head.key)
    return Live(Hold.NOWHERE if is_gone(session.place) else Hold.GONE, "", digest, head.key)


def _digest(journal: Journal, run: str) -> dict[str, Any]:
    return digest_of(fold(journal.events(run)))


def _as_of_now(journal: Journal, ended: Ended) -> Ended:
    """What was in doubt when a session ended may be settled since then: its record knows, while there is one."""
    if not (ended.digest.get("in_doubt") or ended.digest.get("under_way")):
        return ended
    state = fold(journal.events(ended.run))
    return ended if state.is_forgotten or not state.count else ended._replace(digest=digest_of(state))


def _spent(journal: Journal, board: Board) -> Charge | None:
    account = journal.account(cell_of(board.name))
    return None if account is None else account.spent.plus(account.reserved)
