"""Approvals as a record shows them, judged without the code that grants them.

Invariants
1. An effect that needs an approval begins only between an "approve" and its end, of the question that was asked last
   about that step, or of a list that names its call; but it begins again while nobody knows that it did not happen.
2. Where two of some people must agree, two of them have said so of this logical attempt, and both words hold.
3. An "approve" is used by one logical attempt of one step; each line of a list too.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from holdfast.core.events import Address, Event, Kind, StepKind
from proof.simulated_agent import PEOPLE

NEED = frozenset({"sign", "seal", "attest"})
"""Steps that need one."""
NEED_TWO = frozenset({"attest"})
"""Steps that need two, of `PEOPLE`."""

User = tuple[Address, int]
_ENDS = frozenset({Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.ATTEMPT_FAILED})


def _is_certain(event: Event) -> bool:
    """Whether nothing of the step is under way after it."""
    if event.kind not in _ENDS or event.step is StepKind.VERIFY:
        return False
    return event.kind is not Kind.ATTEMPT_FAILED or event.facts.get("is_definite", True) is True


class Book:
    """What one run was allowed, and what it did."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self._asked: dict[str, tuple[Address, dict[str, Any]]] = {}
        self._latest: dict[Address, str] = {}
        """By step: the question that was asked last about it."""
        self._until: dict[str, tuple[float, float]] = {}
        """Of what was approved: since when and until when."""
        self._used: dict[str, User] = {}
        self._lines: dict[str, list[tuple[str, str]]] = {}
        """Of lists that were approved: calls that nothing has used yet."""
        self._by_line: dict[User, str] = {}
        self._about: dict[str, User] = {}
        """Of which logical attempt a question is."""
        self._words: dict[User, list[tuple[str, float, float]]] = {}
        """Who has approved a logical attempt, since when and until when."""
        self._in_flight: set[User] = set()
        """Begun, and nobody knows that it did not happen."""

    def take(self, event: Event) -> None:
        """One more event of the record."""
        facts = event.facts
        if event.kind is Kind.QUESTION_ASKED and facts["about"] == "approve" and event.address is not None:
            self.seen["approvals_asked_anew"] += event.address in self._latest
            self._asked[facts["id"]] = (event.address, facts)
            self._about[facts["id"]] = (event.address, event.logical)
            self._latest[event.address] = facts["id"]
        elif event.kind is Kind.QUESTION_CLOSED and facts["id"] in self._asked:
            self._closed(facts)
        elif event.kind is Kind.DECIDED and facts["what"] == "approval" and event.address is not None:
            self._take_line(event.address, facts)
        elif event.kind is Kind.STEP_INTENDED and event.address is not None and event.address.name in NEED:
            self._began((event.address, event.logical), event.at)
            self._in_flight.add((event.address, event.logical))
        elif event.address is not None and _is_certain(event):
            self._in_flight.discard((event.address, event.logical))

    def _closed(self, facts: dict[str, Any]) -> None:
        question = facts["id"]
        if facts["outcome"] != "answered" or facts["choice"] != "approve":
            self.seen["approvals_declined" if facts["outcome"] == "answered" else "approvals_expired"] += 1
            return
        asked = self._asked[question][1]
        self._until[question] = (facts["answered_at"], facts["answered_at"] + asked["valid_s"])
        word = (facts.get("by", ""), *self._until[question])
        self._words.setdefault(self._about[question], []).append(word)
        self._lines[question] = [(tool, args) for tool, _, args in asked.get("calls", ())]

    def _take_line(self, address: Address, facts: dict[str, Any]) -> None:
        question, line = facts["grant"][0], (facts["grant"][1], facts["grant"][-1])
        user = (address, facts["logical"])
        if line not in self._lines.get(question, []) or line != (address.name, address.digest):
            self.wrong.append(f"{user} begins by a line of {question} that is not there, or was used")
            return
        self._lines[question].remove(line)
        self._by_line[user] = question

    def _began(self, user: User, at: float) -> None:
        if user in self._in_flight:  # the same intent
            return
        if user[0].name in NEED_TWO:
            self._began_by_two(user, at)
            return
        line, own = self._by_line.get(user, ""), self._latest.get(user[0], "")
        if self._holds(own, at):
            self.seen["approvals_used"] += 1
            if self._used.setdefault(own, user) != user:
                self.wrong.append(f"{user} begins by {own}, which {self._used[own]} had used")
        elif self._holds(line, at):
            self.seen["approvals_used_of_a_list"] += 1
        else:
            self.wrong.append(f"{user} begins at {at:.1f}, and nothing approves it then: {self._until}")

    def _began_by_two(self, user: User, at: float) -> None:
        holding = {by for by, since, until in self._words.get(user, []) if since <= at < until}
        self.seen["approvals_of_two"] += 1
        if len(holding & set(PEOPLE)) < 2:
            self.wrong.append(f"{user} begins at {at:.1f}, and only these agree then: {sorted(holding)}")

    def _holds(self, question: str, at: float) -> bool:
        since, until = self._until.get(question, (0.0, 0.0))
        return since <= at < until
