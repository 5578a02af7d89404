"""How long people take, off the records. If these fail, nobody sees that a chain is too slow for what goes by it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.inbox.conftest import Office, chains
from tests.inbox.test_chain import asker, hasty, play, until
from tests.runtime.conftest import World

import holdfast as hf
from holdfast.errors import RunWaiting
from holdfast.inbox.report import facts, lines
from holdfast.inbox.routes import measured
from holdfast.inbox.timing import times


def test_nothing_is_known_of_what_nobody_was_asked(world: World, office: Office) -> None:
    """Lost: a zero that reads like a quick answer."""
    assert times(office.directory, None) == {} == times(office.directory, world.store)
    assert facts(measured(office.directory, world.store, 0.0))["chains"][0]["times"] is None


def test_an_answer_and_a_silence_are_both_counted(world: World, office: Office) -> None:
    """Lost: the half of the questions that nobody answered."""
    assert play(world, office) == "answered yes"
    office.chain("ops", ("bob", "mail"))

    async def silence(app: hf.App) -> Any:
        said = await app.run(hasty, "ops", key="silent", wait=None)
        await until(lambda: all(head.status.is_end for head in chains(world)))
        return said

    assert world.play(silence, agents=[hasty], serves=True, inbox=office.inbox) == "expired no"
    found = times(office.directory, world.store)
    assert (found["finance"].asked, found["finance"].missed) == (1, 0) and found["finance"].answered_p95_s is not None
    assert (found["ops"].asked, found["ops"].missed) == (1, 1) and found["ops"].taken_p50_s is None
    told = [line for line, _ in lines(measured(office.directory, world.store, world.store.now()))]
    assert any("of 1 that are closed: half taken within never" in line and "100% missed" in line for line in told)


def test_whoever_acknowledges_is_seen_to_have_been_quick(quick: World, office: Office) -> None:
    """Lost: what a page at night is judged by: that somebody woke up, not how long the matter took."""

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [chain] = chains(quick)
        await app.signal(chain.run_id, "news", {"what": "acknowledged", "by": "ada"})
        await until(lambda: (quick.store.head(chain.run_id).wake_at or 0) > quick.clock.now() + 100)  # type: ignore[union-attr]
        quick.clock.by_s += 600
        [question] = quick.head().questions
        await app.answer(quick.id(), question.id, "yes", by="ada")
        await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all(head.status.is_end for head in chains(quick)))

    quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    found = times(office.directory, quick.store)["finance"]
    assert found.taken_p95_s is not None and found.taken_p95_s < 60
    assert found.answered_p95_s is not None and found.answered_p95_s >= 600
