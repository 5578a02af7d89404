"""A run at its cap, and a person who may raise it. Each test says what would be spent, or lost, otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import BudgetExceeded, MessageRefused, PolicyInvalid, RunCancelled, RunFailed, RunWaiting

ASK = hf.Ask("ada", within="2h")
LOOKS = 6


class Shop:
    """A run that looks six times."""

    def __init__(self, world: Any, **caps: Any) -> None:
        self.world = world
        self.done: list[int] = []

        @hf.tool(effect="idempotent")
        async def look(x: int) -> int:
            self.done.append(x)
            return x

        @hf.agent(name="shop", budget=hf.Budget(**{"tool_calls": 2, "ask": ASK, **caps}))
        async def agent(run: hf.Run, given: Any) -> Any:
            return [await look(x) for x in range(LOOKS)]

        self.agent = agent

    def asks(self) -> Any:
        """It comes to a cap; the open question."""
        with pytest.raises(RunWaiting) as waiting:
            self.world.run(self.agent, wait=0)
        (question,) = self.world.head().questions
        assert question.text in str(waiting.value)
        return question

    def answer(self, question: Any, value: str = "raise", **more: Any) -> None:
        """Ada says it, from another process."""
        self.world.play(lambda app: app.answer(self.world.id(), question.id, value, by="ada", **more))

    def go_on(self) -> Any:
        """The next process."""
        return self.world.run(self.agent, wait=5)


@pytest.fixture
def shop(world: Any) -> Shop:
    """A run with a cap of two."""
    return Shop(world)


def test_at_its_cap_the_run_is_set_aside_and_says_what_it_is_about(world: Any, shop: Shop) -> None:
    """Lost: the work, ended in the night for want of one more call; or a person who cannot tell what more is worth."""
    question = shop.asks()
    assert (question.about, question.to, question.options) == ("budget", "ada", ("raise", "stop"))
    assert "2 tool calls of 2 tool calls are used, and what comes next needs 1 tool call more" in question.text
    assert question.schema["properties"]["tool_calls"]["default"] == 1
    head = world.head()
    assert (head.status, head.why) == (Status.SUSPENDED, "budget")
    assert head.wake_at == question.expires_at == pytest.approx(question.asked_at + 7_200, abs=1)
    assert world.kinds()[-2:] == [Kind.QUESTION_ASKED, Kind.RUN_SUSPENDED] and shop.done == [0, 1]


def test_raise_gives_half_of_the_cap_and_no_more_is_spent(world: Any) -> None:
    """Lost: the cap: an answer that lifts it for good."""
    shop = Shop(world, tool_calls=4)
    shop.answer(shop.asks())
    assert shop.go_on() == list(range(LOOKS)) and world.state().limits.tool_calls == 6
    changed = world.events(Kind.BUDGET_CHANGED)
    assert [(each.facts["by"], each.facts["limits"][0]) for each in changed] == [("ada", 6)]
    assert shop.done == list(range(LOOKS)), "what was done is not done again"


def test_the_next_cap_is_asked_about_anew(world: Any, shop: Shop) -> None:
    """Lost: a second cap that ends the run, or one question that is answered for all."""
    seen = []
    for _ in range(4):
        question = shop.asks()
        seen.append(question.id)
        shop.answer(question, form={"tool_calls": 1})
    assert shop.go_on() == list(range(LOOKS)) and len(set(seen)) == 4


def test_an_amount_is_given(world: Any, shop: Shop) -> None:
    """Lost: the only other amount."""
    shop.answer(shop.asks(), form={"tool_calls": 10})
    assert shop.go_on() == list(range(LOOKS)) and world.state().limits.tool_calls == 12


@pytest.mark.parametrize("amount", [0, -5, 1.5, "10", 10**9])
def test_an_amount_that_is_none_is_refused(shop: Shop, amount: Any) -> None:
    """Lost: a cap that is lowered by an answer, or lifted for good by a slip."""
    question = shop.asks()
    with pytest.raises(MessageRefused, match="tool_calls"):
        shop.answer(question, form={"tool_calls": amount})
    with pytest.raises(MessageRefused, match="carries no form"):
        shop.answer(question, "stop", form={"tool_calls": 1})
    with pytest.raises(MessageRefused):
        shop.answer(question, "more")


def test_stop_ends_it_as_it_would_have_ended(world: Any, shop: Shop) -> None:
    """Lost: the hand-over, and what to type to go on."""
    shop.answer(shop.asks(), "stop")
    with pytest.raises(BudgetExceeded) as stopped:
        shop.go_on()
    assert "ada said no to more" in str(stopped.value) and stopped.value.reason == "budget: tool_calls"
    assert "--raise tool_calls=+1" in stopped.value.handover
    assert world.state().end.facts["asked"] == "answered" and shop.done == [0, 1]
    world.play(lambda app: app.resume(world.id(), budget=hf.Budget(tool_calls=9)))
    assert shop.go_on() == list(range(LOOKS))


def test_silence_is_no_raise(world: Any, shop: Shop) -> None:
    """Lost: money, to nobody's answer; or a run that waits for ever."""
    shop.asks()
    world.clock.by_s += 7_300
    with pytest.raises(BudgetExceeded, match="nobody answered in time"):
        shop.go_on()
    closed = world.events(Kind.QUESTION_CLOSED)[-1].facts
    assert (closed["outcome"], closed["choice"], world.state().end.facts["asked"]) == ("expired", "stop", "expired")
    assert shop.done == [0, 1]


def test_a_worker_that_only_serves_ends_it_in_time(world: Any, shop: Shop) -> None:
    """Lost: the deadline, when nobody calls for the run."""
    question = shop.asks()
    world.clock.by_s += 7_300

    async def serves(app: hf.App) -> None:
        for _ in range(500):
            if world.store.head(world.id()).status.is_end:
                return
            await asyncio.sleep(0.01)

    world.play(serves, agents=[shop.agent], serves=True)
    assert world.head().status is Status.STOPPED and question.id


def test_an_answer_that_came_in_time_counts_though_it_is_read_late(world: Any, shop: Shop) -> None:
    """Lost: a yes, to a process that was down."""
    shop.answer(shop.asks(), form={"tool_calls": 10})
    world.clock.by_s += 7_300
    assert shop.go_on() == list(range(LOOKS))


@pytest.mark.parametrize("value", ["raise", "stop"])
@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("number", range(1, 6))
def test_each_answer_counts_once_whoever_dies_when(world: Any, number: int, is_written: bool, value: str) -> None:
    """Lost: a second raise for one answer; or a "stop" that is asked about again."""
    shop = Shop(world)
    shop.answer(shop.asks(), value, **({"form": {"tool_calls": 20}} if value == "raise" else {}))
    try:
        world.run(shop.agent, prepare=lambda journal: journal.die_at(number, is_written=is_written))
    except (world.Crash, BudgetExceeded):
        pass
    if value == "raise":
        assert shop.go_on() == list(range(LOOKS)) and world.state().limits.tool_calls == 22
    else:
        with pytest.raises(BudgetExceeded, match="said no"):
            shop.go_on()
        assert shop.done == [0, 1]
    assert len(world.events(Kind.QUESTION_ASKED)) == 1


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("number", range(1, 7))
def test_a_death_before_the_question_asks_once(world: Any, shop: Shop, number: int, is_written: bool) -> None:
    """Lost: the question; or one more for each death."""
    try:
        world.run(shop.agent, wait=0, prepare=lambda journal: journal.die_at(number, is_written=is_written))
    except (world.Crash, RunWaiting):
        pass
    shop.asks()
    assert len(world.events(Kind.QUESTION_ASKED)) == 1 and world.state().used.tool_calls <= 2


def test_the_first_answer_counts(world: Any, shop: Shop) -> None:
    """Lost: two raises, by two people."""
    question = shop.asks()
    shop.answer(question, form={"tool_calls": 4})
    with pytest.raises(MessageRefused):
        shop.answer(question, form={"tool_calls": 4})
    shop.go_on()
    assert world.state().limits.tool_calls == 6


@pytest.mark.parametrize("caps", [{"tool_calls": 9}, None])
def test_an_operator_says_more_than_the_question(world: Any, shop: Shop, caps: Any) -> None:
    """Lost: a question that stays open for a run that has gone on."""
    question = shop.asks()
    budget = hf.Budget(**caps) if caps else None
    world.play(lambda app: app.resume(world.id(), budget=budget, by="op"))
    if caps:
        assert shop.go_on() == list(range(LOOKS))
    else:
        assert shop.asks().id != question.id
    closed = world.events(Kind.QUESTION_CLOSED)[0].facts
    assert (closed["id"], closed["outcome"], closed["by"]) == (question.id, "answered" if caps else "withdrawn", "op")


def test_caps_that_are_set_meanwhile_let_it_go_on(world: Any, shop: Shop) -> None:
    """Lost: a run that waits for a raise which it has had."""
    shop.asks()
    assert world.store.post(world.id(), "cap", accept.cap({"tool_calls": 20}, by="op")).is_stored
    assert shop.go_on() == list(range(LOOKS)) and not world.head().questions


def test_cancel_withdraws_the_question(world: Any, shop: Shop) -> None:
    """Lost: a person who is asked about a run that is no more."""
    shop.asks()
    world.play(lambda app: app.cancel(world.id(), by="op"))
    with pytest.raises(RunCancelled):
        shop.go_on()
    assert not world.head().questions


def test_a_raise_while_it_is_paused_waits_for_the_operator(world: Any, shop: Shop) -> None:
    """Lost: the pause, to an answer; or the answer, to a pause."""
    question = shop.asks()
    world.play(lambda app: app.pause(world.id(), by="op"))
    with pytest.raises(RunWaiting):
        world.run(shop.agent, wait=0)
    shop.answer(question, form={"tool_calls": 9})
    with pytest.raises(RunWaiting, match="paused"):
        world.run(shop.agent, wait=0)
    assert shop.done == [0, 1]
    world.play(lambda app: app.resume(world.id(), by="op"))
    assert shop.go_on() == list(range(LOOKS)) and world.state().limits.tool_calls == 11


@pytest.mark.parametrize("part", ["active", "wall"])
def test_a_cap_on_time_is_raised_from_the_answer_on(world: Any, part: str) -> None:
    """Lost: a raise that was used up while a person was waited for."""

    @hf.tool(effect="read")
    async def slow(x: int) -> int:
        world.clock.by_s += 40
        return x

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=100, ask=ASK, **{part: "60s"}))
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await slow(x) for x in range(3)]

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    (question,) = world.head().questions
    assert question.about == "budget" and question.schema["properties"]["minutes"]["default"] == 1
    world.clock.by_s += 3_600
    world.play(lambda app: app.answer(world.id(), question.id, "raise", by="ada", form={"minutes": 5}))
    assert world.run(agent) == [0, 1, 2]


def test_what_a_start_says_comes_before_what_the_agent_declares(world: Any) -> None:
    """Lost: whom to ask, said by whoever knows."""
    shop = Shop(world, ask=None)
    with pytest.raises(RunWaiting):
        world.run(shop.agent, wait=0, budget=hf.Budget(tool_calls=1, ask=hf.Ask("bob", within="1h", urgent=True)))
    (question,) = world.head().questions
    assert (question.to, question.is_urgent) == ("bob", True) and shop.done == [0]


def test_a_child_asks_for_itself_and_its_parent_waits(world: Any) -> None:
    """Lost: the parent, to the cap of its child."""
    shop = Shop(world)

    @hf.agent(name="boss", budget=hf.Budget(tool_calls=50))
    async def boss(run: hf.Run, given: Any) -> Any:
        return await run.spawn(shop.agent, 1, name="part")

    with pytest.raises(RunWaiting):
        world.play(lambda app: app.run(boss, None, key="k", wait=0.5), agents=[shop.agent])
    (child,) = world.state().children
    (question,) = world.store.head(child).questions
    world.play(lambda app: app.answer(child, question.id, "raise", by="ada", form={"tool_calls": 9}))
    assert world.play(lambda app: app.run(boss, None, key="k", wait=5), agents=[shop.agent]) == list(range(LOOKS))


def test_a_cap_that_others_share_is_no_matter_of_this_run(world: Any) -> None:
    """Lost: a person who raises what does not help."""
    shop = Shop(world, tool_calls=50)

    @hf.agent(name="boss", budget=hf.Budget(tool_calls=3))
    async def boss(run: hf.Run, given: Any) -> Any:
        return await run.spawn(shop.agent, 1, name="part")

    with pytest.raises(RunFailed, match="of run"):
        world.play(lambda app: app.run(boss, None, key="k", wait=5), agents=[shop.agent])
    (child,) = world.state().children
    assert world.store.head(child).status is Status.STOPPED


@pytest.mark.parametrize(
    "ask",
    [
        "ada",
        hf.Ask("ada"),
        hf.Ask("ada", within="1h", default="decline"),
        hf.Ask("ada", within="1h", valid="1h"),
        hf.Ask("ada", within="1h", approvers=["ada"]),
        hf.Ask("ada", within="1h", quorum=2),
        hf.Ask("ada", within="1h", require_reachable=True),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused(ask: Any) -> None:
    """Lost: a question that never ends, or a promise that nobody keeps."""
    with pytest.raises(PolicyInvalid):
        hf.Budget(tool_calls=1, ask=ask)


def test_whom_to_ask_is_no_cap() -> None:
    """Lost: a budget that bounds nothing."""
    with pytest.raises(PolicyInvalid, match="bounds nothing"):
        hf.Budget(ask=ASK)
    with pytest.raises(PolicyInvalid, match="asks nobody"):
        hf.Meter(hf.Budget(tool_calls=1, ask=ASK))
