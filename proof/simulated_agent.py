"""The agent of the simulation: it does what its input says, with every kind of step, and tells what it got.

A plan is a list of operations, each a list: its name, its number, and what it needs. The newer code (`CHANGED`) does
one operation otherwise than the older, as a deployment may.
"""

from __future__ import annotations

import asyncio
from typing import Any

import holdfast as hf
from holdfast.core.command import Call
from holdfast.core.events import Charge, Effect, StepKind
from holdfast.core.policy import Policy
from holdfast.errors import NotDone, RunError, Unverified
from holdfast.journal.codec import decode, digest, encode
from holdfast.runtime import current
from holdfast.runtime.attempts import Attempts
from holdfast.runtime.way import Attempted, Begun, Way
from holdfast.testing.simulation import here, look, receive

Plan = list[list[Any]]
RACING = 1_000
"""Operations from this number on are part of a race; what they come to may differ from life to life."""
PEOPLE = ("ann", "bob", "cyd")
"""Those of whom some may be needed."""
MODEL_RESERVES = Charge(model_calls=1, tokens=500)


async def _verify(idempotency_key: str, number: int) -> Any:
    found = await look(idempotency_key)
    return hf.Done(found) if found is not None else hf.NotDone("the receiver does not know it")


async def _mishap(before: str) -> None:
    """What may go wrong in a body, by the world's chance."""
    chance = here().world.chance.random()
    if chance < 0.06:
        raise NotDone(f"{before} was refused")
    if chance < 0.10:
        raise ConnectionError(f"{before} was cut off")


@hf.tool(effect="once", verify=_verify)
async def pay(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect that must not happen twice, and that can be looked up."""
    result = await receive("pay", idempotency_key, f"{number}")
    await _mishap_after("pay")
    return result


@hf.tool(effect="once")
async def mail(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """The same, and only a person can find out."""
    return await receive("mail", idempotency_key, f"{number}")


@hf.tool(effect="idempotent", retry=hf.Retry(attempts=3, wait="1s"))
async def put(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect that is done again under its key."""
    await _mishap("put")
    result = await receive("put", idempotency_key, f"{number}", dedupe=True)
    await _mishap_after("put")
    return result


@hf.tool(effect="read", retry=hf.Retry(attempts=2, wait="1s"))
async def find(number: int) -> str:
    """A read that fails at times."""
    process, where = here(), current.place()
    assert where is not None
    process.world.receiver.begun(where.driver.lease.run_id)
    process.reach("effect find:begun")
    if process.world.chance.random() < 0.4:
        await asyncio.sleep(process.world.chance.random())
    if process.world.chance.random() < 0.15:
        raise OSError("not found today")
    return f"found-{number}-{process.world.chance.randrange(1000)}"


async def _mishap_after(name: str) -> None:
    """It happened, and nobody is told."""
    if here().world.chance.random() < 0.05:
        raise ConnectionError(f"{name}: the answer was lost")


@hf.tool(effect="idempotent", retry=hf.Retry(attempts=3, wait="1s"))
async def take_back(booking: str, number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """What undoes `book`."""
    await _mishap("take_back")
    return await receive("take_back", idempotency_key, f"{number}", dedupe=True)


@hf.tool(effect="once", verify=_verify, undo=take_back)
async def book(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect that can be undone."""
    return await receive("book", idempotency_key, f"{number}")


@hf.tool(effect="once", verify=_verify, approve=hf.Ask("finance", within="14s", valid="8s"))
async def sign(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect that somebody must agree to first, for a short time."""
    await _mishap("sign")
    return await receive("sign", idempotency_key, f"{number}")


@hf.tool(
    effect="idempotent",
    retry=hf.Retry(attempts=3, wait="2s"),
    approve=hf.Ask("finance", within="10s", default="stop", valid="5s"),
)
async def seal(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """The same, done again under its key, without which the run must not go on."""
    result = await receive("seal", idempotency_key, f"{number}", dedupe=True)
    await _mishap_after("seal")
    return result


@hf.tool(
    effect="once", verify=_verify, approve=hf.Ask("finance", within="40s", valid="20s", approvers=PEOPLE, quorum=2)
)
async def attest(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    """An effect that two of some people must agree to first."""
    await _mishap("attest")
    return await receive("attest", idempotency_key, f"{number}")


async def sign_all(run: hf.Run, name: str, numbers: list[int]) -> list[str]:
    """Several, of which somebody is asked at once."""
    said = await run.approve("finance", [sign.bind(number) for number in numbers], within="14s", valid="9s", name=name)
    return [said.outcome, *[await sign(number) for number in numbers]]


async def ask_model(run: hf.Run, number: int) -> str:
    """A model call as the wire makes it: reserved at its worst, settled at what it used."""
    place = current.place()
    assert place is not None

    async def attempt(begun: Begun) -> Attempted:
        process = here()
        process.reach("effect model:sent")
        await asyncio.sleep(process.world.chance.random())
        used = process.world.chance.randrange(1, MODEL_RESERVES.tokens)
        return Attempted(encode(f"said-{number}-{used}"), Charge(model_calls=1, tokens=used))

    prompt = encode(["model", number])
    plan = Attempts(
        call=Call(place.scope, "model", digest(prompt), StepKind.MODEL, Effect.READ, prompt),
        args=prompt,
        policy=lambda: Policy(retry=hf.Retry(attempts=2)),
        ways=(Way(attempt=attempt, reservation=MODEL_RESERVES, name="model"),),
        needs_key=False,
    )
    outcome = await place.driver.step(plan)
    assert outcome.body is not None
    return str(decode(outcome.body))


@hf.tool(effect="composite")
async def whole(plan: list[Any]) -> list[Any]:
    """Steps that are one step."""
    return [await TOOLS[op[0]](op[1]) for op in plan]


TOOLS: dict[str, Any] = {
    "book": book,
    "pay": pay,
    "mail": mail,
    "put": put,
    "find": find,
    "sign": sign,
    "seal": seal,
    "attest": attest,
}


async def _one(run: hf.Run, op: list[Any], version: int) -> Any:
    what, number, *more = op
    match what:
        case "sleep":
            await run.sleep(more[0], name=f"sleep{number}")
            return "slept"
        case "ask":
            answer = await run.ask(f"Go on with {number}?", options=("yes", "no"), within=more[0], name=f"ask{number}")
            return answer.value
        case "signal":
            return (await run.signal(f"go{number}", within=more[0], default="late")).value
        case "child":
            return await run.spawn(part, more[0], name=f"part{number}")
        case "model":
            return await ask_model(run, number)
        case "both":
            return await asyncio.gather(*(_told(run, each, version) for each in more[0]))
        case "list":
            return await sign_all(run, f"list{number}", more[0])
        case "note":
            await run.note(f"note {number}")
            return "noted"
        case "race":
            async with asyncio.timeout(more[0]):
                return await _one(run, more[1], version)
        case "whole":
            return await whole(more[0])
        case "unwind":
            return await run.unwind(because="the plan says so")
        case "next" if more[0]:
            await run.continue_as(more[0])
        case "next":
            return "the last chapter"
        case "must":
            return await _one(run, more[0], version)
        case "changed":
            return await TOOLS[more[0] if version % 2 == 0 else more[1]](number)
        case _:
            return await TOOLS[what](number)


async def _told(run: hf.Run, op: list[Any], version: int) -> Any:
    """One operation; what it came to is told to the world, which knows what it came to before."""
    try:
        result = await _one(run, op, version)
    except (hf.ToolFailed, Unverified, RunError, TimeoutError) as failed:
        if op[0] == "must":
            raise
        result = f"failed: {type(failed).__name__}: {failed}"
    if op[0] in ("race", "both") or op[1] >= RACING:  # a timer of the agent's own starts afresh in each life
        return result
    code = version if op[0] == "changed" else 0  # another version may get something else
    here().world.told(run.id, f"{op[0]}{op[1]} of {code}", result)
    return result


async def _do(run: hf.Run, plan: Plan, version: int) -> list[Any]:
    return [await _told(run, op, version) for op in plan]


@hf.agent(name="part")
async def part(run: hf.Run, plan: list[Any]) -> list[Any]:
    """A run that is part of another."""
    return await _do(run, plan, 0)


@hf.agent(name="simulated")
async def simulated(run: hf.Run, plan: list[Any]) -> list[Any]:
    """The agent, as it was first deployed."""
    return await _do(run, plan, 0)


@hf.agent(name="simulated")
async def changed(run: hf.Run, plan: list[Any]) -> list[Any]:
    """The agent after a deployment."""
    return await _do(run, plan, 1)
