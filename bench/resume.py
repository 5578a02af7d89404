"""Row `resume`: a run of 3,200 recorded steps goes on in a new process, against a bare read of its rows.

A first app records 3,200 reads of 1 KB and is shut down in the next one. Each round copies that store; a new
process opens it, and is timed from asking for the run (`App.start`, which claims it) to the first line of the new
step. Raw: a new process reads the same rows with one SELECT.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import apsw

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, in_turns, median, told_by
from holdfast.journal.adopt import adopt
from holdfast.runtime.clock import SystemClock

KEY = "run"
STEPS = 3_200


def measure(place: Place) -> Row:
    """Milliseconds to the first new step, and holdfast ÷ raw read."""
    steps = place.count(STEPS, 30)
    with place.scratch() as directory:
        recorded = directory / "recorded.db"
        asyncio.run(record(recorded, steps))
        works: dict[str, Callable[[], float]] = {
            "holdfast": lambda: _in_new_process("ours", recorded, steps),
            "raw_read": lambda: _in_new_process("raw", recorded, steps),
        }
        if "langgraph" in place.peers:
            from bench import peer_langgraph  # only where it is installed

            graph_steps = place.count(200, 10)
            peer_langgraph.record(directory / "langgraph.db", graph_steps)
            works["langgraph_200"] = lambda: peer_langgraph.resume(directory / "langgraph.db", graph_steps)
        found = in_turns(place.count(11, 1), **works)
    row = Row()
    row.numbers = {f"{name}_ms": median(times) * 1e3 for name, times in found.items()}
    row.numbers["holdfast_min_ms"] = min(found["holdfast"]) * 1e3
    row.ratios = {"resume": median(found["holdfast"]) / median(found["raw_read"])}
    row.targets = {"resume_ms": Target(row.numbers["holdfast_ms"], 60)}
    return row


async def record(path: Path, steps: int) -> None:
    """A store whose run has `steps` outcomes and is due."""
    is_there = asyncio.Event()

    async def new() -> None:
        is_there.set()
        await asyncio.Event().wait()

    async with hf.App(str(path)) as app:
        await app.start(_agent(new), steps, key=KEY)
        await is_there.wait()


def _agent(new: Callable[[], object]) -> hf.Agent[int, None]:
    async def body(run: hf.Run, steps: int) -> None:
        await look_on(run, 0, steps)
        await run.step("new", new, effect="read")

    return agent_of(body)


def _in_new_process(what: str, recorded: Path, steps: int) -> float:
    copy = recorded.with_name(f"{what}.db")
    shutil.copyfile(recorded, copy)
    adopt(str(copy), is_copy=False, by="bench", clock=SystemClock().now)
    try:
        return told_by("bench.resume", what, copy, steps)[0]
    finally:
        copy.unlink()


async def go_on(path: Path, steps: int) -> float:
    """Seconds from asking for the run to the first line of its new step."""
    at: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def new() -> None:
        at.set_result(perf_counter())
        await asyncio.Event().wait()

    agent = _agent(new)
    async with hf.App(str(path)) as app:
        began = perf_counter()
        await app.start(agent, steps, key=KEY)
        return await at - began


def read_raw(path: Path, steps: int) -> float:
    """Seconds to read all rows of all events."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    began = perf_counter()
    rows = connection.execute("SELECT * FROM events ORDER BY run_no, number").fetchall()
    spent_s = perf_counter() - began
    if len(rows) < steps:
        raise RuntimeError(f"{path} has {len(rows)} rows, fewer than {steps}")
    return spent_s


if __name__ == "__main__":
    _what, _path, _steps = sys.argv[1:]
    if _what == "ours":
        print(asyncio.run(go_on(Path(_path), int(_steps))))
    else:
        print(read_raw(Path(_path), int(_steps)))
    sys.stdout.flush()
    os._exit(0)
