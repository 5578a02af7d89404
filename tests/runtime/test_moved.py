"""An App on a store whose runs go on in another one: it says where, and does nothing more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import holdfast as hf
from holdfast.core.standing import OPEN, Passage, Standing
from holdfast.errors import StoreMoved
from holdfast.journal.migrate import Place, migrate
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock

QUICK = hf.Settings(poll_s=0.02, lease_s=0.3, quiet_s=0.02, park_s=0.05, close_s=0.5)


@hf.agent
async def plain(run: hf.Run, what: str) -> str:
    return what


def move(home: Path) -> None:
    """What `holdfast migrate` does."""
    assert migrate(place(home / "from.db"), place(home / "to.db"), "a") is not None


def place(path: Path) -> Place:
    return Place(f"sqlite:///{path}", lambda tenant: open_journal(str(path), clock=SystemClock().now))


async def test_it_does_not_open_and_says_where_to_go(tmp_path: Path) -> None:
    """Lost: runs that are started in a store that nobody looks at any more."""
    async with hf.App(f"sqlite:///{tmp_path}/from.db", settings=QUICK) as app:
        assert await app.run(plain, "a", key="k") == "a"
    move(tmp_path)
    left = hf.App(f"sqlite:///{tmp_path}/from.db", settings=QUICK)
    for _ in range(2):
        with pytest.raises(StoreMoved, match=r"its runs go on in sqlite:////.*to\.db"):
            await left.__aenter__()
    async with hf.App(f"sqlite:///{tmp_path}/to.db", settings=QUICK) as app:
        assert await app.run(plain, "a", key="k") == "a"
        assert len(app.journal.heads()) == 1


async def test_one_that_is_open_is_told_and_takes_nothing_more(tmp_path: Path) -> None:
    """Lost: a service that answers, and whose work is seen by nobody."""
    async with hf.App(f"sqlite:///{tmp_path}/from.db", settings=QUICK, agents=[plain]) as app:
        assert await app.run(plain, "a", key="k") == "a"
        watching = asyncio.create_task(app.until_moved())
        while app.journal.owner(app.journal.heads()[0].run_id):  # its run is given back a moment after its end
            await asyncio.sleep(0.01)
        await asyncio.to_thread(move, tmp_path)
        with pytest.raises(StoreMoved, match=r"to\.db"):
            await app.start(plain, "b", key="k2")
        with pytest.raises(StoreMoved, match=r"to\.db"):
            await asyncio.wait_for(watching, 10)


async def test_one_on_a_store_that_is_being_filled_is_told_to_wait(tmp_path: Path) -> None:
    """Lost: a key that begins anew beside the run that is on its way."""
    journal = open_journal(f"{tmp_path}/to.db", clock=SystemClock().now)
    assert journal.upkeep().pass_on(OPEN, Standing(Passage.FILLING, "a", "sqlite:////from.db"))  # type: ignore[attr-defined]
    with pytest.raises(StoreMoved, match="it is not complete"):
        await hf.App(f"sqlite:///{tmp_path}/to.db", settings=QUICK).__aenter__()
    journal.close()
