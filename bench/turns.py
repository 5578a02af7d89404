"""Row `turns`: whether a step costs the same after 3,200 turns of 1 KB as after 200, in time and in bytes.

Time: two apps in one process, one run with 3,100 steps behind it and one with 100; each makes its next 100 in
turns with the other, ten at a time, so both see the same disk; a run before it has brought each store's log to its
full length (a log that still grows costs the file system more, whoever writes). Bytes: files of closed stores (the
log is then in the file), less those of a store whose run made no step. Raw: the same rows by hand.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, median, seconds_of
from bench.raw import RawStore

CHUNK = 10
SETTLED = 400


def measure(place: Place) -> Row:
    """Late ÷ early, in time and in bytes."""
    early, late, window = (200, 3_200, 100) if not place.is_quick else (20, 40, 20)
    row = Row()
    times: dict[int, list[float]] = {early: [], late: []}
    for _ in range(place.count(5, 1)):
        with place.scratch() as directory:
            _time_both(directory, times, window, place.count(SETTLED, 10))
    with place.scratch() as directory:
        base = _bytes(directory, 0)
        at_early, at_late = ((_bytes(directory, n) - base) / n for n in (early, late))
        raw = RawStore(directory / "raw.db")
        raw_s = seconds_of(lambda: raw.steps(late))
        raw.close()
        raw_bytes = (directory / "raw.db").stat().st_size / late
    row.numbers = {
        "early_us": median(times[early]) * 1e6,
        "late_us": median(times[late]) * 1e6,
        "early_bytes": at_early,
        "late_bytes": at_late,
        "raw_us": raw_s / late * 1e6,
        "raw_bytes": raw_bytes,
    }
    row.ratios = {
        "turns_time": row.numbers["late_us"] / row.numbers["early_us"],
        "turns_bytes": at_late / at_early,
        "turns_bytes_raw": at_late / raw_bytes,
    }
    row.targets = {name: Target(row.ratios[name], 1.2) for name in ("turns_time", "turns_bytes")}
    return row


def _time_both(directory: Path, times: dict[int, list[float]], window: int, settled: int) -> None:
    asyncio.run(_in_turns(directory, times, window, settled))


async def _in_turns(directory: Path, times: dict[int, list[float]], window: int, settled: int) -> None:
    """One app a count; a baton goes to and fro, so that only one of the two runs makes steps."""
    counts = list(times)
    turns: list[asyncio.Queue[None]] = [asyncio.Queue(), asyncio.Queue()]

    def agent(place: int, total: int) -> hf.Agent[int, None]:
        async def body(run: hf.Run, count: int) -> None:
            await turns[place].get()
            await look_on(run, 0, count - window)
            for first in range(count - window, count, CHUNK):
                turns[1 - place].put_nowait(None)
                await turns[place].get()
                began = perf_counter()
                await look_on(run, first, CHUNK)
                times[total].append((perf_counter() - began) / CHUNK)
            turns[1 - place].put_nowait(None)

        return agent_of(body)

    turns[0].put_nowait(None)
    async with hf.App(str(directory / "a.db")) as one, hf.App(str(directory / "b.db")) as other:
        first = agent_of(lambda run, steps: look_on(run, 0, steps), "first")
        for app in (one, other):
            await app.run(first, settled, key="first")
        await asyncio.gather(
            *(app.run(agent(i, counts[i]), counts[i], key="run") for i, app in enumerate((one, other)))
        )


def _bytes(directory: Path, count: int) -> int:
    """Size of a closed store after one run of `count` steps."""
    path = directory / f"{count}.db"
    hf.App(str(path)).run_sync(agent_of(lambda run, steps: look_on(run, 0, steps)), count, key="run")
    return path.stat().st_size
