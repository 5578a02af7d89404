"""What was decided in a run, and why, read off its log.

If these fail, whoever asks why a run stopped gets no reason, a wrong one, or one that never was.
"""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.events import NOTHING, Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.views.decisions import decisions

PAY = Address("", "pay", "ab" * 16, 0)


def about(kind: Kind, at: float = 3.0, attempt: int = 1, charge: Charge = NOTHING, **facts: Any) -> Event:
    """An event about the step `pay`."""
    return Event(kind, at, PAY, StepKind.TOOL, Effect.ONCE, 1, attempt, charge, meta(**facts))


def told(*events: Event) -> list[tuple[str, str, str]]:
    """What, choice and because of each decision."""
    return [(line["what"], line["choice"], line["because"]) for line in decisions(events)]


FAILED = {"error": "OSError", "text": "cut"}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (about(Kind.DECIDED, what="breaker", choice="open", because="5 timeouts"), ("breaker", "open", "5 timeouts")),
        (
            about(Kind.ATTEMPT_FAILED, **FAILED, because="may go away; attempt 1 of 3", retry_at=3.25),
            ("retry", "attempt 2 in 0.2 s", "OSError: cut; may go away; attempt 1 of 3"),
        ),
        (
            about(Kind.ATTEMPT_FAILED, **FAILED, because="no answer", next="model b", retry_at=3.0),
            ("fall back", "next: model b", "OSError: cut; no answer"),
        ),
        (
            about(Kind.ATTEMPT_FAILED, **FAILED, because="nothing was begun"),
            ("fail", "nothing more of this attempt", "OSError: cut; nothing was begun"),
        ),
        (
            about(Kind.ATTEMPT_FAILED, **FAILED, because="after the effect was begun", is_definite=False),
            ("doubt", "find out whether it happened", "OSError: cut; after the effect was begun"),
        ),
        (
            about(Kind.ATTEMPT_FAILED, error="CancelledError", because="its caller no longer waited"),
            ("abandon", "cut short, and charged", "CancelledError; its caller no longer waited"),
        ),
        (
            about(Kind.STEP_FAILED, **FAILED, because="attempt 3 of 3 failed"),
            ("give up", "the failure is the outcome", "OSError: cut; attempt 3 of 3 failed"),
        ),
        (about(Kind.STEP_SUCCEEDED, by="ann"), ("settle", "it happened", "ann says so")),
        (
            about(Kind.STEP_SUCCEEDED, degraded={"rung": "cached", "age_s": 7200.0, "because": "the shop is down"}),
            ("degrade", "served: cached, 2 h old", "the shop is down"),
        ),
        (
            about(Kind.STEP_SUCCEEDED)._replace(step=StepKind.VERIFY, meta=meta(verdict="not_done", text="no such id")),
            ("verify", "not done", "no such id"),
        ),
        (
            about(Kind.STEP_ABANDONED),
            ("abandon", "no longer waited for", "its caller gave up: a timeout, a cancellation or a lost race"),
        ),
        (about(Kind.QUESTION_ASKED, id="q_1", text="Did it?", to="ops"), ("ask", "ask ops", "Did it?")),
        (
            about(Kind.QUESTION_CLOSED, id="q_1", outcome="answered", choice="yes", by="ann"),
            ("answer", "yes", "by ann"),
        ),
        (
            about(Kind.QUESTION_CLOSED, id="q_1", outcome="expired"),
            ("answer", "the default is taken", "its time was over, and nobody had answered"),
        ),
        (
            about(Kind.BUDGET_CHANGED, limits=[5, None, None, 1_500_000_000], by="ann"),
            ("budget", "caps: tool_calls 5, usd $1.5000", "by ann"),
        ),
        (
            about(Kind.BUDGET_WARNED, name="usd_nano", limit=10**9, spent=12 * 10**8, overshoot=2 * 10**8),
            ("budget warning", "usd", "$1.2000 of $1.0000 used, $0.2000 over the cap"),
        ),
        (about(Kind.RUN_STARTED, agent="a"), ("start", "agent a", "no budget stated: default caps")),
        (
            about(Kind.RUN_RESUMED, why="takeover"),
            ("takeover", "go on from the record", "the last process ended without giving the run back"),
        ),
        (
            about(Kind.RUN_RESUMED, why="resume", by="ann", reopened=[list(PAY)]),
            ("resume", "try again: pay", "by ann"),
        ),
        (
            about(Kind.RUN_SUSPENDED, why="drift", difference={"asked": "pay b", "recorded": ["pay a"]}),
            ("suspend", "drift", "the code asks for pay b; the record has pay a"),
        ),
        (about(Kind.RUN_SUSPENDED, why="sleep", until=63.0), ("suspend", "sleep, for 60 s", "the agent sleeps")),
        (about(Kind.DRIFT_FOUND, rule="unused"), ("drift", "unused", "recorded, and not asked for")),
        (about(Kind.SIGNAL_RECEIVED, name="go", by="ann"), ("signal", "go", "by ann")),
        (about(Kind.RUN_ENDED, outcome="stopped", why="budget: usd"), ("end", "stopped", "budget: usd")),
        (about(Kind.RUN_ENDED, outcome="succeeded"), ("end", "succeeded", "the agent returned")),
    ],
)
def test_each_decision_says_what_was_chosen_and_because_of_what(event: Event, line: tuple[str, str, str]) -> None:
    """Without this, one sort of decision would be missing from the story of a failed run."""
    assert told(event) == [line]


def test_every_line_has_its_time_its_place_and_its_step() -> None:
    """Without this, a line could not be found again in the log, nor the step that it is about."""
    [line] = decisions([about(Kind.STEP_INTENDED), about(Kind.STEP_FAILED, at=7.5, by="ann", **FAILED)])
    assert (line["number"], line["at"], line["step"], line["by"]) == (2, 7.5, "pay(abababababab)#0", "ann")


def test_what_went_well_at_once_is_no_decision() -> None:
    """Without this, the reason for a stop would drown in steps that nobody decided anything about."""
    assert told(about(Kind.STEP_INTENDED, charge=Charge(1)), about(Kind.STEP_SUCCEEDED)) == []


def test_an_attempt_that_a_crash_cut_off_is_told_by_the_next_one() -> None:
    """Without this, a step would seem to be attempted twice without a reason."""
    again = about(Kind.STEP_INTENDED, attempt=2)
    [line] = told(about(Kind.STEP_INTENDED), again)
    assert line[:2] == ("recover", "attempt 2 begins") and "process ended" in line[2]
    assert told(about(Kind.STEP_INTENDED), about(Kind.ATTEMPT_FAILED, **FAILED, retry_at=4.0), again)[1:] == []


@pytest.mark.parametrize("kind", Kind)
def test_no_kind_of_event_makes_a_line_without_a_reason(kind: Kind) -> None:
    """Without this, a decision would be printed that nobody can understand."""
    facts = {"agent": "a", "outcome": "failed", "why": "question", "text": "t", "limits": [1, 1, 1, 1], "what": "w"}
    facts |= {"choice": "c", "because": "b", "rule": "order", "name": "usd_nano", "limit": 1, "spent": 1}
    for what, choice, because in told(about(kind, **facts)):
        assert what and choice and because
