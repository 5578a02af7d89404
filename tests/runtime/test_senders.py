"""Effects whose body outlives whoever waits for it: never verified, repeated or forgotten while it may still act."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import RunBlocked, RunCancelled, RunWaiting, StoreUnreachable
from holdfast.runtime import senders
from holdfast.runtime.senders import Place

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


async def until(is_so: Callable[[], Any]) -> None:
    """Turn the loop until it is so."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0)


class Slow:
    """A sync payment whose thread waits until the test lets it go."""

    def __init__(self, world: Any) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.raises: list[BaseException] = []
        self.verified: list[str] = []
        self.world = world

        def verify(key: str, x: int) -> Any:
            self.verified.append(key)
            return hf.Done(f"paid {x}") if ("done", x, key) in world.effects else hf.NotDone()

        def body(x: int, *, idempotency_key: str = hf.INJECTED) -> str:
            world.effects.append(("begun", x, idempotency_key))
            self.begun.release()
            assert self.go.wait(20)
            if self.raises:
                raise self.raises.pop()
            world.effects.append(("done", x, idempotency_key))
            return f"paid {x}"

        self.pay = hf.tool(effect="once", name="pay", verify=verify)(body)
        self.mail = hf.tool(effect="idempotent", name="mail", retry=hf.Retry(attempts=9, wait=0))(body)

    @property
    def done(self) -> list[str]:
        """What happened."""
        return [what for what, *_ in self.world.effects]

    async def has_begun(self) -> None:
        """Wait until a body is under way."""
        await until(lambda: self.begun.acquire(blocking=False))


@pytest.fixture
def slow(world: Any) -> Iterator[Slow]:
    """Payments that wait; let go at the end, so that no thread is left."""
    made = Slow(world)
    yield made
    made.go.set()


def paying(slow: Slow) -> hf.Agent[Any, Any]:
    """An agent that pays once and mails once."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        tool = slow.mail if given == "mail" else slow.pay
        return await asyncio.to_thread(tool, 1)

    return agent


def leave(world: Any, slow: Slow, agent: Any, given: Any = None) -> None:
    """A process whose App is closed while a payment is under way."""

    async def leaves(app: hf.App) -> None:
        await app.start(agent, given, key="k")
        await slow.has_begun()

    world.play(leaves, drain_s=0.02, close_s=0.02)


async def ended(world: Any) -> None:
    """Wait until nobody holds the run."""
    await until(lambda: world.store.owner(world.id()) is None)


@pytest.mark.parametrize("given", ["pay", "mail"])
def test_a_thread_that_outlives_its_closed_app_keeps_the_run_and_its_late_result_is_the_outcome(
    world: Any, slow: Slow, given: str
) -> None:
    """Lost: the next worker asks `verify`, which truly says "not done" twice, and pays beside the living thread."""
    agent = paying(slow)
    leave(world, slow, agent, given)
    assert world.store.owner(world.id()) is not None
    with pytest.raises(RunWaiting, match="driven by another process"):
        world.run(agent, given, wait=0.1, settle_s=0)
    assert slow.done == ["begun"] and slow.verified == []
    slow.go.set()
    asyncio.run(ended(world))
    assert world.run(agent, given, settle_s=0) == "paid 1"
    assert slow.done == ["begun", "done"] and slow.verified == []
    (outcome,) = world.events(Kind.STEP_SUCCEEDED)
    assert outcome.facts["late"] is True


def test_the_record_says_that_a_body_was_left_under_way(world: Any, slow: Slow) -> None:
    """Lost: nobody could tell why the run is not taken over."""
    leave(world, slow, paying(slow))
    (decided,) = world.events(Kind.DECIDED)
    assert (decided.facts["what"], decided.facts["choice"]) == ("sender", "keep")
    assert decided.address.name == "pay" and "until the body or the process has ended" in decided.facts["because"]


def test_a_late_failure_says_nothing_and_the_step_is_in_doubt(world: Any, slow: Slow) -> None:
    """Lost: an exception after the effect would count as an outcome because it came late."""
    agent = paying(slow)
    leave(world, slow, agent)
    slow.raises.append(ConnectionError("the answer was lost"))
    slow.go.set()
    asyncio.run(ended(world))
    assert not world.events(Kind.STEP_SUCCEEDED, Kind.STEP_FAILED)
    assert world.run(agent, settle_s=0) == "paid 1"
    assert len(slow.verified) == 2 and slow.done == ["begun", "begun", "done"]
    assert len({key for _, _, key in world.effects}) == 1


def test_a_thread_that_outlives_its_lease_is_waited_for_and_only_the_owner_writes(world: Any, slow: Slow) -> None:
    """Lost: two outcomes of one decision, or a payment beside a living thread, after a takeover (P3, P4)."""
    agent = paying(slow)
    leave(world, slow, agent)
    world.dead.add(world.store.owner(world.id())[0].id)

    async def takes_over(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: slow.verified or len(world.events(Kind.DECIDED)) == 2)
        assert slow.verified == [] and slow.done == ["begun"]
        slow.go.set()
        return await running

    assert world.play(takes_over, settle_s=0) == "paid 1"
    assert world.events(Kind.DECIDED)[1].facts["choice"] == "wait"
    assert slow.verified == [] and slow.done == ["begun", "done"] and len(world.events(Kind.STEP_SUCCEEDED)) == 1


def test_a_store_that_fails_in_the_middle_of_a_payment_loses_no_receipt(world: Any, slow: Slow) -> None:
    """Lost: a hiccup of the store would put a payment in doubt, or, worse, repeat it, though its thread is at work."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            paid = group.create_task(asyncio.to_thread(slow.pay, 1))
            await slow.has_begun()
            group.create_task(run.note("something else is written"))
        return paid.result()

    def fails(appends: Any) -> None:
        if world.events(Kind.STEP_INTENDED) and not told:
            told.append(len(appends))
            raise StoreUnreachable("a hiccup")

    told: list[int] = []

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(StoreUnreachable):
            await app.run(agent, None, key="k")
        assert world.store.owner(world.id()) is not None, "the lease stays with the thread"
        slow.go.set()
        slow.begun.release()
        return await app.run(agent, None, key="k")

    def prepare(journal: Any) -> None:
        journal.before = fails

    assert world.play(scenario, prepare=prepare, settle_s=0) == "paid 1"
    assert told and slow.done == ["begun", "done"] and slow.verified == []


def test_cancel_now_leaves_a_thread_in_doubt_and_what_it_comes_to_is_recorded_but_changes_no_end(
    world: Any, slow: Slow
) -> None:
    """Lost: the end of a run that somebody stopped at once would change afterwards, or hide that money moved."""
    agent = paying(slow)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await slow.has_begun()
        await app.cancel(world.id(), by="ann", now=True)
        with pytest.raises(RunCancelled, match="In doubt, and left so: pay"):
            await running
        assert world.store.owner(world.id()) is not None, "nobody else unwinds or verifies meanwhile"
        slow.go.set()
        await until(lambda: world.store.owner(world.id()) is None)
        assert world.events()[-1].facts["late"] is True and world.kinds()[-2:] == [Kind.RUN_ENDED, Kind.STEP_SUCCEEDED]

    world.play(scenario, may_leak=True)
    assert world.head().status is Status.CANCELLED and world.head().wake_at is None


def test_cancel_now_records_what_ends_on_the_way_out(world: Any) -> None:
    """Lost: a receipt that was there when the run ended."""
    begun = asyncio.Event()

    @hf.tool(effect="once")
    async def pay(x: int) -> str:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            world.effects.append("finished first")
        return "paid"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await pay(1)

    async def scenario(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await begun.wait()
        await app.cancel(world.id(), by="ann", now=True)
        with pytest.raises(RunCancelled) as cancelled:
            await running
        assert "In doubt" not in str(cancelled.value)

    world.play(scenario)
    assert world.effects == ["finished first"]
    assert [event.kind for event in world.events()][-2:] == [Kind.STEP_SUCCEEDED, Kind.RUN_ENDED]


# --- the registry by itself ------------------------------------------------------------------------------------

PLACE = Place(b"key", "default", "run_1", None)  # type: ignore[arg-type]


def test_an_attempt_that_never_got_a_thread_is_over() -> None:
    """Lost: a step that waits for ever for a thread that does not exist."""
    sender = senders.begins(PLACE, 1, 1)
    sender.in_thread(lambda: None, lambda result, error: None)
    assert sender.is_alive
    sender.not_begun()
    sender.left()
    assert not sender.is_alive and senders.known(PLACE) is None


def test_what_a_body_came_to_is_taken_for_its_own_attempt_only() -> None:
    """Lost: the result of one attempt as the outcome of another."""
    came: Any = object()
    for wanted, expected in (((1, 2), None), ((2, 1), None), ((1, 1), came)):
        sender = senders.begins(PLACE, 1, 1)
        sender.in_thread(lambda: 7, lambda result, error: came)()
        assert senders.known(PLACE) is sender
        assert sender.take(*wanted) is expected
        assert senders.known(PLACE) is None


def test_what_nobody_ever_takes_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a process that keeps every late result of its life."""
    monkeypatch.setattr(senders, "LATE_MAX", 2)
    bodies = []
    for number in range(1, 5):
        sender = senders.begins(PLACE._replace(run=f"run_{number}"), 1, 1)
        bodies.append(sender.in_thread(lambda: 7, lambda result, error: None))
        sender.left()
    for body in bodies:
        body()
    found = {number: senders.known(PLACE._replace(run=f"run_{number}")) for number in range(1, 5)}
    assert [number for number, sender in found.items() if sender is not None] == [3, 4]
    for sender in found.values():
        if sender is not None:
            sender.take(1, 1)


def test_a_fork_takes_no_thread_along() -> None:
    """Lost: a child process that waits for ever for a thread of its parent."""
    sender = senders.begins(PLACE, 1, 1)
    sender.in_thread(lambda: None, lambda result, error: None)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if not sender.is_alive else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sender.is_alive
    sender.not_begun()
    sender.left()


def test_a_task_of_a_loop_that_was_closed_acts_no_more() -> None:
    """Lost: a run that stays with a process for ever because a task of it was never finished."""
    sender = senders.begins(PLACE, 1, 1)

    async def hangs() -> Any:
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    task = loop.create_task(sender.on_loop(hangs()))
    loop.run_until_complete(asyncio.sleep(0))
    assert sender.is_alive
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    assert not sender.is_alive
    asyncio.run(sender.end())
    sender.left()
    assert senders.known(PLACE) is None


def test_an_unknown_outcome_stays_with_a_person_when_nobody_is_left_to_ask(world: Any, slow: Slow) -> None:
    """Lost: after the thread's process is gone, the step is in doubt for whoever takes the run over."""

    @hf.tool(effect="once")
    async def hangs(x: int) -> None:
        world.effects.append(x)
        await asyncio.Event().wait()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await hangs(1)

    async def leaves(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await until(lambda: world.effects)

    world.play(leaves, drain_s=0.02, lease_s=0.3)
    assert world.store.owner(world.id()) is not None, "a thread that it may have left behind cannot be seen"
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    assert world.effects == [1]
