"""The public surface as a type checker sees it; mypy (strict) and pyright read this file, pytest runs a little of it.

Lost, if it fails: users would get `Any` where they declared a type, or errors for code that works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import httpx
import httpx2

import holdfast as hf
from holdfast.errors import RunBlocked, RunFailed, RunStopped


@dataclass
class Ticket:
    """What the agent is given."""

    id: str
    cents: int


class CardExpired(Exception):
    """An error of the user's own."""


async def find_refund(key: str, ticket: str, cents: int) -> hf.Done | hf.NotDone | hf.Unknown:
    """Says whether a refund happened."""
    return hf.Done("R-1") if key else hf.NotDone("no")


@hf.tool
async def bare(text: str) -> int:
    """Without parentheses."""
    return len(text)


@hf.tool(effect="read", retry=hf.Retry(attempts=4, wait="250ms", total=timedelta(minutes=1)), timeout="20s")
async def find(number: int) -> dict[str, int]:
    """A read."""
    return {"cents": number}


@hf.tool(effect="once", verify=find_refund, raises=(CardExpired,), definite=(CardExpired,), hidden=("trace",))
async def refund(ticket: str, cents: int, trace: bool = False, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect."""
    return f"{ticket} {cents} {trace} {idempotency_key}"


@hf.tool(effect="idempotent", definite=hf.ONE_REQUEST, window="48h", name="mail")
def write_mail(to: str) -> bool:
    """A sync tool."""
    return bool(to)


async def tools() -> None:
    """Decorated tools keep their parameters and their results."""
    assert_type(await find(1), dict[str, int])
    assert_type(await bare("a"), int)
    assert_type(await refund("T-1", 4200, trace=True), str)
    assert_type(write_mail("a@example.com"), bool)
    assert_type(await find.call({"number": 1}), dict[str, int])
    assert_type(write_mail.call({"to": "a"}), bool)
    assert_type(find.name, str)
    assert_type(find.schema, dict[str, Any])


async def tools_of_a_model(reply: object) -> None:
    """A toolset, and what the model is told."""
    tools = hf.Toolset(find, bare, write_mail)
    assert_type(tools.names, tuple[str, ...])
    assert_type(tools.schemas("openai-responses"), list[dict[str, Any]])
    assert_type(await tools.use("find", {"number": 1}), hf.ForModel)
    assert_type(await tools.results(reply), list[dict[str, Any]])
    said = hf.for_model(ValueError("x"))
    assert_type(said.text, str)
    assert_type(said.is_error, bool)
    assert_type(said.anthropic("t1"), dict[str, Any])
    tools.schemas("bard")  # type: ignore[arg-type]


def metered() -> float:
    """A budget alone."""
    meter = hf.Meter(hf.Budget(usd=1.5))
    with meter.reserve(model_calls=1, usd=0.5) as call:
        call.settle(usd=0.25)
    return meter.usd


@hf.agent
async def plain(run: hf.Run, text: str) -> int:
    """Without parentheses."""
    return len(text)


@hf.agent(name="support", budget=hf.Budget(tool_calls=20, model_calls=10, tokens=200_000, usd=1.50))
async def support(run: hf.Run, ticket: Ticket) -> list[str]:
    """An agent as a user writes it."""
    found = await find(ticket.cents)
    receipt = await refund(ticket.id, found["cents"])
    answer = await run.ask("Send it?", options=["yes", "no"], within="2d", default="no", show={"cents": ticket.cents})
    assert_type(answer, hf.Answer)
    assert_type(answer.by, str)
    await run.sleep(1.5)
    await run.sleep(timedelta(days=1), name="a day")
    await run.note("closed")
    assert_type(await run.prior(tokens=500), str)
    run.emit({"cents": ticket.cents})
    assert_type(run.key, str)
    assert_type(run.now, float)
    assert_type(run.replaying, bool)
    assert_type(run.budget.usd, float)
    assert_type(run.random().random(), float)
    carried: Callable[[str], int] = run.carry(len)
    return [receipt, str(carried("x"))]


assert_type(plain, hf.Agent[str, int])
assert_type(support, hf.Agent[Ticket, list[str]])


@hf.agent
def blocking(run: hf.Run, number: int) -> str:
    """A plain `def`: sync tools as they are, async ones through run.wait."""
    assert_type(write_mail("a@example.com"), bool)
    assert_type(run.wait(find(number)), dict[str, int])
    assert_type(run.wait(run.ask("Send it?")), hf.Answer)
    run.wait(run.sleep(1))
    return str(number)


@hf.agent(name="blocking 2", budget=hf.Budget(tool_calls=1))
def blocking_with_options(run: hf.Run, number: int) -> str:
    """With parentheses."""
    return str(number)


async def of_either_kind(app: hf.App, run: hf.Run) -> None:
    """A sync agent is an agent; called as a function it is the function."""
    chosen: list[hf.Agent[int, str]] = [blocking, blocking_with_options]
    assert_type(await app.run(blocking, 1), str)
    assert_type(app.run_sync(blocking_with_options, 1), str)
    assert_type(await app.run(chosen[0], 1), str)
    assert_type(blocking(run, 1), str)
    assert_type(blocking_with_options(run, 1), str)


async def runs(app: hf.App, run: hf.Run) -> None:
    """Results have the agent's type."""
    assert_type(await app.run(plain, "text"), int)
    assert_type(await app.run(support, Ticket("T-1", 1), key="T-1", wait="20s"), list[str])
    assert_type(app.run_sync(support, Ticket("T-1", 1), key="T-1", budget=hf.Budget(usd=2)), list[str])
    assert_type(await app.start(plain, "text", key="k"), str)
    assert_type(await plain(run, "text"), int)
    async for progress in app.watch("run_1"):
        assert_type(progress.missed, int)
    for found in await app.search("refund -lost", outcome="failed", since="7d", limit=5):
        assert_type(found.usd, float)
    await app.search(status="failed")  # type: ignore[call-arg]
    await app.answer("run_1", "q_1", "yes", by="ann")
    await app.cancel("run_1", by="ann", why="no longer needed")
    async with hf.App("memory:", agents=[plain, support], settings=hf.Settings(poll_s=0.1), serves=False) as opened:
        assert_type(opened, hf.App)
    with hf.detached():
        write_mail("a@example.com")


async def wrong(app: hf.App) -> None:
    """What must not type-check: mypy reports each `ignore` that is not needed."""
    await find("1")  # type: ignore[arg-type]
    await refund("T-1")  # type: ignore[call-arg]
    hf.tool(effect="twice")  # type: ignore[call-overload]
    hf.Retry(4)  # type: ignore[call-arg]
    await app.run(plain, 17)  # type: ignore[misc]


def ends(app: hf.App) -> str:
    """How a run may end, as a caller tells it apart."""
    try:
        return str(app.run_sync(plain, "text", key="k"))
    except hf.errors.BudgetExceeded as stopped:
        return f"raise the budget: {stopped}"
    except (RunFailed, RunStopped) as ended:
        return f"ended: {ended}"
    except RunBlocked as blocked:
        return f"look at it: {blocked}"
    except hf.errors.RunWaiting as waiting:
        return f"later: {waiting}"


def clients() -> None:
    """Which client is made depends on what is asked for, and options are checked."""
    assert_type(hf.http_client(), httpx2.AsyncClient)
    assert_type(hf.http_client(sync=True, retry=hf.Retry(attempts=2)), httpx2.Client)
    assert_type(hf.http_client(package="httpx", fallback=["claude-haiku-4-5"]), httpx.AsyncClient)
    assert_type(hf.http_client(sync=True, package="httpx", stream="whole"), httpx.Client)
    hf.instrument(timeout="5m", fallback=hf.Fallback("m", base_url="https://eu.example.com"))
    hf.http_client(stream="half")  # type: ignore[call-overload]
    hf.instrument(retries=3)  # type: ignore[call-arg]


def test_what_is_declared_here_also_runs() -> None:
    """Lost: a file that only the type checkers believe in."""
    assert ends(hf.App("memory:")) == "4"
