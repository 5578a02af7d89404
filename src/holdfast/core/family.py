"""Runs that are parts of another: what keeps one from being started, and what its end means to its parent. Pure.

A child is a run like any other, with a key and a log of its own. Its parent knows it by the step that started it, and
learns of its end by a message in the same append as that end.
"""

from __future__ import annotations

from typing import Any

from holdfast.core.failure import Failure, FailureKind
from holdfast.core.heads import Status
from holdfast.core.state import State

KEY_MAX = 200


def refusal(state: State, *, depth_max: int, children_max: int) -> str:
    """Why this run may start no further child; empty when it may."""
    if state.depth >= depth_max:
        return f"this run is {state.depth} deep below the first already, and {depth_max} is the most (depth_max)"
    if len(state.children) >= children_max:
        return f"this run has started {len(state.children)} runs already, and {children_max} is the most (children_max)"
    return ""


def refused(name: str, because: str) -> Failure:
    """The failure of a child that was not started."""
    text = f"{name} was not started: {because}"
    return Failure(FailureKind.REFUSED, "Refused", text, text, because=because)


def key_of(parent: str, name: str, child: str) -> str:
    """The child's key: for people, and to look it up. Its id does not come from it."""
    own = f"/{name}.{child.removeprefix('run_')[:6]}"
    return parent[: KEY_MAX - len(own)] + own


def fate(status: Status) -> Status:
    """How the children end whose parent has ended so: what can be resumed with it is stopped, the rest cancelled."""
    return Status.STOPPED if status in (Status.FAILED, Status.STOPPED) else Status.CANCELLED


def error_of(outcome: str, limit: str | None) -> str:
    """The class of the error that a child's end is to its parent."""
    if outcome == Status.STOPPED:
        return "BudgetExceeded" if limit else "RunStopped"
    return "RunCancelled" if outcome == Status.CANCELLED else "RunFailed"


def failure(child: str, outcome: str, why: str, limit: str | None) -> dict[str, Any]:
    """The facts of a child's step whose run has ended without a result."""
    text = f"Run {child} {outcome}: {why}" if why else f"Run {child} {outcome}"
    error = error_of(outcome, limit)
    failed = Failure(FailureKind.PERMANENT, error, text, f"{error}({text!r})", because=f"its run {outcome}")
    return failed.facts() | {"child": child, "outcome": outcome, "limit": limit}
