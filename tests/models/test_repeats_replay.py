"""A retry loop around a model call is told its failure again, or calls anew: on replay as it was live.

Else the agent goes another way after a crash: it asks again for what it had given up, or gives up what it had got.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.testing.model_server import ModelServer, text

QUICK = hf.Retry(attempts=2, wait=0)


async def persistent(server: Any, hello: Any, *, times: int = 3, wait_s: float = 0.05, on_failure: Any = bool) -> str:
    """A retry loop of the user's own, that waits between its tries as tenacity does."""
    sdk = AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0, http_client=hf.http_client(retry=QUICK))
    for _ in range(times):
        try:
            return (await sdk.messages.create(**hello)).content[0].text  # type: ignore[union-attr]
        except anthropic.APIError:
            on_failure()
            await asyncio.sleep(wait_s)
    return "gave up"


async def test_what_was_told_again_live_is_told_again_on_replay(desk: Any, hello: Any) -> None:
    """Live the other branch was slow, on replay it is at once where it was: that must not look like a new question."""
    with ModelServer(lambda request: text("better")) as server:
        server.fault(on=1, times=2, status=500)

        gave_up = asyncio.Event()

        async def slow() -> str:
            await gave_up.wait()
            return "slow"

        async def stubborn() -> str:
            said = await persistent(server, hello)
            gave_up.set()
            return said

        async def other(run: hf.Run) -> str:
            await run.step("slow", slow)
            return await run.step("more", lambda: "more")

        async def body(run: hf.Run) -> Any:
            return await asyncio.gather(stubborn(), other(run))

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
        assert live[0] == "gave up"
        assert live == replayed
        assert server.count == 2
        assert not desk.state.drifts


@pytest.mark.parametrize("ends", ["in success", "in failure"])
async def test_what_was_asked_anew_live_is_asked_anew_on_replay(desk: Any, hello: Any, ends: str) -> None:
    """Live the other branch asked for something in between; on replay it does so later, and the call is known."""
    with ModelServer(lambda request: text("better")) as server:
        server.fault(on=1, status=400)
        if ends == "in failure":
            server.fault(on=2, status=400)
        lives: list[int] = []

        async def body(run: hf.Run) -> Any:
            failed, lives[len(lives) :] = asyncio.Event(), [0]

            async def other() -> str:
                await failed.wait()
                await asyncio.sleep(0.02 if len(lives) == 1 else 0.4)
                return await run.step("more", lambda: "more")

            return await asyncio.gather(persistent(server, hello, times=2, wait_s=0.2, on_failure=failed.set), other())

        live, replayed = await asyncio.wait_for(desk.twice(body), 10)
        assert live == replayed
        assert live[0] == ("better" if ends == "in success" else "gave up")
        assert server.count == 2


async def test_a_crash_between_repeats_goes_on_where_it_was(desk: Any, hello: Any) -> None:
    """What was told again is known by the next process too: its loop is at the same try."""
    with ModelServer(lambda request: text("better")) as server:
        server.fault(on=1, times=2, status=500)
        lives: list[int] = []

        async def body(run: hf.Run) -> Any:
            lives.append(0)
            said = await persistent(server, hello, times=3, wait_s=0)
            await run.note(said)
            if len(lives) == 1:
                raise RuntimeError("the first life is over")
            return said

        with pytest.raises(hf.RunError):
            await desk.once(body)
        assert await desk.resumed(body) == "gave up"
        assert server.count == 2
