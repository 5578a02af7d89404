"""A step that a person must agree to. Each test says which effect would happen that nobody has approved, or twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.accept import Message
from holdfast.core.events import Kind, meta
from holdfast.core.heads import Status
from holdfast.errors import MessageRefused, PolicyInvalid, RunBlocked, RunStopped, RunWaiting, UsageError
from holdfast.journal.codec import encode
from holdfast.views import asking

FINANCE = hf.Ask("finance", within="30m")


def paying(world: Any, approve: hf.Ask | None = FINANCE, **options: Any) -> Any:
    """A tool that pays, when somebody agrees."""

    @hf.tool(effect="once", approve=approve, **options)
    async def pay(what: str, cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append((what, cents, idempotency_key))
        return f"paid {what}"

    return pay


def agent_of(pay: Any, *calls: tuple[str, int]) -> Any:
    """An agent that makes these calls, one after the other, and tells what came of each."""

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> list[str]:
        told = []
        for what, cents in calls or [("K-17", 4200)]:
            try:
                told.append(await pay(what, cents))
            except hf.NotApproved as error:
                told.append(f"{error.outcome} by {error.by or 'nobody'}")
        return told

    return payer


def begin(world: Any, agent: Any) -> str:
    """A process begins the run, finds that it must ask, and is over; the id of the question."""
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    return str(world.question())


def say(world: Any, choice: str, **more: Any) -> None:
    """A person in another process answers what they were shown."""
    (shown,) = asking.items(world.store)
    world.play(lambda app: app.answer(shown.run, shown.id, choice, by="ann", digest=shown.digest, **more))


def test_nothing_is_done_before_a_person_has_agreed(world: Any) -> None:
    """Lost: the whole promise; an effect that nobody has seen coming."""
    agent = agent_of(paying(world))
    begin(world, agent)
    assert world.effects == [] and world.head().why == "question"
    (shown,) = asking.items(world.store)
    found = asking.item(world.store, world.id(), shown.id)
    assert found is not None and (found.tool, found.arguments, found.to) == (
        "pay",
        {"cents": 4200, "what": "K-17"},
        "finance",
    )
    say(world, "approve", via="cli")
    assert world.run(agent) == ["paid K-17"]
    assert [effect[:2] for effect in world.effects] == [("K-17", 4200)]
    done = asking.item(world.store, world.id(), shown.id)
    assert done is not None and (done.state, done.choice, done.by, done.via) == ("answered", "approve", "ann", "cli")


def test_a_no_is_told_and_nothing_is_done(world: Any) -> None:
    """Lost: a declined payment that is made, or a run that fails although its agent could go on."""
    agent = agent_of(paying(world))
    begin(world, agent)
    say(world, "decline")
    assert world.run(agent) == ["declined by ann"] and world.effects == []
    assert world.run(agent) == ["declined by ann"], "the record says the same"


def test_silence_is_no_agreement_and_is_told_apart_from_a_no(world: Any) -> None:
    """Lost: an effect that happens since nobody said no; an agent that takes silence for a refusal."""
    agent = agent_of(paying(world))
    begin(world, agent)
    world.clock.by_s += 1_800
    assert world.run(agent) == ["expired by nobody"] and world.effects == []


def test_by_default_the_run_is_stopped_and_asks_again_when_it_is_resumed(world: Any) -> None:
    """Lost: work that is thrown away as nobody was there; a resumed run that stops again without a question."""
    agent = agent_of(paying(world, hf.Ask("finance", within="30m", default="stop")))
    begin(world, agent)
    world.clock.by_s += 1_800
    with pytest.raises(RunStopped, match="pay was not approved: nobody answered in time"):
        world.run(agent)
    world.resume()
    begin(world, agent)
    say(world, "approve")
    assert world.run(agent) == ["paid K-17"] and len(world.effects) == 1


def test_an_answer_after_the_end_is_too_late(world: Any) -> None:
    """Lost: the declared default, by an answer that came when it was taken already."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    world.clock.by_s += 1_800
    with pytest.raises(MessageRefused, match="expired"):
        world.play(lambda app: app.answer(shown.run, shown.id, "approve", by="ann", digest=shown.digest))
    assert world.run(agent) == ["expired by nobody"]
    with pytest.raises(MessageRefused, match=r"is over: expired at .*; its default was taken: decline"):
        world.play(lambda app: app.answer(shown.run, shown.id, "approve", by="ann", digest=shown.digest))


def test_the_first_answer_counts_and_the_others_are_told_whose_it_was(world: Any) -> None:
    """Lost: a "no" that overrules a "yes" on which the effect has begun, or an error 500 for whoever is second."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    say(world, "approve")
    with pytest.raises(MessageRefused, match=r"answered already.*ann"):
        world.play(lambda app: app.answer(shown.run, shown.id, "decline", by="bob", digest=shown.digest))
    assert world.run(agent) == ["paid K-17"]
    with pytest.raises(MessageRefused, match=r"answered already by ann at .*: approve"):
        world.play(lambda app: app.answer(shown.run, shown.id, "decline", by="bob", digest=shown.digest))


def test_an_answer_that_names_something_else_counts_for_nothing(world: Any) -> None:
    """Lost: a person who approves what they were shown, while something else is done."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    for digest in ("", "0" * 64, shown.digest.upper()):
        with pytest.raises(MessageRefused, match="something else"):
            world.play(lambda app, d=digest: app.answer(shown.run, shown.id, "approve", by="ann", digest=d))
    assert asking.items(world.store) == [shown]


def test_each_call_is_asked_about_by_itself(world: Any) -> None:
    """Lost: one "approve" for a hundred payments, or for one with other arguments."""
    agent = agent_of(paying(world), ("K-17", 4200), ("K-17", 4200), ("K-17", 9900))
    begin(world, agent)
    for count in (1, 2):
        say(world, "approve")
        with pytest.raises(RunWaiting):
            world.run(agent, wait=0)
        assert len(world.effects) == count
    say(world, "decline")
    assert world.run(agent) == ["paid K-17", "paid K-17", "declined by ann"]
    assert len({key for *_, key in world.effects}) == 2


def test_an_approval_does_not_hold_for_ever(world: Any) -> None:
    """Lost: a payment that was right on Monday and is made on Friday."""
    agent = agent_of(paying(world, hf.Ask("finance", valid="10m")))
    begin(world, agent)
    first = world.question()
    say(world, "approve")
    world.clock.by_s += 601  # no process came to go on with it
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    (asked,) = world.head().questions
    assert asked.id != first and "held for 10 min" in asked.text
    say(world, "approve")
    assert world.run(agent) == ["paid K-17"]


def test_an_answer_by_a_clock_that_is_a_moment_ahead_is_not_asked_for_twice(world: Any) -> None:
    """Lost: the first "approve", where several machines share a store, whose clocks are never quite equal."""
    agent = agent_of(paying(world))
    begin(world, agent)
    world.clock.by_s += 0.3
    say(world, "approve")
    world.clock.by_s -= 0.3
    assert world.run(agent) == ["paid K-17"] and len(world.events(Kind.QUESTION_ASKED)) == 1
    (intent,) = world.events(Kind.STEP_INTENDED)
    (closed,) = world.events(Kind.QUESTION_CLOSED)
    assert intent.at >= closed.facts["answered_at"], "and it is not begun before it was approved"


def test_a_retry_needs_no_second_approval_while_the_first_holds(world: Any) -> None:
    """Lost: a person who is asked again for each hiccup of the network, and learns to say yes."""
    failures = [ConnectionError("reset"), None]

    @hf.tool(effect="idempotent", approve=FINANCE, retry=hf.Retry(attempts=2, wait=0))
    async def pay(what: str, cents: int) -> str:
        if (error := failures.pop(0)) is not None:
            raise error
        return f"paid {what}"

    agent = agent_of(pay)
    begin(world, agent)
    say(world, "approve")
    assert world.run(agent) == ["paid K-17"] and failures == []
    assert len(world.events(Kind.QUESTION_ASKED)) == 1


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("number", range(1, 7))
def test_a_crash_at_any_write_pays_once_or_asks_whether_it_was(world: Any, number: int, is_written: bool) -> None:
    """Lost: an approval that is used twice, or an effect without one."""
    agent = agent_of(paying(world))
    lives = 0
    while True:
        lives += 1
        assert lives < 12
        how: dict[str, Any] = {}
        if lives in (1, 3):
            at = number if lives == 1 else 2
            how["prepare"] = lambda journal, at=at: journal.die_at(at, is_written=is_written)
        try:
            told = world.run(agent, wait=0, **how)
            break
        except world.Crash:
            continue
        except RunWaiting:
            (shown,) = asking.items(world.store)
            choice = "approve" if shown.about == "approve" else "it_did_not" if not world.effects else "it_happened"
            say(world, choice, **({"result": "paid K-17"} if choice == "it_happened" else {}))
    assert told == ["paid K-17"] and len(world.effects) == 1
    assert len([asked for asked in world.events(Kind.QUESTION_ASKED) if asked.facts["about"] == "approve"]) == 1


def test_three_days_and_a_deploy_later_it_goes_on_once(world: Any) -> None:
    """Lost: the run, with the process, the code or the week in which it asked."""
    pay = paying(world, hf.Ask("finance"))
    begin(world, agent_of(pay))
    world.clock.by_s += 3 * 86_400

    @hf.agent(name="payer")
    async def newer(run: hf.Run, given: Any) -> str:
        return f"newer: {await pay('K-17', 4200)}"

    say(world, "approve")
    assert world.run(newer) == "newer: paid K-17" and world.run(newer) == "newer: paid K-17"
    assert len(world.effects) == 1


def test_what_may_have_happened_is_not_put_to_anybody_as_if_it_had_not(world: Any) -> None:
    """Lost: the truth. Begun, killed, and asked about anew, a "no" would be recorded as "was not begun", uncharged."""
    deaths = [True]

    @hf.tool(effect="idempotent", approve=hf.Ask("finance", valid="10m"))
    async def pay(what: str, cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append((what, cents, idempotency_key))
        if deaths and deaths.pop():
            raise world.Crash
        return f"paid {what}"

    agent = agent_of(pay)
    begin(world, agent)
    say(world, "approve")
    with pytest.raises(world.Crash):
        world.run(agent)
    world.clock.by_s += 3_600
    assert world.run(agent) == ["paid K-17"], "the same intent, with the approval that it had"
    assert len(world.effects) == 2 and len({key for *_, key in world.effects}) == 1
    assert len(world.events(Kind.QUESTION_ASKED)) == 1


def test_other_terms_than_those_that_were_shown_are_asked_about_anew(world: Any) -> None:
    """Lost: a change of who must agree, that an older answer by somebody else gets around."""
    agent = agent_of(paying(world))
    begin(world, agent)
    say(world, "approve")
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0, policies={"pay": {"approve.who": "the board"}})
    (asked,) = world.head().questions
    assert asked.to == "the board" and world.effects == []


@pytest.mark.parametrize("first", ["approve", "decline"])
def test_an_answer_to_what_was_asked_first_is_none_to_what_was_asked_next(world: Any, first: str) -> None:
    """Lost: whose word counts. The terms change while a question is open; who was asked first has the last word."""
    pay = paying(world)

    @hf.agent(name="payer")
    async def agent(run: hf.Run, given: Any) -> Any:
        paid, _ = await asyncio.gather(pay("K-17", 4200), run.sleep("1m"), return_exceptions=True)
        return paid if isinstance(paid, str) else f"{paid.outcome} by {paid.by}"

    begin(world, agent)
    (old,) = asking.items(world.store)
    world.clock.by_s += 61  # it is driven on, and nobody has answered yet
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0, policies={"pay": {"approve.who": "the board"}})
    (new,) = asking.items(world.store)
    assert new.to == "the board" and new.id != old.id, "the first one is withdrawn"
    with pytest.raises(MessageRefused, match="withdrawn"):
        world.play(lambda app: app.answer(old.run, old.id, first, by="intern", digest=old.digest))
    said = "decline" if first == "approve" else "approve"
    world.play(lambda app: app.answer(new.run, new.id, said, by="chair", digest=new.digest))
    ended = world.run(agent, policies={"pay": {"approve.who": "the board"}})
    assert ended == ("paid K-17" if said == "approve" else "declined by chair")
    assert len(world.effects) == (said == "approve")


def test_a_tool_that_took_other_parameters_when_it_was_approved_is_asked_about_anew(world: Any) -> None:
    """Lost: an approval of what the old code would have done."""
    begin(world, agent_of(paying(world)))
    say(world, "approve")

    @hf.tool(effect="once", approve=FINANCE)
    async def pay(what: str, cents: int, currency: str = "EUR") -> str:
        world.effects.append((what, cents, currency))
        return "paid"

    with pytest.raises(RunWaiting):  # the default is an argument too: another call, which is blocked
        world.run(agent_of(pay), wait=0)
    assert world.effects == []


def test_an_operator_can_demand_an_approval_without_a_deploy(world: Any) -> None:
    """Lost: the lever for a tool that turns out to be dangerous on a Saturday."""
    agent = agent_of(paying(world, None))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0, policies={"pay": {"approve.who": "oncall", "approve.within": "1h"}})
    assert world.effects == [] and world.head().questions[0].to == "oncall"
    world.play(lambda app: app.signal(world.id(), "go on", by="ann"))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0.2)
    assert world.effects == [], "it was asked, so the answer is needed, whatever is set now"
    say(world, "approve")
    assert world.run(agent) == ["paid K-17"]


def test_nobody_can_be_asked_inside_a_step_or_outside_a_run(world: Any) -> None:
    """Lost: the approval, by whoever calls the tool from another one's body."""
    pay = paying(world)

    @hf.tool(effect="once", definite=(UsageError,))
    async def outer() -> str:
        return str(await pay("K-17", 4200))

    @hf.agent(name="nested")
    async def nested(run: hf.Run, given: Any) -> str:
        return str(await outer())

    with pytest.raises(Exception, match="needs an approval, inside its step"):
        world.run(nested)
    with pytest.raises(UsageError, match="outside a run"):
        asyncio.run(pay("K-17", 4200))
    assert world.effects == []


@pytest.mark.parametrize(
    "approve",
    [
        lambda: hf.Ask("finance", within="1h", default="approve"),
        lambda: hf.Ask("finance", within="1h", default="try_again"),
        lambda: "finance",
        lambda: hf.Ask("finance", valid=0),
        lambda: hf.Ask(""),
    ],
)
def test_what_cannot_be_kept_is_refused_where_it_is_declared(world: Any, approve: Any) -> None:
    """Lost: a default of "approve", which does what nobody has agreed to."""
    with pytest.raises(PolicyInvalid):
        paying(world, approve())


def test_a_cancelled_run_withdraws_what_it_asked(world: Any) -> None:
    """Lost: an effect of a run that is over, by an answer that came later."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    world.play(lambda app: app.cancel(world.id(), by="ann"), agents=[agent], serves=True)
    with pytest.raises(hf.RunError):
        world.run(agent)
    assert world.head().status is Status.CANCELLED and asking.items(world.store) == []
    withdrawn = asking.item(world.store, world.id(), shown.id)
    assert withdrawn is not None and withdrawn.state == "withdrawn"
    with pytest.raises(MessageRefused, match="its run has ended"):
        world.play(lambda app: app.answer(shown.run, shown.id, "approve", by="ann", digest=shown.digest))


def test_a_run_that_was_stopped_while_it_asked_asks_again_when_it_is_resumed(world: Any) -> None:
    """Lost: the run, which would wait for the answer to a question that nobody can answer any more."""
    agent = agent_of(paying(world, hf.Ask("finance")))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0, budget=hf.Budget(wall="1h"))
    first = world.question()
    world.clock.by_s += 3_601
    with pytest.raises(RunStopped, match="wall"):
        world.run(agent)
    assert asking.items(world.store) == []
    world.resume(budget=hf.Budget(wall="9h"))
    assert begin(world, agent) != first
    say(world, "approve")
    assert world.run(agent) == ["paid K-17"] and len(world.effects) == 1


# --- a list of calls ---------------------------------------------------------------------------------------------


def listing(pay: Any, planned: list[tuple[str, int]], made: list[tuple[str, int]], **how: Any) -> Any:
    @hf.agent(name="lister")
    async def lister(run: hf.Run, given: Any) -> list[str]:
        said = await run.approve("finance", [pay.bind(*each) for each in planned], **how)
        told = [said.outcome]
        for each in made:
            try:
                told.append(await pay(*each))
            except hf.NotApproved as error:
                told.append(error.outcome)
        return told

    return lister


def test_a_list_is_asked_about_once_and_each_call_of_it_is_made_once(world: Any) -> None:
    """Lost: single use: a third payment on the strength of two grants."""
    planned = [("K-17", 4200), ("K-18", 100)]
    agent = listing(paying(world), planned, [*planned, ("K-17", 4200)])
    begin(world, agent)
    (shown,) = asking.items(world.store)
    found = asking.item(world.store, world.id(), shown.id)
    assert found is not None and [(call["tool"], call["arguments"]) for call in found.arguments] == [
        ("pay", {"what": what, "cents": cents}) for what, cents in planned
    ]
    say(world, "approve")
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    assert [effect[:2] for effect in world.effects] == planned
    say(world, "decline")
    assert world.run(agent) == ["approved", "paid K-17", "paid K-18", "declined"]


def test_a_list_holds_no_longer_than_the_tool_lets_it(world: Any) -> None:
    """Lost: five minutes that a tool demands, made into a month by the agent that calls it."""
    pay = paying(world, hf.Ask("finance", within="30m", valid="5m"))

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        assert await run.approve("finance", [pay.bind("K-17", 4200)], within="30m", valid="30d")
        await run.sleep("10m")
        return await pay("K-17", 4200)

    begin(world, payer)
    say(world, "approve")
    with pytest.raises(RunWaiting):
        world.run(payer, wait=0)
    world.clock.by_s += 700
    with pytest.raises(RunWaiting):
        world.run(payer, wait=0)
    (shown,) = asking.items(world.store)
    assert shown.text.startswith("May pay be called") and world.effects == []


def test_a_list_that_nobody_could_approve_is_put_to_nobody(world: Any) -> None:
    """Lost: a run that waits for ever for an answer that nobody may give."""
    pay = paying(world)

    @hf.agent(name="payer")
    async def payer(run: hf.Run, given: Any) -> str:
        return (await run.approve("finance", [pay.bind("K-17", 4200)], approvers=["ada"])).outcome

    async def scenario(app: hf.App) -> Any:
        return await app.run(payer, None, key="k", wait=1.0, by="ada")

    assert world.play(scenario) == "undeliverable"
    assert world.play(scenario) == "undeliverable" and world.head().questions == ()


def test_a_list_that_was_declined_grants_nothing(world: Any) -> None:
    """Lost: the difference between asking and being allowed."""
    agent = listing(paying(world), [("K-17", 4200)], [("K-17", 4200)], within="30m")
    begin(world, agent)
    say(world, "decline")
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    assert world.effects == []
    world.clock.by_s += 1_800
    assert world.run(agent) == ["declined", "expired"]


def test_grants_of_a_list_grow_old(world: Any) -> None:
    """Lost: what was right for an hour, done a week later."""
    agent = listing(paying(world), [("K-17", 4200)], [("K-17", 4200)], valid="10m")

    @hf.agent(name="lister")
    async def slow(run: hf.Run, given: Any) -> list[str]:
        await run.approve("finance", [paying(world).bind("K-17", 4200)], valid="10m")
        await run.sleep("11m")
        return [await paying(world)("K-17", 4200)]

    assert agent is not None
    begin(world, slow)
    say(world, "approve")
    with pytest.raises(RunWaiting):
        world.run(slow, wait=0)
    world.clock.by_s += 661
    with pytest.raises(RunWaiting):
        world.run(slow, wait=0)
    assert world.effects == [] and world.head().questions[0].about == "approve"


# --- a thousand tries each ----------------------------------------------------------------------------------------


TRIES = 1_000


def tries(world: Any, messages: Iterable[tuple[str, Message]], agent: Any) -> Counter[str]:
    """Each is posted to the run, which then goes on as far as it can: it still waits. Why they were refused."""
    (shown,) = asking.items(world.store)
    told: Counter[str] = Counter()
    for name, message in messages:
        posted = world.store.post(shown.run, name, message)
        assert not posted.is_stored, message
        told[posted.refused.partition(".")[0][-30:]] += 1
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    assert asking.items(world.store) == [shown]
    return told


def test_a_thousand_forged_approvals_have_no_effect(world: Any, record_property: Any) -> None:
    """Lost: who can write to the mailbox of a run, without having been shown the question, decides it."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,), chance = asking.items(world.store), Random(4711)

    def forged() -> Iterator[tuple[str, Message]]:
        for number in range(TRIES):
            digest = f"{chance.getrandbits(256):064x}"
            question = chance.choice([shown.id, f"q_{digest[:10]}", "", "approve", f"{shown.id}x", shown.id.upper()])
            choice = chance.choice(["approve", "APPROVE", "yes", "", None, "decline"])
            body = chance.choice([None, encode("approve"), encode({"what": "K-17", "cents": 1})])
            by = chance.choice(["ada", "", "finance", "root"])
            yield f"forged {number}", accept.answer(question, choice=choice, by=by, body=body, digest=digest)

    assert sum(tries(world, forged(), agent).values()) == TRIES and world.effects == []
    record_property("false_answers", TRIES)


def test_a_thousand_replayed_approvals_have_no_further_effect(world: Any, record_property: Any) -> None:
    """Lost: single use. One yes is played again, as it was, and for the question that was asked next."""
    agent = agent_of(paying(world), ("K-17", 4200), ("K-17", 4200), ("K-18", 1))
    begin(world, agent)
    (first,) = asking.items(world.store)
    yes = accept.answer(first.id, choice="approve", by="ann", body=encode("approve"), digest=first.digest)
    assert world.store.post(first.run, "m-1", yes).is_stored
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    (second,) = asking.items(world.store)
    assert second.id != first.id and len(world.effects) == 1

    def replayed() -> Iterator[tuple[str, Message]]:
        for number in range(TRIES):
            name = "m-1" if number % 4 == 0 else f"replay {number}"
            facts = yes.facts | ({"question": second.id} if number % 2 else {})
            yield name, yes._replace(meta=meta(**facts))

    tries(world, replayed(), agent)
    assert [effect[:2] for effect in world.effects] == [("K-17", 4200)]
    record_property("false_answers", TRIES)


def test_a_thousand_approvals_that_come_too_late_have_no_effect(world: Any, record_property: Any) -> None:
    """Lost: the default, overruled after it was taken; or a yes that was given for an hour and is used in the next."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,) = asking.items(world.store)
    world.clock.by_s += 1_800.0
    for number in range(TRIES):
        yes = accept.answer(shown.id, choice="approve", by="ann", body=encode("approve"), digest=shown.digest)
        assert not world.store.post(shown.run, f"late {number}", yes).is_stored
        world.clock.by_s += 3.6
    assert world.run(agent) == ["expired by nobody"] and world.effects == []
    record_property("false_answers", TRIES)


def test_a_thousand_altered_approvals_have_no_effect(world: Any, record_property: Any) -> None:
    """Lost: the binding of a yes to what was shown: one character of the digest, of its length or of its question."""
    agent = agent_of(paying(world))
    begin(world, agent)
    (shown,), chance = asking.items(world.store), Random(17)

    def altered() -> Iterator[tuple[str, Message]]:
        for number in range(TRIES):
            at = chance.randrange(64)
            other = chance.choice([each for each in "0123456789abcdef" if each != shown.digest[at]])
            digest = chance.choice(
                [
                    f"{shown.digest[:at]}{other}{shown.digest[at + 1 :]}",
                    shown.digest[:at],
                    f"{shown.digest}{other}",
                    f" {shown.digest}",
                    shown.digest.upper(),
                    shown.digest[::-1],
                ]
            )
            yes = accept.answer(shown.id, choice="approve", by="ann", body=encode("approve"), digest=digest)
            yield f"altered {number}", yes

    tries(world, altered(), agent)
    assert world.effects == []
    record_property("false_answers", TRIES)


@pytest.mark.parametrize("cents", range(4_201, 4_221))
def test_what_was_changed_after_the_approval_is_not_done(quick: Any, cents: int) -> None:
    """Lost: a deploy between the yes and the effect, which does another thing by the old yes."""
    begin(quick, agent_of(paying(quick)))
    say(quick, "approve")
    try:
        quick.run(agent_of(paying(quick), ("K-17", cents)), wait=0)
    except (RunWaiting, RunBlocked):
        pass
    assert quick.effects == []


def test_why_it_is_wanted_is_recorded_as_the_agents_words_and_is_no_part_of_what_is_approved(world: Any) -> None:
    """Lost: the agent's reason, among our own facts or not at all; or an approval, to another wording on replay."""
    reasons = ["the customer insists", "in other words"]
    pay = paying(world)

    @hf.agent(name="payer")
    async def agent(run: hf.Run, given: Any) -> Any:
        said = await run.approve("finance", [pay.bind("K-17", 4200)], why=reasons[0])
        return said.outcome

    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    asked = world.events(Kind.QUESTION_ASKED)[0].facts
    assert asked["why"] == reasons.pop(0) and asked["why"] not in asked["text"]
    (question,) = world.head().questions
    world.play(lambda app: app.answer(world.id(), question.id, "approve", digest=question.digest, by="ada"))
    assert world.run(agent) == "approved" and len(world.events(Kind.QUESTION_ASKED)) == 1
