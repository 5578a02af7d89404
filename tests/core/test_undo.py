"""What an unwinding undoes: exactly what succeeded and stands, the last first; nothing that is not settled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.events import Address, Effect, Event, Kind, StepKind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.state import State, fold
from holdfast.core.undo import plan, to_reopen, undoing, unsettled

TOOL, ONCE = StepKind.TOOL, Effect.ONCE
FAILED = Failure(FailureKind.PERMANENT, "NotDone", "no", "no")
UNKNOWN = Failure(FailureKind.INTERRUPTED, "Unverified", "?", "?", is_definite=False)


def at(name: str, scope: str = "") -> Address:
    """A step."""
    return Address(scope, name, "d", 0)


def began(address: Address, **marks: object) -> Event:
    """Its intent; by default one that can be undone."""
    return Event(Kind.STEP_INTENDED, 1.0, address, TOOL, ONCE, 1, 1, meta=meta(**(marks or {"undo": "cancel"})))


def ended(address: Address, failure: Failure | None = None) -> Event:
    """Its outcome."""
    kind = Kind.STEP_SUCCEEDED if failure is None else Kind.STEP_FAILED
    return Event(kind, 2.0, address, TOOL, ONCE, 1, 1, meta="" if failure is None else meta(**failure.facts()))


def undo_of(address: Address, failure: Failure | None = None) -> list[Event]:
    """The step that undoes it, and its outcome."""
    undo = Address("", f"undo {address.name}", address.name, 0)
    return [began(undo, undoes=list(address)), ended(undo, failure)]


def state(*events: Event) -> State:
    """Folded."""
    return fold(
        [Event(Kind.RUN_STARTED, 0.0, meta=meta(run="r", agent="a", key="k", input_digest="", seed="")), *events]
    )


def test_the_last_to_succeed_is_undone_first_whatever_was_begun_first() -> None:
    """Lost: parallel steps are undone in an order in which they never stood."""
    a, b = at("a"), at("b")
    assert plan(state(began(a), began(b), ended(b), ended(a))).undo == (a, b)


def test_what_failed_what_nothing_undoes_and_what_is_undone_stays_out() -> None:
    """Lost: a cancellation of what never was, or a second one."""
    a, b, c = at("a"), at("b"), at("c")
    plain = [began(c, tail="x"), ended(c)]
    told = state(began(a), ended(a), began(b), ended(b, FAILED), *plain, *undo_of(a))
    assert plan(told) == ((), ())
    assert told.slots[a].is_undone and not told.slots[c].is_undone


def test_what_nobody_knows_is_named_and_not_undone() -> None:
    """Lost: a refund of what was never paid, or a payment that nobody mentions."""
    a = at("a")
    told = state(began(a), ended(a, UNKNOWN))
    assert plan(told) == ((), (a,))
    assert to_reopen(told) == [a]


def test_what_is_in_flight_is_unsettled() -> None:
    """Lost: an unwinding that is over before a payment arrives."""
    a, b = at("a"), at("b")
    assert [slot.address for slot in unsettled(state(began(a), began(b), ended(b)))] == [a]


def test_an_undo_that_failed_is_found_again_and_only_that_one() -> None:
    """Lost: the next try under another key, or of an undo that was done."""
    a, b = at("a"), at("b")
    told = state(began(a), ended(a), began(b), ended(b), *undo_of(b), *undo_of(a, FAILED))
    assert plan(told).undo == (a,)
    failed = undoing(told, a)
    assert failed is not None and to_reopen(told) == [failed.address]


def test_a_scope_is_unwound_with_what_is_below_it_and_nothing_else() -> None:
    """Lost: a part that gives up takes away what others stand on."""
    a, b, c, d = at("a"), at("b", "x"), at("c", "x/y"), at("d", "xy")
    told = state(*(event for step in (a, b, c, d) for event in (began(step), ended(step))))
    assert plan(told, "x").undo == (c, b)
    assert plan(told).undo == (d, c, b, a)


def test_a_run_that_failed_before_it_was_unwound_cannot_go_on_and_one_that_failed_after_can() -> None:
    """Lost: `resume` goes on from what is undone; or a run that had a plan B is shut for nothing."""
    a, b = at("a"), at("b")
    end = [Event(Kind.RUN_ENDED, 3.0, meta=meta(outcome="failed", cause=[list(b)]))]
    failed = [began(b), ended(b, FAILED)]
    stands = [began(a), ended(a)]
    assert state(*stands, *failed, *undo_of(a), *end).head().is_unwound
    assert not state(*stands, *undo_of(a), *failed, *end).head().is_unwound
    assert not state(*stands, *failed, *end).head().is_unwound


STEP = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["flight", "done", "failed", "unknown", "undone"]))


@given(st.lists(STEP, unique_by=lambda step: step[0]))
def test_law_each_step_is_in_one_place(steps: list[tuple[str, str]]) -> None:
    """Lost: a step that is in no list is passed over in silence."""
    events: list[Event] = []
    for name, how in steps:
        address = at(name)
        failure = {"failed": FAILED, "unknown": UNKNOWN}.get(how)
        events += [began(address)] + ([] if how == "flight" else [ended(address, failure)])
        events += undo_of(address) if how == "undone" else []
    told = state(*events)
    found = plan(told)
    assert list(found.undo) == [at(name) for name, how in reversed(steps) if how == "done"]
    assert list(found.left) == [at(name) for name, how in reversed(steps) if how == "unknown"]
    assert [slot.address for slot in unsettled(told)] == [at(name) for name, how in steps if how == "flight"]
