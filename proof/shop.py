"""The agent that the parts kill: it reads, charges, mails, wires and rests, and each effect reaches a receiver outside.

`charge` is `once` with a `verify`, `wire` is `once` without one, so that a person has to say what became of it, and
`mail` is `idempotent`. How an effect gets outside, and what may happen on the way, is the part's (`Outside`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import holdfast as hf
from holdfast.core.events import Event, Kind, StepKind
from holdfast.core.slot import Slot
from holdfast.core.state import State, fold
from holdfast.errors import RunWaiting
from holdfast.journal.codec import decode
from proof.world import Received, Receiver, repeated

NAME = "shop"
ONCE = ("charge", "wire")
WRITES = (*ONCE, "mail")
LIFE_S_MAX = 20.0
BUDGET = hf.Budget(tool_calls=1_000)


class Outside(Protocol):
    """How effects get to their receivers."""

    async def act(self, tool: str, order: str, key: str, epoch: int) -> None:
        """Let it happen; an `idempotent` one of a key that was seen happens once."""

    async def has(self, tool: str, key: str) -> bool:
        """Whether it has happened."""


def shop(outside: Outside, *, rest_s: float = 0.0) -> hf.Agent[int, list[str]]:
    """An agent that goes through so many rounds."""
    epochs: dict[str, int] = {}

    async def was_charged(key: str, order: str) -> Any:
        return hf.Done(f"charge {order}") if await outside.has("charge", key) else hf.NotDone("it is not there")

    async def act(tool: str, order: str, key: str) -> str:
        await outside.act(tool, order, key, epochs[order.partition("/")[0]])
        return f"{tool} {order}"

    @hf.tool(effect="read")
    async def price(order: str) -> int:
        return len(order)

    @hf.tool(effect="once", verify=was_charged)
    async def charge(order: str, *, idempotency_key: str = hf.INJECTED) -> str:
        return await act("charge", order, idempotency_key)

    @hf.tool(effect="idempotent")
    async def mail(order: str, *, idempotency_key: str = hf.INJECTED) -> str:
        return await act("mail", order, idempotency_key)

    @hf.tool(effect="once")
    async def wire(order: str, *, idempotency_key: str = hf.INJECTED) -> str:
        return await act("wire", order, idempotency_key)

    @hf.agent(name=NAME, budget=BUDGET)
    async def agent(run: hf.Run, rounds: int) -> list[str]:
        epochs[run.key] = run.epoch
        done = []
        for number in range(rounds):
            order = f"{run.key}/{number}"
            await price(order)
            done.append(await charge(order))
            done.append(await mail(order))
            if rest_s:
                await run.sleep(rest_s)
            done.append(await wire(order))
        return done

    return agent


async def lived(app: hf.App, agent: hf.Agent[int, list[str]], key: str, receiver: Receiver) -> None:
    """One life of a process: to the end of the run; whoever is asked looks at the receiver, and answers."""
    async with asyncio.timeout(LIFE_S_MAX), app:
        while True:
            try:
                await app.run(agent, 1, key=key, wait=LIFE_S_MAX)
                return
            except RunWaiting:
                [head] = app.journal.heads(key=key, limit=1)
                choice, result = ruling(fold(app.journal.events(head.run_id)), receiver.all())
                await app.answer(head.run_id, head.questions[0].id, choice, by="ann", result=result)


def in_flight(state: State) -> list[tuple[str, str]]:
    """Tool and order of effects that were begun, and whose outcome is not recorded."""
    slots = state.slots.values()
    return [_effect(slot) for slot in slots if slot.address.name in WRITES and slot.is_in_flight]


def _effect(slot: Slot) -> tuple[str, str]:
    if slot.address.name not in WRITES or slot.intent is None or slot.intent.body is None:
        return "", ""
    return slot.address.name, decode(slot.intent.body)["order"]


def ruling(state: State, received: Sequence[Received]) -> tuple[str, str | None]:
    """What a person answers who looks at what the receivers have: the choice, and the result that goes with it."""
    for tool, order in in_flight(state):
        if tool in ONCE and any((each.tool, each.order) == (tool, order) for each in received):
            return "it_happened", f"{tool} {order}"
    return "it_did_not", None


def wrong(
    events: Sequence[Event], received: Sequence[Received], rounds: int, doubtful: Collection[tuple[str, str]] = ()
) -> list[str]:
    """All that is wrong with a run that was killed on its way, when it has ended.

    doubtful: tool and order of each effect that was in flight when a process died.
    """
    state = fold(events)
    if state.status != "succeeded":
        return [f"it ended {state.status} ({state.why})"]
    orders = sorted(f"{state.key}/{number}" for number in range(rounds))
    found = []
    for tool in WRITES:
        taken = [each for each in received if each.tool == tool and each.order.startswith(f"{state.key}/")]
        if sorted({each.order for each in taken}) != orders:
            found.append(f"{tool}: lost, {sorted({each.order for each in taken})} of {orders}")
        if tool in ONCE and repeated(taken):
            found.append(f"{tool}: repeated, {repeated(taken)}")
        if len({(each.order, each.key) for each in taken}) != len(orders):
            found.append(f"{tool}: an order had two keys")
    for slot in state.slots.values():
        if _effect(slot) in doubtful and slot.address.name in ONCE and not (slot.served or slot.attempt > 1):
            found.append(f"{_effect(slot)}: in doubt, and nobody was asked")
    calls = sum(each.order.startswith(f"{state.key}/") for each in received) + sum(map(_is_read, events))
    if state.used.tool_calls < calls:
        found.append(f"under-counted: {calls} calls, {state.used.tool_calls} charged")
    return found


def doubts(events: Sequence[Event]) -> int:
    """`once` steps that were in doubt, and settled: by `verify`, by a person, or begun again after both said no."""
    slots = fold(events).slots.values()
    return sum(1 for slot in slots if slot.address.name in ONCE and (slot.served or slot.attempt > 1))


def accepted(received: Sequence[Received]) -> list[Received]:
    """Without what a receiver refuses that has seen a higher epoch of that run."""
    highest: dict[str, int] = {}
    found = []
    for each in received:
        run = each.order.partition("/")[0]
        if each.epoch >= highest.get(run, 0):
            highest[run] = each.epoch
            found.append(each)
    return found


def takeovers(events: Sequence[Event]) -> int:
    """How often a process went on with what another had left behind."""
    return sum(event.kind is Kind.RUN_RESUMED and event.facts.get("why") == "takeover" for event in events)


def answers(events: Sequence[Event]) -> int:
    """How often a person was asked, and has answered."""
    return sum(event.kind is Kind.QUESTION_CLOSED and event.facts.get("outcome") == "answered" for event in events)


def _is_read(event: Event) -> bool:
    is_look = event.step is StepKind.VERIFY or (event.address is not None and event.address.name == "price")
    return event.kind is Kind.RUN_RESUMED or (event.kind is Kind.STEP_SUCCEEDED and is_look)
