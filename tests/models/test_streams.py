"""A stream is passed on while it comes in, and is a step all the same: each test says what would be lost otherwise."""

import asyncio
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

import holdfast as hf
from holdfast.core.events import Charge, Kind
from holdfast.core.heads import Status
from holdfast.testing.model_server import ModelServer, script, text, tool_use

LONG = "one two three four five six seven eight nine ten"


def asking(server: Any, **options: Any) -> AsyncAnthropic:
    """The SDK's own client on ours."""
    quick = {"retry": hf.Retry(attempts=3, wait=0)}
    return AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client(**(quick | options)))


async def events_of(client: AsyncAnthropic, hello: Any) -> list[str]:
    """What a reader of the raw events sees."""
    return [event.type async for event in await client.messages.create(**hello, stream=True)]


@pytest.fixture
def raw() -> dict[str, str]:
    """Headers of a request by hand."""
    return {"anthropic-version": "2023-06-01", "x-api-key": "k"}


# --- live, and again -------------------------------------------------------------------------------------------


async def test_a_recorded_stream_is_read_again_as_the_same_events(desk: Any, hello: Any) -> None:
    """Without this, a streaming agent pays for each call again after a crash, and gets other answers."""
    with ModelServer(script([tool_use("find", {"order": "K-1"}, text=LONG)])) as server:

        async def body(run: hf.Run) -> Any:
            async with asking(server).messages.stream(**hello) as stream:
                seen = [event.model_dump() async for event in stream]
                return seen, (await stream.get_final_message()).model_dump()

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert live[0][-1]["type"] == "message_stop"
        assert server.count == 1


@pytest.mark.parametrize("shape", ["chat", "responses"])
async def test_openai_streams_too(desk: Any, shape: str) -> None:
    """Both of its APIs: one ends with `[DONE]`, the other with an event."""
    with ModelServer(script([text(LONG)])) as server:

        async def body(run: hf.Run) -> Any:
            client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", http_client=hf.http_client())
            if shape == "chat":
                said: list[Any] = [{"role": "user", "content": "Hello"}]
                usage: Any = {"include_usage": True}
                chunks = await client.chat.completions.create(
                    model="gpt-4o", messages=said, stream=True, stream_options=usage
                )
                return [chunk.model_dump() async for chunk in chunks]
            events = await client.responses.create(model="gpt-4o", input="Hello", stream=True)
            return [event.model_dump() async for event in events]

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert server.count == 1
        (outcome,) = desk.model(Kind.STEP_SUCCEEDED)
        assert outcome.facts["usage"]["output"] == outcome.charge.tokens - outcome.facts["usage"]["input"] > 0


async def test_it_is_passed_on_as_it_comes_and_its_end_after_the_commit(desk: Any, hello: Any) -> None:
    """A reader who waits for the end has no stream; one who gets it early acts on what a crash takes back."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, stall_after=4)

        async def body(run: hf.Run) -> list[str]:
            seen = []
            async for event in await asking(server, timeout=30).messages.create(**hello, stream=True):
                seen.append(event.type)
                if len(seen) == 3:
                    break  # the server sends nothing more: what is here came while the answer was under way
            return seen

        assert (await desk.once(body))[0] == "message_start"

    order = []
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, every_s=0.02)

        async def told(run: hf.Run) -> None:
            async for event in await asking(server).messages.create(**hello, stream=True):
                is_recorded = any(e.kind is Kind.STEP_SUCCEEDED for e in journal().events(run.id))
                order.append((event.type, is_recorded))

        async with desk.app() as app:
            journal = lambda: app.journal  # noqa: E731
            await app.run(desk.agent(told), "input", key="other")
    assert ("message_stop", True) in order
    assert ("message_start", False) in order
    assert not [kind for kind, is_recorded in order if is_recorded and kind != "message_stop"]


async def test_an_empty_gap_between_bytes_is_no_end(desk: Any, hello: Any) -> None:
    """Bytes arrive as the network likes: an event may come in many parts."""
    with ModelServer(script([text("ü" * 50)])) as server:
        server.fault(on=1, every_s=0.01)

        async def body(run: hf.Run) -> str:
            async with asking(server).messages.stream(**hello) as stream:
                return await stream.get_final_text()

        assert await desk.twice(body) == ("ü" * 50, "ü" * 50)


# --- what breaks -----------------------------------------------------------------------------------------------


async def test_a_stream_that_fails_before_its_first_event_is_tried_again(desk: Any, hello: Any) -> None:
    """Nobody has had anything yet, so the policy holds as for any call."""
    with ModelServer(script([text("hi")])) as server:
        server.fault(on=1, status=529)
        server.fault(on=2, drop=True)
        live, replayed = await desk.twice(lambda run: events_of(asking(server), hello))
        assert live == replayed
        assert server.count == 3
        assert [event.kind for event in desk.first_log if event.step is not None].count(Kind.ATTEMPT_FAILED) == 2


async def test_an_error_as_the_first_event_is_tried_again(desk: Any, hello: Any) -> None:
    """`overloaded_error` inside a 200 is as common as a 529, and as transient."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, error_after=0)
        live, replayed = await desk.twice(lambda run: events_of(asking(server), hello))
        assert live == replayed
        assert live[-1] == "message_stop"
        assert server.count == 2


async def test_a_break_in_the_middle_is_the_readers_and_its_spend_is_counted(desk: Any, hello: Any) -> None:
    """Half an answer cannot be taken back: trying again by ourselves would give the reader two beginnings."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, cut_after=4)

        async def body(run: hf.Run) -> Any:
            seen: list[str] = []
            with pytest.raises(httpx2.RemoteProtocolError) as caught:
                async for event in await asking(server).messages.create(**hello, stream=True):
                    seen.append(event.type)
            return seen, str(caught.value)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert live[0][:2] == ["message_start", "content_block_start"] and len(live[0]) >= 3
        assert server.count == 1
        intent, failed = desk.model(Kind.STEP_INTENDED, Kind.STEP_FAILED)
        assert failed.charge == intent.charge  # what an aborted stream cost is not known
        assert failed.facts["is_told"]


async def test_the_next_equal_call_is_the_next_attempt_and_attempts_are_bounded(desk: Any, hello: Any) -> None:
    """R5: a framework that tries again after a break must not multiply our attempts by its own."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, times=3, cut_after=4)

        async def body(run: hf.Run) -> int:
            broken = 0
            for _ in range(6):
                try:
                    await events_of(asking(server), hello)
                except httpx2.RemoteProtocolError:
                    broken += 1
            return broken

        assert await desk.twice(body) == (6, 6)
        assert server.count == 3
        assert [event.attempt for event in desk.model(Kind.STEP_INTENDED)] == [1, 2, 3]


async def test_an_error_event_in_the_middle_is_the_providers_own_error(desk: Any, hello: Any) -> None:
    """The reader sees the provider's word, live and on replay, and what came before it was paid for."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, error_after=4)

        async def body(run: hf.Run) -> Any:
            seen: list[str] = []
            with pytest.raises(anthropic.APIStatusError) as caught:
                async for event in await asking(server).messages.create(**hello, stream=True):
                    seen.append(event.type)
            return seen, str(caught.value)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert "overloaded" in live[1]
        assert server.count == 1
        intent, failed = desk.model(Kind.STEP_INTENDED, Kind.STEP_FAILED)
        assert failed.charge == intent.charge


@pytest.mark.parametrize("fault", [{"stall_after": 3}, {"every_s": 0.2}], ids=["half open", "drip"])
async def test_a_deadline_ends_a_stream_that_never_ends(desk: Any, hello: Any, fault: Any) -> None:
    """R27: a socket that stays open, or gives a byte now and then, defeats every read timeout."""
    with ModelServer(script([text(" ".join([LONG] * 20))])) as server:
        server.fault(on=1, **fault)

        async def body(run: hf.Run) -> str:
            with pytest.raises(httpx2.ReadTimeout) as caught:
                await events_of(asking(server, timeout="300ms"), hello)
            return str(caught.value)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert "0.3 s" in live
        assert server.count == 1


async def test_a_deadline_ends_an_answer_that_never_begins(desk: Any, hello: Any) -> None:
    """The same without a stream: each attempt is bounded, and so are the attempts."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, times=3, stall_after=1)

        async def body(run: hf.Run) -> None:
            with pytest.raises(anthropic.APITimeoutError):
                await asking(server, timeout="200ms").messages.create(**hello)

        await desk.twice(body)
        assert server.count == 3


# --- readers that go away --------------------------------------------------------------------------------------


async def test_a_stream_closed_by_its_reader_is_an_outcome(desk: Any, hello: Any) -> None:
    """An agent that has read enough must not find another answer after a crash, nor pay for the rest."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, stall_after=4)

        async def body(run: hf.Run) -> list[str]:
            seen: list[str] = []
            async with asking(server).messages.stream(**hello) as stream:
                async for event in stream:
                    seen.append(event.type)
                    if len(seen) == 3:
                        break
            await run.note("enough")
            return seen

        live, replayed = await desk.twice(body)
        assert live == replayed
        (received,) = server.requests
        assert received.hung_up
        intent, outcome = desk.model(Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED)
        assert outcome.facts["closed"] == "closed"
        assert outcome.charge == intent.charge


async def test_cancelling_the_reader_closes_the_providers_connection(desk: Any, hello: Any) -> None:
    """Else a timed-out agent goes on paying for an answer that nobody reads."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, stall_after=4)

        async def body(run: hf.Run) -> list[str]:
            seen: list[str] = []
            try:
                async with asyncio.timeout(0.3):
                    async for event in await asking(server).messages.create(**hello, stream=True):
                        seen.append(event.type)
            except TimeoutError:
                seen.append("too late")
            return seen

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert live[-1] == "too late" and len(live) > 2
        (received,) = server.requests
        assert received.hung_up
        (outcome,) = desk.model(Kind.STEP_SUCCEEDED)
        assert outcome.facts["closed"] == "cancelled"


async def test_a_stream_that_is_thrown_away_does_not_stay_open(desk: Any, hello: Any) -> None:
    """A reader that is only forgotten must not keep its connection, its step and its run for ever."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, stall_after=4)

        async def body(run: hf.Run) -> str:
            async def forget() -> None:
                stream = await asking(server).messages.create(**hello, stream=True)
                assert stream is not None

            await forget()
            await run.note("on we go")
            return "done"

        assert await desk.once(body) == "done"
        assert desk.state.status is Status.SUCCEEDED


async def test_a_caller_that_is_cancelled_before_the_first_event_gave_up(desk: Any, hello: Any) -> None:
    """Rule 6: the next equal call is that step again, and not another one."""
    desk.park_s = 5.0  # longer than the caller's own timer
    with ModelServer(script([text("late")])) as server:
        server.fault(on=1, delay_s=30)

        async def body(run: hf.Run) -> list[str]:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await events_of(asking(server), hello)
            return await events_of(asking(server), hello)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert live[-1] == "message_stop"
        assert {event.address.n for event in desk.model()} == {0}


# --- steps in the middle of a stream ---------------------------------------------------------------------------


async def test_what_is_recorded_in_the_middle_comes_after_what_was_read(desk: Any, hello: Any) -> None:
    """A tool that is called while the model still talks follows from what it has said so far."""
    with ModelServer(script([text(LONG)])) as server:
        server.fault(on=1, every_s=0.005)

        async def body(run: hf.Run) -> Any:
            seen: list[str] = []
            async for event in await asking(server).messages.create(**hello, stream=True):
                seen.append(event.type)
                if len(seen) == 3:
                    await run.note("in the middle")
            return seen

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
        assert live == replayed
        kinds = [event.kind for event in desk.first_log]
        streamed, noted, succeeded = (
            kinds.index(kind) for kind in (Kind.STEP_STREAMED, Kind.NOTE_WRITTEN, Kind.STEP_SUCCEEDED)
        )
        assert streamed < noted < succeeded
        assert not desk.state.drifts
        part = desk.first_log[streamed].body
        assert b"message_start" in part and b"message_stop" not in part
        assert server.count == 1


async def test_whole_reads_to_the_end_and_may_try_again(desk: Any, hello: Any) -> None:
    """For those who want an answer more than its beginning."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, cut_after=4)
        live, replayed = await desk.twice(lambda run: events_of(asking(server, stream="whole"), hello))
        assert live == replayed
        assert live[-1] == "message_stop"
        assert server.count == 2


async def test_an_html_page_where_a_stream_was_asked_for_is_a_failure(desk: Any, hello: Any) -> None:
    """A proxy's login page is no empty answer."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, html=True)

        async def body(run: hf.Run) -> str:
            with pytest.raises(anthropic.APIError) as caught:
                await events_of(asking(server), hello)
            return str(caught.value.__cause__)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert "is the base URL right" in live
        assert server.count == 1


async def test_a_stream_without_usage_is_charged_its_reservation(desk: Any) -> None:
    """P7: OpenAI tells the usage of a stream only when asked to; that makes it no free one."""
    with ModelServer(script([text("hi")])) as server:

        async def body(run: hf.Run) -> None:
            client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", http_client=hf.http_client())
            said: list[Any] = [{"role": "user", "content": "Hello"}]
            async for _ in await client.chat.completions.create(
                model="gpt-4o", messages=said, stream=True, max_tokens=50
            ):
                pass

        await desk.once(body)
        intent, outcome = desk.model(Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED)
        assert outcome.charge == intent.charge != Charge()


async def test_openai_sees_its_own_error_class(desk: Any) -> None:
    """An agent catches what its SDK documents, whoever tries again."""
    with ModelServer(script([])) as server:
        server.fault(on=1, times=3, status=500)

        async def body(run: hf.Run) -> str:
            http = hf.http_client(retry=hf.Retry(attempts=3, wait=0))
            client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", http_client=http)
            with pytest.raises(openai.InternalServerError) as caught:
                await client.responses.create(model="gpt-4o", input="Hello", stream=True)
            return str(caught.value)

        live, replayed = await desk.twice(body)
        assert live == replayed
        assert server.count == 3
