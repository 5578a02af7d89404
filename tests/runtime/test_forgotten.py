"""A run whose record was removed by retention: its key stays taken, and nothing of it happens again."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.core.heads import Status
from holdfast.core.retention import Retention
from holdfast.errors import MessageRefused, RunFailed, RunForgotten, RunMismatch
from holdfast.journal.collect import collect
from holdfast.journal.open import upkeep_of

from .conftest import Shop, World


def forget(world: World) -> list[str]:
    """What `holdfast gc` does."""
    return collect(world.store, upkeep_of(world.store), Retention(ended_before_s=0.0)).forgotten


def paying(shop: Shop) -> Any:
    @hf.agent
    async def pays(run: hf.Run, what: str) -> str:
        paid: str = await shop.pay(what)
        if what == "bad":
            raise ValueError("no more")
        return paid

    return pays


def test_it_never_runs_again(world: World, shop: Shop) -> None:
    """Lost: P4: an order that is paid a second time, since nobody remembers the first."""
    agent = paying(shop)
    assert world.run(agent, "a") == "paid a (1)"
    assert forget(world) == [world.id()]
    for _ in range(2):
        with pytest.raises(RunForgotten, match=r"has succeeded, at .*removed by retention. It is not run again"):
            world.run(agent, "a")
    with pytest.raises(RunMismatch, match="Use another key"):
        world.run(agent, "b")
    assert shop.paid() == ["a"] and world.state().is_forgotten


def test_it_cannot_be_resumed(world: World, shop: Shop) -> None:
    """Lost: the same, by an operator who has seen only that it had failed."""
    agent = paying(shop)
    with pytest.raises(RunFailed):
        world.run(agent, "bad")
    assert forget(world) == [world.id()] and world.head().status is Status.FAILED
    for order in ("resume", "unwind", "cancel", "pause"):
        with pytest.raises(MessageRefused, match="removed by retention"):
            world.play(lambda app, order=order: getattr(app, order)(world.id(), by="ada"))
    assert shop.paid() == ["bad"]


def test_its_newest_chapter_is_still_found_by_its_key(world: World) -> None:
    """Lost: the way to a run that goes on, when the first of its chapters are forgotten."""

    @hf.agent
    async def counts(run: hf.Run, number: int) -> int:
        if number < 3:
            await run.continue_as(number + 1)
        return number

    assert world.run(counts, 0) == 3
    gone = forget(world)
    assert gone == [head.run_id for head in reversed(world.store.heads())] and len(gone) == 4
    with pytest.raises(RunForgotten):
        world.run(counts, 0)


def test_a_family_goes_as_one_and_its_account_stays(world: World, shop: Shop) -> None:
    """Lost: P7 for those who share a budget with it."""
    agent = paying(shop)

    @hf.agent
    async def parent(run: hf.Run, what: str) -> str:
        return str(await run.spawn(agent, what))

    assert world.run(parent, "a", agents=[agent]) == "paid a (1)"
    before = upkeep_of(world.store).accounts()
    assert len(forget(world)) == 2 and upkeep_of(world.store).accounts() == before
    with pytest.raises(RunForgotten):
        world.run(parent, "a", agents=[agent])
    assert shop.paid() == ["a"]
