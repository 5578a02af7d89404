"""A step that needs a person neither begins nor asks while nobody can be reached. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.inbox.conftest import Office, chains
from tests.inbox.test_chain import until
from tests.runtime.conftest import Crash, Mortal, World

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.core.reach import Fact, cell_of, text_of
from holdfast.errors import PolicyInvalid, RunStopped, RunWaiting
from holdfast.views.show import show
from holdfast.views.unasked import unasked
from holdfast.views.verdict import verdict


def agent(world: World, **asked: Any) -> Any:
    """An agent with a payment that somebody must approve."""

    @hf.tool(effect="once", approve=hf.Ask(**{"who": "finance", "within": "30m"} | asked))
    async def pay(what: str) -> str:
        world.effects.append(what)
        return f"paid {what}"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        try:
            return str(await pay("K-17"))
        except hf.NotApproved as error:
            return f"{error.outcome}: {error}"

    return payer


def broken(world: World, *ways: tuple[str, str], why: str = "550 no such user") -> None:
    """The last notice by these ways was refused."""
    for person, channel in ways:
        name = cell_of(channel, person, Fact.REFUSED)
        cell = world.store.cell(name)
        assert world.store.swap(name, 0 if cell is None else cell.version, text_of(world.clock.now(), why))


def mended(world: World, *ways: tuple[str, str]) -> None:
    """One was accepted after that."""
    for person, channel in ways:
        name = cell_of(channel, person, Fact.ACCEPTED)
        cell = world.store.cell(name)
        assert world.store.swap(name, 0 if cell is None else cell.version, text_of(world.clock.now() + 1))


ALL = tuple((person, channel) for person in ("ada", "bob") for channel in ("mail", "page"))


def begin(world: World, office: Office, payer: Any) -> None:
    """A process begins it, and is over."""
    with pytest.raises(RunWaiting):
        world.run(payer, wait=0, inbox=office.inbox)


def test_while_nobody_can_be_reached_nobody_is_asked(world: World, office: Office) -> None:
    """Lost: a question into the void, whose default is taken half an hour later, each time."""
    broken(world, *ALL)
    begin(world, office, agent(world))
    assert world.events(Kind.QUESTION_ASKED) == [] and chains(world) == [] and world.effects == []
    head = world.head()
    assert head.status is Status.SUSPENDED and head.why == "unreachable" and head.wake_at is not None
    [said] = world.events(Kind.DECIDED)
    assert said.facts["what"] == "reach" and said.facts["choice"] == "wait" and said.facts["to"] == "finance"
    assert "mail to ada failed last: 550 no such user" in said.facts["because"]
    told = verdict(show(head, world.events()), world.clock.now())
    assert "since nobody can be reached: mail to ada failed last: 550 no such user" in told
    [shown] = unasked(world.store)
    assert (shown.run, shown.tool, shown.to, shown.because) == (world.id(), "pay", "finance", said.facts["because"])
    assert shown.until == pytest.approx(shown.since + 1_800)


def test_it_is_asked_once_somebody_can_be_reached_again_with_its_whole_time(world: World, office: Office) -> None:
    """Lost: work that waits for ever, or a person who has one minute to decide."""
    payer = agent(world)
    broken(world, *ALL)
    begin(world, office, payer)
    mended(world, ("bob", "page"))
    world.clock.by_s += 60
    begin(world, office, payer)
    [question] = world.head().questions
    assert question.expires_at is not None and question.expires_at > world.clock.now() + 1_790
    world.play(lambda app: app.answer(world.id(), question.id, "approve", by="bob", digest=question.digest))
    assert world.run(payer, inbox=office.inbox) == "paid K-17" and world.effects == ["K-17"]
    assert world.run(payer, inbox=office.inbox) == "paid K-17"


def test_after_its_time_the_default_is_taken_and_said_to_be_that(world: World, office: Office) -> None:
    """Lost: the end of a run that nobody can be asked about; or "unreachable" that is taken for a no of a person."""
    payer = agent(world)
    broken(world, *ALL)
    begin(world, office, payer)
    world.clock.by_s += 1_801
    mended(world, *ALL)  # too late, as it is for an answer
    told = world.run(payer, inbox=office.inbox)
    assert told.startswith("unreachable: pay was not begun: for 30 min nobody could be reached (mail to ada")
    assert world.effects == [] and world.events(Kind.QUESTION_ASKED) == []
    broken(world, *ALL)
    assert world.run(payer, inbox=office.inbox) == told, "a replay says the same"


def test_by_default_the_run_is_stopped_and_asks_when_it_is_resumed(world: World, office: Office) -> None:
    """Lost: the work so far; or a resumed run that is stopped at once by the old deadline."""
    payer = agent(world, default="stop")
    broken(world, *ALL)
    begin(world, office, payer)
    world.clock.by_s += 1_801
    with pytest.raises(RunStopped, match="pay was not approved: for 30 min nobody could be reached"):
        world.run(payer, inbox=office.inbox)
    mended(world, *ALL)
    world.resume()
    begin(world, office, payer)
    assert [question.about for question in world.head().questions] == ["approve"]


def test_what_was_decided_is_what_a_replay_takes_and_not_what_is_known_now(world: World, office: Office) -> None:
    """Lost: P10. A question that is open would be withdrawn, or asked twice, by a mail that bounced meanwhile."""
    payer = agent(world)
    begin(world, office, payer)
    [question] = world.head().questions
    broken(world, *ALL)
    begin(world, office, payer)
    assert [each.id for each in world.head().questions] == [question.id]
    world.play(lambda app: app.answer(world.id(), question.id, "approve", by="bob", digest=question.digest))
    assert world.run(payer, inbox=office.inbox) == "paid K-17"


def test_nobody_is_there_or_nobody_is_named(world: World, office: Office) -> None:
    """Lost: an approval that is put to a name which no file knows, and of which nobody ever hears."""
    begin(world, office, agent(world, who="finnance"))
    [said] = world.events(Kind.DECIDED)
    assert "finnance is no chain, no rota and no person" in said.facts["because"]


def test_one_way_that_is_not_broken_is_enough(world: World, office: Office) -> None:
    """Lost: all work, as soon as one mailbox is full."""
    broken(world, *ALL[:-1])
    begin(world, office, agent(world))
    assert [question.about for question in world.head().questions] == ["approve"]


def test_it_can_be_declared_that_it_is_asked_all_the_same(world: World, office: Office) -> None:
    """Lost: the choice of whoever looks at the inbox all day."""
    broken(world, *ALL)
    begin(world, office, agent(world, require_reachable=False))
    assert len(world.head().questions) == 1


def test_without_an_inbox_it_is_as_it_was(world: World) -> None:
    """Lost: every approval of those who tell nobody by channels."""
    with pytest.raises(RunWaiting):
        world.run(agent(world), wait=0)
    assert len(world.head().questions) == 1


def test_what_needs_people_who_can_be_reached_is_not_started_where_nobody_is_told(world: World) -> None:
    """Lost: the preflight. It would be found out at night, in the middle of a run."""
    with pytest.raises(PolicyInvalid, match=r"pay, which payer can call, needs an approval by finance.*\[chains\]"):
        world.run(agent(world, require_reachable=True), wait=0)
    assert world.store.head(world.id()) is None


def test_a_step_that_no_preflight_sees_waits(world: World) -> None:
    """Lost: what is declared at the call itself would be asked into the void."""

    def pay(what: str) -> str:
        world.effects.append(what)
        return "paid"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        asked = hf.Ask("finance", within="30m", require_reachable=True)
        return str(await run.step("pay", pay, "K-17", approve=asked))

    with pytest.raises(RunWaiting, match="unreachable"):
        world.run(payer, wait=0)
    assert world.head().why == "unreachable" and world.effects == []


def listing(world: World) -> Any:
    """An agent that asks about a list of calls."""

    @hf.tool(effect="once", approve=hf.Ask("finance"))
    async def pay(what: str) -> str:
        world.effects.append(what)
        return f"paid {what}"

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> list[str]:
        said = await run.approve("finance", [pay.bind("K-17"), pay.bind("K-18")], within="30m")
        return [await pay("K-17"), await pay("K-18")] if said else [said.outcome]

    return payer


def test_a_list_of_calls_is_not_asked_about_either(world: World, office: Office) -> None:
    """Lost: the promise, for whoever asks once for several."""
    payer = listing(world)
    broken(world, *ALL)
    begin(world, office, payer)
    assert world.head().why == "unreachable" and world.events(Kind.QUESTION_ASKED) == []
    [shown] = unasked(world.store)
    assert shown.to == "finance"
    world.clock.by_s += 1_801
    assert world.run(payer, inbox=office.inbox) == ["unreachable"] and world.effects == []
    assert world.run(payer, inbox=office.inbox) == ["unreachable"], "a replay says the same"


def test_a_list_of_calls_is_asked_about_once_somebody_is_there(world: World, office: Office) -> None:
    """Lost: a grant that nobody can give any more."""
    payer = listing(world)
    broken(world, *ALL)
    begin(world, office, payer)
    mended(world, ("ada", "mail"))
    world.clock.by_s += 60
    begin(world, office, payer)
    [question] = world.head().questions
    world.play(lambda app: app.answer(world.id(), question.id, "approve", by="bob", digest=question.digest))
    assert world.run(payer, inbox=office.inbox) == ["paid K-17", "paid K-18"]


def test_it_looks_again_by_itself_while_it_is_parked(quick: World, office: Office) -> None:
    """Lost: a run that only a restart brings back."""
    broken(quick, *ALL)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent(quick), None, key="k", wait=None))
        await until(lambda: quick.store.head(quick.id()) and quick.head().why == "unreachable")
        mended(quick, *ALL)
        quick.clock.by_s += 60
        await until(lambda: quick.head().questions, turns=4_000)
        [question] = quick.head().questions
        await app.answer(quick.id(), question.id, "approve", by="ada", digest=question.digest)
        assert await running == "paid K-17"
        await until(lambda: all(head.status.is_end for head in chains(quick)))

    quick.play(scenario, serves=True, inbox=office.inbox, park_s=0.01)


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_killed_at_every_write_it_waits_no_longer_and_pays_once(is_written: bool) -> None:
    """Lost: a crash that begins its time anew, or that lets the step begin without an approval."""
    kills = 0
    for number in range(1, 20):
        world, office = World(None), Office()
        broken(world, *ALL)
        payer, since = agent(world), world.clock.now()

        def prepare(journal: Mortal, number: int = number) -> None:
            journal.die_at(number, is_written=is_written)

        died = _dies(world, office, payer, prepare)
        kills += died
        with suppress(RunWaiting):
            world.run(payer, wait=0, inbox=office.inbox)
        held = [event.facts for event in world.events(Kind.DECIDED)]
        assert len(held) == 1 and held[0]["until"] < since + 1_800 + 60
        world.clock.by_s += 1_900
        assert world.run(payer, inbox=office.inbox).startswith("unreachable")
        assert world.effects == [] and world.events(Kind.QUESTION_ASKED) == []
        if not died:
            break
    assert kills >= 2


def _dies(world: World, office: Office, payer: Any, prepare: Callable[[Mortal], None]) -> bool:
    try:
        world.run(payer, wait=0, inbox=office.inbox, prepare=prepare, may_leak=True)
    except Crash:
        return True
    except RunWaiting:
        pass
    return False
