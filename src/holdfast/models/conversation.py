"""What a run remembers of its model requests, so that a turn costs what is new in it.

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
from holdfast.models.bounds import long_kept_at
from holdfast.models.call import Asked, Provider

KEPT_MAX = 8
BYTES_MAX = 64 << 20
SAVING_MIN = 1024
"""A request is stored whole, for people to read, unless this many bytes are saved."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request, and what came of it."""

    body: Body
    api: tuple[Provider, str]
    """Whose it is, and its path."""
    asked: Asked
    head: str
    """Digest of the head."""
    digest: str
    """What the request is addressed by."""
    weights: list[int]
    """Upper bound of the tokens of the first 1, 2, 3 … messages."""
    long_at: int
    """Where it may ask for a cache that is kept for an hour, -1 where it does not (`bounds.long_kept_at`)."""
    near: Turn | None = None
    """The earlier request that begins most alike."""
    alike: int = 0
    """Bytes with which both are known to begin."""
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
        near, alike = self._nearest(raw, provider.HISTORY)
        body = read(raw, provider.HISTORY, None if near is None else near.body, alike)
        if body is None:
            return None
        api = (provider, path)
        if near is not None and body.head is near.body.head and api == near.api:
            asked, head = near.asked, near.head
        else:
            asked = provider.asked(body.head, path, body.head_size)
            try:
                head = body.head_digest(asked.model, "stream" if asked.is_stream else "")
            except RecursionError:  # it was just not too deep to be read
                return None
        weights = near.weights[: body.known] if near is not None else []
        for message, size in zip(body.fresh, body.fresh_sizes, strict=True):
            before = weights[-1] + 1 if weights else 0  # a comma is a byte too
            weights.append(before + provider.weigh(message, size))
        long_at = _long_kept_at(body, near)
        return Turn(body, api, asked, head, body.digest_with(head), weights, long_at, near, alike)

    def _nearest(self, raw: bytes, member: str) -> tuple[Turn | None, int]:
        """Of the requests that are kept, the one that begins most alike, and for how many bytes at least."""
        best, longest = None, 0
        for turn in reversed(self._kept):
            ends = turn.body.ends
            theirs = memoryview(turn.body.raw)  # compares without a copy
            if turn.body.member != member or not ends or not raw.startswith(theirs[: ends[0]]):
                continue
            if raw.startswith(theirs[: ends[-1]]):
                return turn, ends[-1]
            shared = common(raw, turn.body.raw, ends[0])
            if shared > longest:
                best, longest = turn, shared
        return best, longest

    def keep(self, turn: Turn, address: Address, outcome: Event | None) -> None:
        """Remember it; one that it goes on from is not needed any more, unless only that one was counted."""
        turn.address, turn.outcome, turn.near, turn.body.since = address, outcome, None, None
        is_counted = turn.counted is not None
        others = [
            other
            for other in self._kept
            if other is not turn and not (turn.follows(other) and (is_counted or other.counted is None))
        ]
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
        number, change = 0, Difference(0, 0, raw)
        for other in self._bases(turn):
            if known := self._number(other):
                found = difference(raw, other.body.raw, turn.alike if other is turn.near else 0)
                if len(found.new) < len(change.new) - (0 if number else SAVING_MIN):
                    number, change = known, found
                if number and (len(change.new) <= SAVING_MIN or _is_grown(change, other)):
                    break
        if not number:
            return raw, facts
        return change.new, facts | {"base": [number, change.head, change.tail]}

    def _bases(self, turn: Turn) -> list[Turn]:
        """Requests that it may be stored as a change of, the likeliest first."""
        likely = [turn] if turn.near is None else [turn, turn.near]
        return [*likely, *(other for other in reversed(self._kept) if other not in likely)]

    def _number(self, turn: Turn) -> int:
        """Number of the intent that holds exactly these bytes, 0 when there is none."""
        slot = self.state().slots.get(turn.address) if turn.address is not None else None
        if slot is None or slot.intent is None or slot.intent.body is None:
            return 0
        return slot.intent_no if slot.intent.facts.get("sha") == turn.body.sha else 0


def _long_kept_at(body: Body, near: Turn | None) -> int:
    """See `Turn.long_at`: the messages that the earlier request had are not searched again."""
    shared = body.ends[body.known - 1] if body.known else 0
    if near is not None and 0 <= near.long_at < shared:
        return near.long_at
    return long_kept_at(body.raw, max(0, shared - 1))


def _is_grown(change: Difference, other: Turn) -> bool:
    """Whether all messages of the other one are saved: no other saves more."""
    ends = other.body.ends
    return bool(ends) and change.head >= ends[-1]


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
