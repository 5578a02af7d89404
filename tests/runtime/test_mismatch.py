"""A run that is blocked, and the person who is told. Each test says what would be lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status, Why
from holdfast.errors import MessageRefused, RunBlocked, RunCancelled, RunWaiting


class Shop:
    """An agent of which there are an old and a new version, which does not match the record of the old one."""

    def __init__(self, world: Any, escalate: str = "oncall") -> None:
        self.world, self.done = world, world.effects

        @hf.tool(effect="once")
        async def pay(cents: int) -> int:
            self.done.append(cents)
            return cents

        @hf.agent(name="shop", escalate=escalate)
        async def old(run: hf.Run, given: Any) -> Any:
            return [await pay(1), (await run.ask("Go on?", options=["yes"])).value, await pay(2)]

        @hf.agent(name="shop", escalate=escalate)
        async def new(run: hf.Run, given: Any) -> Any:
            return [await pay(100), (await run.ask("Go on?", options=["yes"])).value, await pay(2)]

        self.old, self.new = old, new

    def blocked(self) -> Any:
        """The old code has paid and asks; the new one is blocked. The open question about that."""
        with pytest.raises(RunWaiting):
            self.world.run(self.old, wait=0)
        self.answer(self.world.head().questions[0], "yes")
        with pytest.raises(RunBlocked):
            self.world.run(self.new)
        assert self.done == [1]
        return next((each for each in self.world.head().questions if each.about == "mismatch"), None)

    def answer(self, question: Any, value: str) -> None:
        """Ada says it, from another process."""
        self.world.play(lambda app: app.answer(self.world.id(), question.id, value, by="ada"))

    def asked(self) -> int:
        """How many questions about a mismatch there were."""
        return sum(each.facts["about"] == "mismatch" for each in self.world.events(Kind.QUESTION_ASKED))


@pytest.fixture
def shop(world: Any) -> Shop:
    """A run that a deployment blocks."""
    return Shop(world)


def test_who_is_named_is_told_with_both_sides(world: Any, shop: Shop) -> None:
    """Lost: a run that is blocked since Friday, and that nobody knows of."""
    question = shop.blocked()
    assert (question.to, question.options, question.expires_at) == ("oncall", ("resume", "cancel"), None)
    assert "The code asks for once pay; the record has question ask (), once pay (" in question.text
    assert "100" not in question.text, "what a model may have worded stands elsewhere"
    assert (world.head().status, world.head().why) == (Status.SUSPENDED, Why.DRIFT)
    assert world.kinds()[-2:] == [Kind.QUESTION_ASKED, Kind.RUN_SUSPENDED], "in one append"


def test_where_nobody_is_named_nobody_is_asked(world: Any) -> None:
    """Lost: what was said before to whoever looks by themselves."""
    assert Shop(world, escalate="").blocked() is None


def test_the_same_block_is_asked_about_once(world: Any, shop: Shop) -> None:
    """Lost: a person, to a question for each process that finds the run blocked."""
    shop.blocked()
    for _ in range(2):
        with pytest.raises(RunBlocked):
            world.run(shop.new)
    world.play(lambda app: app.signal(world.id(), "hello", 1), agents=[shop.new], serves=True)
    assert shop.asked() == 1


def test_resume_is_what_the_command_does(world: Any, shop: Shop) -> None:
    """Lost: the run: a yes that changes nothing."""
    shop.answer(shop.blocked(), "resume")
    assert world.run(shop.old) == [1, "yes", 2] and shop.done == [1, 2]
    assert world.events(Kind.RUN_RESUMED)[0].facts | {"reopened": []} == {
        "why": "unblocked",
        "by": "ada",
        "reopened": [],
    }


def test_resumed_with_the_wrong_code_it_is_asked_about_anew(world: Any, shop: Shop) -> None:
    """Lost: the second block, to the answer about the first."""
    first = shop.blocked()
    shop.answer(first, "resume")
    with pytest.raises(RunBlocked):
        world.run(shop.new)
    assert shop.asked() == 2 and shop.done == [1]
    assert first.id not in {each.id for each in world.head().questions}


def test_cancel_is_what_the_command_does(world: Any, shop: Shop) -> None:
    """Lost: the way out, for who has no terminal."""
    shop.answer(shop.blocked(), "cancel")
    with pytest.raises(RunCancelled, match="cancelled by ada"):
        world.run(shop.new)
    assert world.head().status is Status.CANCELLED and not world.head().questions and shop.done == [1]


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("value", ["resume", "cancel"])
def test_an_answer_is_carried_out_whoever_dies_when(
    world: Any, shop: Shop, value: str, number: int, is_written: bool
) -> None:
    """Lost: a cancel that was said and is forgotten, so that the run goes on."""
    shop.answer(shop.blocked(), value)
    try:
        world.run(shop.old, prepare=lambda journal: journal.die_at(number, is_written=is_written))
    except (world.Crash, RunCancelled):
        pass
    if value == "cancel":
        with pytest.raises(RunCancelled):
            world.run(shop.old)
        assert shop.done == [1]
    else:
        with suppress(RunWaiting):  # in doubt, when it died while it paid
            assert world.run(shop.old) == [1, "yes", 2]
        assert shop.done.count(1) == 1 and world.head().why != Why.DRIFT
    assert shop.asked() == 1


@pytest.mark.parametrize("how", ["resume", "cancel"])
def test_a_command_withdraws_the_question(world: Any, shop: Shop, how: str) -> None:
    """Lost: a question about a run that somebody has dealt with."""
    question = shop.blocked()
    world.play(lambda app: getattr(app, how)(world.id(), by="op"))
    if how == "resume":
        assert world.run(shop.old) == [1, "yes", 2]
    else:
        with pytest.raises(RunCancelled):
            world.run(shop.old)
    assert question.id not in {each.id for each in world.head().questions}
    if how == "resume":
        closed = [each.facts for each in world.events(Kind.QUESTION_CLOSED) if each.facts["id"] == question.id]
        assert [(each["outcome"], each["by"]) for each in closed] == [("withdrawn", "op")]
    with pytest.raises(MessageRefused):
        shop.answer(question, "cancel")


def test_a_resume_while_it_is_paused_waits_for_the_operator(world: Any, shop: Shop) -> None:
    """Lost: the pause, to an answer."""
    question = shop.blocked()
    world.play(lambda app: app.pause(world.id(), by="op"))
    with pytest.raises(RunWaiting, match="paused"):
        world.run(shop.old, wait=0)
    shop.answer(question, "resume")
    with pytest.raises(RunWaiting, match="paused"):
        world.run(shop.old, wait=0)
    world.play(lambda app: app.resume(world.id(), by="op"))
    assert world.run(shop.old) == [1, "yes", 2]
