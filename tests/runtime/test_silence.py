"""Whoever waits for a run to come to something. Each test says what would be lost."""

from __future__ import annotations

import asyncio

from holdfast.runtime.rest import Silence
from holdfast.testing.clock import ManualClock

TURNS = 20
"""Of the loop; more than any of this needs."""


async def turns(task: asyncio.Task[None]) -> bool:
    """Whether it comes to its end within some turns of the loop."""
    for _ in range(TURNS):
        if task.done():
            return True
        await asyncio.sleep(0)
    return task.done()


async def test_each_who_waits_for_a_condition_looks_again_after_each_move() -> None:
    """Lost: a run whose last effect is over waits for ever to be settled."""
    silence = Silence(ManualClock(), lambda: False, lambda silence_s: None)
    silence.touch()  # before anybody waits
    silence.began(is_write=True)
    silence.began(is_write=True)
    none = asyncio.create_task(silence.until(lambda: silence.moving == 0))
    one = asyncio.create_task(silence.until(lambda: silence.moving == 1))
    assert not await turns(none)
    silence.ended(is_write=True)
    assert await turns(one)
    assert not await turns(none), "one is still moving"
    silence.ended(is_write=True)
    assert await turns(none)


async def test_what_is_so_already_is_not_waited_for() -> None:
    """Lost: a turn of the loop for each run that ends."""
    silence = Silence(ManualClock(), lambda: False, lambda silence_s: None)
    silence.touch()
    coroutine = silence.until(lambda: True)
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("it waited")
