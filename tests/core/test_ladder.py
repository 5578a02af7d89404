"""Which rung follows a failure, which are passed over, and why.

If these fail, an outage is answered by a wrong number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core import ladder
from holdfast.core.events import Event, Kind, meta
from holdfast.core.failure import Failure, FailureKind
from holdfast.core.policy import Again, GiveUp, InDoubt
from holdfast.core.rung import Ask, Cached, Escalation, Model, Other, Stop

K = FailureKind
SELF, COPY, OLD, ASK, STOP = Other("find"), Other("copy"), Cached(max_age="1h"), Ask("ann", within="1h"), Stop()
OPS = Escalation("ops")
FULL = (COPY, OLD, ASK, STOP)
OVER = GiveUp("attempt 3 of 3 failed")


def failed(kind: FailureKind, status: int | None = None) -> Failure:
    return Failure(kind, "E", "text", "repr", status=status, because="so")


def taken(failure: Failure, rungs: Any, decision: Any = OVER) -> str | None:
    """The name of the rung that follows; "tell the agent" when none does, None when it does not climb."""
    climb = ladder.next_rung(failure, decision, SELF, rungs)
    if climb is None:
        return None
    return rungs[climb.further - 1].name if climb.further else ladder.TELL


@pytest.mark.parametrize(
    ("kind", "status", "first"),
    [
        (K.TRANSIENT, None, "copy"),
        (K.TRANSIENT, 503, "copy"),
        (K.RATE_LIMITED, 429, "copy"),
        (K.UNAUTHORISED, 401, "copy"),
        (K.REFUSED, None, "copy"),
        (K.INVALID_OUTPUT, None, "copy"),
        (K.INTERRUPTED, None, "copy"),
        (K.PERMANENT, None, "copy"),
        (K.PERMANENT, 404, "ask ann"),
        (K.PERMANENT, 410, "ask ann"),
        (K.INVALID, 400, "tell the agent"),
        (K.INVALID, 422, "tell the agent"),
        (K.INVALID, None, "tell the agent"),
    ],
)
def test_the_first_rung_by_kind(kind: FailureKind, status: int | None, first: str) -> None:
    """Lost: a wrong request that is made everywhere, or a record that is gone and comes back from an old result."""
    assert taken(failed(kind, status), FULL) == first


def test_why_it_failed_names_no_rung_that_may_be_passed_over_yet() -> None:
    """Lost: a question that tells a person of an old result which there is not. Where it goes on stands in `next`."""
    climb = ladder.next_rung(failed(K.TRANSIENT), OVER, SELF, FULL)
    assert climb is not None and climb.because == OVER.because
    escalated = ladder.next_rung(failed(K.UNAUTHORISED), OVER, Model("a", account="x"), (OPS,))
    assert escalated is not None and escalated.because == OVER.because


def test_every_kind_has_been_decided_for() -> None:
    """Lost: the decision for a new kind of failure."""
    for kind in K:
        assert taken(failed(kind), FULL) in ("copy", ladder.TELL)


def test_nothing_is_climbed_while_attempts_are_left_or_nobody_knows() -> None:
    """Lost: another bank is paid while the first may have been."""
    for decision in (Again(1.0, "once more"), InDoubt("who knows")):
        assert taken(failed(K.TRANSIENT), FULL, decision) is None


def test_what_was_passed_over_is_named_with_its_reason() -> None:
    """Lost: the answer to "why did it not ask me?"."""
    climb = ladder.next_rung(failed(K.PERMANENT, 404), OVER, SELF, FULL, (("earlier", "because"),))
    assert climb is not None and climb.further == 3
    assert [name for name, why in climb.passed] == ["earlier", "copy", "cached"]
    assert all("404" in why for name, why in climb.passed[1:])


def test_keys_and_money_go_to_a_person_before_an_old_result_hides_them() -> None:
    """Lost: a key that expired and nobody noticed, as old numbers went on looking well."""
    rungs = ladder.ladder_of((COPY, OLD, STOP), "ops")
    assert [rung.name for rung in rungs] == ["copy", "ask ops", "cached", "stop"]
    rest = rungs[1:]
    assert taken(failed(K.UNAUTHORISED), rest) == "ask ops"
    assert taken(failed(K.TRANSIENT), rest) == "cached"
    assert ladder.ladder_of((), "ops") == (OPS,)
    assert ladder.ladder_of((ASK,), "ops") == (ASK,), "whoever is named in the ladder is asked, and nobody twice"
    assert ladder.ladder_of((OLD,), "") == (OLD,)


def test_models_have_their_own_rule() -> None:
    """Lost: an overloaded model that is asked to the end of its attempts."""
    here, rest = Model("a", "acme"), (Model("b", "acme"), Model("c", "other"))
    overloaded = replace(failed(K.TRANSIENT, 529), because="HTTP 529, overloaded")
    climb = ladder.next_rung(overloaded, Again(1.0, "once more"), here, rest)
    assert climb is not None and climb.further == 1
    broke = ladder.next_rung(failed(K.UNAUTHORISED, 402), OVER, here, rest)
    assert broke is not None and broke.further == 2


@given(st.floats(0, 1e9), st.floats(-1e6, 1e6), st.floats(0.001, 1e6))
def test_law_what_is_served_is_never_older_than_declared(now: float, age_s: float, max_age_s: float) -> None:
    """Lost: the bound on how wrong an answer may be, also when a clock was set."""
    served = ladder.by_age(now - age_s, now, max_age_s)
    if not served.refused:
        assert 0 <= served.age_s <= max_age_s
        assert age_s >= -ladder.SKEW_S - 1e-6
    else:
        assert served.age_s > max_age_s or age_s < -ladder.SKEW_S + 1e-6


@pytest.mark.parametrize(
    ("facts", "ruling"),
    [
        ({"outcome": "answered", "choice": "try_again", "by": "ann"}, ladder.TryAgain("ann")),
        ({"outcome": "answered", "choice": "take_this_result", "by": "ann"}, ladder.Take("ann", b"1")),
        ({"outcome": "answered", "choice": "tell_the_agent", "by": "ann"}, ladder.Tell("ann")),
        ({"outcome": "answered", "choice": "abort", "by": "ann"}, ladder.Abort("ann")),
        ({"outcome": "expired"}, ladder.Nobody()),
        ({"outcome": "expired", "choice": "abort"}, ladder.Abort("its default")),
        ({"outcome": "withdrawn"}, ladder.Nobody()),
    ],
)
def test_what_a_person_says(facts: dict[str, Any], ruling: Any) -> None:
    """Lost: a person's word."""
    assert ladder.ruled(Event(Kind.QUESTION_CLOSED, 1.0, meta=meta(id="q", **facts), body=b"1")) == ruling
