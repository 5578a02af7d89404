"""What an approval is bound to, and when it counts. If these fail, something is done that nobody has agreed to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.accept import Message, MessageKind, accept, answer
from holdfast.core.approval import (
    APPROVE,
    DECLINE,
    STOP,
    AskAnew,
    Grant,
    Granted,
    Refused,
    Subject,
    Waiting,
    ahead,
    checked,
    digest,
    digest_of_calls,
    ruled,
    usable,
)
from holdfast.core.approvers import Approvers
from holdfast.core.events import Address, Event, Kind, meta
from holdfast.core.heads import Head, OpenQuestion, Status
from holdfast.core.rung import Ask
from holdfast.errors import PolicyInvalid

ADDRESS = Address("", "pay", "d1", 0)
SUBJECT = Subject(
    "t", "run_1", ADDRESS, 1, "pay", "once what:P", b'{"cents":4200}', "finance", 3600.0, DECLINE, 1_800.0
)
OTHERS: dict[str, Any] = {
    "tenant": "u",
    "run": "run_2",
    "address": Address("", "pay", "d1", 1),
    "logical": 2,
    "tool": "pay2",
    "version": "once what:P cents:P",
    "args": b'{"cents":4201}',
    "who": "sales",
    "valid_s": 3601.0,
    "default": STOP,
    "expires_at": None,
    "approvers": Approvers(("finance",), ("ann",)),
}
QUESTION = OpenQuestion("q1", "approve", "May it?", (APPROVE, DECLINE), "finance", 1.0, 100.0, digest(SUBJECT))


def asked(**facts: Any) -> Event:
    known = {"id": "q1", "about": "approve", "valid_s": 60.0, "digest": digest(SUBJECT), "default": DECLINE}
    return Event(Kind.QUESTION_ASKED, 10.0, ADDRESS, meta=meta(**known | facts))


def closed(choice: str | None = APPROVE, outcome: str = "answered", by: str | None = "ann", **facts: Any) -> Event:
    said = meta(id="q1", outcome=outcome, choice=choice, by=by, **facts)
    return Event(Kind.QUESTION_CLOSED, 50.0, ADDRESS, meta=said)


# --- the digest --------------------------------------------------------------------------------------------------


def test_the_digest_covers_every_field() -> None:
    """Lost: an approval that still counts when one of them has changed."""
    assert OTHERS.keys() == set(Subject._fields)
    digests = {digest(SUBJECT._replace(**{name: value})) for name, value in OTHERS.items()}
    assert len(digests) == len(OTHERS) and digest(SUBJECT) not in digests


@given(st.lists(st.text(max_size=3), min_size=4, max_size=4), st.lists(st.text(max_size=3), min_size=4, max_size=4))
def test_no_two_subjects_share_a_digest_by_their_borders(one: list[str], other: list[str]) -> None:
    """Lost: "ab"+"c" approved as "a"+"bc"."""

    def of(parts: list[str]) -> str:
        return digest(SUBJECT._replace(tenant=parts[0], run=parts[1], tool=parts[2], who=parts[3]))

    assert (of(one) == of(other)) == (one == other)


def test_an_absent_argument_is_not_null() -> None:
    """Lost: the difference between nothing and None, which a receiver may well make."""
    assert digest(SUBJECT._replace(args=b"{}")) != digest(SUBJECT._replace(args=b'{"cents":null}'))
    lists = [[["pay", "v", "d1"]], [["pay", "v", "d1"], ["pay", "v", "d1"]], []]
    assert len({digest_of_calls("t", "run_1", calls, "finance", 60.0) for calls in lists}) == 3


# --- what follows from an answer ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    asked: Event | None
    closed: Event | None
    now: float
    expected: Any


CASES = [
    Case(None, None, 20.0, AskAnew()),
    Case(asked(), None, 20.0, Waiting()),
    Case(asked(), closed(), 50.0, Granted("ann", 110.0, "q1")),
    Case(asked(), closed(), 109.9, Granted("ann", 110.0, "q1")),
    Case(asked(), closed(DECLINE), 50.0, Refused("declined", "ann", "ann declined it")),
    Case(asked(), closed(DECLINE), 1e9, Refused("declined", "ann", "ann declined it")),
    Case(
        asked(),
        closed(DECLINE, "expired", None),
        60.0,
        Refused("expired", "", "nobody answered in time; by default: declined"),
    ),
    Case(
        asked(),
        closed(STOP, "expired", None),
        60.0,
        Refused("expired", "", "nobody answered in time; by default: the run is stopped", stops=True),
    ),
    Case(
        asked(),
        closed("decline", "undeliverable", None),
        60.0,
        Refused("undeliverable", "", "no channel could tell anybody of it in time; by default: declined"),
    ),
    Case(
        asked(),
        closed("stop", "undeliverable", None),
        60.0,
        Refused(
            "undeliverable", "", "no channel could tell anybody of it in time; by default: the run is stopped", True
        ),
    ),
    Case(asked(), closed(None, "withdrawn", "bob"), 60.0, Refused("withdrawn", "bob", "it was withdrawn")),
]


@pytest.mark.parametrize("case", CASES)
def test_what_follows(case: Case) -> None:
    """Lost: one of four outcomes told as another, or an effect after a "no"."""
    assert ruled(case.asked, case.closed, digest(SUBJECT), case.now) == case.expected


@pytest.mark.parametrize("now", [110.0, 111.0, 1e9, 49.9, 0.0])
def test_an_approval_out_of_its_time_is_asked_for_anew(now: float) -> None:
    """Lost: an old "approve", also when a clock was set back and nobody knows how old it is."""
    assert isinstance(ruled(asked(), closed(), digest(SUBJECT), now), AskAnew)


def test_its_time_counts_from_when_it_was_given() -> None:
    """Lost: a run that reads its answer a week later, and takes it for fresh."""
    assert isinstance(ruled(asked(), closed(answered_at=20.0), digest(SUBJECT), 81.0), AskAnew)
    assert isinstance(ruled(asked(), closed(answered_at=20.0), digest(SUBJECT), 79.0), Granted)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("said", [APPROVE, DECLINE, None])
def test_whatever_differs_is_asked_anew(name: str, said: str | None) -> None:
    """Lost: an approval of this for that; or a "no" to this that keeps that from ever being asked."""
    wanted = digest(SUBJECT._replace(**{name: OTHERS[name]}))
    assert isinstance(ruled(asked(), closed(said) if said else None, wanted, 50.0), AskAnew)


@given(st.text(), st.text(), st.none() | st.text())
def test_only_an_answered_approve_ever_grants(outcome: str, about: str, choice: str | None) -> None:
    """Lost: fail closed: an unknown word that begins an effect."""
    ruling = ruled(asked(), closed(choice, outcome), digest(SUBJECT), 50.0)
    assert isinstance(ruling, Granted) == ((outcome, choice) == ("answered", APPROVE))


def test_only_a_moment_is_waited_for() -> None:
    """Lost: a run that waits an hour for a clock that was set back, instead of asking again."""
    assert ahead(closed(answered_at=50.0), [], 49.9) == 50.0 and ahead(closed(answered_at=50.0), [], 49.0) == 50.0
    assert ahead(closed(answered_at=50.0), [], 48.9) is None and ahead(closed(answered_at=50.0), [], 50.0) is None
    assert ahead(None, [Grant("q1", "pay", "v", "d1", "ann", 50.0, 70.0)], 49.5) == 50.0
    assert ahead(None, [], 50.0) is None


# --- at the door -------------------------------------------------------------------------------------------------


def offered(message: Message, now: float = 50.0, question: OpenQuestion = QUESTION) -> bool:
    head = Head("run_1", "k", "a", "d", Status.SUSPENDED, 1.0, 2.0, questions=(question,))
    return accept(head, "run_1", message, now).is_stored


def test_a_thousand_forged_answers_are_refused() -> None:
    """Lost: an effect by whoever can post: other ids, choices, digests, shapes; replayed after its end."""
    chance, stored = random.Random(1), 0
    assert offered(answer("q1", choice=APPROVE, by="ann", body=None, digest=QUESTION.digest))
    for number in range(1_000):
        sort = number % 5
        forged = {"question": "q1", "choice": APPROVE, "by": "ann", "digest": QUESTION.digest}
        if sort == 0:
            forged["question"] = f"q{chance.getrandbits(50)}"
        elif sort == 1:
            forged["digest"] = f"{chance.getrandbits(256):064x}"
        elif sort == 2:
            forged["choice"] = chance.choice(["Approve", "approve ", "yes", "true", "\u0430pprove", ""])
        elif sort == 3:
            del forged["digest"]
        now = 100.0 + chance.random() * 1e6 if sort == 4 else 50.0
        stored += offered(Message(MessageKind.ANSWER, meta(**forged)), now)
    assert stored == 0


def test_a_digest_is_none_of_an_ordinary_question() -> None:
    """Lost: an answer meant for an approval, taken for one to another question."""
    plain = OpenQuestion("q1", "ask", "Which?", (APPROVE, DECLINE))
    assert offered(answer("q1", choice=APPROVE, by="ann", body=None), question=plain)
    assert not offered(answer("q1", choice=APPROVE, by="ann", body=None, digest="d"), question=plain)


# --- grants from a list ------------------------------------------------------------------------------------------


def test_a_grant_is_for_one_step() -> None:
    """Lost: single use."""
    grants = [Grant("q1", "pay", "v", "d1", "ann", 10.0, 70.0), Grant("q1", "pay", "v", "d1", "ann", 10.0, 70.0)]
    first = usable(grants, "pay", "v", ADDRESS, 1, 20.0)
    assert first is grants[0]
    first.used = (ADDRESS, 1)
    assert usable(grants, "pay", "v", ADDRESS, 1, 20.0) is first, "a retry of the same step"
    second = usable(grants, "pay", "v", ADDRESS._replace(n=1), 1, 20.0)
    assert second is grants[1]
    second.used = (ADDRESS._replace(n=1), 1)
    assert usable(grants, "pay", "v", ADDRESS._replace(n=2), 1, 20.0) is None
    assert usable(grants, "pay", "v", ADDRESS, 2, 20.0) is None, "another logical attempt"


@pytest.mark.parametrize(
    ("tool", "version", "address", "now"),
    [
        ("pay2", "v", ADDRESS, 20.0),
        ("pay", "w", ADDRESS, 20.0),
        ("pay", "v", ADDRESS._replace(digest="d2"), 20.0),
        ("pay", "v", ADDRESS, 70.0),
        ("pay", "v", ADDRESS, 9.0),
    ],
)
def test_a_grant_is_for_nothing_else(tool: str, version: str, address: Address, now: float) -> None:
    """Lost: what was listed."""
    grants = [Grant("q1", "pay", "v", "d1", "ann", 10.0, 70.0)]
    assert usable(grants, tool, version, address, 1, now) is None


# --- what can be declared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("default", ["approve", "try_again", "tell_the_agent", "abort", "yes"])
def test_no_default_does_anything(default: str) -> None:
    """Lost: "on time-out: approve"."""
    with pytest.raises(PolicyInvalid, match="Nothing is ever done because nobody said no"):
        checked("pay", Ask("finance", within="1h", default=default))


def test_a_rung_has_no_validity() -> None:
    """Lost: a setting that is taken and means nothing."""
    from holdfast.core.ladder import checked_rungs

    with pytest.raises(PolicyInvalid, match="valid="):
        checked_rungs("pay", [Ask("finance", valid="1h")])
