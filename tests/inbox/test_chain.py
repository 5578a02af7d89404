"""Chains as runs: a question that is asked reaches people, through crashes too, and no longer than it is open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.inbox.conftest import Office, chains
from tests.runtime.conftest import Crash, Mortal, World

import holdfast as hf
from holdfast.core.chain import Notify
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.core.quiet import Quiet
from holdfast.errors import MessageRefused, RunCancelled, RunStopped, RunWaiting, UsageError
from holdfast.inbox.chain import UNDER_WAY_MAX, handed_over
from holdfast.inbox.directory import Directory
from holdfast.inbox.inbox import Inbox
from holdfast.inbox.wording import notice
from holdfast.protocols import Asked, Notice, Undeliverable, Undelivered
from holdfast.runtime.escalating import take
from holdfast.views.asking import items
from holdfast.views.taking import taken

SECRET = "4711-canary"


@hf.agent(name="asker", budget=hf.Budget(tool_calls=5))
async def asker(run: hf.Run, to: str) -> str:
    """Asks, and says what it was told."""
    answer = await run.ask(f"May I, says the model? {SECRET}", to=to, show={"amount": SECRET})
    return f"{answer.outcome} {answer.value}"


@hf.agent(name="hasty", budget=hf.Budget(tool_calls=5))
async def hasty(run: hf.Run, to: str) -> str:
    """Asks for a moment only."""
    answer = await run.ask("now?", to=to, within=0.3, default="no")
    return f"{answer.outcome} {answer.value}"


@hf.tool(effect="idempotent", approve=hf.Ask("finance", within="30m", default="decline"))
async def refund(invoice: str, *, idempotency_key: str = hf.INJECTED) -> str:
    """Needs an approval."""
    return f"refunded {invoice}"


@hf.agent(name="support", budget=hf.Budget(tool_calls=5))
async def support(run: hf.Run, ticket: str) -> str:
    """Does what needs an approval."""
    return await refund(SECRET)


async def until(is_so: Callable[[], Any], turns: int = 1_000) -> None:
    """Let the loop turn until it is so."""
    for _ in range(turns):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to be so")


def all_over(world: World) -> bool:
    """Whether no chain is under way."""
    return all(head.status.is_end for head in chains(world))


async def answered(app: hf.App, world: World, office: Office, value: str = "yes", told: int = 1) -> None:
    """Somebody who was told answers, and the chain ends."""
    await until(lambda: len(office.told) >= told)
    run = world.id()
    head = world.store.head(run)
    assert head is not None
    for question in head.questions:
        await app.answer(run, question.id, value, by="ada", digest=question.digest)


def play(world: World, office: Office, agent: Any = asker, given: str = "finance", **how: Any) -> Any:
    """One process in which it asks, somebody answers, and both runs end."""

    async def scenario(app: hf.App) -> Any:
        person = asyncio.ensure_future(answered(app, world, office, **how))
        run = asyncio.ensure_future(app.run(agent, given, key="k", wait=None))
        try:
            for ended in (await asyncio.wait((person, run), return_when=asyncio.FIRST_COMPLETED))[0]:
                ended.result()  # a person who waits in vain says so
            result = await run
        finally:
            person.cancel()
            run.cancel()
        await until(lambda: all_over(world))
        return result

    return world.play(scenario, agents=[agent], serves=True, inbox=office.inbox)


def test_a_question_reaches_the_first_and_the_answer_ends_it(world: World, office: Office) -> None:
    """Lost: `run.ask` writes into a table that nobody looks at."""
    assert play(world, office) == "answered yes"
    assert office.told == [("ada", "mail")]
    [chain] = chains(world)
    assert (
        chain.status is Status.SUCCEEDED
        and chain.key == f"@chain/{world.id()}/{office.mail.taken[0].facts['question']}"
    )


def test_what_leaves_is_in_our_words(world: World, office: Office) -> None:
    """Lost: arguments and a model's words in mails and on telephones of whoever is in the file."""
    office.base_url = "https://hold.example.com/"
    with pytest.raises(RunWaiting):
        _asked(world, office, support, "t")
    [notice] = office.mail.taken
    assert notice.title == "Approval wanted: refund · support · k"
    assert notice.to == "ada@example.com" and notice.kind == "created" and not notice.is_urgent
    assert notice.link == f"https://hold.example.com/q/{world.id()}/{world.question()}"
    assert "then: decline." in notice.lines[1]
    [chain] = chains(world)
    sent = repr(office.mail.taken) + repr(world.store.events(chain.run_id))
    assert SECRET not in sent and "says the model" not in sent
    with pytest.raises(RunWaiting):
        _asked(world, office, asker, "finance", key="other")
    assert SECRET not in repr(office.mail.taken) and "says the model" not in repr(office.mail.taken)
    assert office.mail.taken[1].title == "A question: asker · other"


def _asked(world: World, office: Office, agent: Any, given: str, *, key: str = "k", serves: bool = True) -> Any:
    """One process that asks, lets the chain tell somebody, and goes."""
    before = len(office.told)

    async def scenario(app: hf.App) -> None:
        try:
            await app.run(agent, given, key=key, wait=0.2)
        finally:
            await until(lambda: len(office.told) > before)
            await until(lambda: all(head.status is not Status.RUNNING for head in chains(world)))

    return world.play(scenario, agents=[agent], serves=serves, inbox=office.inbox)


def test_a_foreground_run_tells_people_too(world: World, office: Office) -> None:
    """Lost: `holdfast run` asks, and no process that serves is there to tell anybody."""
    with pytest.raises(RunWaiting):
        _asked(world, office, asker, "finance", serves=False)
    assert office.told == [("ada", "mail")]


def test_what_a_channel_does_not_take_goes_to_the_next(world: World, office: Office) -> None:
    """Lost: a dead mail server, and a question that nobody hears of."""

    def dead(notice: Notice) -> None:
        raise Undeliverable("no such mailbox")

    office.mail.before = dead
    assert play(world, office) == "answered yes"
    assert office.told == [("ada", "page")]


@pytest.mark.parametrize("error", [Undelivered("busy"), OSError("reset"), ValueError("a bug"), KeyError("a bug")])
def test_a_channel_may_fail_as_it_likes(quick: World, office: Office, error: Exception) -> None:
    """Lost: an exception of a channel that ends the chain, or asks people whether the notice was sent."""

    def fails(notice: Notice) -> None:
        raise error

    office.mail.before = fails
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.inbox.chain.Retry", lambda **declared: hf.Retry(attempts=2, wait=0, wait_max=0))
        assert play(quick, office) == "answered yes"
    assert office.told == [("ada", "page")]
    [chain] = chains(quick)
    assert chain.questions == () and chain.status is Status.SUCCEEDED


def test_a_channel_that_hangs_holds_up_no_other(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: all channels, by the threads of one that never comes back; and the end of the process."""
    monkeypatch.setattr("holdfast.inbox.chain.SEND_S", 0.01)
    hangs, told = threading.Event(), []
    message = notice(ASKED, Notify(0, 0, "ada", "mail"), key="n", link="", to="ada@example.com")
    office.mail.before = lambda taken: hangs.wait(30) and None

    async def scenario() -> None:
        for _ in range(UNDER_WAY_MAX + 2):
            with pytest.raises(Undelivered) as refused:
                await handed_over(office.mail, message)
            told.append(str(refused.value))
        monkeypatch.setattr("holdfast.inbox.chain.SEND_S", 30.0)
        await handed_over(office.page, message)

    try:
        asyncio.run(scenario())
    finally:
        hangs.set()
    assert [told[0], told[-1]] == [
        "mail did not come back within 0.01 s",
        f"mail has {UNDER_WAY_MAX} notices under way, and has come back from none of them",
    ]
    assert office.page.taken == [message]


ASKED = Asked("run_1", "k", "asker", "q_1", "ask", "", "finance", 0.0, None, "", False)


def test_what_fails_for_a_moment_is_sent_again_under_the_same_id(quick: World, office: Office) -> None:
    """Lost: a person is told twice and cannot see that it is the same."""
    seen: list[str] = []

    def once(notice: Notice) -> None:
        seen.append(notice.id)
        if len(seen) == 1:
            raise Undelivered("busy")

    office.mail.before = once
    assert play(quick, office) == "answered yes"
    assert len(seen) == 2 and len(set(seen)) == 1


def test_the_next_level_is_told_when_nobody_answers(quick: World, office: Office) -> None:
    """Lost: the backup is never called."""
    office.chain("finance", ("ada", "mail"), ("bob", "page"), wait_s=0.05)
    assert play(quick, office, told=4) == "answered yes"
    assert {("ada", "mail"), ("bob", "page")} == set(office.told)
    kinds = [notice.kind for notice in (*office.mail.taken, *office.page.taken)]
    assert kinds[:3] == ["created", "reminded", "escalated"] or kinds[:2] == ["created", "reminded"]
    ids = [notice.id for notice in (*office.mail.taken, *office.page.taken)]
    assert len(set(ids)) == len(ids)
    assert len({notice.thread for notice in (*office.mail.taken, *office.page.taken)}) == 1


def test_whoever_acknowledges_is_left_in_peace(quick: World, office: Office) -> None:
    """Lost: a person who looks into it is called again by each level."""
    office.chain("finance", ("ada", "mail"), ("bob", "mail"), wait_s=0.2, ack_s=60.0)

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [chain] = chains(quick)
        [question] = quick.store.head(quick.id()).questions  # type: ignore[union-attr]
        take(quick.store, quick.id(), question.id, "ada", "m-1")
        take(quick.store, quick.id(), question.id, "ada", "m-1")  # it was sent twice
        [item] = items(quick.store)
        assert (taken(quick.store, item).taken_by, item.state) == ("ada", "open")
        await until(lambda: (quick.store.head(chain.run_id).wake_at or 0) > quick.clock.now() + 30)  # type: ignore[union-attr]
        assert taken(quick.store, items(quick.store)[0]).taken_by == "ada"
        await answered(app, quick, office)
        result = await app.run(asker, "finance", key="k", wait=None)
        with pytest.raises(MessageRefused, match="answered already by ada"):
            take(quick.store, quick.id(), question.id, "bob", "m-2")
        await until(lambda: all_over(quick))
        return result

    assert quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox) == "answered yes"
    assert office.told == [("ada", "mail")]


def test_what_no_chain_tells_of_cannot_be_taken(world: World, office: Office) -> None:
    """Lost: somebody believes that they hold others back, and nobody was called in the first place."""
    with pytest.raises(RunWaiting):
        world.run(asker, "finance", wait=0.1)
    with pytest.raises(MessageRefused, match="No chain tells people"):
        take(world.store, world.id(), world.question(), "ada", "m-1")
    with pytest.raises(MessageRefused, match="no question q_none"):
        take(world.store, world.id(), "q_none", "ada", "m-1")


def test_a_bounce_that_comes_later_goes_on_at_once(quick: World, office: Office) -> None:
    """Lost: what a mail server took and gave back counts as told until the wait is over."""

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        [chain] = chains(quick)
        news = {"what": "failed", "round": 0, "level": 0, "person": "ada", "channel": "mail"}
        await app.signal(chain.run_id, "news", news | {"level": 7})  # of another level: nothing follows
        await app.signal(chain.run_id, "news", news)
        await until(lambda: len(office.told) == 2)

    quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    assert office.told == [("ada", "mail"), ("ada", "page")]


@pytest.mark.parametrize("news", [None, 7, "closed", {"what": "closed"}, {"what": []}, {"by": "x"}])
def test_news_that_says_nothing_true_changes_nothing(quick: World, office: Office, news: Any) -> None:
    """Lost: whoever can send a signal silences the chain of an open question."""
    office.chain("finance", ("ada", "mail"), ("bob", "mail"), wait_s=0.4)

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.05)
        await until(lambda: office.told)
        [chain] = chains(quick)
        await app.signal(chain.run_id, "news", news)
        await until(lambda: len(office.told) >= 2)

    quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    assert office.told[:2] == [("ada", "mail"), ("bob", "mail")]


def test_its_deadline_ends_it(world: World, office: Office) -> None:
    """Lost: people are called about what was decided without them."""
    assert play(world, office, hasty, told=99) == "expired no"
    assert office.told == [("ada", "mail")]
    assert [head.status for head in chains(world)] == [Status.SUCCEEDED]


def test_the_end_of_the_run_ends_it(world: World, office: Office) -> None:
    """Lost: people are called about a run that was cancelled."""

    async def scenario(app: hf.App) -> None:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await until(lambda: office.told)
        await app.cancel(world.id(), by="ann")
        with pytest.raises(RunCancelled):
            await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all_over(world))

    world.play(scenario, agents=[asker], serves=True, inbox=office.inbox)
    assert [head.status for head in chains(world)] == [Status.SUCCEEDED]


def test_an_answer_while_no_process_runs_ends_it_before_anybody_else_is_told(world: World, office: Office) -> None:
    """Lost: after an outage people are called about questions that others have answered meanwhile."""
    with pytest.raises(RunWaiting):
        _asked(world, office, asker, "finance")
    world.answer("yes", asker)  # a process without an inbox
    world.clock.by_s += 3_600
    assert play(world, office, told=99) == "answered yes"
    assert office.told == [("ada", "mail")]


def test_a_question_that_no_chain_is_for_starts_none(world: World, office: Office) -> None:
    """Lost: runs that tell nobody anything."""
    with pytest.raises(RunWaiting):
        world.run(asker, "somebody", wait=0.1, inbox=office.inbox)
    assert chains(world) == []
    office.chain("default", ("eve", "mail"))
    with pytest.raises(RunWaiting):
        _asked(world, office, asker, "somebody", key="other")
    assert set(office.told) == {("eve", "mail")}  # the older one, too


def test_what_was_asked_before_there_was_an_inbox_is_told_of_too(world: World, office: Office) -> None:
    """Lost: whoever sets up channels because a question waits is never told of just that one."""
    with pytest.raises(RunWaiting):
        world.run(asker, "finance", wait=0.1)
    assert play(world, office) == "answered yes"
    assert office.told == [("ada", "mail")] and office.mail.taken[0].title == "A question: asker · k"
    assert [head.status for head in chains(world)] == [Status.SUCCEEDED]


def test_it_is_told_of_once_however_often_a_process_begins(world: World, office: Office) -> None:
    """Lost: a second chain of the same question at each start."""
    with pytest.raises(RunWaiting):
        _asked(world, office, asker, "finance")
    for _ in range(2):
        world.play(lambda app: asyncio.sleep(0), agents=[asker], serves=True, inbox=office.inbox)
    assert len(chains(world)) == 1 and office.told == [("ada", "mail")]


def test_without_an_inbox_nothing_is_different(world: World) -> None:
    """Lost: a store full of runs that nobody asked for."""
    with pytest.raises(RunWaiting):
        world.run(asker, "finance", wait=0.1)
    assert chains(world) == []


def test_that_nobody_could_be_told_is_another_outcome_than_that_nobody_answered(quick: World, office: Office) -> None:
    """Lost: the agent takes an outage of all channels for people who do not care."""
    office.mail.before = office.page.before = _gone
    assert play(quick, office, hasty, told=99) == "undeliverable no"
    [closed] = [event for event in quick.store.events(quick.id()) if event.kind is Kind.QUESTION_CLOSED]
    assert closed.facts["outcome"] == "undeliverable"
    office.mail.before = lambda notice: None
    assert quick.play(lambda app: app.run(hasty, "finance", key="k", wait=None), agents=[hasty]) == "undeliverable no"


def _gone(notice: Notice) -> None:
    raise Undeliverable("no such mailbox")


@pytest.mark.parametrize(("default", "ends"), [("decline", "not begun: undeliverable"), ("stop", "stopped")])
def test_an_approval_that_nobody_could_be_told_of_takes_its_default(
    quick: World, office: Office, default: str, ends: str
) -> None:
    """Lost: what was to be approved is done, or waits for ever, when no channel works."""
    begun: list[str] = []

    @hf.tool(effect="once", name=f"pays_{default}", approve=hf.Ask("finance", within=0.3, default=default))
    async def pays(invoice: str) -> str:
        begun.append(invoice)
        return "paid"

    @hf.agent(name=f"payer_{default}", budget=hf.Budget(tool_calls=5))
    async def payer(run: hf.Run, invoice: str) -> str:
        try:
            return await pays(invoice)
        except hf.NotApproved as no:
            return f"not begun: {no.outcome}"

    office.mail.before = office.page.before = _gone
    try:
        ended = play(quick, office, payer, "r-1", told=99)
    except RunStopped as stopped:
        ended = "stopped"
        assert "no channel could tell anybody" in str(stopped)
    assert (ended, begun) == (ends, [])


def test_a_question_that_nobody_could_be_told_of_can_be_answered_all_the_same(quick: World, office: Office) -> None:
    """Lost: whoever finds it without being told may not decide."""
    office.mail.before = office.page.before = _gone

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(RunWaiting):
            await app.run(asker, "finance", key="k", wait=0.1)
        await answered(app, quick, office, told=0)
        result = await app.run(asker, "finance", key="k", wait=None)
        await until(lambda: all_over(quick))
        return result

    assert quick.play(scenario, agents=[asker], serves=True, inbox=office.inbox) == "answered yes"


def test_what_is_urgent_says_so_and_waits_for_no_morning(quick: World, office: Office) -> None:
    """Lost: the agent has no way to say that something cannot wait, or it is told of at breakfast."""
    office.quiet = Quiet(time(0, 0), time(23, 59, 59), ZoneInfo("UTC"))

    @hf.agent(name="alarm", budget=hf.Budget(tool_calls=5))
    async def alarm(run: hf.Run, is_urgent: bool) -> str:
        return (await run.ask("now?", to="finance", urgent=is_urgent)).outcome

    assert play(quick, office, alarm, True) == "answered"
    [notice] = office.mail.taken
    assert notice.is_urgent


def test_channels_that_chains_name_must_be_there(office: Office) -> None:
    """Lost: a notice that is refused at night for a channel that nobody made."""
    with pytest.raises(UsageError, match="no channel 'page'"):
        Inbox(office.directory, {"mail": office.mail})
    assert Inbox(Directory(), {}).agent.name == "@chain"


# --- crashes -----------------------------------------------------------------------------------------------------


class Checked:
    """The store as a process sees it that dies; after each transaction a question that is there has its chain."""

    def __init__(self, world: World) -> None:
        self.world = world

    def wrong(self) -> list[str]:
        """Questions without a chain, and chains without a question."""
        asked = {
            f"@chain/{head.run_id}/{event.facts['id']}"
            for head in self.world.store.heads(limit=100)
            for event in self.world.store.events(head.run_id)
            if event.kind is Kind.QUESTION_ASKED
        }
        return sorted(asked ^ {head.key for head in chains(self.world)})


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("agent", [asker, support], ids=["ask", "approve"])
def test_killed_at_every_write_it_is_asked_and_told_all_the_same(agent: Any, is_written: bool) -> None:
    """Lost: a question whose chain was lost in a crash, a chain of a question that nobody asked, a chain that goes on
    after its question, or two notices for one that nobody can tell apart."""
    kills = 0
    for number in range(1, 60):
        world, office = World(None), Office()
        office.chain("finance", ("ada", "mail"), ("bob", "page"), wait_s=0.03, repeat=50)
        value = "yes" if agent is asker else "approve"

        def prepare(journal: Mortal, number: int = number) -> None:
            journal.die_at(number, is_written=is_written)

        died = _life(world, office, agent, value, prepare)
        kills += died
        assert Checked(world).wrong() == []
        if died:
            assert not _life(world, office, agent, value, lambda journal: None)
        assert Checked(world).wrong() == []
        assert [head.status for head in chains(world)] == [Status.SUCCEEDED]
        asked = [event for event in world.events(Kind.QUESTION_ASKED)]
        assert len(asked) == 1 and world.head().status is Status.SUCCEEDED
        notices = [*office.mail.taken, *office.page.taken]
        assert office.told and len({notice.thread for notice in notices}) == 1
        if not died:
            break
    else:
        raise AssertionError("it never came to its end")
    assert kills >= 12, "this sweep has seen too little to mean anything"


def _life(world: World, office: Office, agent: Any, value: str, prepare: Callable[[Mortal], None]) -> bool:
    """One process; whether it died."""

    async def scenario(app: hf.App) -> None:
        async with asyncio.timeout(25), asyncio.TaskGroup() as group:
            group.create_task(_answers(app, world, office, value))
            group.create_task(app.run(agent, "finance", key="k", wait=None))
        await until(lambda: all_over(world))

    try:
        world.play(scenario, agents=[agent], serves=True, inbox=office.inbox, prepare=prepare, may_leak=True)
    except Crash:
        return True
    return False


async def _answers(app: hf.App, world: World, office: Office, value: str) -> None:
    await until(lambda: len(office.told) >= 2 or ((head := world.store.head(world.id())) and head.status.is_end))
    head = world.store.head(world.id())
    for question in head.questions if head is not None else ():
        with suppress(MessageRefused):  # answered in the life before, and not read yet
            await app.answer(world.id(), question.id, value, by="ada", digest=question.digest)


def test_a_notice_that_was_under_way_in_a_crash_goes_out_again_under_the_same_id(quick: World, office: Office) -> None:
    """Lost: whoever is told twice cannot see that it is one question, or is not told at all."""
    ids: list[str] = []

    def dies(notice: Notice) -> None:
        ids.append(notice.id)
        if len(ids) == 1:
            quick.journal.before = lambda appends: (_ for _ in ()).throw(Crash())  # type: ignore[union-attr]

    office.mail.before = dies
    assert _life(quick, office, asker, "yes", lambda journal: None)
    office.chain("finance", ("ada", "mail"), ("bob", "mail"), wait_s=0.05)
    assert not _life(quick, office, asker, "yes", lambda journal: None)
    assert ids[0] == ids[1] and len(office.mail.taken) >= 2
