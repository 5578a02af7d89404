"""Which ended runs may be forgotten, and what stays of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import accept
from holdfast.core.charges import rebuilt
from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Head, Status
from holdfast.core.retention import Known, Retention, choose, parse, tombstone
from holdfast.core.state import fold
from holdfast.errors import PolicyInvalid

DAY_S = 86_400.0
NOW = 1_000 * DAY_S
OLD = Retention(ended_before_s=10 * DAY_S)
ENDS = [status for status in Status if status.is_end]


def run(
    run_id: str, status: Status = Status.SUCCEEDED, *, days_ago: float = 20, agent: str = "a", **more: Any
) -> Known:
    head = Head(run_id, run_id, agent, "d", status, 0.0, NOW - days_ago * DAY_S)
    return Known(head._replace(is_forgotten=more.pop("is_forgotten", False)), **more)


def gone(retention: Retention, *runs: Known) -> list[str]:
    return choose(retention, runs, NOW).forget


def test_only_what_ended_long_enough_ago() -> None:
    """Lost: a result that somebody still wants, or a store that grows for ever."""
    runs = [run("r1"), run("r2", days_ago=9.9), run("r3", days_ago=10)]
    assert gone(OLD, *runs) == ["r1", "r3"]


@pytest.mark.parametrize("status", [status for status in Status if not status.is_end])
def test_never_what_is_live(status: Status) -> None:
    """Lost: P2, by the very command that keeps the store."""
    assert gone(Retention(0.0, 0), run("r1", status, days_ago=900)) == []


def test_never_what_somebody_uses() -> None:
    """Lost: the log from under a worker, or a resume that was just asked for."""
    assert gone(OLD, run("r1", is_in_use=True)) == []


def test_without_a_word_nothing_goes() -> None:
    """Lost: every result, by a command without options."""
    assert gone(Retention(), run("r1", days_ago=900)) == []
    assert gone(Retention(status=("failed",), agents=("a",)), run("r1", Status.FAILED, days_ago=900)) == []
    assert not Retention(status=("failed",)) and Retention(keep=0) and Retention(ended_before_s=0.0)


def test_the_newest_of_each_agent_stay() -> None:
    """Lost: the last runs of an agent that seldom runs, behind those of one that always does."""
    runs = [run(f"a{number}", days_ago=100 - number) for number in range(5)]
    runs += [run(f"b{number}", days_ago=200 - number, agent="b") for number in range(3)]
    assert gone(Retention(keep=2), *runs) == ["a0", "a1", "a2", "b0"]
    assert gone(Retention(keep=4, ended_before_s=0), *runs) == ["a0"]


def test_what_is_not_meant_does_not_count_among_the_newest() -> None:
    """Lost: the one success that was to be kept, behind a crowd of failures."""
    runs = [run("good", days_ago=50), *(run(f"bad{number}", Status.FAILED, days_ago=9 - number) for number in range(3))]
    assert gone(Retention(keep=1, status=("failed",)), *runs) == ["bad0", "bad1"]
    assert gone(Retention(keep=1, status=("succeeded",)), *runs) == []


def test_a_run_goes_with_those_that_are_part_of_it_or_not_at_all() -> None:
    """Lost: a parent that is resumed, and waits for ever for a child that nobody can reopen."""
    parent, child = run("p", Status.FAILED), run("c", Status.FAILED, parent="p")
    grandchild = run("g", Status.CANCELLED, parent="c", agent="b")
    assert gone(OLD, grandchild, parent, child) == ["p", "g", "c"]
    assert gone(replace(OLD, agents=("a",), status=("failed",)), parent, child, grandchild) == ["p", "c", "g"]
    assert gone(replace(OLD, agents=("b",)), parent, child, grandchild) == []
    for live in (run("g", Status.SUSPENDED, parent="c"), run("g", parent="c", is_in_use=True)):
        assert gone(OLD, parent, child, live) == []
    assert gone(OLD, run("p", Status.SUSPENDED), child, grandchild) == []
    assert gone(OLD, parent, child, run("g", parent="c", days_ago=1)) == []


def test_a_family_that_was_cut_short_is_finished() -> None:
    """Lost: the children of a forgotten run, which would stay for ever after a crash in the middle."""
    parent = run("p", Status.FAILED, days_ago=1, is_forgotten=True)
    assert gone(OLD, parent, run("c", parent="p", days_ago=1)) == ["c"]
    assert gone(OLD, parent) == []


def test_a_chapter_stays_while_the_next_one_is_live() -> None:
    """Lost: the chapter that a live run goes on from. Older ones go: an agent that never ends must not fill a disk."""
    first, second = run("r1", days_ago=90), run("r2", days_ago=60, previous="r1")
    assert gone(OLD, first, second, run("r3", Status.RUNNING, days_ago=0, previous="r2")) == ["r1"]
    assert gone(OLD, first, second, run("r3", days_ago=30, previous="r2")) == ["r1", "r2", "r3"]


def test_it_says_why_runs_stay() -> None:
    """Lost: the answer to why a store does not shrink."""
    runs = [run("r1", days_ago=1), run("r2", is_in_use=True), run("r3"), run("r4", agent="b"), run("r5", Status.READY)]
    assert choose(replace(OLD, agents=("a",)), runs, NOW).kept == {
        "it ended not long ago": 1,
        "a run that it belongs to is live": 1,
        "retention is about others": 1,
    }


RELATIONS = st.lists(
    st.tuples(st.sampled_from(Status), st.integers(0, 30), st.booleans(), st.integers(0, 9), st.integers(0, 9)),
    max_size=9,
)


@given(RELATIONS, st.none() | st.integers(0, 20), st.none() | st.integers(0, 3))
def test_no_live_run_ever_loses_one_that_it_belongs_to(
    drawn: Sequence[tuple[Status, int, bool, int, int]], age: int | None, keep: int | None
) -> None:
    """Lost: the promise that live runs are untouched, in a family of a shape that nobody thought of."""
    runs = [
        run(
            f"r{number}",
            status,
            days_ago=days,
            is_in_use=is_in_use,
            parent=f"r{parent}" if parent < number else "",
            previous=f"r{previous}" if previous < number and parent >= number else "",
        )
        for number, (status, days, is_in_use, parent, previous) in enumerate(drawn)
    ]
    chosen = set(gone(Retention(None if age is None else age * DAY_S, keep), *runs))
    for one in runs:
        if not one.is_over:
            assert not chosen & {one.head.run_id, one.parent}
        if not one.head.status.is_end:
            assert one.previous not in chosen
        if one.parent:
            assert (one.head.run_id in chosen) == (one.parent in chosen)


# --- what stays ------------------------------------------------------------------------------------------------


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.builds(Charge, st.integers(0, 2), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)),
        st.sampled_from([None, NOTHING, Charge(1), Charge(0, 1, 5, 7)]),
        st.booleans(),
    ),
    max_size=6,
)


def log(steps: Sequence[tuple[int, Charge, Charge | None, bool]], accounts: list[str], **ended: Any) -> list[Event]:
    """A run over several days: reservations, some of them settled, some of them for children."""
    begun = meta(run="r1", agent="a", key="k", input_digest="d", seed="s", accounts=accounts or None, created_at=5.0)
    events = [Event(Kind.RUN_STARTED, 10.0, meta=begun, body=b"1")]
    for number, (day, reserved, used, is_child) in enumerate(steps):
        address, at = Address("", f"s{number}", "d", 0), 20.0 + day * DAY_S
        step, facts = (StepKind.CHILD, meta(child=f"c{number}", shares=True)) if is_child else (StepKind.MODEL, "")
        events.append(Event(Kind.STEP_INTENDED, at, address, step, Effect.READ, 1, 1, reserved, facts))
        if used is not None:
            events.append(Event(Kind.STEP_SUCCEEDED, at + DAY_S, address, step, Effect.READ, 1, 1, used, "", b"1"))
    facts = {"outcome": "failed", "why": "it raised"} | ended
    return [*events, Event(Kind.RUN_ENDED, 30 + 9 * DAY_S, charge=Charge(2, 1, 3, 4), meta=meta(**facts))]


@given(STEPS, st.sampled_from([[], ["run/r0"], ["run/r0", "run/r9"]]))
def test_the_accounts_are_the_same_before_and_after(
    steps: Sequence[tuple[int, Charge, Charge | None, bool]], accounts: list[str]
) -> None:
    """Lost: P7: a day's budget would be free again as soon as its runs are forgotten."""
    events = log(steps, accounts)
    left = tombstone(events, NOW)
    assert rebuilt([left.events]) == rebuilt([events])
    before = fold(events).head()
    assert left.head == before._replace(children=0, is_forgotten=True, is_unwound=False)
    assert rebuilt([tombstone(left.events, NOW + 1).events]) == rebuilt([events])


def test_what_stays_says_what_it_was_and_how_it_ended() -> None:
    """Lost: the answer to somebody who comes back with the key of a run that is gone."""
    left = tombstone(log([], []), NOW)
    state = fold(left.events)
    assert (state.run_id, state.key, state.agent, state.input_digest) == ("r1", "k", "a", "d")
    assert (state.status, state.why, state.updated_at, state.created_at) == (Status.FAILED, "it raised", 777_630.0, 5.0)
    assert state.is_forgotten and state.end is not None and state.end.facts["forgotten"] == NOW
    assert [event.kind for event in left.events] == [Kind.RUN_STARTED, Kind.RUN_ENDED]
    assert not any(event.body for event in left.events)


def test_the_way_to_the_next_chapter_stays() -> None:
    """Lost: the run that a key names, for whoever waits on an older chapter."""
    assert fold(tombstone(log([], [], outcome="succeeded", continued="r2"), NOW).events).continued == "r2"


def test_nothing_can_be_told_to_it_and_it_is_not_run_again() -> None:
    """Lost: a resume that would run a forgotten agent from its first line, with all its effects."""
    head = tombstone(log([], []), NOW).head
    messages = [accept.resume(by="ada"), accept.unwind(by="ada"), accept.cap({"tokens": 1}, by="ada")]
    messages += [accept.cancel(by="ada"), accept.pause(by="ada"), accept.signal("go", by="ada", body=None)]
    for message in messages:
        refused = accept.accept(head, "r1", message, NOW)
        assert not refused.is_stored and "removed by retention" in refused.refused
    again = accept.start(agent="a", key="k", input_digest="d", limits=None, body=b"1")
    assert accept.accept(head, "r1", again, NOW) == accept.Posted(False)
    other = accept.start(agent="a", key="k", input_digest="e", limits=None, body=b"2")
    assert "Use another key" in accept.accept(head, "r1", other, NOW).refused


def test_a_table_is_read_as_it_is_written() -> None:
    """Lost: a rule that forgets more than was stated."""
    table = {"ended_before": "30d", "keep": 1000, "status": ["failed"], "agents": "a"}
    assert parse(table) == Retention(30 * DAY_S, 1000, ("failed",), ("a",))
    assert parse({}) == Retention() and str(parse({})) == "none"
    assert str(parse(table)) == ("ended at least 30 d ago, not among the newest 1000 of their agent, failed, of a")
    assert parse(table).under(Retention(keep=0)) == Retention(30 * DAY_S, 0, ("failed",), ("a",))


@pytest.mark.parametrize(
    "table",
    [
        {"older": "30d"},
        {"keep": -1},
        {"keep": True},
        {"keep": "3"},
        {"status": ["running"]},
        {"status": [3]},
        {"agents": 3},
        {"ended_before": "soon"},
        {"ended_before": True},
    ],
)
def test_what_is_not_understood_is_refused(table: dict[str, Any]) -> None:
    """Lost: a rule with a mistyped word, which would forget by the rest of it."""
    with pytest.raises(PolicyInvalid):
        parse(table)
