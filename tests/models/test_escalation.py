"""Keys and money of model accounts go to whoever the agent names. Each test says what would be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.errors import RunWaiting
from holdfast.testing.model_server import ModelServer, text

FAST = hf.Settings(quiet_s=0.01, poll_s=0.02, park_s=0.05)


def asking(server: Any, hello: Any, *, stream: bool, escalate: str = "ops") -> Any:
    @hf.agent(name="asks", escalate=escalate)
    async def asks(run: hf.Run, given: Any) -> str:
        http_client = hf.http_client(retry=hf.Retry(attempts=2, wait=0))
        sdk = AsyncAnthropic(base_url=server.url, api_key="mine", http_client=http_client)
        try:
            if stream:
                async with sdk.messages.stream(**hello) as events:
                    return await events.get_final_text()
            message = await sdk.messages.create(**hello)
        except anthropic.APIStatusError as error:
            return f"{type(error).__name__} {error.status_code}"
        return str(message.content[0].text)

    return asks


async def process(store: Path, agent: Any, answer: str | None = None) -> Any:
    """One process: somebody answers, if asked to, and the run goes on as far as it can."""
    async with hf.App(str(store), serves=False, settings=FAST) as app:
        if answer is not None:
            (head,) = app.journal.heads(key="k")
            (asked,) = head.questions
            await app.answer(head.run_id, asked.id, answer, by="ann")
        return await app.run(agent, None, key="k", wait=0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [{"status": 401}, {"billing": True}])
async def test_a_call_goes_on_when_the_account_is_in_order(
    tmp_path: Path, hello: Any, stream: bool, fault: dict[str, Any]
) -> None:
    """Lost: an hour's work, for a card that had expired."""
    store = tmp_path / "h.db"
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, **fault)
        agent = asking(server, hello, stream=stream)
        with pytest.raises(RunWaiting, match="has failed"):
            await process(store, agent)
        assert await process(store, agent, "try_again") == "hi"
        assert len(server.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_sdk_raises_its_own_error_when_a_person_says_so(tmp_path: Path, hello: Any, stream: bool) -> None:
    """Lost: the agent's own way to deal with it."""
    store = tmp_path / "h.db"
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=401)
        agent = asking(server, hello, stream=stream)
        with pytest.raises(RunWaiting):
            await process(store, agent)
        assert await process(store, agent, "tell_the_agent") == "AuthenticationError 401"
        assert len(server.requests) == 1


async def test_other_failures_and_other_agents_ask_nobody(tmp_path: Path, hello: Any) -> None:
    """Lost: a night of questions about hiccups."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=400)
        assert await process(tmp_path / "a.db", asking(server, hello, stream=False)) == "BadRequestError 400"
        server.fault(on=2, status=401)
        agent = asking(server, hello, stream=False, escalate="")
        assert await process(tmp_path / "b.db", agent) == "AuthenticationError 401"
