"""Breakers of model calls: per host, model and account; the next model is asked while one of them is shut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import APIConnectionError, AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, text

ONCE = hf.Retry(attempts=1)
SHUT = hf.Breaker(calls=3, wait="1h")


def asking(server: Any, times: int, *fallback: Any, key: str = "mine", **options: Any) -> Any:
    """An agent's body that asks for so many different things; who answered, or that nobody did."""

    async def body(run: hf.Run) -> Any:
        http_client = hf.http_client(fallback=fallback, retry=ONCE, **({"breaker": SHUT} | options))
        sdk = AsyncAnthropic(base_url=server.url, api_key=key, http_client=http_client)
        said = []
        for n in range(times):
            asked: Any = [{"role": "user", "content": f"Question {n}"}]
            try:
                said.append((await sdk.messages.create(model="first", max_tokens=9, messages=asked)).model)
            except Exception as error:
                said.append(type(error).__name__)
        return said

    return body


def asked(server: ModelServer) -> list[str]:
    """Which models were asked, in order."""
    return [request.body["model"] for request in server.requests]


async def test_while_one_model_is_shut_the_next_is_asked_at_once(desk: Any) -> None:
    """Lost: each turn of each agent first waits for a model that is known to be down."""
    with ModelServer(lambda request: text("hi")) as server:
        for request in (1, 3, 5):
            server.fault(on=request, status=500)
        live, replayed = await desk.twice(asking(server, 5, "second"))
        assert live == replayed == ["second"] * 5
        assert asked(server) == ["first", "second"] * 3 + ["second"] * 2
    decided = [event.facts for event in desk.log if event.kind is Kind.DECIDED and event.facts["what"] == "breaker"]
    assert [facts["choice"] for facts in decided] == ["opened", "refused", "refused"]
    assert all(facts["tool"].startswith("first at 127.0.0.1:") for facts in decided)
    assert "mine" not in str(desk.log)
    refused = [event for event in desk.log if event.facts.get("error") == "BreakerOpen"]
    assert [event.facts["next"] for event in refused] == ["second", "second"]


async def test_without_another_model_the_sdk_gets_its_own_error_and_sends_nothing(desk: Any) -> None:
    """Lost: an error of ours that no code around an SDK handles, or a request behind the breaker's back."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=3, status=500)
        said = await desk.once(asking(server, 5))
        assert said == ["InternalServerError"] * 3 + [APIConnectionError.__name__] * 2
        assert len(server.requests) == 3


async def test_a_shut_model_is_not_queued_for(desk: Any) -> None:
    """Lost: a call that will be refused first waits out what the provider asked for, or for a slot."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=2, status=503)
        server.fault(on=3, status=503, retry_after_s=50)
        async with asyncio.timeout(20):
            said = await desk.once(asking(server, 4))
        assert said == ["ServiceUnavailableError"] * 3 + ["APIConnectionError"]
        assert len(server.requests) == 3


async def test_another_account_has_a_breaker_of_its_own(desk: Any) -> None:
    """Lost: one customer's key that runs into a broken region shuts out everybody's."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=3, status=500)
        assert await desk.once(asking(server, 4)) == ["InternalServerError"] * 3 + ["APIConnectionError"]
        for key, said in (("theirs", "first"), ("mine", "APIConnectionError")):
            async with desk.app() as app:
                assert await app.run(desk.agent(asking(server, 1, key=key)), "input", key=key) == [said]


@pytest.mark.parametrize("status", [400, 401, 429])
async def test_what_says_nothing_about_the_model_does_not_shut_it(desk: Any, status: int) -> None:
    """Lost: a rate limit of one agent, or a wrong request of another, becomes an outage for all."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=5, status=status)
        await desk.once(asking(server, 6))
        assert len(server.requests) == 6


async def test_without_a_breaker_each_call_is_sent(desk: Any) -> None:
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=5, status=500)
        await desk.once(asking(server, 6, breaker=None))
        assert len(server.requests) == 6
