"""Row `model_turns`: whether a model call costs the same after 3,200 turns of 1 KB as after 200, in bytes and in time.

Each request repeats the whole conversation, 3.3 MB of it in the end. Two apps in one process, one run each; requests
go through `hf.instrument()` to a transport that answers from memory, without an SDK or a socket, which would take
longer than all else. The last 100 turns of both runs are made in turns, each beside the same request outside a run:
time is what the run adds to that, its commits included. Bytes: files of the closed stores, less one whose run made no
call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import perf_counter

import httpx2

import holdfast as hf
from bench.inside import Inside, inside
from bench.measure import Place, Row, Target, median
from bench.provider import MODEL, Transport, turns

HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
END = json.dumps({"model": MODEL, "max_tokens": 1_000})[1:].encode()


def measure(place: Place) -> Row:
    """Late ÷ early, in bytes and in time."""
    early, late, window = (200, 3_200, 100) if not place.is_quick else (15, 30, 10)
    with place.scratch() as directory:
        added = asyncio.run(_measure(directory, early, late, window))
        base = (directory / "0.db").stat().st_size
        stored = {count: ((directory / f"{count}.db").stat().st_size - base) / count for count in added}
    row = Row()
    for name, count in (("early", early), ("late", late)):
        row.numbers |= {f"{name}_added_ms": median(added[count]) * 1e3, f"{name}_bytes": stored[count]}
    row.ratios = {
        "model_call_time": median(added[late]) / median(added[early]),
        "model_call_bytes": stored[late] / stored[early],
    }
    row.targets = {name: Target(ratio, 1.2) for name, ratio in row.ratios.items()}
    return row


async def _measure(directory: Path, early: int, late: int, window: int) -> dict[int, list[float]]:
    """What each of the last turns took more, by the length of the conversation."""
    added: dict[int, list[float]] = {early: [], late: []}
    hf.instrument()
    async with AsyncExitStack() as open_, httpx2.AsyncClient(transport=Transport()) as client:
        open_.callback(hf.uninstrument)
        runs: list[tuple[int, Inside, Iterator[bytes]]] = []
        for count in (0, early, late):
            app = await open_.enter_async_context(hf.App(str(directory / f"{count}.db")))
            runs.append((count, await open_.enter_async_context(inside(app)), requests(count)))
        for count, run, bodies in runs[1:]:
            for _ in range(count - window):
                await run.do(partial(_post, client, next(bodies)))
        for _ in range(window):
            for count, run, bodies in runs[1:]:
                body = next(bodies)
                with hf.detached():
                    bare_s = await _post(client, body)
                added[count].append(await run.do(partial(_post, client, body)) - bare_s)
    return added


def requests(count: int) -> Iterator[bytes]:
    """The requests of a conversation of so many turns, each with one turn more."""
    messages = [json.dumps(message).encode() for message in turns(count)]
    for turn in range(count):
        yield b'{"messages":[' + b",".join(messages[: 2 * turn + 1]) + b"]," + END


async def _post(client: httpx2.AsyncClient, body: bytes) -> float:
    """Seconds of one call."""
    began = perf_counter()
    answer = await client.post("http://model.test/v1/messages", content=body, headers=HEADERS)
    took_s = perf_counter() - began
    answer.raise_for_status()
    return took_s
