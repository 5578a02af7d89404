"""Whether somebody can be reached, as it is measured. If these fail, a run waits for people whom nothing reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.reach import (
    LAPSE_FINAL_S,
    LAPSE_S,
    PROVEN_S,
    Evidence,
    Fact,
    Reachability,
    Route,
    State,
    Watch,
    Way,
    cell_of,
    judged,
    text_of,
)

NOW = 1_000_000_000.0
FRESH = Evidence(accepted_at=NOW - 60, taken_at=NOW - 30)
WATCHED = Watch(NOW - 10, 60.0)


def route(*evidence: Evidence, levels: int = 2, **more: object) -> Route:
    """A chain of ways in different domains."""
    ways = [Way(n % 2, f"p{n}", f"c{n}", f"d{n}", each) for n, each in enumerate(evidence)]
    known = {"is_somebody_there": True, "gap_at": None, "watch": WATCHED}
    return Route("finance", levels, ways, **known | more)  # type: ignore[arg-type]


def state(of: Route) -> State:
    return judged(of, NOW).state


def test_all_of_it_holds() -> None:
    """Lost: the state that lets a step begin."""
    assert judged(route(FRESH, FRESH), NOW) == Reachability(State.REACHABLE)


def test_what_was_only_configured_is_unproven() -> None:
    """Lost: the difference between a channel that accepts notices and a person who reads them."""
    assert state(route(Evidence(), Evidence())) is State.UNPROVEN
    accepted = Evidence(accepted_at=NOW - 1)
    assert state(route(accepted, accepted)) is State.UNPROVEN


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        (route(*[Evidence(taken_at=NOW - PROVEN_S - 1)] * 2), "the last time"),
        (route(*[Evidence(taken_at=NOW + 100)] * 2), "the last time"),
        (route(FRESH, FRESH.refused(NOW - 1, "410 gone")), "c1 to p1 failed last: 410 gone"),
        (route(FRESH, FRESH, levels=1), "one level"),
        (route(FRESH), "fail together"),
        (route(FRESH, FRESH, gap_at=NOW + 600), "nobody is there any more in 10 min"),
        (route(FRESH, FRESH, watch=None), "watches"),
        (route(FRESH, FRESH, watch=Watch(None, 60.0)), "not told in its period"),
        (route(FRESH, FRESH, watch=Watch(NOW - 61, 60.0)), "not told in its period"),
    ],
)
def test_one_thing_that_does_not_hold_degrades_it_and_is_named(changed: Route, because: str) -> None:
    """Lost: the warning while there is time to mend it."""
    found = judged(changed, NOW)
    assert found.state is State.DEGRADED and len(found.because) == 1 and because in found.because[0]


def test_nobody_there_or_nothing_that_gets_through_is_unreachable() -> None:
    """Lost: a run that asks into the void, and takes its default hours later, each time."""
    assert state(route(FRESH, FRESH, is_somebody_there=False)) is State.UNREACHABLE
    assert state(route()) is State.UNREACHABLE
    refused = FRESH.refused(NOW - 1, "550 no such user")
    assert state(route(refused, refused)) is State.UNREACHABLE
    assert state(route(Evidence().refused(NOW, "x"))) is State.UNREACHABLE, "also when it was never proven"


def test_a_way_that_works_again_is_no_longer_refused() -> None:
    """Lost: a channel that is shunned for ever after one bad minute."""
    mended = FRESH.refused(NOW - 20, "timeout").accepted(NOW - 1)
    assert not mended.is_refused and state(route(mended, FRESH)) is State.REACHABLE


@pytest.mark.parametrize(("is_final", "lasts_s"), [(False, LAPSE_S), (True, LAPSE_FINAL_S)])
def test_what_was_refused_once_is_not_out_of_reach_for_ever(is_final: bool, lasts_s: float) -> None:
    """Lost: after one outage nobody is ever asked anything again, where nobody watches who would find it mended."""
    refused = replace(FRESH.refused(NOW - 1, "timeout"), is_final=is_final)
    chain = route(refused, refused)
    assert judged(chain, NOW - 1 + lasts_s - 0.5).state is State.UNREACHABLE
    later = judged(chain, NOW - 1 + lasts_s)
    assert later.state is State.DEGRADED and any("failed last" in each for each in later.because)
    never_taken = route(replace(refused, taken_at=None))
    assert judged(never_taken, NOW - 1 + lasts_s).state is State.UNPROVEN


times = st.none() | st.floats(NOW - 2 * PROVEN_S, NOW)
evidences = st.builds(Evidence, times, times, st.text(), st.booleans(), times, times)


@given(st.lists(evidences, max_size=4), st.booleans(), st.integers(1, 3))
def test_reachable_is_never_said_of_what_nobody_took(known: list[Evidence], there: bool, levels: int) -> None:
    """Lost: the word. It must mean that a person took something lately, and that they are there."""
    found = judged(route(*known, levels=levels, is_somebody_there=there), NOW)
    if found.state is State.REACHABLE:
        assert there and any(each.taken_at is not None and each.taken_at >= NOW - PROVEN_S for each in known)
    assert (found.state is State.REACHABLE) == (not found.because)


@given(evidences)
def test_it_is_kept_in_cells(known: Evidence) -> None:
    """Lost: what was learned, with the process that learned it."""
    times = {
        Fact.ACCEPTED: known.accepted_at,
        Fact.REFUSED: known.refused_at,
        Fact.TAKEN: known.taken_at,
        Fact.PROBED: known.probed_at,
    }
    kept = {fact: text_of(at) for fact, at in times.items() if at is not None}
    if known.refused_at is not None:
        kept[Fact.REFUSED] = text_of(known.refused_at, known.refusal, is_final=known.is_final)
    found = Evidence.of(kept)
    said = known.refused_at is not None and bool(known.refusal)
    assert found == replace(known, refusal=known.refusal if said else "", is_final=known.is_final and said)


@pytest.mark.parametrize("text", ["", "{", "7", "[]", '{"newer": 1}', '{"at": "x"}', '{"at": true}'])
def test_a_cell_that_says_nothing_holds_nothing(text: str) -> None:
    """Lost: a damaged cell that stops every question, or proves that somebody was there."""
    assert Evidence.of(dict.fromkeys(Fact, text)) == Evidence()


def test_each_fact_has_a_cell_of_its_own() -> None:
    """Lost: that somebody took a question, since another chain wrote at that moment that a mail was accepted."""
    assert cell_of("mail", "ada", Fact.TAKEN) == "reach/mail/ada/taken"
    assert len({cell_of("mail", "ada", fact) for fact in Fact}) == len(Fact)
