"""Every client of both packages, made by us or by anybody: seen where it must be, left alone where it must."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.testing.model_server import ModelServer, text

QUICK = hf.Retry(attempts=3, wait=0)
VERSION = {"anthropic-version": "2023-06-01", "x-api-key": "k"}
KINDS = [(package, sync) for package in ("httpx2", "httpx") for sync in (False, True)]
PACKAGES: dict[str, Any] = {"httpx2": httpx2, "httpx": httpx}


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'sync' if kind[1] else 'async'}")
def kind(request: pytest.FixtureRequest) -> Any:
    """A package, and whether its client is sync."""
    return request.param


@pytest.fixture
def instrumented() -> Iterator[None]:
    """The whole process; undone whatever happens."""
    hf.instrument(retry=QUICK)
    try:
        yield
    finally:
        hf.uninstrument()


def theirs(kind: Any, **options: Any) -> Any:
    """An ordinary client of this kind."""
    package, sync = kind
    return getattr(PACKAGES[package], "Client" if sync else "AsyncClient")(**options)


async def post(client: Any, url: str, **options: Any) -> Any:
    """POST by any client, a sync one in a thread."""
    if isinstance(client, (httpx.Client, httpx2.Client)):
        return await asyncio.to_thread(client.post, url, **options)
    return await client.post(url, **options)


async def closed(client: Any) -> None:
    """Close any client."""
    if isinstance(client, (httpx.Client, httpx2.Client)):
        client.close()
    else:
        await client.aclose()


def ask(client: Any, server: Any, hello: Any) -> Any:
    """Ask the model."""
    return post(client, f"{server.url}/v1/messages", json=hello, headers=VERSION)


# --- ours ------------------------------------------------------------------------------------------------------


async def test_all_four_kinds_record_and_replay(desk: Any, hello: Any, kind: Any) -> None:
    """Which package an SDK speaks through is nothing that an agent's owner should have to know."""
    package, sync = kind
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=500)

        async def body(run: hf.Run) -> Any:
            client = hf.http_client(package=package, sync=sync, retry=QUICK)
            assert isinstance(client, getattr(PACKAGES[package], "Client" if sync else "AsyncClient"))
            response = await ask(client, server, hello)
            assert type(response).__module__.partition(".")[0] == package
            return response.json()["content"][0]["text"]

        assert await desk.twice(body) == ("hi", "hi")
        assert server.count == 2


async def test_a_sync_client_on_the_loops_own_thread_is_refused(desk: Any, hello: Any, instrumented: None) -> None:
    """It would block the loop that has to answer it, for ever."""
    with ModelServer(lambda request: text("never")) as server:

        async def body(run: hf.Run) -> None:
            for client in (hf.http_client(sync=True), httpx2.Client()):
                with pytest.raises(hf.UsageError, match=r"asyncio\.to_thread"):
                    client.post(f"{server.url}/v1/messages", json=hello, headers=VERSION)
                client.close()

        await desk.once(body)
        assert (server.count, desk.model()) == (0, [])


async def test_what_a_client_says_of_itself_is_true_of_both_packages(kind: Any) -> None:
    """Closed is closed, a context manager is one, and outside a run it is ordinary."""
    package, sync = kind
    client: Any = hf.http_client(package=package, sync=sync)
    assert not client.is_closed
    with ModelServer(lambda request: text("hi")) as server:
        assert await ask(
            client, server, {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
        )
    await closed(client)
    assert client.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        await post(client, "http://127.0.0.1:1")


# --- everybody's -----------------------------------------------------------------------------------------------


async def test_instrumented_clients_are_seen_made_before_or_after(desk: Any, hello: Any, kind: Any) -> None:
    """A framework makes its clients at import, or at each call."""
    before = theirs(kind)
    hf.instrument(retry=QUICK)
    try:
        after = theirs(kind)
        with ModelServer(lambda request: text(f"{request.n}")) as server:
            server.fault(on=1, drop=True)

            async def body(run: hf.Run) -> list[str]:
                said = []
                for number, client in enumerate((before, after)):
                    asked = hello | {"messages": [{"role": "user", "content": str(number)}]}
                    said.append((await ask(client, server, asked)).json()["content"][0]["text"])
                return said

            assert await desk.twice(body) == (["2", "3"], ["2", "3"])
            assert server.count == 3
    finally:
        hf.uninstrument()
    for client in (before, after):
        await closed(client)


async def test_undone_is_undone(desk: Any, hello: Any, kind: Any) -> None:
    """Twice on and once off is off: the classes are as they were."""
    package = PACKAGES[kind[0]]
    own = package.AsyncClient.send, package.Client.send
    hf.instrument(retry=QUICK)
    hf.instrument(retry=hf.Retry(attempts=1))
    assert (package.AsyncClient.send, package.Client.send) != own
    hf.uninstrument()
    hf.uninstrument()
    assert (package.AsyncClient.send, package.Client.send) == own
    client = theirs(kind)
    with ModelServer(lambda request: text("hi")) as server:
        await desk.once(lambda run: _quietly(ask(client, server, hello)))
        assert (server.count, desk.model()) == (1, [])
    await closed(client)


async def _quietly(call: Any) -> None:
    await call


async def test_the_latest_options_hold_and_our_own_clients_keep_theirs(desk: Any, hello: Any) -> None:
    """`instrument` for the frameworks, `http_client` for the one call that needs more."""
    hf.instrument(retry=QUICK)
    hf.instrument(retry=hf.Retry(attempts=2, wait=0))
    try:
        with ModelServer(lambda request: text("never")) as server:
            server.fault(on=1, times=6, status=500)

            async def body(run: hf.Run) -> None:
                async with httpx2.AsyncClient() as client:
                    assert (await ask(client, server, hello)).status_code == 500
                await run.note("next")
                own = hf.http_client(retry=hf.Retry(attempts=4, wait=0))
                assert (await ask(own, server, hello)).status_code == 500

            await desk.once(body)
            assert server.count == 6
    finally:
        hf.uninstrument()


async def test_subclasses_hooks_and_transports_of_the_caller_are_kept(
    desk: Any, hello: Any, kind: Any, instrumented: None
) -> None:
    """A gateway's signature, a proxy, a cache: what a client was made with is what sends, once for each attempt."""
    package, sync = kind
    module = PACKAGES[package]
    seen: list[str] = []

    def answer(request: Any) -> Any:
        seen.append(request.headers["x-signed"])
        usage = {"input_tokens": 1, "output_tokens": 1}
        status = 500 if len(seen) == 1 else 200
        return module.Response(status, json={"type": "message", "model": "m", "content": [], "usage": usage})

    def sign(request: Any) -> None:
        request.headers["x-signed"] = f"{len(seen)}"

    async def sign_async(request: Any) -> None:
        sign(request)

    class Own(getattr(module, "Client" if sync else "AsyncClient")):  # type: ignore[misc]
        """A framework's own."""

    hooks = {"request": [sign if sync else sign_async]}
    client = Own(transport=module.MockTransport(answer), event_hooks=hooks)

    async def body(run: hf.Run) -> int:
        response = await post(client, "https://gateway.example.com/v1/messages", json=hello, headers=VERSION)
        return int(response.status_code)

    assert await desk.twice(body) == (200, 200)
    assert seen == ["0", "1"]
    await closed(client)


async def test_nothing_is_seen_twice(desk: Any, hello: Any, kind: Any, instrumented: None) -> None:
    """Our client sends by an ordinary one below it, which is instrumented too: one call is one step."""
    package, sync = kind
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> None:
            assert (await ask(hf.http_client(package=package, sync=sync), server, hello)).status_code == 200

        await desk.once(body)
        assert server.count == 1
    assert [event.kind for event in desk.model()] == [Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED]


async def test_clients_of_another_loop_or_thread_send_where_they_live(
    desk: Any, hello: Any, instrumented: None
) -> None:
    """A connection belongs to its loop; the step belongs to its run's."""
    with ModelServer(lambda request: text(f"{request.n}")) as server:
        server.fault(on=1, status=500)
        threads: list[int] = []

        async def far(number: int) -> str:
            async def note(request: Any) -> None:
                threads.append(threading.get_ident())

            async with httpx2.AsyncClient(event_hooks={"request": [note]}) as client:
                asked = hello | {"messages": [{"role": "user", "content": str(number)}]}
                streamed = client.stream("POST", f"{server.url}/v1/messages", json=asked, headers=VERSION)
                async with streamed as response:
                    return str((await response.aread()).decode())

        async def body(run: hf.Run) -> list[str]:
            return [await asyncio.to_thread(asyncio.run, far(number)) for number in range(2)]

        live, replayed = await desk.twice(body)
        assert live == replayed and server.count == 3
        assert threading.get_ident() not in threads


async def test_the_sdks_work_through_it(desk: Any, hello: Any, instrumented: None) -> None:
    """Clients that the SDKs make by themselves, with nothing passed to them."""
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> list[Any]:
            messages: Any = hello["messages"]

            def sync() -> Any:
                with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as own:
                    return own.chat.completions.create(model="gpt-other", messages=messages)

            async with anthropic.AsyncAnthropic(base_url=server.url, api_key="k") as claude:
                one = await claude.messages.create(**hello)
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k") as sdk:
                two = await sdk.chat.completions.create(model="gpt-test", messages=messages)
            three = await asyncio.to_thread(sync)
            return [one.content[0].text, two.choices[0].message.content, three.choices[0].message.content]

        assert await desk.twice(body) == (["hi"] * 3, ["hi"] * 3)
        assert server.count == 3


async def test_a_proxy_of_the_environment_is_used(
    desk: Any, hello: Any, kind: Any, canned: Any, http: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a company's proxy nothing else leaves the house."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    proxy = await canned(http(200, {"type": "message", "model": "m", "content": [], "usage": usage}))
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def body(run: hf.Run) -> int:
        client = theirs(kind)
        response = await post(client, "http://models.example.com/v1/messages", json=hello, headers=VERSION)
        await closed(client)
        return int(response.status_code)

    hf.instrument(retry=QUICK)
    try:
        assert await desk.twice(body) == (200, 200)
    finally:
        hf.uninstrument()
    assert proxy.count == 1


# --- other requests of a provider ------------------------------------------------------------------------------


async def test_files_batches_and_counts_are_read_steps_and_gets_are_not(
    desk: Any, hello: Any, canned: Any, http: Any, kind: Any
) -> None:
    """A file that is uploaded once more at each resume costs its storage, and gets another id into the prompt."""
    package, sync = kind
    usage = {"input_tokens": 1, "output_tokens": 1}
    first = http(200, {"type": "message", "model": "m", "content": [], "usage": usage})
    server = await canned(first, *(http(200, {"id": f"file_{number}"}) for number in range(20)))

    async def body(run: hf.Run) -> list[Any]:
        client = hf.http_client(package=package, sync=sync, retry=QUICK)
        await ask(client, server, hello)
        said = []
        for path, options in (
            ("files", {"files": {"file": ("a.txt", b"content")}, "data": {"purpose": "x"}}),
            ("messages/count_tokens", {"json": hello}),
            ("messages/batches", {"json": {"requests": []}}),
        ):
            said.append((await post(client, f"{server.url}/v1/{path}", headers=VERSION, **options)).json())
        return said

    live, replayed = await desk.twice(body)
    assert live == replayed == [{"id": "file_0"}, {"id": "file_1"}, {"id": "file_2"}]
    assert server.count == 4
    steps = {address.name: slot.effect for address, slot in desk.state.slots.items() if "POST" in address.name}
    assert steps == {
        "POST /v1/files": "read",
        "POST /v1/messages/count_tokens": "read",
        "POST /v1/messages/batches": "read",
    }


async def test_an_upload_has_one_retry_owner_too(desk: Any, hello: Any, canned: Any, http: Any) -> None:
    """The SDK's own retries multiply with ours, for a file as for a model."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    first = http(200, {"type": "message", "model": "m", "content": [], "usage": usage})
    server = await canned(first, http(500, {"error": {"message": "down"}}))

    async def body(run: hf.Run) -> str:
        sdk = anthropic.AsyncAnthropic(
            base_url=server.url, api_key="k", http_client=hf.http_client(retry=QUICK), max_retries=5
        )
        await sdk.messages.create(**hello)
        with pytest.raises(anthropic.InternalServerError) as caught:
            await sdk.messages.count_tokens(model="m", messages=hello["messages"])
        return str(caught.value)

    live, replayed = await desk.twice(body)
    assert live == replayed
    assert server.count == 1 + 3
