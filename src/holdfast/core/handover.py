"""The hand-over of a run that was stopped: what is done, what is not, and how to go on. Pure text, made of the record.

It is written with the end, so that whoever finds the run needs no tool to read on. It holds text of strangers: show it
through `views.text`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.slot import Slot
from holdfast.core.state import State

LINES_MAX = 10
"""Of each sort; the others are counted."""
TEXT_MAX = 200


def handover(state: State, why: str, how: str) -> str:
    """The hand-over. why: what stopped the run. how: the command that goes on with it."""
    slots = list(state.slots.values())
    parts = [
        _listed("Done", _counted(slot for slot in slots if _is(slot, Kind.STEP_SUCCEEDED))),
        _listed("Failed", _failures(slot for slot in slots if _is(slot, Kind.STEP_FAILED))),
        _listed("In doubt", [_named(slot) for slot in slots if slot.is_in_flight and slot.effect.is_write]),
        _listed("Under way, and not done", [_named(slot) for slot in slots if _is_open(slot)]),
        _listed("Asked, and not answered", [_cut(question.text) for question in state.questions.values()]),
        _listed("Decided", _often(_decided(event) for event in state.decisions)),
        _listed("Noted", [_cut(note) for note in state.notes]),
    ]
    last = answer_of(state)
    parts += [f"Last words: the answer of {_named(last)}." if last is not None else ""]
    return "\n".join([f"Stopped: {why}", *filter(None, parts), f"Go on: {how}"])


def reason(facts: dict[str, Any]) -> str:
    """What kind of limit the facts of an end name: "budget: tokens", "stuck: cycle", "gate: tests"; or none."""
    for sort, fact in (("budget", "limit"), ("stuck", "stuck"), ("gate", "gate")):
        if facts.get(fact):
            return f"{sort}: {str(facts[fact]).removesuffix('_nano')}"
    return ""


def answer_of(state: State) -> Slot | None:
    """The model call in which the agent was to write what is left, when it was told so and has answered."""
    told_no = state.conduct.landing_no
    models = state.conduct.models if told_no else []
    return next((slot for slot in models if slot.outcome_no > told_no and _is(slot, Kind.STEP_SUCCEEDED)), None)


def _is(slot: Slot, kind: Kind) -> bool:
    return slot.outcome is not None and slot.outcome.kind is kind


def _is_open(slot: Slot) -> bool:
    is_effect = slot.is_in_flight and slot.effect.is_write
    return slot.outcome is None and not is_effect and slot.step is not StepKind.QUESTION and not slot.abandoned


def _counted(slots: Iterable[Slot]) -> list[str]:
    """Names in the order of their first step, and how often."""
    counts = Counter(_cut(slot.address.name) for slot in slots)
    return [f"{name} ×{count}" if count > 1 else name for name, count in counts.items()]


def _failures(slots: Iterable[Slot]) -> list[str]:
    """Each failure; of a step that fails in the same words again and again, how often."""
    alike: dict[tuple[str, str], list[Slot]] = {}
    for slot in slots:
        facts = slot.outcome.facts if slot.outcome is not None else {}
        words = f"{facts.get('error', '')}: {facts.get('text', '')}"
        alike.setdefault((slot.address.name, words), []).append(slot)
    return [
        _cut(f"{_named(those[0]) if len(those) == 1 else f'{name} ×{len(those)}'}: {words}")
        for (name, words), those in alike.items()
    ]


def _often(lines: Iterable[str]) -> list[str]:
    """Each line once, and how often."""
    return [f"{line} (×{count})" if count > 1 else line for line, count in Counter(lines).items()]


def _decided(event: Event) -> str:
    facts = event.facts
    return _cut(f"{facts.get('what')}: {facts.get('choice')}, because {facts.get('because')}")


def _named(slot: Slot) -> str:
    return _cut(str(slot.address))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 1]}…"


def _listed(title: str, lines: list[str]) -> str:
    """The newest of them; nothing when there are none."""
    if not lines:
        return ""
    more = len(lines) - LINES_MAX
    told = [*([f"… {more} before"] if more > 0 else []), *lines[-LINES_MAX:]]
    return f"{title}: {'; '.join(told)}"
