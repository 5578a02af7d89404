"""Stuck agents (R28): what counts as going round in circles, and what does not.

If these fail, a stuck agent burns its budget, or a healthy one is refused its work.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.loops import (
    CYCLE_MAX,
    DEFAULT_STUCK,
    LOOK_BACK_MAX,
    REFUSED_CODE,
    Asked,
    Seen,
    Stuck,
    is_heard,
    look,
    look_at_model,
)
from holdfast.core.state import State
from holdfast.errors import PolicyInvalid

CODE = Stuck(errors=None)
MODEL = Stuck(code=False)


class Log:
    """Writes outcomes as a run would."""

    def __init__(self) -> None:
        self.state = State()
        self._counts: dict[tuple[str, str, str], int] = {}

    def outcome(
        self, name: str, result: bytes | None = b"1", *, step: StepKind = StepKind.TOOL, scope: str = "", **facts: Any
    ) -> Log:
        """One outcome; failed when `facts` hold an `error`."""
        what = (scope, name.partition(":")[0], name)
        n = self._counts[what] = self._counts.get(what, -1) + 1
        kind = Kind.STEP_FAILED if "error" in facts else Kind.STEP_SUCCEEDED
        address = Address(*what, n)
        self.state.apply(Event(kind, 1.0, address, step, Effect.READ, 1, 1, meta=meta(**facts), body=result))
        return self

    def model(self) -> Log:
        """A model call, different each time."""
        return self.outcome(f"anthropic:{self.state.count}", step=StepKind.MODEL)

    def note(self) -> Log:
        """A line in the record."""
        address = Address("", "note", str(self.state.count), 0)
        event = Event(Kind.NOTE_WRITTEN, 1.0, address, StepKind.NOTE, Effect.READ, meta=meta(text="x"))
        self.state.apply(event)
        return self

    def asks(self, name: str, rule: Stuck = CODE, *, scope: str = "", **told: Any) -> Seen | None:
        """What is seen when this call is about to begin."""
        asked = Asked(scope, name.partition(":")[0], name)
        since = told.pop("since", 0)
        return look(self.state.order, asked, rule, since=since, told=told.get("told", {}))


def run_of(*names: str, result: bytes = b"1") -> Log:
    """A log of these calls, all with the same result."""
    log = Log()
    for name in names:
        log.outcome(name, result)
    return log


# --- what is seen --------------------------------------------------------------------------------------------------


def test_the_same_call_with_the_same_result() -> None:
    """Lost: the plainest loop there is."""
    assert run_of(*["a"] * 4).asks("a") is None
    seen = run_of(*["a"] * 5).asks("a")
    assert seen is not None and seen.reason == "same_call"
    assert "5 times" in seen.text and "same result" in seen.text
    assert run_of("z", *["a"] * 5).asks("a") is not None


def test_the_call_that_goes_on_is_refused_and_no_other() -> None:
    """Lost: the way out of a loop."""
    log = run_of(*["a"] * 9)
    assert log.asks("b") is None
    assert log.asks("a:2") is None


@pytest.mark.parametrize("length", [2, 3, 4])
def test_cycles_up_to_four(length: int) -> None:
    """Lost: the agent that goes to and fro, which a look at the last two calls never sees."""
    names = ["a", "b", "c", "d"][:length]
    log = run_of(*names * 3)
    seen = log.asks("a")
    assert seen is not None and seen.reason == "cycle" and " → ".join(names) in seen.text and "3 times" in seen.text
    assert log.asks("b") is None
    assert run_of(*(names * 3)[1:]).asks("a") is None


def test_a_cycle_is_the_same_loop_wherever_it_is_entered() -> None:
    """Lost: "told once"; the agent would be told at each of its calls."""
    one, other = run_of(*["a", "b"] * 3).asks("a"), run_of(*["b", "a"] * 3).asks("b")
    assert one is not None and other is not None and one.loop == other.loop
    assert run_of(*["a", "c"] * 3).asks("a").loop != one.loop  # type: ignore[union-attr]


def test_the_same_thing_over_and_over_is_no_cycle() -> None:
    """Lost: `same=`, since a cycle of equal calls comes to its end sooner."""
    patient = Stuck(same=12, cycles=3, errors=None)
    log = run_of(*["a"] * 11)
    assert log.asks("a", patient) is None
    assert log.outcome("a").asks("a", patient).reason == "same_call"  # type: ignore[union-attr]
    assert run_of(*["a", "b"] * 6).asks("a", patient).reason == "cycle"  # type: ignore[union-attr]


def test_failures_of_the_same_kind_are_the_same_result() -> None:
    """Lost: the agent that runs its head against a wall."""
    log = Log()
    for attempt in range(5):
        log.outcome("a", None, error="ValueError", text="no such file", because=f"attempt {attempt}")
    seen = log.asks("a")
    assert seen is not None and "failed in the same way" in seen.text
    other = Log()
    for attempt in range(9):
        other.outcome("a", None, error="ValueError", text=f"no such file {attempt}")
    assert other.asks("a") is None


# --- what is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(5))
def test_another_result_breaks_a_loop(place: int) -> None:
    """Lost: every agent that gets on slowly."""
    log = Log()
    for number in range(5):
        log.outcome("a", b"2" if number == place else b"1")
    assert log.asks("a") is None


def test_waits_break_a_loop() -> None:
    """Lost: every agent that polls: to ask again after a while is its work."""
    for step in (StepKind.SLEEP, StepKind.QUESTION, StepKind.SIGNAL):
        log = Log()
        for _ in range(9):
            log.outcome("a").outcome("wait", None, step=step)
        assert log.asks("a") is None
    log = Log()
    for _ in range(9):
        log.outcome("a", polls=True)
    assert log.asks("a") is None


def test_a_poll_breaks_the_cycle_that_it_is_part_of() -> None:
    """Lost: `wait, look, wait, look`, as a model polls."""
    log = Log()
    for _ in range(9):
        log.outcome("wait").outcome("look", polls=True)
    assert log.asks("wait") is None and log.asks("look") is None


def test_other_scopes_are_other_loops() -> None:
    """Lost: agents used as tools; each has its own rounds."""
    log = Log()
    for _ in range(5):
        log.outcome("a", scope="one").outcome("a", scope="two")
    assert log.asks("a", scope="one") is not None
    assert log.asks("a", scope="three") is None


def test_notes_and_model_calls_between_hide_nothing() -> None:
    """Lost: each real loop, in which a model is asked and the agent writes what it does."""
    log = Log()
    for _ in range(5):
        log.model().note().outcome("a")
    assert log.asks("a") is not None


def test_what_was_refused_for_it_does_not_break_it() -> None:
    """Lost: the second look; the refusal itself would break the loop, and the agent would be told for ever."""
    before = run_of(*["a"] * 5)
    first = before.asks("a")
    log = before.outcome("a", None, error="Stuck", text="told", code=REFUSED_CODE)
    assert log.asks("a") == first is not None
    log = run_of(*["a", "b"] * 3)
    first = log.asks("a")
    log.outcome("a", None, error="Stuck", text="told", code=REFUSED_CODE)
    assert log.asks("b").loop == first.loop, "the other half of it goes on with it"  # type: ignore[union-attr]
    assert log.asks("c") is None


def test_what_a_person_let_go_on_counts_from_there() -> None:
    """Lost: `resume`; the run would stop where it stopped."""
    log = run_of(*["a"] * 5)
    since = log.state.count
    assert log.asks("a", since=since) is None
    for _ in range(5):
        log.outcome("a")
    assert log.asks("a", since=since) is not None


# --- the agent's own loops -----------------------------------------------------------------------------------------


def test_an_undeclared_rule_leaves_the_agents_own_code_alone() -> None:
    """Lost: a plain loop over a queue whose items all give "ok"; nobody is stuck there."""
    assert run_of(*["pop"] * 200).asks("pop", DEFAULT_STUCK) is None
    assert run_of(*["a", "b"] * 50).asks("a", DEFAULT_STUCK) is None
    failing = Log()
    for number in range(40):
        failing.outcome(f"fetch:{number}", None, error="HTTPStatusError", text=f"404 {number}")
    assert failing.asks("fetch:x", DEFAULT_STUCK) is None


def test_an_undeclared_rule_sees_what_a_model_asks_for_again() -> None:
    """Lost: the default, for everybody who has declared nothing."""
    log = Log()
    for _ in range(5):
        log.model().outcome("a")
    assert log.asks("a", DEFAULT_STUCK) is None, "the code asks again, the model did not yet"
    assert log.model().asks("a", DEFAULT_STUCK) is not None
    turns = Log()
    for _ in range(3):
        turns.model().outcome("a").outcome("b")
    assert turns.model().asks("a", DEFAULT_STUCK).reason == "cycle"  # type: ignore[union-attr]


def test_one_turn_that_asks_for_the_same_often_is_one_turn() -> None:
    """Lost: parallel calls; the model has not seen one result yet."""
    log = Log().model()
    for _ in range(9):
        log.outcome("a")
    assert log.model().asks("a", DEFAULT_STUCK) is None


# --- idle, and errors ----------------------------------------------------------------------------------------------


def test_progress_that_stands_still() -> None:
    """Lost: the agent whose calls all succeed and change nothing."""
    rule = Stuck(same=None, cycles=None, errors=None, idle=6, progress=len)
    log = Log()
    for number in range(6):
        assert log.asks("next", rule) is None
        log.outcome(f"edit:{number}", progress="p1")
    assert log.asks("next", rule).reason == "idle"  # type: ignore[union-attr]
    assert log.outcome("edit:x", progress="p2").asks("next", rule) is None


def test_progress_that_was_never_measured_says_nothing() -> None:
    """Lost: a run that was begun before its agent declared a measure."""
    rule = Stuck(same=None, cycles=None, errors=None, progress=len)
    assert rule.window == 10
    assert run_of(*[f"a:{n}" for n in range(30)]).asks("a", rule) is None


def test_notes_are_progress_where_no_other_is_given() -> None:
    """Lost: `idle=` alone."""
    rule = Stuck(same=None, cycles=None, errors=None, idle=4)
    log = run_of(*[f"a:{n}" for n in range(4)])
    assert log.asks("next", rule).reason == "idle"  # type: ignore[union-attr]
    assert log.note().asks("next", rule) is None
    for number in range(3):
        log.outcome(f"b:{number}")
    assert log.asks("next", rule) is None, "three calls since the note"
    assert log.outcome("b:x").asks("next", rule) is not None


def test_an_error_rate() -> None:
    """Lost: an agent that tries one thing after the other, all of which fail."""
    rule = Stuck(same=None, cycles=None, errors=0.5, of=10)
    log = Log()
    for number in range(9):
        log.outcome(f"ok:{number}")
    for number in range(4):
        log.outcome(f"a:{number}", None, error="ValueError", text=str(number))
    assert log.asks("next", rule) is None
    log.outcome("a:4", None, error="ValueError", text="4")
    seen = log.asks("next", rule)
    assert seen is not None and (seen.reason, seen.text) == ("errors", "5 of the last 10 calls have failed")


@pytest.mark.parametrize(
    ("rule", "reason", "facts"),
    [
        (Stuck(same=None, cycles=None, errors=0.5, of=4), "errors", {"error": "E", "text": "t"}),
        (Stuck(same=None, cycles=None, errors=None, idle=4, progress=len), "idle", {"progress": "p"}),
    ],
)
def test_after_it_was_told_a_window_is_looked_at_anew(rule: Stuck, reason: str, facts: dict[str, Any]) -> None:
    """Lost: the chance to do better: the next call would stop the run, whatever it is."""
    log = Log()
    for number in range(4):
        log.outcome(f"a:{number}", None, **facts)
    assert log.asks("x", rule).reason == reason  # type: ignore[union-attr]
    told = {reason: log.state.count}
    for number in range(4, 8):
        assert log.asks("x", rule, told=told) is None
        log.outcome(f"a:{number}", None, **facts)
    assert log.asks("x", rule, told=told).reason == reason  # type: ignore[union-attr]


# --- models --------------------------------------------------------------------------------------------------------


def asks_model(log: Log, name: str, rule: Stuck = CODE) -> Seen | None:
    """What is seen when this model call is about to begin; an answer is told apart by its first byte."""
    asked = Asked("", name.partition(":")[0], name)
    return look_at_model(log.state.order, asked, rule, lambda body: (body or b"")[:1])


def test_a_model_that_is_asked_the_same_and_says_the_same() -> None:
    """Lost: an agent that forgets what it was answered, and pays for it each time."""
    log = Log()
    for number in range(5):
        assert asks_model(log, "m:1") is None
        log.outcome("m:1", b"y%d" % number, step=StepKind.MODEL).outcome(f"t:{number}")
    assert asks_model(log, "m:1").reason == "same_call"  # type: ignore[union-attr]
    assert asks_model(log, "m:2") is None
    assert asks_model(log, "m:1", DEFAULT_STUCK) is None, "ten votes are no loop"
    assert asks_model(log.outcome("m:1", b"n", step=StepKind.MODEL), "m:1") is None


def test_it_is_heard_when_the_model_was_asked_again() -> None:
    """Lost: the model's chance to read it: parallel calls of one turn would stop the run."""
    log = Log().model().outcome("a")
    told = log.state.count
    assert not is_heard(log.state.order, "", told, is_told=True)
    log.outcome("b")
    assert not is_heard(log.state.order, "", told, is_told=True)
    log.model()
    assert is_heard(log.state.order, "", told, is_told=False)
    for _ in range(16):
        log.outcome("a", None, error="Stuck", text="told", code=REFUSED_CODE)
    assert is_heard(log.state.order, "", log.state.count - 16, is_told=False), "told so often, it is a loop of the code"
    assert not is_heard(log.state.order, "", log.state.count - 15, is_told=True)
    code = run_of("a")
    assert is_heard(code.state.order, "", 1, is_told=True) and not is_heard(code.state.order, "", 1, is_told=False)


# --- laws ----------------------------------------------------------------------------------------------------------

CALLS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([b"1", b"2"])), max_size=40)


@given(CALLS, st.sampled_from("abc"), st.integers(2, 6), st.integers(2, 4))
def test_what_is_seen_is_there(calls: list[tuple[str, bytes]], asked: str, same: int, cycles: int) -> None:
    """Lost: either half of the promise. Against the plainest reading of the rule: the end of the list is a block,
    repeated, that begins with the call asked for, and it is not made of a shorter one."""
    log = Log()
    for name, result in calls:
        log.outcome(name, result)
    seen = log.asks(asked, Stuck(same=same, cycles=cycles, errors=None))

    def is_round(length: int, times: int) -> bool:
        tail = calls[-length * times :]
        block = tail[:length]
        shorter = any(block == block[:part] * (length // part) for part in (1, 2) if part < length)
        return len(tail) == length * times and tail == block * times and block[0][0] == asked and not shorter

    if is_round(1, same):
        expected = "same_call"
    else:
        expected = "cycle" if any(is_round(length, cycles) for length in range(2, CYCLE_MAX + 1)) else ""
    assert (seen.reason if seen is not None else "") == expected


@given(CALLS, st.sampled_from("abc"))
def test_no_loop_needs_a_look_at_more_than_the_latest(calls: list[tuple[str, bytes]], asked: str) -> None:
    """Lost: the flat cost of a step, and that a long run is judged like a short one."""
    log, late = Log(), run_of(*[f"old:{n}" for n in range(60)])
    for name, result in calls:
        log.outcome(name, result)
        late.outcome(name, result)
    seen, later = log.asks(asked), late.asks(asked)
    assert (seen and seen.loop) == (later and later.loop)


def test_the_look_is_bounded() -> None:
    """Lost: the flat cost of a step, where thousands of outcomes are another scope's."""
    log = run_of(*["a"] * 5)
    for number in range(LOOK_BACK_MAX):
        log.outcome(f"x:{number}", scope="other")
    assert log.asks("a") is None


# --- what is declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"same": 1},
        {"same": True},
        {"same": 2.0},
        {"cycles": 0},
        {"cycles": 10**6},
        {"idle": -1},
        {"of": None},
        {"of": 0},
        {"errors": 0},
        {"errors": 1.5},
        {"errors": math.nan},
        {"errors": math.inf},
        {"errors": True},
        {"then": "shrug"},
        {"progress": 7},
        {"same": None, "cycles": None, "errors": None},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Lost: a detector that never sees, or always."""
    with pytest.raises(PolicyInvalid, match="Stuck"):
        Stuck(**wrong)
