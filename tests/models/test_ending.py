"""The end of a budget with a model that always asks for more (R24, R28, R29): on the wire, in every life of a run.

The provider's fake is the judge: what it received is what was told, and what it was asked is what it cost.
"""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.heads import Status
from holdfast.core.state import fold
from holdfast.errors import BudgetExceeded, RunStopped
from holdfast.testing.model_server import ModelServer
from holdfast.testing.policy import Reply, Request, text, tool_uses

PRICE = {"input": 3.0, "output": 15.0}
TURNS_MAX = 200


class Endless:
    """A model that never has enough; it says its last words only when it is asked what is left, if at all."""

    def __init__(self, *, listens: bool = False, name: str = "look", tools: int = 1, changes: bool = True) -> None:
        self.listens, self.name, self.tools, self.changes = listens, name, tools, changes
        self.turns = 0

    def __call__(self, request: Request) -> Reply:
        self.turns += 1
        if self.listens and "last turn" in json.dumps(request.body):
            return text("Half of it is done.")
        page = self.turns if self.changes else 0
        return tool_uses([(self.name, {"page": page * 100 + number}) for number in range(self.tools)])


def loop(server: ModelServer, client: Callable[..., Any], *tools: Any) -> Any:
    """An agent's loop, as anybody writes it."""
    toolset = hf.Toolset(*tools)

    async def body(run: hf.Run) -> str:
        messages: list[Any] = [{"role": "user", "content": "Read it all."}]
        model = client(server)
        for _ in range(TURNS_MAX):
            reply = await model.messages.create(
                model="claude-test", max_tokens=64, messages=messages, tools=toolset.schemas("anthropic")
            )
            results = await toolset.results(reply)
            if not results:
                return str(reply.content[0].text)
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
        raise AssertionError("nothing stopped it")

    return body


@pytest.fixture
def look() -> Any:
    """A tool that finds something else each time."""

    @hf.tool(effect="read")
    async def look(page: int) -> str:
        return f"page {page}: and so on"

    return look


def prompts(server: ModelServer) -> list[str]:
    """What the model read, turn by turn."""
    return [json.dumps(received.body, ensure_ascii=False) for received in server.requests]


def decided(log: list[Event], what: str) -> list[Event]:
    """Decisions of this sort."""
    return [event for event in log if event.kind is Kind.DECIDED and event.facts["what"] == what]


def warned(log: list[Event]) -> list[str]:
    """Parts that were warned of, in order."""
    return [event.facts["name"] for event in log if event.kind is Kind.BUDGET_WARNED]


BUDGETS = {
    "tokens": hf.Budget(tokens=20_000, tool_calls=500, model_calls=500),
    "usd_nano": hf.Budget(usd=0.08, tool_calls=500, model_calls=500),
    "model_calls": hf.Budget(model_calls=6, tool_calls=500),
    "tool_calls": hf.Budget(tool_calls=6, model_calls=500),
}


@pytest.mark.parametrize("part", BUDGETS)
async def test_a_model_that_always_asks_for_more_stops_at_its_cap(desk: Any, client: Any, look: Any, part: str) -> None:
    """Lost: the cap, the warning, the last turn, the hand-over, or the kind of the end."""
    desk.budget = BUDGETS[part]
    desk.price("claude-test", **PRICE)
    with ModelServer(Endless()) as server:
        with pytest.raises(BudgetExceeded) as stopped:
            await desk.once(loop(server, client, look))
        read = prompts(server)
    state, limits = desk.state, BUDGETS[part].limits()
    for name, cap in limits._asdict().items():
        assert cap is None or getattr(state.spent, name, 0) <= cap, f"{name} is over its cap"
    assert state.reserved == (0, 0, 0, 0)
    assert stopped.value.reason == f"budget: {part.removesuffix('_nano')}"
    assert part in warned(desk.log) and len(warned(desk.log)) == len(set(warned(desk.log))), "once for each part"
    assert "of this run are used. Come to an end." in "".join(read), "the model was told"
    assert len(decided(desk.log, "landing")) == 1
    assert "last turn" in read[-1], "the model read that it is its last turn, in its last turn"
    assert stopped.value.handover.startswith("Stopped: budget: ")
    assert "Done: " in stopped.value.handover and "Go on: holdfast resume " in stopped.value.handover
    assert f"--raise {part.removesuffix('_nano')}=+" in stopped.value.handover
    assert "Last words: the answer of " in stopped.value.handover


async def test_one_that_listens_writes_what_is_left(desk: Any, client: Any, look: Any) -> None:
    """Lost: the work: what the agent knows when its budget ends."""
    desk.budget = BUDGETS["tokens"]
    with ModelServer(Endless(listens=True)) as server:
        assert await desk.once(loop(server, client, look)) == "Half of it is done."
    assert desk.state.status is Status.SUCCEEDED and len(decided(desk.log, "landing")) == 1


async def test_a_call_that_does_not_fit_is_told_and_the_second_time_the_run_stops(
    desk: Any, client: Any, look: Any
) -> None:
    """Lost: either: the model's chance, or the end of it."""
    desk.budget = hf.Budget(tool_calls=4, model_calls=500)
    with ModelServer(Endless(tools=3)) as server:
        with pytest.raises(BudgetExceeded):
            await desk.once(loop(server, client, look))
        read = prompts(server)
    refused = [e for e in desk.log if e.kind is Kind.STEP_FAILED and e.facts.get("code") == "over_budget"]
    assert len(refused) == 2, "two of the second turn"
    assert "Not begun: the budget of this run is used up" in read[-1]
    assert len(read) == 3 and desk.state.spent.tool_calls == 4


async def test_model_calls_are_slowed_down_near_the_end(desk: Any, client: Any, look: Any) -> None:
    """Lost: the time in which somebody could look."""
    desk.budget, desk.throttle_s = hf.Budget(model_calls=10, tool_calls=500), 0.2
    starts: list[float] = []

    def model(request: Request) -> Reply:
        starts.append(desk.clock.now())
        return tool_uses([("look", {"page": len(starts)})])

    with ModelServer(model) as server, pytest.raises(BudgetExceeded):
        await desk.once(loop(server, client, look))
    gaps = [late - early for early, late in itertools.pairwise(starts)]
    assert len(starts) == 10
    assert all(gap >= 0.2 for gap in gaps[8:]), "after the eighth"
    (decision,) = decided(desk.log, "throttle")
    assert "one model call at a time" in decision.facts["choice"] and "model_calls" in decision.facts["because"]


async def test_resume_with_more_goes_on_at_the_same_step(desk: Any, client: Any, look: Any) -> None:
    """Lost: the work that was paid for: nothing recorded is asked again."""
    desk.budget = hf.Budget(model_calls=4, tool_calls=500)
    with ModelServer(Endless(listens=False)) as server:
        with pytest.raises(BudgetExceeded):
            await desk.once(loop(server, client, look))
        before = len(server.requests)
        async with desk.app() as app:
            await app.resume(desk.run_id, budget=hf.Budget(model_calls=3))
        with pytest.raises(BudgetExceeded):
            await desk.once(loop(server, client, look))
        assert len(server.requests) == before + 3
        assert not any(received.repeated for received in server.requests)
    assert desk.state.spent.model_calls == 7
    assert len(decided(desk.log, "landing")) == 2, "a raised cap has an end of its own"
    assert warned(desk.log).count("model_calls") == 2


# --- stuck ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "reason"), [([("look", 1)], "same_call"), ([("look", 1), ("find", 2)], "cycle")], ids=["same", "cycle"]
)
async def test_a_model_that_goes_round_is_told_and_stopped(
    desk: Any, client: Any, look: Any, calls: list[tuple[str, int]], reason: str
) -> None:
    """Lost: the money of the commonest failure of agents, with nothing declared."""

    @hf.tool(effect="read")
    async def find(page: int) -> str:
        return "nothing"

    turns: list[Request] = []

    def model(request: Request) -> Reply:
        turns.append(request)
        name, page = calls[(len(turns) - 1) % len(calls)]
        return tool_uses([(name, {"page": page})])

    with ModelServer(model) as server:
        with pytest.raises(RunStopped) as stopped:
            await desk.once(loop(server, client, look, find))
        read = prompts(server)
    assert stopped.value.reason == f"stuck: {reason}"
    assert len(read) <= 8 and desk.state.spent.tool_calls <= 6
    assert "It leads nowhere" in read[-1] and all("It leads nowhere" not in prompt for prompt in read[:-1])


async def test_equal_calls_of_one_turn_stop_nobody(desk: Any, client: Any) -> None:
    """Lost: the model's chance to read what was told: it asked for all of them before."""

    @hf.tool(effect="once")
    async def ring(bell: int) -> str:
        return "rung"

    def model(request: Request) -> Reply:
        done = json.dumps(request.body).count("tool_result")
        return text("done") if done > 11 else tool_uses([("ring", {"bell": 1})] * 3)

    with ModelServer(model) as server:
        assert await desk.once(loop(server, client, ring)) == "done"


async def test_a_model_that_is_asked_the_same_for_ever(desk: Any, client: Any, hello: Any) -> None:
    """Lost: an agent that forgets what it was answered."""
    with ModelServer(lambda request: text("Hello.")) as server:

        @hf.agent(stuck=hf.Stuck(same=3))
        async def forgets(run: hf.Run, given: str) -> None:
            while True:
                await client(server).messages.create(**hello)

        async with desk.app() as app:
            with pytest.raises(RunStopped, match="asked the very same") as stopped:
                await app.run(forgets, "x", key="k")
            state = fold(app.journal.events(await app.start(forgets, "x", key="k")))
        assert stopped.value.reason == "stuck: same_call"
        assert len(server.requests) == 3 and state.spent.model_calls == 3


# --- in every life -------------------------------------------------------------------------------------------------


async def test_what_was_told_is_told_again_on_replay(desk: Any, client: Any, look: Any) -> None:
    """Lost: replay: the prompt would drift, and the run be held at its last turn."""
    desk.budget = hf.Budget(model_calls=6, tool_calls=500)
    with ModelServer(Endless()) as server:
        with pytest.raises(BudgetExceeded):
            await desk.once(loop(server, client, look))
        for _ in range(2):  # stopped, read from its first line on, and stopped at the same step
            async with desk.app() as app:
                await app.resume(desk.run_id)
            with pytest.raises(BudgetExceeded):
                await desk.once(loop(server, client, look))
        assert len(server.requests) == 6
    assert not [event for event in desk.log if event.kind is Kind.DRIFT_FOUND]
    assert len(decided(desk.log, "landing")) == 1 and desk.state.spent.model_calls == 6
    assert [e.step for e in desk.log if e.kind is Kind.STEP_INTENDED].count(StepKind.MODEL) == 6
