"""Requests that change the world at the provider: never sent twice on a guess, and a person can always go on."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, text

QUICK = hf.Retry(attempts=3, wait=0)
EFFECTS: dict[str, Any] = {
    "mcp": {"mcp_servers": [{"type": "url", "url": "https://mcp.example.com", "name": "mail"}]},
    "code": {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
    "container": {"container": "container_1"},
}


@pytest.fixture(params=EFFECTS)
def effects(request: pytest.FixtureRequest) -> Any:
    """What of a request changes the world."""
    return EFFECTS[request.param]


def asking(server: Any, hello: Any, more: Any, *, stream: bool = False, caught: Any = (), **options: Any) -> Any:
    """An agent that asks this once."""
    options.setdefault("retry", QUICK)

    async def body(run: hf.Run) -> str:
        sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client(**options))
        asked = {**hello, "extra_body": more}
        try:
            if stream:
                async with sdk.messages.stream(**asked) as events:
                    return await events.get_final_text()
            return (await sdk.messages.create(**asked)).content[0].text  # type: ignore[union-attr]
        except caught as error:
            return f"{type(error).__name__}: {error}"

    return body


@pytest.fixture(autouse=True)
def wealthy(desk: Any) -> None:
    """Provider-run tools may read the whole context many times."""
    desk.budget = hf.Budget(tokens=10**9)


async def killed(desk: Any, server: ModelServer, body: Any) -> None:
    """The process is gone while the first request is under way."""
    server.fault(on=1, delay_s=60)
    app = hf.App(f"sqlite:///{desk.path}/x.db", settings=hf.Settings(drain_s=0.05, close_s=0.05, poll_s=0.02))
    async with app:
        desk.run_id = await app.start(desk.agent(body), "input", key="k")
        await asyncio.to_thread(server.wait_for, 1)


async def go(desk: Any, body: Any) -> Any:
    """Go on with the run; it is not waited for where only a person can help."""
    async with desk.app() as app:
        agent = desk.agent(body)
        desk.run_id = await app.start(agent, "input", key="k")
        return await app.run(agent, "input", key="k", wait=3)


async def answered(desk: Any, body: Any, choice: str, result: Any = None) -> Any:
    """A person says what happened, and the run goes on."""
    with pytest.raises(hf.errors.RunWaiting, match=r"in_doubt|Say what happened"):
        await go(desk, body)
    async with desk.app() as app:
        (question,) = app.journal.head(desk.run_id).questions
        await app.answer(desk.run_id, question.id, choice, by="ann", result=result)
    return await go(desk, body)


async def test_a_crash_in_flight_is_in_doubt_and_not_asked_again(desk: Any, hello: Any, effects: Any) -> None:
    """P4. Lost: the mail that the provider's tool sent goes out a second time."""
    with ModelServer(lambda request: text("sent")) as server:
        body = asking(server, hello, effects)
        await killed(desk, server, body)
        with pytest.raises(hf.errors.RunWaiting):
            await go(desk, body)
        assert server.count == 1
        assert await answered(desk, body, "it_did_not") == "sent"
        assert server.count == 2


@pytest.mark.parametrize(
    "result",
    [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-test",
            "content": [{"type": "text", "text": "as the console shows it"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    ],
)
async def test_a_person_who_knows_the_answer_can_give_it(desk: Any, hello: Any, effects: Any, result: Any) -> None:
    """To say that it happened is useless without what it gave: the API's own answer, as a console shows it."""
    with ModelServer(lambda request: text("never")) as server:
        body = asking(server, hello, effects)
        await killed(desk, server, body)
        assert await answered(desk, body, "it_happened", result) == "as the console shows it"
        assert server.count == 1
        assert await desk.once(body) == "as the console shows it"


@pytest.mark.parametrize("result", ["sent", 3, None, [1], {"text": "sent"}, {"status": "x"}])
async def test_an_answer_that_no_api_gives_is_asked_for_again(desk: Any, hello: Any, result: Any) -> None:
    """Lost: a run whose record no SDK can read, which fails again at each resume, for ever."""
    with ModelServer(lambda request: text("sent")) as server:
        body = asking(server, hello, EFFECTS["mcp"])
        await killed(desk, server, body)
        with pytest.raises(hf.errors.RunWaiting, match="does not fit"):
            await answered(desk, body, "it_happened", result)
        assert await answered(desk, body, "it_did_not") == "sent"


async def test_the_agent_can_be_told_that_nobody_knows(desk: Any, hello: Any) -> None:
    """It gets an error of its SDK, not a crash of ours, the same on replay."""
    with ModelServer(lambda request: text("never")) as server:
        body = asking(server, hello, EFFECTS["mcp"], caught=anthropic.APIError)
        await killed(desk, server, body)
        said = await answered(desk, body, "tell_the_agent")
        assert said == "APIConnectionError: Connection error."
        assert server.count == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 529}, {"drop": True}, {"status": 408}])
async def test_a_failure_that_says_nothing_is_in_doubt(desk: Any, hello: Any, fault: Any) -> None:
    """A 500 comes after the work as often as before it."""
    with ModelServer(lambda request: text("sent")) as server:
        server.fault(on=1, **fault)
        body = asking(server, hello, EFFECTS["mcp"], fallback=["second"])
        assert await answered(desk, body, "it_did_not") == "sent"
        assert server.count == 2


@pytest.mark.parametrize(
    ("status", "error"), [(400, "BadRequestError"), (401, "AuthenticationError"), (404, "NotFound")]
)
async def test_a_refusal_is_definite(desk: Any, hello: Any, status: int, error: str) -> None:
    """Lost: a person is woken for a typo."""
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, status=status)
        live, replayed = await desk.twice(asking(server, hello, EFFECTS["mcp"], caught=anthropic.APIError))
        assert live == replayed and live.startswith(error)
        assert server.count == 1


async def test_a_rate_limit_is_definite_and_tried_again(desk: Any, hello: Any) -> None:
    """429 did no work, whatever the request would have done."""
    with ModelServer(lambda request: text("sent")) as server:
        server.fault(on=1, status=429, headers={"retry-after-ms": "1"})
        assert await desk.once(asking(server, hello, EFFECTS["mcp"])) == "sent"
        assert server.count == 2


async def test_the_client_may_know_better(desk: Any, hello: Any, effects: Any) -> None:
    """`effect="read"`: a server that only looks things up is asked again like any model."""
    with ModelServer(lambda request: text("looked")) as server:
        body = asking(server, hello, effects, effect="read")
        server.fault(on=2, status=500)
        await killed(desk, server, body)
        assert await desk.once(body) == "looked"
        assert server.count == 3


async def test_the_client_may_be_more_careful(desk: Any, hello: Any) -> None:
    """`effect="once"` holds for the plainest request."""
    with ModelServer(lambda request: text("sent")) as server:
        body = asking(server, hello, {}, effect="once")
        await killed(desk, server, body)
        assert await answered(desk, body, "it_did_not") == "sent"


async def test_nothing_of_it_is_read_before_it_is_recorded(desk: Any, hello: Any) -> None:
    """A stream of such an answer is told when it is safe: what an agent acts on must not be taken back."""
    seen: list[int] = []
    with ModelServer(lambda request: text("sent")) as server:

        async def body(run: hf.Run) -> str:
            sdk = AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client())
            async with sdk.messages.stream(**hello, extra_body=EFFECTS["mcp"]) as events:
                async for _ in events:
                    seen.append(len([e for e in app.journal.events(desk.run_id) if e.kind is Kind.STEP_SUCCEEDED]))
                return await events.get_final_text()

        async with desk.app() as app:
            agent = desk.agent(body)
            desk.run_id = await app.start(agent, "input", key="k")
            assert await app.run(agent, "input", key="k") == "sent"
    assert seen and set(seen) == {1}


async def test_its_caller_cannot_break_it_off(desk: Any, hello: Any) -> None:
    """A timeout of the agent's leaves the effect under way: its outcome is recorded, and the next equal call has it."""
    with ModelServer(lambda request: text("sent")) as server:
        server.fault(on=1, delay_s=0.3)

        async def body(run: hf.Run) -> str:
            asked = asyncio.create_task(asking(server, hello, EFFECTS["mcp"])(run))
            await asyncio.to_thread(server.wait_for, 1)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            return await asking(server, hello, EFFECTS["mcp"])(run)  # type: ignore[no-any-return]

        assert await desk.once(body) == "sent"
        assert server.count == 1
