"""Rows `step_postgres` and `throughput_postgres`: the store of several machines, against one commit a step by hand.

As rows `step` and `throughput`, on a Postgres server that is started for it (or the one at HOLDFAST_TEST_POSTGRES),
through its socket. Raw, with psycopg on the same server: one prepared INSERT of the same 1 KB and one COMMIT, as row
`step` does it; and, where it says `statement`, the INSERT alone, which commits by itself: no program can do with less.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import perf_counter

import psycopg

import holdfast as hf
from bench.agents import agent_of, look_on
from bench.measure import Place, Row, Target, in_turns, kilobyte, median, seconds_of
from bench.throughput import STEPS, concurrent_runs
from holdfast.testing.postgres_server import PostgresServer

CHUNK = 10
WARM_UP = 20
STORES = itertools.count()


class RawTable:
    """A table of rows of 1 KB, and a connection that commits each."""

    def __init__(self, server: PostgresServer) -> None:
        self._connection = psycopg.connect(database(server), autocommit=True)
        self._connection.execute("CREATE TABLE IF NOT EXISTS bench (number BIGINT NOT NULL, body TEXT NOT NULL)")
        self.number = 0

    def steps(self, count: int) -> None:
        """Some durable rows, one after the other, a statement each."""
        for _ in range(count):
            self.number += 1
            self._connection.execute("INSERT INTO bench VALUES (%s, %s)", (self.number, kilobyte(self.number)))

    def transactions(self, count: int) -> None:
        """The same, with a COMMIT each."""
        self._connection.autocommit = False
        for _ in range(count):
            self.steps(1)
            self._connection.commit()
        self._connection.autocommit = True

    def close(self) -> None:
        """Close it."""
        self._connection.close()


@contextmanager
def started() -> Iterator[PostgresServer]:
    """A server for one row."""
    with PostgresServer(os.environ.get("HOLDFAST_TEST_POSTGRES"), in_memory=False) as server:
        yield server


def database(server: PostgresServer) -> str:
    """The URL of the database that the stores are schemas of."""
    return server.url("x").rpartition("schema=")[0].rstrip("&?")


def store(server: PostgresServer) -> str:
    """The URL of a new store."""
    return server.url(f"bench_{next(STORES)}")


def measure_step(place: Place) -> Row:
    """µs a step, and holdfast ÷ raw."""
    found: dict[str, list[float]] = {"holdfast": [], "raw": [], "statement": []}
    with started() as server:
        for _ in range(place.count(5, 1)):
            with closing(RawTable(server)) as raw:
                _one_store(server, raw, place.count(300, 20), found)
    row = Row()
    row.numbers = {f"{name}_us": median(times) * 1e6 for name, times in found.items()}
    row.numbers["added_us"] = row.numbers["holdfast_us"] - row.numbers["raw_us"]
    ratio = {name: median(found["holdfast"]) / median(found[name]) for name in ("raw", "statement")}
    row.ratios = {"durable_step_postgres": ratio["raw"], "durable_step_postgres_statement": ratio["statement"]}
    row.targets = {name: Target(ratio, 1.5) for name, ratio in row.ratios.items()}
    return row


def _one_store(server: PostgresServer, raw: RawTable, count: int, found: dict[str, list[float]]) -> None:
    async def body(run: hf.Run, end: int) -> None:
        await look_on(run, 0, WARM_UP)
        raw.steps(WARM_UP)
        for first in range(WARM_UP, end, CHUNK):
            began = perf_counter()
            await look_on(run, first, CHUNK)
            found["holdfast"].append((perf_counter() - began) / CHUNK)
            found["statement"].append(seconds_of(lambda: raw.steps(CHUNK)) / CHUNK)
            found["raw"].append(seconds_of(lambda: raw.transactions(CHUNK)) / CHUNK)

    hf.App(store(server)).run_sync(agent_of(body), WARM_UP + count, key="run")


def measure_throughput(place: Place) -> Row:
    """Steps a second, and holdfast ÷ raw and ÷ DBOS."""
    runs, inner = place.count(1_000, 20), list[float]()
    with started() as server:
        works = {
            "holdfast": lambda: concurrent_runs(store(server), runs, inner),
            "raw": lambda: _raw(server, runs),
        }
        if "dbos" in place.peers:
            from bench import peer_dbos  # only where it is installed

            works["dbos"] = lambda: peer_dbos.throughput(place, runs, STEPS, database(server))
        found = in_turns(place.count(3, 1), **works)
    row = Row()
    row.numbers = {f"{name}_steps_per_s": median(rates) for name, rates in found.items()}
    row.numbers["holdfast_inner_steps_per_s"] = median(inner)
    row.ratios = {f"throughput_postgres_{name}": median(found["holdfast"]) / median(found[name]) for name in found}
    del row.ratios["throughput_postgres_holdfast"]
    if "throughput_postgres_dbos" in row.ratios:
        row.targets = {"throughput_postgres": Target(row.ratios["throughput_postgres_dbos"], 20, is_upper=False)}
    return row


def _raw(server: PostgresServer, runs: int) -> float:
    with closing(RawTable(server)) as raw:
        raw.steps(WARM_UP)
        return runs * STEPS / seconds_of(lambda: raw.steps(runs * STEPS))
