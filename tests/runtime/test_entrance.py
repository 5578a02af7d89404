"""Runs that are claimed together: none is left outside, and those that are at work are not drowned by newcomers."""

from __future__ import annotations

import asyncio
from typing import Any

import holdfast as hf
from holdfast.core.accept import MessageKind
from holdfast.core.heads import Head, Status
from holdfast.journal.memory import MemoryJournal
from holdfast.protocols import Claim, Lease, Worker
from holdfast.runtime.entrance import AT_ONCE, STALLED_S, TICK_S, Entrance
from holdfast.testing.clock import ManualClock


class Door:
    """An entrance, and who has come in."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.inside: list[str] = []
        self.left = 0
        self.begun: list[Claim] = []
        self.entrance = Entrance(self.clock, self._begin, lambda: len(self.inside) - self.left)

    def _begin(self, claim: Claim) -> None:
        self.begun.append(claim)
        self.inside.append(claim.lease.run_id)

    def come(self, count: int) -> None:
        """So many are claimed."""
        first = len(self.inside) + len(self.entrance)
        for number in range(first, first + count):
            head = Head(f"r{number}", "k", "a", "", Status.READY, 0.0, 0.0)
            self.entrance.add(Claim(Lease(f"r{number}", "w", 1), head, False, mail=()))

    def leave(self, count: int) -> None:
        """So many have ended."""
        for _ in range(count):
            self.left += 1
            self.entrance.look()


async def test_they_begin_in_order_as_others_end() -> None:
    """Lost: the first to be claimed could wait for ever while later ones go past it."""
    door = Door()
    door.inside = [f"r{number}" for number in range(AT_ONCE)]
    door.come(10)
    assert len(door.entrance) == 10 and door.entrance.room() == 0
    door.leave(3)
    assert door.inside[AT_ONCE:] == [f"r{AT_ONCE + number}" for number in range(3)]
    door.leave(30)
    assert door.inside == [f"r{number}" for number in range(AT_ONCE + 10)] and not door.entrance


async def test_a_loop_that_keeps_up_lets_more_in() -> None:
    """Lost: agents that wait for their models would keep the others outside of a process that has nothing to do."""
    door = Door()
    door.come(3 * AT_ONCE)
    for turns in (1, 2, 3):
        await door.clock.advance(TICK_S)
        assert len(door.inside) == turns * AT_ONCE
    await door.clock.advance(10)
    assert len(door.inside) == 3 * AT_ONCE


async def test_a_late_loop_lets_nobody_in_but_nobody_is_forgotten() -> None:
    """Lost: a loop that is behind gets further behind; or a run waits for as long as others keep the loop busy."""
    door = Door()
    door.come(2 * AT_ONCE)
    waited_s = 0.0
    while not door.inside:
        door.clock.jump(2 * TICK_S)
        await door.clock.advance(0)
        waited_s += 2 * TICK_S
    assert STALLED_S <= waited_s < STALLED_S + 4 * TICK_S
    assert len(door.inside) == AT_ONCE


async def test_who_waits_for_a_run_to_begin_is_told() -> None:
    """Lost: a caller that waits for a run which has begun, or was given back, for ever."""
    door = Door()
    door.come(2)
    waiting = [asyncio.create_task(door.entrance.begun(run)) for run in ("r0", "r0", "r1", "unknown")]
    await asyncio.sleep(0)
    door.leave(0)
    await door.clock.advance(TICK_S)
    await asyncio.gather(*waiting)
    door.come(1)
    again = asyncio.create_task(door.entrance.begun("r2"))
    await asyncio.sleep(0)
    assert [claim.lease.run_id for claim in door.entrance.empty()] == ["r2"]
    await again
    assert "r2" not in door.inside


async def test_mail_that_comes_meanwhile_is_asked_for() -> None:
    """Lost: a cancel that arrives between a run's claim and its beginning is not seen before its end."""
    door = Door()
    door.come(2)
    door.entrance.has_mail("r1")
    await door.clock.advance(TICK_S)
    assert [claim.mail for claim in door.begun] == [(), None]


async def test_runs_that_wait_for_one_another_all_begin() -> None:
    """Lost: a thousand agents of which each waits for all others would wait for ever."""
    count, arrived, all_there = 3 * AT_ONCE, 0, asyncio.Event()

    @hf.agent(name="meets")
    async def meets(run: hf.Run, number: int) -> int:
        nonlocal arrived
        arrived += 1
        if arrived == count:
            all_there.set()
        await all_there.wait()
        return number

    async with hf.App("memory:") as app:
        runs = [app.run(meets, number, key=str(number)) for number in range(count)]
        assert await asyncio.wait_for(asyncio.gather(*runs), 30) == [*range(count)]


async def test_what_has_not_begun_is_given_back_at_a_shutdown() -> None:
    """Lost: runs that were claimed and not begun stay with a worker that is gone, until its lease runs out."""
    journal, count, began = MemoryJournal(clock=(clock := ManualClock()).now), AT_ONCE + 50, list[Any]()

    @hf.agent(name="waits")
    async def waits(run: hf.Run, number: int) -> None:
        began.append(number)
        await asyncio.Event().wait()

    async with hf.App(journal, clock=clock) as app:
        ids = await asyncio.gather(*(app.start(waits, number, key=str(number)) for number in range(count)))
        await clock.settle()
        assert len(began) == AT_ONCE
        await app.cancel(ids[-1], by="ada")
    assert [journal.owner(run) for run in ids] == [None] * count
    assert [journal.head(run).status for run in ids[AT_ONCE:]] == [Status.READY] * 50  # type: ignore[union-attr]
    assert [mail.message.kind for mail in journal.mail(ids[-1])] == [
        MessageKind.START,
        MessageKind.CANCEL,
    ]


async def test_what_was_taken_over_before_it_began_begins_nothing_here() -> None:
    """Lost: P3. A process that was stopped renews its lease as soon as it goes on, and begins what another worker has
    taken meanwhile. That a run's first append is refused then is no reason to let it begin something before that."""
    journal, began = MemoryJournal(clock=(clock := ManualClock()).now), list[int]()

    @hf.tool(effect="read")
    async def look(number: int) -> None:
        began.append(number)

    @hf.agent(name="looks", budget=hf.Budget(tool_calls=9))
    async def looks(run: hf.Run, number: int) -> None:
        if number < AT_ONCE:
            await asyncio.Event().wait()
        await look(number)

    async with hf.App(journal, clock=clock) as app:
        ids = [await app.start(looks, number, key=str(number)) for number in range(AT_ONCE + 3)]
        await clock.settle()
        waiting = [Lease(run, app._worker.id, 1) for run in ids[AT_ONCE:]]
        clock.jump(31)
        journal.register(Worker("other"), 30.0)
        assert len(journal.claim("other", run_ids=ids[AT_ONCE + 1 :])) == 2
        app._worker._renew()  # as its thread does
        assert [app._worker._is_fenced(lease) for lease in waiting] == [False, True, True]
        await clock.advance(1)
        assert began == [AT_ONCE], "of the one that nobody has taken"
