"""One retry owner (R5): what is on the wire for one failing model call, through every retry loop above ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.models.options import RETRY
from holdfast.testing.crash import sweep

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Function .* has decorators other than @tool"),  # smolagents: of remote ones
]

TASK = "Refund order K-17, it came broken."
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "429": {"status": 429},
    "billing": {"billing": True},
    "dropped": {"drop": True},
}
ATTEMPTS = {"billing": 1}
"""Requests for one call; what is not named here gets the attempts of the default policy."""


def requests_of(scenario: Any) -> int:
    """Run to the failed end in a child; how many requests were on the wire."""
    counts: list[int] = []

    def check(place: Any, kills: Any) -> list[str]:
        counts.append(len(place.requests))
        (end,) = [event for event in place.events() if event.kind is Kind.RUN_ENDED]
        return [] if '"outcome":"failed"' in end.meta else [f"not failed: {end.meta}"]

    scenario.check = check
    sweep(scenario, every=0, seconds=0).require(kills=0)
    return counts[0]


@pytest.mark.parametrize("fault", FAULTS)
def test_one_failing_call_is_as_many_requests_as_configured(
    row: Any, fault: str, refunds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: R5. Three attempts of ours times three of the SDK times three of a framework: 27 requests in an outage."""
    scenario = refunds(row, TASK, on=1, times=200, **FAULTS[fault])
    if "smolagents" in row.packages:
        monkeypatch.setattr("smolagents.models.RETRY_WAIT", 0.001)  # its own waits after a 429: minutes
    assert requests_of(scenario) == ATTEMPTS.get(fault, RETRY.attempts)


@hf.agent
async def with_tenacity(run: hf.Run, task: str) -> str:
    """The raw SDK in tenacity's loop."""
    from openai import AsyncOpenAI
    from tenacity import AsyncRetrying, stop_after_attempt

    client = AsyncOpenAI(http_client=hf.http_client())
    async for attempt in AsyncRetrying(stop=stop_after_attempt(4), reraise=True):
        with attempt:
            asked: Any = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": task}]}
            await client.chat.completions.create(**asked)
    return "never"


@hf.agent
async def with_retry(run: hf.Run, task: str) -> str:
    """LangChain's own loop around a model."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-5-mini", http_async_client=hf.http_client())
    await model.with_retry(stop_after_attempt=4, wait_exponential_jitter=False).ainvoke(task)
    return "never"


@pytest.mark.parametrize("fault", ["500", "429", "dropped"])
@pytest.mark.parametrize(("agent", "file"), [(with_tenacity, "openai_chat"), (with_retry, "langchain_agent")])
def test_a_loop_of_somebody_else_sends_nothing_more(
    agent: Any, file: str, fault: str, row_of: Any, refunds: Any
) -> None:
    """Lost: R5, for loops that we do not see: an equal call with nothing recorded in between is not a new one."""
    scenario = refunds(row_of(file), TASK, SimpleNamespace(desk=agent), on=1, times=200, **FAULTS[fault])
    assert requests_of(scenario) == RETRY.attempts
