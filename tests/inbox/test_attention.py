"""Floods of questions, in real runs. If these fail, somebody gets a thousand mails, or not the one that counts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.inbox.conftest import Office, chains
from tests.inbox.test_chain import until
from tests.runtime.conftest import Crash, World

import holdfast as hf
from holdfast.core.heads import Status
from holdfast.core.load import Load, cell_of
from holdfast.protocols import Notice, Undelivered


@hf.agent(name="asker", budget=hf.Budget(tool_calls=5))
async def asker(run: hf.Run, given: dict[str, Any]) -> str:
    """Asks, and says what it was told."""
    answer = await run.ask(given["text"], to="finance", urgent=given.get("urgent", False))
    return f"{answer.outcome} {answer.value}"


@pytest.fixture
def few(office: Office) -> Office:
    """One level, one person, three notices in an hour."""
    office.per_hour = 3
    office.chain("finance", ("ada", "mail page"), wait_s=7_200.0)
    return office


def asking(
    world: World, office: Office, given: list[dict[str, Any]], wait_for: int = 0, turns: int = 8_000, **how: Any
) -> None:
    """One process in which so many runs ask; it ends when all chains are at rest."""

    async def scenario(app: hf.App) -> None:
        for number, each in enumerate(given):
            await app.start(asker, each, key=f"{each['text']} {number}")
        await until(lambda: len(office.told) >= wait_for and rests(world), turns)

    world.play(scenario, agents=[asker], serves=True, inbox=office.inbox, **how)


def rests(world: World) -> bool:
    """Whether nobody has anything to do now."""
    heads = world.store.heads(limit=1_000)
    return all(
        head.status is Status.SUSPENDED and (head.wake_at is None or head.wake_at > world.store.now())
        for head in heads
        if not head.agent.startswith("@watch") and not head.status.is_end
    ) and all(chain.updated_at for chain in chains(world))


def kinds(office: Office) -> list[str]:
    return [notice.kind for notice in office.mail.taken]


def test_of_a_flood_so_many_are_told_then_one_digest_and_the_urgent_by_themselves(quick: World, few: Office) -> None:
    """Lost: the promise of the digest: twenty-three mails, or three and silence."""
    few.base_url = "https://in.example"
    flood = [{"text": f"May I, {number}?"} for number in range(20)]
    asking(quick, few, [*flood, {"text": "Now?", "urgent": True}, {"text": "At once?", "urgent": True}], wait_for=5)
    assert sorted(kinds(few)) == ["created"] * 5
    assert sum(notice.is_urgent for notice in few.mail.taken) == 2
    quick.clock.by_s += 61
    asking(quick, few, [], wait_for=6)
    (digest,) = [notice for notice in few.mail.taken if notice.kind == "digest"]
    assert digest.title == "22 questions wait" and digest.link == "https://in.example/inbox"
    assert "2 of them are urgent" in " ".join(digest.lines) and "May I" not in " ".join(digest.lines)
    for by_s in (130, 1_000, 2_000):
        quick.clock.by_s += by_s
        asking(quick, few, [])
    assert len(few.mail.taken) == 6, "they have been told of all of them"


def test_what_is_urgent_waits_behind_nobody(quick: World, few: Office) -> None:
    """Lost: the fire alarm, in a queue behind four questions about lunch."""
    asking(quick, few, [*({"text": f"May I, {n}?"} for n in range(4)), {"text": "Now?", "urgent": True}], 4, turns=100)
    assert kinds(few) == ["created"] * 4 and sum(notice.is_urgent for notice in few.mail.taken) == 1


def test_what_comes_after_the_digest_is_told_in_the_next_hour(quick: World, few: Office) -> None:
    """Lost: a question that was too late for one digest, and is in no other."""
    asking(quick, few, [{"text": f"May I, {number}?"} for number in range(5)], wait_for=3)
    quick.clock.by_s += 61
    asking(quick, few, [], wait_for=4)
    asking(quick, few, [{"text": "And I?"}])
    assert len(few.mail.taken) == 4
    quick.clock.by_s += 3_700
    asking(quick, few, [], wait_for=5)
    assert few.mail.taken[-1].kind == "created"


def test_the_count_is_in_the_store_and_not_in_a_process(quick: World, few: Office) -> None:
    """Lost: the cap, where each of ten workers counts for itself or starts anew."""
    for number in range(6):
        asking(quick, few, [{"text": f"May I, {number}?"}])
    assert len(few.mail.taken) == 3
    cell = quick.store.cell(cell_of("ada"))
    assert cell is not None and len(Load.of(cell.value).told) == 3


@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_between_the_count_and_the_notice_loses_neither(quick: World, few: Office, at: int) -> None:
    """Lost: a person who is never told, since a dead process had taken the only place; or one who gets two notices."""
    few.per_hour = 1
    given = [{"text": "May I?"}]
    with pytest.raises((Crash, AssertionError)):
        asking(quick, few, given, 9, prepare=lambda journal: journal.die_at(at, is_written=True), turns=200)
    asking(quick, few, given, 1)
    assert len({notice.id for notice in few.mail.taken}) == 1


def test_a_digest_that_one_channel_does_not_take_goes_by_the_next(quick: World, few: Office) -> None:
    """Lost: the digest, and with it all that was held."""

    def refuse(notice: Notice) -> None:
        if notice.kind == "digest":
            raise Undelivered("not today")

    few.mail.before = refuse
    asking(quick, few, [{"text": f"May I, {number}?"} for number in range(6)], wait_for=3)
    quick.clock.by_s += 61
    asking(quick, few, [], wait_for=4)
    assert [notice.kind for notice in few.page.taken] == ["digest"]


def test_of_questions_that_are_alike_one_notice_is_sent_and_all_are_listed(quick: World, few: Office) -> None:
    """Lost: the twentieth mail with the same words; or the second question, when nobody can see it."""
    few.per_hour = 20
    asking(quick, few, [{"text": "Pay K-17?"}] * 4 + [{"text": "Pay K-18?"}], wait_for=2)
    assert len(few.mail.taken) == 2
    assert sum(bool(head.questions) for head in quick.store.heads(limit=100) if head.agent == "asker") == 5


def test_while_notices_are_held_the_question_is_not_undeliverable(quick: World, few: Office) -> None:
    """Lost: the difference between "nobody could be told" and "they were told in a digest"."""
    asking(quick, few, [{"text": f"May I, {number}?"} for number in range(6)], wait_for=3)
    quick.clock.by_s += 61
    asking(quick, few, [], wait_for=4)
    told = [head for head in chains(quick) if _has_told(quick, head.run_id)]
    assert len(told) == 4, "three by themselves; and whoever sent the digest knows"
    quick.clock.by_s += 130
    asking(quick, few, [])
    assert all(_has_told(quick, head.run_id) for head in chains(quick))


def _has_told(world: World, run: str) -> bool:
    names = {event.address.name for event in world.store.events(run) if event.address is not None}
    return bool(names & {"deliver", "digest", "covered"})
