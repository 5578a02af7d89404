"""R24 and R25 among runs: what all of them may use together, counted by the provider that was asked."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from tests import warm

import holdfast as hf
from holdfast.core.accounts import Account
from holdfast.core.charges import rebuilt
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import JournalError, StoreUnreachable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.open import open_journal
from holdfast.protocols import Append
from holdfast.testing.model_server import ModelServer, Reply, Request, text

PRICE = '[prices."claude-test"]\ninput = 0\noutput = 1000\n'
"""A call of 1,000 tokens costs a dollar, and no call can cost more than what it may answer."""
DAY = "[budget.day]\nusd = 1.0\n"
ASKED: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Hello"}],
}
QUICK = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02)


def a_dollar(request: Request) -> Reply:
    """An answer as long as it may be."""
    return text("hi", usage={"input_tokens": 10, "output_tokens": 1000})


@hf.agent
async def asker(run: hf.Run, number: int) -> str:
    """Asks a model once."""
    client = AsyncAnthropic(api_key="none", base_url=URL[0], http_client=hf.http_client(), max_retries=0)
    said = await client.messages.create(**ASKED)
    return str(said.content)


URL = [""]


def app(path: Path, config: str, *agents: Any) -> hf.App:
    """One process on the store in this directory."""
    (path / "holdfast.toml").write_text(config, "utf-8")
    return hf.App(f"sqlite:///{path}/h.db", config=path / "holdfast.toml", settings=QUICK, agents=agents)


async def at_once(app: hf.App, count: int) -> list[Any]:
    """What became of so many runs that were started together."""
    runs = (app.run(asker, number, key=f"k{number}") for number in range(count))
    return await asyncio.gather(*runs, return_exceptions=True)


def check_books(journal: Any) -> None:
    """The accounts are what the records say."""
    for key, sums in rebuilt(journal.events(head.run_id) for head in journal.heads(limit=1_000)).items():
        account = journal.account(key) or Account()
        assert (account.spent, account.reserved) == sums


async def test_a_day_of_one_dollar_pays_for_one_call_of_a_dollar(tmp_path: Path) -> None:
    """R24. Lost: twenty runs that each see the room of all, and twenty dollars for a budget of one."""
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        async with app(tmp_path, PRICE + DAY) as first:
            ends = await at_once(first, 20)
            assert server.count == 1
            stopped = [end for end in ends if isinstance(end, hf.errors.RunStopped)]
            assert len(stopped) == 19 and all("budget of the day" in str(end) for end in stopped)
            heads = first.journal.heads(status=Status.STOPPED)
            end = first.journal.events(heads[0].run_id)[-1].facts
            assert end["limit"] == "usd_nano" and end["account"].startswith("day/")
            assert "`holdfast budget day usd=…`" in end["why"] and "Nothing was sent" in end["why"]
            check_books(first.journal)
        async with app(tmp_path, PRICE + DAY.replace("1.0", "3.0")) as second:  # an operator has raised it
            for head in heads:
                await second.resume(head.run_id)
            ends = await at_once(second, 20)
            assert server.count == 3 and sum(isinstance(end, str) for end in ends) == 3
            check_books(second.journal)


def test_also_among_processes(tmp_path: Path) -> None:
    """R24. Lost: the same, as soon as a second process works on the store."""
    (tmp_path / "holdfast.toml").write_text(PRICE + DAY.replace("1.0", "3.0"), "utf-8")
    (tmp_path / "many.py").write_text(MANY, "utf-8")
    with ModelServer(a_dollar) as server:
        processes = [
            warm.start([sys.executable, "many.py", server.url, str(place)], cwd=tmp_path, stdout=subprocess.PIPE)
            for place in range(4)
        ]
        said = [process.communicate() for process in processes]
        assert server.count == 3
    answered = sum(json.loads(out)["answered"] for out, _ in said)
    stopped = sum(json.loads(out)["stopped"] for out, _ in said)
    assert (answered, stopped) == (3, 17)
    journal = open_journal(f"sqlite:///{tmp_path}/h.db", clock=lambda: 0.0)
    check_books(journal)
    account = journal.account("total")
    assert account is not None and account.spent.usd_nano == 3 * 10**9 and account.reserved.usd_nano == 0
    journal.close()


MANY = """
import asyncio, json, sys
import holdfast as hf
from anthropic import AsyncAnthropic

url, place = sys.argv[1], int(sys.argv[2])

@hf.agent
async def asker(run: hf.Run, number: int) -> str:
    client = AsyncAnthropic(api_key="none", base_url=url, http_client=hf.http_client(), max_retries=0)
    said = await client.messages.create(model="claude-test", max_tokens=1000,
                                        messages=[{"role": "user", "content": "Hello"}])
    return str(said.content)

async def main():
    async with hf.App("sqlite:///h.db", serves=False) as app:
        runs = (app.run(asker, number, key=f"k{place}-{number}") for number in range(5))
        ends = await asyncio.gather(*runs, return_exceptions=True)
    others = [end for end in ends if not isinstance(end, (str, hf.errors.RunStopped))]
    assert not others, others
    answered = sum(isinstance(end, str) for end in ends)
    print(json.dumps({"answered": answered, "stopped": len(ends) - answered}))

asyncio.run(main())
"""


async def test_a_model_without_a_price_is_not_asked_under_a_cap_in_dollars(tmp_path: Path) -> None:
    """R24. Lost: a cap in dollars that a model of unknown price walks around."""
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        async with app(tmp_path, DAY) as opened:
            (end,) = await at_once(opened, 1)
            assert server.count == 0 and isinstance(end, hf.errors.RunStopped) and "price" in str(end)


async def test_a_call_that_an_account_refused_goes_on_where_it_was(tmp_path: Path) -> None:
    """R25. Lost: a run that must be begun anew because its budget was that of all."""
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        async with app(tmp_path, PRICE + "[budget.total]\nusd = 0.5\n") as opened:
            await at_once(opened, 1)
            (head,) = opened.journal.heads()
            assert server.count == 0 and (head.spent.usd_nano, head.reserved.usd_nano) == (0, 0)
            told = [e for e in opened.journal.events(head.run_id) if e.kind is Kind.ATTEMPT_FAILED]
            assert [e.facts["account"] for e in told] == ["total"]
        async with app(tmp_path, PRICE + "[budget.total]\nusd = 1.5\n") as opened:
            await opened.resume(head.run_id)
            (end,) = await at_once(opened, 1)
            assert isinstance(end, str) and server.count == 1
            intents = [e for e in opened.journal.events(head.run_id) if e.kind is Kind.STEP_INTENDED]
            assert len({e.address for e in intents}) == 1 and [e.attempt for e in intents] == [1, 1]


@pytest.mark.parametrize(
    "table", ["usd = -1", "usd = nan", "tokens = 1.5", "tool_calls = 3", "dollars = 3", "usd = true"]
)
async def test_a_budget_that_makes_no_sense_is_refused_at_the_start(tmp_path: Path, table: str) -> None:
    """R24. Lost: a typing error that caps nothing."""
    with pytest.raises(hf.errors.PolicyInvalid):
        async with app(tmp_path, f"[budget.day]\n{table}\n"):
            pass


# --- runs that are part of a run -------------------------------------------------------------------------------


@hf.agent(budget=hf.Budget(usd=5))
async def family(run: hf.Run, count: int) -> list[str]:
    """So many askers at once; what became of each."""
    ends = await asyncio.gather(*(run.spawn(asker, number) for number in range(count)), return_exceptions=True)
    return [type(end).__name__ for end in ends]


async def test_twenty_children_at_once_use_one_budget(tmp_path: Path) -> None:
    """R25. Lost: a cap that each child has for itself, so that twenty children spend it twenty times."""
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        async with app(tmp_path, PRICE, asker, family) as opened:
            ends = await opened.run(family, 20, key="k")
            assert sorted(ends) == ["BudgetExceeded"] * 15 + ["str"] * 5 and server.count == 5
            (head,) = opened.journal.heads(key="k")
            account = opened.journal.account(f"run/{head.run_id}")
            assert account is not None and account.spent.usd_nano == 5 * 10**9 and account.limits.usd_nano == 5 * 10**9
            stopped = opened.journal.heads(status=Status.STOPPED)
            assert all(f"holdfast resume {head.run_id} --raise usd=+1.00" in one.why for one in stopped)
            check_books(opened.journal)


looked: list[int] = []


@hf.tool(effect="read")
async def look(number: int) -> int:
    """A read, which alone would write nothing before it runs."""
    looked.append(number)
    return number


@hf.agent
async def looker(run: hf.Run, number: int) -> int:
    """Looks three times."""
    return sum([await look(number * 10 + turn) for turn in range(3)])


@hf.agent(budget=hf.Budget(tool_calls=10))
async def lookers(run: hf.Run, count: int) -> int:
    """So many at once, and looks before and after by itself; how many were told that there is no room."""
    await look(-1)
    ends = await asyncio.gather(*(run.spawn(looker, number) for number in range(count)), return_exceptions=True)
    return sum(isinstance(end, Exception) for end in ends)


async def test_reads_of_children_are_paid_before_they_run(tmp_path: Path) -> None:
    """R25. Lost: calls that are charged when they are over, so that all of a tick go over the cap together."""
    looked.clear()
    async with app(tmp_path, "", looker, lookers) as opened:
        assert await opened.run(lookers, 20, key="k") >= 17
        assert len(looked) == 10 == len(set(looked))
        check_books(opened.journal)


@hf.agent
async def talker(run: hf.Run, number: int) -> str:
    """Asks a model and looks twice; what it was told."""
    client = AsyncAnthropic(api_key="none", base_url=URL[0], http_client=hf.http_client(), max_retries=0)
    await client.messages.create(**ASKED)
    try:
        return str([await look(1), await look(2)])
    except hf.ToolFailed as told:
        return str(told)


@hf.agent(budget=hf.Budget(tool_calls=1))
async def host(run: hf.Run, number: int) -> str:
    """Has one talker."""
    return await run.spawn(talker, number)


async def test_a_child_without_room_is_told_before_it_is_stopped(tmp_path: Path) -> None:
    """R29. Lost: the last turn in which a model writes what is left, wherever the budget is not the run's own."""
    looked.clear()
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        async with app(tmp_path, PRICE, talker, host) as opened:
            told = await opened.run(host, 1, key="k")
            assert "the budget of this and other runs is used up" in told and looked == [1]
            check_books(opened.journal)


async def test_nothing_is_sent_when_the_store_cannot_be_reached(tmp_path: Path) -> None:
    """R24. Lost: calls that nobody has written down, and that no budget knows."""
    with ModelServer(a_dollar) as server:
        URL[0] = server.url
        store = Unreachable(clock=time.time)
        (tmp_path / "holdfast.toml").write_text(PRICE + DAY, "utf-8")
        async with hf.App(store, config=tmp_path / "holdfast.toml", settings=QUICK, serves=False) as opened:
            with pytest.raises(hf.JournalError):
                await opened.run(asker, 1, key="k", wait=1)
        assert server.count == 0 and store.failed > 0


class Unreachable(MemoryJournal):
    """A store that takes no intents."""

    failed = 0

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        """One transaction."""
        if any(event.kind is Kind.STEP_INTENDED for append in appends for event in append.events):
            self.failed += 1
            raise StoreUnreachable("planned by the test")
        return super().append(appends)


FAMILY = """
import asyncio, sys
import holdfast as hf
from anthropic import AsyncAnthropic

url = sys.argv[1]

@hf.agent
async def asker(run: hf.Run, number: int) -> str:
    client = AsyncAnthropic(api_key="none", base_url=url, http_client=hf.http_client(), max_retries=0)
    said = await client.messages.create(model="claude-test", max_tokens=1000,
                                        messages=[{"role": "user", "content": f"Hello {number}"}])
    return str(said.content)

@hf.agent(budget=hf.Budget(usd=22))
async def family(run: hf.Run, count: int) -> list[str]:
    ends = []
    for number in range(0, count, 2):
        pair = (run.spawn(asker, number), run.spawn(asker, number + 1))
        ends += await asyncio.gather(*pair, return_exceptions=True)
    return [type(end).__name__ for end in ends]

settings = hf.Settings(quiet_s=0.05, park_s=0.2, poll_s=0.05)
print(hf.App("sqlite:///h.db", settings=settings, agents=[asker, family]).run_sync(family, 30, key="k"))
"""


def test_five_kills_do_not_refill_the_budget_of_a_family(tmp_path: Path) -> None:
    """R25. Lost: a budget that begins anew with each process, as it does where counts live in memory."""
    (tmp_path / "holdfast.toml").write_text(PRICE, "utf-8")
    (tmp_path / "family.py").write_text(FAMILY, "utf-8")

    def process() -> subprocess.Popen[str]:
        return warm.start([sys.executable, "family.py", server.url], cwd=tmp_path, stdout=subprocess.PIPE)

    with ModelServer(a_dollar) as server:
        for _ in range(5):
            with process() as doomed:
                server.wait_for(server.count + 3)  # a pair, and one of the next: each process comes further
                doomed.kill()
        out, _ = process().communicate()
        assert 17 <= server.count <= 22  # a call whose process died before it was on the wire is paid, too
    assert "BudgetExceeded" in out
    journal = open_journal(f"sqlite:///{tmp_path}/h.db", clock=lambda: 0.0)
    check_books(journal)
    (head,) = journal.heads(key="k")
    account = journal.account(f"run/{head.run_id}")
    assert account is not None and account.spent.usd_nano + account.reserved.usd_nano == 22 * 10**9
    journal.close()


def test_a_cap_of_all_runs_is_not_answered_by_a_raise_of_one(desk: Any) -> None:
    """Lost: an operator who follows the advice, and is stopped by the same cap again."""
    desk.write("""
from anthropic import AsyncAnthropic

@hf.agent(budget=hf.Budget(model_calls=9))
async def asks(run: hf.Run, x: str) -> str:
    client = AsyncAnthropic(api_key="none", http_client=hf.http_client())
    said = await client.messages.create(
        model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": x}]
    )
    return str(said)
""")
    (desk.home / "holdfast.toml").write_text("[budget.day]\nmodel_calls = 0\n")
    said = desk.to_end("asks")
    assert said.code == 4 and "holdfast budget day model_calls=" in said.err
    assert "Go on with: holdfast resume k agents.py:asks\n" in said.err
    assert desk.show()["run"]["account"].startswith("day/")
