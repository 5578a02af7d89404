"""Which ended runs may be forgotten, and what stays of them. Pure.

A run that is forgotten keeps its key: its log becomes two events, which say what it was, how and when it ended and what
it used. It never runs again, and what it charged to its accounts stays.

Invariants
1. Nothing is forgotten that is live, held, has unread mail, or belongs to what is: a run and the runs that are part of
   it are forgotten together or not at all. A chapter is not forgotten while the one after it is live.
2. Without a word about age or number nothing is forgotten.
3. What the accounts hold is the same before and after: `charges.rebuilt` reads it from the two events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from holdfast.core.books import NONE
from holdfast.core.duration import seconds, span
from holdfast.core.events import Event, Kind, meta
from holdfast.core.heads import Head, Status
from holdfast.core.state import State, fold
from holdfast.errors import PolicyInvalid

GRACE_S: Final = 3_600.0
"""A blob that nothing names stays so long after it was last put: its writer may be about to name it."""
WORKER_GRACE_S: Final = 86_400.0
"""A worker that no run names, and that nobody can prove dead, stays so long in the store after its lease has ended."""
_WHY_MAX: Final = 200
_WRITE = 'Write such as ended_before = "30d", keep = 1000, status = ["succeeded"], agents = ["support"].'
_ENDS = tuple(str(status) for status in Status if status.is_end)


@dataclass(frozen=True, slots=True)
class Retention:
    """What is forgotten: runs that fulfil all that is stated here."""

    ended_before_s: float | None = None
    """Those that ended at least so long ago; None: age does not matter."""
    keep: int | None = None
    """But not the newest so many of each agent; None: number does not matter."""
    status: tuple[str, ...] = ()
    """Only those that ended so; empty: however they ended."""
    agents: tuple[str, ...] = ()
    """Only those of these agents; empty: of all."""

    def __bool__(self) -> bool:
        """Whether it forgets anything at all (invariant 2)."""
        return self.ended_before_s is not None or self.keep is not None

    def under(self, other: Retention) -> Retention:
        """The same, with what `other` states in the place of what this one does."""
        stated = {name: value for name in ("ended_before_s", "keep") if (value := getattr(other, name)) is not None}
        stated |= {name: value for name in ("status", "agents") if (value := getattr(other, name))}
        return replace(self, **stated)

    def __str__(self) -> str:
        age = [] if self.ended_before_s is None else [f"ended at least {span(self.ended_before_s)} ago"]
        keep = [] if self.keep is None else [f"not among the newest {self.keep} of their agent"]
        how = [f"{' or '.join(self.status)}"] if self.status else []
        whose = [f"of {' or '.join(self.agents)}"] if self.agents else []
        return ", ".join([*age, *keep, *how, *whose]) if self else "none"


def parse(table: Mapping[str, Any], age_is: str = "[retention] ended_before") -> Retention:
    """What a `[retention]` table says; `PolicyInvalid` for what is not understood.

    age_is: what its reader calls `ended_before`.
    """
    unknown = sorted(table.keys() - {"ended_before", "keep", "status", "agents"})
    if unknown:
        raise PolicyInvalid(f"[retention] {unknown[0]} is not understood. {_WRITE}")
    age, keep = table.get("ended_before"), table.get("keep")
    if keep is not None and (type(keep) is not int or keep < 0):
        raise PolicyInvalid(f"[retention] keep = {keep!r} is no number of runs. {_WRITE}")
    status, agents = _names("status", table.get("status", ())), _names("agents", table.get("agents", ()))
    wrong = [name for name in status if name not in _ENDS]
    if wrong:
        raise PolicyInvalid(f"[retention] status {wrong[0]!r} is no end of a run. Write {', '.join(_ENDS)}.")
    return Retention(None if age is None else seconds(age, age_is), keep, status, agents)


def _names(what: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise PolicyInvalid(f"[retention] {what} = {value!r} is no list of names. {_WRITE}")
    return tuple(names)


class Known(NamedTuple):
    """What must be known of a run to judge it."""

    head: Head
    parent: str = ""
    """The run that it is part of; empty of one that was started by itself, or detached."""
    previous: str = ""
    """The run whose next chapter it is."""
    is_in_use: bool = False
    """Somebody holds it, or it has unread mail."""

    @property
    def is_over(self) -> bool:
        """Whether nobody goes on with it unless somebody reopens it."""
        return self.head.status.is_end and not self.is_in_use


def known(head: Head, first: Event | None, facts: Mapping[str, Any], is_in_use: bool) -> Known:
    """What its first event says; of a run without events, the `facts` of the message that starts it."""
    said = first.facts if first is not None else facts
    parent = "" if said.get("detached") else said.get("parent") or ""
    return Known(head, parent, said.get("previous") or "", is_in_use)


class Chosen(NamedTuple):
    """What may be forgotten now."""

    forget: list[str]
    """Ids, in the order in which it is done: a run before those that are part of it, so that it is never reopened
    without them."""
    kept: dict[str, int]
    """Of the runs that have ended: how many stay, by the reason."""


def choose(retention: Retention, runs: Sequence[Known], now: float) -> Chosen:
    """What may be forgotten of these, which are all runs of the store."""
    by_id = {run.head.run_id: run for run in runs}
    families: dict[str, list[Known]] = {}
    for run in runs:
        families.setdefault(_root(run, by_id), []).append(run)
    is_continued = {run.previous for run in runs if run.previous and not run.head.status.is_end}
    newest = _newest(retention, [by_id[root] for root in families])
    chosen = Chosen([], {})
    for root, family in families.items():
        why = _why_kept(retention, by_id[root], family, is_continued, now, newest)
        gone = [run.head.run_id for run in family if not run.head.is_forgotten]
        if not why:
            chosen.forget.extend(sorted(gone, key=lambda run_id: run_id != root))
        elif over := sum(run.head.status.is_end and not run.head.is_forgotten for run in family):
            chosen.kept[why] = chosen.kept.get(why, 0) + over
    return chosen


def _root(run: Known, by_id: Mapping[str, Known]) -> str:
    seen: set[str] = set()
    while run.parent in by_id and run.head.run_id not in seen:
        seen.add(run.head.run_id)
        run = by_id[run.parent]
    return run.head.run_id


def _newest(retention: Retention, roots: Iterable[Known]) -> set[str]:
    """Those that stay because there are not enough newer ones of their agent."""
    by_agent: dict[str, list[Known]] = {}
    for run in roots:
        if retention.keep is not None and run.is_over and not run.head.is_forgotten and _is_meant(retention, run):
            by_agent.setdefault(run.head.agent, []).append(run)
    newest: set[str] = set()
    for ended in by_agent.values():
        ended.sort(key=lambda run: run.head.updated_at, reverse=True)
        newest.update(run.head.run_id for run in ended[: retention.keep])
    return newest


def _is_meant(retention: Retention, root: Known) -> bool:
    is_status = not retention.status or root.head.status in retention.status
    return is_status and (not retention.agents or root.head.agent in retention.agents)


def _why_kept(
    retention: Retention,
    root: Known,
    family: Sequence[Known],
    is_continued: Set[str],
    now: float,
    newest: set[str],
) -> str:
    """Why a run and those that are part of it stay; empty when they may go. The run itself is what is judged."""
    if not all(run.is_over for run in family):
        return "a run that it belongs to is live"
    if any(run.head.run_id in is_continued for run in family):
        return "its next chapter is live"
    if root.head.is_forgotten:
        return ""  # it was begun, and cut short
    if not retention or not _is_meant(retention, root):
        return "retention is about others"
    if root.head.run_id in newest:
        return "it is among the newest of its agent"
    ended_at = max(run.head.updated_at for run in family)
    if retention.ended_before_s is not None and ended_at > now - retention.ended_before_s:
        return "it ended not long ago"
    return ""


class Tombstone(NamedTuple):
    """What stays of a run."""

    events: list[Event]
    head: Head


def tombstone(events: Sequence[Event], now: float) -> Tombstone:
    """What stays of an ended run with this log, forgotten now."""
    state = fold(events)
    assert state.end is not None
    facts, ended = events[0].facts, state.end.facts
    begun = meta(
        run=state.run_id,
        agent=state.agent,
        key=state.key,
        input_digest=state.input_digest,
        limits=list(state.limits),
        seed="",
        created_at=state.created_at,
        chapter=facts.get("chapter"),
        previous=facts.get("previous"),
        parent=facts.get("parent"),
        depth=facts.get("depth"),
        detached=facts.get("detached"),
        accounts=facts.get("accounts"),
        is_priced=facts.get("is_priced"),
    )
    over = meta(
        outcome=state.status,
        why=state.why[:_WHY_MAX],
        limit=ended.get("limit"),
        continued=ended.get("continued"),
        forgotten=now,
        totals=_totals(state),
    )
    kept = [Event(Kind.RUN_STARTED, events[0].at, meta=begun), Event(Kind.RUN_ENDED, state.end.at, meta=over)]
    return Tombstone(kept, fold(kept).head())


def _totals(state: State) -> dict[str, Any]:
    """What it charged, as `State` reads it back."""
    days = {str(day): [list(part) for part in sums] for day, sums in state.books.days.items() if sums != NONE}
    totals: dict[str, Any] = {"spent": list(state.spent), "reserved": list(state.reserved)}
    return totals | ({"days": days} if days else {}) | ({"shared": True} if state.books.is_shared else {})
