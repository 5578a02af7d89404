"""Connections belong to event loops: shared on one, closed with it, never carried to another."""

import asyncio
import gc
import weakref
from typing import Any

import httpx2

import holdfast as hf
from holdfast.models.pool import ordinary
from holdfast.testing.model_server import ModelServer, text


async def test_clients_on_one_loop_share_their_connections() -> None:
    """Else a client per run costs a TLS context and a handshake per run."""
    assert await ordinary(httpx2) is await ordinary(httpx2)


def test_a_client_that_nobody_closed_leaves_no_open_socket(client: Any, hello: Any) -> None:
    """An agent makes its client and forgets it; a ResourceWarning (an error here) would be the least of it."""
    with ModelServer(lambda request: text("hi")) as server:

        async def main() -> Any:
            await client(server).messages.create(**hello)
            return await ordinary(httpx2), weakref.ref(asyncio.get_running_loop())

        below, loop = asyncio.run(main())
        assert below.is_closed
        del below
        gc.collect()
        assert loop() is None


def test_one_client_serves_one_loop_after_another(client: Any, hello: Any) -> None:
    """`run_sync` makes a loop for each call; connections of a dead loop must not be tried again."""
    with ModelServer(lambda request: text("hi")) as server:
        sdk = client(server)
        for _ in range(3):
            assert asyncio.run(sdk.messages.create(**hello)).content[0].text == "hi"
        gc.collect()


def test_run_sync_leaves_nothing_open(desk: Any, client: Any, hello: Any) -> None:
    """The shortest way into holdfast must not warn."""
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> str:
            return (await client(server).messages.create(**hello)).content[0].text  # type: ignore[no-any-return]

        assert desk.app().run_sync(desk.agent(body), "input", key="k") == "hi"
        gc.collect()
