"""Row `throughput`: 1,000 runs at once, five steps each, against one commit a step by hand.

holdfast: all runs are started together in one app; `steps_per_s` counts from the first start to the last result,
`inner_steps_per_s` from the first step begun to the last one done (without starts and ends). Raw: as many INSERTs
of the same 1 KB with a COMMIT each, one after the other.
"""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, in_turns, median, seconds_of
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
        return asyncio.run(concurrent_runs(str(directory / "holdfast.db"), runs, inner))


async def concurrent_runs(url: str, runs: int, inner: list[float]) -> float:
    """Steps a second over all; `inner` gets those within the time in which steps were made."""
    began_at: list[float] = []
    done_at: list[float] = []

    async def body(run: hf.Run, number: int) -> None:
        began_at.append(perf_counter())
        await look_on(run, number, STEPS)
        done_at.append(perf_counter())

    agent = agent_of(body)
    gc.collect()  # a peer has a process of its own: it does not tidy up what the rounds before it have left
    async with hf.App(url) as app:
        began = perf_counter()
        await asyncio.gather(*(app.run(agent, number, key=f"run {number}") for number in range(runs)))
        over_s = perf_counter() - began
    inner.append(runs * STEPS / (max(done_at) - min(began_at)))
    return runs * STEPS / over_s


def _raw(place: Place, runs: int) -> float:
    with place.scratch() as directory:
        store = RawStore(directory / "raw.db")
        spent_s = seconds_of(lambda: store.steps(runs * STEPS))
        store.close()
    return runs * STEPS / spent_s
