"""The queue of model calls: 1,000 runs are not 1,000 calls at once, and what one run is told holds for all."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from holdfast.runtime.gate import WAIT_S_MAX, Gate
from holdfast.testing.clock import ManualClock


class Left(NamedTuple):
    """What is left of a limit."""

    what: str
    remaining: int
    resets_at: float


class Queue:
    """Callers at a gate of so many slots."""

    def __init__(self, slots: int) -> None:
        self.clock = ManualClock()
        self.gate = Gate(self.clock, slots)
        self.under_way: list[str] = []
        self.begun: list[tuple[str, float]] = []
        self.most = 0
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str, account: str = "a") -> None:
        """These come to the gate, in this order."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._call(name, account))
        await self.clock.settle()

    async def _call(self, name: str, account: str) -> None:
        async with self.gate.turn(account):
            self.under_way.append(name)
            self.begun.append((name, self.clock.now() - 1_700_000_000.0))
            self.most = max(self.most, len(self.under_way))
            try:
                await self.ends[name].wait()
            finally:
                self.under_way.remove(name)

    async def end(self, *names: str) -> None:
        """These calls are over."""
        for name in names:
            self.ends[name].set()
        await self.clock.settle()

    async def cancel(self, *names: str) -> None:
        """The callers go away."""
        for name in names:
            self.tasks[name].cancel()
        await self.clock.settle()
        for name in names:
            assert self.tasks[name].cancelled()

    async def drain(self) -> None:
        """All that were not cancelled come to their turn."""
        for name, task in self.tasks.items():
            self.ends[name].set()
            if not task.cancelled():
                await self.clock.settle()
        assert [name for name, task in self.tasks.items() if not task.done()] == []
        assert (self.gate.waiting, self.under_way) == (0, [])

    def told(self, retry_after_s: float | None = None, *left: Left, account: str = "a") -> None:
        """What the provider says with an answer."""
        self.gate.told(account, left, retry_after_s)

    def at(self, in_s: float) -> float:
        """A time from now on."""
        return self.clock.now() + in_s


async def test_no_more_than_so_many_calls_are_under_way() -> None:
    """Else a thousand runs open a thousand connections at once, and the provider answers all of them with 429."""
    queue = Queue(3)
    names = [str(number) for number in range(20)]
    await queue.ask(*names)
    assert queue.under_way == ["0", "1", "2"] and queue.gate.waiting == 17
    await queue.end("1")
    assert queue.under_way == ["0", "2", "3"]
    await queue.drain()
    assert queue.most == 3
    assert [name for name, _ in queue.begun] == names, "first come, first served"


async def test_a_wait_that_the_provider_asks_for_holds_every_run_of_that_account() -> None:
    """Else each run finds the limit by itself, and each finding is one more 429."""
    queue = Queue(3)
    queue.told(7.0)
    await queue.ask("1", "2")
    await queue.ask("other", account="b")
    assert queue.under_way == ["other"]
    await queue.clock.advance(6.9)
    assert queue.under_way == ["other"]
    await queue.clock.advance(0.1)
    assert queue.under_way == ["other", "1", "2"]
    await queue.drain()


async def test_calls_that_were_already_in_the_queue_are_held_too() -> None:
    """A 429 comes while others wait for a slot: they must not all run into it, one after the other."""
    queue = Queue(1)
    await queue.ask("limited", "1", "2")
    queue.told(5.0)
    await queue.end("limited")
    assert queue.under_way == []
    await queue.ask("other", account="b")
    assert queue.under_way == ["other"], "a call that waits for its time holds no slot"
    await queue.end("other")
    await queue.clock.advance(5.0)
    assert queue.under_way == ["1"]
    await queue.drain()


async def test_a_longer_wait_that_is_told_meanwhile_counts() -> None:
    """A provider that says "5 s", and then "20 s", means the later."""
    queue = Queue(2)
    queue.told(5.0)
    await queue.ask("1")
    await queue.clock.advance(4.0)
    queue.told(20.0)
    await queue.clock.advance(19.9)
    assert queue.under_way == []
    await queue.clock.advance(0.1)
    assert queue.under_way == ["1"]
    await queue.drain()


async def test_a_shorter_wait_does_not_call_off_a_longer_one() -> None:
    """Parallel calls are told different times; the first to be over must not open the gate for all."""
    queue = Queue(2)
    queue.told(20.0)
    queue.told(1.0)
    await queue.ask("1")
    await queue.clock.advance(19.9)
    assert queue.under_way == []
    await queue.clock.advance(0.1)
    await queue.drain()


@pytest.mark.parametrize("absurd", [WAIT_S_MAX + 1, 86_400.0, 1e12, float("inf")])
async def test_an_absurd_wait_is_not_believed_for_long(absurd: float) -> None:
    """One header must not stop every run for a year."""
    queue = Queue(1)
    queue.told(absurd)
    queue.told(None, Left("requests", 0, queue.at(absurd)), Left("tokens", 0, queue.at(absurd)))
    await queue.ask("1")
    await queue.clock.advance(WAIT_S_MAX)
    assert queue.under_way == ["1"]
    await queue.drain()


@pytest.mark.parametrize("past", [0.0, -1.0, -1e12, float("-inf")])
async def test_a_time_that_is_past_holds_nobody(past: float) -> None:
    """A provider's clock may be behind ours."""
    queue = Queue(1)
    queue.told(past if past == 0.0 else None, Left("requests", 0, queue.at(past)), Left("tokens", 0, queue.at(past)))
    await queue.ask("1")
    assert queue.under_way == ["1"]
    await queue.drain()


async def test_as_many_requests_as_are_left_are_made_and_no_more() -> None:
    """The header says how many may follow; the rest come when the window is over."""
    queue = Queue(9)
    queue.told(None, Left("requests", 2, queue.at(10.0)))
    await queue.ask("1", "2", "3", "4")
    assert queue.under_way == ["1", "2"]
    await queue.clock.advance(10.0)
    assert queue.under_way == ["1", "2", "3", "4"]
    await queue.drain()


async def test_no_tokens_left_hold_everybody_and_some_left_nobody() -> None:
    """How many the next call takes, nobody knows; with none left it is certain."""
    queue = Queue(9)
    queue.told(None, Left("input_tokens", 1, queue.at(10.0)))
    await queue.ask("1")
    assert queue.under_way == ["1"]
    queue.told(None, Left("tokens", 0, queue.at(3.0)), Left("output_tokens", 0, queue.at(8.0)))
    await queue.ask("2")
    await queue.clock.advance(7.9)
    assert queue.under_way == ["1"]
    await queue.clock.advance(0.1)
    assert queue.under_way == ["1", "2"]
    await queue.drain()


@pytest.mark.parametrize("where", ["for a slot", "for its time", "under way"])
async def test_a_caller_that_goes_away_leaves_no_slot_behind(where: str) -> None:
    """A slot that is lost with each cancelled call ends in an app that calls no model any more."""
    queue = Queue(2)
    if where == "for its time":
        queue.told(5.0)
        await queue.ask("x", "y", "z")
        await queue.cancel("x", "y", "z")
    else:
        await queue.ask("x", "y", "z")
        await queue.cancel(*({"for a slot": ["z"], "under way": ["x", "z", "y"]}[where]))
    await queue.clock.advance(5.0)
    await queue.end(*queue.under_way)
    await queue.ask("1", "2", "3")
    assert queue.under_way == ["1", "2"]
    await queue.drain()


async def test_a_caller_that_goes_away_before_its_turn_takes_nothing_of_what_is_left() -> None:
    """What was not asked for is left for others."""
    queue = Queue(1)
    await queue.ask("busy")
    queue.told(None, Left("requests", 1, queue.at(10.0)))
    await queue.ask("gone")
    await queue.cancel("gone")
    await queue.end("busy")
    await queue.ask("1")
    assert queue.under_way == ["1"]
    await queue.drain()


async def test_a_caller_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    """The slot is given and the task is cancelled in the same turn of the loop."""
    queue = Queue(1)
    await queue.ask("busy", "gone", "next")
    queue.ends["busy"].set()
    await asyncio.sleep(0)
    queue.tasks["gone"].cancel()
    await queue.clock.settle()
    assert "next" in queue.under_way or "next" in [name for name, _ in queue.begun]
    await queue.drain()


def test_two_gates_know_nothing_of_each_other() -> None:
    """Each app has its own providers and its own number."""

    async def main() -> list[Any]:
        one, other = Queue(1), Queue(1)
        one.told(9.0)
        await other.ask("1")
        return list(other.under_way)

    assert asyncio.run(main()) == ["1"]
