"""The guard at a run's door: every message against every state of a run.

If these fail, an answer counts twice or after its time, or a key starts two different pieces of work.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.core.accept import (
    DOUBT_OPTIONS,
    Message,
    MessageKind,
    Posted,
    accept,
    answer,
    cancel,
    cap,
    command,
    ended,
    pause,
    resume,
    signal,
    start,
    unwind,
)
from holdfast.core.heads import Head, OpenQuestion, Status

ENDS = [status for status in Status if status.is_end]
OPEN = [status for status in Status if not status.is_end]
CHOICE = OpenQuestion("q1", "ask", "Refund?", ("yes", "no"), "ann", 1.0, 100.0)
FREE = OpenQuestion("q2", "ask", "Which invoice?")


def head(status: Status = Status.RUNNING, **more: Any) -> Head:
    """A run's head."""
    known: dict[str, Any] = {"created_at": 1.0, "updated_at": 1.0, "questions": (CHOICE, FREE)}
    return Head("run_1", "ticket", "support", "digest", status, **known | more)


def begin(agent: str = "support", digest: str = "digest") -> Message:
    """A start."""
    return start(agent=agent, key="ticket", input_digest=digest, limits=[1, None, None, None], body=b"in")


def offer(to: Head | None, message: Message, now: float = 50.0) -> Posted:
    """Offer it."""
    return accept(to, "run_1", message, now)


# --- start --------------------------------------------------------------------------------------------------------


def test_a_first_start_makes_a_head_that_is_due_at_once() -> None:
    """Lost: P2; an accepted run that no worker ever finds."""
    posted = offer(None, begin())
    assert posted.is_stored and not posted.refused and posted.subject == "start"
    made = posted.head
    assert made is not None
    assert (made.run_id, made.key, made.agent, made.input_digest) == ("run_1", "ticket", "support", "digest")
    assert (made.status, made.wake_at, made.created_at) == (Status.READY, 50.0, 50.0)


@pytest.mark.parametrize("status", list(Status))
def test_a_second_equal_start_goes_on_and_stores_nothing(status: Status) -> None:
    """Lost: the same key starts the work a second time."""
    assert offer(head(status), begin()) == Posted(False)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("other", [begin(agent="sales"), begin(digest="other")])
def test_a_start_with_another_agent_or_input_is_refused_with_both(status: Status, other: Message) -> None:
    """Lost: a caller gets the result of other work under its key."""
    posted = offer(head(status), other)
    assert not posted.is_stored and posted.head is None
    for shown in ("support", "digest", other.facts["agent"], other.facts["input_digest"], "Nothing was started"):
        assert shown in posted.refused


# --- answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", OPEN)
@pytest.mark.parametrize(("question", "choice"), [("q1", "yes"), ("q1", "no"), ("q2", None), ("q2", "any text")])
def test_a_fitting_answer_is_stored_under_its_questions_subject(
    status: Status, question: str, choice: str | None
) -> None:
    """Lost: P8; a person's decision, or the guard that only the first one counts."""
    posted = offer(head(status), answer(question, choice=choice, by="ann", body=None))
    assert posted.is_stored and posted.subject == f"answer:{question}"


@pytest.mark.parametrize("status", list(Status))
def test_an_answer_to_a_question_that_is_not_open_is_refused(status: Status) -> None:
    """Lost: an answer to a withdrawn question is stored and taken for another one's."""
    posted = offer(head(status, questions=()), answer("q1", choice="yes", by="ann", body=None))
    assert not posted.is_stored and "q1" in posted.refused and "not open" in posted.refused


@pytest.mark.parametrize(("now", "is_stored"), [(99.9, True), (100.0, False), (160.0, False)])
def test_an_answer_after_the_deadline_is_refused(now: float, is_stored: bool) -> None:
    """Lost: P8; "yes" after the default "no" was taken."""
    posted = offer(head(), answer("q1", choice="yes", by="ann", body=None), now)
    assert posted.is_stored is is_stored
    assert is_stored or "expired" in posted.refused


@pytest.mark.parametrize("choice", [None, "", "maybe", "YES"])
def test_an_option_that_was_not_offered_is_refused(choice: str | None) -> None:
    """Lost: the agent gets a decision that it did not ask for."""
    posted = offer(head(), answer("q1", choice=choice, by="ann", body=None))
    assert not posted.is_stored and "yes, no" in posted.refused


def test_a_step_in_doubt_takes_its_four_answers_only() -> None:
    """Lost: a free text decides whether money is sent again."""
    doubt = OpenQuestion("q3", "in_doubt", "Did it happen?", DOUBT_OPTIONS)
    for choice in (*DOUBT_OPTIONS, "yes"):
        posted = offer(head(questions=(doubt,)), answer("q3", choice=choice, by="ann", body=None))
        assert posted.is_stored is (choice in DOUBT_OPTIONS)


# --- cancel, resume -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(Status))
def test_what_has_ended_cannot_be_cancelled(status: Status) -> None:
    """Lost: a run that succeeded is reported as cancelled, or one that runs cannot be stopped."""
    posted = offer(head(status), cancel(by="op"))
    assert posted.is_stored is not status.is_end
    assert posted.is_stored or str(status) in posted.refused


@pytest.mark.parametrize(
    ("status", "plain", "raising"),
    [
        (Status.READY, False, True),
        (Status.RUNNING, False, True),
        (Status.SUSPENDED, True, True),
        (Status.FAILED, True, True),
        (Status.STOPPED, True, True),
        (Status.SUCCEEDED, False, False),
        (Status.CANCELLED, False, False),
    ],
)
def test_resume(status: Status, plain: bool, raising: bool) -> None:
    """Lost: a finished run is begun again, or a stopped one can never go on."""
    for message, is_stored in ((resume(by="op"), plain), (resume(by="op", raised=[1, 0, 0, 0]), raising)):
        posted = offer(head(status), message)
        assert posted.is_stored is is_stored and bool(posted.refused) is not is_stored


def test_every_status_is_in_the_table_of_resume() -> None:
    """Lost: a new status is decided by accident."""
    assert len(Status) == 7 and len(ENDS) == 4


@pytest.mark.parametrize("status", list(Status))
def test_what_has_ended_cannot_be_paused(status: Status) -> None:
    """Lost: an operator believes that a run is held which has long done its work."""
    posted = offer(head(status), pause(by="op"))
    assert posted.is_stored is not status.is_end
    assert posted.is_stored or str(status) in posted.refused


def test_a_run_that_is_about_to_pause_can_be_resumed() -> None:
    """Lost: a pause that is taken back at once, and holds the run all the same."""
    assert offer(head(why="pausing"), resume(by="op")).is_stored
    assert offer(head(), resume(by="op", is_unpause=True)).is_stored
    assert not offer(head(Status.SUCCEEDED, why="pausing"), resume(by="op", is_unpause=True)).is_stored


@pytest.mark.parametrize(
    ("caps", "is_stored"),
    [
        ({"tokens": 0}, True),
        ({"usd_nano": None}, True),
        ({"tokens": -1}, False),
        ({"tokens": 1.5}, False),
        ({"tokens": True}, False),
        ({"tokens": float("nan")}, False),
        ({"hours": 1}, False),
        ({}, False),
    ],
)
def test_a_cap_is_a_whole_number_that_is_not_negative(caps: Any, is_stored: bool) -> None:
    """Lost: a cap that no comparison ever meets."""
    posted = offer(head(), cap(caps, by="op"))
    assert posted.is_stored is is_stored and bool(posted.refused) is not is_stored
    assert not offer(head(Status.SUCCEEDED), cap({"tokens": 1}, by="op")).is_stored


@pytest.mark.parametrize("message", [answer("q1", choice="yes", by="a", body=None), cancel(by="a"), resume(by="a")])
def test_a_message_to_no_run_is_refused(message: Message) -> None:
    """Lost: mail for a run that does not exist is kept for ever."""
    posted = offer(None, message)
    assert not posted.is_stored and posted.head is None and "no run run_1" in posted.refused


def test_every_kind_has_a_maker_and_its_facts_are_read_back() -> None:
    """Lost: a message that says other than what was meant."""
    made = [
        begin(),
        answer("q1", choice="yes", by="ann", body=b"v"),
        cancel(by="op", why="late"),
        resume(by="op", raised=[1, 2, 3, 4]),
        unwind(by="op", why="late"),
        pause(by="op", why="late"),
        cap({"tokens": 5, "usd_nano": None}, by="op"),
        signal("go", by="op", body=b"v"),
        ended("run_2", outcome=Status.FAILED, why="late", limit=None, with_parent=None, body=None),
        command("disable", "refund", by="op", why="broken"),
    ]
    assert sorted(message.kind for message in made) == sorted(MessageKind)
    assert made[1].facts == {"question": "q1", "choice": "yes", "by": "ann"} and made[1].body == b"v"
    assert made[3].facts["raised"] == [1, 2, 3, 4]
    assert all(json.loads(message.meta) == message.facts for message in made)
    assert Message(MessageKind.CANCEL, "").facts == {}


@pytest.mark.parametrize("status", list(Status))
def test_only_what_ended_badly_is_unwound_and_then_never_resumed(status: Status) -> None:
    """Lost: steps are undone beneath a live run, or a run goes on from what is undone."""
    ended_badly = status in (Status.FAILED, Status.STOPPED, Status.CANCELLED)
    posted = offer(head(status), unwind(by="op"))
    assert posted.is_stored is ended_badly and ("Nothing was undone" in posted.refused) is not ended_badly
    unwound = head(status)._replace(is_unwound=True)
    if ended_badly:
        assert offer(unwound, resume(by="op")).refused
        assert offer(unwound, unwind(by="op")).is_stored, "what failed to be undone is tried again"


@pytest.mark.parametrize("status", list(Status))
def test_a_signal_reaches_every_run_that_can_still_hear_it(status: Status) -> None:
    """Lost: a signal is stored for a run that never reads it, and its sender believes that it was heard."""
    posted = offer(head(status), signal("go", by="op", body=b"v"))
    assert posted.is_stored is not status.is_end
    assert ("already ended" in posted.refused) is status.is_end
    assert posted.subject is None, "a second signal of the same name counts too"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", None, 7])
def test_a_signal_without_a_usable_name_is_refused(name: Any) -> None:
    """Lost: a signal that no code could ever wait for."""
    assert "names no signal" in offer(head(), signal(name, by="op", body=None)).refused


def test_an_end_is_told_to_a_run_that_waits_for_one_and_can_still_go_on() -> None:
    """Lost: whoever may post tells a run that its child has ended; or a run that can be resumed never hears of it."""
    told = ended("run_2", outcome=Status.SUCCEEDED, why="", limit=None, with_parent=None, body=b"1")
    for status in Status:
        is_over = status in (Status.SUCCEEDED, Status.CANCELLED)
        assert offer(head(status, children=1), told).is_stored is not is_over
        assert not offer(head(status), told).is_stored, "it has no open child"
