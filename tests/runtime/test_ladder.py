"""What a step does when it has failed for good: rung after rung, across crashes. Each test says what would be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import PolicyInvalid, RunCancelled, RunFailed, RunStopped, RunWaiting, ToolFailed
from holdfast.views.show import show
from holdfast.views.verdict import verdict

ONCE = hf.Retry(attempts=1)


class Answered(Exception):
    """An error of a client, with the status of the response."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def picture(world: Any) -> dict[str, Any]:
    """The run as `holdfast show --json` has it."""
    return show(world.head(), world.events())


class Rates:
    """A service that is up or down, and what reads it."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0

    def ask(self) -> dict[str, int]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return {"eur": 100 + self.calls}


@pytest.fixture
def rates() -> Rates:
    return Rates()


def reading(rates: Rates, *fallback: Any, **options: Any) -> Any:
    @hf.tool(effect="read", retry=options.pop("retry", ONCE), fallback=list(fallback), **options)
    async def get_rates(currency: str) -> dict[str, int]:
        return rates.ask()

    return get_rates


def asking(tool: Any, **options: Any) -> Any:
    """An agent that tells what its model would read."""

    @hf.agent(name="asking", **options)
    async def asking(run: hf.Run, given: Any) -> Any:
        try:
            outcome = await tool("eur")
        except hf.ToolFailed as error:
            outcome = error
        return hf.for_model(outcome).text

    return asking


# --- the last good result ----------------------------------------------------------------------------------------


def warm(world: Any, rates: Rates, agent: Any, later_s: float) -> None:
    """A good result in an earlier run; then the service goes down, and time passes."""
    assert world.run(agent, key="warm") == '{"eur": 101}'
    rates.error = ConnectionError("gone")
    world.clock.by_s += later_s


def test_an_old_result_is_served_with_its_age_and_nobody_can_miss_it(world: Any, rates: Rates) -> None:
    """Lost: a decision made on yesterday's numbers by a model that took them for today's."""
    agent = asking(reading(rates, hf.Cached(max_age="1h")))
    warm(world, rates, agent, 600)
    said = world.run(agent)
    first, notice = said.split("\n")
    assert first == '{"eur": 101}'
    assert notice.startswith("[holdfast: Not fresh: get_rates failed now (ConnectionError: ")
    assert "10 min old" in notice
    (succeeded,) = world.events(Kind.STEP_SUCCEEDED)
    degraded = succeeded.facts["degraded"]
    assert degraded["rung"] == "cached" and 600 <= degraded["age_s"] < 605 and degraded["run"] == world.id("warm")
    (end,) = world.events(Kind.RUN_ENDED)
    assert end.facts["degraded"] == ["get_rates"]
    (step,) = picture(world)["steps"]
    assert step["served"] == "cached" and step["degraded"] == degraded
    assert verdict(picture(world), 0.0) == "Done: 1 step, 1 of them an old result (10 min)."


def test_a_result_that_is_too_old_is_not_served_and_the_next_rung_is_taken(world: Any, rates: Rates) -> None:
    """Lost: the bound that the declaration puts on how wrong an answer may be."""

    @hf.tool(effect="read", retry=ONCE)
    async def rates_of_the_bank(currency: str) -> dict[str, int]:
        return {"eur": 7}

    agent = asking(reading(rates, hf.Cached(max_age="5m"), rates_of_the_bank))
    warm(world, rates, agent, 600)
    said = world.run(agent)
    assert said.startswith('{"eur": 7}\n[holdfast: Not from get_rates itself')
    assert "rates_of_the_bank" in said
    decided = [event.facts for event in world.events(Kind.DECIDED)]
    assert [(facts["what"], facts["choice"]) for facts in decided] == [("rung", "rates_of_the_bank")]
    assert "cached: it is 10 min old, max_age is 5 min" in decided[0]["because"]


def test_an_old_result_never_grows_young(world: Any, rates: Rates) -> None:
    """Lost: the age, when a served result counted as the last good one."""
    agent = asking(reading(rates, hf.Cached(max_age="1h")))
    warm(world, rates, agent, 1_800)
    assert "30 min old" in world.run(agent, key="served")
    world.clock.by_s += 1_500
    assert "55 min old" in world.run(agent, key="again")
    world.clock.by_s += 600
    assert "failed" in world.run(agent, key="too late").split("\n")[0]


def test_the_last_good_result_is_that_of_the_same_arguments_and_function(world: Any, rates: Rates) -> None:
    """Lost: somebody else's data, served as the answer to another question."""
    tool = reading(rates, hf.Cached(max_age="1h"))
    warm(world, rates, asking(tool), 60)

    @hf.agent(name="other")
    async def other(run: hf.Run, given: Any) -> Any:
        try:
            return await tool("usd")
        except hf.ToolFailed as error:
            return str(error)

    assert world.run(other, key="other").startswith("get_rates failed")

    @hf.tool(effect="read", name="get_rates", retry=ONCE, fallback=[hf.Cached(max_age="1h")])
    async def something_else(currency: str) -> dict[str, int]:
        return rates.ask()

    assert world.run(asking(something_else), key="same name").startswith("get_rates failed")


def test_a_clock_that_was_set_back_serves_nothing(world: Any, rates: Rates) -> None:
    """Lost: the bound, when an old result comes from the future."""
    agent = asking(reading(rates, hf.Cached(max_age="1h")))
    world.clock.by_s += 7_200
    warm(world, rates, agent, -7_200)
    assert world.run(agent).startswith("get_rates failed: ConnectionError")
    (decided,) = world.events(Kind.DECIDED)
    assert "a clock was set" in decided.facts["because"]


def test_an_answer_is_no_outage(world: Any, rates: Rates) -> None:
    """Lost: a record that is gone (404), served from an old result as if it were there."""
    agent = asking(reading(rates, hf.Cached(max_age="1h")))
    warm(world, rates, agent, 60)
    rates.error = Answered(404)
    assert world.run(agent).startswith("get_rates failed: Answered")


def test_what_is_switched_off_or_broken_off_is_answered_from_its_last_good_result(world: Any, rates: Rates) -> None:
    """Lost: the ladder, in the two cases in which the tool is not even called."""
    agent = asking(reading(rates, hf.Cached(max_age="1h")))
    warm(world, rates, agent, 60)
    world.play(lambda app: app.disable("get_rates", by="ann", why="it burns"))
    called = rates.calls
    said = world.run(agent)
    assert said.startswith('{"eur": 101}') and "1 min old" in said
    assert rates.calls == called


def test_replay_tells_the_model_the_same_age(world: Any, rates: Rates) -> None:
    """Lost: a prompt that changes with each replay, so that its recorded answer is not found."""
    tool = reading(rates, hf.Cached(max_age="1h"))
    read: list[str] = []

    @hf.agent(name="asking")
    async def twice(run: hf.Run, given: Any) -> Any:
        read.append(hf.for_model(await tool("eur")).text)
        await run.sleep(0.01)
        if len(read) == 1:
            raise world.Crash
        return read[-1]

    warm(world, rates, asking(tool), 600)
    with pytest.raises(world.Crash):
        world.run(twice)
    world.clock.by_s += 600
    world.run(twice)
    assert read[0] == read[1] and "10 min old" in read[0]


def test_toolset_tells_the_age_too(world: Any, rates: Rates) -> None:
    """Lost: the notice on the most common way from a tool to a model."""
    tool = reading(rates, hf.Cached(max_age="1h"))
    tools = hf.Toolset(tool)

    @hf.agent(name="asking")
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await tools.use("get_rates", {"currency": "eur"})).text

    warm(world, rates, agent, 600)
    assert "10 min old" in world.run(agent)


# --- another tool ------------------------------------------------------------------------------------------------


@hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
async def always_down(what: str) -> str:
    raise ConnectionError("down too")


def test_each_tool_has_its_own_attempts_and_no_more(world: Any, rates: Rates) -> None:
    """Lost: the bound on calls, when two policies multiply."""
    calls: list[str] = []

    @hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0))
    async def second(what: str) -> str:
        calls.append("second")
        raise ConnectionError("no")

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0), fallback=[second])
    async def first(what: str) -> str:
        calls.append("first")
        raise ConnectionError("no")

    assert "ConnectionError" in world.run(asking(first))
    assert calls == ["first"] * 3 + ["second"] * 2
    assert world.state().spent.tool_calls == 5


def test_a_wrong_request_is_told_at_once(world: Any, rates: Rates) -> None:
    """Lost: the model's chance to mend its call, and the calls that cannot help."""
    rates.error = Answered(422)
    agent = asking(reading(rates, always_rates, hf.Ask("oncall"), "stop"))
    assert world.run(agent).startswith("get_rates failed: Answered")
    assert rates.calls == 1
    (decided,) = world.events(Kind.DECIDED)
    assert decided.facts["choice"] == "tell the agent"
    assert [name for name, why in decided.facts["passed"]] == ["always_rates", "ask oncall", "stop"]
    (step,) = picture(world)["steps"]
    assert len(step["failures"]) == 1


@hf.tool(effect="read")
async def always_rates(currency: str) -> dict[str, int]:
    return {"eur": 1}


def test_an_effect_of_unknown_outcome_never_climbs(world: Any) -> None:
    """Lost: money, when a payment that may have happened is made through another bank."""
    paid: list[str] = []

    @hf.tool(effect="once")
    async def other_bank(cents: int) -> str:
        paid.append("other")
        return "ok"

    @hf.tool(effect="once", fallback=[other_bank])
    async def bank(cents: int) -> str:
        paid.append("first")
        raise ConnectionError("the answer was lost")

    @hf.agent
    async def pays(run: hf.Run, given: Any) -> Any:
        return await bank(5)

    with pytest.raises(RunWaiting):
        world.run(pays)
    assert paid == ["first"]
    world.answer("tell_the_agent", pays)
    with pytest.raises(RunFailed, match="not known"):
        world.run(pays)
    assert paid == ["first"]


def test_a_definite_no_of_an_effect_climbs_under_the_other_ones_verify(world: Any) -> None:
    """Lost: the other bank's own way to say whether its payment has happened."""
    paid: list[str] = []

    async def ask_other(key: str, cents: int) -> hf.Done:
        return hf.Done("found")

    @hf.tool(effect="once", verify=ask_other)
    async def other_bank(cents: int) -> str:
        paid.append("other")
        raise ConnectionError("the answer was lost")

    @hf.tool(effect="once", fallback=[other_bank])
    async def bank(cents: int) -> str:
        paid.append("first")
        raise hf.NotDone("closed")

    @hf.agent
    async def pays(run: hf.Run, given: Any) -> Any:
        return await bank(5)

    assert world.run(pays) == "found"
    assert paid == ["first", "other"]


# --- a person ----------------------------------------------------------------------------------------------------


def test_a_person_lets_it_try_again(world: Any, rates: Rates) -> None:
    """Lost: the run that only needed somebody to start the service."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, hf.Ask("oncall")))
    with pytest.raises(RunWaiting):
        world.run(agent)
    (asked,) = world.head().questions
    assert asked.about == "failed" and asked.to == "oncall" and "ConnectionError: gone" in asked.text
    rates.error = None
    world.answer("try_again", agent)
    assert world.run(agent) == '{"eur": 102}'
    assert world.state().spent.tool_calls == 2


def test_a_person_gives_it_its_whole_time_again(world: Any, rates: Rates) -> None:
    """Lost: the attempts that somebody allowed an hour later, used up by the wait for them."""
    rates.error = ConnectionError("gone")
    limits = {"retry": hf.Retry(attempts=2, wait=0, total=60), "within": "10m"}
    agent = asking(reading(rates, hf.Ask("oncall"), **limits))
    with pytest.raises(RunWaiting):
        world.run(agent)
    world.clock.by_s += 3_600
    world.answer("try_again", agent)
    with pytest.raises(RunWaiting):
        world.run(agent)
    assert rates.calls == 4
    rates.error = None
    world.answer("try_again", agent)
    assert world.run(agent) == '{"eur": 105}'


def test_an_effect_that_was_refused_is_made_once_when_a_person_says_so(world: Any, shop: Any) -> None:
    """Lost: the key, when a person lets a payment be tried again; or a second payment after a crash in the middle."""
    refusals = [1, 2]
    keys: list[str] = []

    @hf.tool(effect="once", fallback=[hf.Ask("finance")])
    async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        keys.append(idempotency_key)
        if refusals:
            refusals.pop()
            raise hf.NotDone("closed")
        shop.done.append(("paid", cents))
        if len(keys) == 3:
            raise world.Crash
        return "R-1"

    @hf.agent(name="pays")
    async def pays(run: hf.Run, given: Any) -> str:
        return await pay(5)

    for _ in range(2):
        with pytest.raises(RunWaiting):
            world.run(pays)
        world.answer("try_again", pays)
    with pytest.raises(world.Crash):
        world.run(pays)
    with pytest.raises(RunWaiting):
        world.run(pays)
    (asked,) = world.head().questions
    assert asked.about == "in_doubt", "what may have happened is no failure"
    world.answer("it_happened", pays, result="R-1")
    assert world.run(pays) == "R-1"
    assert shop.done == [("paid", 5)] and len(keys) == 3 and len(set(keys)) == 1


def test_a_run_is_cancelled_while_a_person_is_asked(world: Any, rates: Rates) -> None:
    """Lost: the way out of a wait."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, hf.Ask("oncall")))
    with pytest.raises(RunWaiting):
        world.run(agent)
    world.play(lambda app: app.cancel(world.id(), by="ann"), agents=[agent])
    with pytest.raises(RunCancelled):
        world.run(agent)
    assert not world.head().questions


def test_a_persons_result_is_taken_when_it_fits(world: Any, rates: Rates) -> None:
    """Lost: the type of a result, because a person typed it."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, hf.Ask("oncall"), check=lambda found: found["eur"] > 0 or "no rate"))
    with pytest.raises(RunWaiting):
        world.run(agent)
    for wrong, why in (("a lot", "str is not dict"), ({"eur": -1}, "no rate"), (None, "NoneType is not dict")):
        world.answer("take_this_result", agent, result=wrong)
        with pytest.raises(RunWaiting):
            world.run(agent)
        (asked,) = world.head().questions
        assert why in asked.text
    world.answer("take_this_result", agent, result={"eur": 95})
    said = world.run(agent)
    assert said.startswith('{"eur": 95}') and "This was given by ann" in said
    assert rates.calls == 1


def test_a_person_tells_the_agent_or_stops_the_run(world: Any, rates: Rates) -> None:
    """Lost: the two answers that end a wait without a result."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, hf.Ask("oncall")))
    with pytest.raises(RunWaiting):
        world.run(agent)
    world.answer("tell_the_agent", agent)
    assert world.run(agent).startswith("get_rates failed: ConnectionError")
    (step,) = picture(world)["steps"]
    assert [failure["attempt"] for failure in step["failures"]] == [1] and step["served"] == "person ann"
    with pytest.raises(RunWaiting):
        world.run(agent, key="b")
    world.answer("abort", agent, key="b")
    with pytest.raises(RunStopped, match="ann stopped it"):
        world.run(agent, key="b")
    rates.error = None
    world.resume(key="b")
    assert world.run(agent, key="b") == '{"eur": 103}'


def test_nobody_answers_and_the_next_rung_is_taken(world: Any, rates: Rates) -> None:
    """Lost: the run that waits for ever for somebody who has left."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, hf.Ask("oncall", within="30m"), always_rates))
    with pytest.raises(RunWaiting):
        world.run(agent, wait=0)
    world.clock.by_s += 1_801
    assert world.run(agent).startswith('{"eur": 1}')
    agent = asking(reading(rates, hf.Ask("oncall", within="30m", default="tell_the_agent")))
    with pytest.raises(RunWaiting):
        world.run(agent, key="b", wait=0)
    world.clock.by_s += 1_801
    assert world.run(agent, key="b").startswith("get_rates failed")


def test_keys_and_money_go_to_whoever_the_agent_names(world: Any, rates: Rates) -> None:
    """Lost: a run that fails over a key which somebody could have renewed in a minute."""
    rates.error = Answered(401)
    agent = asking(reading(rates, hf.Cached(max_age="1h")), escalate="ops")
    with pytest.raises(RunWaiting):
        world.run(agent)
    (asked,) = world.head().questions
    assert asked.to == "ops" and "401" in asked.text
    rates.error = None
    world.answer("try_again", agent)
    assert world.run(agent) == '{"eur": 102}'
    rates.error = ConnectionError("gone")
    assert "old" in world.run(agent, key="b")  # nobody is asked about what is no matter of keys


# --- stop --------------------------------------------------------------------------------------------------------


def test_what_must_not_be_missing_stops_the_run_and_is_tried_again_when_it_is_resumed(world: Any, rates: Rates) -> None:
    """Lost: a report with exit code 0 that was made without its numbers."""
    rates.error = ConnectionError("gone")
    agent = asking(reading(rates, "stop"))
    with pytest.raises(RunStopped, match="must not be missing"):
        world.run(agent)
    assert world.state().status is Status.STOPPED
    rates.error = None
    world.resume()
    assert world.run(agent) == '{"eur": 102}'


def test_failures_that_the_agent_swallowed_stand_at_the_end_of_its_run(world: Any, rates: Rates) -> None:
    """Lost: that a run which succeeded did so without one of its steps."""
    rates.error = ConnectionError("gone")
    world.run(asking(reading(rates)))
    (end,) = world.events(Kind.RUN_ENDED)
    assert end.facts["outcome"] == "succeeded" and end.facts["failed_steps"] == ["get_rates"]
    assert picture(world)["run"]["failed_steps"] == ["get_rates"]
    assert verdict(picture(world), 0.0) == "Done: 1 step, 1 of them failed."


# --- crashes -----------------------------------------------------------------------------------------------------


def dying(number: int, *, is_written: bool) -> Any:
    """A process that dies at its transaction of this number."""
    return lambda journal: journal.die_at(number, is_written=is_written)


def test_a_ladder_with_all_rungs_survives_a_crash_at_every_write(world: Any, rates: Rates) -> None:
    """Lost: the place on the ladder; a crash would begin it anew, ask twice, or jump over a rung."""
    deaths, twice, down = 0, hf.Retry(attempts=2, wait=0), {"calls": 0}

    @hf.tool(effect="read", retry=twice)
    async def mirror(currency: str) -> dict[str, int]:
        down["calls"] += 1
        raise ConnectionError("down too")

    rungs = (mirror, hf.Cached(max_age="1s"), hf.Ask("oncall", within="1h"), "stop")
    agent = asking(reading(rates, *rungs, retry=twice))
    for number in range(1, 12):
        for is_written in (False, True):
            key = f"{number}{is_written}"
            rates.calls, rates.error = 0, ConnectionError("gone")
            down["calls"] = 0
            try:
                with pytest.raises(RunWaiting):
                    world.run(agent, key=key, wait=0, prepare=dying(number, is_written=is_written))
            except world.Crash:
                deaths += 1
                with pytest.raises(RunWaiting):
                    world.run(agent, key=key, wait=0)
            (asked,) = world.head(key).questions
            assert asked.to == "oncall" and len(world.events(Kind.QUESTION_ASKED, key=key)) == 1
            assert rates.calls <= 3 and down["calls"] <= 3
            world.clock.by_s += 3_601
            with pytest.raises(RunStopped, match="must not be missing"):
                world.run(agent, key=key)
            before = (rates.calls, down["calls"])
            with pytest.raises(RunStopped):
                world.run(agent, key=key)
            assert before == (rates.calls, down["calls"])
    assert deaths >= 10


def test_a_crash_after_the_answer_does_what_the_answer_says(world: Any, rates: Rates) -> None:
    """Lost: a person's decision, made once and taken twice or never."""
    deaths = 0
    for choice in ("try_again", "take_this_result", "tell_the_agent"):
        for number in range(1, 7):
            key = f"{choice}{number}"
            rates.error = ConnectionError("gone")
            agent = asking(reading(rates, hf.Ask("oncall"), breaker=None))
            with pytest.raises(RunWaiting):
                world.run(agent, key=key)
            rates.error = None
            world.answer(choice, agent, key=key, **({"result": {"eur": 5}} if choice == "take_this_result" else {}))
            try:
                said = world.run(agent, key=key, prepare=dying(number, is_written=True))
            except world.Crash:
                deaths += 1
                said = world.run(agent, key=key)
            expected = {
                "try_again": '{"eur": 1',
                "take_this_result": '{"eur": 5}',
                "tell_the_agent": "get_rates failed",
            }
            assert said.startswith(expected[choice]), (key, said)
            assert len(world.events(Kind.QUESTION_ASKED, key=key)) == 1
    assert deaths >= 5


# --- declarations ------------------------------------------------------------------------------------------------


@hf.tool(effect="once")
async def strong(currency: str) -> dict[str, int]:
    return {}


@hf.tool(effect="read")
async def of_another_type(currency: str) -> str:
    return ""


@hf.tool(effect="read")
async def of_other_arguments(currency: str, day: str) -> dict[str, int]:
    return {}


@hf.tool(effect="read")
async def of_another_argument_type(currency: int) -> dict[str, int]:
    return {}


@pytest.mark.parametrize(
    ("fallback", "why"),
    [
        (["stop", hf.Cached(max_age="1h")], "after"),
        ([hf.Cached(max_age="1h"), hf.Cached(max_age="2h")], "twice"),
        ([hf.Ask("a"), hf.Cached(max_age="1h")], "never reached"),
        ([hf.Ask("a", within="1h", default="abort"), "stop"], "never reached"),
        ([hf.Ask("a", within="1h", default="try_again")], "default"),
        ([strong], "stronger effect"),
        ([of_another_type], "must give"),
        ([of_other_arguments], "takes"),
        ([of_another_argument_type], "currency"),
        ([lambda currency: {}], "no rung"),
        (["cached"], "no rung"),
        ("stop", "no list"),
    ],
)
def test_a_ladder_that_contradicts_itself_is_refused_where_it_is_declared(fallback: Any, why: str) -> None:
    """Lost: the day on which a fallback is needed for the first time, and cannot work."""
    with pytest.raises(PolicyInvalid, match=why):

        @hf.tool(effect="read", fallback=fallback)
        async def get_rates(currency: str) -> dict[str, int]:
            return {}


def test_old_results_are_for_reads_whose_arguments_are_all_they_depend_on() -> None:
    """Lost: an effect that did not happen and is told as if it had; a customer's data shown to another."""
    for effect in ("idempotent", "once"):
        with pytest.raises(PolicyInvalid, match="effect"):
            hf.tool(effect=effect, fallback=[hf.Cached(max_age="1h")])(lambda currency: {})
    with pytest.raises(PolicyInvalid, match="hidden"):

        @hf.tool(effect="read", hidden=("user",), fallback=[hf.Cached(max_age="1h")])
        async def mine(currency: str, user: str) -> str:
            return user

    class Account:
        @hf.tool(effect="read", fallback=[hf.Cached(max_age="1h")])
        async def balance(self, currency: str) -> int:
            return 1

    with pytest.raises(PolicyInvalid, match="method"):
        _ = Account().balance


@pytest.mark.parametrize("age", [0, -1, float("nan"), float("inf"), "soon", None])
def test_an_age_without_a_bound_is_refused(age: Any) -> None:
    """Lost: how wrong an answer may be."""
    with pytest.raises(PolicyInvalid):
        hf.Cached(max_age=age)


def test_a_step_without_a_tool_takes_only_rungs_that_need_no_arguments(world: Any) -> None:
    """Lost: a refusal, and with it a result that came from another closure."""

    @hf.agent
    async def steps(run: hf.Run, given: Any) -> Any:
        return await run.step("look", lambda: 1, effect="read", fallback=[hf.Cached(max_age="1h")])

    with pytest.raises(RunFailed, match="it is no tool"):
        world.run(steps)


# --- without an App ----------------------------------------------------------------------------------------------


def test_alone_the_other_tool_is_tried_and_the_rest_is_said_to_need_a_store(rates: Rates) -> None:
    """Lost: the same ladder in a script, or the reason why a rung of it was not taken."""
    rates.error = ConnectionError("gone")
    assert asyncio.run(reading(rates, hf.Cached(max_age="1h"), always_rates)("eur")) == {"eur": 1}
    with pytest.raises(ConnectionError) as caught:
        asyncio.run(reading(rates, hf.Cached(max_age="1h"), hf.Ask("oncall"))("eur"))
    assert [note.partition(" was")[0] for note in caught.value.__notes__] == [
        "holdfast: cached",
        "holdfast: ask oncall",
    ]


def test_alone_a_failing_result_is_a_failure() -> None:
    """Lost: the check, where nothing is recorded."""

    @hf.tool(effect="read", retry=ONCE)
    async def says_no(what: str) -> dict[str, Any]:
        return {"ok": False, "error": "no such thing"}

    with pytest.raises(ToolFailed, match="no such thing"):
        asyncio.run(says_no("x"))


def test_an_answer_counts_when_other_code_has_other_rungs(world: Any, rates: Rates) -> None:
    """Lost: a person's decision. Whoever is deployed meanwhile takes the rung at the same place for the one that asked,
    and stops the run."""

    def deploy(*rungs: Any) -> hf.Agent[Any, Any]:
        @hf.tool(name="rates", effect="read", retry=ONCE, fallback=list(rungs))
        async def reads() -> dict[str, int]:
            return rates.ask()

        @hf.agent(name="a", budget=hf.Budget(tool_calls=10))
        async def agent(run: hf.Run, given: Any) -> Any:
            return await reads()

        return agent

    rates.error = ConnectionError("down")
    with pytest.raises(RunWaiting):
        world.run(deploy(hf.Cached(max_age="1h"), hf.Ask("oncall"), "stop"), wait=0)
    new, question = deploy(hf.Ask("oncall"), "stop"), world.question()
    world.play(lambda app: app.answer(world.id(), question, "take_this_result", by="ann", result={"eur": 7}))
    assert world.run(new) == {"eur": 7} and rates.calls == 1
