"""Moving runs between stores: cut short at every write and done again, by two at once, given up, and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.journal.mortal import Died, Mortality, MortalJournal, place, sqlite

from holdfast.core.budget import Limits
from holdfast.core.standing import OPEN, Passage
from holdfast.errors import JournalCorrupt, JournalError, StoreBusy, StoreMoved, UsageError
from holdfast.journal.collect import every_id
from holdfast.journal.migrate import Place, give_up, migrate
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.protocols import Journal, Worker
from holdfast.testing.conformance_store import Store
from holdfast.testing.conformance_upkeep import ended, waiting
from holdfast.testing.postgres_server import PostgresServer


class Town:
    """Two stores of files, and what is in them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.time = 1_000_000.0
        self.names = {"from": home / "from.db", "to": home / "to.db"}
        self.opened: list[Journal] = []

    def open(self, name: str) -> Any:
        """A journal of this store, as another process would open it."""
        journal = sqlite(self.names[name], lambda: self.time)("default")
        self.opened.append(journal)
        return journal

    def place(self, name: str, mortality: Mortality | None = None) -> Place:
        path = self.names.setdefault(name, self.home / f"{name}.db")
        return place(f"sqlite:///{path}", sqlite(path, lambda: self.time), mortality)

    def content(self, name: str) -> Any:
        keep = upkeep_of(self.open(name))
        return {i: keep.record(i) for i in every_id(keep)}, keep.accounts(), keep.cells(), keep.identity()

    def standings(self) -> tuple[Passage, Passage]:
        left, filled = (upkeep_of(self.open(name)).standing().passage for name in ("from", "to"))
        return left, filled

    def who_goes_on(self) -> list[str]:
        """Stores that take a write."""
        found = []
        for name in ("from", "to"):
            try:
                self.open(name).register(Worker("somebody", pid=1), 1.0)
            except StoreMoved:
                continue
            found.append(name)
        return found

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


def made(home: Path) -> Town:
    """A store with a run that waits, one that has ended, one that nobody has begun, and what they share."""
    home.mkdir(exist_ok=True)
    town = Town(home)
    store = Store(lambda name, clock, is_dead: town.open("from"), "from")
    waiting(store, "r2")
    ended(store, "r1")
    store.start("r3")
    store.journal.cap("day", Limits(usd_nano=5))
    store.journal.swap("lamp", 0, "on")
    store.journal.retire("w1")
    store.close()
    return town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Such a store, and room for others."""
    town = made(tmp_path)
    yield town
    town.close()


def test_everything_goes_along(town: Town) -> None:
    """Lost: whatever is not copied."""
    before = town.content("from")
    assert migrate(town.place("from"), town.place("to"), "a") == (3, 4, 1, 1)
    assert town.content("to") == town.content("from") == before
    assert town.standings() == (Passage.LEFT, Passage.OPEN) and town.who_goes_on() == ["to"]


@pytest.mark.parametrize("is_written", [False, True])
def test_cut_short_at_any_write_it_is_done_again(tmp_path: Path, is_written: bool) -> None:
    """Lost: a run, or two stores that both go on with it, when the machine goes down in the middle."""
    seen: set[str] = set()
    for number in range(1, 100):
        town = made(tmp_path / f"{number}")
        before = town.content("from")
        fate = Mortality(number, is_written=is_written)
        try:
            migrate(town.place("from", fate), town.place("to", fate), "a")
        except Died:
            seen.add(fate.writes[-1])
        else:
            town.close()
            break
        assert len(town.who_goes_on()) <= 1 or town.content("to")[0] == {}
        assert town.content("from") == before
        assert "to" not in town.who_goes_on() or town.content("to")[0] in ({}, before[0])
        migrate(town.place("from"), town.place("to"), "b")
        assert town.content("to") == before and town.who_goes_on() == ["to"]
        assert migrate(town.place("from"), town.place("to"), "c") is None
        town.close()
    assert seen == {"pass_on", "take_identity", "install", "put_account", "put_cell"}, "too few deaths prove nothing"


def test_cut_short_on_its_way_to_postgres_it_is_done_again(tmp_path: Path, postgres: PostgresServer) -> None:
    """Lost: the same, where the other store is a server that can be away."""
    town = made(tmp_path)
    before = town.content("from")
    for number in range(1, 100):
        town.close()
        for path in tmp_path.glob("from.db*"):
            if path.is_file():
                path.unlink()
        made(tmp_path).close()
        target = postgres_place(postgres.url(f"cut_{tmp_path.name[-20:]}_{number}"))
        fate = Mortality(number, is_written=number % 2 == 0)
        dying = Place(target.url, lambda tenant, fate=fate, target=target: MortalJournal(target.open(tenant), fate))
        try:
            migrate(town.place("from", fate), dying, "a")
        except Died:
            migrate(town.place("from"), target, "b")
        journal = target.open("default")
        keep = upkeep_of(journal)
        after = {run_id: keep.record(run_id) for run_id in every_id(keep)}
        assert (after, keep.accounts(), keep.cells()) == before[:3] and keep.standing() == OPEN
        assert keep.identity() == upkeep_of(town.open("from")).identity()
        journal.close()
        if len(fate.writes) < number:
            break
    town.close()


def postgres_place(url: str) -> Place:
    return Place(url, lambda tenant: open_journal(url, clock=lambda: 1_000_000.0, tenant=tenant, owns_clock=True))


@pytest.mark.parametrize("look", [1, 2])
def test_two_of_them_at_once_do_it_once(town: Town, look: int) -> None:
    """Lost: that whoever is impatient and runs the command a second time does no harm."""
    before = town.content("from")
    target = disturbed(town.place("to"), look, lambda: migrate(town.place("from"), town.place("to"), "b"))
    try:
        migrate(town.place("from"), target, "a")
    except JournalError as error:
        assert "is open" in str(error)
    assert town.content("to") == before and town.who_goes_on() == ["to"]


def disturbed(store: Place, look: int, then: Callable[[], Any]) -> Place:
    """A store before whose opening, after so many, somebody else does something."""
    looks: list[str] = []

    def opened(tenant: str) -> Journal:
        looks.append(tenant)
        if len(looks) == look + 1:
            then()
        return store.open(tenant)

    return Place(store.url, opened)


def test_a_move_that_is_given_up_leaves_the_source(town: Town) -> None:
    """Lost: a store that nobody can use any more, since another one could not be filled."""
    before = town.content("from")
    fate = Mortality(5)
    with pytest.raises(Died):
        migrate(town.place("from", fate), town.place("to", fate), "a")
    assert town.who_goes_on() == []
    give_up(town.place("from"), town.place("to"))
    assert town.who_goes_on() == ["from"] and town.content("from") == before
    with pytest.raises(UsageError, match="given up"):
        migrate(town.place("from"), town.place("to"), "b")
    assert town.who_goes_on() == ["from"]
    assert migrate(town.place("from"), town.place("third"), "c") is not None
    assert town.content("third") == before


def test_an_attempt_that_was_given_up_opens_nothing(town: Town) -> None:
    """Lost: two stores that go on, when somebody gives up what another process is still doing."""

    def give_up_and_go_on() -> None:
        give_up(town.place("from"), town.place("to"))
        town.open("from").swap("lamp", 1, "off")

    target = disturbed(town.place("to"), 2, give_up_and_go_on)
    with pytest.raises(JournalError):
        migrate(town.place("from"), target, "a")
    assert town.who_goes_on() == ["from"]


def test_it_is_too_late_to_give_up(town: Town) -> None:
    """Lost: that the store which was left stays left."""
    migrate(town.place("from"), town.place("to"), "a")
    for left, filled in (("from", "to"), ("to", "from"), ("to", "third")):
        with pytest.raises(UsageError, match="nothing to give up"):
            give_up(town.place(left), town.place(filled))
    assert town.who_goes_on() == ["to"]


def test_a_living_worker_is_waited_for(town: Town) -> None:
    """Lost: the outcome of an effect that was under way: it would be in doubt, for no reason."""
    journal = town.open("from")
    journal.register(Worker("w7", pid=77, host="forge"), 30.0)
    [claim] = journal.claim("w7", run_ids=["r3"])
    with pytest.raises(StoreBusy, match="pid 77 on forge"):
        migrate(town.place("from"), town.place("to"), "a")
    assert "from" in town.who_goes_on() and town.content("to")[0] == {}
    journal.release(claim.lease, None)
    assert migrate(town.place("from"), town.place("to"), "a") is not None


def test_a_process_that_has_the_source_open_is_told_at_its_next_write(town: Town) -> None:
    """Lost: runs that are started in a store that nobody looks at any more."""
    journal = town.open("from")
    journal.swap("lamp", 1, "off")
    migrate(town.place("from"), town.place("to"), "a")
    with pytest.raises(StoreMoved, match=r"its runs go on in sqlite:////.*/to\.db. Nothing was written"):
        journal.swap("lamp", 2, "on")
    with pytest.raises(StoreMoved):
        journal.register(Worker("w", pid=1), 1.0)
    assert journal.head("r1") is not None and len(journal.events("r1")) == 2


def test_a_process_that_has_the_target_open_is_told_to_start_anew(town: Town) -> None:
    """Lost: keys that mean other runs than before, in a process that knows only the identity of the empty store."""
    journal = town.open("to")
    journal.register(Worker("w", pid=1), 1.0)
    migrate(town.place("from"), town.place("to"), "a")
    with pytest.raises(StoreMoved, match="Start the process again"):
        journal.register(Worker("w", pid=1), 1.0)


def test_stores_are_not_merged(town: Town) -> None:
    """Lost: the runs of one of them."""
    other = Store(lambda name, clock, is_dead: town.open("to"), "to")
    other.start("r9")
    with pytest.raises(UsageError, match="not empty"):
        migrate(town.place("from"), town.place("to"), "a")
    with pytest.raises(UsageError, match="to itself"):
        migrate(town.place("from"), town.place("from"), "a")
    assert town.who_goes_on() == ["from", "to"]


def test_only_between_the_two_stores_that_it_was_begun_with(town: Town) -> None:
    """Lost: the way to the runs, behind a second move of a store that was left."""
    fate = Mortality(4)
    with pytest.raises(Died):
        migrate(town.place("from", fate), town.place("to", fate), "a")
    with pytest.raises(StoreMoved, match=r"to\.db"):
        migrate(town.place("from"), town.place("third"), "b")
    with pytest.raises(StoreMoved, match="not complete"):
        migrate(town.place("to"), town.place("third"), "b")
    migrate(town.place("from"), town.place("to"), "b")
    with pytest.raises(StoreMoved, match="its runs go on in"):
        migrate(town.place("from"), town.place("third"), "c")


def test_what_is_damaged_is_not_moved(town: Town) -> None:
    """Lost: the last place where the damage could be seen, and a backup compared with it."""
    connection = apsw.Connection(str(town.names["from"]))
    connection.execute("UPDATE events SET body = x'00' WHERE number = 1")
    connection.close()
    with pytest.raises(JournalCorrupt):
        migrate(town.place("from"), town.place("to"), "a")
    assert town.who_goes_on() == []
    give_up(town.place("from"), town.place("to"))
    assert town.who_goes_on() == ["from"]


def test_what_does_not_read_back_is_not_opened(town: Town) -> None:
    """Lost: P2, when a disk or a bug changes what was copied."""
    fate = Mortality(8)
    with pytest.raises(Died):
        migrate(town.place("from", fate), town.place("to", fate), "a")
    connection = apsw.Connection(str(town.names["to"]))
    connection.execute("UPDATE runs SET epoch = epoch + 1 WHERE run_id = 'r2'")
    connection.close()
    with pytest.raises(JournalCorrupt, match="run r2"):
        migrate(town.place("from"), town.place("to"), "b")
    assert town.who_goes_on() == []


def test_all_tenants_go_along(town: Town) -> None:
    """Lost: the runs of every tenant but one, in a store that is closed for good."""
    other = sqlite(town.names["from"], lambda: town.time)("acme")
    other.swap("lamp", 0, "red")
    other.close()
    migrate(town.place("from"), town.place("to"), "a")
    moved = sqlite(town.names["to"], lambda: town.time)("acme")
    cell = moved.cell("lamp")
    assert cell is not None and cell.value == "red" and upkeep_of(moved).tenants() == ["acme", "default"]
    moved.close()
    assert upkeep_of(town.open("to")).standing() == OPEN
