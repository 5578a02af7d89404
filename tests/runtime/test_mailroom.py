"""People and operators: questions, answers, cancels and raises. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import BudgetExceeded, MessageRefused, NotFound, RunBlocked, RunCancelled
from holdfast.testing.clock import ManualClock

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def turns(count: int = 5) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(is_so: Any) -> None:
    """Let others run until it is so."""
    while not is_so():
        await asyncio.sleep(0)


# --- cancel ----------------------------------------------------------------------------------------------------


def test_a_cancel_lets_the_effect_in_flight_finish_and_records_it(world: Any, shop: Any) -> None:
    """A cancel that tore a payment out of the record would leave nobody knowing of it."""
    release = False

    @hf.tool(effect="once")
    async def slow(x: int) -> str:
        shop.done.append(("slow", x))
        await until(lambda: release)
        return "charged"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow(1)
        await shop.pay("never")

    async def scenario(app: hf.App) -> None:
        nonlocal release
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: shop.done)
        await app.cancel(world.id(), by="ann", why="wrong customer")
        await turns(50)
        assert not running.done(), "the effect is still in flight"
        release = True
        with pytest.raises(RunCancelled, match="ann: wrong customer"):
            await running
        for late in (app.cancel(world.id()), app.resume(world.id()), app.answer(world.id(), "q_1", "x")):
            with pytest.raises(MessageRefused):
                await late

    world.play(scenario)
    assert shop.done == [("slow", 1)]
    assert [event.body for event in world.events(Kind.STEP_SUCCEEDED)] == [b'"charged"']
    assert world.kinds()[-1] is Kind.RUN_ENDED and world.head().status is Status.CANCELLED


def test_a_run_that_sleeps_on_disk_is_cancelled_without_running_its_code(world: Any, shop: Any) -> None:
    """A cancel that first replays the agent would run whatever the operator wanted to stop."""
    began = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        began.append(1)
        await run.sleep(3_600)

    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    world.play(lambda app: app.cancel(world.id(), by="ann"))
    with pytest.raises(RunCancelled):
        world.run(agent, wait=0)
    assert len(began) == 1


def test_a_cancel_ends_a_hung_read(world: Any, shop: Any) -> None:
    """A cancel that waits for a hung search would never be one."""

    @hf.tool(effect="read")
    async def hang(x: int) -> None:
        shop.done.append(x)
        await asyncio.Event().wait()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await hang(1)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: shop.done)
        await app.cancel(world.id())
        with pytest.raises(RunCancelled):
            await running

    world.play(scenario)


def test_the_first_cancel_names_who_did_it(world: Any, shop: Any) -> None:
    """A record that names the wrong person is worse than none."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.sleep(3_600)

    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)

    async def twice(app: hf.App) -> None:
        await app.cancel(world.id(), by="ann")
        await app.cancel(world.id(), by="bob")

    world.play(twice)
    with pytest.raises(RunCancelled, match="by ann"):
        world.run(agent, wait=0)


# --- questions -------------------------------------------------------------------------------------------------


def asking(shop: Any, **question: Any) -> Any:
    """An agent that asks before it pays."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay("before")
        answer = await run.ask("Pay B?", **question)
        if answer.value == "yes":
            await shop.pay("B")
        return [answer.outcome, answer.value, answer.by]

    return agent


ANSWERER = """
import asyncio, sys, holdfast as hf
async def main(path, run, question):
    async with hf.App("sqlite:///" + path, serves=False) as app:
        await app.answer(run, question, "yes", by="bob")
asyncio.run(main(*sys.argv[1:]))
"""


def test_an_answer_from_another_process_lets_the_run_go_on_once(world: Any, shop: Any) -> None:
    """An answer that is lost keeps a customer waiting for ever; one used twice pays twice."""
    agent = asking(shop, options=("yes", "no"))
    with pytest.raises(hf.errors.RunWaiting, match="Pay B"):
        world.run(agent, wait=0)
    with pytest.raises(MessageRefused, match="Choose one of: yes, no"):
        world.answer("perhaps", agent)
    with pytest.raises(MessageRefused, match="Choose one of: yes, no"):
        world.answer(7, agent)
    question = world.question()
    subprocess.run([sys.executable, "-c", ANSWERER, str(world.path), world.id(), question], check=True, timeout=30)
    with pytest.raises(MessageRefused, match="bob"):
        world.play(lambda app: app.answer(world.id(), question, "no", by="late"))
    assert world.run(agent) == ["answered", "yes", "bob"]
    assert world.run(agent) == ["answered", "yes", "bob"]
    assert shop.paid() == ["before", "B"]
    assert len(world.events(Kind.QUESTION_ASKED)) == 1
    with pytest.raises(MessageRefused):
        world.play(lambda app: app.answer(world.id(), question, "no"))


def test_an_answer_reaches_a_parked_run_and_one_that_is_served(world: Any, shop: Any) -> None:
    """A service would sit on answered questions until it is restarted."""
    agent = asking(shop)

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        while world.store.head(world.id()) is None or not world.head().questions:
            await asyncio.sleep(0)
        await asyncio.to_thread(world.answer, "yes", agent)
        return await running

    assert world.play(scenario, serves=True, park_s=5) == ["answered", "yes", "ann"]

    async def served(app: hf.App) -> Any:
        run = await app.start(agent, None, key="k2")
        while not world.head("k2").questions:
            await asyncio.sleep(0)
        while world.store.owner(run) is not None:
            await asyncio.sleep(0)
        await asyncio.to_thread(world.answer, "no", agent, key="k2")
        while not world.head("k2").status.is_end:
            await asyncio.sleep(0)

    world.play(served, serves=True)
    assert world.run(agent, key="k2") == ["answered", "no", "ann"]
    assert shop.paid() == ["before", "B", "before"]


def test_an_expired_question_takes_its_default_and_says_expired(quick: Any, shop: Any) -> None:
    """A silence that reads as consent, or as a refusal, is a decision that nobody took."""
    clock = ManualClock()
    quick.store._clock = clock.now
    done: list[str] = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        answer = await run.ask("Pay?", within="30m", default="decline", options=("pay", "decline"))
        done.append(answer.value)
        return [answer.outcome, answer.value, answer.by]

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await clock.advance(1_799)
        assert not done
        question = quick.question()
        clock.jump(2)  # its time has come, and nobody has looked yet
        with pytest.raises(MessageRefused, match="expired"):
            await app.answer(quick.id(), question, "pay")
        await clock.advance(60)
        return await running

    result = quick.play(scenario, clock=clock, lease_s=1e9, park_s=1e6, quiet_s=60, poll_s=60)
    assert result == ["expired", "decline", ""]
    assert quick.run(agent) == result and done == ["decline"]


def test_a_question_expires_while_no_process_runs(world: Any, shop: Any) -> None:
    """A deadline that only counts while a process runs is none."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        answer = await run.ask("Pay?", within=0.1, default={"why": "too late"})
        return [answer.outcome, answer.value]

    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    world.clock.by_s += 0.2
    assert world.run(agent) == ["expired", {"why": "too late"}]


def test_an_answer_that_is_no_text_comes_back_as_it_is(world: Any, shop: Any) -> None:
    """A form's values turned into text could not be acted upon."""
    agent = asking(shop)
    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    world.answer({"cents": 500, "ok": True}, agent)
    assert world.run(agent) == ["answered", {"cents": 500, "ok": True}, "ann"]


def test_an_answer_to_a_run_or_question_that_does_not_exist_is_refused(world: Any, shop: Any) -> None:
    """A mistyped id must not look like a decision that was taken."""
    agent = asking(shop)
    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    with pytest.raises(MessageRefused):
        world.play(lambda app: app.answer(world.id(), "q_wrong", "yes"))
    with pytest.raises(NotFound):
        world.play(lambda app: app.answer("run_wrong", world.question(), "yes"))


def test_two_questions_at_once_are_answered_in_any_order(world: Any, shop: Any) -> None:
    """An answer that lands at the other question decides the wrong thing."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        a, b = await asyncio.gather(run.ask("A?", name="a"), run.ask("B?", name="b"))
        return [a.value, b.value]

    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    asked = {question.text: question.id for question in world.head().questions}
    for text in ("B?", "A?"):
        world.play(lambda app, text=text: app.answer(world.id(), asked[text], f"to {text}"))
        if text == "B?":
            with pytest.raises(hf.errors.RunWaiting):
                world.run(agent, wait=0)
    assert world.run(agent) == ["to A?", "to B?"]


def test_a_run_is_not_ended_over_an_unread_cancel(world: Any, shop: Any) -> None:
    """A cancel that arrives with the last step would be swallowed by "succeeded"."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.look(1)
        world.store.post(world.id(), "cancel-1", accept.cancel(by="ann"))
        return "done"

    with pytest.raises(RunCancelled, match="by ann"):
        world.run(agent)
    assert len(world.events(Kind.RUN_ENDED)) == 1


def test_a_raise_reaches_a_run_that_is_under_way(world: Any, shop: Any) -> None:
    """An operator who raises the cap in time should not have to resume."""

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=2))
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay(1)
        await run.ask("go on?")
        await shop.pay(2)
        await shop.pay(3)
        return run.budget.limits.tool_calls

    with pytest.raises(hf.errors.RunWaiting):
        world.run(agent, wait=0)
    world.resume(budget=hf.Budget(tool_calls=1))
    world.answer("yes", agent)
    assert world.run(agent) == 3


def test_the_budget_of_a_later_start_does_not_replace_the_first(world: Any, shop: Any) -> None:
    """A restart script would lift every cap."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay(1)
        await shop.pay(2)

    with pytest.raises(BudgetExceeded):
        world.run(agent, budget=hf.Budget(tool_calls=1))
    with pytest.raises(BudgetExceeded):
        world.run(agent, budget=hf.Budget(tool_calls=50))
    assert shop.paid() == [1]


def test_runs_over_the_parked_limit_are_closed_and_still_get_their_answers(quick: Any, shop: Any) -> None:
    """A limit on memory must not be a limit on promises."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        answer = await run.ask("Pay?")
        await shop.pay([run.key, answer.value])
        return answer.value

    keys = [f"k{i}" for i in range(20)]

    async def scenario(app: hf.App) -> None:
        runs = [await app.start(agent, None, key=key) for key in keys]
        async with asyncio.timeout(10):
            while sum(quick.store.owner(run) is not None for run in runs) > 5:
                await asyncio.sleep(0)
            for run, key in zip(runs, keys, strict=True):
                (question,) = quick.head(key).questions
                await app.answer(run, question.id, key)
            while not all(quick.head(key).status.is_end for key in keys):
                await asyncio.sleep(0)

    quick.play(scenario, agents=[agent], serves=True, parked_max=5, park_s=60)
    assert sorted(shop.paid()) == sorted([key, key] for key in keys)


def test_a_cancel_over_an_effect_in_doubt_says_so(world: Any, shop: Any) -> None:
    """The word "cancelled" alone would hide that money may have moved."""

    @hf.tool(effect="once")
    async def charge(x: int) -> None:
        shop.done.append(x)
        raise ConnectionError("the answer was lost")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await charge(1)

    with pytest.raises(RunBlocked):
        world.run(agent)
    world.play(lambda app: app.cancel(world.id(), by="ann"))
    with pytest.raises(RunCancelled, match="In doubt, and left so: charge"):
        world.run(agent)
    assert shop.done == [1]


PARK_S = 3.0


class Hooked(ManualClock):
    """A clock with something to do just before the timer fires that closes a run, by some turns of the loop."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.before: Any = None
        self.turns = turns

    def call_later(self, delay_s: float, callback: Any) -> Any:
        """See `Clock`."""

        def after(turns: int) -> None:
            if turns:
                asyncio.get_running_loop().call_soon(after, turns - 1)
            else:
                callback()

        def hooked() -> None:
            if delay_s == PARK_S and self.before is not None:
                before, self.before = self.before, None
                before()
                after(self.turns)
            else:
                callback()

        return super().call_later(delay_s, hooked)


@pytest.mark.parametrize("turns", range(10))
def test_an_answer_in_the_moment_in_which_the_run_is_closed_wakes_it(quick: Any, turns: int) -> None:
    """Lost: P2. The answer is in the record, the run is closed as one that waits for it, and nothing is ever due."""
    clock = Hooked(turns)
    quick.store._clock = clock.now
    busy = asyncio.Event()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await run.ask("Pay?", options=("pay", "decline"))).value

    @hf.tool(effect="read")
    async def works(x: int) -> None:
        await busy.wait()

    @hf.agent(name="other", budget=BUDGET)
    async def other(run: hf.Run, given: Any) -> Any:
        await works(1)

    async def scenario(app: hf.App) -> Any:
        beside = [
            asyncio.ensure_future(app.run(other, None, key=key)) for key in "ab"
        ]  # commits wait for the tick's end
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await clock.advance(2.9)
        question, answers = quick.question(), []
        clock.before = lambda: answers.append(asyncio.ensure_future(app.answer(quick.id(), question, "pay")))
        for _ in range(20):
            await clock.advance(10)
        assert running.done() and answers
        busy.set()
        await asyncio.gather(*beside)
        return await running

    settings = {"quiet_s": 1.0, "park_s": PARK_S, "poll_s": 5.0}
    assert quick.play(scenario, clock=clock, **settings) == "pay"
