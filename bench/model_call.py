"""Row `model_call`: what a model call costs more inside a run than without one, at 10 and at 800 turns of 1 KB.

The Anthropic SDK asks a server on the same loop: once as it ships, and once inside a run through `hf.http_client()`.
Beside each pair stand two raw commits of as many bytes as were recorded, which is how often a call is committed.
`added` is the difference less the journal's own commits, which row `step` is about, and has the target; `added_raw` is
the difference less the raw ones. On a disk that is busy the latter says more about the disk.

A streamed call has 200 events, and the server lets the reader run after each: nothing is gained by reading many at
once. `replay`: 200 recorded calls of a conversation that grows, answered from the record in a new app, against the
bare SDK on a transport that answers from memory; `replay_short` the same with conversations of one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import httpx2
from anthropic import AsyncAnthropic

import holdfast as hf
from bench.inside import Inside, inside
from bench.measure import Place, Row, Target, median, seconds_of
from bench.provider import EVENTS, MODEL, STREAM, Transport, server, turns
from bench.raw import RawStore
from holdfast.journal.sqlite import SqliteJournal
from holdfast.runtime.clock import SystemClock

T = TypeVar("T")
Found = dict[str, list[float]]
Call = Callable[[AsyncAnthropic, Sequence[Any]], Awaitable[None]]
WINDOW = 20
REPLAYED = 200
RECORDED_BYTES = 2_048
"""What a call of 1 KB adds to the log: the turn that is new, the answer, and what is said of both."""


def measure(place: Place) -> Row:
    """Milliseconds a call, added ones and ratios."""
    return asyncio.run(_measure(place))


async def _measure(place: Place) -> Row:
    row = Row()
    for name, count, is_stream in (("10", 10, False), ("800", 800, False), ("stream", 10, True)):
        count = place.count(count, 10)
        found: Found = {"bare": [], "holdfast": [], "commits": [], "raw": []}
        for _ in range(place.count(5, 1)):
            with place.scratch() as directory:
                await _side_by_side(directory, count, place.count(4, 1), found, is_stream=is_stream)
        _tell(row, name, found)
    whole, count = turns(REPLAYED), place.count(REPLAYED, 10)
    growing = [whole[: 2 * number + 1] for number in range(count)]
    short = [turns(1, str(number)) for number in range(count)]
    for name, asked in (("replay", growing), ("replay_short", short)):
        with place.scratch() as directory:
            took_s = await _replay(directory, asked, place.count(7, 1))
        row.numbers |= {f"{name}_{side}_ms": seconds * 1e3 for side, seconds in took_s.items()}
        row.ratios[f"model_call_{name}"] = took_s["holdfast"] / took_s["bare"]
    row.targets["model_call_replay"] = Target(row.ratios["model_call_replay"], 1.2)
    return row


def _tell(row: Row, name: str, found: Found) -> None:
    bare, ours = found["bare"], found["holdfast"]
    for side, times in found.items():
        row.numbers[f"{name}_{side}_ms"] = median(times) * 1e3
    for added, commits in (("added", found["commits"]), ("added_raw", found["raw"])):
        differences = [mine - less - commit for mine, less, commit in zip(ours, bare, commits, strict=True)]
        row.numbers[f"{name}_{added}_ms"] = median(differences) * 1e3
    row.ratios[f"model_call_{name}"] = (median(bare) + row.numbers[f"{name}_added_ms"] / 1e3) / median(bare)
    row.targets[f"model_call_{name}_ms"] = Target(row.numbers[f"{name}_added_ms"], 1.0)


# --- live calls --------------------------------------------------------------------------------------------------


class Timed(SqliteJournal):
    """The engine, which says how long its commits took."""

    commits_s = 0.0

    def append(self, appends: Any) -> Any:
        """See `Journal`."""
        began = perf_counter()
        try:
            return super().append(appends)
        finally:
            self.commits_s += perf_counter() - began


async def _side_by_side(directory: Path, count: int, conversations: int, found: Found, *, is_stream: bool) -> None:
    journal, raw = (
        Timed(directory / "holdfast.db", clock=SystemClock().now),
        RawStore(directory / "raw.db", RECORDED_BYTES),
    )
    call, first = _streamed if is_stream else _call, max(1, count - WINDOW // 2)
    async with server() as url, hf.App(journal) as app, inside(app) as run, AsyncAnthropic(**_at(url)) as bare:
        sides = _Sides(run, journal, raw, bare, AsyncAnthropic(**_at(url), http_client=hf.http_client()))
        for number in range(conversations):
            whole = turns(first + WINDOW, str(number))
            for turn in range(first, first + WINDOW):
                sample = await sides.ask(call, whole[: 2 * turn - 1])
                if turn > first:  # the first of a conversation is stored whole
                    for side, took_s in sample.items():
                        found[side].append(took_s)
    raw.close()


def _at(url: str) -> dict[str, Any]:
    return {"base_url": url, "api_key": "none", "max_retries": 0}


class _Sides(NamedTuple):
    """What is compared."""

    run: Inside
    journal: Timed
    raw: RawStore
    bare: AsyncAnthropic
    ours: AsyncAnthropic

    async def ask(self, call: Call, messages: Sequence[Any]) -> dict[str, float]:
        """One call of each."""
        sample = {"bare": await _seconds_of(lambda: call(self.bare, messages))}
        self.journal.commits_s = 0.0
        sample["holdfast"] = await self.run.do(lambda: _seconds_of(lambda: call(self.ours, messages)))
        sample["commits"] = self.journal.commits_s
        sample["raw"] = seconds_of(lambda: self.raw.steps(2))
        return sample


async def _seconds_of(work: Callable[[], Awaitable[None]]) -> float:
    began = perf_counter()
    await work()
    return perf_counter() - began


async def _call(client: AsyncAnthropic, messages: Sequence[Any]) -> None:
    await client.messages.create(model=MODEL, max_tokens=1_000, messages=messages)


async def _streamed(client: AsyncAnthropic, messages: Sequence[Any]) -> None:
    events = await client.messages.create(
        model=MODEL, max_tokens=1_000, messages=messages, stream=True, extra_headers=STREAM
    )
    count = 0
    async for _ in events:
        count += 1
    assert count >= EVENTS


# --- replay ------------------------------------------------------------------------------------------------------


async def _replay(directory: Path, asked: Sequence[Sequence[Any]], rounds: int) -> dict[str, float]:
    """Seconds for all calls, from the record and from memory: for each call the median over rounds in turns."""
    path, found = str(directory / "holdfast.db"), {"bare": list[list[float]](), "holdfast": list[list[float]]()}
    async with server() as url:
        for number in range(rounds + 1):
            async with hf.App(path) as app:
                ours = AsyncAnthropic(**_at(url), http_client=hf.http_client())
                took = await _until_there(app, partial(_each, ours, asked))
            if number:  # in the first life nothing was recorded
                found["holdfast"].append(took)
                async with httpx2.AsyncClient(transport=Transport()) as http:
                    found["bare"].append(await _each(AsyncAnthropic(**_at(url), http_client=http), asked))
    return {side: sum(median(times) for times in zip(*took, strict=True)) for side, took in found.items()}


async def _each(client: AsyncAnthropic, asked: Sequence[Sequence[Any]]) -> list[float]:
    """Seconds for each call."""
    return [await _seconds_of(partial(_call, client, messages)) for messages in asked]


async def _until_there(app: hf.App, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives inside a run that then goes no further, so that the next app has to go on with it."""
    found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def never() -> None:
        await asyncio.Event().wait()

    @hf.agent(name="replayed", budget=Inside.BUDGET)
    async def replayed(run: hf.Run, input: str) -> None:
        found.set_result(await work())
        await run.step("never", never, effect="read")

    await app.start(replayed, "", key="run")
    return await found
