"""`Toolset` in runs: what a model gets wrong begins nothing. Each test says what would be lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

import holdfast as hf
from holdfast.core.events import Event, Kind
from holdfast.testing.model_server import ModelServer, script, text, tool_uses

SETTINGS = hf.Settings(quiet_s=0.02, park_s=0.06, poll_s=0.02, close_s=0.5)
done: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    """A new world."""
    done.clear()


@hf.tool(effect="read", retry=hf.Retry(attempts=1))
async def find(order: str) -> dict[str, Any]:
    """Find an order."""
    if order == "broken":
        raise ConnectionError("down")
    done.append(("find", order))
    return {"order": order}


@hf.tool(effect="once")
def refund(order: str, cents: int, by: str = "", *, idempotency_key: str = hf.INJECTED) -> str:
    """Refund an order."""
    done.append(("refund", order, cents, threading.current_thread() is threading.main_thread()))
    return f"refunded {cents}"


TOOLS = hf.Toolset(find, refund)


def play(body: Callable[[hf.Run], Any]) -> tuple[Any, list[Event]]:
    """Run this as an agent; its result and its record."""

    @hf.agent
    async def agent(run: hf.Run, given: Any) -> Any:
        return await body(run)

    async def main() -> tuple[Any, list[Event]]:
        async with hf.App("memory:", settings=SETTINGS) as app:
            result = await app.run(agent, None, key="k", wait=0)
            return result, list(app.journal.events(await app.start(agent, None, key="k")))

    return asyncio.run(main())


def test_a_tool_is_called_by_its_name_and_is_a_step() -> None:
    """Lost: effects of a model's calls without a record."""

    async def body(run: hf.Run) -> Any:
        said = [await TOOLS.use("find", {"order": "K-1"}), await TOOLS.use("refund", '{"order": "K-1", "cents": 5}')]
        return [(one.text, one.is_error) for one in said]

    result, events = play(body)
    assert result == [('{"order": "K-1"}', False), ("refunded 5", False)]
    assert done == [("find", "K-1"), ("refund", "K-1", 5, False)]
    assert sum(event.kind is Kind.STEP_SUCCEEDED for event in events) == 2


WRONG: list[tuple[str, Any, str]] = [
    ("refund", {"order": "K-1"}, "cents: Field required"),
    ("refund", {"order": "K-1", "cents": "many"}, "cents: Input should be a valid integer"),
    ("refund", {"order": "K-1", "cents": 1, "idempotency_key": "mine"}, "idempotency_key: Extra inputs"),
    ("refund", '{"order": "K-1", "cents": 1', "no JSON"),
    ("refund", '{"order": "K-1", "cents": 1, "cents": 9999}', "a name stands twice in one object"),
    ("refund", "[1]", "must be a JSON object"),
    ("refund", None, "must be a JSON object"),
    ("refund", '{"order": "\\ud800", "cents": 1}', "lone surrogate"),
    ("refund", '{"order": ' * 100_000, "no JSON"),
    ("refund", '{"order": "K", "cents": ' + "9" * 5000 + "}", "no JSON"),
    ("refund", '{"order": NaN, "cents": 1}', "order"),
    ("pay", {"order": "K-1"}, "There is no tool 'pay'. The tools are: find, refund."),
]


@pytest.mark.parametrize(("name", "arguments", "text"), WRONG)
def test_what_a_model_gets_wrong_is_told_to_it_and_begins_nothing(name: str, arguments: Any, text: str) -> None:
    """Lost: a run that ends because of a typing error of a model, or an effect begun with half of its arguments."""

    async def body(run: hf.Run) -> Any:
        said = await TOOLS.use(name, arguments)
        return [said.text, said.is_error]

    (told, is_error), events = play(body)
    assert text in told and is_error and len(told) < 1_000
    assert done == [] and [event.kind for event in events] == [Kind.RUN_STARTED, Kind.RUN_ENDED]


def test_a_failed_tool_is_told_and_the_run_goes_on() -> None:
    """Lost: one failed read would end an agent whose model could have helped itself."""

    async def body(run: hf.Run) -> Any:
        said = await TOOLS.use("find", {"order": "broken"})
        return [said.text, said.is_error]

    assert play(body)[0] == ["find failed: ConnectionError: down", True]


def test_a_misuse_is_not_told_to_the_model() -> None:
    """Lost: a model that is asked to repair our user's program, while effects run outside their run."""

    async def main() -> None:
        async with hf.App("memory:", settings=SETTINGS):
            with pytest.raises(hf.errors.RunContextLost):
                await TOOLS.use("refund", {"order": "K-1", "cents": 1})

    asyncio.run(main())
    assert done == []


def test_without_an_app_the_same_tools_work() -> None:
    """Lost: a test of an agent's loop that needs a store."""
    said = asyncio.run(TOOLS.use("refund", {"order": "K-1", "cents": 2}))
    assert said == hf.ForModel("refunded 2")


def reply(*calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """What a model asks for."""
    content = [
        {"type": "tool_use", "id": f"t{n}", "name": name, "input": given} for n, (name, given) in enumerate(calls)
    ]
    return {"role": "assistant", "stop_reason": "tool_use", "content": content}


def test_reads_run_together_and_an_effect_runs_alone_in_the_order_asked() -> None:
    """Lost: a refund beside the read that was to come before it; or ten slow reads one after the other."""
    log: list[str] = []
    both = asyncio.Event()

    @hf.tool(effect="read")
    async def look(what: str) -> str:
        log.append(f"+{what}")
        if len(log) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 5)
        log.append(f"-{what}")
        return what

    @hf.tool(effect="once")
    async def pay(what: str) -> str:
        log.append(f"+{what}")
        await asyncio.sleep(0.01)
        log.append(f"-{what}")
        return what

    tools = hf.Toolset(look, pay)

    async def body(run: hf.Run) -> Any:
        calls = [("look", "a"), ("look", "b"), ("pay", "c"), ("nothing", "x"), ("look", "d"), ("pay", "e")]
        return await tools.results(reply(*((name, {"what": what}) for name, what in calls)))

    result, _ = play(body)
    assert [block["tool_use_id"] for block in result] == [f"t{n}" for n in range(6)]
    assert [block["content"] for block in result if not block["is_error"]] == ["a", "b", "c", "d", "e"]
    assert set(log[:2]) == {"+a", "+b"} and log[4:] == ["+c", "-c", "+d", "-d", "+e", "-e"]


def test_a_call_that_was_cut_off_is_not_made() -> None:
    """Lost: an effect with the defaults of the arguments that the model had not written yet."""
    cut = reply(("refund", {"order": "K-1", "cents": 5})) | {"stop_reason": "max_tokens"}

    async def body(run: hf.Run) -> Any:
        return await TOOLS.results(cut)

    ((block,), _) = play(body)
    assert block["is_error"] and "cut off" in block["content"] and done == []


def test_hidden_parameters_go_to_the_tools_that_have_them() -> None:
    """Lost: a connection or a context that a tool needs and no model may see."""

    @hf.tool(effect="read", hidden=("ctx",))
    async def whose(order: str, ctx: Any) -> str:
        return f"{order} {ctx.name}"

    class Context:
        name = "ann"

    tools = hf.Toolset(whose, find)

    async def body(run: hf.Run) -> Any:
        said = await tools.results(reply(("whose", {"order": "K"}), ("find", {"order": "K"})), ctx=Context())
        with pytest.raises(TypeError, match="ctx"):
            await tools.use("whose", {"order": "K"})
        return [block["content"] for block in said]

    assert play(body)[0] == ["K ann", '{"order": "K"}']


def test_a_sync_agent_uses_it_through_run_wait() -> None:
    """Lost: the same shape for agents that are a plain `def`."""

    @hf.agent
    def agent(run: hf.Run, given: Any) -> Any:
        calls = reply(("find", {"order": "K"}), ("refund", {"order": "K", "cents": 1}))
        return [block["content"] for block in run.wait(TOOLS.results(calls))]

    app = hf.App("memory:", settings=SETTINGS)
    assert app.run_sync(agent, None, key="k") == ['{"order": "K"}', "refunded 1"]


def test_a_closing_run_is_not_told_to_the_model() -> None:
    """Lost: a model that reads of our shutdown, and an agent that goes on talking to it."""
    told: list[Any] = []

    @hf.tool(effect="once")
    def pay(x: int) -> None:
        raise ConnectionError("the answer was lost")

    tools = hf.Toolset(pay)

    @hf.agent
    async def agent(run: hf.Run, given: Any) -> Any:
        told.append(await tools.use("pay", {"x": 1}))

    with pytest.raises(hf.errors.RunBlocked):
        hf.App("memory:", settings=SETTINGS).run_sync(agent, None, key="k", wait=0)
    assert told == []


def test_what_no_model_could_call_is_refused_where_it_is_declared() -> None:
    """Lost: a provider's 400 at the first request, in production."""

    async def plain(x: int) -> int:
        return x

    spaced = hf.tool(effect="read", name="find order")(plain)
    with pytest.raises(hf.UsageError, match="no tool"):
        hf.Toolset(plain)  # type: ignore[arg-type]
    with pytest.raises(hf.UsageError, match="Two tools"):
        hf.Toolset(find, find)
    with pytest.raises(hf.UsageError, match="find order"):
        hf.Toolset(spaced)
    assert TOOLS.names == ("find", "refund") and repr(TOOLS) == "Toolset(find, refund)"


def test_a_sync_agent_on_the_sync_sdk_streams_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lost: the whole wire for agents that are a plain `def`: their model calls asked for again, or not streamed."""
    told: list[Any] = []
    dies = [True]

    @hf.agent
    def desk(run: hf.Run, task: str) -> str:
        messages: list[Any] = [{"role": "user", "content": task}]
        asked: Any = {"model": "claude-test", "max_tokens": 100, "tools": TOOLS.schemas("anthropic")}
        while True:
            client = Anthropic(http_client=hf.http_client(sync=True))
            with client.messages.stream(messages=messages, **asked) as stream:
                for piece in stream.text_stream:
                    run.emit(piece)
                reply = stream.get_final_message()
            results = run.wait(TOOLS.results(reply))
            if not results:
                return "".join(block.text for block in reply.content if block.type == "text")
            if dies.pop() if dies else False:
                raise RuntimeError("the process died here")
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]

    async def main() -> str:
        store = f"sqlite:///{tmp_path}/desk.db"
        async with hf.App(store, settings=SETTINGS, on_emit=lambda run, piece: told.append(piece)) as app:
            with pytest.raises(hf.errors.RunFailed, match="died here"):
                await app.run(desk, "hello", key="k")
            await app.resume(await app.start(desk, "hello", key="k"))
            return await app.run(desk, "hello", key="k")

    calls = [("find", {"order": "K-1"}), ("find", {"order": "K-2"})]
    with ModelServer(script([tool_uses(calls, text="I look."), text("Both are there.")])) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
        assert asyncio.run(main()) == "Both are there." and server.count == 2
    assert sorted(done) == [("find", "K-1"), ("find", "K-2")]
    assert "".join(told) == "I look.Both are there."
