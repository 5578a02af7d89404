"""R27 and R29 from outside: whatever hangs, a run ends with its deadline; work is kept, `resume --raise` goes on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, text

AGENTS = """
import socket, subprocess, threading
from anthropic import AsyncAnthropic

TREE = "trap '' TERM INT HUP; exec 9>alive; echo ready >&9; sleep 600 & sleep 600; sleep 600"

def is_free():
    return os.path.exists("free")

@hf.tool(effect="once")
async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("pay", cents, idempotency_key)

@hf.tool(effect="read")
async def forever(x: int) -> str:
    return "free" if is_free() else await asyncio.Event().wait()

@hf.tool(effect="read")
def thread(x: int) -> str:
    return "free" if is_free() else threading.Event().wait()

@hf.tool(effect="read")
def half_open(x: int) -> str:
    if is_free():
        return "free"
    with socket.create_connection(("127.0.0.1", int(os.environ["SILENT"]))) as silent:
        return silent.recv(1).decode()

@hf.tool(effect="read", isolate=True)
def isolated(x: int) -> str:
    if not is_free():
        subprocess.run(["sh", "-c", TREE])
    return "free"

@hf.tool(effect="read")
async def command(x: int) -> str:
    if not is_free():
        await hf.command(["sh", "-c", TREE], timeout="1h")
    return "free"

ASKED = {"model": "claude-test", "max_tokens": 999, "messages": [{"role": "user", "content": "x"}]}

async def stalled(x: int) -> str:
    client = AsyncAnthropic(http_client=hf.http_client(timeout="1h"))
    return (await client.messages.create(**ASKED)).content[0].text[:4]

async def drip(x: int) -> str:
    client = AsyncAnthropic(http_client=hf.http_client(timeout="1h", stream="whole"))
    async with client.messages.stream(**ASKED) as stream:
        return (await stream.get_final_text())[:4]

@hf.agent
async def hangs(run: hf.Run, way: str) -> list[str]:
    paid = await pay(500)
    tool = globals()[way]
    said = await (asyncio.to_thread(tool, 1) if way in ("thread", "half_open", "isolated") else tool(1))
    return [paid != "", said]
"""
WAYS = ("forever", "thread", "half_open", "isolated", "command", "stalled", "drip")

FAULTS: dict[str, Any] = {"stalled": {"stall_after": 1}, "drip": {"every_s": 1.0}}


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("way", WAYS)
def test_whatever_hangs_the_run_ends_with_its_deadline_and_goes_on_at_the_same_step(
    desk: Any, silent: int, way: str
) -> None:
    """R27, R29: one hung call holds a run for ever; or the stop loses its work, or leaves its processes behind."""
    desk.write(AGENTS)
    alive = Path(desk.home) / "alive"
    os.mkfifo(alive)
    pipe = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    with ModelServer(lambda request: text("free " * 200)) as model:
        if way in FAULTS:
            model.fault(on=1, **FAULTS[way])
        desk.serves(model)
        desk.environment["SILENT"] = str(silent)
        cap_s = 10 if way == "isolated" else 4  # its child has to have begun by then, also on a busy machine
        caps = ("--budget", f"active={cap_s}s", "--budget", "tool_calls=20", "--budget", "model_calls=20")
        stopped = desk.run("run", "agents.py:hangs", way, "--key", "k", *caps)
        assert stopped.code == 4, stopped.err
        assert f"active time: {cap_s}" in stopped.err and "--raise active=+" in stopped.err
        if way in ("isolated", "command"):
            os.set_blocking(pipe, True)
            assert (os.read(pipe, 100), os.read(pipe, 100)) == (b"ready\n", b""), "the tree is still there"
        (Path(desk.home) / "free").touch()
        gone_on = desk.run("resume", "k", "agents.py:hangs", "--raise", "active=+10m")
    os.close(pipe)
    assert gone_on.code == 0, gone_on.err
    assert '"free"' in gone_on.out
    assert [effect.name for effect in desk.ledger.effects()] == ["pay"]


def test_a_worker_that_is_killed_takes_the_programs_of_its_tools_along(desk: Any, silent: int) -> None:
    """R27: after an OOM kill the build of the dead worker writes beside the build of the next."""
    desk.write(AGENTS)
    alive = Path(desk.home) / "alive"
    os.mkfifo(alive)
    pipe = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    keep = os.open(alive, os.O_WRONLY)
    os.set_blocking(pipe, True)
    worker = desk.go("hangs", "isolated")
    assert os.read(pipe, 100) == b"ready\n"
    worker.send_signal(signal.SIGKILL)
    assert worker.wait(timeout=30) == -9
    os.close(keep)
    assert os.read(pipe, 100) == b""
    os.close(pipe)
