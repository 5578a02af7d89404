"""Stuck agents: what a run's latest outcomes look like when it goes round in circles. Pure.

Four things are seen, each with a reason of its own:

=============  =====================================================================================================
`same_call`    the same call gave the same result `same` times in a row, and is asked for again
`cycle`        two to four calls take turns, with the same results each time, `cycles` times over, and it goes on
`idle`         over `idle` calls nothing has changed: the agent's own measure of progress, or its notes
`errors`       of the last `of` calls, a share of `errors` or more has failed
=============  =====================================================================================================

The first time, the model is told: the next such call is refused, with what was seen. Going on after that, the run is
stopped or a person is asked. The two that look at a window (`idle`, `errors`) look at a new one after that.

Invariants
1. What is looked at is bounded: some tens of outcomes, of the same scope, never the log.
2. Results are compared as they were recorded, byte by byte: a result that changes at all is another one.
3. A wait breaks every loop: a sleep, a question, a signal, or a call of a tool that says that it polls.
4. What a person or a `resume` let go on is not looked at again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.slot import Slot
from holdfast.errors import PolicyInvalid

Then = Literal["stop", "ask"]
Reason = Literal["same_call", "cycle", "idle", "errors"]
CYCLE_MAX = 4
"""The longest cycle that is looked for, in calls."""
LOOK_BACK_MAX = 1_000
"""Outcomes that are looked at, those of other scopes and of model calls included."""
GLANCE = 64
"""Outcomes of the first look; where they do not tell, a second one is taken."""
WINDOW_MAX = 200
IDLE_DEFAULT = 10
REFUSED_CODE = "stuck"
"""`Failure.code` of a call that was refused here. It stands for the result that it would have had: going on with the
rest of a loop is going on with it."""


REFUSALS_MAX = 16
"""Calls that are refused before whoever asks for them has had a turn: as many as a model may ask for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """When an agent counts as stuck, and what follows after it was told once. None switches a part off."""

    same: int | None = 5
    """The same call with the same result so many times in a row."""
    cycles: int | None = 3
    """Two to four calls that take turns, with the same results, so many times over."""
    idle: int | None = None
    """Calls over which nothing has changed. Off unless given; with `progress=` alone, 10."""
    progress: Callable[[Any], Any] | None = None
    """From the run to a value that changes when it gets on; asked after each call, so it must be quick. Without it, the
    run's notes are its progress."""
    errors: float | None = 0.5
    """The share of the last `of` calls that may not fail."""
    of: int = 20
    then: Then = "stop"
    """`stop` the run, or `ask` a person whether it goes on."""
    code: bool = True
    """Whether the agent's own loops count. False, as where nothing is declared: only what a model asks for again, with
    a model call between one time and the next."""

    def __post_init__(self) -> None:
        for name in ("same", "cycles", "idle"):
            _check_count(name, getattr(self, name), may_be_none=True)
        _check_count("of", self.of, may_be_none=False)
        share: Any = self.errors
        is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if share is not None and not (is_number and math.isfinite(share) and 0 < share <= 1):
            raise PolicyInvalid(f"Stuck(errors={share!r}) must be a share, over 0 and up to 1. None switches it off.")
        if self.then not in get_args(Then):
            raise PolicyInvalid(f"Stuck(then={self.then!r}) is not understood. Write then='stop' or then='ask'.")
        if self.progress is not None and not callable(self.progress):
            raise PolicyInvalid(f"Stuck(progress={self.progress!r}) must be a function of the run.")
        if all(part is None for part in (self.same, self.cycles, self.window, self.errors)):
            raise PolicyInvalid("Stuck() that looks for nothing. Write stuck=None to switch it off.")

    @property
    def window(self) -> int | None:
        """Calls over which something has to change; None when that is not asked for."""
        return IDLE_DEFAULT if self.idle is None and self.progress is not None else self.idle


def _check_count(name: str, value: Any, *, may_be_none: bool) -> None:
    if value is None and may_be_none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= WINDOW_MAX:
        raise PolicyInvalid(f"Stuck({name}={value!r}) must be a whole number from 2 to {WINDOW_MAX}.")


DEFAULT_STUCK = Stuck(code=False)
"""For an agent that declares nothing: it watches what its model does, not the agent's own code."""


class Seen(NamedTuple):
    """A run that goes round in circles."""

    reason: Reason
    loop: str
    """Which loop it is: the same one is told about once."""
    text: str
    """What was seen, in words."""


class Asked(NamedTuple):
    """The call that is about to begin."""

    scope: str
    name: str
    digest: str


class _Past(NamedTuple):
    """One outcome of a tool."""

    name: str
    digest: str
    kind: Kind
    result: bytes | str | None
    models: int
    """Model calls between it and the next outcome of a tool."""
    no: int
    progress: str
    is_after_note: bool
    """Whether a note was written between it and the next outcome."""
    is_refused: bool

    @property
    def what(self) -> tuple[Any, ...]:
        """The call and its result."""
        return self[:4]

    def is_like(self, other: _Past) -> bool:
        """Whether it is the same call with the same result, as far as there is one."""
        return self[:2] == other[:2] and (self.is_refused or other.is_refused or self[2:4] == other[2:4])


def look(order: Sequence[Slot], asked: Asked, rule: Stuck, *, since: int = 0, told: Mapping[str, int]) -> Seen | None:
    """Whether this call of a tool goes on with a loop. order: outcomes as they were recorded. since: the number of
    the event from which on it counts. told: what was told before, and by which event."""
    if rule.window is None and not _is_suspect(order, asked):
        return None
    longest = max(rule.same or 0, CYCLE_MAX * (rule.cycles or 0), rule.window or 0, rule.of if rule.errors else 0)
    past = _Trail(_past(order, asked.scope, since), 2 * longest)
    return _circle(past, asked, rule) or _idle(past, rule, told) or _errors(past, rule, told)


def _is_suspect(order: Sequence[Slot], asked: Asked) -> bool:
    """A first look that is cheap: whether the call was among the latest, or the latest has failed."""
    found = 0
    for slot in reversed(order[-GLANCE:]):
        if slot.step is not StepKind.TOOL or slot.address.scope != asked.scope or slot.outcome is None:
            continue
        is_failed = slot.outcome.kind is Kind.STEP_FAILED
        if slot.address[1:3] == asked[1:] or is_failed:
            return True
        found += 1
        if found == CYCLE_MAX:
            return False
    return len(order) > GLANCE


def look_at_model(
    order: Sequence[Slot], asked: Asked, rule: Stuck, essence: Callable[[bytes | None], Any], *, since: int = 0
) -> Seen | None:
    """Whether a model was asked the very same, and said the very same, again and again. essence: what counts of an
    answer; ids and times in it do not."""
    if rule.same is None or not rule.code:
        return None
    said: Any = None
    count = 0
    for slot in _since(order, asked.scope, since):
        if slot.step is not StepKind.MODEL or slot.outcome is None:
            continue
        if slot.address[:3] != asked or slot.outcome.kind is not Kind.STEP_SUCCEEDED:
            return None
        this = essence(slot.outcome.body)
        if count and this != said:
            return None
        said, count = this, count + 1
        if count >= rule.same:
            text = f"the model was asked the very same, and answered the very same, {count} times in a row"
            return Seen("same_call", _identity("same_call", [asked]), text)
    return None


def is_heard(order: Sequence[Slot], scope: str, told_no: int, *, is_told: bool) -> bool:
    """Whether whoever decides has had what was told: a model call came after it, or no model is in this loop and the
    agent's code `is_told`. Nobody is told more than `REFUSALS_MAX` times."""
    refused = 0
    for slot in _since(order, scope, 0):
        if slot.step is StepKind.MODEL:
            return slot.heard_no > told_no
        refused += slot.heard_no > told_no and slot.outcome is not None and _is_refused(slot.outcome)
        if refused >= REFUSALS_MAX:
            return True
    return is_told


# --- the latest outcomes ---------------------------------------------------------------------------------------


def _since(order: Sequence[Slot], scope: str, since: int) -> Iterator[Slot]:
    """From the newest to the oldest, up to the last wait."""
    for passed, slot in enumerate(reversed(order)):
        if slot.heard_no <= since or passed >= LOOK_BACK_MAX:
            return
        if slot.address.scope != scope:
            continue
        is_wait = slot.step in _WAITS or (slot.outcome is not None and '"polls"' in slot.outcome.meta)
        if is_wait:
            return
        yield slot


_WAITS = frozenset({StepKind.SLEEP, StepKind.QUESTION, StepKind.SIGNAL})


def _past(order: Sequence[Slot], scope: str, since: int) -> Iterator[_Past]:
    models, has_note = 0, False
    for slot in _since(order, scope, since):
        outcome = slot.outcome
        models += slot.step is StepKind.MODEL
        has_note = has_note or slot.step is StepKind.NOTE
        if slot.step is not StepKind.TOOL or outcome is None:
            continue
        facts = outcome.facts if outcome.meta else {}
        is_refused = _is_refused(outcome)
        failed = outcome.kind is Kind.STEP_FAILED
        result = f"{facts.get('error')}: {facts.get('text')}" if failed else outcome.body
        name, digest = slot.address.name, slot.address.digest
        progress = facts.get("progress", "")
        yield _Past(name, digest, outcome.kind, result, models, slot.heard_no, progress, has_note, is_refused)
        models, has_note = 0, False


def _is_refused(outcome: Event) -> bool:
    is_failed = outcome.kind is Kind.STEP_FAILED
    return is_failed and f'"{REFUSED_CODE}"' in outcome.meta and outcome.facts.get("code") == REFUSED_CODE


class _Trail:
    """The latest outcomes, newest first; read as far as somebody looks."""

    def __init__(self, past: Iterator[_Past], longest: int) -> None:
        self._past = past
        self._read: list[_Past] = []
        self._longest = longest

    def newest(self, count: int) -> list[_Past]:
        """So many, or fewer when there are no more."""
        while len(self._read) < min(count, self._longest):
            found = next(self._past, None)
            if found is None:
                break
            self._read.append(found)
        return self._read[:count]

    def begun(self, count: int) -> list[_Past]:
        """The same, without those that were refused here."""
        return [past for past in self.newest(2 * count) if not past.is_refused][:count]


# --- the rules -------------------------------------------------------------------------------------------------


def _circle(trail: _Trail, asked: Asked, rule: Stuck) -> Seen | None:
    for length in range(1, CYCLE_MAX + 1):
        times = rule.same if length == 1 else rule.cycles
        if times is None:
            continue
        block = trail.newest(length)
        if len(block) < length or block[-1][:2] != asked[1:] or not _is_primitive(block):
            continue
        past = trail.newest(length * times)
        is_round = len(past) == length * times and all(
            this.is_like(before) for this, before in zip(past, past[length:], strict=False)
        )
        if is_round and (rule.code or sum(each.models for each in past) >= times):
            return _seen_round([_begun(past[place::length]) for place in range(length)], times)
    return None


def _is_primitive(block: list[_Past]) -> bool:
    """Whether it is no shorter cycle, repeated."""
    count = len(block)
    parts = [part for part in (1, 2) if part < count and count % part == 0]
    return not any(all(block[i].is_like(block[i % part]) for i in range(count)) for part in parts)


def _begun(alike: list[_Past]) -> _Past:
    """The one of these that has a result."""
    return next((past for past in alike if not past.is_refused), alike[0])


def _seen_round(block: list[_Past], times: int) -> Seen:
    names = [past.name for past in reversed(block)]
    if len(block) == 1:
        how = "failed in the same way" if block[0].kind is Kind.STEP_FAILED else "gave the same result"
        text = f"{names[0]} was called with the same arguments {times} times in a row, and {how} each time"
        return Seen("same_call", _identity("same_call", [block[0].what]), text)
    text = f"{' → '.join(names)} was gone through {times} times over, with the same arguments and the same results"
    return Seen("cycle", _identity("cycle", sorted((past.what for past in block), key=repr)), text)


def _identity(reason: str, whats: Sequence[Any]) -> str:
    """The same calls with the same results are the same loop, wherever it is entered."""
    return f"{reason}:{hashlib.sha256(repr(whats).encode()).hexdigest()[:16]}"


def _idle(trail: _Trail, rule: Stuck, told: Mapping[str, int]) -> Seen | None:
    if rule.window is None:
        return None
    past = _window(trail, rule.window, told.get("idle", 0))
    if not past:
        return None
    if rule.progress is None:
        is_idle, what = not any(each.is_after_note for each in past), "no note was written"
    else:
        is_idle = past[0].progress != "" and all(each.progress == past[0].progress for each in past)
        what = "what the agent measures its progress by has not changed"
    return Seen("idle", "idle", f"over the last {len(past)} calls {what}") if is_idle else None


def _errors(trail: _Trail, rule: Stuck, told: Mapping[str, int]) -> Seen | None:
    newest = trail.begun(1)
    if rule.errors is None or not newest or newest[0].kind is not Kind.STEP_FAILED:  # else there is no more to see
        return None
    past = _window(trail, rule.of, told.get("errors", 0))
    failed = sum(each.kind is Kind.STEP_FAILED for each in past)
    if not past or failed < rule.errors * len(past):
        return None
    if not rule.code and sum(each.models for each in past) < max(1, rule.of // 4):
        return None
    return Seen("errors", "errors", f"{failed} of the last {len(past)} calls have failed")


def _window(trail: _Trail, count: int, told_no: int) -> list[_Past]:
    """The newest outcomes when there are enough of them, all since it was last told; else none."""
    past = trail.begun(count)
    return past if len(past) == count and past[-1].no > told_no else []
