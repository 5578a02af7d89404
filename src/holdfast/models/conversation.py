"""What a run remembers of its model requests, so that a turn costs the same however long the conversation is.

Invariants
1. It is a cache: with nothing in it every answer is the same, only dearer; of the bound, only higher.
2. A stored request names an earlier one only by the number of an intent whose bytes are known to be equal.
3. At most `KEPT_MAX` requests and `BYTES_MAX` bytes are kept; the latest stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.events import Address, Event, Kind, StepKind
from holdfast.core.state import State
from holdfast.errors import JournalCorrupt
from holdfast.models.body import Body, Difference, common, difference, read
from holdfast.models.call import Asked, Provider

KEPT_MAX = 8
BYTES_MAX = 64 << 20
SAVING_MIN = 1024
"""A request is stored whole, for people to read, unless this many bytes are saved."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request, and what came of it."""

    body: Body
    asked: Asked
    head: str
    """Digest of the head."""
    digest: str
    """What the request is addressed by."""
    weights: list[int]
    """Upper bound of the tokens of the first 1, 2, 3 … messages."""
    address: Address | None = None
    outcome: Event | None = None

    @property
    def weight(self) -> int:
        """Upper bound of the tokens of all messages."""
        return self.weights[-1] if self.weights else 0

    @property
    def counted(self) -> int | None:
        """The input tokens that the provider counted, once this model has answered and said so."""
        facts = self.outcome.facts if self.outcome is not None else {}
        usage = facts.get("usage")
        if usage is None or facts.get("model") != self.asked.model:
            return None
        return int(sum(usage.get(part, 0) for part in ("input", "cache_read", "cache_write")))

    def follows(self, other: Turn) -> bool:
        """Whether this is the other one with more, or no more, messages."""
        mine, theirs = self.body.history, other.body.history
        if self.head != other.head or len(theirs) > len(mine):
            return False
        return not theirs or mine[len(theirs) - 1] == theirs[-1]


@dataclass(slots=True)
class Conversations:
    """The latest requests of one run."""

    state: Callable[[], State]
    _kept: list[Turn] = field(default_factory=list)

    def read(self, raw: bytes, provider: Provider, path: str) -> Turn | None:
        """The request; None when it is no JSON object."""
        near = self._nearest(raw, provider.HISTORY)
        body = read(raw, provider.HISTORY, None if near is None else near.body)
        if body is None:
            return None
        asked = provider.asked(body.head, path, body.head_size)
        try:
            head = body.head_digest(asked.model, "stream" if asked.is_stream else "")
        except RecursionError:  # it was just not too deep to be read
            return None
        weights = near.weights[: body.known] if near is not None else []
        for message, size in zip(body.fresh, body.fresh_sizes, strict=True):
            weights.append((weights[-1] if weights else 0) + provider.weigh(message, size))
        return Turn(body, asked, head, body.digest(asked.model, "stream" if asked.is_stream else ""), weights)

    def _nearest(self, raw: bytes, member: str) -> Turn | None:
        """Of the requests that are kept, the one that begins most alike."""
        best, longest = None, 0
        for turn in reversed(self._kept):
            if turn.body.member != member:
                continue
            shared = common(raw, turn.body.raw)
            if turn.body.ends and shared >= turn.body.ends[-1]:
                return turn
            if shared > longest:
                best, longest = turn, shared
        return best

    def keep(self, turn: Turn, address: Address, outcome: Event | None) -> None:
        """Remember it; one that it goes on from is not needed any more."""
        turn.address, turn.outcome = address, outcome
        others = [other for other in self._kept if other is not turn and not turn.follows(other)]
        self._kept = [*others[-(KEPT_MAX - 1) :], turn]
        while len(self._kept) > 1 and sum(len(other.body.raw) for other in self._kept) > BYTES_MAX:
            self._kept.pop(0)

    def messages_max(self, turn: Turn) -> int:
        """Upper bound of the input tokens of its messages: their weight, or what the provider counted for the longest
        conversation that it goes on from, and the weight of the rest."""
        known = [
            max(0, counted - turn.asked.head_max) + turn.weight - other.weight
            for other in self._kept
            if turn.follows(other) and (counted := other.counted) is not None
        ]
        return min([turn.weight, *known])

    def stored(self, turn: Turn) -> tuple[bytes, dict[str, Any]]:
        """Body and facts of its intent: what it changes of an earlier one, where that saves anything."""
        raw, facts = turn.body.raw, {"sha": turn.body.sha}
        best: tuple[int, Difference] | None = None
        for other in reversed([*self._kept, turn]):
            number = self._number(other)
            if number and (best is None or len(best[1].new) > SAVING_MIN):
                change = difference(raw, other.body.raw)
                whole = len(raw) - SAVING_MIN if best is None else len(best[1].new)
                if len(change.new) < whole:
                    best = (number, change)
        if best is None:
            return raw, facts
        number, change = best
        return change.new, facts | {"base": [number, change.head, change.tail]}

    def _number(self, turn: Turn) -> int:
        """Number of the intent that holds exactly these bytes, 0 when there is none."""
        slot = self.state().slots.get(turn.address) if turn.address is not None else None
        if slot is None or slot.intent is None or slot.intent.body is None:
            return 0
        return slot.intent_no if slot.intent.facts.get("sha") == turn.body.sha else 0


def request_of(events: Sequence[Event], number: int) -> bytes:
    """The request that intent `number` of this run stands for, bit for bit as it was sent.

    `JournalCorrupt` when the record does not hold it; empty for one whose content was not kept (`capture="digests"`).
    """
    changes: list[Difference] = []
    while True:
        event = events[number - 1] if 0 < number <= len(events) else None
        if event is None or event.kind is not Kind.STEP_INTENDED or event.step is not StepKind.MODEL:
            raise JournalCorrupt(f"Event {number} is no request of a model call. Nothing was changed.")
        if event.body is None:
            return b""
        facts = event.facts
        if "base" not in facts:
            break
        number, head, tail = facts["base"]
        changes.append(Difference(head, tail, event.body))
    raw = event.body
    for change in reversed(changes):
        raw = change.applied(raw)
    return raw
