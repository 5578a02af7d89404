"""R36 to R38, as a caller meets them: real processes, a real store, and what the receiver has got."""

from __future__ import annotations

import asyncio
import itertools
import sys
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
