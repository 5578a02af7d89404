"""The circuit breaker, without a clock: a wrong step here floods a dead tool, or shuts a healthy one out for ever."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.breaker import (
    CLOSED,
    Breaker,
    Circuit,
    after,
    after_probe,
    entered,
    from_text,
    refusal,
    to_text,
    unreadable,
)
from holdfast.core.failure import FailureKind
from holdfast.core.health import SLICES, Said, Seen
from holdfast.errors import PolicyInvalid

START = 1_800_000_000.0
POLICY = Breaker()


def fed(said: Sequence[Said], *, policy: Breaker = POLICY, at: float = START, circuit: Circuit = CLOSED) -> Circuit:
    """The circuit after these, each written by itself."""
    for each in said:
        circuit = after(circuit, policy, at, Seen().and_then(each, at, policy.window_s)).circuit
    return circuit


# --- opening -----------------------------------------------------------------------------------------------------


def test_it_opens_at_half_of_ten_and_not_before() -> None:
    """Nine attempts say nothing yet; of ten, five are enough."""
    five_of_nine = [Said.ILL] * 5 + [Said.WELL] * 4
    assert not fed(five_of_nine).is_open
    assert not fed([Said.ILL] * 4 + [Said.WELL] * 6).is_open
    opened = fed([*five_of_nine, Said.WELL])
    assert opened.is_open
    assert opened.because == "5 of 10 attempts failed within 60 s"


def test_it_opens_at_the_fifth_timeout_in_a_row() -> None:
    assert not fed([Said.LATE] * 4).is_open
    assert fed([Said.LATE] * 5).because == "5 attempts in a row without an answer in time"
    assert not fed([*[Said.LATE] * 4, Said.WELL, *[Said.LATE] * 4]).is_open


def test_a_row_of_timeouts_is_counted_across_those_who_see_them() -> None:
    """Five processes with one timeout each are five in a row; one that saw an answer in between starts anew."""
    circuit = CLOSED
    for _ in range(4):
        circuit = after(circuit, POLICY, START, Seen().and_then(Said.LATE, START, 60.0)).circuit
    well_then_late = Seen().and_then(Said.WELL, START, 60.0).and_then(Said.LATE, START, 60.0)
    assert after(circuit, POLICY, START, well_then_late).circuit.late == 1
    assert after(circuit, POLICY, START, Seen().and_then(Said.LATE, START, 60.0)).choice == "opened"


def test_what_is_older_than_the_window_no_longer_counts() -> None:
    before = fed([Said.ILL] * 9)
    assert not fed([Said.ILL], at=START + 61.0, circuit=before).is_open
    assert fed([Said.ILL], at=START + 40.0, circuit=before).is_open


def test_successes_alone_never_open_it() -> None:
    assert not fed([Said.WELL] * 100, policy=Breaker(errors=0.0001, calls=1)).is_open


@given(
    st.lists(st.tuples(st.floats(0.0, 30.0), st.sampled_from([Said.WELL, Said.ILL])), max_size=60),
    st.integers(1, 12),
    st.sampled_from([0.2, 0.5, 0.8, 1.0]),
)
def test_it_opens_exactly_when_the_share_of_the_window_says_so(
    steps: list[tuple[float, Said]], calls: int, errors: float
) -> None:
    """Against a list of all that was seen."""
    policy, circuit, now = Breaker(calls=calls, errors=errors), CLOSED, START
    log: list[tuple[int, bool]] = []
    for wait, said in steps:
        now += wait
        place = int(now * SLICES // 60.0)
        log.append((place, said is Said.ILL))
        recent = [is_error for at, is_error in log if at > place - SLICES]
        should = sum(recent) > 0 and len(recent) >= calls and sum(recent) >= errors * len(recent)
        circuit = fed([said], policy=policy, at=now, circuit=circuit)
        assert circuit.is_open == should
        if should:
            return


# --- open, half open ----------------------------------------------------------------------------------------------


def test_while_it_is_open_nothing_passes_and_then_one_probes() -> None:
    opened = fed([Said.LATE] * 5)
    assert not entered(opened, POLICY, START + 29.9, "a").may_begin
    first = entered(opened, POLICY, START + 30.0, "a")
    assert first.may_begin
    assert first.ticket == "a"
    assert first.write is not None
    assert not entered(first.write, POLICY, START + 30.0, "b").may_begin


def test_a_prober_that_is_not_heard_of_again_loses_its_turn() -> None:
    """Otherwise a process that dies while it probes would shut the tool out for ever."""
    half_open = entered(fed([Said.LATE] * 5), POLICY, START + 30.0, "dead").write
    assert half_open is not None
    assert not entered(half_open, POLICY, START + 59.9, "b").may_begin
    assert entered(half_open, POLICY, START + 60.0, "b").ticket == "b"


def test_a_probe_decides() -> None:
    opened = fed([Said.LATE] * 5)
    half_open = entered(opened, POLICY, START + 30.0, "a").write
    assert half_open is not None
    assert after_probe(half_open, POLICY, START + 31.0, "a", Said.WELL).circuit == CLOSED
    again = after_probe(half_open, POLICY, START + 31.0, "a", Said.LATE)
    assert (again.choice, again.circuit.until) == ("reopened", START + 61.0)
    assert again.because == "the probe had no answer in time"
    assert again.circuit.because.endswith("before that: 5 attempts in a row without an answer in time")
    unclear = after_probe(half_open, POLICY, START + 31.0, "a", Said.NOTHING)
    assert unclear.choice == ""
    assert entered(unclear.circuit, POLICY, START + 31.0, "b").may_begin


def test_a_reason_does_not_grow_with_each_probe() -> None:
    circuit = fed([Said.LATE] * 5)
    for n in range(50):
        half_open = entered(circuit, POLICY, circuit.until, str(n)).write
        assert half_open is not None
        circuit = after_probe(half_open, POLICY, circuit.until, str(n), Said.ILL).circuit
    assert len(circuit.because) < 200


def test_a_late_prober_brings_good_news_but_not_bad() -> None:
    """Its turn was over: somebody else probes, and is not disturbed by how the old request ended."""
    second = Circuit(opened_at=START, until=START + 90.0, prober="b")
    assert after_probe(second, POLICY, START + 61.0, "a", Said.LATE).circuit == second
    assert after_probe(second, POLICY, START + 61.0, "a", Said.WELL).circuit == CLOSED


def test_attempts_begun_before_it_opened_change_nothing() -> None:
    """Otherwise one slow success closes it, or each straggler prolongs it."""
    opened = fed([Said.LATE] * 5)
    for said in Said:
        assert fed([said], circuit=opened) == opened


def test_a_clock_set_back_prolongs_it_by_one_wait_at_most() -> None:
    opened = fed([Said.LATE] * 5)
    back = START - 86_400.0
    entry = entered(opened, POLICY, back, "a")
    assert not entry.may_begin
    assert entry.write is not None
    assert not entered(entry.write, POLICY, back + 29.0, "a").may_begin
    assert entered(entry.write, POLICY, back + 30.0, "a").may_begin


def test_counts_from_a_future_that_was_taken_back_do_not_count() -> None:
    before = fed([Said.ILL] * 9)
    assert not fed([Said.ILL], at=START - 3_600.0, circuit=before).is_open


class World:
    """A tool behind a breaker that many call; time may jump."""

    def __init__(self, policy: Breaker) -> None:
        self.policy = policy
        self.now = START
        self.circuit = CLOSED
        self.probes: list[float] = []
        self.under_way: list[str] = []
        self.asked = 0

    def ask(self) -> bool:
        self.asked += 1
        entry = entered(self.circuit, self.policy, self.now, str(self.asked))
        if entry.write is not None:
            self.circuit = entry.write
        if entry.may_begin:
            self.under_way.append(entry.ticket)
            if entry.ticket:
                self.probes.append(self.now)
        return entry.may_begin

    def end(self, place: int, said: Said) -> None:
        if not self.under_way:
            return
        ticket = self.under_way.pop(place % len(self.under_way))
        if ticket and self.circuit.is_open:
            if said is Said.NOTHING and ticket == self.circuit.prober:
                self.probes.clear()
            self.circuit = after_probe(self.circuit, self.policy, self.now, ticket, said).circuit
        else:
            seen = Seen().and_then(said, self.now, self.policy.window_s)
            self.circuit = after(self.circuit, self.policy, self.now, seen).circuit
        if not self.circuit.is_open:
            self.probes.clear()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.just(0.0), st.just(Said.WELL)),
        st.tuples(st.just("end"), st.floats(0, 20), st.sampled_from(Said)),
        st.tuples(st.just("wait"), st.floats(0.0, 45.0), st.just(Said.WELL)),
        st.tuples(st.just("jump"), st.floats(-90_000.0, 90_000.0), st.just(Said.WELL)),
    ),
    max_size=80,
)


@given(actions)
def test_whatever_happens_one_probe_in_each_wait_and_never_shut_for_ever(steps: list[tuple[str, float, Said]]) -> None:
    """The two promises: a dead tool meets one call in each wait, and a tool is asked again after one wait."""
    world = World(Breaker(calls=4, timeouts=2, wait=30.0))
    for what, amount, said in steps:
        match what:
            case "ask":
                world.ask()
            case "end":
                world.end(int(amount), said)
            case "wait":
                world.now += amount
            case "jump":
                world.now += amount
                world.probes.clear()
        gaps = [later - earlier for earlier, later in zip(world.probes, world.probes[1:], strict=False)]
        assert all(gap >= 30.0 - 1e-6 for gap in gaps)
        assert from_text(to_text(world.circuit)) == world.circuit
    world.ask()
    world.now += 30.0 + 1e-6
    assert world.ask()


# --- texts, policies ----------------------------------------------------------------------------------------------


def test_a_refusal_says_until_when_and_why() -> None:
    opened = fed([Said.LATE] * 5)
    failure = refusal("find_invoice", opened, START + 1.0)
    assert failure.kind is FailureKind.REFUSED
    assert failure.is_definite
    assert failure.retry_after_s == 29.0
    assert failure.text == (
        "the breaker of find_invoice is open since 2027-01-15 08:00:00Z until 2027-01-15 08:00:30Z (5 attempts in a "
        "row without an answer in time). Nothing was sent; one call probes it from then on; others wait."
    )
    assert "another call is probing" in refusal("x", opened._replace(prober="a"), START).text


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "7",
        '"open"',
        '{"opened_at":"now"}',
        '{"opened_at":NaN}',
        '{"until":Infinity}',
        '{"opened_at":-1}',
        '{"late":1.5}',
        '{"late":true}',
        '{"counts":[[1,2]],"window_s":60}',
        '{"counts":[[1,2,"3"]],"window_s":60}',
        '{"counts":[[1,2,-3]]}',
        '{"late":-1}',
        '{"counts":7}',
        '{"prober":7}',
        '{"because":[]}',
        '{"something":1}',
    ],
)
def test_a_record_that_cannot_be_read_is_no_circuit(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_text(text)


def test_an_unreadable_record_counts_as_open_until_a_probe() -> None:
    """What cannot be read is not taken for good news, nor for bad news for ever."""
    circuit = unreadable(POLICY, START)
    assert not entered(circuit, POLICY, START, "a").may_begin
    assert entered(circuit, POLICY, START + 30.0, "a").may_begin
    assert from_text("") == CLOSED


@pytest.mark.parametrize(
    "wrong",
    [
        {"errors": 0},
        {"errors": 1.1},
        {"errors": float("nan")},
        {"errors": True},
        {"errors": "half"},
        {"calls": 0},
        {"calls": 2.0},
        {"calls": None},
        {"calls": 10_001},
        {"timeouts": 0},
        {"timeouts": True},
        {"of": "0.5s"},
        {"of": "2h"},
        {"of": None},
        {"wait": 0},
        {"wait": -1},
        {"wait": "2h"},
        {"wait": float("nan")},
        {"wait": "soon"},
    ],
)
def test_a_policy_without_sense_is_refused_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyInvalid):
        Breaker(**wrong)


def test_a_healthy_circuit_needs_no_fresh_look() -> None:
    assert CLOSED.is_healthy(START)
    assert fed([Said.WELL] * 3).is_healthy(START)
    assert not fed([Said.ILL]).is_healthy(START)
    assert fed([Said.ILL]).is_healthy(START + 61.0)
    assert not fed([Said.LATE]).is_healthy(START + 61.0)
    assert not fed([Said.LATE] * 5).is_healthy(START)
