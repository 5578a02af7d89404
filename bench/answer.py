"""Row `answer`: how long a run that waits takes to go on when another process has answered it.

One process holds a parked run that takes one signal after the other, and prints the time at which each reached its
code; this one leaves them, with pauses, and reads the times (both read the clock that the machine's processes share).
In it are two commits, of the message and of its reading, and the doorbell between them; `commit_ms` is one by hand,
with the same pauses.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep, time

import holdfast as hf
from bench.agents import ROOMY
from bench.measure import Place, Row, Target, median, seconds_of
from bench.raw import RawStore
from holdfast.core import accept
from holdfast.journal.codec import encode
from holdfast.journal.open import open_journal

PAUSE_S = 0.05
SETTINGS = hf.Settings(quiet_s=PAUSE_S / 10)
"""The run is at rest, and its wait recorded, before the next message comes."""


def measure(place: Place) -> Row:
    """Median and 99th percentile, from before the message is stored."""
    count = place.count(300, 5)
    with place.scratch() as directory:
        times = sorted(_answers(directory / "holdfast.db", count))
        raw = RawStore(directory / "raw.db")
        commits = []
        for _ in range(count):
            sleep(PAUSE_S)  # as the messages have it: what is woken up is slower than what never slept
            commits.append(seconds_of(lambda: raw.steps(1)))
        raw.close()
    row = Row()
    row.numbers = {
        "median_ms": median(times) * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "commit_ms": median(commits) * 1e3,
    }
    row.ratios = {"answer_commits": median(times) / median(commits)}
    row.targets = {
        "answer_median_ms": Target(row.numbers["median_ms"], 3),
        "answer_p99_ms": Target(row.numbers["p99_ms"], 15),
    }
    return row


def _answers(store: Path, count: int) -> list[float]:
    command = [sys.executable, "-m", "bench.answer", str(store), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        run = holder.stdout.readline().strip()
        journal = open_journal(str(store), clock=time)
        while (head := journal.head(run)) is None or head.status.value != "suspended":
            sleep(PAUSE_S)
        times = []
        for number in range(count):
            sleep(PAUSE_S)
            began = monotonic()
            journal.post(run, f"m{number}", accept.signal(f"s{number}", by="bench", body=encode(number)))
            times.append(float(holder.stdout.readline()) - began)
        journal.close()
    return times


async def hold(store: str, count: int) -> None:
    """The process of the run."""

    async def waits(run: hf.Run, count: int) -> None:
        for number in range(count):
            await run.signal(f"s{number}")
            print(monotonic(), flush=True)

    agent = hf.agent(name="waits", budget=ROOMY)(waits)
    async with hf.App(store, settings=SETTINGS) as app:
        print(await app.start(agent, count, key="run"), flush=True)
        await app.run(agent, count, key="run")


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2])))
