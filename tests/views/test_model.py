"""What `show` says of a model call: which model, what it took, and that it was cut short or answered by another.

If these fail, a person cannot see who answered, what was paid for which call, or that an answer is only a part.
"""

from __future__ import annotations

from typing import Any

from holdfast.core.events import Address, Charge, Effect, Event, Kind, StepKind, meta
from holdfast.core.heads import Head, Status
from holdfast.views.model import ended, shown, took
from holdfast.views.show import show
from holdfast.views.verdict import verdict, what_failed

HEAD = Head("run_x", "k", "agent", "d", Status.READY, 1.0, 1.0)
CALL = Address("", "messages", "ab" * 16, 0)
WORST = Charge(model_calls=1, tokens=900, usd_nano=9_000_000)
USED = Charge(model_calls=1, tokens=130, usd_nano=1_300_000)
USAGE = {"input": 100, "output": 20, "cache_read": 10}


def step(kind: Kind, attempt: int = 1, charge: Charge = WORST, **facts: Any) -> Event:
    """An event about the one model call."""
    return Event(kind, 3.0, CALL, StepKind.MODEL, Effect.READ, 1, attempt, charge, meta(**facts))


def picture_of(*events: Event) -> dict[str, Any]:
    """The picture of a run with these events."""
    facts = meta(run="run_x", key="k", agent="agent", seed="s", input_digest="d")
    return show(HEAD, [Event(Kind.RUN_STARTED, 2.0, meta=facts, body=b"1"), *events])


def test_an_answer_names_its_models_its_tokens_and_its_price() -> None:
    """Lost: which step of a run that costs too much is the dear one, and who answered it."""
    intended = step(Kind.STEP_INTENDED, model="sonnet", stream=True)
    answered = step(Kind.STEP_SUCCEEDED, charge=USED, model="sonnet", served="sonnet-0203", usage=USAGE)
    (seen,) = picture_of(intended, answered)["steps"]
    assert (seen["tokens"], seen["usd"]) == (130, 0.0013)
    call = seen["model"]
    assert (call["asked"], call["fallback"], call["served"]) == ("sonnet", None, "sonnet-0203")
    assert (call["is_stream"], call["partial"], call["usage"]) == (True, None, USAGE)
    assert shown(call) == "sonnet (served as sonnet-0203)"
    assert took(call, 130, 0.0013) == "100 tokens in (+ 10 read from cache), 20 out · $0.0013"


def test_a_fallback_is_never_silent() -> None:
    """Lost: an answer of a smaller model would look like one of the model that was asked for."""
    picture = picture_of(
        step(Kind.STEP_INTENDED, model="sonnet"),
        step(
            Kind.ATTEMPT_FAILED, charge=Charge(model_calls=1), error="overloaded_error", text="HTTP 529", next="haiku"
        ),
        step(Kind.STEP_INTENDED, 2, model="sonnet", way=[1, 1], by="haiku"),
        step(Kind.STEP_SUCCEEDED, 2, USED, model="haiku", served="haiku", usage=USAGE),
        Event(Kind.RUN_ENDED, 4.0, meta=meta(outcome="succeeded")),
    )
    (seen,) = picture["steps"]
    assert shown(seen["model"]) == "haiku in place of sonnet"
    assert [(failure["error"], failure["next"]) for failure in seen["failures"]] == [("overloaded_error", "haiku")]
    assert verdict(picture, 5.0) == "Done: 1 step, 1 of them by a fallback model."


def test_an_attempt_that_a_crash_cut_short_is_told_with_its_charge() -> None:
    """Lost: why a call was paid twice, when the first time the process died with the answer."""
    begun = (step(Kind.STEP_INTENDED, model="sonnet"), step(Kind.STEP_INTENDED, 2, model="sonnet"))
    (seen,) = picture_of(*begun, step(Kind.STEP_SUCCEEDED, 2, USED, model="sonnet", usage=USAGE))["steps"]
    assert (seen["attempts"], seen["tokens"]) == (2, WORST.tokens + USED.tokens)
    assert [(failure["attempt"], failure["error"]) for failure in seen["failures"]] == [(1, "Interrupted")]


def test_a_part_of_an_answer_does_not_look_like_all_of_it() -> None:
    """Lost: that a reader closed its stream, or that it broke off, and that the whole reservation was charged."""
    intended = step(Kind.STEP_INTENDED, model="sonnet", stream=True)
    closed = picture_of(intended, step(Kind.STEP_SUCCEEDED, model="sonnet", closed="closed"))["steps"][0]
    assert ended(closed["model"]) == "stream closed by its reader"
    assert took(closed["model"], closed["tokens"], closed["usd"]) == "900 tokens charged, as reserved · $0.0090"
    broken = picture_of(intended, step(Kind.STEP_FAILED, error="ReadError", text="cut", is_told=True))["steps"][0]
    assert ended(broken["model"]) == "broke off; the agent has had the beginning"


def test_what_is_not_recorded_is_not_guessed() -> None:
    """Lost: a record from before these facts were kept could not be shown."""
    (seen,) = picture_of(step(Kind.STEP_INTENDED), step(Kind.STEP_SUCCEEDED, charge=USED))["steps"]
    assert shown(seen["model"]) == "an unknown model"
    (old,) = picture_of(step(Kind.STEP_INTENDED, by="haiku"), step(Kind.STEP_SUCCEEDED, charge=USED, model="haiku"))[
        "steps"
    ]
    assert (old["model"]["asked"], shown(old["model"])) == (None, "haiku")
    tool = Event(Kind.STEP_SUCCEEDED, 3.0, Address("", "look", "cd", 0), StepKind.TOOL, Effect.READ)
    assert picture_of(tool)["steps"][0]["model"] is None


def test_what_the_sdk_hides_is_told_at_the_end() -> None:
    """Lost: a run that fails with "Connection error." and leaves its reader to guess that a proxy answered."""
    failed = step(Kind.STEP_FAILED, error="DecodingError", text="HTTP 200, text/html")

    def ended_with(why: str) -> dict[str, Any]:
        facts = {"outcome": "failed", "cause": [[*CALL]], "failure": {"error": "E", "text": why}, "why": why}
        return picture_of(step(Kind.STEP_INTENDED), failed, Event(Kind.RUN_ENDED, 4.0, meta=meta(**facts)))

    told = what_failed(ended_with("APIConnectionError: Connection error."))
    assert told == ["step 1 `messages`: DecodingError: HTTP 200, text/html"]
    assert what_failed(ended_with("DecodingError: HTTP 200, text/html")) == []
