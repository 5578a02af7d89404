"""Compensation: what succeeded is undone in reverse, once, through every crash; what failed stops it and is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import MessageRefused, NotFound, RunBlocked, RunCancelled, RunFailed, RunStopped, Unverified
from holdfast.runtime.tool import declared_latest

BUDGET = hf.Budget(tool_calls=100)


class Trip:
    """A saga of three bookings on the world's list; each undo takes its booking off again."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.breaks: set[str] = set()
        """Undos, by hotel, that fail."""
        self.loses: set[Any] = set()
        """Bookings whose answer is lost."""
        self.dies: set[str] = set()

        self.may_verify = asyncio.Event()
        self.may_verify.set()

        async def was_booked(key: str, what: str, nights: int) -> Any:
            await self.may_verify.wait()
            return hf.Done(f"{what}-{nights}") if ("book", what, key) in world.effects else hf.NotDone()

        async def cancel(result: str, what: str, nights: int, *, idempotency_key: str = hf.INJECTED) -> str:
            assert result == f"{what}-{nights}" or result is None
            if what in self.breaks:
                world.effects.append(("broke", what))
                raise hf.NotDone(f"{what} does not answer")
            if ("cancel", what, idempotency_key) not in world.effects:
                world.effects.append(("cancel", what, idempotency_key))
            if what in self.dies:
                self.dies.discard(what)
                raise world.Crash
            return f"no {what}"

        @hf.tool(effect="once", undo=cancel, verify=was_booked)
        async def book(what: str, nights: int = 2, *, idempotency_key: str = hf.INJECTED) -> str:
            if what == "sold out":
                raise hf.NotDone("nothing is free")
            world.effects.append(("book", what, idempotency_key))
            if what in self.loses:
                raise ConnectionError("the answer was lost")
            return f"{what}-{nights}"

        @hf.tool(effect="once")
        async def tell(what: str) -> None:
            world.effects.append(("tell", what))

        self.book, self.tell = book, tell

        @hf.agent(name="trip", budget=BUDGET, escalate="desk")
        async def agent(run: hf.Run, wishes: list[str]) -> Any:
            try:
                for what in wishes:
                    await book(what)
                await tell("all booked")
            except hf.ToolFailed as failed:
                undone = await run.unwind(because=str(failed))
                await tell("nothing booked")
                return undone
            return "booked"

        self.agent = agent

        @hf.agent(name="careless", budget=BUDGET, escalate="desk")
        async def careless(run: hf.Run, wishes: list[str]) -> Any:
            return [await book(what) for what in wishes]

        self.careless = careless

    @property
    def done(self) -> list[tuple[str, str]]:
        """What happened."""
        return [(what, which) for what, which, *_ in self.world.effects]

    def unwind(self, **more: Any) -> None:
        """Another process gives the command; nobody runs the agent there."""
        self.world.play(lambda app: app.unwind(self.world.id(), by="ann", why="the customer left"), **more)


@pytest.fixture
def trip(world: Any) -> Trip:
    """The saga."""
    return Trip(world)


THREE = ["train", "hotel", "sold out"]
SAGA = [("book", "train"), ("book", "hotel"), ("cancel", "hotel"), ("cancel", "train"), ("tell", "nothing booked")]


def test_a_saga_whose_third_step_fails_is_undone_in_reverse(world: Any, trip: Trip) -> None:
    """Lost: R17. A customer with a train ticket and no hotel, and nobody who knows."""
    assert world.run(trip.agent, THREE) == ["book", "book"]
    assert trip.done == SAGA
    slots = world.state().slots.values()
    assert [slot.address.name for slot in slots if slot.undoes] == ["undo book", "undo book"]
    assert [slot.is_undone for slot in slots if slot.undo] == [True, True, False]
    decided = next(event for event in world.events(Kind.DECIDED) if event.facts["what"] == "unwind")
    assert "nothing is free" in decided.facts["because"] and decided.facts["choice"] == "book, book"
    assert world.run(trip.agent, THREE) == ["book", "book"] and trip.done == SAGA


@pytest.mark.parametrize("is_written", [False, True])
def test_a_saga_survives_a_crash_at_every_commit(world: Any, is_written: bool) -> None:
    """Lost: an undo that is forgotten, or made twice, because the process died in the middle of it."""
    plain = Trip(world)
    world.run(plain.agent, THREE, key="plain")
    commits = world.journal.transactions
    assert commits >= 12
    for at in range(1, commits + 1):
        trip, key = Trip(world), f"k{at}"
        world.effects.clear()
        try:
            world.run(
                trip.agent, THREE, key=key, prepare=lambda j, at=at: j.die_at(at, is_written=is_written), settle_s=0
            )
        except world.Crash:
            pass
        assert _answered(world, trip, key) == ["book", "book"], at
        happened = [what for what in trip.done if what != ("tell", "nothing booked")]
        assert happened == SAGA[:-1], (at, trip.done)


def _answered(world: Any, trip: Trip, key: str) -> Any:
    """Go on to the end; `tell` cannot be verified, so a person says that it did not happen, or did."""
    while True:
        try:
            return world.run(trip.agent, THREE, key=key, settle_s=0)
        except RunBlocked:
            told = ("tell", "nothing booked") in world.effects
            world.answer("it_happened" if told else "it_did_not", trip.agent, key=key)


def test_a_process_that_dies_in_the_middle_of_an_undo_goes_on_with_the_same_key(world: Any, trip: Trip) -> None:
    """Lost: the receiver takes the second request for another cancellation."""
    trip.dies = {"hotel"}
    with pytest.raises(world.Crash):
        world.run(trip.agent, THREE)
    assert world.run(trip.agent, THREE) == ["book", "book"]
    assert trip.done == SAGA
    keys = [event.attempt for event in world.events(Kind.STEP_INTENDED) if event.address.name == "undo book"]
    assert keys == [1, 2, 1]


def test_an_undo_that_fails_stops_the_sequence_and_is_tried_again_by_resume(world: Any, trip: Trip) -> None:
    """Lost: what still stands on an earlier step loses it; or half an unwinding that says it is whole."""
    trip.breaks = {"hotel"}
    with pytest.raises(RunFailed, match="hotel does not answer"):
        world.run(trip.agent, THREE)
    assert trip.done == [("book", "train"), ("book", "hotel"), ("broke", "hotel")]
    trip.breaks = set()
    world.resume()
    assert world.run(trip.agent, THREE) == ["book", "book"]
    assert trip.done[3:] == SAGA[2:]


def test_a_step_in_doubt_is_settled_before_anything_is_undone(world: Any, trip: Trip) -> None:
    """Lost: a booking that had happened after all stays, and the record says that everything is undone."""

    @hf.agent(name="trip", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(trip.book("train"))
                group.create_task(trip.book("sold out"))
        except* hf.ToolFailed:
            pass
        asyncio.get_running_loop().call_later(0.02, trip.may_verify.set)
        return await run.unwind(because="one of two failed")

    trip.loses = {"train"}
    trip.may_verify.clear()
    assert world.run(agent, settle_s=0.05) == ["book"]
    assert trip.done == [("book", "train"), ("cancel", "train")]
    assert world.state().slots[world.events(Kind.STEP_SUCCEEDED)[0].address].is_undone


def test_two_unwindings_at_once_undo_each_step_once(world: Any, trip: Trip) -> None:
    """Lost: two branches that both see the failure cancel one booking twice."""

    @hf.agent(name="trip", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        await trip.book("train")
        await trip.book("hotel")
        return await asyncio.gather(run.unwind(because="a"), run.unwind(because="b"))

    assert world.run(agent) == [["book", "book"], []]
    assert trip.done == SAGA[:-1]


def test_what_the_agent_was_told_to_be_unknown_is_not_passed_over_in_silence(world: Any) -> None:
    """Lost: money that may have moved, in a run that says that all is undone."""

    @hf.tool(effect="once", undo=lambda result, x: world.effects.append(("undone", x)))
    async def pay(x: int) -> None:
        world.effects.append(("paid", x))
        raise ConnectionError("the answer was lost")

    @hf.agent(name="payer", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            await pay(1)
        except Unverified:
            await run.unwind(because="nobody knows")

    with pytest.raises(RunBlocked):
        world.run(agent)
    world.answer("tell_the_agent", agent)
    with pytest.raises(RunFailed, match="Whether pay happened is not known"):
        world.run(agent)
    assert world.effects == [("paid", 1)]
    world.play(lambda app: app.unwind(world.id(), by="ann"))
    with pytest.raises(RunBlocked, match="in_doubt"):
        world.run(agent)
    world.answer("it_happened", agent)
    with pytest.raises(RunFailed):
        world.run(agent)
    assert world.effects == [("paid", 1), ("undone", 1)]


def test_a_composite_unwinds_what_was_made_in_it(world: Any, trip: Trip) -> None:
    """Lost: a part that gives up takes away what the rest of the run stands on, or leaves its own behind."""

    @hf.agent(name="trip", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        @hf.tool(effect="composite")
        async def stay() -> list[str]:
            await trip.book("hotel")
            return await run.unwind(because="no breakfast")

        await trip.book("train")
        first = await stay()
        return [first, await run.unwind(because="no trip at all")]

    assert world.run(agent) == [["book"], ["book"]]
    assert trip.done == SAGA[:-1]


# --- by command ------------------------------------------------------------------------------------------------


def fail(world: Any, trip: Trip) -> None:
    """A run that failed at its third booking, with two that stand."""
    with pytest.raises(RunFailed, match="nothing is free"):
        world.run(trip.careless, THREE)


def go_on(world: Any, trip: Trip, **more: Any) -> str:
    """A process that knows the agent drives the run on; what its caller is told."""
    with pytest.raises((RunFailed, RunStopped, RunCancelled)) as ended:
        world.run(trip.careless, THREE, **more)
    return str(ended.value)


def test_a_failed_run_is_unwound_by_command_and_ends_as_it_had_ended(world: Any, trip: Trip) -> None:
    """Lost: an operator who has to cancel by hand, from a list that nobody wrote."""
    fail(world, trip)
    end = world.events(Kind.RUN_ENDED)[0].facts
    trip.unwind()
    assert "nothing is free" in go_on(world, trip)
    assert trip.done == SAGA[:-1]
    facts = world.events(Kind.RUN_ENDED)[-1].facts
    assert facts.items() >= end.items()
    assert [name for _, name, *_ in facts["undone"]] == ["book", "book"] and facts["unwound_by"] == "ann"
    assert "not_undone" not in facts
    resumed = world.events(Kind.RUN_RESUMED)[-1].facts
    assert (resumed["why"], resumed["by"], resumed["because"]) == ("unwind", "ann", "the customer left")


def test_a_run_that_was_unwound_cannot_be_resumed(world: Any, trip: Trip) -> None:
    """Lost: the agent goes on from bookings that no longer stand."""
    fail(world, trip)
    trip.unwind()
    go_on(world, trip)
    with pytest.raises(MessageRefused, match="was unwound"):
        world.resume()


def test_a_run_whose_agent_unwound_and_failed_cannot_be_resumed_either(world: Any, trip: Trip) -> None:
    """Lost: `resume` tries the third booking again and goes on from the first two, which are cancelled."""

    @hf.agent(name="trip", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        try:
            for what in THREE:
                await trip.book(what)
        except hf.ToolFailed as failed:
            await run.unwind(because=str(failed))
            raise

    with pytest.raises(RunFailed):
        world.run(agent)
    with pytest.raises(MessageRefused, match="was unwound"):
        world.resume()


def test_an_unwinding_by_command_survives_a_crash_at_every_commit(world: Any) -> None:
    """Lost: an undo that is forgotten or made twice, or the agent's code that runs again over what is undone."""
    for is_written in (False, True):
        for at in range(1, 9):
            trip, key = Trip(world), f"k{at}{is_written}"
            world.effects.clear()
            with pytest.raises(RunFailed):
                world.run(trip.careless, THREE, key=key)
            world.play(lambda app, key=key: app.unwind(world.id(key), by="ann"))

            def prepare(journal: Any, at: int = at, is_written: bool = is_written) -> None:
                journal.die_at(at, is_written=is_written)

            try:
                go_on(world, trip, key=key, prepare=prepare)
            except world.Crash:
                go_on(world, trip, key=key)
            assert trip.done == SAGA[:-1], (at, is_written)
            assert world.state(key).status is Status.FAILED
            assert len(world.events(Kind.RUN_ENDED, key=key)) == 2


def test_an_undo_that_fails_by_command_is_told_and_tried_again_by_the_next_command(world: Any, trip: Trip) -> None:
    """Lost: the word "undone" over a booking that stands."""
    fail(world, trip)
    trip.breaks = {"hotel"}
    trip.unwind()
    go_on(world, trip)
    facts = world.events(Kind.RUN_ENDED)[-1].facts
    assert facts["undone"] == [] and len(facts["not_undone"]) == 2
    assert trip.done[2:] == [("broke", "hotel")]
    trip.breaks = set()
    trip.unwind()
    go_on(world, trip)
    assert trip.done[3:] == SAGA[2:4]
    assert "not_undone" not in world.events(Kind.RUN_ENDED)[-1].facts


@pytest.mark.parametrize("happened", [False, True])
def test_a_booking_in_flight_at_the_end_is_settled_first_and_never_begun_again(
    world: Any, trip: Trip, happened: bool
) -> None:
    """Lost: an unwinding that books, or that leaves behind what was booked in the last moment."""
    begun = asyncio.Event()

    async def was_paid(key: str, what: str) -> Any:
        return hf.Done("paid") if ("pay", what) in world.effects else hf.NotDone()

    @hf.tool(effect="once", verify=was_paid, undo=lambda result, what: world.effects.append(("repay", what)))
    async def deposit(what: str) -> str:
        if happened:
            world.effects.append(("pay", what))
        begun.set()
        await asyncio.Event().wait()
        return "paid"

    @hf.agent(name="payer", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        await trip.book("train")
        await deposit("deposit")

    async def stops(app: hf.App) -> None:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        await begun.wait()
        await app.cancel(world.id(), by="ann", now=True)
        with pytest.raises(RunCancelled, match="In doubt, and left so: deposit"):
            await running

    world.play(stops)
    trip.unwind()
    with pytest.raises(RunCancelled):
        world.run(agent, settle_s=0)
    paid = [("pay", "deposit"), ("repay", "deposit")] if happened else []
    assert trip.done == [("book", "train"), *paid, ("cancel", "train")]


def test_a_budget_that_is_used_up_does_not_keep_anything_from_being_undone(world: Any, trip: Trip) -> None:
    """Lost: the cap that stopped the run leaves its bookings standing."""

    @hf.agent(name="careless", budget=hf.Budget(tool_calls=4))
    async def agent(run: hf.Run, given: Any) -> Any:
        return [await trip.book(what) for what in ("train", "hotel", "boat")]

    with pytest.raises(RunStopped):
        world.run(agent)
    trip.unwind()
    with pytest.raises(RunStopped):
        world.run(agent)
    booked = [which for what, which in trip.done if what == "book"]
    assert [which for what, which in trip.done if what == "cancel"] == booked[::-1]
    assert booked == ["train", "hotel"], "a third booking would leave nothing to undo it with"
    assert "not_undone" not in world.events(Kind.RUN_ENDED)[-1].facts


def test_a_run_whose_time_is_up_can_still_be_undone(world: Any, trip: Trip) -> None:
    """Lost: the deadline that stopped the run keeps its bookings standing."""

    @hf.agent(name="careless", budget=hf.Budget(tool_calls=20, wall="1h"))
    async def agent(run: hf.Run, given: Any) -> Any:
        await trip.book("train")
        if not trip.breaks:
            trip.breaks.add("anything")
            world.clock.by_s += 7_200
        return await trip.book("hotel")

    with pytest.raises(RunStopped, match="wall"):
        world.run(agent, wait=9_000)
    trip.unwind()
    with pytest.raises(RunStopped, match="wall"):
        world.run(agent, wait=9_000)
    assert trip.done[-1] == ("cancel", "train") and "not_undone" not in world.events(Kind.RUN_ENDED)[-1].facts


@pytest.mark.parametrize("status", ["waiting", "succeeded"])
def test_only_a_run_that_has_ended_badly_is_unwound(world: Any, trip: Trip, status: str) -> None:
    """Lost: a live run whose steps are undone beneath it, or a result that no longer holds."""

    @hf.agent(name="asks", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        await trip.book("train")
        if status == "waiting":
            await run.ask("Go?")

    if status == "waiting":
        world.play(lambda app: app.start(agent, None, key="k"))
    else:
        world.run(agent)
    with pytest.raises(MessageRefused, match="Nothing was undone"):
        trip.unwind()
    with pytest.raises(NotFound):
        world.play(lambda app: app.unwind("run_0", by="ann"))


def test_a_module_with_two_such_tools_leaves_the_steps_and_says_so(world: Any, trip: Trip) -> None:
    """Lost: an unwinding that does nothing and says that it is done; or one of two is taken, and it was the other."""
    fail(world, trip)
    trip.unwind()
    twins = [hf.tool(effect="once", name="book", undo=cancel)(body) for body in (_a, _b)]

    @hf.agent(name="careless", budget=BUDGET)
    async def other(run: hf.Run, given: Any) -> Any:
        raise AssertionError(f"the agent's code does not run, and has {twins}")

    with pytest.raises(RunFailed):
        world.run(other, THREE)
    facts = world.events(Kind.RUN_ENDED)[-1].facts
    assert facts["undone"] == [] and len(facts["not_undone"]) == 2
    assert (
        f"2 tools of that name with undo= can be found in this process: {__name__}._a, {__name__}._b"
        in (facts["unwind_failed"])
    )
    assert trip.done == SAGA[:2]


def test_a_module_whose_tool_has_no_undo_any_more_leaves_the_steps(world: Any, trip: Trip) -> None:
    """Lost: another agent's tool of the same name undoes what this one did, because it is the only one that could."""
    fail(world, trip)
    trip.unwind()
    mine = hf.tool(effect="once", name="book")(_a)

    @hf.agent(name="careless", budget=BUDGET)
    async def other(run: hf.Run, given: Any) -> Any:
        return await mine(given)

    with pytest.raises(RunFailed):
        world.run(other, THREE)
    assert "no tool of that name with undo=" in world.events(Kind.RUN_ENDED)[-1].facts["unwind_failed"]
    assert trip.done == SAGA[:2]


def test_of_two_customers_whose_tools_one_function_made_the_right_one_is_undone(world: Any, trip: Trip) -> None:
    """Lost: the booking of one customer is cancelled at another's supplier, whose tools were made later."""
    fail(world, trip)
    trip.unwind()
    other, later = Trip(world), Trip(world)
    other.breaks = later.breaks = {"train", "hotel"}
    go_on(world, trip)
    assert trip.done == SAGA[:-1]


def test_of_a_tool_that_was_declared_again_the_latest_is_taken_and_of_what_a_function_made_all() -> None:
    """Lost: a notebook's old cell is called; or one of many customers is picked by the hour of its sign-in."""
    first, second = (hf.tool(effect="once", name="declared twice", undo=cancel)(_a) for _ in range(2))
    assert declared_latest("declared twice") == [second] and first is not second

    def make() -> Any:
        @hf.tool(effect="once", undo=cancel)
        def made_twice(what: str, nights: int) -> None: ...

        return made_twice

    made = [make(), make()]
    assert declared_latest("made_twice") == made


def cancel(result: None, what: str, nights: int) -> None: ...


def _a(what: str, nights: int = 2) -> None: ...


def _b(what: str, nights: int = 2) -> None: ...


def test_what_another_tool_made_is_undone_by_that_tool_and_an_old_result_by_none(world: Any) -> None:
    """Lost: the wrong supplier gets a cancellation; or a booking is cancelled that was never made."""

    def cancel_here(result: str, what: str) -> None:
        world.effects.append(("cancel here", result))

    def cancel_there(result: str, what: str) -> None:
        world.effects.append(("cancel there", result))

    @hf.tool(effect="once", undo=cancel_there)
    async def book_there(what: str) -> str:
        return f"there {what}"

    @hf.tool(effect="once", undo=cancel_here, fallback=[book_there])
    async def book_here(what: str) -> str:
        if what == "hotel":
            raise hf.NotDone("closed")
        return f"here {what}"

    @hf.agent(name="trip", budget=BUDGET)
    async def agent(run: hf.Run, given: Any) -> Any:
        await book_here("train")
        await book_here("hotel")
        return await run.unwind(because="no trip")

    assert world.run(agent) == ["book_here", "book_here"]
    assert world.effects == [("cancel there", "there hotel"), ("cancel here", "here train")]


def test_a_child_that_was_unwound_is_begun_anew_when_its_parent_is_resumed(world: Any, trip: Trip) -> None:
    """Lost: the parent waits for ever for a run that cannot go on; or goes on from what is undone."""
    is_full = [True]

    @hf.agent(name="part", budget=BUDGET)
    async def part(run: hf.Run, given: Any) -> Any:
        return [await trip.book("train"), await trip.book("sold out" if is_full else "hotel")]

    @hf.agent(name="whole", budget=BUDGET)
    async def whole(run: hf.Run, given: Any) -> Any:
        return await run.spawn(part, None)

    with pytest.raises(RunFailed):
        world.run(whole, agents=[part])
    (child,) = [head for head in world.store.heads() if head.agent == "part"]

    async def unwinds(app: hf.App) -> None:
        await app.unwind(child.run_id, by="ann")
        async with asyncio.timeout(20):
            while not (head := world.store.head(child.run_id)).is_unwound or not head.status.is_end:
                await asyncio.sleep(0)

    world.play(unwinds, agents=[part], serves=True)
    assert trip.done == [("book", "train"), ("cancel", "train")], world.store.events(child.run_id)
    is_full.clear()
    world.resume()
    assert world.run(whole, wait=20, agents=[part]) == ["train-2", "hotel-2"]
    assert trip.done[2:] == [("book", "train"), ("book", "hotel")]
    assert len({key for what, which, key in world.effects if (what, which) == ("book", "train")}) == 2
