"""Commits that are slow, or must wait for other writers, are written on a thread. Each test says what would be lost.

`Congested` is a store at which somebody else is writing whenever a test says so.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import JournalError, OthersWriting, RunCancelled
from holdfast.journal.haste import is_hasty
from holdfast.journal.memory import MemoryJournal
from holdfast.protocols import Append
from holdfast.runtime.batch import PATIENCE_S

PATIENT_S = 20.0


class Congested(MemoryJournal):
    """Writes wait while `free` is not set, and those in haste fail."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.free = threading.Event()
        self.free.set()
        self.waiting = threading.Event()
        """Somebody waits."""
        self.on_threads = 0
        self.loop_thread = threading.get_ident()

    def _wait(self) -> None:
        if is_hasty() and not self.free.is_set():
            raise OthersWriting("somebody writes")
        if not self.free.is_set():
            assert threading.get_ident() != self.loop_thread, "the loop waits for the store"
            self.waiting.set()
            assert self.free.wait(PATIENT_S)
        self.on_threads += threading.get_ident() != self.loop_thread

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        self._wait()
        return super().append(appends)

    def post_all(self, posts: Any) -> Any:
        self._wait()
        return super().post_all(posts)

    def claim(self, *which: Any, **how: Any) -> Any:
        self._wait()
        return super().claim(*which, **how)

    def release(self, *which: Any) -> None:
        self._wait()
        super().release(*which)


@pytest.fixture
def crowd(quick: Any) -> Any:
    """A world whose store is shared with somebody who writes."""
    quick.store = Congested(clock=quick.clock.now, is_dead=lambda worker: worker.id in quick.dead)
    return quick


async def seen(event: threading.Event) -> None:
    """Let the loop turn until it is set."""
    while not event.is_set():
        await asyncio.sleep(0)


def test_the_loop_turns_and_nobody_is_answered_before_the_commit(crowd: Any, shop: Any) -> None:
    """Lost: the lease of all runs, while one commit waits; or the record of what an agent was told."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        crowd.store.free.clear()
        return await shop.pay("A")

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await seen(crowd.store.waiting)
        ticked = app._worker._ticked_at
        while app._worker._ticked_at - ticked < 0.1:
            await asyncio.sleep(0.01)
        assert shop.paid() == [], "the intent is not written, so nothing may begin"
        assert crowd.kinds() == [Kind.RUN_STARTED] and not running.done()
        crowd.store.free.set()
        return await running

    assert crowd.play(scenario) == "paid A (1)"
    assert crowd.kinds() == [Kind.RUN_STARTED, Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED, Kind.RUN_ENDED]
    assert crowd.store.on_threads > 0


@pytest.mark.parametrize("seed", range(6))
def test_every_run_keeps_its_order_whoever_writes_meanwhile(crowd: Any, seed: int) -> None:
    """Lost: an event that was added while an append was under way is dropped, or written twice, or before another."""
    chance = random.Random(seed)
    is_over = threading.Event()

    def others() -> None:
        while not is_over.is_set():
            crowd.store.free.clear()
            is_over.wait(chance.random() * 0.002)
            crowd.store.free.set()
            is_over.wait(chance.random() * 0.002)

    @hf.tool(effect="once")
    async def act(key: str, n: int) -> int:
        crowd.effects.append((key, n))
        for _ in range(n % 3):
            await asyncio.sleep(0)
        return n

    @hf.tool(effect="read")
    async def look(key: str, n: int) -> str:
        return f"{key}{n}" + "x" * (300_000 if n == 2 else 1)

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=50))
    async def agent(run: hf.Run, key: str) -> Any:
        acts = asyncio.gather(*(act(key, n) for n in range(4)))
        looks = asyncio.gather(*(look(key, n) for n in range(4)))
        await run.signal("go")
        await run.decide("way", key, because="it is its name")
        return [await acts, [len(text) for text in await looks]]

    async def scenario(app: hf.App) -> Any:
        async def one(key: str) -> Any:
            running = asyncio.ensure_future(app.run(agent, key, key=key))
            await asyncio.sleep(0.01 * chance.random())
            while True:
                try:
                    await app.signal(crowd.id(key), "go", by="ann")
                    return await running
                except hf.NotFound:
                    await asyncio.sleep(0)

        return await asyncio.gather(*(one(f"k{i}") for i in range(8)))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        results = crowd.play(scenario, serves=True)
    finally:
        is_over.set()
        thread.join()
    assert [result[0] for result in results] == [[0, 1, 2, 3]] * 8
    assert len(crowd.effects) == len(set(crowd.effects)) == 32
    assert crowd.store.on_threads > 0
    for i in range(8):
        events = crowd.events(key=f"k{i}")
        assert [event.kind for event in events].count(Kind.STEP_INTENDED) >= 4
        assert events[0].kind is Kind.RUN_STARTED and events[-1].kind is Kind.RUN_ENDED
        begun: set[Any] = set()
        for event in events:
            if event.kind is Kind.STEP_INTENDED:
                begun.add(event.address)
            elif event.kind is Kind.STEP_SUCCEEDED and event.effect is not None and event.effect.is_write:
                assert event.address in begun


def test_an_app_that_is_closed_meanwhile_waits_for_what_it_has_begun(crowd: Any, shop: Any) -> None:
    """Lost: an outcome, or the release of a run, that a thread was to write when the store was closed."""
    over: list[Any] = []

    @hf.tool(effect="once")
    async def pay(what: str) -> str:
        crowd.effects.append(what)
        crowd.store.free.clear()
        return what

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        await pay("A")
        return await pay("B")

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await seen(crowd.store.waiting)
        threading.Timer(0.4, lambda: (over.append(crowd.kinds()), crowd.store.free.set())).start()
        running.cancel()

    crowd.play(scenario, drain_s=0.05, close_s=0.05)
    assert over == [[Kind.RUN_STARTED, Kind.STEP_INTENDED]]
    assert Kind.STEP_SUCCEEDED in crowd.kinds()
    assert crowd.effects == ["A"] and crowd.store.owner(crowd.id()) is None


def test_a_cancel_meanwhile_is_carried_out_after_it(crowd: Any, shop: Any) -> None:
    """Lost: the order of what a run says: its end before the outcome that it was waiting for."""

    @hf.tool(effect="once")
    async def pay(what: str) -> str:
        crowd.store.free.clear()
        return what

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        await pay("A")
        await asyncio.Event().wait()

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await seen(crowd.store.waiting)
        cancelling = asyncio.ensure_future(app.cancel(crowd.id(), by="ann"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not cancelling.done(), "its message is not stored yet"
        crowd.store.free.set()
        await cancelling
        with pytest.raises(RunCancelled):
            await running

    crowd.play(scenario)
    assert crowd.kinds() == [Kind.RUN_STARTED, Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED, Kind.RUN_ENDED]


def test_a_store_that_stays_busy_gives_the_run_back_and_loses_nothing(crowd: Any, shop: Any) -> None:
    """Lost: a run that waits for ever for a store whose other writer was stopped; or its effect, done twice."""

    @hf.tool(effect="once", verify=lambda key, **_: hf.Done("paid"))
    async def pay(what: str) -> str:
        crowd.effects.append(what)
        return what

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        return await pay("A")

    class Impatient(Congested):
        """Each try of a thread takes as long as all patience."""

        fails = 0

        def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
            if any(event.kind is Kind.STEP_SUCCEEDED for each in appends for event in each.events) and self.fails < 3:
                self.fails += 1
                crowd.clock.by_s += PATIENCE_S
                raise OthersWriting("somebody writes")
            return super().append(appends)

    crowd.store = Impatient(clock=crowd.clock.now, is_dead=lambda worker: worker.id in crowd.dead)
    crowd.clock.monotonic = lambda: crowd.clock.now()
    with pytest.raises(OthersWriting):
        crowd.run(agent, lease_s=1_000)
    assert crowd.effects == ["A"] and crowd.kinds() == [Kind.RUN_STARTED, Kind.STEP_INTENDED]
    assert crowd.run(agent, lease_s=1_000) == "paid" and crowd.effects == ["A"]


def test_a_message_waits_on_a_thread_too(crowd: Any) -> None:
    """Lost: the loop, at each start and each answer while others write."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        return given

    async def scenario(app: hf.App) -> Any:
        crowd.store.free.clear()
        running = asyncio.ensure_future(app.run(agent, 7, key="k"))
        await seen(crowd.store.waiting)
        assert crowd.store.head(crowd.id()) is None
        crowd.store.free.set()
        return await running

    assert crowd.play(scenario) == 7 and crowd.head().status is Status.SUCCEEDED
