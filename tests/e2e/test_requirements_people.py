"""R36 to R38, as a caller meets them: real processes, a real store, and what the receiver has got."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from tests import warm

import holdfast as hf
from holdfast.core import accept
from holdfast.errors import RunWaiting
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.postgres_server import PostgresServer
from holdfast.views import asking

QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)
AT_ONCE = 100
STORES = itertools.count()


def paying(done: list[str]) -> hf.Agent[None, str]:
    """An agent whose one effect somebody must agree to."""

    @hf.tool(effect="once", approve=hf.Ask("finance", within="1h"))
    async def pay(what: str) -> str:
        done.append(what)
        return "paid"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: None) -> str:
        try:
            return await pay("K-17")
        except hf.NotApproved as told:
            return told.outcome

    return payer


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store of each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/h.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(f"people_{next(STORES)}")


def goes_on(url: str, agent: hf.Agent[None, str]) -> str:
    """A process that goes on with the run as far as it can."""

    async def main() -> str:
        async with hf.App(url, settings=QUICK, serves=False) as app:
            return await app.run(agent, None, key="k", wait=0)

    return asyncio.run(main())


@pytest.mark.parametrize("chance", range(2))
def test_a_hundred_people_answer_at_once_and_one_of_them_counts(store: str, chance: int) -> None:
    """Lost: single use. Each has a connection of their own, and all press at the same moment."""
    done: list[str] = []
    agent = paying(done)
    with pytest.raises(RunWaiting):
        goes_on(store, agent)
    journal = open_journal(store, clock=SystemClock().now)
    (shown,) = asking.items(journal)
    journal.close()
    people = 20 if store.startswith("postgres") else AT_ONCE
    start = Barrier(people)
    each = AT_ONCE // people

    def press(number: int) -> list[str]:
        mine = open_journal(store, clock=SystemClock().now)
        try:
            start.wait()
            return [_pressed(mine.post, shown, f"m{number}-{n}", (number + n + chance) % 2) for n in range(each)]
        finally:
            mine.close()

    with ThreadPoolExecutor(people) as pool:
        told = Counter(said for some in pool.map(press, range(people)) for said in some)
    assert told.pop("already", 0) == AT_ONCE - 1 and sum(told.values()) == 1, told
    (counted,) = told
    assert goes_on(store, agent) == ("paid" if counted == "approve" else "declined")
    assert goes_on(store, agent) == ("paid" if counted == "approve" else "declined"), "the record says the same"
    assert done == (["K-17"] if counted == "approve" else [])


def _pressed(post: Callable[..., Any], shown: asking.Item, message: str, is_no: int) -> str:
    choice = ("approve", "decline")[is_no]
    said = accept.answer(shown.id, choice=choice, by=message, body=None, digest=shown.digest)
    posted = post(shown.run, message, said)
    if posted.is_stored:
        return choice
    return "already" if "answered already" in posted.refused else posted.refused


AGENT = """
import holdfast as hf
from pathlib import Path

@hf.tool(effect="once", approve=hf.Ask("finance"))
async def pay(what: str) -> str:
    with Path("effects.txt").open("a") as file:
        file.write(what + "\\n")
    return "paid"

@hf.agent
async def payer(run: hf.Run, given: str) -> str:
    {before}
    said = await pay("K-17")
    return said + "{version}"
"""


def holdfast(where: Path, *arguments: str) -> tuple[int, str, str]:
    """One command in a process of its own."""
    command = [sys.executable, "-m", "holdfast.cli", *arguments]
    done = warm.run(command, cwd=where, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_it_is_asked_killed_deployed_and_answered_from_elsewhere(tmp_path: Path) -> None:
    """Lost: R36. A question that lived in the memory of the process that asked it."""
    file, key = tmp_path / "agent.py", ("--key", "k", "--store", "sqlite:///h.db")
    file.write_text(AGENT.format(before="pass", version=", old"), "utf-8")
    code, _, told = holdfast(tmp_path, "run", "agent.py:payer", "x", *key, "--wait", "0")
    assert code == 5, told
    assert not (tmp_path / "effects.txt").exists()
    file.write_text(AGENT.format(before="await run.note('deployed')", version=", new"), "utf-8")
    code, said, told = holdfast(tmp_path, "answer", "k", "approve", "--by", "ada", "--store", "sqlite:///h.db")
    assert code == 0, told
    code, said, told = holdfast(tmp_path, "answer", "k", "decline", "--by", "bob", "--store", "sqlite:///h.db")
    assert code == 2 and "answered already" in told and "ada" in told
    code, said, told = holdfast(tmp_path, "run", "agent.py:payer", "x", *key)
    assert (code, said) == (0, "paid, new\n"), told
    holdfast(tmp_path, "run", "agent.py:payer", "x", *key)
    assert (tmp_path / "effects.txt").read_text("utf-8") == "K-17\n"


ATTACK = """
import os, sys
import apsw
from holdfast.cli.__main__ import main
from holdfast.core import accept
from holdfast.journal.sqlite import SqliteJournal
from holdfast.views import asking

path, run, question, digest = sys.argv[1:]
os.setgroups([])
os.setgid(65534)
os.setuid(65534)


def by_command():
    sys.argv[1:] = ["answer", run, "approve", "--by", "ada", "--store", f"sqlite:///{path}"]
    sys.exit(main())


def by_library():
    journal = SqliteJournal(path, clock=lambda: 0.0)
    said = accept.answer(question, choice="approve", by="ada", body=None, digest=digest)
    assert journal.post(run, "forged", said).is_stored


def by_sql():
    apsw.Connection(path).execute("DELETE FROM run")


def by_another_file():
    os.replace("/etc/hostname", path)


for attempt in (by_command, by_library, by_sql, lambda: open(path, "ab"), lambda: os.remove(path), by_another_file):
    try:
        attempt()
        print("DONE", attempt)
    except SystemExit as left:
        print("refused" if left.code else "DONE", attempt)
    except Exception as error:
        print("refused", type(error).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root, to be somebody else for a moment")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_program_of_another_user_cannot_approve(tmp_path: Path, mode: int) -> None:
    """Lost: S9. A model that may run programs approves what it asks for, by command, library, SQL, or another file."""
    done: list[str] = []
    agent = paying(done)
    with tempfile.TemporaryDirectory(prefix="holdfast-other-user-") as home:
        os.chmod(home, mode)
        path = Path(home) / "h.db"
        with pytest.raises(RunWaiting):
            goes_on(f"sqlite:///{path}", agent)
        journal = open_journal(f"sqlite:///{path}", clock=SystemClock().now)
        (shown,) = asking.items(journal)
        journal.close()
        arguments = [str(path), shown.run, shown.id, shown.digest]
        tried = subprocess.run([sys.executable, "-c", ATTACK, *arguments], capture_output=True, text=True, timeout=60)
        outcomes = [line.split()[0] for line in tried.stdout.splitlines() if line.startswith(("DONE", "refused"))]
        assert outcomes == ["refused"] * 6, tried.stdout + tried.stderr
        with pytest.raises(RunWaiting):
            goes_on(f"sqlite:///{path}", agent)
        assert done == []
