"""One run as plain data, folded from its log: what `holdfast show --json` prints.

The field names are public. Fields may be added; none changes its meaning while `schema` is 1. Times are seconds
since the epoch, UTC. Values are plain JSON: what has no place in JSON is shown as text.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Any

from holdfast.core.budget import USD_NANO
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind
from holdfast.core.handover import reason
from holdfast.core.heads import Head, OpenQuestion
from holdfast.core.slot import Slot
from holdfast.core.state import State
from holdfast.journal.codec import Opaque, decode
from holdfast.views.decisions import decisions, shown
from holdfast.views.model import model_call

SCHEMA = 1


def show(head: Head, events: Sequence[Event]) -> dict[str, Any]:
    """The picture of one run. `head` names a run that nobody has begun, whose log is still empty."""
    state, spent, failures = _read(events)
    return {
        "schema": SCHEMA,
        "run": _run(head, state),
        "steps": [
            _step(slot, state, spent.get(slot.address, NOTHING), failures.get(slot.address, []))
            for slot in state.slots.values()
        ],
        "questions": [question(asked) for asked in state.questions.values()],
        "notes": list(state.notes),
        "drift": [_drift(event) for event in state.drifts],
        "decisions": decisions(events),
        "suspended": _suspended(state),
    }


def _run(head: Head, state: State) -> dict[str, Any]:
    facts = state.end.facts if state.end is not None else {}
    return {
        "id": head.run_id,
        "key": head.key,
        "agent": head.agent,
        "parent": state.parent or None,
        "chapter": state.chapter,
        "continued": state.continued or None,
        "status": str(state.status),
        "why": state.why,
        "by": facts.get("by"),
        "reason": reason(facts) or None,
        "account": facts.get("account"),
        "handover": facts.get("handover"),
        "result": result(state),
        "failure": _failure(facts),
        "usage": amounts(state.spent) | {"reserved": amounts(state.reserved)},
        "active_s": round(state.active_s, 3),
        "limits": amounts(state.limits),
        "created_at": head.created_at,
        "updated_at": head.updated_at,
        "undone": [shown(slot.undoes) for slot in state.order if _has_undone(slot)],
        "not_undone": [shown(Address(*parts)) for parts in facts.get("not_undone", ())],
        "is_unwound": state.is_unwound,
        "unwind_failed": facts.get("unwind_failed"),
        "degraded": facts.get("degraded", []),
        "failed_steps": facts.get("failed_steps", []),
        "forgotten_at": facts.get("forgotten"),
    }


def _has_undone(slot: Slot) -> bool:
    return slot.undoes is not None and slot.outcome is not None and slot.outcome.kind is Kind.STEP_SUCCEEDED


def result(state: State) -> Any:
    """The recorded result as plain JSON, None while there is none."""
    body = state.end.body if state.end is not None else None
    return None if body is None else plain(decode(body))


def _failure(facts: dict[str, Any]) -> dict[str, Any] | None:
    failure = facts.get("failure")
    if failure is None:
        return None
    return {**failure, "steps": [shown(Address(*parts)) for parts in facts.get("cause", ())]}


def amounts(charge: Sequence[int | None] | Charge) -> dict[str, float | int | None]:
    """A charge or limits by name, money in US dollars, times in seconds."""
    tool_calls, model_calls, tokens, nano, *times = charge
    usd = None if nano is None else nano / USD_NANO
    named = zip(("active_s", "wall_s"), times, strict=False)
    spans = {name: None if ms is None else ms / 1000 for name, ms in named}
    return {"tool_calls": tool_calls, "model_calls": model_calls, "tokens": tokens, "usd": usd, **spans}


def question(asked: OpenQuestion) -> dict[str, Any]:
    """An open question as plain data."""
    return asdict(asked) | {"options": list(asked.options)}


def _drift(event: Event) -> dict[str, Any]:
    facts = event.facts
    if facts.get("rule") == "tail":
        facts["asked"] = shown(Address(*facts["asked"]))
    elif facts.get("rule") == "fresh":
        facts["recorded"] = [shown(Address(*parts)) for parts in facts["recorded"]]
    return {"at": event.at, "step": shown(event.address), **facts}


def _suspended(state: State) -> dict[str, Any] | None:
    if state.suspension is None or state.end is not None:
        return None
    facts = state.suspension.facts
    at = state.suspension.at
    return {"why": facts["why"], "until": facts.get("until"), "difference": facts.get("difference"), "at": at}


# --- steps -----------------------------------------------------------------------------------------------------


def _step(slot: Slot, state: State, spent: Charge, failures: list[dict[str, Any]]) -> dict[str, Any]:
    # these have no attempts; they happen once
    untried = slot.step in (
        StepKind.QUESTION,
        StepKind.NOTE,
        StepKind.DECISION,
        StepKind.CHILD,
    )
    return {
        "name": slot.address.name,
        "kind": str(slot.step),
        "effect": str(slot.effect),
        "status": _status(slot, state),
        "attempts": 1 if untried else slot.attempt,
        "served": _served(slot),
        "address": shown(slot.address),
        "retry_at": slot.retry_at,
        "until": slot.intent.facts.get("until") if slot.intent is not None else None,
        "failures": failures,
        "tokens": spent.tokens,
        "usd": spent.usd_nano / USD_NANO,
        "model": model_call(slot),
        "under_way": slot.sender.facts["because"] if slot.sender is not None else None,
        "undo": slot.undo or None,
        "is_undone": slot.is_undone,
        "undoes": shown(slot.undoes),
        "degraded": _degraded(slot),
        "child": slot.child or None if slot.step is StepKind.CHILD else None,
    }


def _degraded(slot: Slot) -> dict[str, Any] | None:
    """Which rung of its ladder gave the result, and why; None when the step itself did."""
    outcome = slot.outcome
    return outcome.facts["degraded"] if outcome is not None and '"degraded"' in outcome.meta else None


def _status(slot: Slot, state: State) -> str:
    """Where the step is, as far as the log says."""
    if slot.outcome is not None:
        return "failed" if slot.outcome.kind is Kind.STEP_FAILED else "succeeded"
    if slot.retry_at is not None and state.end is None:
        return "retrying"
    if slot.is_in_flight and slot.effect is not Effect.READ and (_is_unknown(slot) or state.end is not None):
        return "in_doubt"
    if slot.abandoned or state.end is not None:
        return "abandoned"
    if slot.step in (StepKind.QUESTION, StepKind.SLEEP, StepKind.SIGNAL, StepKind.CHILD):
        return "waiting"
    return "running" if slot.is_in_flight else "waiting"  # reopened by `resume`, and not begun again yet


def _is_unknown(slot: Slot) -> bool:
    """Whether the attempt is over and nobody knows what came of it."""
    last = slot.failures[-1] if slot.failures else None
    has_failed = last is not None and (last.logical, last.attempt) == (slot.logical, slot.attempt)
    return slot.doubt is not None or bool(slot.verdicts) or has_failed


def _served(slot: Slot) -> str | None:
    """Who gave the outcome: "step", "verify", "default", "cached", or "tool" or "person" with the name."""
    if slot.outcome is None:
        return None
    if '"degraded"' in slot.outcome.meta:
        return slot.served
    if slot.outcome.kind is not Kind.QUESTION_CLOSED:
        return {"": "step", "verify": "verify"}.get(slot.served) or f"person {slot.served}"
    facts = slot.outcome.facts
    if facts["outcome"] != "answered":
        return "default"
    return f"person {facts['by']}" if facts.get("by") else "person"


def _read(events: Sequence[Event]) -> tuple[State, dict[Address, Charge], dict[Address, list[dict[str, Any]]]]:
    """The state; what each step cost in all its attempts; and what went wrong at it, also before a `resume`."""
    state = State()
    spent: dict[Address, Charge] = {}
    failures: dict[Address, list[dict[str, Any]]] = {}
    for event in events:
        address, before = event.address, state.spent
        slot = None if address is None else state.slots.get(address)
        if address is not None and slot is not None and _cuts_short(event, slot):
            failures.setdefault(address, []).append(_interruption(event, slot))
        state.apply(event)
        if address is None:
            continue
        if state.spent is not before:
            spent[address] = spent.get(address, NOTHING).plus(state.spent.minus(before))
        if event.kind in (Kind.ATTEMPT_FAILED, Kind.STEP_FAILED):
            wrong = failures.setdefault(address, [])
            went = _went_wrong(event)
            if event.kind is Kind.STEP_FAILED and wrong and _is_told(went, wrong[-1]):
                wrong.pop()
            wrong.append(went)
    return state, spent, failures


def _is_told(outcome: dict[str, Any], attempt: dict[str, Any]) -> bool:
    """Whether this outcome is the failure of that attempt, told after the rungs of the ladder could not help."""
    return all(outcome[name] == attempt[name] for name in ("attempt", "error", "text"))


def _cuts_short(event: Event, slot: Slot) -> bool:
    """Whether this next attempt tells that the one before it never came to its end."""
    return event.kind is Kind.STEP_INTENDED and slot.is_in_flight and not _is_unknown(slot)


def _interruption(event: Event, slot: Slot) -> dict[str, Any]:
    return {
        "at": event.at,
        "attempt": slot.attempt,
        "error": "Interrupted",
        "text": "its process ended before the outcome was recorded; what it had reserved stays charged",
        "because": "",
        "is_definite": not slot.effect.is_write,
        "model": None,
        "next": None,
    }


def _went_wrong(event: Event) -> dict[str, Any]:
    facts = event.facts
    return {
        "at": event.at,
        "attempt": event.attempt,
        "error": facts.get("error", ""),
        "text": facts.get("text", ""),
        "because": facts.get("because", ""),
        "is_definite": facts.get("is_definite", True),
        "model": facts.get("model"),
        "next": facts.get("next"),
    }


# --- values ----------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A decoded value as JSON knows it: times in ISO 8601, spans in seconds, bytes in base64, other things as text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Opaque():
            return {"type": value.type_name, "text": value.text}
        case dict() if all(isinstance(key, str) for key in value):
            return {key: plain(child) for key, child in value.items()}
        case dict():
            return [[plain(key), plain(child)] for key, child in value.items()]
        case list() | tuple() | set() | frozenset():
            return [plain(child) for child in value]
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes() | bytearray():
            return base64.b64encode(value).decode("ascii")
        case _:
            return str(value)
