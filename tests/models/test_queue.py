"""The queue of model calls, with real runs: how many are on the wire at once, and that nothing is stuck in it."""

import asyncio
import threading
from typing import Any

import anthropic
import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.testing.model_server import ModelServer, Request, text


class Busy:
    """A policy that counts how many requests are with it at once, and answers when it is let."""

    def __init__(self, *, waits_for: int = 0) -> None:
        self.at_once = self.most = 0
        self.lock = threading.Condition()
        self.waits_for = waits_for
        """Answers nothing before so many are here at once; 0: at once."""
        self.is_open = threading.Event()

    def __call__(self, request: Request) -> Any:
        """See `Policy`."""
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.most >= self.waits_for, timeout=20)
        with self.lock:
            self.at_once -= 1
        return text("hi", usage={"input_tokens": 1, "output_tokens": 1})


def settings(**more: Any) -> hf.Settings:
    """Quick, but for what a test says."""
    return hf.Settings(quiet_s=0.02, park_s=0.05, poll_s=0.02, **more)


async def test_many_runs_are_not_many_calls_at_once(desk: Any, client: Any, hello: Any, canned: Any, http: Any) -> None:
    """Else a restart of a service is a denial of service of its provider's, and is answered with 1,000 times 429."""
    at_once = most = 0
    answer = http(200, {"type": "message", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal at_once, most
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
        at_once += 1
        most = max(most, at_once)
        for _ in range(20):
            await asyncio.sleep(0)
        at_once -= 1
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2_000)
    hello_to = anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", api_key="k", http_client=hf.http_client()
    )

    async def body(run: hf.Run) -> str:
        return str((await hello_to.messages.create(**hello)).type)

    agent = desk.agent(body)
    async with server, hf.App("memory:", settings=settings(model_calls_max=7)) as app:
        said = await asyncio.gather(*(app.run(agent, "input", key=str(number)) for number in range(200)))
    assert said == ["message"] * 200
    assert most == 7


async def test_all_slots_are_used(desk: Any, client: Any, hello: Any) -> None:
    """A limit of 5 that lets one through at a time would be five times as slow."""
    busy = Busy(waits_for=5)
    with ModelServer(busy) as server:

        async def body(run: hf.Run) -> None:
            asked = [hello | {"messages": [{"role": "user", "content": str(number)}]} for number in range(11)]
            await asyncio.gather(*(client(server).messages.create(**each) for each in asked))

        async with hf.App("memory:", settings=settings(model_calls_max=5)) as app:
            await app.run(desk.agent(body), "input", key="k")
        assert (busy.most, server.count) == (5, 11)


async def test_a_run_that_is_stopped_by_its_budget_leaves_the_queue(desk: Any, client: Any, hello: Any) -> None:
    """Its calls that do not fit must not sit on the slots that its other calls wait for: it would never end."""
    desk.budget = hf.Budget(model_calls=2)
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> None:
            asked = [hello | {"messages": [{"role": "user", "content": str(number)}]} for number in range(9)]
            await asyncio.gather(*(client(server).messages.create(**each) for each in asked))

        agent = desk.agent(body)
        async with hf.App("memory:", settings=settings(model_calls_max=1)) as app:
            async with asyncio.timeout(10):
                with pytest.raises(hf.errors.BudgetExceeded, match="model_calls"):
                    await app.run(agent, "input", key="k")
            assert app.journal.head(await app.start(agent, "input", key="k")).status is Status.STOPPED
        assert server.count == 2


async def test_a_run_that_may_not_go_on_holds_up_no_other(desk: Any, client: Any, hello: Any) -> None:
    """A run that waits for its own slow call before it stops must not wait on a slot of the app's."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, stall_after=1)
        asked = [hello | {"messages": [{"role": "user", "content": str(number)}]} for number in range(3)]

        async def greedy(run: hf.Run) -> None:
            first = asyncio.create_task(client(server).messages.create(**asked[0]))
            await asyncio.to_thread(server.wait_for, 1)
            await asyncio.gather(first, *(client(server).messages.create(**each) for each in asked[1:]))

        async def modest(run: hf.Run) -> str:
            return str((await client(server).messages.create(**hello)).content[0].text)

        one = hf.agent(budget=hf.Budget(model_calls=1))(_of(greedy, "greedy"))
        other = hf.agent(budget=hf.Budget(model_calls=9))(_of(modest, "modest"))
        async with hf.App("memory:", settings=settings(model_calls_max=2, close_s=0.2)) as app:
            await app.start(one, "input", key="one")
            stopped = asyncio.create_task(app.run(one, "input", key="one"))
            await asyncio.to_thread(server.wait_for, 1)
            for _ in range(200):
                await asyncio.sleep(0)
            async with asyncio.timeout(10):
                assert await app.run(other, "input", key="other") == "hi"
            stopped.cancel()


def _of(body: Any, name: str) -> Any:
    async def agent(run: hf.Run, input: str) -> Any:
        return await body(run)

    agent.__name__ = agent.__qualname__ = name
    return agent


@pytest.mark.parametrize("effect", ["read", "once"])
async def test_a_run_that_closes_in_the_queue_closes(desk: Any, hello: Any, effect: Any) -> None:
    """A shutdown that waits for its turn behind 1,000 calls is no shutdown; and nothing was begun, so none is lost."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, stall_after=0)

        async def body(run: hf.Run) -> None:
            sdk = anthropic.AsyncAnthropic(
                base_url=server.url, api_key="k", http_client=hf.http_client(effect=effect, retry=hf.Retry(attempts=1))
            )
            asked = [hello | {"messages": [{"role": "user", "content": str(number)}]} for number in range(4)]
            await asyncio.gather(*(sdk.messages.create(**each) for each in asked))

        agent = desk.agent(body)
        url = f"sqlite:///{desk.path}/x.db"
        async with asyncio.timeout(15):
            async with hf.App(url, settings=settings(model_calls_max=1, drain_s=0.2, close_s=0.2)) as app:
                run_id = await app.start(agent, "input", key="k")
                going = asyncio.create_task(app.run(agent, "input", key="k"))
                await asyncio.to_thread(server.wait_for, 1)
                for _ in range(100):
                    await asyncio.sleep(0)
            going.cancel()
        async with hf.App(url, settings=settings()) as app:
            intents = [e for e in app.journal.events(run_id) if e.kind is Kind.STEP_INTENDED]
        assert (len(intents), server.count) == (1, 1)


async def test_what_one_run_is_told_holds_another(desk: Any, client: Any, hello: Any) -> None:
    """A 429 of one run is the limit of all: the other waits before its first request, and sends no second 429."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=429, headers={"retry-after-ms": "500"})
        clocks: list[float] = []

        async def first(run: hf.Run) -> None:
            with pytest.raises(anthropic.RateLimitError):
                await client(server, retry=hf.Retry(attempts=1)).messages.create(**hello)

        async def second(run: hf.Run) -> None:
            clocks.append(asyncio.get_running_loop().time())
            await client(server).messages.create(**hello)
            clocks.append(asyncio.get_running_loop().time())

        async with desk.app() as app:
            await app.run(hf.agent(_of(first, "first")), "input", key="1")
            await app.run(hf.agent(_of(second, "second")), "input", key="2")
        began, ended = clocks
        assert ended - began >= 0.1 and server.count == 2
