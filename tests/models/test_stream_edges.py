"""Streams at their edges: runs that close while one is open, readers on other loops and in threads, endings that are
no clean end. Each test says what would be lost otherwise."""

from __future__ import annotations

import asyncio
import gc
import weakref
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import InternalError
from holdfast.models.sse import Splitter
from holdfast.testing.model_server import ModelServer, text

LONG = "one two three four five six seven eight nine ten"
QUICK = hf.Retry(attempts=3, wait=0)


def asking(server: Any, **options: Any) -> AsyncAnthropic:
    """The SDK's own client on ours."""
    return AsyncAnthropic(base_url=server.url, api_key="k", http_client=hf.http_client(**({"retry": QUICK} | options)))


def asking_sync(server: Any) -> Anthropic:
    """The same, sync."""
    return Anthropic(base_url=server.url, api_key="k", http_client=hf.http_client(sync=True, retry=QUICK))


async def until(is_so: Any) -> None:
    """Give the loop turns until something is so."""
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.005)


# --- runs that close while a stream is open --------------------------------------------------------------------


async def test_a_deploy_in_the_middle_of_a_stream_breaks_nothing(desk: Any, hello: Any) -> None:
    """Nothing was done about the beginning, so the next process simply asks again: an SDK has no retry for a break in
    the middle, and each SIGTERM would fail each agent that is reading."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, stall_after=4)
        seen: list[str] = []

        async def body(run: hf.Run) -> list[str]:
            seen.clear()
            async for event in await asking(server).messages.create(**hello, stream=True):
                seen.append(event.type)
            return list(seen)

        async with desk.app() as app:
            run_id = await app.start(desk.agent(body), "input", key="k")
            await until(lambda: len(seen) >= 3)
        assert (await desk.once(body))[-1] == "message_stop"
        assert run_id == desk.run_id
        assert server.count == 2
        assert desk.state.status is Status.SUCCEEDED


async def test_a_deploy_after_a_step_in_the_middle_tells_the_break(desk: Any, hello: Any) -> None:
    """Something was done about the beginning: another answer would contradict it."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, stall_after=4)
        seen: list[str] = []

        async def body(run: hf.Run) -> Any:
            seen.clear()
            try:
                async for event in await asking(server).messages.create(**hello, stream=True):
                    seen.append(event.type)
                    if len(seen) == 2:
                        await run.note("in the middle")
            except httpx2.ReadError as broken:
                return [*seen, str(broken)]
            return None

        async with desk.app() as app:
            await app.start(desk.agent(body), "input", key="k")
            await until(lambda: len(seen) >= 3)
        told = await desk.once(body)
        assert told[:2] == ["message_start", "content_block_start"]
        assert "the process ended" in told[-1]
        assert server.count == 1


@pytest.mark.parametrize("how", ["task", "foreign loop", "thread"])
async def test_a_reader_that_is_not_awaited_ends_with_its_run(desk: Any, hello: Any, how: str) -> None:
    """A reader that nobody cancels would wait for ever: a task, a thread and its stack, for each closed run."""
    ended, tasks = list[str](), list[asyncio.Task[None]]()
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, stall_after=4)
        reading: list[str] = []

        async def read() -> None:
            try:
                async for event in await asking(server).messages.create(**hello, stream=True):
                    reading.append(event.type)
            finally:
                ended.append(how)

        def read_sync() -> None:
            try:
                for event in asking_sync(server).messages.create(**hello, stream=True):
                    reading.append(event.type)
            finally:
                ended.append(how)

        async def body(run: hf.Run) -> None:
            if how == "task":
                tasks.append(asyncio.create_task(read()))
            elif how == "thread":
                tasks.append(asyncio.create_task(asyncio.to_thread(read_sync)))
            else:
                tasks.append(asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(read()))))
            await asyncio.sleep(60)

        async with desk.app() as app:
            await app.start(desk.agent(body), "input", key="k")
            await until(lambda: len(reading) >= 2)
        await until(lambda: ended)
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_budget_that_ends_the_run_lets_the_stream_end_first(desk: Any, hello: Any) -> None:
    """What is under way was paid for, and is recorded before the run stops."""
    desk.budget = hf.Budget(model_calls=1, tool_calls=10)
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, every_s=0.02)

        async def body(run: hf.Run) -> None:
            events = await asking(server).messages.create(**hello, stream=True)
            await asyncio.gather(drain(events), asking(server).messages.create(**hello))

        async def drain(events: Any) -> None:
            async for _ in events:
                pass

        with pytest.raises(hf.RunError):
            await desk.once(body)
        assert [event.kind for event in desk.model()][-1] is Kind.STEP_SUCCEEDED
        assert desk.state.status is Status.STOPPED
        assert desk.state.reserved == desk.state.reserved.minus(desk.state.reserved)


# --- steps before anything was read ----------------------------------------------------------------------------


async def test_a_step_between_the_opening_and_the_first_read_replays_in_order(desk: Any, hello: Any) -> None:
    """Many agents say "connected" before they read. Replay would wait for a silence, and tell of a drift."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, every_s=0.005)

        async def body(run: hf.Run) -> list[str]:
            events = await asking(server).messages.create(**hello, stream=True)
            await run.note("connected")
            return [event.type async for event in events]

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
        assert live == replayed
        assert not desk.state.drifts
        assert server.count == 1


async def test_two_streams_with_steps_in_between_replay_in_order(desk: Any, hello: Any) -> None:
    """Two branches that read at once, and act in the middle: each must find its own past again."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, times=2, every_s=0.004)

        async def branch(run: hf.Run, name: str) -> list[str]:
            seen: list[str] = []
            asked = hello | {"messages": [{"role": "user", "content": name}]}
            async for event in await asking(server).messages.create(**asked, stream=True):
                seen.append(event.type)
                if len(seen) in (2, 5):
                    await run.note(f"{name} {len(seen)}")
            return seen

        async def body(run: hf.Run) -> Any:
            return await asyncio.gather(branch(run, "a"), branch(run, "b"))

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
        assert live == replayed
        assert not desk.state.drifts
        assert server.count == 2


# --- ends that are no clean end --------------------------------------------------------------------------------


async def test_a_reader_that_reads_on_where_it_had_closed_can_be_resumed(desk: Any, hello: Any) -> None:
    """The record ends there. A failed end that names a step which does not exist could never be resumed."""
    patience = [3]
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, stall_after=4)

        async def body(run: hf.Run) -> list[str]:
            seen: list[str] = []
            async with asking(server).messages.stream(**hello) as stream:
                async for event in stream:
                    seen.append(event.type)
                    if len(seen) == patience[0]:
                        break
            if patience[0] == 3:
                patience[0] = 1000
                raise RuntimeError("the first life is over")
            return seen

        with pytest.raises(hf.RunError):
            await desk.once(body)
        with pytest.raises(hf.RunError, match="its reader closed it here"):
            await desk.resumed(body)
        assert desk.state.end.facts["cause"] == []
        patience[0] = 3
        with pytest.raises(hf.RunError):
            await desk.resumed(body)


START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"claude-test","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
)
STOP = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@asynccontextmanager
async def raw_server(*parts: bytes, then: bytes = b"", coding: str = "") -> AsyncIterator[Any]:
    """A provider that sends these bytes, and after them `then`, again and again, until its client goes."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        encoded = f"content-encoding: {coding}\r\n" if coding else ""
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{encoded}connection: close\r\n\r\n".encode()
        )
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            while then and not writer.is_closing():
                writer.write(then)
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    where = SimpleNamespace(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield where
        await gone.wait()
    finally:
        server.close()
        await server.wait_closed()


async def test_a_provider_that_goes_on_after_the_end_does_not_hold_the_reader(desk: Any, hello: Any) -> None:
    """A proxy that keeps its connections warm with comments would keep each answer back until its deadline."""
    async with raw_server(START, STOP, then=b": warm\n\n") as server:

        async def body(run: hf.Run) -> list[str]:
            return [event.type async for event in await asking(server, timeout=5).messages.create(**hello, stream=True)]

        live, replayed = await asyncio.wait_for(desk.twice(body), 4)
    assert live == replayed
    assert live[-1] == "message_stop"
    (outcome,) = desk.model(Kind.STEP_SUCCEEDED)
    assert outcome.charge.tokens == 8


@pytest.mark.parametrize("coding", ["gzip", "deflate", "crlf"])
async def test_a_stream_is_passed_on_whatever_its_coding(desk: Any, hello: Any, coding: str) -> None:
    """Gateways compress, and end their lines as they like; what is recorded is what the SDK reads."""
    whole = START + STOP
    if coding == "crlf":
        sent = [whole.replace(b"\n", b"\r\n")]
    else:
        packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
        sent = [packer.compress(START) + packer.flush(zlib.Z_SYNC_FLUSH), packer.compress(STOP) + packer.flush()]
    pieces = [part[at : at + 37] for part in sent for at in range(0, len(part), 37)]
    async with raw_server(*pieces, coding="" if coding == "crlf" else coding) as server:

        async def body(run: hf.Run) -> list[str]:
            return [event.type async for event in await asking(server).messages.create(**hello, stream=True)]

        live, replayed = await asyncio.wait_for(desk.twice(body), 4)
    assert live == replayed == ["message_start", "message_delta", "message_stop"]
    (outcome,) = desk.model(Kind.STEP_SUCCEEDED)
    assert outcome.charge.tokens == 8


async def test_the_response_of_a_stream_says_how_long_it_took(desk: Any, hello: Any) -> None:
    """Code that logs `response.elapsed` must not fail for a stream."""
    with ModelServer(lambda request: text(LONG)) as server:

        async def body(run: hf.Run) -> Any:
            raw = await asking(server).messages.with_raw_response.create(**hello, stream=True)
            lines = [event.type async for event in await raw.parse()]
            async with asking(server).messages.with_streaming_response.create(**hello, stream=True) as streamed:
                more = [line async for line in streamed.iter_lines()]
            return lines, more, raw.elapsed.total_seconds() >= 0, raw.http_response.status_code

        live, replayed = await desk.twice(body)
        assert live == replayed


# --- nothing is kept -------------------------------------------------------------------------------------------


async def test_a_run_that_is_over_is_not_kept_in_memory(desk: Any, hello: Any) -> None:
    """A worker that has run for a week would hold each conversation it ever had."""
    drivers: list[Any] = []
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> None:
            drivers.append(weakref.ref(run._driver))
            await asking(server).messages.create(**hello)
            async for _ in await asking(server).messages.create(**hello, stream=True):
                pass

        await desk.once(body)
    gc.collect()
    assert drivers[0]() is None


# --- what is too large, and bugs of ours -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["answer", "event", "record"])
async def test_a_stream_that_is_too_large_breaks_off_with_that_reason(
    desk: Any, hello: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The reader would wait for ever for the rest of an answer that nothing can hold, and its run with it."""
    quotes = b": " + b'"' * 700 + b"\n\n"
    async with raw_server(START, quotes, quotes, quotes, STOP) as server:
        if where == "answer":
            monkeypatch.setattr("holdfast.models.exchange.SIZE_MAX", 1_000)
        elif where == "event":
            monkeypatch.setattr("holdfast.models.exchange.Splitter", lambda: Splitter(500))
        else:
            monkeypatch.setattr("holdfast.journal.codec.SIZE_MAX", 3_000)
            monkeypatch.setattr("holdfast.models.answer.SIZE_MAX", 3_000)

        async def body(run: hf.Run) -> str:
            with pytest.raises(httpx2.DecodingError) as caught:
                async for _ in await asking(server).messages.create(**hello, stream=True):
                    pass
            return str(caught.value)

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
    assert live == replayed
    assert "cannot be recorded" in live
    intent, failed = desk.model(Kind.STEP_INTENDED, Kind.STEP_FAILED)
    assert failed.charge == intent.charge


BUGS = {
    "before the step": "holdfast.models.conversation.Conversations.messages_max",
    "in the attempt": "holdfast.models.exchange.failure_of",
    "after the outcome": "holdfast.models.wire.rebuilt",
    "at the door": "holdfast.models.door.response_of",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("where", BUGS)
async def test_a_bug_of_ours_is_told_as_one(
    desk: Any, hello: Any, monkeypatch: pytest.MonkeyPatch, where: str, stream: bool
) -> None:
    """The SDK would say "Connection error." and send it again: a bill, and nobody who looks for the bug."""

    def broken(*given: Any, **more: Any) -> Any:
        raise ZeroDivisionError("planted")

    with ModelServer(lambda request: text(LONG)) as server:
        monkeypatch.setattr(BUGS[where], broken)

        async def body(run: hf.Run) -> None:
            answer: Any = await asking(server).messages.create(**hello, stream=stream)
            if stream:
                async for _ in answer:
                    pass

        if where == "at the door" and stream:
            monkeypatch.setattr("holdfast.models.door.streaming_response", broken)
        with pytest.raises((InternalError, hf.RunError), match="planted") as caught:
            await asyncio.wait_for(desk.once(body), 10)
        assert "InternalError" in repr(caught.value)
        assert server.count <= 1
