"""Leases, takeovers, and stores that fail for a moment. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.events import Effect, Kind, StepKind
from holdfast.core.heads import Head, Status
from holdfast.core.machine import Call
from holdfast.core.policy import Policy
from holdfast.errors import InternalError, JournalCorrupt, JournalError, LeaseLost, RunBlocked, StoreUnreachable
from holdfast.journal.memory import MemoryJournal
from holdfast.journal.sqlite import SqliteJournal
from holdfast.protocols import Append, Lease, Mail, Worker
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.way import Way
from holdfast.testing.clock import ManualClock

BUDGET = hf.Budget(tool_calls=100)


def deploy(fn: Any) -> hf.Agent[Any, Any]:
    """This version of the one agent."""
    return hf.agent(name="shop", budget=BUDGET)(fn)


@pytest.fixture
def pay(quick: Any) -> Any:
    """A tool that pays."""

    @hf.tool(effect="once")
    async def pay(x: int) -> None:
        quick.effects.append(x)

    return pay


async def until(is_so: Any) -> None:
    """Let others run until it is so."""
    while not is_so():
        await asyncio.sleep(0)


def test_a_worker_that_lost_its_lease_changes_nothing_and_its_code_unwinds(world: Any, shop: Any) -> None:
    """Two workers on one run would pay twice, and write a record that fits neither."""
    is_open = False
    entered: list[int] = []
    unwound: list[int] = []

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await shop.pay("A")
        try:
            entered.append(1)
            if len(entered) == 1:
                await until(lambda: is_open)
            await shop.pay("B")
        except asyncio.CancelledError:
            unwound.append(1)
            raise
        return "done"

    async def scenario(app: hf.App) -> None:
        nonlocal is_open
        first = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: entered)
        world.dead |= world.journal.workers
        assert await asyncio.to_thread(world.run, agent) == "done"
        is_open = True
        with pytest.raises(LeaseLost):
            await first

    world.play(scenario)
    assert shop.paid() == ["A", "B"] and unwound == [1]
    kinds = [kind for kind in world.kinds() if kind is not Kind.RUN_RESUMED]
    assert kinds == [Kind.RUN_STARTED, *[Kind.STEP_INTENDED, Kind.STEP_SUCCEEDED] * 2, Kind.RUN_ENDED]


def test_an_effect_that_outlives_its_lease_is_waited_for_by_the_next_owner_here(world: Any, shop: Any) -> None:
    """Two outcomes of one decision, or a payment repeated beside the one that is still under way."""
    is_open = False

    @hf.tool(effect="once")
    async def slow(x: int) -> str:
        shop.done.append(("slow", x))
        await until(lambda: is_open)
        return "first owner"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await slow(1)

    async def scenario(app: hf.App) -> None:
        nonlocal is_open
        first = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: shop.done)
        world.dead |= world.journal.workers
        second = asyncio.ensure_future(asyncio.to_thread(world.run, agent))
        await until(lambda: world.events(Kind.DECIDED))
        assert not world.events(Kind.STEP_SUCCEEDED, Kind.ATTEMPT_FAILED, Kind.QUESTION_ASKED)
        is_open = True
        with pytest.raises(LeaseLost):
            await first
        assert await second == "first owner"

    world.play(scenario)
    assert shop.done == [("slow", 1)]
    (outcome,) = world.events(Kind.STEP_SUCCEEDED)
    assert outcome.facts["late"] is True
    assert world.state().spent.tool_calls == 2, "the attempt, and the allowance of the takeover"


def test_a_lease_that_ran_out_while_the_process_was_stopped_begins_nothing(quick: Any, pay: Any) -> None:
    """After a closed laptop's night another worker has the run: an effect begun now is the second one."""
    clock = ManualClock()
    quick.store._clock = clock.now

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await pay(1)
        if len(quick.effects) == 1:
            clock.jump(31)
        await pay(2)

    async def scenario(app: hf.App) -> None:
        with pytest.raises(LeaseLost):
            await app.run(agent, None, key="k")

    quick.play(scenario, clock=clock, lease_s=30)
    assert quick.effects == [1]


class Overtaken(MemoryJournal):
    """Its process is stopped when an effect was accepted, until somebody else has the run; it renews its lease then."""

    stopped: Callable[[Lease], None]

    def append(self, appends: Sequence[Append]) -> list[JournalError | None]:
        results = super().append(appends)
        for append in appends:
            if [event.kind for event in append.events] == [Kind.STEP_INTENDED]:
                self.stopped(append.lease)
        return results


def test_a_lease_that_is_renewed_after_a_takeover_brings_nothing_back(quick: Any, pay: Any) -> None:
    """A process that was stopped renews its lease as soon as it goes on: the effect that was accepted before, and
    begun now, is one that another worker has already settled."""
    clock = ManualClock()
    quick.store = store = Overtaken(clock=clock.now)

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await pay(1)

    async def scenario(app: hf.App) -> None:
        def stopped(lease: Lease) -> None:
            clock.jump(31)
            store.register(Worker("other"), 30.0)
            assert [claim.lease.run_id for claim in store.claim("other", run_ids=[lease.run_id])] == [lease.run_id]
            app._worker._renew()  # as its thread does

        store.stopped = stopped
        with pytest.raises(LeaseLost):
            await app.run(agent, None, key="k")

    quick.play(scenario, clock=clock, lease_s=30)
    assert quick.effects == []


def test_a_run_dropped_over_a_lapsed_lease_that_nobody_took_is_not_lost(quick: Any) -> None:
    """The worker renews and lives on; a run that it holds but does not drive would wait until its restart."""
    clock = ManualClock()
    quick.store._clock = clock.now

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        if not quick.effects:
            quick.effects.append(1)
            clock.jump(31)

        @hf.tool(effect="read")
        async def look(x: int) -> int:
            return x

        return await look(1)

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(LeaseLost):
            await app.run(agent, None, key="k")
        app._worker._renew()  # the thread does so when its time comes; nobody waits for real here
        again = asyncio.ensure_future(app.run(agent, None, key="k"))
        for _ in range(50):
            await clock.advance(0.5)
        assert again.done(), quick.store.owner(quick.id())
        return again.result()

    assert quick.play(scenario, clock=clock, lease_s=30) == 1


def test_a_store_that_fails_once_does_not_strand_the_run_in_a_living_worker(quick: Any, shop: Any) -> None:
    """One full disk for a second, and every run of that second waits for a restart that nobody plans."""
    failures = [StoreUnreachable("disk full")]

    @hf.tool(effect="read")
    async def look(x: int) -> int:
        return x

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await look(x) for x in range(3)]

    def prepare(journal: Any) -> None:
        def before(appends: Any) -> None:
            if journal.transactions == 2 and failures:
                raise failures.pop()

        journal.before = before

    async def scenario(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        async with asyncio.timeout(5):
            while quick.store.head(quick.id()).status is not Status.SUCCEEDED:
                await asyncio.sleep(0)

    quick.play(scenario, prepare=prepare, agents=[agent], serves=True)
    assert not failures


def test_one_damaged_run_does_not_stop_the_worker(quick: Any) -> None:
    """One bad row, and no run gets its mail, no lease is renewed, and the whole service stands still."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.sleep(0.01)
        return given

    async def scenario(app: hf.App) -> Any:
        await app.start(agent, 2, key="good")
        async with asyncio.timeout(5):
            return await app.run(agent, 3, key="better")

    def prepare(journal: Any) -> None:
        real = journal._journal

        class Damaged:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def events(self, run: str, after: int = 0) -> Any:
                if run == quick.id("bad"):
                    raise JournalCorrupt("row 7 is not what was written")
                return real.events(run, after)

        journal._journal = Damaged()

    quick.play(lambda app: _start_only(app, agent, "bad"))
    quick.store._runs[quick.id("bad")].worker_id = None  # left behind, due
    assert quick.play(scenario, prepare=prepare, agents=[agent], serves=True) == 3
    assert quick.head("good").status is Status.SUCCEEDED


async def _start_only(app: hf.App, agent: Any, key: str) -> None:
    async def nothing(runs: Any) -> int:
        return 0

    app._worker.claim = nothing
    await app.start(agent, 1, key=key)


def test_a_bug_of_ours_in_a_step_is_raised_and_does_not_hang(quick: Any) -> None:
    """A caller that waits for ever cannot report the bug, and the run would be nobody's."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        place = current.place()
        assert place is not None

        async def attempt(begun: Any) -> Any:
            raise ZeroDivisionError("a bug of ours")

        plan = Attempts(
            call=Call("", "buggy", "", StepKind.TOOL, Effect.ONCE),
            args=b"{}",
            policy=lambda: Policy(retry=hf.Retry(attempts=1)),
            ways=(Way(attempt=attempt),),
        )
        await place.driver.step(plan)

    async def scenario(app: hf.App) -> None:
        async with asyncio.timeout(5):
            with pytest.raises(InternalError, match="a bug of ours"):
                await app.run(agent, None, key="k")

    quick.play(scenario)
    assert quick.store.owner(quick.id()) is None


def test_a_bug_of_ours_before_the_run_has_begun_reaches_the_caller(quick: Any, monkeypatch: Any) -> None:
    """Lost: whoever waits for the run; it is claimed again and again, and nobody is told why."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return "done"

    async def breaks(*_: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    async def scenario(app: hf.App) -> None:
        async with asyncio.timeout(5):
            with pytest.raises(InternalError, match="a bug of ours"):
                await app.run(agent, None, key="k")

    with monkeypatch.context() as patch:
        patch.setattr("holdfast.runtime.mailroom.open_mail", breaks)
        quick.play(scenario)
    assert quick.run(agent) == "done"


def test_sigterm_lets_an_effect_finish_and_gives_the_run_back(world: Any, shop: Any) -> None:
    """A deploy in the middle of a payment would leave it in doubt, or the run without an owner for 30 s."""
    is_open = False

    @hf.tool(effect="once")
    async def slow(x: int) -> str:
        shop.done.append(("slow", x))
        await until(lambda: is_open)
        return "charged"

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        first = await slow(1)
        return [first, await shop.pay("B")]

    def opened() -> None:
        nonlocal is_open
        is_open = True

    async def leaves(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await until(lambda: shop.done)
        asyncio.get_running_loop().call_later(0.02, opened)

    world.play(leaves, drain_s=5)
    assert shop.done == [("slow", 1)]
    assert world.store.owner(world.id()) is None
    assert world.head().status is Status.SUSPENDED and world.head().why == "shutdown"
    assert world.run(agent) == ["charged", "paid B (1)"]
    assert len(shop.done) == 2 and not world.events(Kind.QUESTION_ASKED)


def test_a_caller_that_waits_does_not_take_a_run_again_that_was_given_back_at_the_end(world: Any, shop: Any) -> None:
    """A web handler waits in `app.run` while SIGTERM closes the App: what its run had in flight would begin once more,
    in a process that is about to be killed."""
    begun: list[int] = []

    @hf.tool(effect="read")
    async def slow(x: int) -> None:
        begun.append(x)
        await asyncio.Event().wait()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await slow(1)

    told: list[BaseException] = []

    async def waits(app: hf.App) -> None:
        try:
            await app.run(agent, None, key="k")
        except hf.errors.RunWaiting as waiting:
            told.append(waiting)

    async def leaves(app: hf.App) -> None:
        handler = asyncio.create_task(waits(app))
        await until(lambda: begun)
        tasks.append(handler)

    tasks: list[Any] = []
    world.play(leaves)
    assert begun == [1]
    assert world.head().status is Status.SUSPENDED and world.head().why == "shutdown"
    assert world.store.owner(world.id()) is None
    assert "suspended: shutdown" in str(told[0]) and tasks[0].done()


def test_an_effect_that_outlasts_the_drain_is_in_doubt_and_not_repeated(world: Any, shop: Any) -> None:
    """SIGKILL follows SIGTERM: what is still in flight then must not be begun again by the next process."""

    @hf.tool(effect="once")
    async def hang(x: int) -> None:
        shop.done.append(("hang", x))
        await asyncio.Event().wait()

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await hang(1)

    async def leaves(app: hf.App) -> None:
        await app.start(agent, None, key="k")
        await until(lambda: shop.done)

    world.play(leaves, drain_s=0.02, lease_s=0.3)
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    assert shop.done == [("hang", 1)]


def test_two_apps_on_one_key_drive_it_once_and_both_get_the_result(world: Any, shop: Any) -> None:
    """Two web workers that get the same request would both act."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.sleep(0.05)
        return await shop.pay("A")

    async def scenario(app: hf.App) -> list[Any]:
        return await asyncio.gather(
            app.run(agent, None, key="k"),
            app.run(agent, None, key="k"),
            asyncio.to_thread(world.run, agent, wait=None),
        )

    assert world.play(scenario) == ["paid A (1)"] * 3
    assert shop.paid() == ["A"]


@pytest.mark.timeout(15)
def test_what_others_leave_is_seen_when_the_bell_rings_not_when_the_worker_looks(world: Any) -> None:
    """Lost: a person who answers waits up to a second for each run that goes on."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.signal("paid")

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await until(lambda: world.kinds()[-1:] == [Kind.RUN_SUSPENDED])
        other = SqliteJournal(world.path, clock=world.clock.now)
        posted = await asyncio.to_thread(other.post, world.id(), "m1", accept.signal("paid", by="ann", body=b"7"))
        assert posted.is_stored
        other.close()
        return await running

    assert world.play(scenario, serves=True, agents=[agent], poll_s=3_600, park_s=3_600)["value"] == 7


def failing_once(world: Any, name: str, *, is_done: bool) -> Any:
    """Prepares a process whose first call of this name fails, though it was done, or was not."""
    calls: list[int] = []

    def prepare(journal: Any) -> None:
        real = journal._journal

        class Failing:
            def __getattr__(self, asked: str) -> Any:
                return getattr(real, asked)

        def call(*args: Any, **how: Any) -> Any:
            calls.append(1)
            result = getattr(real, name)(*args, **how) if is_done or len(calls) > 1 else None
            if len(calls) == 1:
                raise StoreUnreachable("the connection broke")
            return result

        journal._journal = Failing()
        setattr(journal._journal, name, call)

    return prepare


@pytest.mark.parametrize(("name", "is_done"), [("claim", True), ("claim", False), ("events", False)])
def test_a_store_that_fails_as_a_run_is_taken_keeps_it_from_nobody(quick: Any, name: str, is_done: bool) -> None:
    """Lost: P2. The worker lives and renews, so nobody may take what it holds and does not know of; or the run is
    given back as one that only a message wakes."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.note("begun")
        if not quick.effects:
            quick.effects.append(1)
            raise quick.Crash
        return given

    with pytest.raises(quick.Crash):
        quick.run(agent, 7)

    async def scenario(app: hf.App) -> None:
        async with asyncio.timeout(5):
            while quick.store.head(quick.id()).status is not Status.SUCCEEDED:
                await asyncio.sleep(0)

    quick.play(scenario, prepare=failing_once(quick, name, is_done=is_done), agents=[agent], serves=True)


def test_a_store_that_fails_as_a_step_reads_it_is_no_bug_of_ours(quick: Any) -> None:
    """Lost: the reason. Whoever waits is told to report a bug, while the store was away for a moment."""

    @hf.agent(name="leaf", budget=BUDGET)
    async def leaf(run: hf.Run, given: Any) -> Any:
        if not quick.effects:
            quick.effects.append(1)
            raise quick.Crash
        return given

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return await run.spawn(leaf, given)

    with pytest.raises(quick.Crash):
        quick.run(agent, 1, agents=[leaf])
    (child,) = quick.state().children

    def prepare(journal: Any) -> None:
        journal.head = failing_for(journal, child)

    async def scenario(app: hf.App) -> Any:
        with pytest.raises(StoreUnreachable):
            await app.run(agent, 1, key="k")
        return await app.run(agent, 1, key="k")

    assert quick.play(scenario, prepare=prepare, agents=[leaf, agent]) == 1


def failing_for(journal: Any, run: str) -> Any:
    """The head of this run cannot be read once, when a step asks for it."""
    failures = [StoreUnreachable("the connection broke")]

    def head(asked: str) -> Any:
        task = asyncio.current_task()
        if asked == run and failures and task is not None and task.get_name().startswith("agent"):
            raise failures.pop()
        return journal._journal.head(asked)

    return head


def test_a_renewal_counts_from_before_the_store_was_asked(quick: Any, pay: Any) -> None:
    """Lost: P3 and P4. A store that is slow to answer counts the lease from when it wrote it: after that, and before
    this worker believes so, another one has the run."""
    clock = ManualClock()
    quick.store._clock = clock.now

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        clock.jump(25)  # since the store has written the lease it is 30
        await pay(1)

    def prepare(journal: Any) -> None:
        register = journal.register

        def slow(worker: Any, ttl_s: float) -> None:
            register(worker, ttl_s)
            clock.jump(5)

        journal.register = slow

    async def scenario(app: hf.App) -> None:
        with pytest.raises(LeaseLost):
            await app.run(agent, None, key="k")

    quick.play(scenario, prepare=prepare, clock=clock, lease_s=30)
    assert quick.effects == []


async def test_runs_that_are_started_together_are_claimed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a transaction more, whenever many runs begin: the bell that rings for them rings at their own worker too,
    which would take some of them at once, and the rest of them afterwards."""
    journal, taken = MemoryJournal(clock=(clock := ManualClock()).now), list[int]()
    original = journal.claim

    def claim(*args: Any, **named: Any) -> Any:
        found = original(*args, **named)
        taken.append(len(found))
        return found

    @deploy
    async def agent(run: hf.Run, given: int) -> int:
        return given

    monkeypatch.setattr(journal, "claim", claim)
    async with hf.App(journal, clock=clock, agents=[agent]) as app:
        await asyncio.gather(*(app.start(agent, number, key=str(number)) for number in range(150)))
        assert [count for count in taken if count] == [150]
        assert journal.post(
            "run_else", "start", accept.start(agent="shop", key="else", input_digest="d", limits=None, body=b"1")
        ).is_stored
        await clock.settle()
        assert taken[-1] == 1, "what others start is taken as before"


class Asked(MemoryJournal):
    """Counts what it is asked about single runs."""

    def __init__(self) -> None:
        super().__init__(clock=time.time)
        self.asked: Counter[str] = Counter()

    def mail(self, run_id: str) -> list[Mail]:
        self.asked["mail"] += 1
        return super().mail(run_id)

    def head(self, run_id: str) -> Head | None:
        self.asked["head"] += 1
        return super().head(run_id)


async def test_runs_that_start_together_ask_the_store_for_nothing_each_by_itself() -> None:
    """On a server each question is a round trip: one for each run cost a tenth of their time."""

    @deploy
    async def agent(run: hf.Run, given: int) -> int:
        return given

    journal = Asked()
    async with hf.App(journal) as app:
        assert await asyncio.gather(*(app.run(agent, number, key=str(number)) for number in range(200))) == [
            *range(200)
        ]
    assert journal.asked == {}


def test_what_has_become_of_a_run_is_told_once(world: Any, caplog: Any) -> None:
    """Lost: what is new, among lines that say again and again that the same run still waits."""

    @deploy
    async def agent(run: hf.Run, given: Any) -> Any:
        return (await run.ask("Go on?", options=["yes"])).value

    async def scenario(app: hf.App) -> None:
        run = await app.start(agent, None, key="k")
        await until(lambda: (head := app.journal.head(run)) is not None and head.status is Status.SUSPENDED)
        await until(lambda: app.journal.owner(run) is None)
        head = app.journal.head(run)
        await app.answer(run, head.questions[0].id, "yes", by="ann")
        assert await app.run(agent, None, key="k") == "yes"

    with caplog.at_level(logging.INFO, "holdfast"):
        world.play(scenario, agents=[agent])
    told = [line.partition("(k) ")[2] for line in caplog.messages]
    assert [line.partition(" (")[0] for line in told if "after event" not in line] == [
        "begins.",
        "suspended",
        "succeeded",
    ]
