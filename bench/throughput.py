"""Row `throughput`: 1,000 runs at once, five steps each, against one commit a step by hand.

holdfast: all runs are started together in one app; `steps_per_s` counts from the first start to the last result,
`inner_steps_per_s` from the first step begun to the last one done (without starts and ends). Each round has a process
of its own, which makes one run to warm up and collects its garbage before it is timed, as a peer's does. Raw: as many
INSERTs of the same 1 KB with a COMMIT each, one after the other.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from time import perf_counter

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, in_turns, median, seconds_of, told_by
from bench.raw import RawStore

STEPS = 5


def measure(place: Place) -> Row:
    """Steps a second, and holdfast ÷ raw."""
    runs = place.count(1_000, 20)
    inner: list[float] = []
    works = {
        "holdfast": lambda: _ours(place, runs, inner),
        "raw": lambda: _raw(place, runs),
    }
    if "dbos" in place.peers:
        from bench import peer_dbos  # only where it is installed

        works["dbos"] = lambda: peer_dbos.throughput(place, runs, STEPS)
    found = in_turns(place.count(5, 1), **works)
    row = Row()
    row.numbers = {f"{name}_steps_per_s": median(rates) for name, rates in found.items()}
    row.numbers["holdfast_inner_steps_per_s"] = median(inner)
    row.numbers["holdfast_max_steps_per_s"] = max(found["holdfast"])
    row.ratios = {f"throughput_{name}": median(found["holdfast"]) / median(found[name]) for name in found}
    del row.ratios["throughput_holdfast"]
    row.targets = {"throughput": Target(row.numbers["holdfast_steps_per_s"], 8_000, is_upper=False)}
    if "throughput_dbos" in row.ratios:
        row.targets["throughput_dbos"] = Target(row.ratios["throughput_dbos"], 40, is_upper=False)
    return row


def _ours(place: Place, runs: int, inner: list[float]) -> float:
    with place.scratch() as directory:
        return concurrent_runs(directory / "holdfast.db", runs, inner)


def concurrent_runs(store: object, runs: int, inner: list[float]) -> float:
    """Steps a second over all; `inner` gets those within the time in which steps were made."""
    over_all, within = told_by("bench.throughput", store, runs)
    inner.append(within)
    return over_all


async def _measure(url: str, runs: int) -> tuple[float, float]:
    began_at: list[float] = []
    done_at: list[float] = []

    async def body(run: hf.Run, number: int) -> None:
        began_at.append(perf_counter())
        await look_on(run, number, STEPS)
        done_at.append(perf_counter())

    agent = agent_of(body)
    async with hf.App(url) as app:
        await app.run(agent, 0, key="warm up")
        began_at.clear()
        done_at.clear()
        gc.collect()  # what the imports left
        began = perf_counter()
        await asyncio.gather(*(app.run(agent, number, key=f"run {number}") for number in range(runs)))
        over_s = perf_counter() - began
    return runs * STEPS / over_s, runs * STEPS / (max(done_at) - min(began_at))


def _raw(place: Place, runs: int) -> float:
    with place.scratch() as directory:
        store = RawStore(directory / "raw.db")
        spent_s = seconds_of(lambda: store.steps(runs * STEPS))
        store.close()
    return runs * STEPS / spent_s


if __name__ == "__main__":
    _url, _runs = sys.argv[1:]
    print(*asyncio.run(_measure(_url, int(_runs))), flush=True)
