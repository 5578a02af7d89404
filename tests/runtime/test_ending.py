"""What a run keeps back, what costs nothing, and how it ends at its cap: without a provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.errors import BudgetExceeded, RunWaiting
from holdfast.testing.model_server import ModelServer, Reply, Request, tool_use


class Hotel:
    """Tools that can be undone, and some that cannot."""

    def __init__(self) -> None:
        self.done: list[str] = []

        async def cancel(result: str, night: int) -> None:
            self.done.append(f"cancelled {night}")

        @hf.tool(effect="idempotent", undo=cancel)
        async def book(night: int) -> str:
            self.done.append(f"booked {night}")
            return "booked"

        @hf.tool(effect="read")
        async def look(night: int) -> str:
            self.done.append(f"looked {night}")
            return "free"

        self.book, self.look = book, look


@pytest.fixture
def hotel() -> Hotel:
    """A world in which things can be undone."""
    return Hotel()


def agent(fn: Callable[..., Any], **caps: Any) -> Any:
    """An agent with these caps."""
    return hf.agent(name="traveller", budget=hf.Budget(**caps), escalate="desk")(fn)


def test_what_can_be_undone_keeps_its_share(world: Any, hotel: Hotel) -> None:
    """Lost: the calls to clean up with: a run would spend them on looking on."""

    async def travels(run: hf.Run, given: Any) -> None:
        for night in range(2):
            await hotel.book(night)
        for night in range(9):
            await hotel.look(night)

    with pytest.raises(BudgetExceeded):
        world.run(agent(travels, tool_calls=6))
    assert hotel.done == ["booked 0", "booked 1", "looked 0", "looked 1"], "two of the six are kept"


def test_what_could_not_be_undone_is_not_begun(world: Any, hotel: Hotel) -> None:
    """Lost: the same, at the last booking: what it keeps must fit beside it."""

    async def travels(run: hf.Run, given: Any) -> None:
        for night in range(9):
            await hotel.book(night)

    with pytest.raises(BudgetExceeded):
        world.run(agent(travels, tool_calls=5))
    assert hotel.done == ["booked 0", "booked 1"], "the third, and what undoes all three, are six"


def test_the_share_is_there_when_it_is_needed(world: Any, hotel: Hotel) -> None:
    """Lost: the undoing, refused by the very cap that kept room for it."""

    async def travels(run: hf.Run, given: Any) -> list[str]:
        for night in range(2):
            await hotel.book(night)
        for night in range(2):
            await hotel.look(night)
        return await run.unwind(because="no room with a view")

    assert len(world.run(agent(travels, tool_calls=6))) == 2
    assert hotel.done[-2:] == ["cancelled 1", "cancelled 0"]
    assert world.state().spent.tool_calls == 6 and world.state().conduct.undoable == set()


def test_a_person_is_asked_though_nothing_is_left(world: Any, hotel: Hotel) -> None:
    """Lost: the way out: a run that may not even ask."""

    async def asks(run: hf.Run, given: Any) -> Any:
        await hotel.look(1)
        answer = await run.ask("Go on?", options=("yes", "no"))
        return answer.value

    poor = agent(asks, tool_calls=1)
    with pytest.raises(RunWaiting):
        world.run(poor, wait=0)
    world.answer("yes", poor)
    assert world.run(poor) == "yes"
    assert world.state().spent.tool_calls == 1


def test_without_a_model_nobody_can_be_told_and_the_first_that_does_not_fit_stops(world: Any, hotel: Hotel) -> None:
    """Lost: the stop of a plain agent: a refusal in its loop would be one failure among others."""
    told: list[str] = []

    async def loops(run: hf.Run, given: Any) -> None:
        for night in range(9):
            try:
                await hotel.look(night)
            except hf.ToolFailed as error:
                told.append(str(error))

    with pytest.raises(BudgetExceeded) as stopped:
        world.run(agent(loops, tool_calls=3))
    assert not told and len(hotel.done) == 3
    assert stopped.value.reason == "budget: tool_calls"
    assert stopped.value.handover.splitlines()[1:] == [
        "Done: look ×3",
        f"Go on: holdfast resume {world.id()} --raise tool_calls=+1",
    ]
    warned = [event.facts for event in world.events(Kind.BUDGET_WARNED)]
    assert [(each["name"], each["spent"], each["share"]) for each in warned] == [("tool_calls", 3, 80)]


def test_a_run_that_ends_well_has_no_hand_over(world: Any, hotel: Hotel) -> None:
    """Lost: the meaning of one."""

    async def looks(run: hf.Run, given: Any) -> str:
        return await hotel.look(1)

    assert world.run(agent(looks, tool_calls=1)) == "free"
    assert world.state().status is Status.SUCCEEDED and "handover" not in world.state().end.facts


def _books_on(hotel: Hotel) -> Any:
    async def books(run: hf.Run, given: Any) -> None:
        for night in range(9):
            await hotel.book(night)

    return books


@pytest.mark.parametrize("is_written", [False, True])
def test_a_kill_anywhere_leaves_the_same_end(world: Any, is_written: bool) -> None:
    """Lost: the cap, the one warning or the hand-over, in a run whose processes die."""
    for number in range(2, 7):
        key, hotel = f"killed {number}", Hotel()
        capped = agent(_books_on(hotel), tool_calls=6)
        with pytest.raises(world.Crash):
            world.run(
                capped,
                key=key,
                prepare=lambda journal, number=number: journal.die_at(number, is_written=is_written),
            )
        with pytest.raises(BudgetExceeded) as stopped:
            world.run(capped, key=key)
        state = world.state(key)
        assert state.spent.tool_calls + len(state.conduct.undoable) <= 6
        assert len(world.events(Kind.BUDGET_WARNED, key=key)) <= 1
        assert "Done: book" in stopped.value.handover


# --- with a model, killed in each phase ----------------------------------------------------------------------------


def _one_more(request: Request) -> Reply:
    """A model that always wants one more."""
    turn = sum(message["role"] == "assistant" for message in request.body["messages"])
    return tool_use("look", {"night": turn}, f"toolu_{turn}")


def _asks_on(server: ModelServer, hotel: Hotel) -> Any:
    tools = hf.Toolset(hotel.look)

    async def asks(run: hf.Run, given: Any) -> None:
        model = AsyncAnthropic(base_url=server.url, api_key="none", http_client=hf.http_client(), max_retries=0)
        messages: list[Any] = [{"role": "user", "content": "Find a room."}]
        for _ in range(20):
            reply = await model.messages.create(
                model="claude-test", max_tokens=16, messages=messages, tools=tools.schemas("anthropic")
            )
            told = await tools.results(reply)
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": told}]

    return asks


@pytest.mark.parametrize("caps", [{"model_calls": 4, "tool_calls": 50}, {"model_calls": 50, "tool_calls": 3}])
def test_a_kill_in_each_phase_of_the_end_changes_nothing_about_it(world: Any, caps: dict[str, int]) -> None:
    """Lost: a phase: warned twice, a last turn told anew in each life, a cap that is passed, a prompt that drifts."""
    with ModelServer(_one_more) as server:
        with pytest.raises(BudgetExceeded):
            world.run(agent(_asks_on(server, Hotel()), **caps), key="whole", throttle_s=0.0)
        total = world.journal.transactions
        for number in range(2, total + 1):
            key, before = f"killed {number}", server.count
            ending = agent(_asks_on(server, Hotel()), **caps)
            with pytest.raises(world.Crash):
                world.run(
                    ending,
                    key=key,
                    throttle_s=0.0,
                    prepare=lambda journal, number=number: journal.die_at(number, is_written=True),
                )
            with pytest.raises(BudgetExceeded) as stopped:
                world.run(ending, key=key, throttle_s=0.0)
            state, log = world.state(key), world.events(key=key)
            decided = [event.facts["what"] for event in log if event.kind is Kind.DECIDED]
            warnings = [event.facts for event in log if event.kind is Kind.BUDGET_WARNED]
            warned = [facts["name"] for facts in warnings if "share" in facts]
            assert decided.count("landing") <= 1 and decided.count("throttle") <= 1
            assert len(warned) == len(set(warned)) and set(caps) & set(warned)
            assert len(warnings) <= len(warned) + 1, "and once of the call that the takeover was charged"
            assert state.spent.model_calls <= caps["model_calls"] and state.spent.tool_calls <= caps["tool_calls"] + 1
            assert server.count - before <= caps["model_calls"] and not state.drifts
            assert stopped.value.reason.startswith("budget: ") and "Go on: holdfast resume" in stopped.value.handover
