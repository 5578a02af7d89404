"""What was decided in a run, in order and with the reason: read off its log, and off nothing else.

A decision is one line: when, about which step, what there was to decide, what was chosen, and because of what. What
only happened (a step that began and succeeded at its first attempt) is no decision and has no line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from holdfast.core.board import BOARD, PROJECT
from holdfast.core.budget import TIMES, USD_NANO, Limits
from holdfast.core.desk import DESK
from holdfast.core.events import Address, Event, Kind, StepKind
from holdfast.core.state import UNWIND
from holdfast.views.text import ago

_REASONS = {
    "question": "a person is asked",
    "unreachable": "nobody can be reached who could approve it",
    "sleep": "the agent sleeps",
    "in_doubt": "an effect was begun, and nobody knows yet whether it happened",
    "drift": "the code asks for what is not recorded",
    "hold": "a model call is not the recorded one",
    "history_grew": "state of the agent outlived its process",
    "shutdown": "the worker was told to stop",
    "retry": "the wait before the next attempt is long",
    "signal": "it waits for a signal",
    "paused": "an operator paused it",
    "command": "it waits for the next order",
    "budget": "it has come to a cap, and a person is asked to raise it",
    "crash_loop": "its processes died one after the other before anything new was recorded",
}


def decisions(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Every decision of the run as plain data; `number` is that of its event in the log."""
    begun: dict[Address, Event] = {}
    found = []
    for number, event in enumerate(events, 1):
        for what, choice, because in _of(event, begun):
            line = {"number": number, "at": event.at, "step": shown(event.address)}
            line |= {"what": what, "choice": choice, "because": because, "by": event.facts.get("by") or None}
            found.append(line)
        _keep(begun, event)
    return found


def shown(address: Address | None) -> str | None:
    """An address on one line: scope, name, the beginning of the arguments' digest, and which of equal calls."""
    if address is None:
        return None
    path = f"{address.scope}/{address.name}" if address.scope else address.name
    digest = f"({address.digest[:12]})" if address.digest else ""
    return f"{path}{digest}#{address.n}"


_Line = tuple[str, str, str]
_ENDS_ATTEMPT = frozenset({Kind.STEP_SUCCEEDED, Kind.STEP_FAILED, Kind.ATTEMPT_FAILED, Kind.QUESTION_CLOSED})


def _keep(begun: dict[Address, Event], event: Event) -> None:
    """Keep in mind which attempts were begun and have not ended."""
    if event.address is None:
        return
    if event.kind is Kind.STEP_INTENDED:
        begun[event.address] = event
    elif event.kind in _ENDS_ATTEMPT and event.step is not StepKind.VERIFY:
        begun.pop(event.address, None)


def _of(event: Event, begun: dict[Address, Event]) -> Iterator[_Line]:
    facts = event.facts
    match event.kind:
        case Kind.DECIDED if event.step is None and facts.get("what") == BOARD:
            pass  # a project's board is written down: what it says was decided before
        case Kind.DECIDED:
            yield _text(facts.get("what")), _text(facts.get("choice")), _text(facts.get("because"))
        case Kind.STEP_INTENDED:
            yield from _intended(event, facts, begun)
        case Kind.ATTEMPT_FAILED:
            yield _attempt_failed(event, facts)
        case Kind.STEP_FAILED:
            yield "give up", _told(facts), _reason(facts)
        case Kind.STEP_SUCCEEDED:
            yield from _succeeded(event, facts)
        case Kind.STEP_ABANDONED:
            yield "abandon", "no longer waited for", "its caller gave up: a timeout, a cancellation or a lost race"
        case Kind.STEP_REPEATED:
            yield (
                "repeat",
                "the recorded failure is told again",
                "the same was asked once more, with nothing in between",
            )
        case Kind.QUESTION_ASKED:
            yield "ask", f"ask {facts.get('to') or 'a person'}", facts["text"]
        case Kind.QUESTION_CLOSED:
            yield _closed(facts)
        case Kind.BUDGET_CHANGED:
            yield (
                "budget",
                f"{facts.get('account', 'caps')}: {caps(facts['limits'])}",
                facts.get("because") or _by(facts),
            )
        case Kind.BUDGET_WARNED:
            yield "budget warning", _part(_text(facts.get("name"))), _warned(facts)
        case Kind.DRIFT_FOUND:
            yield "drift", _text(facts.get("rule")), _drifted(facts)
        case Kind.SIGNAL_RECEIVED:
            yield "signal", _text(facts.get("name")), _by(facts)
        case Kind.RUN_STARTED:
            yield "start", f"agent {facts['agent']}", _begun(facts)
        case Kind.RUN_RESUMED:
            yield _resumed(facts)
        case Kind.RUN_SUSPENDED:
            yield _suspended(event, facts)
        case Kind.RUN_ENDED:
            yield "end", _text(facts["outcome"]), _ended(facts)
        case Kind.STEP_STREAMED | Kind.NOTE_WRITTEN:
            pass
        case other:
            assert_never(other)


# --- steps -----------------------------------------------------------------------------------------------------


def _intended(event: Event, facts: dict[str, Any], begun: dict[Address, Event]) -> Iterator[_Line]:
    if event.address in begun and event.step is not StepKind.SLEEP:
        yield (
            "recover",
            f"attempt {event.attempt} begins",
            "the process ended before the outcome of the last was recorded",
        )


def _attempt_failed(event: Event, facts: dict[str, Any]) -> _Line:
    because = _reason(facts)
    if facts.get("next"):
        return "fall back", f"next: {facts['next']}", because
    if facts.get("retry_at") is not None:
        return "retry", f"attempt {event.attempt + 1} in {max(0.0, facts['retry_at'] - event.at):.1f} s", because
    if facts.get("error") == "CancelledError":
        return "abandon", "cut short, and charged", because
    if facts.get("is_definite", True):
        return "fail", "nothing more of this attempt", because
    return "doubt", "find out whether it happened", because


def _told(facts: dict[str, Any]) -> str:
    return "whether it happened is not known" if facts.get("error") == "Unverified" else "the failure is the outcome"


def _reason(facts: dict[str, Any]) -> str:
    """What failed, and the rule that decided what follows."""
    failed = ": ".join(part for part in (_text(facts.get("error")), _text(facts.get("text"))) if part)
    because = _text(facts.get("because"))
    return (
        "; ".join(part for part in (failed, because) if part and part != facts.get("text")) or because or "not recorded"
    )


def _succeeded(event: Event, facts: dict[str, Any]) -> Iterator[_Line]:
    if event.step is StepKind.VERIFY:
        yield (
            "verify",
            _text(facts.get("verdict")).replace("_", " "),
            facts.get("text") or "the tool's `verify` says so",
        )
        return
    if facts.get("by"):
        yield "settle", "it happened", f"{facts['by']} says so"
    if facts.get("degraded"):
        degraded = facts["degraded"]
        choice = f"served: {degraded.get('rung', 'degraded')}" if isinstance(degraded, dict) else "served: degraded"
        yield "degrade", choice + _aged(degraded), _because(degraded)


def _aged(degraded: Any) -> str:
    age_s = degraded.get("age_s") if isinstance(degraded, dict) else None
    return "" if age_s is None else f", {ago(age_s)} old"


def _because(degraded: Any) -> str:
    return _text(degraded.get("because")) if isinstance(degraded, dict) else _text(degraded)


def _closed(facts: dict[str, Any]) -> _Line:
    if facts["outcome"] == "answered":
        return "answer", _text(facts.get("choice")) or "answered", _by(facts)
    return "answer", "the default is taken", "its time was over, and nobody had answered"


# --- the run ---------------------------------------------------------------------------------------------------


def _warned(facts: dict[str, Any]) -> str:
    name = facts.get("name", "")
    limit, spent = (_amount(name, facts.get(part)) for part in ("limit", "spent"))
    over = facts.get("overshoot")
    return f"{spent} of {limit} used" + (f", {_amount(name, over)} over the cap" if over else "")


def _drifted(facts: dict[str, Any]) -> str:
    recorded = facts.get("recorded")
    parts = [_address(part) for part in recorded] if isinstance(recorded, list) else []
    asked = _address(facts["asked"]) if facts.get("asked") else ""
    told = [f"asked for {asked}"] if asked else []
    told += [f"recorded: {', '.join(parts)}"] if parts else []
    return "; ".join(told) or "recorded, and not asked for"


def _begun(facts: dict[str, Any]) -> str:
    if facts["agent"] in (DESK, PROJECT):
        return "the first order came"
    given = facts.get("limits")
    return f"caps: {caps(given)}" if given else "no budget stated: default caps"


def _resumed(facts: dict[str, Any]) -> _Line:
    why = facts.get("why", "resume")
    if why == "takeover":
        return "takeover", "go on from the record", "the last process ended without giving the run back"
    if why == UNWIND:
        return "unwind", "undo what it did, the last step first", facts.get("because") or _by(facts)
    reopened = [str(Address(*parts)) for parts in facts.get("reopened", ())]
    choice = f"try again: {', '.join(reopened)}" if reopened else "go on"
    return "resume", choice, facts.get("because") or _by(facts)


def _suspended(event: Event, facts: dict[str, Any]) -> _Line:
    why, until, difference = facts["why"], facts.get("until"), facts.get("difference")
    because = _text(facts.get("because")) or _REASONS.get(why, why)
    if difference:
        recorded = ", ".join(map(_text, difference.get("recorded", ()))) or "nothing of that sort"
        because = f"the code asks for {_text(difference.get('asked'))}; the record has {recorded}"
    due = "" if until is None else f", for {ago(until - event.at)}"
    return "suspend", f"{why}{due}", because


def _ended(facts: dict[str, Any]) -> str:
    why = _text(facts.get("why"))
    failure = facts.get("failure")
    if not why and isinstance(failure, dict):
        why = _reason(failure)
    return why or {"succeeded": "the agent returned"}.get(facts["outcome"], "not recorded")


def _by(facts: dict[str, Any]) -> str:
    return f"by {facts['by']}" if facts.get("by") else "by somebody"


def caps(limits: Iterable[int | None]) -> str:
    """Caps in words."""
    named = [(name, cap) for name, cap in zip(Limits._fields, limits, strict=False) if cap is not None]
    return ", ".join(f"{_part(name)} {_amount(name, cap)}" for name, cap in named) or "none"


def _part(name: str) -> str:
    return name.removesuffix("_nano").removesuffix("_ms")


def _amount(name: str, amount: Any) -> str:
    if name in TIMES and isinstance(amount, int):
        return f"{amount / 1000:g} s"
    return f"${amount / USD_NANO:.4f}" if name == "usd_nano" and isinstance(amount, int) else _text(amount)


def _address(parts: Any) -> str:
    return _text(shown(Address(*parts))) if isinstance(parts, list) else _text(parts)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
