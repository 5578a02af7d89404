"""A store of schema 2, which knew neither cells nor accounts: brought up to date, and its run goes on."""

import gzip
from pathlib import Path

import apsw
import pytest

import holdfast as hf
from holdfast.journal import file
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Account, Cell

SCHEMA_2 = Path(__file__).parent.parent / "journals" / "schema-2.db.gz"
QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)
paid: list[int] = []


@hf.tool(effect="read")
async def look(n: int) -> str:
    """Large enough to be a blob."""
    raise AssertionError("its outcome is in the record")


@hf.tool(effect="once")
async def pay(n: int) -> int:
    """Paid 7 before the upgrade."""
    paid.append(n)
    return n


@hf.agent(budget=hf.Budget(tool_calls=10))
async def keeper(run: hf.Run, name: str) -> str:
    """The agent whose run is in the file."""
    await look(300_000)
    await pay(7)
    answer = await run.ask("Go on?", options=["yes", "no"])
    return f"{name}: {answer.value} {await pay(8)}"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file, as the code of then left it."""
    path = tmp_path / "h.db"
    path.write_bytes(gzip.decompress(SCHEMA_2.read_bytes()))
    path.chmod(0o600)
    return path


def tables(path: Path) -> list[list[tuple[object, ...]]]:
    """All rows of what schema 2 knew."""
    connection = apsw.Connection(str(path))
    try:
        names = ("runs", "events", "mail", "blobs", "pieces", "store")
        return [list(connection.execute(f"SELECT * FROM {name}")) for name in names]
    finally:
        connection.close()


def test_a_store_of_schema_2_is_brought_up_to_date_and_keeps_all(old: Path) -> None:
    """Lost: the runs of whoever upgrades."""
    before = tables(old)
    journal = SqliteJournal(old, clock=lambda: 2e9)
    assert (journal.facts()["schema"], journal.facts()["problems"]) == (file.SCHEMA, [])
    assert journal.account("total") is None and journal.cell("a") is None
    assert journal.swap("a", 0, "x") and journal.cell("a") == Cell(1, "x")
    journal.close()
    for was, now in zip(before, tables(old), strict=True):
        assert [row[: len(was[0])] for row in now] == was  # what is new stands at the end of a row, and is NULL
        assert all(part is None for row in now for part in row[len(was[0]) :])


async def test_its_run_goes_on_where_it_was(old: Path) -> None:
    """Lost: work that is done twice after an upgrade, or a run that nobody can finish."""
    paid.clear()
    async with hf.App(f"sqlite:///{old}", settings=QUICK) as app:
        (head,) = app.journal.heads()
        (question,) = head.questions
        await app.answer(head.run_id, question.id, "yes", by="ann")
        assert await app.run(keeper, "ann", key="k") == "ann: yes 8"
        assert app.journal.account("total") in (None, Account())  # tool calls are not counted there
    assert paid == [8]
