"""Mistakes that the sweep must see: without them it passes, as the other files show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.core.events import Effect, Kind, StepKind
from holdfast.runtime.record import Record
from holdfast.testing.crash import sweep

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(120)]

TASK = "Refund order K-17, it came broken."


def sent_again(example: Any, patch: pytest.MonkeyPatch) -> None:
    """A user's mistake: the refund is declared as what may simply be sent again."""
    patch.setattr(example.refund, "spec", replace(example.refund.spec, effect=Effect.IDEMPOTENT))


def no_step(example: Any, patch: pytest.MonkeyPatch) -> None:
    """A user's omission: a tool that is no step, which runs again with every replay."""

    def refund(order: str, cents: int) -> str:
        """Pay back what was paid for an order."""
        made: Callable[..., str] = real.spec.fn
        return made(order, cents, idempotency_key="none")

    real = example.refund
    patch.setattr(example, "refund", refund)


def late_answer(example: Any, patch: pytest.MonkeyPatch) -> None:
    """Ours: an answer of the model is handed out before it is committed."""
    real = Record.write

    async def write(self: Record) -> bool:
        append = self.take()
        what = set() if append is None else {(event.step, event.kind) for event in append.events}
        return what == {(StepKind.MODEL, Kind.STEP_SUCCEEDED)} or await real(self)

    patch.setattr(Record, "write", write)


@pytest.mark.parametrize(
    ("plant", "window", "seen"),
    [
        (sent_again, "refund:sent", "refunds: {'K-17': 2}"),
        (no_step, "refund:after", "refunds: {'K-17': 2}"),
        (late_answer, "append:before:StepSucceeded(chat)", "finished model calls sent again"),
    ],
    ids=["sent_again", "no_step", "late_answer"],
)
def test_a_planted_bug_is_seen(
    plant: Any, window: str, seen: str, row_of: Any, load: Any, refunds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the right to say that the sweep of the frameworks would notice."""
    row = row_of("pydantic_ai_agent")
    plant(load(row), monkeypatch)
    report = sweep(refunds(row, TASK), every=0, seconds=0, windows=(window,))
    assert any(seen in problem for problem in report.problems), report
