"""DBOS on SQLite or Postgres, in a process of its own: a sequential step, and many workflows at once. Needs `dbos`."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path
from time import perf_counter

from bench.measure import Place, kilobyte, told_by


def step(place: Place, count: int) -> float:
    """Seconds a step of one workflow."""
    with place.scratch() as directory:
        return told_by("bench.peer_dbos", "step", directory, count)[0]


def throughput(place: Place, runs: int, steps: int, url: str = "") -> float:
    """Steps a second, from the first start to the last result. url: of a Postgres database; SQLite without it."""
    with place.scratch() as directory:
        return told_by("bench.peer_dbos", "throughput", url or directory, runs, steps)[0]


def _measure(what: str, place: str, *counts: int) -> float:
    from dbos import DBOS  # type: ignore[import-not-found,unused-ignore]  # only where it is installed

    url = place if "://" in place else f"sqlite:///{Path(place) / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})

    @DBOS.step()  # type: ignore[untyped-decorator,unused-ignore]
    async def look(number: int) -> str:
        return kilobyte(number)

    @DBOS.workflow()  # type: ignore[untyped-decorator,unused-ignore]
    async def work(first: int, count: int) -> float:
        began = perf_counter()
        for number in range(first, first + count):
            await look(number)
        return (perf_counter() - began) / count

    async def one(count: int) -> float:
        await (await DBOS.start_workflow_async(work, 0, 20)).get_result()  # warms up
        return float(await (await DBOS.start_workflow_async(work, 0, count)).get_result())

    async def many(runs: int, steps: int) -> float:
        await one(1)
        gc.collect()  # what the imports left
        began = perf_counter()
        handles = await asyncio.gather(*(DBOS.start_workflow_async(work, number, steps) for number in range(runs)))
        await asyncio.gather(*(handle.get_result() for handle in handles))
        return runs * steps / (perf_counter() - began)

    DBOS.launch()
    return asyncio.run(one(*counts) if what == "step" else many(*counts))


if __name__ == "__main__":
    _what, _place, *_counts = sys.argv[1:]
    print(_measure(_what, _place, *map(int, _counts)), flush=True)
    os._exit(0)
