"""Failures, doubt, keys, retries and budgets of single steps. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

import holdfast as hf
from holdfast.core.events import Charge, Effect, Kind, StepKind
from holdfast.core.machine import Call
from holdfast.core.policy import Policy
from holdfast.errors import BudgetExceeded, RunBlocked, RunCancelled, RunFailed, RunStopped, Unverified
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.way import Attempted, Way
from holdfast.testing.clock import ManualClock
from holdfast.testing.ledger import Ledger

BUDGET = hf.Budget(tool_calls=1_000)
HOUR = 3_600.0


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def turns(count: int = 5) -> None:
    """Let others run."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- failures --------------------------------------------------------------------------------------------------


def test_a_failure_that_the_agent_handled_is_not_reopened_by_resume(world: Any, shop: Any) -> None:
    """Reopening all failures would pay the primary supplier after the secondary had been paid."""
    is_up = {"primary": False, "last": False}

    @hf.tool(effect="once")
    async def order(supplier: str, *, idempotency_key: str = hf.INJECTED) -> str:
        shop.done.append(("order", supplier, idempotency_key, is_up.get(supplier, True)))
        if not is_up.get(supplier, True):
            raise hf.NotDone(f"{supplier} is closed")
        return f"ordered from {supplier}"

    @deploy
    async def fallback(run: hf.Run, given: Any) -> Any:
        try:
            first = await order("primary")
        except hf.ToolFailed:
            first = await order("secondary")
        return [first, await order("last")]

    with pytest.raises(RunFailed, match="last is closed"):
        world.run(fallback)
    is_up.update(primary=True, last=True)
    world.resume()
    assert world.run(fallback) == ["ordered from secondary", "ordered from last"]
    made = [(name, was_up) for _, name, _, was_up in shop.done]
    assert made == [("primary", False), ("secondary", True), ("last", False), ("last", True)]
    keys = [key for _, name, key, _ in shop.done if name == "last"]
    assert len(set(keys)) == 2, "another logical attempt, another key"
    assert [event.logical for event in world.events(Kind.STEP_INTENDED)] == [1, 1, 1, 2]


def test_the_same_failures_text_and_class_live_and_on_replay(world: Any, shop: Any) -> None:
    """An agent that branches on the text would take another way after a restart."""

    class Declined(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.code = code

    @hf.tool(effect="once", raises=(Declined,), definite=(Declined,))
    async def charge(x: int) -> None:
        raise Declined(x)

    @hf.tool(effect="read", retry=hf.Retry(attempts=1))
    async def broken(x: int) -> None:
        raise KeyError("no such \ud800 thing")

    seen = []

    @deploy
    async def sees(run: hf.Run, given: Any) -> Any:
        mine = []
        for call in (charge, broken):
            try:
                await call(51)
            except Exception as error:
                mine.append([type(error).__name__, str(error), getattr(error, "code", None)])
        seen.append(mine)
        await shop.pay("end")
        return mine

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(sees)
    with pytest.raises(RunBlocked):
        world.run(sees)
    world.answer("it_did_not", sees)
    assert world.run(sees) == seen[0] == seen[1] == seen[2]
    assert seen[0][0] == ["Declined", "51", 51]
    assert seen[0][1][0] == "ToolFailed" and "KeyError" in seen[0][1][1] and "\\ud800" in seen[0][1][1]


class Odd(BaseException):
    """No Exception, so a broad `except` does not see it."""


class Hostile(Exception):
    """Whose every attribute is a trap."""

    headers = ("Retry-After", "3")

    @property
    def response(self) -> Any:
        raise RuntimeError("closed")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def odd_errors() -> list[BaseException]:
    return [
        asyncio.CancelledError("by itself"),
        Odd("odd"),
        ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
        BaseExceptionGroup("odd ones", [Odd("x"), ValueError("y")]),
        ValueError("x" * 2_000_000),
        ValueError("lone \ud800 surrogate, NUL \x00"),
        StopAsyncIteration("no loop"),
        StopIteration("no loop"),
        GeneratorExit("out"),
        SystemExit(3),
        TimeoutError(),
        RecursionError("deep"),
        Hostile(),
    ]


OF_THE_PROCESS = (SystemExit, GeneratorExit, StopAsyncIteration, StopIteration)
"""On the loop's own thread these mean the process or the coroutine, not the tool."""
ODD = [
    (number, is_sync)
    for number, error in enumerate(odd_errors())
    for is_sync in (False, True)
    if is_sync or not isinstance(error, OF_THE_PROCESS)
]


@pytest.mark.parametrize("effect", ["once", "read"])
@pytest.mark.parametrize(("number", "is_sync"), ODD)
def test_whatever_a_tool_raises_is_recorded_and_typed(quick: Any, number: int, effect: Any, is_sync: bool) -> None:
    """An exception that slips past the driver would lose the run, or the process."""
    error = odd_errors()[number]

    async def on_loop(x: int) -> None:
        raise error

    def in_thread(x: int) -> None:
        raise error

    tool = hf.tool(effect=effect, name="odd", retry=hf.Retry(attempts=1))(in_thread if is_sync else on_loop)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await (asyncio.to_thread(tool, 1) if is_sync else tool(1))
        except hf.ToolFailed as failed:
            return str(failed)

    if effect == "once":
        with pytest.raises(RunBlocked):
            quick.run(agent)
        (failed,) = quick.events(Kind.ATTEMPT_FAILED)
        assert failed.facts["is_definite"] is False
        quick.answer("tell_the_agent", agent)
        with pytest.raises(RunFailed, match="Unverified"):
            quick.run(agent)
    else:
        text = quick.run(agent)
        assert text.startswith("odd failed: ") and len(text) < 5_000
        (failed,) = quick.events(Kind.STEP_FAILED)
    text = failed.facts.get("text", "")
    text.encode()
    assert "\x00" not in text and len(text) < 5_000


def test_a_result_that_cannot_be_written_is_recorded_as_opaque_and_its_effect_not_repeated(
    world: Any, shop: Any
) -> None:
    """A payment whose receipt has no JSON form would otherwise be made again, or lost."""

    @hf.tool(effect="once")
    async def pay_for_object(x: int) -> Any:
        shop.done.append(("object", x))
        return object()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        got = await pay_for_object(1)
        await shop.pay("end")
        return type(got).__name__

    shop.dies_at = "end"
    with pytest.raises(world.Crash):
        world.run(agent)
    with pytest.raises(RunBlocked):
        world.run(agent)
    world.answer("it_did_not", agent)
    assert world.run(agent) == "Opaque"
    assert shop.done.count(("object", 1)) == 1


def test_arguments_that_cannot_be_written_are_refused_before_the_intent(world: Any, shop: Any) -> None:
    """An effect without its arguments on record could not be explained, verified or found again."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay(object())

    with pytest.raises(RunFailed, match="Unencodable"):
        world.run(agent)
    assert shop.done == [] and not world.events(Kind.STEP_INTENDED)


# --- in doubt --------------------------------------------------------------------------------------------------


@pytest.fixture
def unsure(world: Any, shop: Any) -> Any:
    """An agent whose payment fails after its effect, and what it saw."""
    fails = [True]

    @hf.tool(effect="once")
    async def transfer(cents: int, *, idempotency_key: str = hf.INJECTED) -> dict[str, int]:
        shop.done.append(("transfer", cents, idempotency_key))
        if fails and fails.pop():
            raise ConnectionError("the answer was lost")
        return {"moved": cents}

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            return await transfer(500)
        except Unverified as error:
            if given == "handles it":
                return f"unverified: {error}"
            raise

    return agent


def test_an_exception_after_the_effect_is_unknown_and_not_no(world: Any, shop: Any, unsure: Any) -> None:
    """A lost answer that counted as "not done" would be retried: money moved twice."""
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(unsure)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(unsure)
    assert len(shop.done) == 1
    (asked,) = world.events(Kind.QUESTION_ASKED)
    assert asked.facts["options"] == ["it_happened", "it_did_not", "tell_the_agent", "abort"]
    assert "transfer" in asked.facts["text"] and asked.body == b'{"cents":500}'


def test_it_happened_gives_the_result_that_the_person_entered(world: Any, shop: Any, unsure: Any) -> None:
    """Without the result the agent would go on with a made-up receipt."""
    with pytest.raises(RunBlocked):
        world.run(unsure)
    world.answer("it_happened", unsure, result={"moved": 499})
    assert world.run(unsure) == {"moved": 499}
    assert len(shop.done) == 1
    assert world.events(Kind.STEP_SUCCEEDED)[0].facts["by"] == "ann"


def test_it_happened_without_a_result_gives_none(world: Any, shop: Any, unsure: Any) -> None:
    """The word "it_happened" is an answer to us, never the receipt."""
    with pytest.raises(RunBlocked):
        world.run(unsure)
    world.answer("it_happened", unsure)
    assert world.run(unsure) is None
    assert len(shop.done) == 1


def test_it_did_not_repeats_the_same_intent_under_the_same_key(world: Any, shop: Any, unsure: Any) -> None:
    """Another key would let a late first request be charged beside the second."""
    with pytest.raises(RunBlocked):
        world.run(unsure)
    world.answer("it_did_not", unsure)
    assert world.run(unsure) == {"moved": 500}
    assert len(shop.done) == 2 and len(set(shop.done)) == 1
    assert [(e.logical, e.attempt) for e in world.events(Kind.STEP_INTENDED)] == [(1, 1), (1, 2)]


def test_tell_the_agent_raises_unverified(world: Any, shop: Any, unsure: Any) -> None:
    """An agent that is not told would report a payment that may not exist."""
    with pytest.raises(RunBlocked):
        world.run(unsure, "handles it")
    world.answer("tell_the_agent", unsure)
    assert "not known" in world.run(unsure, "handles it")
    assert len(shop.done) == 1


def test_a_run_that_failed_unverified_asks_again_when_it_is_resumed(world: Any, shop: Any, unsure: Any) -> None:
    """A new logical attempt, with a new key, would repeat a payment that may have been made."""
    with pytest.raises(RunBlocked):
        world.run(unsure)
    world.answer("tell_the_agent", unsure)
    with pytest.raises(RunFailed, match="Unverified"):
        world.run(unsure)
    world.resume()
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(unsure)
    assert len(shop.done) == 1
    world.answer("it_did_not", unsure)
    assert world.run(unsure) == {"moved": 500}
    assert len(set(shop.done)) == 1, "the same key"


def test_abort_stops_the_run_and_resume_asks_again(world: Any, shop: Any, unsure: Any) -> None:
    """A run stopped by a person must be resumable, and not on a guess."""
    with pytest.raises(RunBlocked):
        world.run(unsure)
    world.answer("abort", unsure)
    with pytest.raises(RunStopped, match="in doubt"):
        world.run(unsure)
    assert len(shop.done) == 1
    world.resume()
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(unsure)
    world.answer("it_happened", unsure, result={"moved": 500})
    assert world.run(unsure) == {"moved": 500}
    assert len(shop.done) == 1


class Http(Exception):
    """As the HTTP libraries raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status


@pytest.mark.parametrize("is_one_request", [False, True])
def test_a_404_is_definite_only_for_a_body_of_one_request(world: Any, shop: Any, is_one_request: bool) -> None:
    """A 404 of the second request says nothing about the charge that the first one made."""

    @hf.tool(effect="once", definite=hf.ONE_REQUEST if is_one_request else ())
    async def charge_and_tag(x: int) -> None:
        shop.done.append(("charge", x))
        raise Http(404)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await charge_and_tag(1)
        except hf.ToolFailed as error:
            return str(error)

    if is_one_request:
        assert "404" in world.run(agent)
    else:
        with pytest.raises(RunBlocked, match="in_doubt"):
            world.run(agent)
    assert len(shop.done) == 1


class ReadTimeout(Exception):
    """As the HTTP libraries call it."""


@pytest.mark.parametrize("first", [ConnectionResetError, TimeoutError, BrokenPipeError, ReadTimeout])
def test_a_refused_connection_says_nothing_about_the_one_before_it(quick: Any, first: Any) -> None:
    """The server charges, falls over, and refuses the second try that a library makes: "not begun" would be a lie."""

    @hf.tool(effect="once", definite=hf.ONE_REQUEST)
    async def charge(x: int) -> None:
        quick.effects.append(x)
        try:
            raise first("the answer was lost")
        except Exception:
            raise ConnectionRefusedError("nobody listens") from None

    @hf.tool(effect="once", definite=hf.ONE_REQUEST)
    async def plain(x: int) -> None:
        try:
            raise ConnectionRefusedError("nobody listens")
        except OSError as error:
            raise RuntimeError("no connection") from error

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await plain(1)
        except hf.ToolFailed:
            await charge(1)

    with pytest.raises(RunBlocked, match="in_doubt"):
        quick.run(agent)
    assert quick.effects == [1]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_a_status_that_may_come_after_the_effect_is_in_doubt(quick: Any, status: int) -> None:
    """A 500 or a conflict can be sent by a server that has already charged."""

    @hf.tool(effect="once", definite=hf.ONE_REQUEST)
    async def charge(x: int) -> None:
        quick.effects.append(x)
        raise Http(status)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await charge(1)

    kind = RunFailed if status == 429 else RunBlocked
    with pytest.raises(kind):
        quick.run(agent)
    assert quick.effects == [1]


# --- verify ----------------------------------------------------------------------------------------------------


def checked(world: Any, shop: Any, says: list[Any], *, retry: Any = None) -> Any:
    """An agent whose payment is lost once and then verified; `verify` says these things, one after the other."""

    async def verify(key: str, cents: int) -> Any:
        shop.done.append(("verify", cents, key))
        said = says.pop(0)
        if said == "crash":
            raise world.Crash
        if said == "hang":
            await asyncio.Event().wait()
        if isinstance(said, BaseException):
            raise said
        return said

    @hf.tool(effect="once", verify=verify)
    async def transfer(cents: int, *, idempotency_key: str = hf.INJECTED) -> dict[str, int]:
        shop.done.append(("transfer", cents, idempotency_key))
        if sum(done[0] == "transfer" for done in shop.done) == 1:
            raise ConnectionError("the answer was lost")
        return {"moved": cents}

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await transfer(500)

    return agent


def test_verify_that_says_done_is_believed_at_once(world: Any, shop: Any) -> None:
    """A person woken at night for a question the provider can answer."""
    agent = checked(world, shop, [hf.Done({"moved": 498})])
    assert world.run(agent) == {"moved": 498}
    assert [done[0] for done in shop.done] == ["transfer", "verify"]
    assert world.state().spent == Charge(tool_calls=2)
    assert world.events(Kind.STEP_SUCCEEDED)[-1].facts["by"] == "verify"


@pytest.mark.parametrize("no", [hf.NotDone(), hf.NotDone])
@pytest.mark.parametrize("first", [hf.NotDone("not yet")])
def test_not_done_is_believed_when_said_twice_settle_apart(world: Any, shop: Any, no: Any, first: Any) -> None:
    """One early "no" while the request is still on its way would make it twice."""
    agent = checked(world, shop, [first, no])
    assert world.run(agent, settle_s=0.05) == {"moved": 500}
    assert [done[0] for done in shop.done] == ["transfer", "verify", "verify", "transfer"]
    assert len({done[2] for done in shop.done}) == 1, "one intent, one key, known to verify"
    verdicts = [event for event in world.events(Kind.STEP_SUCCEEDED) if event.step is StepKind.VERIFY]
    assert verdicts[1].at - verdicts[0].at >= 0.05
    assert [(e.logical, e.attempt) for e in world.events(Kind.STEP_INTENDED)] == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    "said", [hf.Unknown("who knows"), hf.Unknown, ValueError("down"), None, "yes", "hang", Odd("x")]
)
def test_a_verify_that_cannot_tell_leaves_it_to_a_person(world: Any, shop: Any, said: Any) -> None:
    """A broken verify must neither repeat the payment nor skip it, nor hang for ever."""
    agent = checked(world, shop, [said])
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent, verify_s=0.05)
    assert [done[0] for done in shop.done] == ["transfer", "verify"]
    world.answer("it_did_not", agent)
    assert world.run(agent) == {"moved": 500}


def test_what_verify_said_is_recorded_and_not_asked_again_after_a_crash(world: Any, shop: Any) -> None:
    """A "no" forgotten in a crash would be said twice by one look, and believed too early."""
    agent = checked(world, shop, [hf.NotDone(), "crash", hf.NotDone()])
    with pytest.raises(world.Crash):
        world.run(agent)
    assert world.run(agent) == {"moved": 500}
    assert [done[0] for done in shop.done] == ["transfer", "verify", "verify", "verify", "transfer"]
    verdicts = [event for event in world.events(Kind.STEP_SUCCEEDED) if event.step is StepKind.VERIFY]
    assert len(verdicts) == 2


# --- idempotent ------------------------------------------------------------------------------------------------


def test_an_idempotent_effect_has_one_key_on_every_attempt_and_after_a_crash(world: Any, shop: Any) -> None:
    """A key that changed with the attempt or the process would defeat the receiver's deduplication."""
    faults: list[Any] = [ConnectionError("lost"), world.Crash(), ConnectionError("lost"), None]

    @hf.tool(effect="idempotent", retry=hf.Retry(attempts=9, wait=0.01))
    async def put(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
        shop.done.append(("put", x, idempotency_key))
        fault = faults.pop(0)
        if fault is not None:
            raise fault
        return "put"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await put(1)

    with pytest.raises(world.Crash):
        world.run(agent)
    assert world.run(agent) == "put"
    assert len(shop.done) == 4 and len(set(shop.done)) == 1
    assert [e.attempt for e in world.events(Kind.STEP_INTENDED)] == [1, 2, 3, 4]


def test_an_idempotent_effect_past_its_window_is_in_doubt(world: Any, shop: Any) -> None:
    """The receiver has forgotten the key: sent again, the same key is a second payment."""

    @hf.tool(effect="idempotent", window=0.05)
    async def put(x: int) -> str:
        shop.done.append(("put", x))
        if len(shop.done) == 1:
            raise world.Crash
        return "put"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await put(1)

    with pytest.raises(world.Crash):
        world.run(agent)
    world.clock.by_s += 0.06
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    assert shop.done == [("put", 1)]


def test_two_calls_of_one_run_and_the_same_call_of_two_runs_have_different_keys(world: Any, shop: Any) -> None:
    """One key for two orders: the second customer's payment would be swallowed as a repeat."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        await shop.pay("A")

    world.run(agent, key="k1")
    world.run(agent, key="k2")
    assert len(shop.keys("A")) == 4


# --- retries ---------------------------------------------------------------------------------------------------


class Slow(Exception):
    """HTTP 429 or 503, with a Retry-After."""

    def __init__(self, status: int, retry_after: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status_code = status
        self.headers = {"retry-after": retry_after} if retry_after else {}


def reading(world: Any, faults: list[Any], retry: hf.Retry) -> Any:
    """An agent that reads, with these faults one after the other."""

    @hf.tool(effect="read", retry=retry)
    async def fetch(x: int) -> str:
        world.effects.append(x)
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault
        return "fetched"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await fetch(1)

    return agent


def timed(world: Any, agent: Any, clock: ManualClock, *, steps: int = 60, by: float = 1.0) -> Any:
    """Run to the end on the manual clock."""

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        for _ in range(steps):
            await clock.advance(by)
            if running.done():
                break
        running.cancel()
        return await running

    return world.play(scenario, clock=clock, lease_s=1e9, poll_s=0.5, quiet_s=5, park_s=1e6)


def test_waits_have_full_jitter_within_doubling_bounds(quick: Any) -> None:
    """Clients that wait equally long come back together and knock the provider over again."""
    clock = ManualClock(draws=(0.25, 0.5, 1.0 - 2**-53, 0.5))
    agent = reading(quick, [Slow(503)] * 4, hf.Retry(attempts=5, wait=1, wait_max=3, total=100))
    assert timed(quick, agent, clock) == "fetched"
    failed = quick.events(Kind.ATTEMPT_FAILED)
    waits = [event.facts["retry_at"] - event.at for event in failed]
    assert waits == pytest.approx([0.25, 1.0, 3.0, 1.5])
    assert len(quick.effects) == 5


def test_retry_after_is_a_floor(quick: Any) -> None:
    """Asking before the provider said so turns a rate limit into a ban."""
    clock = ManualClock(draws=(0.0, 0.0))
    agent = reading(quick, [Slow(429, "7")], hf.Retry(attempts=5, wait=1, wait_max=3, total=100))
    assert timed(quick, agent, clock) == "fetched"
    (failed,) = quick.events(Kind.ATTEMPT_FAILED)
    assert failed.facts["retry_at"] - failed.at == 7


def test_attempts_are_bounded_and_each_is_charged(quick: Any) -> None:
    """A retry without an end is how a night costs 2,400 dollars."""
    agent = reading(quick, [Slow(503)] * 99, hf.Retry(attempts=4, wait=1, total=1_000))
    with pytest.raises(RunFailed, match="503"):
        timed(quick, agent, ManualClock())
    assert len(quick.effects) == 4
    assert quick.state().spent == Charge(tool_calls=4)
    assert "attempt 4 of 4" in quick.events(Kind.STEP_FAILED)[0].facts["because"]


def test_the_total_time_of_retries_is_bounded(quick: Any) -> None:
    """A Retry-After of an hour must not hold a run that promised two minutes."""
    agent = reading(quick, [Slow(429, "100"), Slow(429, "100")], hf.Retry(attempts=9, wait=1, total=120))
    with pytest.raises(RunFailed, match="429"):
        timed(quick, agent, ManualClock(), steps=300)
    assert len(quick.effects) == 2
    assert "total=120" in quick.events(Kind.STEP_FAILED)[0].facts["because"]


def test_a_retrys_wait_survives_a_crash_and_does_not_begin_anew(quick: Any) -> None:
    """A run that is restarted often would never get to its next attempt."""
    clock = ManualClock(draws=(0.5,))
    agent = reading(quick, [Slow(503)], hf.Retry(attempts=5, wait=20, wait_max=20, total=100))
    quick.store._clock = clock.now

    async def until_it_waits(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await clock.advance(1)
        raise quick.Crash

    with pytest.raises(quick.Crash):
        quick.play(until_it_waits, clock=clock, lease_s=1e9, poll_s=0.5, quiet_s=50, park_s=1e6)
    (failed,) = quick.events(Kind.ATTEMPT_FAILED)
    clock.jump(6)
    assert timed(quick, agent, clock) == "fetched"
    (done,) = quick.events(Kind.STEP_SUCCEEDED)
    assert failed.facts["retry_at"] <= done.at <= failed.facts["retry_at"] + 1
    assert len(quick.effects) == 2


def test_a_failure_that_does_not_go_away_is_not_retried(quick: Any) -> None:
    """Three times the wait and the bill for a typing error."""
    agent = reading(quick, [ValueError("wrong")], hf.Retry(attempts=5, wait=20))
    with pytest.raises(RunFailed, match="wrong"):
        timed(quick, agent, ManualClock())
    assert len(quick.effects) == 1


# --- budgets ---------------------------------------------------------------------------------------------------


def test_the_call_that_does_not_fit_is_never_begun_and_resume_goes_on_at_it(world: Any, shop: Any) -> None:
    """A cap that is checked after the call is no cap; a stop that loses the work is a punishment."""
    began = []

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=3))
    async def agent(run: hf.Run, given: Any) -> Any:
        began.append(1)
        for number in range(5):
            await shop.look(number)
            await shop.pay(number)
        return "all paid"

    with pytest.raises(BudgetExceeded, match=r"tool_calls.*--raise tool_calls=\+1"):
        world.run(agent)
    assert shop.paid() == [0] and len(shop.done) == 3
    assert world.state().used == Charge(tool_calls=3)
    with pytest.raises(BudgetExceeded):  # an ended run's end is returned, nothing runs
        world.run(agent)
    assert len(began) == 1
    world.resume(budget=hf.Budget(tool_calls=6))
    with pytest.raises(BudgetExceeded):
        world.run(agent)
    assert shop.paid() == [0, 1, 2, 3] and world.state().used == Charge(tool_calls=9)
    world.resume(budget=hf.Budget(tool_calls=1))
    assert world.run(agent) == "all paid"
    assert shop.paid() == [0, 1, 2, 3, 4]
    assert world.state().limits.tool_calls == 10, "the limits of the first start, raised twice"


def test_a_takeover_charges_the_read_that_may_have_been_under_way(world: Any, shop: Any) -> None:
    """A crash loop around one read would read for ever at no charge."""

    @hf.tool(effect="read")
    async def fatal(x: int) -> None:
        shop.done.append(x)
        raise world.Crash

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=2))
    async def agent(run: hf.Run, given: Any) -> Any:
        await fatal(1)

    for _ in range(2):
        with pytest.raises(world.Crash):
            world.run(agent)
    with pytest.raises(BudgetExceeded):
        world.run(agent)
    assert len(shop.done) == 2


def test_a_read_that_its_caller_gave_up_is_charged(world: Any, shop: Any) -> None:
    """`wait_for` in a loop around a slow read would call a paid search without any limit."""

    @hf.tool(effect="read")
    async def search(x: int) -> None:
        shop.done.append(x)
        if len(shop.done) > 50:
            raise RuntimeError("no limit holds")
        await asyncio.Event().wait()

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        while True:
            try:
                await asyncio.wait_for(search(1), 0.001)
            except TimeoutError:
                continue

    with pytest.raises(BudgetExceeded):
        world.run(agent)
    assert len(shop.done) == 5
    assert world.state().used == Charge(tool_calls=5)


def test_parallel_reads_are_charged_exactly_and_all_but_one_have_an_intent(world: Any, shop: Any) -> None:
    """Reads without an intent that a crash forgets would be free: the cap would not hold."""

    @hf.tool(effect="read")
    async def slow(x: int) -> int:
        await turns(20)
        if x == 7 and not shop.done:
            shop.done.append("crashed")
            raise world.Crash
        return x

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=60))
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.gather(*(slow(x) for x in range(20)))

    with pytest.raises(world.Crash):
        world.run(agent)
    assert len(world.events(Kind.STEP_INTENDED)) == 19
    done = len(world.events(Kind.STEP_SUCCEEDED))  # the one without an intent was faster, or was not
    assert world.state().used == Charge(tool_calls=19 + done)
    assert world.run(agent) == list(range(20))
    assert world.state().reserved == Charge()
    assert world.state().spent == Charge(tool_calls=19 + done + 20 + 20 - done), "the crash, the allowance, the rest"


def test_a_read_that_fails_after_a_crash_is_no_doubt(world: Any, shop: Any) -> None:
    """A person would be asked at night whether a look-up happened, while all the agent needs is its error."""

    @hf.tool(effect="read", raises=(LookupError,))
    async def look(x: int) -> int:
        await turns(5)
        if not shop.done:
            shop.done.append("crashed")
            raise world.Crash
        raise LookupError(f"there is no {x}")

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        failed = await asyncio.gather(look(1), look(2), return_exceptions=True)
        return [str(error) for error in failed]

    with pytest.raises(world.Crash):
        world.run(agent)
    assert len(world.events(Kind.STEP_INTENDED)) == 1, "a read besides another has an intent"
    assert world.run(agent) == ["there is no 1", "there is no 2"]
    assert world.events(Kind.QUESTION_ASKED) == []


def test_parallel_calls_cannot_slip_past_the_cap_together(quick: Any) -> None:
    """Twenty branches that each see room for one more would spend twenty."""

    @hf.tool(effect="read")
    async def slow(x: int) -> int:
        quick.effects.append(x)
        await turns(10)
        return x

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=7))
    async def agent(run: hf.Run, given: Any) -> Any:
        return await asyncio.gather(*(slow(x) for x in range(20)))

    with pytest.raises(BudgetExceeded):
        quick.run(agent)
    assert len(quick.effects) == 7
    assert quick.state().used == Charge(tool_calls=7)


def test_a_settlement_over_the_cap_is_recorded_with_a_warning(world: Any) -> None:
    """Money that is spent is spent: a refused settlement would hide it, and the next call would go out."""

    @hf.agent(name="shop", budget=hf.Budget(usd=1.0, tool_calls=9))
    async def agent(run: hf.Run, given: Any) -> Any:
        place = current.place()
        assert place is not None

        async def attempt(begun: Any) -> Attempted:
            return Attempted(b"1", Charge(model_calls=1, usd_nano=1_300_000_000))

        for n in range(2):
            await place.driver.step(
                Attempts(
                    call=Call("", "model", str(n), StepKind.MODEL, Effect.READ),
                    args=b"{}",
                    policy=lambda: Policy(retry=hf.Retry(attempts=1)),
                    ways=(Way(attempt=attempt, reservation=Charge(model_calls=1, usd_nano=900_000_000)),),
                )
            )

    with pytest.raises(BudgetExceeded, match="usd"):
        world.run(agent)
    (warned,) = world.events(Kind.BUDGET_WARNED)
    assert warned.facts == {
        "name": "usd_nano",
        "limit": 1_000_000_000,
        "spent": 1_300_000_000,
        "share": 80,
        "overshoot": 300_000_000,
    }
    assert world.state().spent == Charge(model_calls=1, usd_nano=1_300_000_000)
    assert len(world.events(Kind.STEP_INTENDED)) == 1


# --- the world outside -----------------------------------------------------------------------------------------


def test_a_dropped_answer_is_cleared_up_by_asking_the_ledger(world: Any) -> None:
    """The commonest failure of all: the provider did it, and the connection broke before it said so."""
    with Ledger() as ledger:
        ledger.fault("refund", on=1, fault="drop_after")

        def ask_for(key: str, cents: int) -> Any:
            made = [effect for effect in ledger.effects("refund") if effect.key == key]
            return hf.Done({"seq": made[0].seq}) if made else hf.NotDone()

        @hf.tool(effect="once", verify=ask_for)
        def refund(cents: int, *, idempotency_key: str = hf.INJECTED) -> dict[str, int]:
            return send(ledger.url, "refund", cents, idempotency_key)

        @deploy
        async def agent(run: hf.Run, given: Any) -> Any:
            return await asyncio.to_thread(refund, 500)

        assert world.run(agent) == {"seq": 1}
        assert len(ledger.effects("refund")) == 1


def send(url: str, name: str, args: Any, key: str) -> dict[str, int]:
    """One effect, as a payment client would send it."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", f"/effects/{name}?dedupe=1", json.dumps({"args": args}), {"Idempotency-Key": key})
        return {"seq": json.loads(connection.getresponse().read())["seq"]}
    finally:
        connection.close()


PROCESS = """
import os, sys, holdfast as hf
store, file, dies = sys.argv[1:]
@hf.tool(effect="idempotent")
async def put(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
    with open(file, "a") as effects:
        effects.write(idempotency_key + "\\n")
    if dies == "yes":
        os._exit(9)
    return "put"
@hf.agent(name="shop")
async def agent(run, given):
    return await put(1)
print(hf.App("sqlite:///" + store).run_sync(agent, None, key="k"))
"""


def test_another_process_takes_over_at_once_with_the_same_key(tmp_path: Any) -> None:
    """A key that depended on the process would make every crash a second payment."""
    file = tmp_path / "effects"
    said = [
        subprocess.run(
            [sys.executable, "-c", PROCESS, str(tmp_path / "h.db"), str(file), dies],
            capture_output=True,
            text=True,
            timeout=30,
        )
        for dies in ("yes", "yes", "no")
    ]
    assert [done.returncode for done in said] == [9, 9, 0], said
    assert said[2].stdout == "put\n"
    keys = file.read_text().split()
    assert len(keys) == 3 and len(set(keys)) == 1


@dataclasses.dataclass
class Receipt:
    """A typed result."""

    number: int


def test_a_result_that_a_person_entered_and_that_does_not_fit_can_be_mended(world: Any, shop: Any) -> None:
    """A typing error at two in the morning must not end the run for good, nor pay again."""

    @hf.tool(effect="once")
    async def charge(x: int) -> Receipt:
        shop.done.append(x)
        raise ConnectionError("the answer was lost")

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await charge(1)).number

    with pytest.raises(RunBlocked):
        world.run(agent)
    world.answer("it_happened", agent, result="receipt 7")
    for _ in range(2):
        with pytest.raises(RunBlocked, match="does not fit"):
            world.run(agent)
    world.answer("it_happened", agent, result={"number": 7})
    assert world.run(agent) == 7
    assert shop.done == [1]


# --- the allowance ---------------------------------------------------------------------------------------------


class Looks:
    """Rounds of parallel reads, the process dying in one of them."""

    def __init__(self, world: Any, at_once: int, rounds: int, dies_in: int) -> None:
        self.begun: list[tuple[int, int]] = []
        """What was really looked up, in every process."""

        @hf.tool(effect="read")
        async def look(at: int, x: int) -> int:
            self.begun.append((at, x))
            await turns(10)
            if at == dies_in and x == at_once - 1 and self.begun.count((at, x)) == 1:
                raise world.Crash
            return x

        @hf.agent(name="shop", budget=hf.Budget(tool_calls=200))
        async def agent(run: hf.Run, given: Any) -> Any:
            return [await asyncio.gather(*(look(at, x) for x in range(at_once))) for at in range(rounds)]

        self.agent = agent


def test_parallel_reads_need_no_intents_once_their_number_was_seen(world: Any) -> None:
    """Lost: each of twenty look-ups at once costs two commits, for ever."""
    looks = Looks(world, at_once=5, rounds=4, dies_in=-1)
    world.run(looks.agent)
    assert len(world.events(Kind.STEP_INTENDED)) == 4, "those of the first round but one"
    assert world.state().spent == Charge(tool_calls=20)
    assert world.state().allowance == 5


@pytest.mark.parametrize("dies_in", [0, 1, 3])
def test_a_takeover_charges_as_many_reads_as_may_have_been_under_way(world: Any, dies_in: int) -> None:
    """Lost: P7. Reads without an intent that a crash forgets would be free."""
    looks = Looks(world, at_once=5, rounds=4, dies_in=dies_in)
    with pytest.raises(world.Crash):
        world.run(looks.agent)
    assert world.run(looks.agent) == [list(range(5))] * 4
    assert world.state().spent.tool_calls >= len(looks.begun) > 20
    assert world.state().spent.tool_calls <= len(looks.begun) + 5


def test_a_takeover_never_charges_over_the_cap(world: Any, shop: Any) -> None:
    """Lost: a run is stopped by calls that were never made, and that would never have fitted."""
    looks = Looks(world, at_once=5, rounds=2, dies_in=1)
    with pytest.raises(world.Crash):
        world.run(looks.agent, budget=hf.Budget(tool_calls=10))
    with pytest.raises(BudgetExceeded):
        world.run(looks.agent)
    state = world.state()
    assert state.spent.tool_calls <= 10 and state.spent.tool_calls >= len(looks.begun)


def test_a_read_that_a_shutdown_cuts_short_is_charged(world: Any) -> None:
    """Lost: P7. A deploy every hour, and each of them a search that nobody counted."""
    begun = 0

    @hf.tool(effect="read")
    async def search(x: int) -> str:
        nonlocal begun
        begun += 1
        if begun == 1:
            await asyncio.Event().wait()
        return "found"

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        return await search(1)

    async def leaves(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        while not begun:
            await asyncio.sleep(0)
        running.cancel()

    world.play(leaves, agents=[agent])
    assert world.state().spent == Charge(tool_calls=1)
    assert world.run(agent) == "found"
    assert world.state().spent == Charge(tool_calls=2)


def test_a_read_that_a_cancel_cuts_short_is_charged(world: Any) -> None:
    """Lost: the same for a run that was cancelled."""
    begun = asyncio.Event()

    @hf.tool(effect="read")
    async def search(x: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    @hf.agent(name="shop", budget=hf.Budget(tool_calls=5))
    async def agent(run: hf.Run, given: Any) -> Any:
        await search(1)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await begun.wait()
        await app.cancel(world.id(), by="ann")
        with pytest.raises(RunCancelled):
            await running

    world.play(scenario)
    assert world.state().spent == Charge(tool_calls=1)
