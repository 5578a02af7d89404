"""Frameworks as they are, killed at every point of one request: at each model call, each tool, each journal write."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.testing.crash import sweep

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Function .* has decorators other than @tool"),  # smolagents: of remote ones
]

ONE = "Refund order K-17, it came broken."
TWO = "Refund orders K-17 and K-18, they came broken."
UNKNOWN = "Refund orders K-17 and K-404, they came broken."


def windows(row: Any) -> list[str]:
    """Where a kill must have been seen."""
    kinds = [f"{kind}({name})" for name in (row.step, row.tool) for kind in ("StepIntended", "StepSucceeded")]
    appends = [f"append:{when}:{kind}" for kind in kinds for when in ("before", "after")]
    requested = ("model", "refund") if row.tool == "refund" else ("model",)
    return [*appends, *(f"{what}:{point}" for what in requested for point in ("before", "sent", "after")), "RunEnded"]


def test_killed_at_every_point(row: Any, refunds: Any) -> None:
    """Lost: the promise for existing code. A framework's agent dies, starts again, and pays a customer twice."""
    scenario = refunds(row, ONE)
    report = sweep(scenario, every=1, seconds=0)
    report.require(kills=30, windows=windows(row))
    assert scenario.seen["in doubt"] >= 3 and scenario.seen["sent again"] >= 3, scenario.seen
    print(row.file, len(report.points), report.kills.total(), dict(scenario.seen))


def test_tools_at_once_killed_at_every_third_point(parallel_row: Any, refunds: Any) -> None:
    """Lost: the answer about one customer's refund is given for another's after a crash in the middle of both."""
    sweep(refunds(parallel_row, TWO), every=3, seconds=0).require(kills=15)


def test_a_tool_that_fails_is_told_alike_on_replay(row: Any, refunds: Any) -> None:
    """Lost: a prompt with another error text on replay; the model is asked anew, and decides otherwise."""
    sweep(refunds(row, UNKNOWN), every=4, seconds=0).require(kills=8)
