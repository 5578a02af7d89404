"""What chains learn of their ways. If these fail, `channels status` shows what nobody has measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.inbox.conftest import Office, chains
from tests.inbox.test_chain import asker, play, until
from tests.runtime.conftest import Mortal, World

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.reach import Evidence, Fact, State, cell_of
from holdfast.errors import RunWaiting
from holdfast.inbox import evidence
from holdfast.inbox.routes import all_judged
from holdfast.protocols import Append, Notice, Undeliverable


def known(world: World, person: str = "ada", channel: str = "mail") -> Evidence:
    """What the store knows of a way."""
    return evidence.read(world.store, person, channel)


def test_an_accepted_notice_proves_nothing_and_an_answer_does(world: World, office: Office) -> None:
    """Lost: the difference between a mail server that takes everything and a person who reads."""
    seen: list[Evidence] = []

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: known(world).accepted_at is not None, turns=400)
        seen.append(known(world))
        for question in world.head().questions:
            await app.answer(world.id(), question.id, "yes", by="ada")
        result = await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all(head.status.is_end for head in chains(world)))
        return result

    assert world.play(scenario, agents=[asker], serves=True, inbox=office.inbox) == "answered yes"
    assert seen[0].taken_at is None
    assert known(world).taken_at is not None and known(world).refused_at is None
    assert known(world, "bob") == Evidence() and known(world, "ada", "page") == Evidence()
    [found] = all_judged(office.directory, world.store, world.store.now())
    assert found.found.state is State.DEGRADED, "nobody outside watches"


def test_whoever_was_not_told_proves_no_way(world: World, office: Office) -> None:
    """Lost: somebody looks by chance, answers, and the dead address of another one counts as proven."""
    office.chain("finance", ("ada", "mail"))

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [question] = world.head().questions
        await app.answer(world.id(), question.id, "yes", by="eve")
        await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all(head.status.is_end for head in chains(world)))

    world.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    assert known(world).taken_at is None and known(world).accepted_at is not None
    assert all_judged(office.directory, world.store, world.store.now())[0].found.state is State.UNPROVEN


def test_a_refusal_is_kept_with_its_reason(world: World, office: Office) -> None:
    """Lost: the next run asks into the same void."""

    def gone(notice: Notice) -> None:
        raise Undeliverable("550 no such\x1b[2J user")

    office.mail.before = gone
    assert play(world, office) == "answered yes"
    found = known(world)
    assert found.is_refused and found.is_final and "550 no such" in found.refusal and "\x1b" not in found.refusal
    assert not known(world, channel="page").is_refused


def test_whoever_acknowledges_has_been_reached(quick: World, office: Office) -> None:
    """Lost: a person who says "I take it" and is then said to be out of reach."""

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [chain] = chains(quick)
        await app.signal(chain.run_id, "news", {"what": "acknowledged", "by": "eve"})
        await app.signal(chain.run_id, "news", {"what": "acknowledged", "by": "ada"})
        await until(lambda: known(quick).taken_at is not None)

    quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    assert quick.store.cell(cell_of("mail", "eve", Fact.TAKEN)) is None


def test_a_replay_writes_no_old_fact_over_a_new_one(quick: World, office: Office) -> None:
    """Lost: a process that takes a chain over puts last week's success over this week's refusal."""

    async def asks(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: known(quick).accepted_at is not None)

    quick.play(asks, agents=[asker], serves=True, inbox=office.inbox)
    accepted = known(quick).accepted_at
    cell = quick.store.cell(cell_of("mail", "ada", Fact.ACCEPTED))
    assert cell is not None and accepted is not None

    async def goes_on(app: hf.App) -> None:
        [chain] = chains(quick)
        await app.signal(chain.run_id, "news", {"what": "acknowledged", "by": "ada"})
        await until(lambda: known(quick).taken_at is not None)

    quick.play(goes_on, agents=[asker], serves=True, inbox=office.inbox)
    after = quick.store.cell(cell_of("mail", "ada", Fact.ACCEPTED))
    assert after == cell


def test_what_was_learned_is_in_the_append_that_says_so(quick: World, office: Office) -> None:
    """Lost: after a crash the record says that a mail was accepted, and nothing else knows of it; or the other way."""
    seen: list[tuple[list[str], list[str]]] = []

    def prepare(journal: Mortal) -> None:
        def look(appends: Sequence[Append]) -> None:
            for one in appends:
                done = [
                    event.address.name
                    for event in one.events
                    if event.kind is Kind.STEP_SUCCEEDED and event.address is not None
                ]
                if one.head.agent == "@chain" and (done or one.cells):
                    seen.append(([name for name in done if name in ("deliver", "became")], sorted(one.cells)))

        journal.before = look

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [question] = quick.head().questions
        await app.answer(quick.id(), question.id, "yes", by="ada")
        await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all(head.status.is_end for head in chains(quick)))

    quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox, prepare=prepare)
    learned = [(names, cells) for names, cells in seen if names or cells]
    assert learned == [(["deliver"], ["reach/mail/ada/accepted"]), (["became"], ["reach/mail/ada/taken"])]
