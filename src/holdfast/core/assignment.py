"""What is to be worked on next in a project, and which features are looked at again before that. Pure.

1. A list that passes whole is over, whatever else is said: there is nothing to do.
2. A stopped project begins nothing. What an open session of this place has already claimed goes on.
3. After `IDLE_MAX` sessions in a row that changed nothing, a person has to let it go on.
4. What passed once and does not any more comes first; then the higher priority, fewer tries, the order of the list. A
   feature whose turn has not come (`after`), or which another session holds, is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from holdfast.core.board import Board, Item, Session, State
from holdfast.core.feature import Check, Feature

IDLE_MAX: Final = 3
_NAMED_MAX: Final = 3
"""Features that a reason names."""


class Halt(StrEnum):
    """Why nothing comes next."""

    COMPLETE = "complete"
    """All features pass."""
    STOPPED = "stopped"
    """A person has said so."""
    NO_PROGRESS = "no_progress"
    """Sessions in a row have changed nothing."""
    NOTHING = "nothing"
    """What is left is held by others, or its turn has not come; or no list is frozen."""


class Work(NamedTuple):
    """What comes next."""

    feature: Feature | None
    """None: nothing does, and `why` says why."""
    why: str
    halt: Halt | None = None
    """Where there is no feature: what sort of reason that is."""

    @property
    def is_over(self) -> bool:
        """All features pass."""
        return self.halt is Halt.COMPLETE


def next_work(board: Board, regressed: Sequence[str] = (), place: str = "") -> Work:
    """What a session at `place` is to work on. regressed: features that were just found not to pass any more."""
    if not board.digest:
        return Work(None, "no list is frozen", Halt.NOTHING)
    broken = {item.feature.id for item in board.items.values() if item.state is State.REGRESSED} | {*regressed}
    broken &= board.items.keys()
    wanted = [item for item in board.items.values() if item.state is not State.PASSING or item.feature.id in broken]
    if not wanted:
        return Work(None, f"all {len(board.items)} features pass", Halt.COMPLETE)
    if board.stopped:
        return Work(None, f"stopped: {board.stopped}", Halt.STOPPED)
    held = board.held()
    for item in wanted:
        holder = held.get(item.feature.id)
        if holder is not None and place and holder.place == place:
            return Work(item.feature, f"session {holder.number} has begun it here")
    if board.idle >= IDLE_MAX:
        return Work(None, f"no progress in {board.idle} sessions", Halt.NO_PROGRESS)
    free = [item for item in wanted if not _waits_for(board, item, held, broken)]
    if not free:
        whys = [f"{item.feature.id} {_waits_for(board, item, held, broken)}" for item in wanted]
        more = f" and {len(whys) - _NAMED_MAX} more" if len(whys) > _NAMED_MAX else ""
        return Work(None, f"nothing can begin: {'; '.join(whys[:_NAMED_MAX])}{more}", Halt.NOTHING)
    chosen = min(free, key=lambda item: (item.feature.id not in broken, -item.feature.priority, item.tried))
    return Work(chosen.feature, _why(chosen, is_broken=chosen.feature.id in broken))


def _waits_for(board: Board, item: Item, held: dict[str, Session], broken: set[str]) -> str:
    """What keeps a feature from being begun; empty when nothing does."""
    name = item.feature.id
    if name in held:
        return f"is held by session {held[name].number}"
    lacking = {*board.lacks(item), *(broken & {*item.feature.after})}
    return f"comes after {', '.join(sorted(lacking))}" if lacking else ""


def _why(item: Item, *, is_broken: bool) -> str:
    if is_broken:
        because = f": {item.proof.because}" if item.proof is not None and not item.proof.passed else ""
        return f"it passed once, and does not any more{because}"
    first = f"priority {item.feature.priority}" if item.feature.priority else "next on the list"
    return f"{first}, tried {item.tried} time{'' if item.tried == 1 else 's'} before" if item.tried else first


def to_recheck(
    board: Board,
    changed: Collection[str],
    contained: Callable[[str], bool],
    most: int,
    draw: Callable[[], float],
) -> list[Feature]:
    """At most `most` features that pass, to find out whether they still do.

    Only those whose proof is of a commit that the tree is made from. Those that the `changed` paths touch come first,
    then those that were not looked at for longest; of these the last is drawn, so that none can be sure to be passed
    over.
    """
    known: dict[str, bool] = {}
    passing = [item for item in board.passing if _is_contained(item, known, contained)]
    passing.sort(key=lambda item: item.proof.at if item.proof is not None else 0.0)
    touched = [item for item in passing if _touches(item.feature.check, changed)][:most]
    others = [item for item in passing if not _touches(item.feature.check, changed)]
    room = most - len(touched)
    chosen, rest = others[:room], others[room:]
    if chosen and rest:
        pool = [chosen.pop(), *rest]
        chosen.append(pool[min(int(draw() * len(pool)), len(pool) - 1)])
    return [item.feature for item in (*touched, *chosen)]


def _is_contained(item: Item, known: dict[str, bool], contained: Callable[[str], bool]) -> bool:
    if item.proof is None:
        return False
    commit = item.proof.commit
    if commit not in known:
        known[commit] = contained(commit)
    return known[commit]


def _touches(check: Check, changed: Collection[str]) -> bool:
    """Whether what a check is made of is among these paths."""
    if check.kind == "pytest":
        named = [check.target.partition("::")[0]]
    else:
        named = check.argv if check.kind == "command" else []
    return any(path in changed for path in (*check.pins, *named))
