"""A run that is to leave, to end or to rest while the intent of an effect is being written: the effect counts as under
way from then on. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.core.state import fold
from holdfast.errors import JournalError
from holdfast.journal.memory import MemoryJournal
from holdfast.protocols import Append
from holdfast.runtime.clock import SystemClock

TURNS = 5
"""Of the loop, in the body of an effect: time enough to be cut short."""


class Hooked(MemoryJournal):
    """Says when an intent has just been written, before whoever waits for that hears of it."""

    on_intent: Callable[[], None] | None = None

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        written = super().append(appends)
        called = self.on_intent
        if called is not None and any(e.kind is Kind.STEP_INTENDED for a in appends for e in a.events):
            self.on_intent = None
            called()
        return written


async def interrupted(how: Callable[[Any], Any], effect: Any) -> tuple[list[str], Any]:
    """What became of two effects whose intents are being written as the run is interrupted, and of the run."""
    said: list[str] = []

    @hf.tool(effect=effect)
    async def pay(what: str) -> str:
        said.append(f"{what} begun")
        for _ in range(TURNS):
            await asyncio.sleep(0)
        said.append(f"{what} done")
        return what

    @hf.agent(name="payer", budget=hf.Budget(tool_calls=10))
    async def payer(run: hf.Run, given: None) -> list[str]:
        return list(await asyncio.gather(pay("a"), pay("b")))

    journal = Hooked(clock=SystemClock().now)
    tasks: list[asyncio.Task[Any]] = []
    async with hf.App(journal) as app:
        run = await app.start(payer, None, key="k")
        [driver] = app._worker.drivers.values()  # type: ignore[union-attr]

        async def interrupt() -> None:
            if (found := how(driver)) is not None:
                await found

        journal.on_intent = lambda: tasks.append(asyncio.create_task(interrupt()))
        await driver.finished()
        await asyncio.gather(*tasks)
        return said, fold(journal.events(run))


@pytest.mark.parametrize("effect", ["once", "idempotent"])
async def test_a_shutdown_waits_for_an_effect_whose_intent_is_being_written(effect: str) -> None:
    """Lost: R14. A deploy in the moment of a commit leaves a payment in doubt, or lets another process have the run
    while it is being made."""
    said, state = await interrupted(lambda driver: driver.shut_down(), effect)
    assert sorted(said) == ["a begun", "a done", "b begun", "b done"]
    assert not [slot for slot in state.slots.values() if slot.is_in_flight]
    assert (state.status, state.why) == (Status.SUSPENDED, "shutdown")


@pytest.mark.parametrize("effect", ["once", "idempotent"])
@pytest.mark.parametrize("status", [Status.CANCELLED, Status.STOPPED])
async def test_an_end_waits_for_it_too(effect: str, status: Status) -> None:
    """Lost: what `cancel` promises: an effect in flight finishes first."""
    said, state = await interrupted(lambda driver: driver.stop(status, "it is enough"), effect)
    assert sorted(said) == ["a begun", "a done", "b begun", "b done"]
    assert not [slot for slot in state.slots.values() if slot.is_in_flight]
    assert (state.status, state.end.meta.count("In doubt")) == (status, 0)


@pytest.mark.parametrize("effect", ["once", "idempotent"])
async def test_a_pause_waits_for_it_too(effect: str) -> None:
    """Lost: a run that says it is paused while it pays."""
    said, state = await interrupted(lambda driver: driver.pause(), effect)
    assert sorted(said) == ["a begun", "a done", "b begun", "b done"]
    assert not [slot for slot in state.slots.values() if slot.is_in_flight]
    assert (state.status, state.why) == (Status.SUSPENDED, "paused")


@pytest.mark.parametrize("effect", ["once", "idempotent"])
async def test_what_was_only_asked_for_as_a_shutdown_began_is_not_begun(effect: Any) -> None:
    """Lost: a payment that begins while the run is given back to others."""
    said: list[str] = []
    leaving: list[asyncio.Task[Any]] = []

    @hf.tool(effect=effect)
    async def pay(what: str) -> None:
        said.append(what)

    async with hf.App("memory:") as app:

        @hf.agent(name="payer", budget=hf.Budget(tool_calls=10))
        async def payer(run: hf.Run, given: None) -> None:
            [driver] = app._worker.drivers.values()  # type: ignore[union-attr]
            paying = asyncio.create_task(pay("a"))
            leaving.append(asyncio.create_task(driver.shut_down()))
            await paying

        run = await app.start(payer, None, key="k")
        while not leaving:
            await asyncio.sleep(0)
        await asyncio.gather(*leaving)
        state = fold(app.journal.events(run))
    assert (said, list(state.slots)) == ([], [])
    assert (state.status, state.why) == (Status.SUSPENDED, "shutdown")
