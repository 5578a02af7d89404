"""Fallback models on the wire: who is asked, in which order, what it costs, and what the record says of it."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Event, Kind
from holdfast.testing.model_server import ModelServer, text

QUICK = hf.Retry(attempts=2, wait=0)
CANARY = "sk-canary-of-the-other-account"


def asking(server: Any, hello: Any, *fallback: Any, stream: bool = False, **options: Any) -> Any:
    """An agent's body that asks once, and may ask these instead."""
    options.setdefault("retry", QUICK)

    async def body(run: hf.Run) -> Any:
        http_client = hf.http_client(fallback=fallback, **options)
        sdk = AsyncAnthropic(base_url=server.url, api_key="mine", http_client=http_client)
        if stream:
            async with sdk.messages.stream(**hello) as events:
                return await events.get_final_text()
        message = await sdk.messages.create(**hello)
        return f"{message.model}: {message.content[0].text}"

    return body


def models(server: ModelServer) -> list[str]:
    """Which models were asked, in order."""
    return [request.body["model"] for request in server.requests]


def steps(desk: Any) -> list[Event]:
    """What is recorded of the call's attempts."""
    return desk.model(Kind.ATTEMPT_FAILED, Kind.STEP_FAILED, Kind.STEP_SUCCEEDED)  # type: ignore[no-any-return]


@pytest.mark.parametrize("stream", [False, True])
async def test_models_are_asked_in_order_each_with_its_own_attempts(desk: Any, hello: Any, stream: bool) -> None:
    """Lost: a fallback that inherits the used-up attempts of the first model is asked once, or never."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=4, status=500)
        live, replayed = await desk.twice(asking(server, hello, "second", "third", stream=stream))
        assert live == replayed and live.endswith("hi")
        assert models(server) == ["claude-test", "claude-test", "second", "second", "third"]
    first, passed, again, passed_again, outcome = steps(desk)
    assert [event.facts.get("next", "") for event in steps(desk)] == ["", "second", "", "third", ""]
    assert "attempt 2 of 2" in passed.facts["because"] and "next model" in passed.facts["because"]
    assert outcome.facts["model"] == "third"
    assert {event.address for event in steps(desk)} == {first.address}, "one step, whoever answers"
    assert [event.attempt for event in (first, passed, again, passed_again, outcome)] == [1, 2, 3, 4, 5]


async def test_an_overloaded_model_is_passed_over_at_once(desk: Any, hello: Any) -> None:
    """529: to wait for it is to wait with everybody else."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=529)
        assert await desk.once(asking(server, hello, "second")) == "second: hi"
        assert models(server) == ["claude-test", "second"]
    assert "overloaded" in steps(desk)[0].facts["because"]


async def test_a_model_that_is_not_there_is_passed_over(desk: Any, hello: Any) -> None:
    """A model is retired on a day when nobody deploys."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=404)
        assert await desk.once(asking(server, hello, "second")) == "second: hi"
        assert models(server) == ["claude-test", "second"]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_wrong_request_is_wrong_everywhere(desk: Any, hello: Any, status: int) -> None:
    """It would fail at each model, and hide the reason behind the last one's."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=status)
        with pytest.raises(hf.RunError):
            await desk.once(asking(server, hello, "second", hf.Fallback("third", headers={"x-api-key": "theirs"})))
        assert models(server) == ["claude-test"]


async def test_without_money_only_another_account_is_asked(desk: Any, hello: Any) -> None:
    """The account's other models answer the same; and it is asked under its own name."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, billing=True)
        other = hf.Fallback("third", headers={"x-api-key": "theirs"})
        assert await desk.once(asking(server, hello, "second", other)) == "third: hi"
        assert models(server) == ["claude-test", "third"]
    assert steps(desk)[0].facts["next"] == "third"
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, billing=True)
        desk.path = desk.path / "again"
        desk.path.mkdir()
        with pytest.raises(hf.RunError):
            await desk.once(asking(server, hello, "second"))
        assert models(server) == ["claude-test"]


async def test_another_host_with_headers_by_function(desk: Any, hello: Any) -> None:
    """The other account's credential is made when it is used, goes there, and is written nowhere."""
    made: list[str] = []

    def headers() -> dict[str, str]:
        made.append(f"{CANARY}-{len(made)}")
        return {"x-api-key": made[-1]}

    with ModelServer(lambda request: text("first")) as first, ModelServer(lambda request: text("other")) as other:
        first.fault(on=1, times=2, status=500)
        other.fault(on=1, status=500, message=f"no access for {CANARY}-0")
        fallback = hf.Fallback("second", base_url=other.url, headers=headers)
        live, replayed = await desk.twice(asking(first, hello, fallback))
        assert live == replayed == "second: other"
        assert (first.count, other.count) == (2, 2)
        assert made == [f"{CANARY}-0", f"{CANARY}-1"], "once for each request, and not on replay"
    assert not any(CANARY.encode() in path.read_bytes() for path in desk.path.iterdir())


async def test_headers_that_cannot_be_made_are_a_failure_like_any(desk: Any, hello: Any) -> None:
    """A vault that is down must not end in a bug report about holdfast."""

    def headers() -> dict[str, str]:
        raise RuntimeError("the vault is sealed")

    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=2, status=500)
        fallbacks = (hf.Fallback("second", headers=headers), "third")
        assert await desk.once(asking(server, hello, *fallbacks)) == "third: hi"
        assert models(server) == ["claude-test", "claude-test", "third"]
    assert [event.facts["text"] for event in steps(desk)[2:4]] == ["the vault is sealed"] * 2


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
async def test_after_a_crash_the_model_that_was_under_way_is_asked_again(desk: Any, hello: Any, at: int) -> None:
    """Lost: each crash begins at the first model again, with attempts that it no longer has."""
    with ModelServer(lambda request: text("hi")) as server:
        for number in range(1, at):
            server.fault(on=number, status=500)
        server.fault(on=at, delay_s=60)
        body = asking(server, hello, "second", "third")
        app = desk.app()
        async with app:
            agent = desk.agent(body)
            desk.run_id = await app.start(agent, "input", key="k")
            await asyncio.to_thread(server.wait_for, at)
        assert (await desk.once(body)).endswith("hi")
        asked = models(server)
        order = ["claude-test", "claude-test", "second", "second", "third"]
        assert asked[:at] == order[:at]
        assert asked[at] == asked[at - 1], "the one that was under way"
        assert len(asked) == at + 1, "and it answered"


async def test_each_model_is_reserved_and_charged_at_its_own_price(desk: Any, hello: Any) -> None:
    """R26. Lost: a cheap model's price for the answer of a dear one."""
    lines = []
    for model, output in (("claude-test", 1.0), ("second", 100.0)):
        lines += [f'[prices."{model}"]', "input = 0.0", f"output = {output}"]
    (desk.path / "holdfast.toml").write_text("\n".join(lines))
    with ModelServer(lambda request: text("hi", usage={"input_tokens": 9, "output_tokens": 10})) as server:
        server.fault(on=1, status=529)
        await desk.once(asking(server, hello, "second"))
    intents = desk.model(Kind.STEP_INTENDED)
    assert [event.charge.usd_nano for event in intents] == [16 * 1_000, 16 * 100_000]
    (outcome,) = desk.model(Kind.STEP_SUCCEEDED)
    assert outcome.charge.usd_nano == 10 * 100_000
    assert desk.state.spent.usd_nano == 10 * 100_000, "a model that is overloaded did no work"


async def test_a_fallback_that_does_not_fit_the_budget_is_not_asked(desk: Any, hello: Any) -> None:
    """R24 holds for the model that is asked in the end."""
    (desk.path / "holdfast.toml").write_text(
        '[prices."claude-test"]\ninput = 0.0\noutput = 1.0\n[prices."second"]\ninput = 0.0\noutput = 100000.0'
    )
    desk.budget = hf.Budget(usd=0.5)
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=529)
        with pytest.raises(hf.errors.BudgetExceeded, match="usd"):
            await desk.once(asking(server, hello, "second"))
        assert models(server) == ["claude-test"]


async def test_a_fallback_of_unknown_price_is_not_asked_under_a_budget_in_dollars(desk: Any, hello: Any) -> None:
    """R26: an unknown price is not free, also when it comes in by the back door. It goes on once there is a price."""
    desk.price("claude-test", input=1.0, output=1.0)
    desk.budget = hf.Budget(usd=0.5)
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=529)
        body = asking(server, hello, "second")
        with pytest.raises(hf.RunError, match="price of model second is not known"):
            await desk.once(body)
        assert models(server) == ["claude-test"]
        config = desk.path / "holdfast.toml"
        config.write_text(config.read_text() + '\n[prices."second"]\ninput = 1.0\noutput = 1.0')
        assert (await desk.resumed(body)).endswith("hi")


async def test_what_a_reader_has_had_is_not_asked_for_elsewhere(desk: Any, hello: Any) -> None:
    """Half of one model's answer and half of another's is nobody's answer."""
    with ModelServer(lambda request: text("hello there")) as server:
        server.fault(on=1, cut_after=4)

        async def body(run: hf.Run) -> Any:
            http_client = hf.http_client(fallback=["second"], retry=QUICK)
            sdk = AsyncAnthropic(base_url=server.url, api_key="mine", http_client=http_client)
            with pytest.raises((anthropic.APIError, Exception)) as caught:
                async with sdk.messages.stream(**hello) as events:
                    await events.get_final_text()
            return type(caught.value).__name__

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert models(server) == ["claude-test"]


async def test_when_all_have_failed_the_caller_sees_the_last_failure(desk: Any, hello: Any) -> None:
    """R7: never silent. Each decision before it is in the record."""
    with ModelServer(lambda request: text("never")) as server:
        server.fault(on=1, times=2, status=500)
        server.fault(on=3, times=2, status=503, message="the second one is down")

        async def body(run: hf.Run) -> str:
            with pytest.raises(anthropic.InternalServerError) as caught:
                await asking(server, hello, "second")(run)
            return str(caught.value)

        live, replayed = await desk.twice(body)
        assert live == replayed and "the second one is down" in live
        assert server.count == 4
