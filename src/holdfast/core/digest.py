"""What the record of a run says, in at most 4 KB: of a session it is kept with its end, and made anew while it is open.

Made of the run's state alone. What an agent wrote (decisions of its own, notes) stands apart from what holdfast found;
what shows it keeps them apart. It holds text of strangers: show it through `core.excerpt`.

==========  ==============================================================================
name        what it has
==========  ==============================================================================
status      where the run is; `why` says more
failure     by which error it ended
in_doubt    effects that were begun, and nobody knows whether they happened
under_way   effects that were begun, and the record says no more: when no process lives that
            performs them, they are in doubt
failed      steps that have failed for good: name, why
asked       what people are asked
decided     the agent's own decisions: what, choice, because
ruled       those of holdfast
notes       the agent's notes
spent       tool_calls, model_calls, tokens and usd, with what is reserved
left        how many of what found no room
==========  ==============================================================================

Each list is newest first; what is empty is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from holdfast.core.budget import USD_NANO
from holdfast.core.events import Effect, Event, Kind, StepKind, meta
from holdfast.core.slot import Slot
from holdfast.core.state import State

BYTES_MAX: Final = 4 * 1024
"""Of its JSON text."""
ROWS_MAX: Final = 10
"""Of each list."""
TEXT_MAX: Final = 200
_NAME_MAX: Final = 120
_GIVEN_UP: Final = ("notes", "ruled", "decided", "failed", "asked", "under_way", "in_doubt")
"""What loses rows first."""


def digest_of(state: State) -> dict[str, Any]:
    """The digest, as plain data for JSON."""
    slots = sorted(state.slots.values(), key=lambda slot: -max(slot.outcome_no, slot.intent_no))
    own, ours = _decisions(state.decisions)
    lists = {
        "in_doubt": [[_called(slot)] for slot in slots if _is_in_doubt(slot)],
        "under_way": [[_called(slot)] for slot in slots if _is_under_way(slot)],
        "failed": _often(_failure(slot) for slot in slots if _has_failed(slot) and not _is_in_doubt(slot)),
        "asked": [[_cut(question.text)] for question in reversed(state.questions.values())],
        "decided": own,
        "ruled": ours,
        "notes": [[_cut(note)] for note in reversed(state.notes)],
    }
    found: dict[str, Any] = {"status": str(state.status), "why": _cut(state.why), "failure": _ended_by(state)}
    kept = {name: value for name, value in found.items() if value}
    tool_calls, model_calls, tokens, usd_nano = state.used
    spent = {"tool_calls": tool_calls, "model_calls": model_calls, "tokens": tokens, "usd": usd_nano / USD_NANO}
    return _bounded(kept | {"spent": spent}, lists)


def _bounded(facts: dict[str, Any], lists: dict[str, list[list[str]]]) -> dict[str, Any]:
    """As many of the newest rows as there is room for; how many there is none for."""
    left = {name: max(0, len(rows) - ROWS_MAX) for name, rows in lists.items()}
    kept = {name: rows[:ROWS_MAX] for name, rows in lists.items()}
    while True:
        more = {name: count for name, count in left.items() if count}
        whole = facts | {name: rows for name, rows in kept.items() if rows} | ({"left": more} if more else {})
        fullest = next((name for name in _GIVEN_UP if kept[name]), "")
        if not fullest or len(meta(**whole).encode()) <= BYTES_MAX:
            return whole
        kept[fullest].pop()
        left[fullest] += 1


# --- steps -------------------------------------------------------------------------------------------------------


def _is_in_doubt(slot: Slot) -> bool:
    """Its attempts are over, or its outcome is that nobody knows."""
    if not slot.effect.is_write:
        return False
    if slot.outcome is not None:
        return _has_failed(slot) and not slot.outcome.facts.get("is_definite", True)
    return slot.is_in_flight and (slot.is_unknown or slot.doubt is not None or bool(slot.verdicts))


def _is_under_way(slot: Slot) -> bool:
    """Only what happens at most once: whatever else is cut off is simply begun again."""
    is_cut = slot.outcome is None and slot.is_in_flight and slot.effect is Effect.ONCE
    return is_cut and not _is_in_doubt(slot)


def _has_failed(slot: Slot) -> bool:
    return slot.outcome is not None and slot.outcome.kind is Kind.STEP_FAILED


def _called(slot: Slot) -> str:
    """Its name, and what it was called with: whoever looks whether it happened has to know."""
    body = slot.intent.body if slot.intent is not None else None
    given = _cut(body.decode("utf-8", "replace"), _NAME_MAX) if body else ""
    return f"{_cut(str(slot.address), _NAME_MAX)} {given}".rstrip()


def _failure(slot: Slot) -> tuple[str, str]:
    facts = slot.outcome.facts if slot.outcome is not None else {}
    return _cut(str(slot.address), _NAME_MAX), _error(facts)


def _error(facts: dict[str, Any]) -> str:
    return _cut(": ".join(str(facts[part]) for part in ("error", "text") if facts.get(part)))


def _ended_by(state: State) -> str:
    failure = state.end.facts.get("failure") if state.end is not None else None
    return _error(failure) if isinstance(failure, dict) else ""


# --- decisions ---------------------------------------------------------------------------------------------------


def _decisions(events: Sequence[Event]) -> tuple[list[list[str]], list[list[str]]]:
    """The agent's own, and those of holdfast."""
    own = [_decided(event) for event in reversed(events) if event.step is StepKind.DECISION]
    ours = [_decided(event) for event in reversed(events) if event.step is not StepKind.DECISION]
    return _often(own), _often(ours)


def _decided(event: Event) -> tuple[str, ...]:
    facts = event.facts
    return tuple(_cut(str(facts.get(part) or "")) for part in ("what", "choice", "because"))


def _often(rows: Iterable[tuple[str, ...]]) -> list[list[str]]:
    """Each row once; at the end of its last part, how often."""
    counts = Counter(rows)
    return [[*row[:-1], f"{row[-1]} (×{count})" if count > 1 else row[-1]] for row, count in counts.items()]


def _cut(text: str, most: int = TEXT_MAX) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
