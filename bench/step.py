"""Row `step`: a durable step of an agent that does one after the other, against a bare INSERT and COMMIT.

One app on SQLite, one run; `run.step` with an async read whose result is 1 KB, timed inside the agent. The raw
store writes the same 1 KB beside it. Ten steps of ours, ten of the raw store, and so on.

`step` is over the first steps of a new store, whose log still grows; `step_settled` over later ones, which write
over the log's old pages: that is less work for the file system, on both sides. `added_us` is what a step costs
beyond raw; on a disk of other speed it stays, while the ratio does not.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from time import perf_counter

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, median, seconds_of
from bench.raw import RawStore

CHUNK = 10
WARM_UP = 20
SETTLED = 700
PEERS = ("dbos", "langgraph")


def measure(place: Place) -> Row:
    """µs a step, and holdfast ÷ raw."""
    found: dict[str, list[float]] = {name: [] for name in ("holdfast", "raw", "holdfast_settled", "raw_settled")}
    for _ in range(place.count(5, 1)):
        with place.scratch() as directory:
            _one_store(directory, place, found)
        _peers(place, found)
    row = Row()
    row.numbers = {f"{name}_us": median(times) * 1e6 for name, times in found.items()}
    row.numbers["added_us"] = row.numbers["holdfast_us"] - row.numbers["raw_us"]
    row.numbers["added_settled_us"] = row.numbers["holdfast_settled_us"] - row.numbers["raw_settled_us"]
    row.ratios = {
        "step": median(found["holdfast"]) / median(found["raw"]),
        "step_min": min(found["holdfast"]) / min(found["raw"]),
        "step_settled": median(found["holdfast_settled"]) / median(found["raw_settled"]),
    }
    row.ratios |= {f"step_of_{name}": median(found[name]) / median(found["raw"]) for name in found if name in PEERS}
    row.targets = {"step": Target(row.ratios["step"], 1.3)}
    return row


def _one_store(directory: Path, place: Place, found: dict[str, list[float]]) -> None:
    store = RawStore(directory / "raw.db")
    count, settled = place.count(300, 20), place.count(SETTLED, 10)

    async def in_turns(run: hf.Run, start: int, end: int, ours: str, raw: str) -> None:
        for first in range(start, end, CHUNK):
            began = perf_counter()
            await look_on(run, first, CHUNK)
            found[ours].append((perf_counter() - began) / CHUNK)
            found[raw].append(seconds_of(lambda: store.steps(CHUNK)) / CHUNK)

    async def body(run: hf.Run, end: int) -> None:
        await look_on(run, 0, WARM_UP)
        store.steps(WARM_UP)
        await in_turns(run, WARM_UP, end, "holdfast", "raw")
        await look_on(run, end, settled)
        store.steps(settled)
        await in_turns(run, end + settled, 2 * end + settled, "holdfast_settled", "raw_settled")

    hf.App(str(directory / "holdfast.db")).run_sync(agent_of(body), WARM_UP + count, key="run")
    store.close()


def _peers(place: Place, found: dict[str, list[float]]) -> None:
    for name in PEERS:
        if name in place.peers:
            peer = importlib.import_module(f"bench.peer_{name}")  # only where it is installed
            found.setdefault(name, []).append(peer.step(place, place.count(200, 10)))
