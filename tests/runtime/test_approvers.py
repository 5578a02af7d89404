"""Who may approve, in whole runs. Each test says who else would have had their way."""

from __future__ import annotations

from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.errors import MessageRefused, RunWaiting
from holdfast.inbox.directory import Chain, Directory, Person, Step
from holdfast.inbox.inbox import Inbox
from holdfast.views import asking

TWO = hf.Ask("finance", within="30m", approvers=["money"], quorum=2)


class Nobody(Inbox):
    """Tells nobody: people look by themselves, and are there."""

    def unreachable(self, to: str, within_s: float | None) -> str:
        """Never."""
        return ""


def people(*names: str) -> Inbox:
    """Who is there: all, and those of them who are `money`."""
    everybody = {name: Person(name) for name in ("ann", "bob", "eve")}
    return Nobody(Directory(people=everybody, chains={"money": Chain("money", (Step(names, (), 60.0),))}), {})


MONEY = people("ann", "bob")


def payer_of(world: Any, asks: hf.Ask, *, lists: bool = False, approvers: tuple[str, ...] = (), **options: Any) -> Any:
    """An agent that pays, when those agree who must."""

    @hf.tool(effect="once", approve=asks, **options)
    async def pay(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append(what)
        return f"paid {what}"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        if lists:
            await run.approve("anybody", [pay.bind("K-17")], approvers=approvers)
        try:
            return await pay("K-17")
        except hf.NotApproved as error:
            return f"{error.outcome} by {error.by or 'nobody'}: {error}"

    return payer


def begin(world: Any, agent: Any, inbox: Inbox | None = MONEY, **more: Any) -> None:
    """A process goes as far as it can, and asks."""
    with pytest.raises(RunWaiting):
        world.play(lambda app: app.run(agent, None, key="k", wait=0, **more), inbox=inbox)


def say(world: Any, by: str, choice: str = "approve", inbox: Inbox | None = MONEY) -> None:
    """A person in another process answers what they were shown."""
    (shown,) = asking.items(world.store)
    world.play(lambda app: app.answer(shown.run, shown.id, choice, by=by, digest=shown.digest), inbox=inbox)


def done(world: Any, agent: Any, inbox: Inbox | None = MONEY) -> Any:
    return world.play(lambda app: app.run(agent, None, key="k", wait=5.0), inbox=inbox)


@pytest.mark.parametrize("by", ["eve", "", "mallory", "money", "Ann"])
def test_nobody_answers_who_may_not_and_the_question_stays_open(world: Any, by: str) -> None:
    """Lost: an effect on the word of somebody who was never to decide; or a question that a stranger has closed."""
    agent = payer_of(world, hf.Ask("finance", approvers=["money"]))
    begin(world, agent)
    for choice in ("approve", "decline"):
        with pytest.raises(MessageRefused, match="stays open"):
            say(world, by, choice)
    begin(world, agent)
    assert world.effects == []
    say(world, "bob")
    assert done(world, agent) == "paid K-17" and world.effects == ["K-17"]


def test_whoever_came_in_later_may_not_and_whoever_left_may_not_either(world: Any) -> None:
    """Lost: the list as it was shown with the question; or a word of somebody who was taken off it since."""
    agent = payer_of(world, hf.Ask("finance", approvers=["money"]))
    begin(world, agent)
    later = people("bob", "eve")
    with pytest.raises(MessageRefused, match="none of those who may answer"):
        say(world, "eve", inbox=later)
    with pytest.raises(MessageRefused, match="not of money any more"):
        say(world, "ann", inbox=later)
    say(world, "bob", inbox=later)
    assert done(world, agent, later) == "paid K-17"


def test_whoever_left_between_their_word_and_the_effect_is_not_heard(world: Any) -> None:
    """Lost: an effect by somebody who had been dismissed when it happened. It is put to those who are there."""
    agent = payer_of(world, hf.Ask("finance", approvers=["money"]))
    begin(world, agent)
    say(world, "ann")
    later = people("bob", "eve")
    begin(world, agent, later)
    (shown,) = asking.items(world.store)
    assert world.effects == [] and shown.people == ("bob", "eve")
    assert "ann approved it, and may not do so any more" in shown.text
    say(world, "eve", inbox=later)
    assert done(world, agent, later) == "paid K-17"


def test_a_message_that_was_left_without_asking_anybody_is_judged_by_the_store(world: Any) -> None:
    """Lost: all of it, by a program that writes to the mailbox itself."""
    agent = payer_of(world, hf.Ask("finance", approvers=["money"]))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    forged = accept.answer(shown.id, choice="approve", by="eve", body=None, digest=shown.digest)
    assert "none of those who may answer" in world.store.post(shown.run, "m1", forged).refused


def test_who_asks_for_a_run_does_not_approve_what_it_does(world: Any) -> None:
    """Lost: the four eyes, when one person starts the run and then agrees to it."""
    agent = payer_of(world, hf.Ask("finance"))
    begin(world, agent, by="ann")
    assert world.state().requester == "ann"
    for by in ("ann", "ANN", ""):
        with pytest.raises(MessageRefused, match="stays open"):
            say(world, by)
    say(world, "bob")
    assert done(world, agent) == "paid K-17"


def test_two_must_agree_one_after_the_other_until_the_same_moment(world: Any) -> None:
    """Lost: the second pair of eyes, or a deadline that each of them moves on."""
    agent = payer_of(world, TWO)
    begin(world, agent)
    (first,) = asking.items(world.store)
    say(world, "ann")
    world.clock.by_s += 600
    begin(world, agent)
    (second,) = asking.items(world.store)
    assert world.effects == [] and "ann approved it, and 1 more must" in second.text
    assert second.expires_at == first.expires_at and second.digest != first.digest
    with pytest.raises(MessageRefused, match="agreed already"):
        say(world, "ann")
    say(world, "bob")
    assert done(world, agent) == "paid K-17" and world.effects == ["K-17"]


def test_of_two_who_must_agree_either_can_say_no_and_silence_is_none(world: Any) -> None:
    """Lost: the second one's no."""
    agent = payer_of(world, TWO)
    begin(world, agent)
    say(world, "ann")
    begin(world, agent)
    say(world, "bob", "decline")
    assert done(world, agent).startswith("declined by bob") and world.effects == []


def test_the_first_of_two_is_not_asked_for_ever(world: Any) -> None:
    """Lost: the deadline, once somebody has agreed."""
    agent = payer_of(world, TWO)
    begin(world, agent)
    say(world, "ann")
    world.clock.by_s += 1_000
    begin(world, agent)
    world.clock.by_s += 900
    assert done(world, agent).startswith("expired") and world.effects == []


@pytest.mark.parametrize("inbox", [people(), people("ann")])
def test_where_too_few_could_agree_nobody_is_asked_and_nothing_is_done(world: Any, inbox: Inbox) -> None:
    """Lost: days in which a question waits that nobody can answer."""
    assert done(world, payer_of(world, TWO), inbox).startswith("undeliverable by nobody: pay was not begun")
    assert done(world, payer_of(world, TWO), MONEY).startswith("undeliverable"), "the record says the same"
    assert world.effects == [] and asking.items(world.store) == []


def test_without_a_directory_names_are_people(world: Any) -> None:
    """Lost: approvers= in a program that tells nobody by itself."""
    agent = payer_of(world, hf.Ask("finance", approvers=["ann"]))
    begin(world, agent, None)
    with pytest.raises(MessageRefused, match="none of those"):
        say(world, "bob", inbox=None)
    say(world, "ann", inbox=None)
    assert done(world, agent, None) == "paid K-17"


@pytest.mark.parametrize(
    ("asks", "approvers", "is_enough"),
    [
        (hf.Ask("finance"), (), True),
        (hf.Ask("finance", approvers=["money"]), (), True),
        (hf.Ask("finance", approvers=["eve"]), (), False),
        (hf.Ask("finance", approvers=["eve"]), ("money",), False),
        (TWO, (), False),
    ],
)
def test_a_list_does_not_undo_what_the_tool_demands(
    world: Any, asks: hf.Ask, approvers: tuple[str, ...], is_enough: bool
) -> None:
    """Lost: approvers and quorum of a tool, by an agent that asks somebody easier about a list."""
    agent = payer_of(world, asks, lists=True, approvers=approvers)
    begin(world, agent)
    say(world, "ann")
    if not is_enough:
        begin(world, agent)
        assert world.effects == [], "it is put to those who may"
        return
    assert done(world, agent) == "paid K-17" and world.effects == ["K-17"]


def test_a_list_is_answered_by_those_who_may_and_by_nobody_else(world: Any) -> None:
    """Lost: approvers= of `run.approve`."""
    agent = payer_of(world, hf.Ask("finance"), lists=True, approvers=("money",))
    begin(world, agent)
    with pytest.raises(MessageRefused, match="none of those"):
        say(world, "eve")
    say(world, "ann")
    later = people("bob")
    begin(world, agent, later)
    assert world.effects == [], "ann has left since"


def test_an_approval_of_anybody_is_none_where_only_some_may(world: Any) -> None:
    """Lost: a rule that was written into the tool after somebody had clicked."""
    begin(world, payer_of(world, hf.Ask("finance", within="30m")))
    say(world, "eve")
    agent = payer_of(world, hf.Ask("finance", within="30m", approvers=["money"]))
    begin(world, agent)
    assert world.effects == []
    say(world, "bob")
    assert done(world, agent) == "paid K-17"


@pytest.mark.parametrize(("what", "needs_two"), [("K-17", False), ("rm -rf /var/lib", True), ("delete from t", True)])
def test_what_nobody_can_read_off_its_arguments_needs_more_people(world: Any, what: str, needs_two: bool) -> None:
    """Lost: the stronger policy for a command, a query, a blob (S16)."""

    @hf.tool(effect="once", approve=hf.Ask("finance", within="30m", approvers=["money"], quorum_opaque=2))
    async def pay(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append(what)
        return f"paid {what}"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        return await pay(what)

    begin(world, payer)
    say(world, "ann")
    if needs_two:
        begin(world, payer)
        assert world.effects == []
        say(world, "bob")
    assert done(world, payer) == f"paid {what}" and world.effects == [what]
