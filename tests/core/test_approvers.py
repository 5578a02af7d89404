"""Who may answer. If these fail, somebody approves what is not theirs to approve, or the same person twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.accept import accept, answer
from holdfast.core.approval import (
    APPROVE,
    DECLINE,
    AskAnew,
    Granted,
    Refused,
    Subject,
    digest,
    digest_of_calls,
    grants_of,
    ruled,
)
from holdfast.core.approvers import ANYBODY, Agreed, Approvers, counts, has_left, refusal
from holdfast.core.events import Address, Event, Kind, meta
from holdfast.core.heads import Head, OpenQuestion, Status
from holdfast.core.ladder import checked_rungs
from holdfast.core.rung import Ask
from holdfast.errors import PolicyInvalid

ADDRESS = Address("", "pay", "d1", 0)
SUBJECT = Subject("t", "run_1", ADDRESS, 1, "pay", "once", b"{}", "finance", 60.0, DECLINE, None)
FINANCE = Approvers(("finance",), ("ann", "bob", "eve"), requester="eve", quorum=2)
OPEN = OpenQuestion("q1", "approve", "May it?", (APPROVE, DECLINE), digest="d")
HEAD = Head("run_1", "k", "a", "i", Status.SUSPENDED, 0.0, 0.0, questions=(OPEN,))


def put_to(whose: Approvers) -> OpenQuestion:
    facts = {
        name: tuple(value or ()) for name, value in whose.facts().items() if name in ("approvers", "people", "barred")
    }
    return replace(OPEN, **facts)


def asked(whose: Approvers = FINANCE, **more: Any) -> Event:
    facts = {"id": "q1", "about": "approve", "valid_s": 60.0, "digest": "d", **whose.facts()} | more
    return Event(Kind.QUESTION_ASKED, 10.0, ADDRESS, meta=meta(**facts))


def closed(by: str, at: float = 50.0, choice: str = APPROVE) -> Event:
    return Event(
        Kind.QUESTION_CLOSED, at, ADDRESS, meta=meta(id="q1", outcome="answered", choice=choice, by=by or None)
    )


# --- at the door -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "whose", "is_refused"),
    [
        ("ann", FINANCE, False),
        ("Ann", FINANCE, True),
        ("mallory", FINANCE, True),
        ("", FINANCE, True),
        ("eve", FINANCE, True),
        ("ann", FINANCE._replace(agreed=(Agreed("ann", 9.0),)), True),
        ("anybody", ANYBODY, False),
        ("", ANYBODY, False),
        ("eve", Approvers(requester="eve"), True),
        (" EVE ", Approvers(requester="eve"), True),
        ("\uff45ve", Approvers(requester="eve"), True),
        ("", Approvers(requester="eve"), True),
        ("ann", Approvers(requester="eve"), False),
        ("finance", Approvers(("finance",)), True),
    ],
)
@pytest.mark.parametrize("choice", [APPROVE, DECLINE])
def test_the_guard_of_the_store_lets_those_answer_who_may(
    by: str, whose: Approvers, is_refused: bool, choice: str
) -> None:
    """Lost: an approval by its requester, by a stranger, by nobody in particular, or twice by the same person."""
    head = HEAD._replace(questions=(put_to(whose),))
    posted = accept(head, "run_1", answer("q1", choice=choice, by=by, body=None, digest="d"), 20.0)
    assert posted.is_stored is not is_refused
    assert bool(refusal(put_to(whose), by)) is is_refused is ("stays open" in posted.refused)


@given(st.text(max_size=8))
def test_nobody_else_is_let_in_by_a_likeness(by: str) -> None:
    """Lost: a list of three that lets a fourth in."""
    assert bool(refusal(put_to(FINANCE), by)) is (by not in ("ann", "bob"))


def test_who_has_left_since_may_not() -> None:
    """Lost: a role that was taken from somebody, and a question that still takes their word."""
    assert "not of finance any more" in has_left(put_to(FINANCE), "ann", ("bob", "eve"))
    assert not has_left(put_to(FINANCE), "ann", ("ann", "bob")) and not has_left(OPEN, "ann", ())


def test_a_head_brings_it_back_from_the_store() -> None:
    """Lost: the list itself, when the store is opened again."""
    head = HEAD._replace(questions=(put_to(FINANCE),))
    assert Head.from_facts(head.facts()) == head


# --- just before the effect --------------------------------------------------------------------------------------

ONE = FINANCE._replace(quorum=1)


@pytest.mark.parametrize("by", ["mallory", "", "eve", "ANN"])
def test_an_answer_that_came_past_the_guard_begins_nothing(by: str) -> None:
    """Lost: an effect, by a row that somebody has written into the store by themselves."""
    assert isinstance(ruled(asked(ONE), closed(by), "d", 60.0, {"ann", "bob", "mallory", "eve"}), AskAnew)
    assert grants_of(asked(ONE, calls=[["pay", "v", "x"]]).facts, closed(by)) == []


def test_an_answer_of_who_has_left_since_begins_nothing() -> None:
    """Lost: an effect on the word of somebody who was dismissed an hour ago."""
    assert ruled(asked(ONE), closed("ann"), "d", 60.0, {"ann"}) == Granted("ann", 110.0, "q1")
    assert ruled(asked(ONE), closed("ann"), "d", 60.0, {"bob"}) == AskAnew(
        "ann approved it, and may not do so any more"
    )
    assert isinstance(ruled(asked(ONE), closed("ann", choice=DECLINE), "d", 60.0, {"bob"}), Refused), "a no is a no"


def test_several_must_agree_and_each_counts_as_long_as_it_holds() -> None:
    """Lost: the second pair of eyes; an approval that is kept alive by a later one of somebody else."""
    first = ruled(asked(), closed("ann"), "d", 60.0)
    assert first == AskAnew("ann approved it, and 1 more must", (Agreed("ann", 110.0),))
    second = asked(FINANCE._replace(agreed=first.agreed))
    assert ruled(second, closed("bob", 80.0), "d", 90.0) == Granted("ann, bob", 110.0, "q1")
    assert ruled(second, closed("ann", 80.0), "d", 90.0) == AskAnew(
        "ann approved it, and may not do so any more", (Agreed("ann", 110.0),)
    )
    assert ruled(second, closed("bob", 80.0), "d", 111.0) == AskAnew(
        "bob approved it, and 1 more must", (Agreed("bob", 140.0),)
    )
    assert ruled(second, closed("bob", 80.0), "d", 90.0, {"bob"}) == AskAnew(
        "bob approved it, and 1 more must", (Agreed("bob", 140.0),)
    )


def test_two_of_whom_nobody_knows_the_name_are_not_two() -> None:
    """Lost: a quorum that one person reaches by two answers without a name."""
    assert not counts(asked(Approvers(quorum=2)).facts, "", None)
    assert counts(asked(Approvers(quorum=2)).facts, "ann", None)


# --- what it is bound to -----------------------------------------------------------------------------------------


def test_what_was_approved_before_there_were_approvers_is_approved_still_and_nothing_else() -> None:
    """Lost: approvals that wait in stores at an upgrade; or, worse, one of them that counts for something else."""
    assert digest(SUBJECT) == "f5aab1224705578944aa51e0bfb1989d55c156ec3a07610a7e8e8d56c8f48bdd"
    assert digest_of_calls("t", "r", [["pay", "v", "d"]], "finance", 60.0) == (
        "7f0b26d130701768a560a4bb7f8af3f8889d4f5f72af9e2c913a4970980d0f8c"
    )


def test_the_digest_covers_who_may_agree() -> None:
    """Lost: an approval of two that one of them turned into an approval of anybody."""
    others = [
        ANYBODY,
        FINANCE,
        FINANCE._replace(names=("sales",)),
        FINANCE._replace(people=("ann", "bob", "eve", "mallory")),
        FINANCE._replace(requester=""),
        FINANCE._replace(quorum=1),
        FINANCE._replace(agreed=(Agreed("ann", 110.0),)),
        FINANCE._replace(agreed=(Agreed("bob", 110.0),)),
    ]
    assert len({digest(SUBJECT._replace(approvers=each)) for each in others}) == len(others)
    assert len({digest_of_calls("t", "r", [], "finance", 60.0, each) for each in others}) == len(others)


@pytest.mark.parametrize(
    ("whose", "lacks"),
    [
        (ANYBODY, False),
        (FINANCE, False),
        (FINANCE._replace(people=("ann", "eve")), True),
        (FINANCE._replace(people=("eve",), quorum=1), True),
        (FINANCE._replace(people=()), True),
        (FINANCE._replace(people=("ann", "Ann", "eve")), True),
        (FINANCE._replace(agreed=(Agreed("ann", 9.0),)), False),
    ],
)
def test_too_few_people_are_known_before_anybody_is_asked(whose: Approvers, lacks: bool) -> None:
    """Lost: a question that nobody can answer, asked for three days."""
    assert bool(whose.lacks()) is lacks


@pytest.mark.parametrize("wrong", ["ada", [1], [""], 7])
def test_a_list_that_is_none_is_refused(wrong: Any) -> None:
    """Lost: approvers=“ada” taken for the people a, d and a; a list that lets nobody in, or everybody."""
    with pytest.raises(PolicyInvalid, match="no list of names"):
        Ask("finance", approvers=wrong)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, 11])
def test_a_quorum_that_is_none_is_refused(wrong: Any) -> None:
    """Lost: an approval by nobody at all."""
    with pytest.raises(PolicyInvalid, match="no number of people"):
        Ask("finance", quorum=wrong)


@pytest.mark.parametrize("more", [{"approvers": ["ada"]}, {"quorum": 2}, {"quorum_opaque": 2}])
def test_where_it_would_not_hold_it_is_refused(more: dict[str, Any]) -> None:
    """Lost: a list of approvers beside a question that anybody may answer."""
    with pytest.raises(PolicyInvalid, match="are for approve="):
        checked_rungs("pay", [Ask("oncall", **more)])
