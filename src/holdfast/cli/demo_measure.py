"""What the demo saw, counted: from the journal, the effect ledger and the model server, and from nothing else.

A *step* is one ticket here, its place in the list counted from 1. Never: knows which tickets deserve what, nor what
the numbers should be; `Measured.faults` compares them with each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.events import Address, Charge, Event, Kind, StepKind
from holdfast.core.slot import Slot
from holdfast.core.state import State, fold
from holdfast.journal.codec import decode
from holdfast.testing import ledger, model_server

_EFFECT_OF = {"write_mail": "mail"}
"""What a tool's effect is called in the ledger, where it is not the tool's own name."""
_TICKET = re.compile(r"Ticket ([^\s,]+),")
"""How a conversation of the example begins."""
_DOING = {Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.ATTEMPT_FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that was kept of one demo."""

    tickets: Sequence[str]
    """Ids, in order."""
    at_kill: Sequence[Event]
    """The journal as the killed process left it."""
    at_end: Sequence[Event]
    effects: Sequence[ledger.Effect]
    effects_at_kill: int
    requests: Sequence[model_server.Received]
    requests_at_kill: int
    pids: tuple[int, int]
    """Of the process that was killed and of the one that went on."""
    keys: tuple[str, ...]
    """Idempotency keys under which the refund in the middle was sent, in order."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A step of which nobody knew whether it had happened, and how that was settled."""

    name: str
    ticket: str
    said: tuple[str, ...]
    """What `verify` said, in order."""
    served: str
    """`verify` when its word was taken as the outcome; empty when the step began again."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process did for one ticket."""

    model_calls: int
    effects: tuple[ledger.Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The numbers."""

    tickets: Sequence[str]
    pids: tuple[int, int]
    steps: int
    """Tickets with a result in the record."""
    killed_at: int
    """Step of the effect that was under way in the journal when the process died; 0 when there was none."""
    killed_in: str
    """Name of that effect."""
    resumed_at: int
    """Step of the first new entry after the restart; 0 when there was none."""
    kept: Counter[StepKind]
    """Recorded outcomes that the second process found."""
    redone: int
    """How many of those it asked for again all the same."""
    effects: Counter[str]
    """What happened, by name, in the ledger."""
    repeated: int
    """Effects that happened again for the same ticket."""
    lost: int
    """Effects that the journal calls done, and mails to each customer, that the ledger lacks."""
    unrecorded: int
    """Effects in the ledger that the journal does not call done."""
    doubts: tuple[Doubt, ...]
    keys: tuple[str, ...]
    """As in the evidence."""
    model_calls: int
    """Requests that reached the model server."""
    model_calls_repeated: int
    """Requests for what had been answered already."""
    spent: Charge
    spent_at_kill: Charge
    usd_max: int | None
    """The run's cap, in 10⁻⁹ USD."""
    results: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Share] = field(default_factory=dict)
    """By ticket: what the killed process did."""
    after: Mapping[str, Share] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """What contradicts the promise; empty is what a good demo shows."""
        total = len(self.tickets)
        found = {
            f"tickets closed: {self.steps} of {total}": self.steps != total,
            "no effect was under way when the process was killed": not self.killed_at,
            f"killed at step {self.killed_at}, resumed at step {self.resumed_at}": self.killed_at != self.resumed_at,
            f"recorded steps done again: {self.redone}": self.redone,
            f"effects repeated: {self.repeated}": self.repeated,
            f"effects lost: {self.lost}": self.lost,
            f"effects that the journal does not know: {self.unrecorded}": self.unrecorded,
            f"model calls repeated: {self.model_calls_repeated}": self.model_calls_repeated,
            f"steps in doubt: {len(self.doubts)}, not 1": len(self.doubts) != 1,
            f"keys of one refund: {len(set(self.keys))}, not 1": len(set(self.keys)) != 1,
        }
        return [text for text, is_wrong in found.items() if is_wrong]

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "steps": self.steps,
            "killed_at": self.killed_at,
            "resumed_at": self.resumed_at,
            "effects": self.effects.total(),
            "repeated": self.repeated,
            "lost": self.lost,
            "unrecorded": self.unrecorded,
            "in_doubt": len(self.doubts),
            "verify": [said for doubt in self.doubts for said in doubt.said],
            "sent": len(self.keys),
            "keys": len(set(self.keys)),
            "steps_kept": self.kept.total(),
            "steps_redone": self.redone,
            "model_calls": self.model_calls,
            "model_calls_repeated": self.model_calls_repeated,
            "tool_calls": self.spent.tool_calls,
            "tokens": self.spent.tokens,
            "usd": self.spent.usd_nano / 1e9,
            "faults": self.faults,
        }


def measure(seen: Evidence) -> Measured:
    """Count."""
    first, last = fold(seen.at_kill), fold(seen.at_end)
    new = seen.at_end[len(seen.at_kill) :]
    in_flight = _under_way(first)
    recorded = _recorded(last)
    happened = Counter((e.name, _ticket(e.args)) for e in seen.effects if e.first)
    kept = {slot.address: slot.step for slot in first.order}
    results = _results(last)
    return Measured(
        tickets=seen.tickets,
        pids=seen.pids,
        steps=sum(ticket in results for ticket in seen.tickets),
        killed_at=_place(seen.tickets, in_flight),
        killed_in=in_flight.address.name if in_flight else "",
        resumed_at=_resumed_at(seen.tickets, last, new),
        kept=Counter(kept.values()),
        redone=len({event.address for event in new if event.kind in _DOING} & kept.keys()),
        effects=Counter(e.name for e in seen.effects if e.first),
        repeated=sum(count - 1 for count in happened.values()),
        lost=len((recorded | {("mail", ticket) for ticket in seen.tickets}) - happened.keys()),
        unrecorded=len(happened.keys() - recorded),
        doubts=tuple(_doubts(last, seen.at_end)),
        keys=seen.keys,
        model_calls=len(seen.requests),
        model_calls_repeated=sum(request.repeated for request in seen.requests),
        spent=last.spent,
        spent_at_kill=first.spent,
        usd_max=last.limits.usd_nano,
        results=results,
        before=_shares(seen.tickets, seen.requests[: seen.requests_at_kill], seen.effects[: seen.effects_at_kill]),
        after=_shares(seen.tickets, seen.requests[seen.requests_at_kill :], seen.effects[seen.effects_at_kill :]),
    )


def _ticket(args: Any) -> str:
    return str(args.get("ticket", "")) if isinstance(args, dict) else ""


def _ticket_of(slot: Slot) -> str:
    """The ticket that a step's recorded arguments name; empty when none were recorded (a read)."""
    written = None if slot.intent is None else slot.intent.body
    arguments = None if written is None else decode(written)
    return _ticket_asked(arguments) if slot.step is StepKind.MODEL else _ticket(arguments)


def _ticket_asked(body: Any) -> str:
    """The ticket that a conversation is about, by its first message."""
    said = _TICKET.match(str(body["messages"][0]["content"]))
    return said[1] if said else ""


def _place(tickets: Sequence[str], slot: Slot | None) -> int:
    ticket = "" if slot is None else _ticket_of(slot)
    return tickets.index(ticket) + 1 if ticket in tickets else 0


def _under_way(state: State) -> Slot | None:
    """The effect that was begun and has no outcome."""
    return next((slot for slot in state.slots.values() if slot.is_in_flight and slot.effect.is_write), None)


def _resumed_at(tickets: Sequence[str], state: State, new: Iterable[Event]) -> int:
    """The step of the first new entry; a read's names no ticket, so the next that does."""
    for event in new:
        place = _place(tickets, state.slots.get(event.address)) if event.address else 0
        if place:
            return place
    return 0


def _recorded(state: State) -> set[tuple[str, str]]:
    """(name, ticket) of every effect that the journal calls done."""
    done = [s for s in state.order if s.effect.is_write and s.step is StepKind.TOOL]
    return {
        (_EFFECT_OF.get(s.address.name, s.address.name), _ticket_of(s))
        for s in done
        if s.outcome is not None and s.outcome.kind is Kind.STEP_SUCCEEDED
    }


def _doubts(state: State, events: Iterable[Event]) -> Iterable[Doubt]:
    said: dict[Address, list[str]] = {}
    for event in events:
        if event.step is StepKind.VERIFY and event.address is not None:
            said.setdefault(event.address, []).append(event.facts.get("verdict", ""))
    for address, words in said.items():
        slot = state.slots[address]
        yield Doubt(address.name, _ticket_of(slot), tuple(words), slot.served)


def _results(state: State) -> dict[str, str]:
    written = state.end.body if state.end is not None else None
    found = decode(written) if written is not None else None
    return {str(ticket): str(text) for ticket, text in found.items()} if isinstance(found, dict) else {}


def _shares(
    tickets: Sequence[str], requests: Iterable[model_server.Received], effects: Iterable[ledger.Effect]
) -> dict[str, Share]:
    """By ticket, only those for which something was done."""
    calls = Counter(_ticket_asked(request.body) for request in requests)
    done: dict[str, list[ledger.Effect]] = {}
    for effect in effects:
        if effect.first:
            done.setdefault(_ticket(effect.args), []).append(effect)
    touched = [ticket for ticket in tickets if calls[ticket] or ticket in done]
    return {ticket: Share(calls[ticket], tuple(done.get(ticket, ()))) for ticket in touched}
