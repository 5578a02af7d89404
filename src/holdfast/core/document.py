"""A run as search knows it: who, how it ended, what it cost, and its text. Made of its log, and of nothing else. Pure.

Rules
1. The text is what a person would look for: the input and the result, what failed, what was noted and decided, what
   was asked and answered. Arguments and results of steps are not in it, nor what models were sent and said.
2. Nothing in it is a credential (`credential`), and no character that a store or a terminal would stumble over.
3. It is bounded, each piece of it too: no run takes the place of others.
4. Of a run whose record was removed by retention nothing is found.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from holdfast.core.budget import USD_NANO
from holdfast.core.credential import HIDDEN, is_secret, without
from holdfast.core.events import NOTHING, Charge, Event, Kind, StepKind
from holdfast.core.heads import Head
from holdfast.core.query import Query
from holdfast.core.state import State, fold
from holdfast.core.words import snippet

TEXT_MAX: Final = 64_000
"""Characters of a document's text."""
PIECE_MAX: Final = 8_000
"""Characters of one value, such as the input."""
LINE_MAX: Final = 1_000
NAMES_MAX: Final = 200
_RAW_MAX: Final = 256 * 1024
"""Bytes; larger values are not taken apart, their beginning is their text."""


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept of a run to be found again."""

    run_id: str
    mark: str
    """Of the log that it was made of: another one once the run has gone on."""
    key: str = ""
    agent: str = ""
    outcome: str = ""
    """A `Status`."""
    why: str = ""
    tools: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Classes of what failed, attempts too."""
    spent: Charge = NOTHING
    created_at: float = 0.0
    updated_at: float = 0.0
    text: str = ""
    is_forgotten: bool = False

    @property
    def words(self) -> str:
        """All that words are looked for in."""
        return "\n".join((self.key, self.agent, self.why, *self.tools, *self.errors, self.text))


class Found(NamedTuple):
    """A run that matches."""

    run_id: str
    key: str
    agent: str
    outcome: str
    why: str
    tools: tuple[str, ...]
    errors: tuple[str, ...]
    usd: float
    tokens: int
    created_at: float
    updated_at: float
    snippet: str
    """A piece of its text, on one line; whoever shows it escapes it."""
    marks: tuple[tuple[int, int], ...]
    """Where in it the words stand."""


def found(document: Document, query: Query) -> Found:
    """What is told of a document that matches."""
    piece = snippet(document.text, query.parts)
    return Found(
        document.run_id,
        document.key,
        document.agent,
        document.outcome,
        document.why,
        document.tools,
        document.errors,
        document.spent.usd_nano / USD_NANO,
        document.spent.tokens,
        document.created_at,
        document.updated_at,
        piece.text,
        piece.marks,
    )


def document(head: Head, events: Sequence[Event], mark: str, asked: bytes | None = None) -> Document:
    """The document of a run. asked: its input, of a run that nobody has begun, whose log is empty."""
    state = fold(events)
    if head.is_forgotten or state.is_forgotten:
        return Document(head.run_id, mark, is_forgotten=True)
    begun = bool(events)
    return Document(
        run_id=head.run_id,
        mark=mark,
        key=clean(head.key),
        agent=clean(head.agent),
        outcome=str(state.status if begun else head.status),
        why=_line(state.why if begun else head.why),
        tools=_names(slot.address.name for slot in state.slots.values() if slot.step is StepKind.TOOL),
        errors=_names(_errors(events)),
        spent=state.spent,
        created_at=state.created_at if begun else head.created_at,
        updated_at=state.updated_at if begun else head.updated_at,
        text=_text(state, events, asked),
    )


def _names(found: Iterator[str]) -> tuple[str, ...]:
    return tuple(clean(name) for name in list(dict.fromkeys(name for name in found if name))[:NAMES_MAX])


def _errors(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        if event.kind in (Kind.ATTEMPT_FAILED, Kind.STEP_FAILED):
            yield str(event.facts.get("error", ""))
        elif event.kind is Kind.RUN_ENDED and '"failure"' in event.meta:
            yield str((event.facts.get("failure") or {}).get("error", ""))


# --- text ----------------------------------------------------------------------------------------------------------


def _text(state: State, events: Sequence[Event], asked: bytes | None) -> str:
    lines: list[str] = []
    room = TEXT_MAX
    for piece in _pieces(state, events, asked):
        line = piece[:room]
        if line and (not lines or lines[-1] != line):
            lines.append(line)
            room -= len(line) + 1
        if room <= 0:
            break
    return "\n".join(lines)


def _pieces(state: State, events: Sequence[Event], asked: bytes | None) -> Iterator[str]:
    """What is looked for most comes first, as there is room for so much only."""
    yield value_text(state.input if events else asked)
    if state.end is not None:
        yield value_text(state.end.body)
    for event in events:
        if event.kind in _TOLD:
            yield _line(" ".join(part for part in _told(event, event.facts) if part))
            if event.kind is Kind.QUESTION_CLOSED:
                yield value_text(event.body)


_TOLD = frozenset(
    {
        Kind.ATTEMPT_FAILED,
        Kind.STEP_FAILED,
        Kind.QUESTION_ASKED,
        Kind.QUESTION_CLOSED,
        Kind.DECIDED,
        Kind.NOTE_WRITTEN,
        Kind.RUN_ENDED,
    }
)


def _told(event: Event, facts: dict[str, Any]) -> Iterator[str]:
    name = event.address.name if event.address is not None else ""
    match event.kind:
        case Kind.NOTE_WRITTEN:
            yield str(facts.get("text", ""))
        case Kind.DECIDED:
            yield f"{facts.get('what', '')}: {facts.get('choice', '')}"
            yield _because(facts)
        case Kind.QUESTION_ASKED:
            yield str(facts.get("text", ""))
            yield str(facts.get("why") or "")
        case Kind.QUESTION_CLOSED:
            yield f"{facts.get('outcome', '')}: {facts.get('choice') or ''}"
            yield f"by {facts['by']}" if facts.get("by") else ""
        case Kind.RUN_ENDED:
            failure = facts.get("failure") or {}
            yield str(facts.get("why") or "")
            yield f"{failure.get('error', '')}: {failure.get('text', '')}" if failure else ""
        case _:
            yield f"{name}: {facts.get('error', '')}: {facts.get('text', '')}"
            yield _because(facts)


def _because(facts: dict[str, Any]) -> str:
    return f"because {facts['because']}" if facts.get("because") else ""


def _line(text: str) -> str:
    return without(clean(text[: 2 * LINE_MAX]))[:LINE_MAX]


def clean(text: str) -> str:
    """The text in one way of writing, without what a store would not take."""
    plain = unicodedata.normalize("NFC", text)
    return plain.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def value_text(body: bytes | None) -> str:
    """A value as text to be found: names and values without their brackets, and without secrets. The codec's bytes are
    JSON; what is not is taken as it is."""
    if not body:
        return ""
    if len(body) > _RAW_MAX:
        return _bounded(body[:_RAW_MAX].decode("utf-8", "ignore"))
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return _bounded(body.decode("utf-8", "replace"))
    pieces, room = [], PIECE_MAX
    for piece in _leaves(tree):
        pieces.append(piece[:room])
        room -= len(pieces[-1]) + 2
        if room <= 0:
            break
    return _bounded(", ".join(pieces))


def _bounded(text: str) -> str:
    return without(clean(text[: 2 * PIECE_MAX]))[:PIECE_MAX]


def _leaves(tree: Any) -> Iterator[str]:
    """Each value with its name, in order; without recursion, as a value may be nested deeply."""
    waiting: list[tuple[str, Any]] = [("", tree)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed([(_name(name, key), child) for key, child in value.items()])
        elif isinstance(value, list):
            waiting += reversed([(name, child) for child in value])
        elif value is not None and value != "":
            said = value if isinstance(value, str) else json.dumps(value)
            is_hidden = isinstance(value, str) and is_secret(name)
            yield f"{name}: {HIDDEN if is_hidden else said}" if name else said


def _name(above: str, key: str) -> str:
    """Of a value in an object. What stands under a secret name is secret; a key with one $ is the codec's own."""
    is_tag = key.startswith("$") and not key.startswith("$$")
    return above if is_tag or is_secret(above) else key.removeprefix("$")
