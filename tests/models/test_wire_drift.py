"""Prompts that are not the same again: a clock in the system text, a history that grew. Found, or held."""

import asyncio
import itertools
from typing import Any

import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, Request, text

QUICK = hf.Settings(quiet_s=0.05, park_s=0.3, poll_s=0.02, close_s=0.5)


def model(request: Request) -> Any:
    """Says which question it answers, and when it was told the time."""
    return text(f"{request.last_text} at {request.system}")


@pytest.fixture
def clock() -> Any:
    """A clock of the agent's own, which goes on while nobody records it."""
    ticks = itertools.count(10)
    return lambda: f"It is 2026-11-26T12:{next(ticks)}:00Z."


async def ask(server: Any, question: str, system: str) -> str:
    """One question."""
    client = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
    said: list[Any] = [{"role": "user", "content": question}]
    answer = await client.messages.create(model="claude-test", max_tokens=50, system=system, messages=said)
    return answer.content[0].text  # type: ignore[union-attr]


async def lives(tmp_path: Any, body: Any, **options: Any) -> list[Any]:
    """What the body gives in its first life, which fails at the end, and in its second."""
    seen: list[Any] = []

    @hf.agent(name="clocked", **options)
    async def agent(run: hf.Run, given: str) -> Any:
        seen.append(await body(run))
        if len(seen) == 1:
            raise ValueError("the end of the first life")
        return seen[-1]

    for _ in range(2):
        async with hf.App(f"sqlite:///{tmp_path}/x.db", settings=QUICK) as app:
            run = await app.start(agent, "x", key="k")
            if seen:
                await app.resume(run)
            try:
                await app.run(agent, "x", key="k")
            except hf.errors.RunFailed:
                pass
            seen_events.clear()
            seen_events.extend(app.journal.events(run))
    return seen


seen_events: list[Any] = []


async def test_parallel_questions_under_a_clock_get_their_own_answers(tmp_path: Any, clock: Any) -> None:
    """Swapped answers are worse than none: the refund of one customer goes to another."""
    with ModelServer(model) as server:

        async def body(run: hf.Run) -> list[str]:
            return await asyncio.gather(
                *(ask(server, question, clock()) for question in ("apples?", "pears?", "figs?"))
            )

        first, second = await lives(tmp_path, body)
        assert first == second
        assert [answer.split("?")[0] for answer in second] == ["apples", "pears", "figs"]
        assert server.count == 3
    assert {event.facts["rule"] for event in seen_events if event.kind is Kind.DRIFT_FOUND} == {"tail"}


async def test_equal_parallel_questions_under_a_clock_are_held_and_not_guessed(tmp_path: Any, clock: Any) -> None:
    """Which of two equal questions got which answer cannot be told: a person has to say."""
    with ModelServer(model) as server:

        async def body(run: hf.Run) -> list[str]:
            return await asyncio.gather(*(ask(server, "which?", clock()) for _ in range(2)))

        with pytest.raises(hf.errors.RunBlocked, match="hold"):
            await lives(tmp_path, body)
        assert server.count == 2


async def test_fresh_begins_anew_what_cannot_be_told(tmp_path: Any, clock: Any) -> None:
    """For agents whose owner would rather pay twice than be asked."""
    with ModelServer(model) as server:

        async def body(run: hf.Run) -> list[str]:
            return await asyncio.gather(*(ask(server, "which?", clock()) for _ in range(2)))

        first, second = await lives(tmp_path, body, on_drift="fresh")
        assert first != second
        assert server.count == 4


async def test_a_history_that_outlived_the_process_is_named_as_that(tmp_path: Any) -> None:
    """A framework's saver in a file: on replay the agent begins with what it had said in its first life."""
    history: list[Any] = []
    with ModelServer(lambda request: text("noted")) as server:

        async def body(run: hf.Run) -> int:
            client = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
            history.append({"role": "user", "content": "remember this"})
            answer = await client.messages.create(model="claude-test", max_tokens=50, messages=history)
            history.append({"role": "assistant", "content": answer.content[0].text})  # type: ignore[union-attr]
            return len(history)

        with pytest.raises(hf.errors.HistoryGrew, match="outlived"):
            await lives(tmp_path, body)
        assert server.count == 1
