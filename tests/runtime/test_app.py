"""Keys, inputs and results: what a run is, and when it is the same run. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import PolicyInvalid, RunFailed, RunMismatch, Unencodable, UsageError

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


def test_the_same_key_with_another_input_or_agent_is_refused(world: Any, shop: Any) -> None:
    """A key that was reused by mistake would give one customer another's result."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay(given)

    @hf.agent(name="other", budget=BUDGET)
    async def other(run: hf.Run, given: Any) -> Any:
        return await shop.pay(given)

    assert world.run(agent, "A") == "paid A (1)"
    for wrong, given in ((agent, "B"), (other, "A")):
        with pytest.raises(RunMismatch, match="Nothing was started"):
            world.run(wrong, given)
    assert shop.paid() == ["A"]


def test_an_ended_run_gives_its_recorded_end_without_running(world: Any, shop: Any) -> None:
    """A web request that is sent twice would act twice."""
    began = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        began.append(1)
        if given == "bad":
            raise ValueError("no")
        return {"n": len(began)}

    assert [world.run(agent) for _ in range(3)] == [{"n": 1}] * 3
    for _ in range(2):
        with pytest.raises(RunFailed, match="ValueError: no"):
            world.run(agent, "bad", key="k2")
    assert len(began) == 2


def test_an_input_that_cannot_be_written_starts_nothing(world: Any, shop: Any) -> None:
    """A run without its input on record could never go on."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return 1

    with pytest.raises(Unencodable):
        world.run(agent, object())
    assert world.store.head(world.id()) is None


def test_a_result_that_cannot_be_written_fails_the_run_and_keeps_its_work(world: Any, shop: Any) -> None:
    """A result of the wrong type must not be reported as a success, nor repeat the payment."""
    wrong = [True]

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        paid = await shop.pay("A")
        return object() if wrong else paid

    with pytest.raises(RunFailed, match="Unencodable"):
        world.run(agent)
    wrong.clear()
    world.resume()
    assert world.run(agent) == "paid A (1)"


@dataclasses.dataclass
class Receipt:
    """A typed result."""

    number: int
    lines: list[str]


def test_what_the_agent_sees_has_passed_the_record_the_first_time_too(world: Any, shop: Any) -> None:
    """A tuple live and a list on replay: the agent would take another branch after a restart."""

    @hf.tool(effect="read")
    async def plain(x: int) -> Any:
        return {"t": (1, 2), 3: "int key"} if x else {"t": (1, 2)}

    @hf.tool(effect="read")
    async def typed(x: int) -> Receipt:
        return Receipt(7, ["a"])

    seen = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        seen.append([await plain(0), await typed(1)])
        await shop.pay("end")
        return "ok"

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent)
    assert seen[0] == seen[1] == [seen[0][0], Receipt(7, ["a"])]
    assert type(seen[0][0]["t"]) is type(seen[1][0]["t"])


def test_run_sync_works_without_a_loop_and_inside_a_running_one(tmp_path: Any) -> None:
    """A notebook, where a loop runs already, would hang or refuse."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.note("x")
        return given

    app = hf.App(f"sqlite:///{tmp_path}/h.db")
    assert app.run_sync(agent, 1, key="a") == 1

    async def notebook() -> Any:
        return app.run_sync(agent, 2, key="b")

    assert asyncio.run(notebook()) == 2


def test_run_sync_on_the_loop_of_its_own_open_app_is_refused(quick: Any) -> None:
    """It would wait for the loop that it blocks: for ever, without a word."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return given

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(UsageError, match="await"):
            app.run_sync(agent, 1, key="a")
        return await asyncio.to_thread(app.run_sync, agent, 2, key="b")

    assert quick.play(scenario) == 2


def test_a_key_that_cannot_name_a_run_is_refused(quick: Any) -> None:
    """Keys with line breaks or of nothing would make runs that nobody can name again."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return given

    for key in ("", "  ", "a\nb", "x" * 201, 7):
        with pytest.raises(UsageError):
            quick.run(agent, key=key)


def test_an_agent_without_a_budget_gets_a_finite_one(quick: Any) -> None:
    """A loop that never ends would spend until somebody reads the bill."""

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        return [run.budget.limits.tool_calls, run.budget.limits.model_calls, run.budget.limits.tokens]

    assert all(isinstance(cap, int) for cap in quick.run(agent))
    with pytest.raises(PolicyInvalid):
        hf.Budget()
    with pytest.raises(PolicyInvalid):
        hf.Retry(attempts=None)  # type: ignore[arg-type]


def test_a_deploy_that_takes_another_input_type_is_blocked_and_not_failed(world: Any, shop: Any) -> None:
    """A payment already made would hide under "failed: ValidationError"."""

    @deploy
    async def before(run: hf.Run, given: str) -> Any:
        await shop.pay(given)
        raise world.Crash

    @deploy
    async def after(run: hf.Run, given: Receipt) -> Any:
        return given.number

    with pytest.raises(world.Crash):
        world.run(before, "A")
    world.play(lambda app: _serve_once(app, world), agents=[after], serves=True)
    assert world.head().status is Status.SUSPENDED and world.head().why == "drift"
    assert Kind.RUN_ENDED not in world.kinds()


async def _serve_once(app: hf.App, world: Any) -> None:
    async with asyncio.timeout(5):
        while world.head().status is Status.RUNNING:
            await asyncio.sleep(0)
