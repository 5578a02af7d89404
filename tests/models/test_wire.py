"""A model call inside a run is a step of it: each test says what an agent or its owner would lose otherwise."""

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from anthropic import AnthropicError

import holdfast as hf
from holdfast.core.events import Charge, Kind
from holdfast.core.heads import Status
from holdfast.testing.model_server import ModelServer, script, text, tool_use


async def test_a_recorded_call_is_answered_without_a_request(desk: Any, client: Any, hello: Any) -> None:
    """Without this, each crash pays for every model call again, and gets other answers."""
    with ModelServer(script([text("one"), text("two")])) as server:

        async def body(run: hf.Run) -> Any:
            first = await client(server).messages.create(**hello)
            hello_again = hello | {"messages": [*hello["messages"], {"role": "assistant", "content": first.content}]}
            second = await client(server).messages.create(**hello_again)
            return first.model_dump(), second.model_dump()

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert [message["content"][0]["text"] for message in live] == ["one", "two"]
        assert server.count == 2


async def test_the_caller_gets_what_the_record_says_also_the_first_time(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any
) -> None:
    """Else an agent could read a header that replay does not have."""
    server = await canned(http(200, {"content": []}, request_id="r\xe9q", x_secret="s", set_cookie="a=b"))

    async def body(run: hf.Run) -> Any:
        raw = (await client(server).messages.with_raw_response.create(**hello)).http_response
        return raw.status_code, dict(raw.headers), raw.content, str(raw.request.url), raw.elapsed

    live, replayed = await desk.twice(body)
    assert live == replayed
    status, headers, content, url, _ = live
    assert (status, content, url) == (200, b'{"content": []}', f"{server.url}/v1/messages")
    assert headers == {"content-type": "application/json", "content-length": "15", "request-id": "r?q"}


async def test_the_order_of_keys_is_no_difference(desk: Any, hello: Any) -> None:
    """Else a dict that a framework builds in another order would be a new call, and paid for again."""
    with ModelServer(lambda request: text("yes")) as server:
        orders = iter([hello, dict(reversed(hello.items()))])

        async def body(run: hf.Run) -> Any:
            headers = {"anthropic-version": "2023-06-01", "x-api-key": "k"}
            return (await hf.http_client().post(f"{server.url}/v1/messages", json=next(orders), headers=headers)).json()

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert server.count == 1


async def test_text_that_no_journal_can_hold_is_recorded_all_the_same(desk: Any, client: Any, hello: Any) -> None:
    """A NUL in a tool's output must not end an agent."""
    hello["messages"][0]["content"] = "a\x00b"
    with ModelServer(lambda request: text("c\x00d")) as server:
        live, replayed = await desk.twice(
            lambda run: client(server).messages.create(**hello),
        )
        assert live == replayed
        assert live.content[0].text == "c\x00d"
        assert server.count == 1


async def test_what_is_no_model_call_passes_untouched(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any
) -> None:
    """Counting tokens, listing models and other people's requests are nobody's steps."""
    server = await canned(http(200, {"input_tokens": 3, "data": []}))

    async def body(run: hf.Run) -> None:
        sdk = client(server)
        await sdk.messages.count_tokens(model="m", messages=hello["messages"])
        await sdk.models.list()
        async with hf.http_client() as plain:
            await plain.post(f"{server.url}/v1/messages", json=hello)  # without anthropic-version
            await plain.get(f"{server.url}/v1/messages", headers={"anthropic-version": "x"})
            await plain.post(f"{server.url}/v1/messages", content=b"[", headers={"anthropic-version": "x"})
            async with plain.stream("GET", server.url) as streamed:
                assert await streamed.aread()

    await desk.once(body)
    assert server.count == 6
    assert desk.model() == []


async def test_outside_every_run_it_is_an_ordinary_client(client: Any, hello: Any) -> None:
    """The same code has to work in a script, and with the SDK's own retries."""
    with ModelServer(script([text("hi")])) as server:
        server.fault(on=1, status=500, headers={"retry-after-ms": "1"})
        message = await client(server).messages.create(**hello)
        assert message.content[0].text == "hi"
        assert [request.retry_count for request in server.requests] == [0, 1]


async def test_a_lost_run_is_said_and_nothing_is_sent(desk: Any, client: Any, hello: Any) -> None:
    """Else a framework's thread would call the model without record, budget or trace."""
    with ModelServer(script([text("detached")])) as server:

        def lost() -> Any:
            return asyncio.run(client(server).messages.create(**hello))

        async def body(run: hf.Run) -> str:
            loop = asyncio.get_running_loop()
            with pytest.raises(hf.errors.RunContextLost, match=r"run\.carry") as caught:
                await loop.run_in_executor(None, lost)
            assert isinstance(caught.value, AnthropicError)  # which is why the SDK did not wrap and repeat it
            assert server.count == 0

            def on_purpose() -> Any:
                with hf.detached():
                    return lost()

            return (await loop.run_in_executor(None, on_purpose)).content[0].text

        assert await desk.once(body) == "detached"
        assert desk.model() == []


async def test_a_carried_call_in_another_threads_loop_is_a_step(desk: Any, client: Any, hello: Any) -> None:
    """`asyncio.to_thread(asyncio.run, …)` is how many frameworks bridge; its calls belong to the run, on its loop."""
    with ModelServer(script([text("far")])) as server:
        server.fault(on=1, status=500)

        def far() -> Any:
            return asyncio.run(client(server).messages.create(**hello))

        live, replayed = await desk.twice(lambda run: asyncio.to_thread(far))
        assert live == replayed
        assert server.count == 2
        assert [event.kind for event in desk.model()] == [
            Kind.STEP_INTENDED,
            Kind.ATTEMPT_FAILED,
            Kind.STEP_INTENDED,
            Kind.STEP_SUCCEEDED,
        ]
        assert desk.clock.drawn_in == {threading.get_ident()}


async def test_detached_inside_a_run_records_nothing(desk: Any, client: Any, hello: Any) -> None:
    """`hf.detached()` is the way out that the error names; it must be one."""
    with ModelServer(script([text("hi")])) as server:

        async def body(run: hf.Run) -> None:
            with hf.detached():
                await client(server).messages.create(**hello)

        await desk.once(body)
        assert desk.model() == []


async def test_inside_a_tool_the_call_belongs_to_its_attempt(desk: Any, client: Any, hello: Any) -> None:
    """A step within a step would be asked for on a replay that never runs the tool's body. More in `test_inner`."""
    with ModelServer(script([text("hi")])) as server:

        @hf.tool(effect="read")
        async def think() -> str:
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        async def body(run: hf.Run) -> str:
            return await think()

        assert await desk.twice(body) == ("hi", "hi")
        assert all("@" in event.address.scope for event in desk.model())
        assert server.count == 1


async def test_no_secret_reaches_the_store(desk: Any, client: Any, hello: Any, canary: str) -> None:
    """A journal is copied, shown and backed up; an API key in it is everywhere."""
    with ModelServer(script([text("hi")])) as server:
        server.fault(on=1, status=401)
        server.fault(on=2, drop=True)

        async def body(run: hf.Run) -> None:
            for n in range(2):
                await run.note(f"call {n}")
                with suppress(AnthropicError):
                    await client(server, default_headers={"authorization": f"Bearer {canary}"}).messages.create(**hello)

        await desk.once(body)
        assert server.count == 3
    files = [path.read_bytes() for path in desk.path.iterdir()]
    assert any(b"Hello" in content for content in files)
    assert not any(canary.encode() in content for content in files)


async def test_parallel_calls_keep_their_own_answers(desk: Any, client: Any, hello: Any) -> None:
    """On replay, equal and different calls of parallel branches must not swap their answers."""
    with ModelServer(lambda request: text(f"{request.messages[0]['content']} {request.n}")) as server:

        async def one(about: str) -> str:
            asked = hello | {"messages": [{"role": "user", "content": about}]}
            return (await client(server).messages.create(**asked)).content[0].text  # type: ignore[no-any-return]

        async def body(run: hf.Run) -> list[str]:
            return await asyncio.gather(*(one(about) for about in ("a", "b", "same", "same", "c")))

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert len(set(live)) == 5
        assert server.count == 5


async def test_a_resumed_transcript_is_valid(desk: Any, client: Any, hello: Any) -> None:
    """R11: the provider refuses a tool_use without its result; a resume must not drop or double a turn."""
    steps = [tool_use("look", {"at": "x"}), text("done")]
    lives = [0]
    with ModelServer(script(steps)) as server:

        @hf.tool(effect="read")
        async def look(at: str) -> str:
            lives[0] += 1
            if lives[0] == 1:
                raise Died
            return f"seen {at}"

        async def body(run: hf.Run) -> str:
            messages = list(hello["messages"])
            while True:
                answer = await client(server).messages.create(**hello | {"messages": messages})
                used = [block for block in answer.content if block.type == "tool_use"]
                if not used:
                    return answer.content[0].text  # type: ignore[no-any-return]
                results = [
                    {"type": "tool_result", "tool_use_id": call.id, "content": await look(**call.input)}
                    for call in used
                ]
                messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]

        class Died(ValueError):
            """Ends the first life in the middle of the tool."""

        with pytest.raises(hf.RunError, match="Died"):
            await desk.once(body)
        assert await desk.resumed(body) == "done"
        assert (server.count, server.repeated(), lives[0]) == (2, 0, 2)


# --- cancelled -------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_that_call_again(desk: Any, client: Any, hello: Any, canned: Any, http: Any) -> None:
    """Its first request may have been billed: the reservation stays charged, and the record says which step it was."""
    used = {"input_tokens": 5, "output_tokens": 2}
    server = await canned(None, http(200, {"type": "message", "content": [], "usage": used}))

    async def body(run: hf.Run) -> None:
        asking = asyncio.create_task(client(server).messages.create(**hello))
        async with asyncio.timeout(10):
            await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(10):
            await server.hung_up.wait()  # no connection is left behind
        await client(server).messages.create(**hello)

    await desk.once(body)
    first, abandoned, again, outcome = desk.model(Kind.STEP_INTENDED, Kind.STEP_ABANDONED, Kind.STEP_SUCCEEDED)
    assert (abandoned.kind, outcome.kind) == (Kind.STEP_ABANDONED, Kind.STEP_SUCCEEDED)
    assert first.address == again.address == outcome.address
    assert (first.attempt, again.attempt) == (1, 2)
    assert desk.state.spent == first.charge.plus(Charge(model_calls=1, tokens=7))
    assert desk.state.reserved == Charge()


# --- budgets ---------------------------------------------------------------------------------------------------


async def test_a_model_without_a_price_is_refused_before_the_run_starts(desk: Any) -> None:
    """R26: an agent that does half its work and then finds that nobody knows the price has spent for nothing."""

    @hf.agent(budget=hf.Budget(usd=1.0), models=["claude-sonnet-4-5", "of-the-house"])
    async def agent(run: hf.Run, given: str) -> str:
        raise AssertionError("it must not begin")

    async with desk.app() as app:
        with pytest.raises(
            hf.UsageError, match=r'of-the-house is not known. Nothing was started.*prices."of-the-house"'
        ):
            await app.start(agent, "x", key="k")
        assert app.journal.heads() == []
    desk.price("of-the-house", input=1.0, output=2.0)
    async with desk.app() as app:
        assert await app.start(agent, "x", key="k")


async def test_usage_is_charged_to_the_token_and_to_the_nanodollar(desk: Any, client: Any, hello: Any) -> None:
    """R26: counting input and output alone is wrong by a factor of up to 183, where caches are used."""
    used = {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read_input_tokens": 1000,
        "cache_creation_input_tokens": 200,
    }
    desk.price("claude-test", input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
    with ModelServer(script([text("hi", usage=used)])) as server:
        await desk.twice(lambda run: client(server).messages.create(**hello))
        intent, outcome = desk.model()
        size = len(hello_bytes(hello))
        assert intent.charge == Charge(0, 1, size + 16, int(size * 3750 + 16 * 15_000))
        assert outcome.charge == Charge(0, 1, 1350, 100 * 3000 + 50 * 15_000 + 1000 * 300 + 200 * 3750)
        assert (desk.state.spent, desk.state.reserved) == (outcome.charge, Charge())
        facts = outcome.facts
        assert facts["usage"] == {
            "input": 100,
            "output": 50,
            "cache_read": 1000,
            "cache_write": 200,
        }
        assert facts["price"]["source"] == "holdfast.toml"
        prices = {"input": "3.0", "output": "15.0", "cache_read": "0.3", "cache_write": "3.75"}
        assert facts["price"]["rates"] == prices
        assert (facts["model"], facts["served"], facts["stop_reason"]) == ("claude-test", "claude-test", "end_turn")
        assert facts["request_id"] == "req_000000000000000000000001"


def hello_bytes(hello: Any) -> bytes:
    """The request as the SDK sends it."""
    return json.dumps(hello, separators=(",", ":")).encode()


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": -1, "output_tokens": 2}, {"input_tokens": 1}])
async def test_an_answer_without_a_sound_usage_costs_its_reservation(
    desk: Any, client: Any, hello: Any, canned: Any, http: Any, usage: Any
) -> None:
    """P7: a gateway that leaves the usage out must not make calls free."""
    server = await canned(http(200, {"type": "message", "content": [], "usage": usage}))
    await desk.once(lambda run: client(server).messages.create(**hello))
    intent, outcome = desk.model()
    assert outcome.kind is Kind.STEP_SUCCEEDED
    assert outcome.charge == intent.charge
    assert outcome.charge.tokens > 16


async def test_a_call_that_does_not_fit_its_tokens_is_never_sent(desk: Any, client: Any, hello: Any) -> None:
    """R24: a cap that is looked at after the call is no cap."""
    desk.budget = hf.Budget(tokens=300)
    with ModelServer(lambda request: text("hi", usage={"input_tokens": 100, "output_tokens": 16})) as server:

        async def body(run: hf.Run) -> None:
            for _ in range(4):
                await client(server).messages.create(**hello)

        with pytest.raises(
            hf.errors.BudgetExceeded, match=r"the most that this call of a model can use. Nothing was sent.*tokens=\+"
        ):
            await desk.once(body)
        assert server.count == 2  # 116, 232, and 232 + the worst case of a third is more than 300
        assert desk.state.spent.tokens == 232
        assert desk.state.reserved == Charge()


async def test_a_call_that_does_not_fit_its_dollars_is_never_sent(desk: Any, client: Any, hello: Any) -> None:
    """R24: with a cap of 1 USD and a worst case of 0.30 USD, the fourth call is never sent."""
    desk.budget = hf.Budget(usd=1.0)
    desk.price("claude-test", input=0.0, output=18_750.0)  # 16 tokens at 0.30 USD
    with ModelServer(lambda request: text("hi", usage={"input_tokens": 9, "output_tokens": 16})) as server:

        async def body(run: hf.Run) -> None:
            for _ in range(4):
                await client(server).messages.create(**hello)

        with pytest.raises(hf.errors.BudgetExceeded, match="usd"):
            await desk.once(body)
        assert server.count == 3
        assert desk.state.spent.usd_nano == 900_000_000


async def test_a_dollar_budget_without_a_price_stops_the_run_until_there_is_one(
    desk: Any, client: Any, hello: Any
) -> None:
    """R26: an unknown model must not be free."""
    desk.budget = hf.Budget(usd=1.0)
    with ModelServer(script([text("hi")])) as server:

        async def body(run: hf.Run) -> str:
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        with pytest.raises(
            hf.RunError, match=r'price of model claude-test is not known.*Add \[prices\."claude-test"\]'
        ):
            await desk.once(body)
        assert (server.count, desk.model(), desk.state.status) == (0, [], Status.STOPPED)
        desk.price("claude-test", input=1.0, output=2.0)
        assert await desk.resumed(body) == "hi"


async def test_replay_never_prices_again(desk: Any, client: Any, hello: Any) -> None:
    """A price that changed between two lives of a run must not change what was spent."""
    desk.price("claude-test", input=1.0, output=2.0)
    with ModelServer(script([text("hi")])) as server:

        async def body(run: hf.Run) -> None:
            await client(server).messages.create(**hello)
            desk.price("claude-test", input=100.0, output=200.0)

        await desk.twice(body)
        assert desk.state.spent == desk.model(Kind.STEP_SUCCEEDED)[0].charge
        assert desk.state.spent.usd_nano < 1_000_000
