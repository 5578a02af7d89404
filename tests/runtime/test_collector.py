"""How often the garbage collector looks while many runs are at work."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from weakref import ref

import pytest

import holdfast as hf
from holdfast.runtime.collector import MANY, SELDOM, Crowds


class Crowd:
    """Somebody with runs."""


@pytest.fixture(autouse=True)
def _threshold() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_looks_seldom_while_many_runs_are_at_work_and_then_as_before() -> None:
    """Lost: a sixth of the processor, spent on looking for garbage among runs that all live; or the program's own
    threshold, when the runs are over."""
    gc.set_threshold(701, 11, 12)
    few, many = MANY // 4, MANY + 1
    seen: list[tuple[int, int, int]] = []
    begun: list[int] = []

    async def main() -> None:
        gate, are_few, are_many = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @hf.agent(name="gated", budget=hf.Budget(tool_calls=1))
        async def gated(run: hf.Run, number: int) -> None:
            begun.append(number)
            if len(begun) == few:
                are_few.set()
            if len(begun) == many:
                are_many.set()
            await gate.wait()

        async with hf.App("memory:") as app:
            runs = [asyncio.create_task(app.run(gated, n, key=f"run {n}")) for n in range(few)]
            await are_few.wait()
            seen.append(gc.get_threshold())
            runs += [asyncio.create_task(app.run(gated, n, key=f"run {n}")) for n in range(few, many)]
            await are_many.wait()
            seen.append(gc.get_threshold())
            gate.set()
            await asyncio.gather(*runs)
            seen.append(gc.get_threshold())

    asyncio.run(asyncio.wait_for(main(), 30))
    assert seen == [(701, 11, 12), (SELDOM, 11, 12), (701, 11, 12)]


@pytest.mark.parametrize("own", [0, SELDOM, 50_000 * 2], ids=["no collector", "the very same", "a seldom one"])
def test_a_program_that_has_said_so_keeps_its_threshold(own: int) -> None:
    """Lost: a program without a collector gets one; one whose collector looks seldom has it look more often."""
    gc.set_threshold(own, 11, 12)
    crowds, a = Crowds(), Crowd()
    crowds.count(a, MANY)
    assert gc.get_threshold() == (own, 11, 12)
    crowds.count(a, 0)
    assert gc.get_threshold() == (own, 11, 12)


def test_two_crowds_leave_it_as_it_was_before_both() -> None:
    """Lost: the threshold of before, where two Apps of a process have many runs at once and end one after the other."""
    gc.set_threshold(701, 11, 12)
    crowds, a, b = Crowds(), Crowd(), Crowd()
    for who, runs in ((a, MANY), (b, MANY), (a, MANY - 1), (a, 0)):
        crowds.count(who, runs)
        assert gc.get_threshold()[0] == SELDOM
    crowds.count(b, 0)
    assert gc.get_threshold() == (701, 11, 12)


def test_what_the_program_sets_meanwhile_stays() -> None:
    """Lost: a threshold that the program chose while many runs were at work."""
    gc.set_threshold(701, 11, 12)
    crowds, a = Crowds(), Crowd()
    crowds.count(a, MANY)
    gc.set_threshold(5_000, 11, 12)
    crowds.count(a, 0)
    assert gc.get_threshold() == (5_000, 11, 12)


def test_one_that_is_forgotten_holds_nothing() -> None:
    """Lost: the memory of a worker whose loop went away under it, and the threshold of before, for ever."""
    gc.set_threshold(701, 11, 12)
    crowds, a, b = Crowds(), Crowd(), Crowd()
    crowds.count(a, MANY)
    gone = ref(a)
    del a
    assert gone() is None
    crowds.count(b, MANY)
    crowds.count(b, 0)
    assert gc.get_threshold() == (701, 11, 12)
