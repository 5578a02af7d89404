"""Planted bugs of the wire: each breaks one promise of a model call in a line or two, and a check must see it.

A check that passes with the bug proves nothing, and one that fails without it is wrong; either fails the test.

name             what is broken                                                        check
===============  ====================================================================  =====================
early_end        the end of a stream is told before the commit that holds it           end_told
silent_prefix    what was read of a stream is not recorded before what follows it      killed_while_reading
loud_shutdown    a deploy records the beginning of each open stream                    deployed_while_reading
no_memory        a retry loop's call is a new one each time                            stubborn
by_the_time      whether a call is a repeat is found anew on replay                    stubborn_beside_another
free_break       a stream that broke off costs nothing                                 broken
unnamed_way      which model was asked is not recorded                                 killed_at_the_fallback
leaked_turn      a call that is over keeps its place in the queue                      full_queue
wrong_base       a stored request names another one than it changes                    conversation
swallowed_bug    a bug of ours is told to the SDK, which tries again                   broken_parser
kept_runs        what is remembered of a run keeps it in memory                        many_runs
===============  ====================================================================  =====================
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx2
import pytest
from anthropic import AsyncAnthropic

import holdfast as hf
from holdfast.core.events import Charge, Kind
from holdfast.core.slot import Slot
from holdfast.core.state import State
from holdfast.errors import InternalError, JournalError
from holdfast.models import channel, exchange, memory
from holdfast.models.conversation import Conversations, request_of
from holdfast.models.repeats import Repeats
from holdfast.runtime import gate, steps
from holdfast.runtime.calls import Calls
from holdfast.runtime.record import Record
from holdfast.testing.model_server import ModelServer, text

Patch = pytest.MonkeyPatch
Check = Callable[[Any, Any], Awaitable[list[str]]]
LONG = "one two three four five six seven eight nine ten"


class Bug(NamedTuple):
    """`seen` is a part of what the check says of it, so that no other failure passes for having caught it."""

    plant: Callable[[Patch], None]
    check: Check
    seen: str


def sdk(server: Any, attempts: int = 2, **options: Any) -> AsyncAnthropic:
    """The SDK's own client on ours; its own retries take no time."""
    http = hf.http_client(retry=hf.Retry(attempts=attempts, wait=0), **options)
    return AsyncAnthropic(base_url=server.url, api_key="k", http_client=http)


async def said_by(call: Awaitable[Any]) -> str:
    """Its result, or what it raised."""
    try:
        return str(await call)
    except (hf.RunError, InternalError, anthropic.APIError, httpx2.HTTPError) as error:
        return f"{type(error).__name__}: {error}"


# --- streams ---------------------------------------------------------------------------------------------------


def early_end(patch: Patch) -> None:
    real = channel.Channel.pass_on

    def pass_on(self: Any, data: bytes) -> None:
        real(self, data)
        if b"message_delta" in data:
            self.finish(self.data + b'event: message_stop\ndata: {"type": "message_stop"}\n\n')

    patch.setattr(channel.Channel, "pass_on", pass_on)


async def end_told(desk: Any, hello: Any) -> list[str]:
    """A reader looks into the store when it gets the end."""
    wrong: list[str] = []
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, every_s=0.01)
        async with desk.app() as app:

            async def body(run: hf.Run) -> None:
                async for event in await sdk(server).messages.create(**hello, stream=True):
                    kinds = {each.kind for each in app.journal.events(run.id)}
                    if event.type == "message_stop" and Kind.STEP_SUCCEEDED not in kinds:
                        wrong.append("the end was told before it was recorded")

            try:
                await said_by(app.run(desk.agent(body), "input", key="k"))
            except JournalError as error:  # the run may have ended, and be given back, before that commit
                wrong.append(str(error))
    return wrong


def silent_prefix(patch: Patch) -> None:
    patch.setattr(Record, "_add_parts", lambda self, address: None)


async def _left_while_reading(desk: Any, hello: Any, *, acts: bool) -> tuple[list[str], str, int]:
    """A process ends in the middle of a stream; what it had heard, and what came of the run in the next one."""
    heard: list[str] = []
    numbers = itertools.count(1)
    with ModelServer(lambda request: text(f"{next(numbers)} {LONG}")) as server:
        server.fault(on=1, stall_after=5)

        async def body(run: hf.Run) -> str:
            async for event in await sdk(server).messages.create(**hello, stream=True):
                if event.type == "content_block_delta":
                    heard.append(event.delta.text)  # type: ignore[union-attr]
                    if acts:
                        await run.note(heard[-1])
            return "to the end"

        async with desk.app() as app:
            await app.start(desk.agent(body), "input", key="k")
            async with asyncio.timeout(5):
                while not heard:
                    await asyncio.sleep(0.005)
        return heard, await said_by(desk.once(body)), server.count


async def killed_while_reading(desk: Any, hello: Any) -> list[str]:
    """Something was done about the beginning: it must not be another one after the crash."""
    _, said, count = await _left_while_reading(desk, hello, acts=True)
    is_told = "the process ended in the middle" in said and count == 1
    return [] if is_told else [f"asked {count} times, though something was done about the first: {said}"]


def loud_shutdown(patch: Patch) -> None:
    real = Record.add

    def add(self: Record, event: Any) -> None:
        self._add_parts(event.address)
        real(self, event)

    patch.setattr(Record, "add", add)


async def deployed_while_reading(desk: Any, hello: Any) -> list[str]:
    """Nothing was done about the beginning: the next process asks again."""
    _, said, _ = await _left_while_reading(desk, hello, acts=False)
    return [] if said == "to the end" else [f"a deploy failed a run: {said}"]


def free_break(patch: Patch) -> None:
    real = exchange.Exchange._lost  # type: ignore[attr-defined]
    patch.setattr(exchange.Exchange, "_lost", lambda *given: real(*given)._replace(charge=Charge(model_calls=1)))


async def broken(desk: Any, hello: Any) -> list[str]:
    """The provider breaks off in the middle, and bills what it had said."""
    with ModelServer(lambda request: text(LONG)) as server:
        server.fault(on=1, cut_after=4)

        async def body(run: hf.Run) -> None:
            async for _ in await sdk(server).messages.create(**hello, stream=True):
                pass

        await said_by(desk.once(body))
    spent = desk.state.spent.tokens
    return [] if spent > 0 else [f"half an answer was charged {spent} tokens"]


# --- retries ---------------------------------------------------------------------------------------------------


def no_memory(patch: Patch) -> None:
    patch.setattr(Repeats, "before", lambda *given: None)


async def _stubborn(server: Any, hello: Any, wait_s: float = 0.0) -> str:
    said = ""
    for _ in range(3):
        said = await said_by(sdk(server).messages.create(**hello))
        if "Error" not in said:
            return "answered"
        await asyncio.sleep(wait_s)
    return "gave up"


async def stubborn(desk: Any, hello: Any) -> list[str]:
    """A retry loop around the SDK, around our policy of two attempts."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=2, status=500)
        said = await said_by(desk.once(lambda run: _stubborn(server, hello)))
        return [] if (said, server.count) == ("gave up", 2) else [f"{server.count} requests for one call: {said}"]


def by_the_time(patch: Patch) -> None:
    patch.setattr(Slot, "repeated", lambda self, *, is_own: None)


async def stubborn_beside_another(desk: Any, hello: Any) -> list[str]:
    """The other branch is slow live, and at once on replay where it was."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, times=2, status=500)

        gave_up = asyncio.Event()

        async def slow() -> str:
            await gave_up.wait()
            return "slow"

        async def other(run: hf.Run) -> None:
            await run.step("slow", slow)
            await run.step("more", lambda: "more")

        async def loop() -> str:
            said = await _stubborn(server, hello, 0.03)
            gave_up.set()
            return said

        async def body(run: hf.Run) -> str:
            said, _ = await asyncio.gather(loop(), other(run))
            return said

        live, replayed = await desk.twice(body)
    return [] if live == replayed else [f"live it {live}, on replay it {replayed}"]


def unnamed_way(patch: Patch) -> None:
    real = State.apply

    def apply(self: State, event: Any) -> None:
        facts = event.facts if '"way"' in event.meta else {}
        if facts:
            facts = {name: value for name, value in facts.items() if name not in ("way", "by", "next")}
            event = event._replace(meta=steps.meta(**facts))
        real(self, event)

    patch.setattr(State, "apply", apply)


async def killed_at_the_fallback(desk: Any, hello: Any) -> list[str]:
    """The process ends while the second model is asked: the first, which is overloaded, is not asked again."""
    with ModelServer(lambda request: text("hi")) as server:
        server.fault(on=1, status=529)
        server.fault(on=2, stall_after=0)

        async def body(run: hf.Run) -> str:
            answer = await sdk(server, fallback="claude-other").messages.create(**hello)
            return answer.content[0].text  # type: ignore[union-attr]

        async with desk.app() as app:
            await app.start(desk.agent(body), "input", key="k")
            await asyncio.to_thread(server.wait_for, 2)
        await said_by(desk.once(body))
        asked = [request.body["model"] for request in server.requests]
    wanted = ["claude-test", "claude-other", "claude-other"]
    return [] if asked == wanted else [f"asked {asked}"]


# --- the queue, the store, the memory --------------------------------------------------------------------------


def leaked_turn(patch: Patch) -> None:
    real = gate.Gate.turn

    class Leaky:
        def __init__(self, held: Any) -> None:
            self.held = held

        async def __aenter__(self) -> None:
            await self.held.__aenter__()

        async def __aexit__(self, *raised: Any) -> None:
            leaks.append(self.held)

    leaks: list[Any] = []
    patch.setattr(gate.Gate, "turn", lambda self, account: Leaky(real(self, account)))


async def full_queue(desk: Any, hello: Any) -> list[str]:
    """More calls at once than there are places in the queue."""
    count = hf.Settings().model_calls_max + 6
    with ModelServer(lambda request: text("hi")) as server:

        async def ask(client: Any, number: int) -> None:
            await client.messages.create(**hello | {"messages": [{"role": "user", "content": str(number)}]})

        async def body(run: hf.Run) -> str:
            client = sdk(server)
            await asyncio.gather(*(ask(client, number) for number in range(count)))
            return "all"

        run = asyncio.ensure_future(said_by(desk.once(body)))
        try:
            said = await asyncio.wait_for(run, 5)
        except TimeoutError:
            said = f"stuck after {server.count} calls"
    return [] if said == "all" else [f"the queue is {said}"]


def wrong_base(patch: Patch) -> None:
    real = Conversations._number  # type: ignore[attr-defined]
    patch.setattr(Conversations, "_number", lambda self, turn: max(2, real(self, turn) - 2) if real(self, turn) else 0)


async def conversation(desk: Any, hello: Any) -> list[str]:
    """Each request of a long conversation is read back from the record, and compared with what the provider got."""
    numbers = itertools.count(1)
    with ModelServer(lambda request: text(f"answer {next(numbers)}")) as server:

        async def body(run: hf.Run) -> None:
            said: list[Any] = []
            for number in range(6):
                said.append({"role": "user", "content": f"{number} " + "x" * 3_000})
                answer = await sdk(server).messages.create(**hello | {"messages": said})
                said.append({"role": "assistant", "content": answer.content[0].text})  # type: ignore[union-attr]

        await said_by(desk.once(body))
        sent = [request.body for request in server.requests]
    kept = [request_of(desk.log, no) for no, event in enumerate(desk.log, 1) if event.kind is Kind.STEP_INTENDED]
    return [] if [_json(each) for each in kept] == sent else ["a request of the record is not the one that was sent"]


def _json(raw: bytes) -> Any:
    try:
        return httpx2.Response(200, content=raw).json()
    except ValueError:
        return None


def swallowed_bug(patch: Patch) -> None:
    async def lost_by(self: Calls, bug: Exception) -> None:
        raise bug

    patch.setattr(Calls, "lost_by", lost_by)


async def broken_parser(desk: Any, hello: Any) -> list[str]:
    """Our own code fails on an answer."""

    def fails(*given: Any) -> Any:
        raise ZeroDivisionError("planted")

    with ModelServer(lambda request: text("hi")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "failure_of", fails)

        async def body(run: hf.Run) -> None:
            await sdk(server).messages.create(**hello)

        said = await said_by(desk.once(body))
    return [] if said.startswith("InternalError") else [f"a bug of ours was told as {said.split('.')[0]!r}"]


def kept_runs(patch: Patch) -> None:
    patch.setattr(memory, "ref", lambda driver: lambda: driver)


async def many_runs(desk: Any, hello: Any) -> list[str]:
    """What is left of a run that is over."""
    seen: list[Any] = []
    with ModelServer(lambda request: text("hi")) as server:

        async def body(run: hf.Run) -> None:
            seen.append(weakref.ref(run._driver))
            await sdk(server).messages.create(**hello)

        await said_by(desk.once(body))
    gc.collect()
    return [] if seen[0]() is None else ["a run that is over is still in memory"]


# --- the test --------------------------------------------------------------------------------------------------

TRIES = 5
"""On a busy machine who reads a stream may come so late that all is recorded by then."""
BUGS = {
    bug.plant.__name__: bug
    for bug in (
        Bug(early_end, end_told, "before it was recorded"),
        Bug(silent_prefix, killed_while_reading, "though something was done about the first"),
        Bug(loud_shutdown, deployed_while_reading, "a deploy failed a run"),
        Bug(no_memory, stubborn, "requests for one call"),
        Bug(by_the_time, stubborn_beside_another, "on replay it answered"),
        Bug(free_break, broken, "was charged 0 tokens"),
        Bug(unnamed_way, killed_at_the_fallback, "'claude-other', 'claude-test'"),
        Bug(leaked_turn, full_queue, "the queue is stuck"),
        Bug(wrong_base, conversation, "is not the one that was sent"),
        Bug(swallowed_bug, broken_parser, "a bug of ours was told as"),
        Bug(kept_runs, many_runs, "still in memory"),
    )
}


@pytest.mark.parametrize("name", BUGS)
async def test_a_planted_bug_is_caught(desk: Any, hello: Any, tmp_path: Path, name: str) -> None:
    """Lost: the right to say that the checks would notice."""
    plant, check, seen = BUGS[name]

    async def found(place: str) -> list[str]:
        (tmp_path / place).mkdir()
        return await check(type(desk)(tmp_path / place), hello)

    assert await found("sound") == [], "the check fails without the bug"
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for number in range(TRIES):
            told = await found(f"planted {number}")
            if any(seen in problem for problem in told):
                return
    pytest.fail(f"{check.__name__} did not see it, but said: {told}")


def test_the_table_above_is_true() -> None:
    """Lost: a list of planted bugs that nobody could trust."""
    rows = [line.split() for line in (__doc__ or "").splitlines()]
    listed = {row[0]: row[-1] for row in rows if row and row[0] in BUGS}
    assert listed == {name: bug.check.__name__ for name, bug in BUGS.items()}
