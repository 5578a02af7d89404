"""Upkeep of stores that hold everything that a store can hold: moved, rebuilt, and with what has ended forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
import psycopg
import pytest

from holdfast.core.accounts import Account
from holdfast.core.charges import rebuilt
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.core.retention import Retention
from holdfast.errors import JournalCorrupt, StoreMoved
from holdfast.journal.collect import collect, every_id
from holdfast.journal.migrate import Place, migrate
from holdfast.journal.open import open_journal, upkeep_of
from holdfast.journal.rebuild import rebuild
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Journal, Record, Worker
from holdfast.testing.postgres_server import PostgresServer


def content(journal: Journal) -> tuple[dict[str, Record | None], Any, Any, Any]:
    """All that a store holds."""
    keep = upkeep_of(journal)
    records = {run_id: keep.record(run_id) for run_id in every_id(keep)}
    return records, keep.accounts(), keep.cells(), keep.identity()


def place(path: Path, clock: Callable[[], float]) -> Place:
    return Place(f"sqlite:///{path}", lambda tenant: SqliteJournal(path, clock=clock, tenant=tenant))


@pytest.fixture
def journal(recorded: Any) -> Iterator[SqliteJournal]:
    """The recorded store, open."""
    journal = SqliteJournal(recorded.path, clock=recorded.clock.now)
    yield journal
    journal.close()


async def test_moved_to_another_store_its_runs_go_on_and_repeat_nothing(
    recorded: Any, agents: ModuleType, beside: Callable[[str], ModuleType]
) -> None:
    """Lost: runs that wait, when a project outgrows its file: their questions, mail, budgets, keys of effects."""
    source, target = recorded.path, recorded.path.with_name("moved.db")
    before = SqliteJournal(source, clock=recorded.clock.now)
    everything = content(before)
    moved = migrate(place(source, recorded.clock.now), place(target, recorded.clock.now), "a")
    assert moved is not None and moved.runs == len(everything[0]) and moved.cells and moved.accounts
    after = SqliteJournal(target, clock=recorded.clock.now)
    assert content(after) == content(before) == everything and after.hash_key == before.hash_key
    with pytest.raises(StoreMoved, match=str(target)):
        before.swap("a", 0, "x")
    after.close()
    before.close()
    await beside("test_recorded").go_on(f"sqlite:///{target}", recorded, agents)


def test_nothing_of_it_is_another_than_its_logs_say(journal: SqliteJournal) -> None:
    """Lost: a rebuild that finds differences where there are none, or heads, accounts, cells that nothing explains."""
    found = rebuild(journal, journal.upkeep())
    assert found.differences == [] and found.left == [] and found.runs == len(journal.heads(limit=1_000))


DAMAGE = {
    "changed": """
        UPDATE runs SET head = replace(head, '"key"', '"kez"') WHERE run_no % 4 = 0;
        UPDATE runs SET seal = zeroblob(32) WHERE run_no % 4 = 1;
        UPDATE runs SET status = 'failed', agent = 'nobody' WHERE run_no % 4 = 2;
        UPDATE runs SET due_at = NULL, wake_at = NULL WHERE run_no % 4 = 3;
        UPDATE accounts SET tokens = 0, usd_nano = usd_nano + 1;
        UPDATE cells SET value = '{}' WHERE name = 'switches'
    """,
    "gone": """
        UPDATE runs SET head = '';
        DELETE FROM accounts;
        DELETE FROM cells WHERE name = 'switches'
    """,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
def test_what_follows_from_the_logs_is_restored(recorded: Any, journal: SqliteJournal, damage: str) -> None:
    """Lost: a store with sound logs that nobody can use, for a few bytes that anybody could compute."""
    records, accounts, cells, _ = content(journal)
    journal.close()
    change(recorded.path, DAMAGE[damage])
    journal = SqliteJournal(recorded.path, clock=recorded.clock.now)
    told = rebuild(journal, journal.upkeep(), is_trial=True)
    assert told.differences and not any(one.is_mended for one in told.differences)
    found = rebuild(journal, journal.upkeep())
    assert [one[:3] for one in found.differences] == [one[:3] for one in told.differences]
    assert all(one.is_mended for one in found.differences) and found.left == []
    records_now, accounts_now, cells_now, _ = content(journal)
    assert {run_id: as_the_log_says(record) for run_id, record in records_now.items()} == {
        run_id: as_the_log_says(record) for run_id, record in records.items()
    }
    assert accounts_now.pop("day", Account()) == Account()  # its caps are in a file, not in a log: an App sets them
    assert accounts_now == {key: accounts[key] for key in accounts if key != "day"}
    assert {name: cell.value for name, cell in cells_now.items()} == {name: cell.value for name, cell in cells.items()}
    assert rebuild(journal, journal.upkeep()).differences == []
    journal.close()


def as_the_log_says(record: Record | None) -> Record:
    """Whoever gave the run back may have wanted another time than its log says: only that it is due at all is told."""
    assert record is not None
    is_due = record.head.wake_at is not None
    return replace(record, head=record.head._replace(wake_at=float(is_due)))


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
def test_a_held_run_is_left_and_said_so(recorded: Any, journal: SqliteJournal) -> None:
    """Lost: the head of a run, from under the worker that goes on with it."""
    journal.register(Worker("w", pid=1), 30.0)
    [claim] = journal.claim("w", limit=1)
    held = claim.lease.run_id
    change(recorded.path, "UPDATE runs SET seal = zeroblob(32)")
    found = rebuild(journal, journal.upkeep())
    assert [one.what for one in found.differences if not one.is_mended] == [f"head of {held}"]
    assert any("is held by a worker" in line and held in line for line in found.left)
    assert any("Accounts are left as they are: a living worker" in line for line in found.left)


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
def test_a_log_that_is_damaged_itself_is_told_and_no_account_is_guessed(recorded: Any, journal: SqliteJournal) -> None:
    """Lost: P7: sums without a run whose log cannot be read would give its money out again."""
    accounts = content(journal)[1]
    change(
        recorded.path,
        "UPDATE events SET meta = meta || ' ' WHERE event_no = (SELECT max(event_no) FROM events)",
    )
    found = rebuild(journal, journal.upkeep())
    assert any("is damaged itself" in line for line in found.left)
    assert any("Accounts are left as they are: 1 of the logs" in line for line in found.left)
    assert journal.upkeep().accounts() == accounts


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
def test_a_damaged_cell_that_follows_from_no_log_is_emptied(recorded: Any, journal: SqliteJournal) -> None:
    """Lost: every run that sets the cell: none of its appends could be written."""
    change(recorded.path, "UPDATE cells SET seal = zeroblob(32) WHERE name = 'lamp'")
    with pytest.raises(JournalCorrupt):
        journal.cell("lamp")
    [found] = rebuild(journal, journal.upkeep()).differences
    assert found == ("cell lamp", "damaged, and follows from no log", "empty", True)
    cell = journal.cell("lamp")
    assert cell is not None and cell.value == "" and journal.swap("lamp", cell.version, "on")


def test_what_has_ended_is_forgotten_and_the_rest_is_untouched(journal: SqliteJournal) -> None:
    """Lost: a run that waits, or money that comes back into a budget when its runs are forgotten."""
    keep = journal.upkeep()
    before, accounts, cells, _ = content(journal)
    sums = rebuilt(journal.events(run_id) for run_id in before)
    done = collect(journal, keep, Retention(ended_before_s=0.0))
    assert len(done.forgotten) > 10
    after, *rest = content(journal)
    assert rest[:2] == [accounts, cells] and list(after) == list(before)
    assert rebuilt(journal.events(run_id) for run_id in after) == sums
    for run_id, was in before.items():
        now = after[run_id]
        assert was is not None and now is not None
        if run_id not in done.forgotten:
            assert now == was
        else:
            assert was.head.status.is_end and now.head.is_forgotten and now.head.status is was.head.status
            assert [event.kind for event in now.events] == [Kind.RUN_STARTED, Kind.RUN_ENDED] and now.letters == []
    assert {record.head.status for record in after.values() if record and not record.head.is_forgotten} >= {
        Status.READY, Status.RUNNING, Status.SUSPENDED,
    }  # fmt: skip
    assert rebuild(journal, keep).differences == []
    again = collect(journal, keep, Retention(ended_before_s=0.0))
    assert (again.forgotten, again.blobs) == ([], 0) and content(journal)[0] == after


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
async def test_after_that_its_open_runs_go_on(
    recorded: Any, agents: ModuleType, beside: Callable[[str], ModuleType], journal: SqliteJournal
) -> None:
    """Lost: a run that needed something of one that was forgotten: a child, a chapter, an account, a blob."""
    collect(journal, journal.upkeep(), Retention(ended_before_s=0.0, status=("succeeded", "cancelled")))
    await beside("test_recorded").go_on(f"sqlite:///{recorded.path}", recorded, agents)


# --- and in Postgres ------------------------------------------------------------------------------------------------


def elsewhere(url: str, clock: Callable[[], float]) -> Place:
    """A store in Postgres."""
    return Place(url, lambda tenant: open_journal(url, clock=clock, tenant=tenant, owns_clock=True))


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
async def test_from_a_file_to_postgres_and_back_its_runs_go_on_and_repeat_nothing(
    recorded: Any,
    agents: ModuleType,
    beside: Callable[[str], ModuleType],
    postgres: PostgresServer,
    journal: SqliteJournal,
) -> None:
    """Lost: runs that wait, for whoever grows out of a file, or wants to look at a server's store on a laptop."""
    everything, clock = content(journal), recorded.clock.now
    server = elsewhere(postgres.url(f"there_{recorded.path.parent.name[-20:]}"), clock)
    back = recorded.path.with_name("back.db")
    assert migrate(place(recorded.path, clock), server, "a") is not None
    there = server.open("default")
    assert content(there) == everything and rebuild(there, upkeep_of(there)).differences == []
    there.close()
    assert migrate(server, place(back, clock), "b") is not None
    assert migrate(server, place(back, clock), "c") is None
    returned = SqliteJournal(back, clock=clock)
    assert content(returned) == everything
    returned.close()
    await beside("test_recorded").go_on(f"sqlite:///{back}", recorded, agents)


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
async def test_in_postgres_its_runs_go_on_and_repeat_nothing(
    recorded: Any, agents: ModuleType, beside: Callable[[str], ModuleType], postgres: PostgresServer
) -> None:
    """Lost: what a file's engine has stored and a server's engine reads in another way."""
    url = postgres.url(f"on_{recorded.path.parent.name[-20:]}")
    assert migrate(place(recorded.path, recorded.clock.now), elsewhere(url, recorded.clock.now), "a") is not None
    journal = open_journal(url, clock=recorded.clock.now, owns_clock=True)
    await beside("test_recorded").go_on(journal, recorded, agents)
    journal.close()


@pytest.mark.parametrize("recorded", ["0.1.0"], indirect=True)
def test_what_follows_from_the_logs_is_restored_in_postgres(recorded: Any, postgres: PostgresServer) -> None:
    """Lost: the same in a server's store."""
    url, clock = postgres.url(f"mend_{recorded.path.parent.name[-20:]}"), recorded.clock.now
    assert migrate(place(recorded.path, clock), elsewhere(url, clock), "a") is not None
    journal = open_journal(url, clock=clock, owns_clock=True)
    records, accounts, cells, _ = content(journal)
    base, _, schema = url.rpartition("schema=")
    with psycopg.connect(base.rstrip("?&"), autocommit=True) as connection:
        for table, change in (
            ("runs", "head = replace(head, '\"key\"', '\"kez\"'), status = 'failed'"),
            ("accounts", "tokens = tokens + 1"),
            ("cells", "value = value || ' '"),
        ):
            connection.execute(f"UPDATE {schema}.{table} SET {change}".encode())
    found = rebuild(journal, upkeep_of(journal))
    assert found.left == [] and all(one.is_mended for one in found.differences)
    records_now, accounts_now, cells_now, _ = content(journal)
    assert {run_id: as_the_log_says(record) for run_id, record in records_now.items()} == {
        run_id: as_the_log_says(record) for run_id, record in records.items()
    }
    assert {key: account for key, account in accounts_now.items() if key != "day"} == {
        key: account for key, account in accounts.items() if key != "day"
    }
    assert cells_now["switches"].value == cells["switches"].value
    collect(journal, upkeep_of(journal), Retention(ended_before_s=0.0))
    assert rebuild(journal, upkeep_of(journal)).differences == []
    journal.close()
