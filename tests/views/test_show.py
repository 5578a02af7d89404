"""The picture of a run, folded from its log, and the verdict in words.

If these fail, `show`, the demo and every program that reads its JSON tell another story than the log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from holdfast.core.events import Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Head, Status
from holdfast.errors import HistoryGrew
from holdfast.journal.codec import Opaque, encode
from holdfast.views.show import plain, show
from holdfast.views.verdict import verdict

HEAD = Head("run_x", "k", "agent", "d", Status.READY, 1.0, 1.0)
PAY = Address("", "pay", "ab" * 16, 0)
LOOK = Address("", "look", "cd" * 16, 1)
ASK = Address("", "ask", "", 0)
DOUBT = ("it_happened", "it_did_not", "tell_the_agent", "abort")


def started() -> Event:
    """The first event of a run."""
    return Event(
        Kind.RUN_STARTED, 2.0, meta=meta(run="run_x", key="k", agent="agent", seed="s", input_digest="d"), body=b"1"
    )


def step(kind: Kind, address: Address = PAY, effect: Effect = Effect.ONCE, at: float = 3.0, **more: Any) -> Event:
    """An event about a tool's step."""
    facts = more.pop("facts", {})
    return Event(kind, at, address, StepKind.TOOL, effect, logical=1, attempt=1, meta=meta(**facts), **more)


def asked(about: str = "in_doubt", address: Address = PAY, **facts: Any) -> Event:
    """A question was asked."""
    kind = StepKind.TOOL if about == "in_doubt" else StepKind.QUESTION
    told = meta(id="q_1", about=about, text="Did it?", **facts)
    return Event(Kind.QUESTION_ASKED, 5.0, address, kind, Effect.ONCE, meta=told)


def closed(address: Address = PAY, **facts: Any) -> Event:
    """A question was closed."""
    return Event(Kind.QUESTION_CLOSED, 6.0, address, StepKind.QUESTION, Effect.READ, meta=meta(id="q_1", **facts))


def ended(outcome: str, **facts: Any) -> Event:
    """The run's end."""
    return Event(Kind.RUN_ENDED, 9.0, meta=meta(outcome=outcome, **facts), body=facts.pop("body", None))


def test_a_body_that_has_not_ended_is_told_until_something_is_known() -> None:
    """Lost: why nobody verifies or repeats a payment, and why the run stays where it is."""
    kept = Event(Kind.DECIDED, 4.0, PAY, meta=meta(what="sender", choice="keep", because="it did not end"))
    picture = show(HEAD, [started(), INTENDED, kept])
    assert picture["steps"][0]["under_way"] == "it did not end"
    assert "The body of step 1 `pay` has not ended in its process" in verdict(picture, 9.0)
    assert "has not ended" not in verdict(picture, 9.0, is_driven=False), "its process is gone, and the body with it"
    over = show(HEAD, [started(), INTENDED, kept, step(Kind.STEP_SUCCEEDED, at=5.0)])
    assert over["steps"][0]["under_way"] is None and "has not ended" not in verdict(over, 9.0)


INTENDED = step(Kind.STEP_INTENDED, charge=Charge(tool_calls=1))
UNKNOWN = step(
    Kind.ATTEMPT_FAILED, facts={"error": "OSError", "text": "cut", "is_definite": False, "because": "cut off"}
)
RETRYING = step(Kind.ATTEMPT_FAILED, LOOK, Effect.READ, facts={"error": "OSError", "text": "", "retry_at": 9.5})


@pytest.mark.parametrize(
    ("events", "status", "served"),
    [
        ([INTENDED], "running", None),
        ([INTENDED, step(Kind.STEP_SUCCEEDED)], "succeeded", "step"),
        ([INTENDED, step(Kind.STEP_SUCCEEDED, facts={"by": "verify"})], "succeeded", "verify"),
        ([INTENDED, step(Kind.STEP_SUCCEEDED, facts={"by": "ann"})], "succeeded", "person ann"),
        ([INTENDED, step(Kind.STEP_FAILED, facts={"error": "OSError"})], "failed", "step"),
        ([INTENDED, UNKNOWN], "in_doubt", None),
        ([INTENDED, UNKNOWN, asked(options=DOUBT)], "in_doubt", None),
        ([INTENDED, asked(options=DOUBT)], "in_doubt", None),
        ([INTENDED, ended("stopped", why="aborted")], "in_doubt", None),
        ([RETRYING], "retrying", None),
        ([RETRYING, ended("cancelled")], "abandoned", None),
        (
            [step(Kind.STEP_INTENDED, LOOK, Effect.READ), step(Kind.STEP_ABANDONED, LOOK, Effect.READ)],
            "abandoned",
            None,
        ),
        ([asked("ask", ASK)], "waiting", None),
        ([asked("ask", ASK), ended("cancelled")], "abandoned", None),
        ([asked("ask", ASK), closed(ASK, outcome="answered", by="ann", choice="y")], "succeeded", "person ann"),
        ([asked("ask", ASK), closed(ASK, outcome="expired")], "succeeded", "default"),
    ],
)
def test_each_step_is_shown_where_it_is(events: list[Event], status: str, served: str | None) -> None:
    """Without this, a step whose effect may have happened could be shown as done, or as never begun."""
    [shown] = show(HEAD, [started(), *events])["steps"]
    assert (shown["status"], shown["served"]) == (status, served)


def test_a_reopened_step_keeps_its_failures_and_waits() -> None:
    """Without this, a resume would hide why it was needed."""
    failed = step(Kind.STEP_FAILED, facts={"error": "OSError", "text": "cut", "because": "attempt 1 of 1 failed"})
    end = ended("failed", why="OSError: cut", cause=[list(PAY)], failure={"kind": "permanent", "error": "OSError"})
    before = show(HEAD, [started(), INTENDED, failed, end])
    assert before["run"]["failure"]["steps"] == [before["steps"][0]["address"]]
    assert verdict(before, 10.0) == "Failed at step 1 `pay`: OSError: cut"
    resumed = Event(Kind.RUN_RESUMED, 10.0, meta=meta(why="resume", reopened=[list(PAY)]))
    picture = show(HEAD, [started(), INTENDED, failed, end, resumed])
    assert picture["run"]["failure"] is None and picture["run"]["status"] == "running"
    assert picture["steps"][0]["status"] == "waiting"
    assert picture["steps"][0]["failures"][0]["because"] == "attempt 1 of 1 failed"


def test_usage_and_limits_are_named_amounts() -> None:
    """Without this, money could be shown in the wrong unit, or what is reserved be left out."""
    limits = Event(Kind.BUDGET_CHANGED, 2.5, meta=meta(limits=[3, None, None, 1_500_000_000]))
    spent = step(Kind.STEP_SUCCEEDED, LOOK, Effect.READ, charge=Charge(1, 0, 10, 250_000_000))
    run = show(HEAD, [started(), limits, spent, INTENDED])["run"]
    assert run["limits"] == {
        "tool_calls": 3,
        "model_calls": None,
        "tokens": None,
        "usd": 1.5,
        "active_s": None,
        "wall_s": None,
    }
    reserved = {"tool_calls": 1, "model_calls": 0, "tokens": 0, "usd": 0.0}
    assert run["usage"] == {"tool_calls": 1, "model_calls": 0, "tokens": 10, "usd": 0.25, "reserved": reserved}


def test_values_become_plain_json() -> None:
    """Without this, a run with a date in its result could not be shown at all."""
    at = datetime(2026, 11, 23, tzinfo=UTC)
    value = {"at": at, "for": timedelta(seconds=90), "cost": Decimal("1.50"), "raw": b"\xff", "set": {1}, "t": (1, 2)}
    body = encode(value)
    end = Event(Kind.RUN_ENDED, 9.0, meta=meta(outcome="succeeded"), body=body)
    assert show(HEAD, [started(), end])["run"]["result"] == {
        "at": "2026-11-23T00:00:00+00:00",
        "cost": "1.50",
        "for": 90.0,
        "raw": "/w==",
        "set": [1],
        "t": [1, 2],
    }
    assert plain({1: "a"}) == [[1, "a"]]
    assert plain(Opaque("socket", "<it>")) == {"type": "socket", "text": "<it>"}


def suspended(why: str, until: float | None = None, **facts: Any) -> Event:
    """The run was suspended."""
    return Event(Kind.RUN_SUSPENDED, 7.0, meta=meta(why=why, until=until, **facts))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "Accepted; no worker has begun it."),
        ([started()], "Running: before its first step."),
        ([started(), INTENDED], "Running: step 1 `pay`."),
        ([started(), asked("ask", ASK), suspended("question")], "Waiting for a person since 2 min: Did it?"),
        ([started(), INTENDED, asked(), suspended("in_doubt")], "In doubt since 2 min: Did it?"),
        ([started(), suspended("sleep", 187.0)], "Sleeping until 1970-01-01 00:03:07Z (in 60 s)."),
        ([started(), suspended("retry", 67.0)], "Waiting to try again until 1970-01-01 00:01:07Z (due since 60 s)."),
        (
            [started(), suspended("drift", difference={"asked": "once pay(2)", "recorded": ["once pay (ab)"]})],
            "Blocked since 2 min: the code asks for once pay(2); the record has once pay (ab).",
        ),
        (
            [started(), suspended("history_grew", difference={"asked": "model chat(x)", "recorded": []})],
            f"Blocked since 2 min at model chat(x): its history grew. {HistoryGrew.advice}",
        ),
        ([started(), INTENDED, step(Kind.STEP_SUCCEEDED), ended("succeeded")], "Done: 1 step."),
        ([started(), ended("failed", why="ValueError: no")], "Failed in the agent's own code: ValueError: no"),
        ([started(), INTENDED, ended("stopped", why="budget: x")], "Stopped after step 1 `pay`: budget: x"),
        ([started(), ended("cancelled", why="cancelled by ann")], "Cancelled by ann."),
    ],
)
def test_the_verdict_says_it_in_words(events: list[Event], said: str) -> None:
    """Without this, a person would have to read a table to learn whether they are needed."""
    assert verdict(show(HEAD, events), 127.0) == said


def test_a_run_without_its_process_is_interrupted_not_running() -> None:
    """Without this, a dead run would look alive until somebody looks at the process list."""
    assert verdict(show(HEAD, [started(), INTENDED]), 127.0, is_driven=False).startswith("Interrupted: step 1 `pay`")
