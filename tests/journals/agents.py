"""The agents whose runs are in the recorded stores. What they ask for in a recorded run never changes.

Each life of a process is told which it is (`world.life`): some agents kill their process in their first lives, some
ask for something else in a later one, as after a deploy. What the tools do is kept in a file, which outlives them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

import holdfast as hf


class World:
    """What the tools act on, and which life of a process this is."""

    def __init__(self, effects: Path, url: str = "", life: int = 1) -> None:
        self.effects, self.url, self.life = effects, url, life

    def act(self, name: str, *arguments: Any) -> None:
        """Something happened, for good."""
        with self.effects.open("a") as file:
            file.write(json.dumps([name, *arguments]) + "\n")

    def seen(self) -> list[list[Any]]:
        """All that happened."""
        return [json.loads(line) for line in self.effects.read_text().splitlines()] if self.effects.exists() else []

    def dies(self, lives: int = 1) -> None:
        """In its first lives the process dies here, as if by `kill -9`."""
        if self.life <= lives:
            os.kill(os.getpid(), signal.SIGKILL)


world = World(Path(os.environ.get("HOLDFAST_EFFECTS", os.devnull)), os.environ.get("HOLDFAST_MODEL", ""))
CONFIG = """
[budget.day]
usd = 100.0
[prices."claude-test"]
input = 1
output = 5
"""
LATER = hf.Retry(attempts=3, wait="1h", wait_max="1h", total="24h")
ONCE = hf.Retry(attempts=1)
BUDGET = hf.Budget(tool_calls=50, model_calls=20)
LARGE = 300_000


# --- tools ---------------------------------------------------------------------------------------------------------


@hf.tool(effect="read")
async def look(size: int) -> str:
    """Large enough to be a blob, when it is asked to be."""
    world.act("look", size)
    return "x" * size


@hf.tool(effect="read")
async def slow_look(what: str) -> str:
    """Never in time for who does not wait."""
    await asyncio.sleep(0.2)
    return what


@hf.tool(effect="read")
async def deadly_look(lives: int) -> str:
    """The process dies of it."""
    world.act("deadly_look", world.life)
    world.dies(lives)
    return "alive"


@hf.tool(effect="once")
async def pay(cents: int) -> int:
    """No undo, no verify."""
    world.act("pay", cents)
    return cents


@hf.tool(effect="once")
async def deadly_pay(cents: int) -> int:
    """Nobody knows what became of it."""
    world.act("deadly_pay", cents)
    world.dies()
    return cents


async def was_charged(key: str, cents: int, lives: int = 0) -> Any:
    """Whoever received it says so; nobody received 0."""
    return hf.Done(cents) if ["charge", cents] in world.seen() else hf.NotDone()


@hf.tool(effect="once", verify=was_charged, settle=0.01)
async def charge(cents: int, lives: int = 0) -> int:
    """In its first lives the process dies of it: before it happened when the amount is odd, else after."""
    if cents % 2:
        world.dies(lives)
    world.act("charge", cents)
    world.dies(lives)
    return cents


@hf.tool(effect="idempotent")
async def put(number: int, lives: int = 0, *, idempotency_key: str = hf.INJECTED) -> int:
    """Dies after it happened."""
    world.act("put", number, idempotency_key)
    world.dies(lives)
    return number


@hf.tool(effect="idempotent", retry=LATER)
async def put_later(number: int, *, idempotency_key: str = hf.INJECTED) -> int:
    """Its receiver is down in the first life."""
    if world.life == 1:
        raise ConnectionError("down")
    world.act("put_later", number, idempotency_key)
    return number


async def unbook(result: str, room: int) -> str:
    """What undoes it."""
    world.act("unbook", room)
    return f"unbooked {room}"


@hf.tool(effect="once", undo=unbook)
async def book(room: int) -> str:
    """Can be undone."""
    world.act("book", room)
    return f"booked {room}"


@hf.tool(effect="read", retry=ONCE, raises=(LookupError,))
async def find(what: str) -> str:
    """Fails for good."""
    raise LookupError(what)


@hf.tool(effect="read", retry=ONCE, fallback=(hf.Cached(max_age="30d"),))
async def rate(currency: str) -> int:
    """Up in the first life only."""
    if world.life > 1:
        raise ConnectionError("gone")
    return 101


@hf.tool(effect="once", definite=(ValueError,), retry=ONCE, fallback=(hf.Ask("ann"),))
async def send(text: str) -> str:
    """A person is asked when it fails."""
    if world.life == 1:
        raise ValueError("no route")
    world.act("send", text)
    return text


@hf.tool(effect="composite")
async def errand(number: int) -> int:
    """Made of steps."""
    return await put(number) + len(await look(number))


async def ask(*conversation: str, system: str = "", most: int = 16, retry: hf.Retry = ONCE) -> str:
    """A model call, as an SDK would send it."""
    messages = [{"role": ("user", "assistant")[n % 2], "content": said} for n, said in enumerate(conversation)]
    asked = {"model": "claude-test", "max_tokens": most, "messages": messages} | ({"system": system} if system else {})
    async with hf.http_client(retry=retry) as client:
        answer = await client.post(world.url + "/v1/messages", json=asked, headers=HEADERS)
    answer.raise_for_status()
    return str(answer.json()["content"][0]["text"])


HEADERS = {"x-api-key": "none", "anthropic-version": "2023-06-01"}


# --- runs that ended -------------------------------------------------------------------------------------------------


@hf.agent(budget=BUDGET)
async def worker(run: hf.Run, given: dict[str, Any]) -> dict[str, Any]:
    """Of each sort of step one, and it returns."""
    found = await look(LARGE)
    made = [await pay(700), await put(1), await errand(2)]
    await run.note("Half of it is done.")
    choice = await run.decide("route", "north", because="it is shorter")
    await run.sleep(0.01)
    heard = await run.signal("go")
    said = await run.ask("Go on?", options=["yes", "no"], to="ann", show=given)
    gate = await run.gate("sure", lambda text: 0.9, 0.8, input="text")
    child = await run.spawn(helper, 3)
    told = await ask("Hello")
    done = await run.step("pack", lambda what: what * 2, "box", effect="read")
    return {"found": len(found), "made": made, "choice": choice, "heard": heard.value, "said": said.value,
            "passed": gate.passed, "child": child, "told": told, "done": done, "id": str(run.uuid())}  # fmt: skip


@hf.agent(budget=BUDGET)
async def helper(run: hf.Run, number: int) -> int:
    """A child: asks when it is given nothing."""
    await put(100 + number)
    return number if number else len((await run.ask("How many?", to="ann")).value)


@hf.agent(budget=BUDGET)
async def failing(run: hf.Run, given: str) -> str:
    """Its read fails, and it says so."""
    try:
        return await find(given)
    except LookupError:
        await pay(1)
        raise


@hf.agent(budget=hf.Budget(tool_calls=5))
async def spending(run: hf.Run, given: str) -> str:
    """Warned, then stopped; with more to spend it ends."""
    for number in range(8):
        await put(200 + number)
    return given


@hf.agent(budget=BUDGET)
async def booking(run: hf.Run, given: int) -> str:
    """Books, and waits for what never comes."""
    booked = await book(given)
    await run.signal("never")
    return booked


@hf.agent(budget=BUDGET, stuck=hf.Stuck(same=3, cycles=3, errors=None, then="ask"), escalate="ann")
async def circling(run: hf.Run, given: str) -> int:
    """Asks for the same again and again, until somebody lets it."""
    told = 0
    for _ in range(6):
        try:
            await look(1)
        except hf.ToolFailed:
            told += 1
    return told


@hf.agent(budget=BUDGET)
async def passing(run: hf.Run, number: int) -> int:
    """To be forgotten."""
    return await put(number)


# --- open runs -------------------------------------------------------------------------------------------------------


@hf.agent(budget=BUDGET)
async def keeper(run: hf.Run, name: str) -> str:
    """Waits for a person, after a payment."""
    await look(LARGE)
    await pay(7)
    answer = await run.ask("Go on?", options=["yes", "no"])
    return f"{name}: {answer.value} {await pay(8)}"


@hf.agent(budget=BUDGET)
async def sleeper(run: hf.Run, name: str) -> int:
    """Waits for a time."""
    await pay(9)
    await run.sleep("1h")
    return await pay(10)


@hf.agent(budget=BUDGET)
async def retrier(run: hf.Run, name: str) -> int:
    """Waits for the next attempt."""
    return await put_later(11)


@hf.agent(budget=BUDGET, escalate="ann")
async def doubter(run: hf.Run, name: str) -> int:
    """In doubt."""
    return await deadly_pay(12) + await pay(13)


@hf.agent(budget=BUDGET)
async def settler(run: hf.Run, name: str) -> list[int]:
    """Killed twice in what can be verified."""
    return [await charge(20, 1), await charge(21, 2)]


@hf.agent(budget=BUDGET)
async def listener(run: hf.Run, name: str) -> Any:
    """Waits for a signal; another one has come."""
    await pay(14)
    return [(await run.signal("go")).value, (await run.signal("other")).value]


@hf.agent(budget=BUDGET)
async def parent(run: hf.Run, name: str) -> list[Any]:
    """Waits for a child, which waits for a person."""
    return [await run.spawn(helper, 5), await run.spawn(helper, 0)]


@hf.agent(budget=BUDGET)
async def chapters(run: hf.Run, number: int) -> str:
    """Its second chapter waits."""
    await pay(30 + number)
    if number == 1:
        await run.continue_as(2)
    answer = await run.ask("More?", options=["yes", "no"])
    return str(answer.value)


@hf.agent(budget=BUDGET)
async def flier(run: hf.Run, name: str) -> list[Any]:
    """Killed with an idempotent effect and a read under way: its owner is dead, and it was not given back."""
    await pay(15)
    return [await put(16, 1), await look(2)]


@hf.agent(budget=BUDGET)
async def looping(run: hf.Run, name: str) -> list[str]:
    """Kills its processes."""
    return [await deadly_look(3)]


@hf.agent(budget=BUDGET)
async def drifting(run: hf.Run, name: str) -> int:
    """A deploy has changed the amount of its first payment."""
    first = await pay(40 if world.life != 2 else 41)
    world.dies()
    return first + await pay(42)


@hf.agent(budget=BUDGET)
async def rewording(run: hf.Run, name: str) -> list[str]:
    """A deploy has changed what it asks its model: held."""
    drafts = [ask(f"{'Short draft' if world.life == 2 else 'Draft'} {which}?") for which in "ab"]
    found = list(await asyncio.gather(*drafts))
    world.dies()
    return found


@hf.agent(budget=BUDGET)
async def remembering(run: hf.Run, name: str) -> str:
    """Its second process remembers what the first one was told: the history has grown."""
    said: list[str] = ["Question 0", "answer 1"] if world.life == 2 else []
    said.append(f"Question {len(said) // 2}")
    said.append(await ask(*said))
    world.dies()
    return said[-1]


@hf.agent(budget=BUDGET, on_drift="fresh")
async def fresh(run: hf.Run, name: str) -> list[str]:
    """The same, where it is allowed."""
    drafts = [ask(f"{'Short draft' if world.life > 1 else 'Draft'} {which}?") for which in "ab"]
    found = list(await asyncio.gather(*drafts))
    world.dies(2)
    answer = await run.ask("Which?")
    return [*found, answer.value]


@hf.agent(budget=BUDGET)
async def clockwork(run: hf.Run, name: str) -> list[str]:
    """The time stands in its prompt: found by what is asked."""
    system = f"It is {world.life}."
    first = await ask("Capital?", system=system)
    world.dies()
    answer = await run.ask("Right?")
    return [first, await ask("Capital?", first, f"Sure, {answer.value}?", system=system)]


@hf.agent(budget=BUDGET)
async def reordering(run: hf.Run, name: str) -> str:
    """A deploy has changed the order of its reads, and left one out."""
    for size in (3, 4, 5) if world.life == 1 else (4, 3):
        await look(size)
    world.dies()
    return "done"


@hf.agent(budget=BUDGET)
async def impatient(run: hf.Run, name: str) -> str:
    """Gives up waiting in its first life, and not in its second."""
    try:
        async with asyncio.timeout(0.05 if world.life == 1 else None):
            await slow_look("a")
    except TimeoutError:
        await look(6)
    world.dies()
    return str((await run.ask("Enough?")).value)


@hf.agent(budget=BUDGET)
async def streaming(run: hf.Run, name: str) -> list[str]:
    """Killed in the middle of an answer, after something was done about its beginning."""
    heard: list[str] = []
    for _ in range(2):
        with contextlib.suppress(httpx2.ReadError):
            return [*heard, *await _heard(heard)]
        heard.append("broke off")
    return heard


async def _heard(before: list[str]) -> list[str]:
    asked = {"model": "claude-test", "max_tokens": 16, "messages": [{"role": "user", "content": "Tell me"}]}
    heard = []
    async with (
        hf.http_client(retry=ONCE) as client,
        client.stream("POST", world.url + "/v1/messages", json=asked | {"stream": True}, headers=HEADERS) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:") and "text_delta" in line:
                heard.append(json.loads(line[5:])["delta"]["text"])
                if not before and len(heard) == 1:
                    before.append(heard[0])
                    await pay(50)
                    world.dies()
    return heard


@hf.agent(budget=BUDGET)
async def repeating(run: hf.Run, name: str) -> list[str]:
    """Its own loop tries again what has failed: told the same once more."""
    failed = []
    for _ in range(2):
        try:
            await ask("Refused?")
        except Exception as error:
            failed.append(type(error).__name__)
    await pay(51)
    return [*failed, str((await run.ask("Go on?")).value)]


@hf.agent(budget=BUDGET)
async def degrading(run: hf.Run, name: str) -> list[Any]:
    """A person is asked about a failure; a rate is an old one."""
    return [await rate("eur"), await send("letter") if name == "send" else ""]


@hf.agent(budget=BUDGET)
async def shutting(run: hf.Run, name: str) -> int:
    """At work when its process is told to stop."""
    await pay(60)
    if world.life == 1:
        await asyncio.sleep(30)
    return await pay(61)


@hf.agent(budget=BUDGET)
def plain(run: hf.Run, name: str) -> str:
    """A plain function."""
    run.wait(pay(70))
    return str(run.wait(run.ask("Sync?")).value)


AGENTS: Sequence[hf.Agent[Any, Any]] = [value for value in list(globals().values()) if isinstance(value, hf.Agent)]
