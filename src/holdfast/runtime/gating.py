"""`run.gate`: what an agent has made is measured by somebody else, and goes on only when the measure says so.

The score is a step that reads, the verdict a decision in the record: replay gives both back and measures nothing. What
does not pass is put to a person, stops the run, or is told to the agent. A resume of a run that was stopped here
measures and decides again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.core import confidence
from holdfast.core.command import Call
from holdfast.core.conduct import GO_ON, STOP
from holdfast.core.confidence import Judged, Otherwise
from holdfast.core.events import Address, Effect, StepKind
from holdfast.core.heads import Status
from holdfast.core.policy import Duration, Retry, seconds
from holdfast.errors import PolicyInvalid, RunError
from holdfast.journal.codec import decode, encode
from holdfast.runtime.facts import safe
from holdfast.runtime.pauses import Decision
from holdfast.runtime.thread import in_thread
from holdfast.runtime.tool import Tool

if TYPE_CHECKING:
    from holdfast.runtime.asking import Answer
    from holdfast.runtime.run import Run

NOTHING: Any = object()
"""For `input=`: the scorer is called without it."""
ONCE = Retry(attempts=1)


@dataclass(frozen=True, slots=True)
class Gated:
    """What a gate says. True when the run may go on."""

    passed: bool
    score: float | None
    """What was measured; None when nothing was."""
    because: str
    by: str = ""
    """Who let it through though it did not pass."""

    def __bool__(self) -> bool:
        return self.passed


async def gate(
    run: Run,
    scope: str,
    name: str,
    scorer: Callable[..., Any],
    threshold: float,
    *,
    input: Any,
    claimed: Any,
    otherwise: Otherwise,
    to: str,
    within: Duration | None,
    timeout: Duration,
) -> Gated:
    """See `Run.gate`."""
    needed = confidence.checked_threshold(name, threshold)
    confidence.checked_otherwise(name, otherwise)
    if not callable(scorer):
        raise PolicyInvalid(f"gate {name!r}: the scorer {scorer!r} is neither a function nor a tool.")
    judged = await _measured(
        run, name, scorer, needed, [] if input is NOTHING else [input], seconds(timeout, "timeout")
    )
    claim = confidence.claim(claimed)
    decided = await _decided(run, scope, name, judged, needed, claim, otherwise)
    judged, choice = Judged(*decided[:3]), decided[3]
    if judged.passed or choice == "tell":
        return Gated(*judged)
    measure = scorer.spec.name if isinstance(scorer, Tool) else name
    text = f"gate {name}: {judged.because}" + (
        "" if claim is None else f"; the agent claims {claim}, which does not count"
    )
    if choice == "stop":
        await _stop(run, scope, name, measure, f"{text}.", "")
    answer = await run.ask(
        f"{text}. Shall it go on all the same?", options=(GO_ON, STOP), to=to, within=within, name=_question(name)
    )
    if answer.outcome == "answered" and answer.value == GO_ON:
        return Gated(True, judged.score, judged.because, answer.by or "a person")
    await _stop(run, scope, name, measure, f"{text}. {_said(answer)}.", answer.by)
    raise AssertionError  # a run that is stopped does not come back


def _said(answer: Answer) -> str:
    return f"{answer.by or 'A person'} said stop" if answer.outcome == "answered" else "Nobody answered in time"


async def _measured(
    run: Run, name: str, scorer: Callable[..., Any], threshold: float, args: list[Any], timeout_s: float
) -> Judged:
    """Ask the scorer, as a step that reads; what it raises or how long it takes is a fact about it."""
    try:
        if isinstance(scorer, Tool):
            value = await _asked(name, scorer, args, timeout_s)
        else:
            value = await run.step(name, scorer, *args, effect="read", retry=ONCE, timeout=timeout_s)
    except RunError as error:  # `ToolFailed`, as it is recorded
        return confidence.failed(safe(str(error), 500))
    return confidence.judged(value, threshold)


async def _asked(name: str, scorer: Tool[..., Any], args: list[Any], timeout_s: float) -> Any:
    spec = scorer.spec
    if spec.effect is not Effect.READ:
        raise PolicyInvalid(f"gate {name!r}: the scorer {spec.name} is {spec.effect}. A measure only reads.")
    if spec.policy.timeout_s is None:
        scorer = Tool(replace(spec, policy=replace(spec.policy, timeout_s=timeout_s)), scorer.hidden)
    call = partial(scorer, *args)
    return await (call() if spec.is_async else in_thread(spec.name, call))


async def _decided(
    run: Run, scope: str, name: str, judged: Judged, threshold: float, claim: Any, otherwise: Otherwise
) -> list[Any]:
    """The verdict in the record: on replay the recorded one, whatever the code says now."""
    choice = "pass" if judged.passed else otherwise
    body = encode([*judged, choice])
    call = Call(scope, _decision(name), "decision", StepKind.DECISION, Effect.READ, body[:200])
    facts = {"score": judged.score, "threshold": threshold, "claimed": claim}
    decision = Decision(call, body, choice, safe(judged.because), facts)
    outcome = await run._driver.step(decision)
    assert outcome.body is not None
    recorded: list[Any] = decode(outcome.body)
    return recorded


async def _stop(run: Run, scope: str, name: str, measure: str, why: str, by: str) -> None:
    """Stop the run; resumed, it measures, decides and asks anew. measure: the name of the step that measured."""
    driver = run._driver
    ends = [_latest(run, scope, measure), _latest(run, scope, _decision(name)), _latest(run, scope, _question(name))]
    causes = [list(address) for address in ends if address is not None]
    driver.stop(Status.STOPPED, why, {"gate": name, "cause": causes, "by": by or None})
    await driver.never()


def _latest(run: Run, scope: str, name: str) -> Address | None:
    """The step of this name that has its outcome last."""
    found = (slot.address for slot in reversed(run._driver.state.order) if slot.address[:2] == (scope, name))
    return next(found, None)


def _decision(name: str) -> str:
    return f"gate {name}"


def _question(name: str) -> str:
    return f"pass {name}"
