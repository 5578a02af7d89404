"""Stores of schema 2, which knew neither cells nor accounts, and 3: brought up to date; a run of 2 goes on.

The runs of 3 go on in `tests/journals`, where the first released format is, too.
"""

import gzip
from pathlib import Path

import apsw
import pytest

import holdfast as hf
from holdfast.journal import file
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Account, Cell

JOURNALS = Path(__file__).parent.parent / "journals"
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
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file, as the code of then left it; of schema 2 unless the test says otherwise."""
    path = tmp_path / "h.db"
    path.write_bytes(gzip.decompress((JOURNALS / f"schema-{getattr(request, 'param', 2)}.db.gz").read_bytes()))
    path.chmod(0o600)
    return path


def tables(path: Path, names: tuple[str, ...]) -> list[list[tuple[object, ...]]]:
    """All rows of these tables."""
    connection = apsw.Connection(str(path))
    try:
        return [list(connection.execute(f"SELECT * FROM {name}")) for name in names]
    finally:
        connection.close()


KNEW = ("runs", "events", "mail", "blobs", "pieces", "store")


@pytest.mark.parametrize(("old", "knew"), [(2, KNEW), (3, (*KNEW, "cells", "accounts"))], indirect=["old"])
def test_an_older_store_is_brought_up_to_date_and_keeps_all(old: Path, knew: tuple[str, ...]) -> None:
    """Lost: the runs of whoever upgrades."""
    before = tables(old, knew)
    journal = SqliteJournal(old, clock=lambda: 2e9)
    assert (journal.facts()["schema"], journal.facts()["problems"]) == (file.SCHEMA, [])
    assert (journal.account("total") is not None) is ("accounts" in knew)
    assert journal.cell("zzz") is None and journal.swap("zzz", 0, "x") and journal.cell("zzz") == Cell(1, "x")
    journal.close()
    for was, now in zip(before, tables(old, knew), strict=True):
        assert [row[: len(was[0])] for row in now][: len(was)] == was  # what is new stands at the end, and is NULL
        assert all(part is None or where(part) for row in now[: len(was)] for part in row[len(was[0]) :])


def where(part: object) -> bool:
    """Whether it is what a store says of the place at which it was first written to."""
    return isinstance(part, str) and part.startswith('{"path": ')


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
