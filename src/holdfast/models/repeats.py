"""Which call is only tried again, by an SDK or by a retry loop around it: it is told the same failure once more.

A call is a repeat when the same one has just failed and the agent has asked for nothing else since, or when the SDK
counts its own retries and says so. It costs no request and no step. A cache: with nothing in it, policies multiply.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from holdfast.core.events import Event, Kind

FAILURES_MAX = 64


class Caller(NamedTuple):
    """Who asks."""

    id: int
    """Its task or thread: an SDK tries again in the one that it is called in."""
    is_sdk_retry: bool


@dataclass(slots=True)
class Repeats:
    """The failures of one run that may be asked for again."""

    _failures: dict[str, dict[int, tuple[Event, int]]] = field(default_factory=dict)
    """By digest and caller: how the latest call ended, and how many calls the agent had made then."""

    def before(self, digest: str, caller: Caller, asked: int) -> Event | None:
        """How this very call has just ended, when it is a repeat. asked: how many calls the agent has made."""
        before = self._failures.get(digest, {})
        mine = before.get(caller.id)
        if mine is not None and caller.is_sdk_retry:
            return mine[0]
        found = [mine] if mine is not None else []
        return next((outcome for outcome, then in [*found, *before.values()] if then == asked), None)

    def ended(self, digest: str, caller: Caller, outcome: Event, asked: int) -> None:
        """A call has ended so."""
        if outcome.kind is not Kind.STEP_FAILED:
            self._failures.pop(digest, None)
            return
        self._failures.setdefault(digest, {})[caller.id] = (outcome, asked)
        while len(self._failures) > FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
