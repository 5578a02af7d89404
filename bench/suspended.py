"""Row `suspended`: what 10,000 runs cost that wait for a message.

One process starts them, 200 at a time, and each comes to rest: a row in the store, no task and no thread. `waiting_s`
is from the first start until all are suspended and have left memory; the process's memory and its use of the processor
come then.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from time import perf_counter, process_time

import holdfast as hf
from bench.agents import ROOMY
from bench.measure import Place, Row, Target

IDLE_S = 5.0
AT_ONCE = 200
"""Starts under way at a time, as a service has them; how many runs are in memory together follows from that."""
TASKS = 2
"""This one, and the worker."""
SETTINGS = hf.Settings(quiet_s=0.1, parked_max=0)


def measure(place: Place) -> Row:
    """Seconds until all wait, megabytes of the process, and its share of a core while nothing happens."""
    with place.scratch() as directory:
        command = [
            sys.executable,
            "-m",
            "bench.suspended",
            str(directory / "holdfast.db"),
            str(place.count(10_000, 50)),
        ]
        command.append(str(IDLE_S if not place.is_quick else 0.2))
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    waiting_s, megabytes, idle = map(float, told[-3:])
    row = Row()
    row.numbers = {"waiting_s": waiting_s, "rss_mb": megabytes, "idle_percent": idle * 100}
    row.targets = {
        "suspended_waiting_s": Target(waiting_s, 5),
        "suspended_rss_mb": Target(megabytes, 70),
        "suspended_idle_percent": Target(idle * 100, 1),
    }
    return row


async def wait(store: str, count: int, idle_s: float) -> None:
    """The process that holds them."""

    async def waits(run: hf.Run, number: int) -> None:
        await run.signal("go")

    agent = hf.agent(name="waits", budget=ROOMY)(waits)
    async with hf.App(store, agents=[agent], settings=SETTINGS) as app:
        began = perf_counter()
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(count, first + AT_ONCE))
            await asyncio.gather(*(app.start(agent, number, key=f"run {number}") for number in numbers))
        while len(asyncio.all_tasks()) > TASKS:  # noqa: ASYNC110 - nothing tells that the last one has left
            await asyncio.sleep(0.1)
        waiting_s = perf_counter() - began
        await asyncio.sleep(0.5)
        spent, at = process_time(), perf_counter()
        await asyncio.sleep(idle_s)
        idle = (process_time() - spent) / (perf_counter() - at)
        megabytes = _megabytes()  # without the list that comes next
        waiting = len(app.journal.heads(status="suspended", limit=count))
        assert waiting == count, f"{waiting} of {count} wait"
        print(waiting_s, megabytes, idle)


def _megabytes() -> float:
    """What the process has in memory now."""
    with open("/proc/self/statm", encoding="ascii") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    asyncio.run(wait(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
