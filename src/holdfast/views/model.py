"""A model call as plain data: which model was asked, which one answered, and what it took.

What is not in the record (an old one, or a call whose answer was lost) is None, never guessed.
"""

from __future__ import annotations

import json
from typing import Any

from holdfast.core.events import Kind, StepKind
from holdfast.core.slot import Slot

BROKE_OFF = "broke_off"
"""What `partial` says of a stream whose reader has had the beginning of the answer, and then an error."""


def model_call(slot: Slot) -> dict[str, Any] | None:
    """What `holdfast show --json` has under `model`; None for a step that is no model call."""
    if slot.step is not StepKind.MODEL:
        return None
    intended: dict[str, Any] = json.loads(slot.marks) if slot.marks else {}
    facts = slot.outcome.facts if slot.outcome is not None else {}
    has_failed = slot.outcome is not None and slot.outcome.kind is Kind.STEP_FAILED
    asked = intended.get("model") or (None if "by" in intended else facts.get("model"))
    return {
        "asked": asked,
        "fallback": intended.get("by"),
        "served": None if has_failed else facts.get("served"),
        "is_stream": bool(intended.get("stream")),
        "partial": BROKE_OFF if facts.get("is_told") else facts.get("closed"),
        "stop_reason": facts.get("stop_reason"),
        "request_id": facts.get("request_id"),
        "usage": facts.get("usage"),
        "prices": (facts.get("price") or {}).get("source"),
    }


def shown(call: dict[str, Any]) -> str:
    """Which model, as a person reads it: the one that answered, and in place of which."""
    asked, name = call["asked"], call["fallback"] or call["asked"] or "an unknown model"
    instead = f" in place of {asked}" if call["fallback"] and asked else ""
    served = f" (served as {call['served']})" if call["served"] not in (None, name) else ""
    return f"{name}{instead}{served}"


def took(call: dict[str, Any], tokens: int, usd: float) -> str:
    """What it took: tokens as the provider counted them, else those that were charged; dollars of all attempts."""
    usage = call["usage"]
    if usage is None:
        counted = f"{tokens} tokens charged, as reserved" if tokens else ""
    else:
        caches = [(usage.get("cache_read", 0), "read from cache"), (usage.get("cache_write", 0), "written to cache")]
        cached = ", ".join(f"{count} {what}" for count, what in caches if count)
        counted = f"{usage['input']} tokens in{f' (+ {cached})' if cached else ''}, {usage['output']} out"
    return " · ".join(part for part in (counted, f"${usd:.4f}" if usd else "") if part)


def ended(call: dict[str, Any]) -> str:
    """How a stream ended, when not with the answer's own end."""
    return {
        BROKE_OFF: "broke off; the agent has had the beginning",
        "closed": "stream closed by its reader",
        "cancelled": "stream cancelled with its reader",
    }.get(call["partial"] or "", "")
