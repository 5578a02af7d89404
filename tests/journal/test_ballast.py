"""A full disk: what is under way is written in the room that was kept for it. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import errno
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Address, Effect, Event, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.errors import JournalError, StoreFull
from holdfast.journal.ballast import SIZE, Ballast, begins
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import BODY_IN_ROW_MAX, Journal
from holdfast.testing.conformance_store import Store, step
from holdfast.testing.disk import Disk, Failing

PATIENT_S = 30.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 8 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Store, Disk]]:
    """A store, and its disk."""

    def open_engine(name: str, **how: object) -> Journal:
        return SqliteJournal(tmp_path / name, **how)  # type: ignore[arg-type]

    with Disk(tmp_path) as disk:
        store = Store(open_engine, "store.db")
        yield store, disk
        store.close()


def fill(place: Path) -> Path:
    """Leave no room."""
    path = place / "filler"
    with path.open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path


@asynccontextmanager
async def filled_as_it_pays(
    place: Path, shop: hf.Agent[Any, Any], paid: list[str], gate: asyncio.Event
) -> AsyncIterator[tuple[hf.App, str, Path]]:
    """A run in a store there, whose disk is full when its first payment has begun; that is over then."""
    settings = hf.Settings(poll_s=0.05, lease_s=2)
    async with hf.App(f"sqlite:///{place}/store.db", agents=[shop], settings=settings) as app:
        run_id = await app.start(shop, None, key="k")
        await until(lambda: paid)
        filler = fill(place)
        gate.set()
        yield app, run_id, filler


def intent() -> Event:
    """What begins a step."""
    return Event(Kind.STEP_INTENDED, 1.0, Address("", "pay", "", 1), StepKind.TOOL, Effect.ONCE, 1, 1)


def test_what_is_under_way_is_written_on_a_full_disk_and_nothing_is_begun(
    store: tuple[Store, Disk], tmp_path: Path
) -> None:
    """Lost: an outcome, so that a person must say whether the effect happened; or the room kept for it, to new work."""
    kept, disk = store
    one, two = kept.hold("r1"), kept.hold("r2")
    ballast = tmp_path / "store.db-ballast"
    assert ballast.stat().st_size == SIZE and stat.S_IMODE(ballast.stat().st_mode) == 0o600
    group = [kept.appending(one, [step(0)]), kept.appending(two, [intent()])]
    disk.fail(1, Failing.FULL, {"write"})
    first, second = kept.journal.append(group)
    assert first is None and isinstance(second, StoreFull) and not ballast.exists()
    assert len(kept.journal.events("r1")) == 1 and kept.journal.events("r2") == []
    assert isinstance(kept.write(two, [intent()]), StoreFull)
    kept.register("w1")
    assert ballast.stat().st_size == SIZE and kept.write(two, [intent()]) is None


def test_what_begins_does_not_take_the_ballast(store: tuple[Store, Disk], tmp_path: Path) -> None:
    """The room would be gone before anything had come that needs it."""
    kept, disk = store
    claim = kept.hold()
    disk.fail(1, Failing.FULL, {"write"}, lasts=True)
    with pytest.raises(JournalError):
        kept.write(claim, [intent()])
    disk.heal()
    assert (tmp_path / "store.db-ballast").exists() and kept.write(claim, [intent()]) is None


@pytest.mark.parametrize("what", ["post", "release", "register"])
def test_answers_releases_and_leases_have_its_room_too(store: tuple[Store, Disk], tmp_path: Path, what: str) -> None:
    """Lost: a person's answer, or the lease of what is under way."""
    kept, disk = store
    claim = kept.hold()
    deeds: dict[str, Callable[[], Any]] = {
        "post": lambda: kept.start("r2"),
        "release": lambda: kept.journal.release(claim.lease, None),
        "register": lambda: kept.register("w1"),
    }
    disk.fail(1, Failing.FULL, {"write"})
    deeds[what]()
    assert disk.hits and (tmp_path / "store.db-ballast").exists() is (what == "register"), "who registers makes it anew"


def test_who_only_reads_makes_none_and_only_steps_that_act_begin_something(
    store: tuple[Store, Disk], tmp_path: Path
) -> None:
    """A reader would write beside a store that it may only look at; a run could not go to sleep on a full disk."""
    kept, _ = store
    kept.start()
    kept.journal.facts()
    assert not (tmp_path / "store.db-ballast").exists()
    claim = kept.hold()
    assert begins(kept.appending(claim, [step(0), intent()]))
    assert not begins(kept.appending(claim, [step(0), intent()._replace(step=StepKind.SLEEP)]))


def test_it_is_made_again_only_where_as_much_is_left(small: Path) -> None:
    """It would take back what its own removal has made free, and new work would begin on a full disk."""
    ballast = Ballast(str(small / "store.db"))
    ballast.keep()
    assert ballast.size == SIZE and ballast.problems() == []
    filler = fill(small)
    ballast.give()
    ballast.keep()
    assert ballast.is_gone and not ballast.is_back() and ballast.size == 0
    assert "is full" in ballast.problems()[0] and "Make room" in ballast.problems()[0]
    filler.unlink()
    assert ballast.is_back() and ballast.size == SIZE and ballast.problems() == []


def test_a_run_on_a_disk_that_fills_up_is_kept_and_goes_on_when_there_is_room(small: Path) -> None:
    """Lost: the outcome of a payment, or the run; or it pays twice."""
    paid: list[str] = []
    gate = asyncio.Event()

    @hf.tool(effect="once")
    async def pay(what: str) -> str:
        paid.append(what)
        await gate.wait()
        return "paid " + what

    @hf.agent(budget=hf.Budget(tool_calls=10))
    async def shop(run: hf.Run, given: None) -> str:
        first = await pay("A")
        answer = await run.ask("Go on?", options=["yes"])
        return first + ", " + await pay("B") + ", " + str(answer.value)

    async def scenario() -> None:
        async with filled_as_it_pays(small, shop, paid, gate) as (app, run_id, filler):
            await until(lambda: _status(app, run_id) is Status.SUSPENDED)
            kinds = [event.kind for event in app.journal.events(run_id)]
            assert app.journal.facts()["ballast_bytes"] == 0, "the outcome needed its room"
            assert Kind.STEP_SUCCEEDED in kinds and kinds[-1] is Kind.RUN_SUSPENDED
            head = app.journal.head(run_id)
            assert head is not None and any("is full" in one for one in app.journal.facts()["problems"])
            await app.answer(run_id, head.questions[0].id, "yes", by="ann")
            await until(lambda: app.journal.owner(run_id) is None and app.journal.mail(run_id) == [])
            assert paid == ["A"] and app.journal.head(run_id).status is not Status.SUCCEEDED  # type: ignore[union-attr]
            filler.unlink()
            assert await app.run(shop, None, key="k") == "paid A, paid B, yes"

    asyncio.run(scenario())
    assert paid == ["A", "B"]


@pytest.mark.parametrize("size", [8, BODY_IN_ROW_MAX + 1])
def test_an_outcome_is_kept_though_its_run_wanted_to_begin_more_with_it(small: Path, size: int) -> None:
    """Lost: that a payment was made, for nothing but that another was to begin in the same moment."""
    paid: list[str] = []
    gate = asyncio.Event()

    @hf.tool(effect="once")
    async def pay(what: str) -> str:
        paid.append(what)
        if what == "A":
            await gate.wait()
        return what * size

    async def later(what: str) -> str:
        await gate.wait()
        return await pay(what)

    @hf.agent(budget=hf.Budget(tool_calls=10))
    async def shop(run: hf.Run, given: None) -> int:
        first, *others = await asyncio.gather(pay("A"), *map(later, "BC"))
        return len(first) + len("".join(others))

    async def scenario() -> None:
        async with filled_as_it_pays(small, shop, paid, gate) as (app, run_id, filler):
            await until(lambda: app.journal.owner(run_id) is None)
            outcomes = [e.address for e in app.journal.events(run_id) if e.kind is Kind.STEP_SUCCEEDED]
            assert len(outcomes) == 1 and paid == ["A"], "what was to begin did not"
            filler.unlink()
            assert await app.run(shop, None, key="k") == 3 * size

    asyncio.run(scenario())
    assert sorted(paid) == ["A", "B", "C"]


async def until(is_so: Callable[[], Any]) -> None:
    """Wait for it, as long as is bearable."""
    async with asyncio.timeout(PATIENT_S):
        while not is_so():
            await asyncio.sleep(0)


def _status(app: hf.App, run_id: str) -> Status | None:
    head = app.journal.head(run_id)
    return None if head is None else head.status
