"""R31 and R45 on real runs: what the record tells of every decision, and levers on runs that are at work."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import holdfast as hf
from holdfast.errors import BudgetExceeded, NotDone, RunWaiting
from holdfast.journal.memory import MemoryJournal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.model_server import ModelServer, text
from holdfast.views.show import show

QUICK = hf.Settings(quiet_s=0.02, park_s=0.05, poll_s=0.02, settle_s=0.01)


async def test_from_the_record_alone_every_call_and_the_reason_of_every_branch_can_be_told() -> None:
    """R31. Lost: after a bad night nobody can say what was tried, what it cost, and why it went on or stopped."""
    journal, truth = MemoryJournal(clock=SystemClock().now), list[str]()

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0, wait_max=0))
    async def look(what: str) -> str:
        truth.append("look")
        if truth.count("look") < 3:
            raise ConnectionError("no route")
        return what

    async def paid(key: str, what: str) -> Any:
        truth.append("verify")
        raise NotDone

    @hf.tool(effect="once", verify=paid)
    async def pay(what: str) -> str:
        truth.append("pay")
        if truth.count("pay") < 2:
            raise ConnectionError("the answer was lost")
        return "paid " + what

    @hf.agent(budget=hf.Budget(tool_calls=7))
    async def shop(run: hf.Run, what: str) -> str:
        await look(what)
        await pay(what)
        answer = await run.ask("Again?", options=("yes", "no"))
        while answer.value == "yes":
            await look(f"{what} {len(truth)}")
        return "done"

    async with hf.App(journal, settings=QUICK, serves=False) as app:
        try:
            await app.run(shop, "x", key="k", wait=5)
        except RunWaiting:
            head = journal.heads(key="k")[0]
            await app.answer(head.run_id, head.questions[0].id, "yes", by="ann")
        try:
            await app.run(shop, "x", key="k", wait=5)
            raise AssertionError("it was to be stopped")
        except BudgetExceeded:
            pass

    head = journal.heads(key="k")[0]
    picture = show(head, journal.events(head.run_id))
    assert picture["run"]["usage"]["tool_calls"] == len(truth) == 7, "calls, from the record alone"
    assert picture["run"]["status"] == "stopped"
    told = picture["decisions"]
    assert [line["what"] for line in told if line["what"] != "suspend"] == [
        "start",
        "retry",
        "retry",
        "doubt",
        "verify",
        "verify",
        "budget warning",
        "ask",
        "answer",
        "end",
    ]
    assert all(line["because"] and line["at"] for line in told)
    reasons = {line["what"]: line["because"] for line in told}
    assert "no route" in reasons["retry"] and "never repeated on a guess" in reasons["doubt"]
    assert reasons["answer"] == "by ann" and "tool_calls" in reasons["end"]


async def test_levers_on_live_runs_without_a_deploy() -> None:
    """R45. Lost: a tool that does harm is stopped by ending every process that may call it."""
    journal, calls = MemoryJournal(clock=SystemClock().now), list[int]()

    @hf.tool(effect="read")
    async def look(number: int) -> str:
        calls.append(number)
        await asyncio.sleep(0.001)
        return "seen"

    @hf.agent(budget=hf.Budget(tool_calls=100_000))
    async def looks(run: hf.Run, which: int) -> str:
        for number in range(10_000):
            try:
                await look(number)
            except hf.errors.ToolFailed as failed:
                return str(failed)
        return "never stopped"

    workers = [hf.App(journal, settings=QUICK, serves=False) for _ in range(2)]
    async with workers[0], workers[1], hf.App(journal, settings=QUICK, serves=False) as operator:
        running = [asyncio.ensure_future(app.run(looks, n, key=f"k{n}")) for n, app in enumerate(workers)]
        paused = asyncio.ensure_future(workers[0].run(looks, 2, key="paused", wait=5))
        while len(calls) < 30:
            await asyncio.sleep(0)
        await operator.pause(journal.heads(key="paused")[0].run_id, by="ann", why="look first")
        try:
            await paused
            raise AssertionError("it was to be paused")
        except RunWaiting as waiting:
            assert "paused" in str(waiting)
        await operator.disable("look", by="ann", why="it lies")
        for said in await asyncio.gather(*running):
            assert "by ann: it lies" in said
        before = len(calls)
        await operator.enable("look", by="bob")
        await operator.cancel(journal.heads(key="paused")[0].run_id, by="ann", now=True)
        try:
            await workers[0].run(looks, 2, key="paused", wait=5)
        except hf.errors.RunCancelled:
            pass
    assert len(calls) == before
    desk = journal.heads(key="@desk")[0]
    told = show(desk, journal.events(desk.run_id))["decisions"]
    assert [(line["what"], line["by"], line["because"]) for line in told if line["by"]] == [
        ("disable", "ann", "it lies"),
        ("enable", "bob", "not said"),
    ]


ASKS = """
from anthropic import AsyncAnthropic

@hf.agent
async def asks(run: hf.Run, count: int) -> int:
    client = AsyncAnthropic(http_client=hf.http_client())
    for number in range(count):
        asked = [{"role": "user", "content": f"number {number}"}]
        await client.messages.create(model="claude-test", max_tokens=16, messages=asked)
    return count
"""


def test_a_cap_for_all_runs_holds_on_a_live_one_until_there_is_room(desk: Any) -> None:
    """R45. Lost: a day's bill that nobody can stop, but by stopping everything."""
    desk.write(ASKS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        model.fault(on=2, delay_s=2)
        process = desk.start("run", "agents.py:asks", "5", "--key", "k")
        model.wait_for(2, timeout_s=30)
        said = desk.run("budget", "day", "model_calls=3", "--by", "ann", "--why", "enough")
        assert said.code == 0 and "model calls 1 (+1 reserved) of 3" in said.out, said.err
        told = process.communicate(timeout=40)[1]
        assert process.returncode == 4 and "holdfast budget day model_calls=" in told
        assert model.count == 3
        assert desk.run("run", "agents.py:asks", "1", "--key", "other").code == 4 and model.count == 3
        assert desk.run("budget", "day", "--off", "--by", "bob").code == 0
        assert desk.run("resume", "k", "agents.py:asks").code == 0 and model.count == 5
        shown = json.loads(desk.run("budget", "--json").out)["accounts"]
        assert [row["usage"]["model_calls"] for row in shown] == [5, 5]
