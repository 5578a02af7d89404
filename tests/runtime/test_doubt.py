"""In doubt, to its end: no silent repeat, no silent skip, whatever `verify`, people and clocks do."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.errors import RunBlocked, RunFailed, RunStopped, Unverified

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


class Till:
    """A payment whose process dies before or after it has happened, and a `verify` of some sort."""

    def __init__(self, world: Any, *, happens: bool, verify: str) -> None:
        self.world = world
        self.asked = 0
        crashes = [world.Crash]

        async def ask(key: str, x: int) -> Any:
            self.asked += 1
            paid = ("paid", key) in world.effects
            match verify:
                case "truthful":
                    return hf.Done("receipt") if paid else hf.NotDone()
                case "raises":
                    raise OSError("no answer")
                case "hangs":
                    await asyncio.Event().wait()
                case "nonsense":
                    return "yes"
                case "cannot tell":
                    return hf.Unknown("too old")

        @hf.tool(effect="once", verify=None if verify == "none" else ask)
        async def pay(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
            is_first = bool(crashes)
            if happens or not is_first:
                world.effects.append(("paid", idempotency_key))
            if is_first:
                raise crashes.pop()
            return "receipt"

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            try:
                return await pay(1)
            except Unverified:
                return "told"

        self.agent = agent

    def die(self) -> None:
        """The process dies in the payment."""
        with pytest.raises(self.world.Crash):
            self.world.run(self.agent, settle_s=0, verify_s=0.05)

    def go_on(self) -> Any:
        """The next process."""
        return self.world.run(self.agent, settle_s=0, verify_s=0.05)


@pytest.mark.parametrize("happens", [False, True])
def test_a_truthful_verify_settles_it_without_a_person(world: Any, happens: bool) -> None:
    """Lost: a payment made twice, or never."""
    till = Till(world, happens=happens, verify="truthful")
    till.die()
    assert till.go_on() == "receipt"
    assert len(world.effects) == 1 and till.asked == (1 if happens else 2)
    assert not world.events(Kind.QUESTION_ASKED)


@pytest.mark.parametrize("happens", [False, True])
@pytest.mark.parametrize("verify", ["none", "raises", "hangs", "nonsense", "cannot tell"])
@pytest.mark.parametrize("answer", ["truth", "tell_the_agent", "abort"])
def test_a_person_decides_where_verify_cannot(world: Any, happens: bool, verify: str, answer: str) -> None:
    """Lost: the payment is repeated or skipped because the machine guessed."""
    till = Till(world, happens=happens, verify=verify)
    till.die()
    with pytest.raises(RunBlocked, match="in_doubt"):
        till.go_on()
    assert len(world.events(Kind.QUESTION_ASKED)) == 1 and len(world.effects) == happens
    choice = ("it_happened" if happens else "it_did_not") if answer == "truth" else answer
    more = {"result": "receipt"} if choice == "it_happened" else {}
    world.answer(choice, till.agent, **more)
    if answer == "abort":
        with pytest.raises(RunStopped, match="in doubt"):
            till.go_on()
        world.resume()
        with pytest.raises(RunBlocked, match="in_doubt"):
            till.go_on()
        assert len(world.effects) == happens, "stopped and resumed on no guess"
    else:
        assert till.go_on() == ("receipt" if answer == "truth" else "told")
        assert len(world.effects) == (1 if answer == "truth" else happens)
    assert len({key for _, key in world.effects}) <= 1, "one intent, one key"


def test_fifty_doubts_at_random_none_repeated_none_skipped_each_told(world: Any) -> None:
    """Lost: the claim itself: half of the effects had run, half had not, and nobody counts on luck."""
    chance = random.Random(4)
    had_run = 0
    for number in range(50):
        world.effects.clear()
        happens, verify = chance.random() < 0.5, chance.choice(["truthful", "none", "raises", "nonsense"])
        had_run += happens
        till, key = Till(world, happens=happens, verify=verify), f"k{number}"
        with pytest.raises(world.Crash):
            world.run(till.agent, key=key, settle_s=0)
        try:
            world.run(till.agent, key=key, settle_s=0)
        except RunBlocked:
            world.answer("it_happened" if happens else "it_did_not", till.agent, key=key)
            world.run(till.agent, key=key, settle_s=0)
        assert len(world.effects) == 1, (number, happens, verify)
        slot = next(iter(world.state(key).slots.values()))
        assert slot.served in ("verify", "ann") or slot.attempt == 2, "somebody settled it, and the record says who"
    assert 15 <= had_run <= 35, had_run


# --- verify in every sort of trouble -----------------------------------------------------------------------------


def doubtful(world: Any, verify: Any, *, returns: Any = str, **declared: Any) -> hf.Agent[Any, Any]:
    """An agent whose payment loses its first answer."""
    fails = [True]

    async def pay(x: int, *, idempotency_key: str = hf.INJECTED) -> Any:
        world.effects.append(("paid", idempotency_key))
        if fails and fails.pop():
            raise ConnectionError("the answer was lost")
        return "receipt"

    pay.__annotations__["return"] = returns
    tool = hf.tool(effect="once", verify=verify, **declared)(pay)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await tool(1)

    return agent


def test_a_verify_that_swallows_its_cancellation_hangs_neither_the_run_nor_the_process(world: Any) -> None:
    """Lost: a time box that only polite code keeps."""

    async def stubborn(key: str, x: int) -> Any:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(doubtful(world, stubborn), verify_s=0.05)
    assert "no answer within" in world.head().questions[0].text


async def _done(key: str, x: int) -> Any:
    return hf.Done("found")


@pytest.mark.parametrize("verify", [lambda key, x: _done(key, x), lambda key, x: hf.Done("found")])
def test_a_verify_may_be_a_plain_function_that_gives_an_awaitable(world: Any, verify: Any) -> None:
    """Lost: a coroutine that nobody awaits, read as nonsense; and a person asked for nothing."""
    assert world.run(doubtful(world, verify)) == "found"


def test_done_with_a_result_of_another_type_is_for_a_person(world: Any) -> None:
    """Lost: the agent goes on with a receipt that is none."""
    agent = doubtful(world, lambda key, x: hf.Done("found"), returns=dict[str, int])
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    assert "does not fit" in world.head().questions[0].text
    world.answer("it_happened", agent, result="found")
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    world.answer("it_happened", agent, result={"cents": 5})
    assert world.run(agent) == {"cents": 5}
    assert len(world.effects) == 1


def test_a_tool_may_need_longer_to_be_sure_than_others(world: Any) -> None:
    """Lost: a slow receiver's "not done" is believed while the request is still on its way."""
    asked: list[float] = []

    def verify(key: str, x: int) -> Any:
        asked.append(time.monotonic())
        return hf.NotDone()

    assert world.run(doubtful(world, verify, settle="300ms"), settle_s=0) == "receipt"
    assert len(asked) == 2 and asked[1] - asked[0] >= 0.3


def test_a_doubt_that_settles_itself_in_time_does_not_call_for_a_person(world: Any) -> None:
    """Lost: somebody is sent to answer a question that was never asked."""
    till = Till(world, happens=False, verify="truthful")
    till.die()
    with pytest.raises(RunBlocked, match="verify` is asked again in time") as told:
        world.run(till.agent, settle_s=60, wait=0)
    assert "holdfast answer" not in str(told.value)


def test_a_clock_that_is_set_forward_between_two_noes_settles_nothing_early(world: Any) -> None:
    """Lost: an hour that was none makes the second "not done" count, while the request is under way."""
    asked: list[float] = []

    def jump() -> None:
        world.clock.by_s += 3_600

    async def verify(key: str, x: int) -> Any:
        asked.append(time.monotonic())
        asyncio.get_running_loop().call_later(0.2, jump)  # by then the run has left memory, and is due at once
        return hf.NotDone()

    assert world.run(doubtful(world, verify), settle_s=1.5, lease_s=0.6, wait=9_000) == "receipt"
    assert len(asked) == 2 and asked[1] - asked[0] >= 1.5


def test_a_clock_that_is_set_back_leaves_it_to_a_person(world: Any) -> None:
    """Lost: a run that waits an hour for a clock, or one that believes a time that runs backwards."""
    steps = itertools.count()

    def verify(key: str, x: int) -> Any:
        if next(steps) == 0:
            world.clock.by_s -= 3_600
        return hf.NotDone()

    agent = doubtful(world, verify)
    world.clock.by_s = 7_200
    try:
        assert world.run(agent, settle_s=0.05, wait=20) == "receipt"
    except RunBlocked:
        assert "without a conclusion" in world.head().questions[0].text
    assert next(steps) <= 6


# --- told that nobody knows --------------------------------------------------------------------------------------


def test_a_model_that_tries_again_what_nobody_knows_gets_no_new_key(world: Any) -> None:
    """Lost: R2. The model's own retry pays a second time, under a key that the receiver has never seen."""

    @hf.tool(effect="once")
    async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append((cents, idempotency_key))
        raise ConnectionError("the answer was lost")

    @hf.tool(effect="once")
    async def tell(x: int) -> str:
        world.effects.append("told")
        return "told"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        seen = []
        for _ in range(3):
            try:
                await pay(500)
            except Unverified as error:
                seen.append(str(error))
        seen.append(await tell(1))
        if given is None and not crashed:
            crashed.append(1)
            raise world.Crash
        return seen

    crashed: list[int] = []
    with pytest.raises(RunBlocked):
        world.run(agent)
    world.answer("tell_the_agent", agent)
    with pytest.raises((world.Crash, RunFailed)):
        world.run(agent, prepare=lambda journal: journal.die_at(5, is_written=True))
    result = world.run(agent)
    assert len(result) == 4 and len(set(result[:3])) == 1
    assert [effect for effect in world.effects if effect != "told"] == world.effects[:1]
    assert len(world.events(Kind.QUESTION_ASKED)) == 1, "one doubt, one question"


def test_another_amount_is_another_payment(world: Any) -> None:
    """Lost: everything that the agent asks for after one doubt is taken for it."""
    lost = [True]

    @hf.tool(effect="once")
    async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
        world.effects.append((cents, idempotency_key))
        if lost:
            raise ConnectionError(lost.pop())
        return f"paid {cents}"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await pay(500)
        except Unverified:
            return await pay(499)

    with pytest.raises(RunBlocked):
        world.run(agent)
    world.answer("tell_the_agent", agent)
    assert world.run(agent) == "paid 499"
    assert [cents for cents, _ in world.effects] == [500, 499]
