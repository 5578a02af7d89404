"""Values of more than 256 KiB in a real run: who writes them, what waits meanwhile, and what a crash leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import StoreUnreachable, Unencodable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.journal.tags import SIZE_MAX
from holdfast.protocols import Journal
from holdfast.testing.crash import Scenario, sweep

TEXT = "a large value " * 40_000
PUTS = ("put_blob:before", "put_blob:after")


@hf.tool(effect="once")
async def once(text: str) -> str:
    return text + "!"


@hf.agent(name="large", budget=hf.Budget(tool_calls=20))
async def large(run: hf.Run, text: str) -> str:
    said = await run.ask("What?")
    return text + str(said.value) + await once(text)


class Slow(SqliteJournal):
    """Its puts wait until they may go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, clock=time.time)
        self.threads: list[str] = []
        self.put: Callable[[], None] = lambda: None

    def put_blob(self, data: bytes) -> str:
        self.threads.append(threading.current_thread().name)
        self.put()
        return super().put_blob(data)


def test_other_runs_go_on_while_a_large_result_is_put(tmp_path: Path) -> None:
    """Lost: the loop, all runs on it and their leases, for as long as a large value takes to write."""
    journal = Slow(tmp_path / "store.db")
    is_being_put, others_are_done = threading.Event(), threading.Event()
    journal.put = lambda: (is_being_put.set(), others_are_done.wait(60))[0]
    order: list[str] = []

    @hf.agent(name="big", budget=hf.Budget(tool_calls=9))
    async def big(run: hf.Run, given: str) -> int:
        found = await run.step("fetch", fetch)
        order.append("big")
        return len(found)

    async def fetch() -> str:
        return TEXT

    async def small() -> int:
        return 1

    @hf.agent(name="other", budget=hf.Budget(tool_calls=9))
    async def other(run: hf.Run, given: str) -> int:
        total = sum([await run.step("small", small) for _ in range(5)])
        order.append("other")
        return total

    async def main() -> list[int]:
        async with hf.App(journal, agents=[big, other]) as app:
            first = asyncio.create_task(app.run(big, "", key="big"))
            while not is_being_put.is_set():
                await asyncio.sleep(0)
            total = await app.run(other, "", key="other")
            others_are_done.set()
            return [await first, total]

    assert asyncio.run(main()) == [len(TEXT), 5]
    assert order == ["other", "big"] and journal.threads == ["holdfast blob"]
    assert journal.facts()["blobs"] == 1
    journal.close()


def test_steps_of_the_same_run_keep_their_order_behind_a_large_one(world: Any) -> None:
    """Lost: the order of outcomes, or the large one, when small steps of the run end while it is being put."""

    async def sized(size: int) -> str:
        return "x" * size

    @hf.agent(name="fan", budget=hf.Budget(tool_calls=50))
    async def fan(run: hf.Run, given: str) -> list[int]:
        sizes = [10, 300_000, 20, 400_000, 30, 500_000] * 3
        found = await asyncio.gather(*(run.step(f"s{i}", sized, size) for i, size in enumerate(sizes)))
        return [len(text) for text in found]

    sizes = [10, 300_000, 20, 400_000, 30, 500_000] * 3
    assert world.run(fan, "") == sizes == world.run(fan, "")
    assert len(world.events(Kind.STEP_SUCCEEDED)) == 18 and world.head().status is Status.SUCCEEDED
    assert world.store.facts()["blobs"] == 3


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_input_arguments_answer_result_and_replay(tmp_path: Path, kind: str) -> None:
    """Lost: a value that grew over the limit, on any of its ways into the record, or out of it."""
    path = tmp_path / "store.db"
    journal: Journal = MemoryJournal(clock=time.time) if kind == "memory" else SqliteJournal(path, clock=time.time)
    answer = "answer " * 50_000

    async def main() -> str:
        async with hf.App(journal, agents=[large]) as app:
            with pytest.raises(hf.errors.RunWaiting):
                await app.run(large, TEXT, key="k", wait=0)
            [head] = journal.heads(key="k")
            await app.answer(head.run_id, head.questions[0].id, answer)
            return await app.run(large, TEXT, key="k")

    expected = TEXT + answer + TEXT + "!"
    assert asyncio.run(main()) == asyncio.run(main_again(journal)) == expected
    assert journal.facts()["blobs"] == 5, "input, arguments, result of the tool, answer, result of the run"
    journal.close()


async def main_again(journal: Journal) -> str:
    async with hf.App(journal, agents=[large]) as app:
        return await app.run(large, TEXT, key="k")


def test_a_put_that_fails_stops_its_run_and_loses_nothing(tmp_path: Path) -> None:
    """Lost: on a full disk, the run would hang for ever or go on from what is not written."""
    journal = Slow(tmp_path / "store.db")

    @hf.agent(name="one", budget=hf.Budget(tool_calls=9))
    async def one(run: hf.Run, given: str) -> int:
        return len(await once(given * 10))

    def full() -> None:
        raise StoreUnreachable("planned by the test")

    journal.put = full
    with pytest.raises(StoreUnreachable, match="planned"):
        hf.App(journal).run_sync(one, "x" * 100_000, key="k")
    journal.put = lambda: None
    assert hf.App(journal).run_sync(one, "x" * 100_000, key="k") == 1_000_001
    journal.close()


def test_an_app_that_closes_while_a_large_value_is_put_leaves_nothing_behind(tmp_path: Path) -> None:
    """Lost: a thread that writes to a closed store, and a task that nobody waits for, at each shutdown under load."""
    journal = Slow(tmp_path / "store.db")
    is_being_put, may_go_on = threading.Event(), threading.Event()
    journal.put = lambda: (is_being_put.set(), may_go_on.wait(60))[0]
    settings = hf.Settings(drain_s=0.05, close_s=0.05, quiet_s=0.02)

    async def fetch() -> str:
        return TEXT

    @hf.agent(name="cut", budget=hf.Budget(tool_calls=9))
    async def cut(run: hf.Run, given: str) -> int:
        return len(await run.step("fetch", fetch))

    async def main() -> set[Any]:
        async with hf.App(journal, agents=[cut], settings=settings) as app:
            await app.start(cut, "", key="k")
            while not is_being_put.is_set():
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.3, may_go_on.set)
        assert may_go_on.is_set(), "the app waited for the value"
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()
    assert hf.App(journal).run_sync(cut, "", key="k") == len(TEXT)
    journal.close()


class Large(Scenario):
    """One run whose input and result are large, killed everywhere."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self, trial: str) -> str:
        return str(self.directory / f"{trial}.db")

    def run(self, place: str, journal: Callable[[Journal], Journal]) -> None:
        store = journal(SqliteJournal(place, clock=time.time))
        hf.App(store, settings=hf.Settings(settle_s=0.0, poll_s=0.02)).run_sync(echoes, TEXT, key="k")

    def check(self, place: str, kills: Any) -> list[str]:
        store = SqliteJournal(place, clock=time.time)
        try:
            facts, [head] = store.facts(), store.heads()
            events = store.events(head.run_id)
            wrong = [] if head.status is Status.SUCCEEDED else [f"{kills}: the run is {head.status}"]
            wrong += facts["problems"] if facts["blobs"] == 3 else [f"{kills}: {facts['blobs']} blobs"]
            results = [event.body for event in events if event.kind is Kind.STEP_SUCCEEDED]
            return wrong if results == [f'"{TEXT}?"'.encode()] else [*wrong, f"{kills}: another result"]
        finally:
            store.close()


@hf.tool(effect="read")
async def echo(text: str) -> str:
    return text + "?"


@hf.agent(name="echoes", budget=hf.Budget(tool_calls=200))
async def echoes(run: hf.Run, text: str) -> str:
    return await echo(text) + "."


@pytest.mark.timeout(120)
def test_killed_around_the_writes_of_large_values(tmp_path: Path) -> None:
    """Lost: as below; the default run's sample."""
    report = sweep(Large(tmp_path), every=5, seconds=0, windows=PUTS)
    report.require(kills=4, windows=PUTS)


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_killed_at_every_write_of_a_run_with_large_values(tmp_path: Path, record_property: Any) -> None:
    """Lost: a store that does not open, or a run that does not go on, after a crash between a blob and its row."""
    report = sweep(Large(tmp_path), seconds=1)
    report.require(kills=20, windows=PUTS)
    record_property("kills", sum(report.kills.values()))


@pytest.mark.timeout(120)
def test_a_value_at_the_limit_goes_through_a_run_and_one_above_it_is_refused(tmp_path: Path) -> None:
    """Lost: the largest values that are promised."""

    async def fetch(size: int) -> str:
        return "x" * size

    @hf.agent(name="limit", budget=hf.Budget(tool_calls=9))
    async def limit(run: hf.Run, size: int) -> int:
        return len(await run.step("fetch", fetch, size))

    app = hf.App(str(tmp_path / "store.db"))
    assert app.run_sync(limit, SIZE_MAX - 2, key="k") == SIZE_MAX - 2
    assert app.run_sync(limit, SIZE_MAX - 2, key="k") == SIZE_MAX - 2
    with pytest.raises(Unencodable, match="100 MiB"):
        app.run_sync(large, "x" * (SIZE_MAX - 1), key="too large")
