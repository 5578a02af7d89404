"""A project among runs that have code: workers carry out what lies there, and no agent widens what it may do.

If these fail, an order is lost with the process that gave it, or an agent freezes its own list of features.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import holdfast as hf
from holdfast.core import accept
from holdfast.core.board import key_of
from holdfast.core.feature import digest, features
from holdfast.core.heads import Status, Why
from holdfast.core.verdict import Result, Verdict
from holdfast.errors import UsageError
from holdfast.memory.record import ProjectRecord
from holdfast.runtime import desk
from holdfast.views.decisions import decisions

LIST = features([{"id": "add", "description": "adds", "check": "command:true"}])
GOOD = [Result(True, True, exit_code=0)]
DONE = Verdict(True, True, False, "passed")


def told(world: Any) -> list[tuple[str, str]]:
    """What it was told, as `show` says it."""
    lines = decisions(world.store.events(desk.id_of(world.store, key=key_of("demo"))))
    return [(line["what"], line["choice"]) for line in lines]


def test_a_worker_carries_out_what_a_dead_process_left(world: Any, shop: Any) -> None:
    """Lost: what was told by a process that died right after, until somebody tells it something else."""

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        return await shop.pay("x")

    record = ProjectRecord(world.store, "demo", clock=world.clock)
    command = accept.command("stop", "demo", by="ann", why="enough", id="m1")
    assert desk.tell(world.store, "demo", command, "m1", "default").is_stored

    async def scenario(app: hf.App) -> Any:
        for _ in range(1_000):
            if record.board().stopped:
                return await app.run(agent, None, key="k")
            await asyncio.sleep(0.005)
        raise AssertionError("nobody carried it out")

    assert world.play(scenario, agents=[agent], serves=True) == "paid x (1)"
    head = world.head(key_of("demo"))
    assert (head.status, head.why, head.wake_at) == (Status.SUSPENDED, Why.COMMAND, None)
    assert told(world) == [
        ("start", "agent @project"), ("suspend", "command"), ("stop", "no further session begins"),
    ]  # fmt: skip


class Dies(Exception):
    """The process dies here."""


WRITES = ("post_all", "register", "claim", "append", "release", "retire")


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("engine", ["world", "quick"])
def test_what_is_told_is_done_or_still_lies_there_at_every_write(
    engine: str, at: int, is_written: bool, request: pytest.FixtureRequest
) -> None:
    """Lost: a claim that holds and that no event has made, or the other way round."""
    place: Any = request.getfixturevalue(engine)
    store, writes = place.store, 0
    ProjectRecord(store, "demo", clock=place.clock).freeze(LIST, by="ann", digest=digest(LIST))
    run = ProjectRecord(store, "demo", clock=place.clock).begin("h:/a", message_id="b", by="me").run

    class Fragile:
        def __getattr__(self, name: str) -> Any:
            method = getattr(store, name)
            if name not in WRITES:
                return method

            def writing(*args: Any, **more: Any) -> Any:
                nonlocal writes
                writes += 1
                if writes == at and not is_written:
                    raise Dies
                result = method(*args, **more)
                if writes == at:
                    raise Dies
                return result

            return writing

    fragile: Any = Fragile()
    with contextlib.suppress(Dies):
        ProjectRecord(fragile, "demo", clock=place.clock).claim(run, "add", message_id="c")
    record = ProjectRecord(store, "demo", clock=place.clock)
    owner = store.owner(record.id)
    place.dead |= set() if owner is None else {owner[0].id}
    is_stored = (at, is_written) != (1, False)
    assert (bool(store.mail(record.id)) or "add" in record.board().held()) is is_stored
    assert bool(store.mail(record.id)) is not ("add" in record.board().held()) or not is_stored
    assert record.claim(run, "add", message_id="c") == ""
    assert [line for line in told(place) if line[0] == "claim"] == [("claim", "session 1 has add")]


def test_code_of_a_run_freezes_raises_and_stops_nothing_and_passes_nothing_outside_of_its_session(world: Any) -> None:
    """Lost: an agent that a prompt talked into it makes the list shorter, or lets itself go on for ever."""
    record = ProjectRecord(world.store, "demo", clock=world.clock)
    record.freeze(LIST, by="ann", digest=digest(LIST))
    record.stop("ann", "enough")
    before = record.board()
    orders: dict[str, Callable[[], Any]] = {
        "freeze": lambda: record.freeze([], by="me", digest=digest([])),
        "go_on": lambda: record.go_on("me"),
        "stop": lambda: record.stop("me"),
        "cap": lambda: record.cap({"usd_nano": 10**12}, "me"),
        "evidence": lambda: record.evidence(
            "", "add", verdict=DONE, results=GOOD, commit="c", tree="t", message_id="m"
        ),
    }  # fmt: skip
    refused = []

    def everything(where: str) -> None:
        for name, order in orders.items():
            try:
                order()
            except UsageError as error:
                assert "not its own to change" in str(error)
                refused.append((where, name))

    @hf.tool(effect="read")
    async def widen(x: int) -> None:
        everything("tool")

    @hf.tool(effect="read")
    def in_thread(x: int) -> None:
        everything("thread")

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        everything("code")
        with hf.detached():
            everything("detached")
        await widen(1)
        await asyncio.to_thread(in_thread, 1)

    world.run(agent)
    assert refused == [(where, name) for where in ("code", "detached", "tool", "thread") for name in orders]
    assert record.board() == before


def test_an_agents_session_tells_its_own_from_its_code(world: Any) -> None:
    """Lost: a session that is a run, which begins, claims and ends in that run."""
    record = ProjectRecord(world.store, "demo", clock=world.clock)
    record.freeze(LIST, by="ann", digest=digest(LIST))

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        session = record.begin("h:/a", message_id="b", by="me", run=run.id)
        assert record.claim(run.id, "add", message_id="c") == ""
        record.evidence(run.id, "add", verdict=DONE, results=GOOD, commit="c", tree="t", message_id="e")
        record.ended(run.id, outcome="passed", commit="c", branch="", digest={}, revision=0, message_id="o")
        return session.number

    assert world.run(agent) == 1 and len(record.board().passing) == 1


def test_a_damaged_project_keeps_no_worker_from_its_other_runs(world: Any, shop: Any) -> None:
    """Lost: all agents of a store, since the log of one project has a damaged row."""
    import apsw

    @hf.agent(name="shop")
    async def agent(run: hf.Run, given: Any) -> Any:
        await run.signal("go")
        return await shop.pay("x")

    record = ProjectRecord(world.store, "demo", clock=world.clock)
    record.stop("ann", "enough")
    with apsw.Connection(str(world.path)) as connection:
        connection.execute("UPDATE events SET meta = '{}' WHERE number = 2")
    command = accept.command("go_on", "demo", by="ann", id="m1")
    assert desk.tell(world.store, "demo", command, "m1", "default").is_stored

    async def scenario(app: hf.App) -> Any:
        running = asyncio.ensure_future(app.run(agent, None, key="k"))
        while world.store.head(world.id()) is None or world.head().status is not Status.SUSPENDED:
            await asyncio.sleep(0.005)
        await app.signal(world.id(), "go")
        return await running

    assert world.play(scenario, agents=[agent], serves=True) == "paid x (1)"
    assert len(world.store.mail(record.id)) == 1, "it is not thrown away"


def test_nobody_can_name_a_run_or_an_agent_like_a_project(world: Any) -> None:
    """Lost: a run under a project's key would take it over."""

    async def fn(run: hf.Run, given: Any) -> Any:
        return 1

    with pytest.raises(UsageError, match="keys that begin with @"):
        world.run(hf.agent(name="shop")(fn), key=key_of("demo"))
    with pytest.raises(UsageError, match="@"):
        world.run(hf.agent(name="@project")(fn))
