"""R1 and R2 from outside: which effects the ledger has after failures, crashes and other processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, script, text

STEPS = """
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

ONCE_MORE = hf.Retry(attempts=4, wait=0)

async def messages(asked):
    client = AsyncAnthropic(http_client=hf.http_client(retry=ONCE_MORE))
    said = await client.messages.create(model="claude-test", max_tokens=9, messages=asked)
    return said.content[0].text

async def messages_streamed(asked):
    client = AsyncAnthropic(http_client=hf.http_client(retry=ONCE_MORE))
    async with client.messages.stream(model="claude-test", max_tokens=9, messages=asked) as stream:
        return "".join([part async for part in stream.text_stream])

async def chat(asked):
    client = AsyncOpenAI(http_client=hf.http_client(retry=ONCE_MORE))
    said = await client.chat.completions.create(model="gpt-test", messages=asked)
    return said.choices[0].message.content

async def chat_streamed(asked):
    client = AsyncOpenAI(http_client=hf.http_client(retry=ONCE_MORE))
    said = ""
    async for chunk in await client.chat.completions.create(model="gpt-test", messages=asked, stream=True):
        said += chunk.choices[0].delta.content or "" if chunk.choices else ""
    return said

async def responses_streamed(asked):
    client = AsyncOpenAI(http_client=hf.http_client(retry=ONCE_MORE))
    async with client.responses.stream(model="gpt-test", input=asked) as stream:
        return (await stream.get_final_response()).output_text

@hf.tool(effect="once")
async def do(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("do", what, idempotency_key)

@hf.agent(budget=hf.Budget(tool_calls=20, model_calls=20))
async def steps(run: hf.Run, way: str) -> list[str]:
    ask = globals()[way]
    done = []
    for number in range(12):
        done.append(await do(await ask([{"role": "user", "content": f"step {number + 1}"}])))
    return done
"""
WAYS = ("messages", "messages_streamed", "chat", "chat_streamed", "responses_streamed")


@pytest.mark.parametrize("way", WAYS)
def test_a_failing_model_repeats_the_call_and_never_the_run(desk: Any, way: str) -> None:
    """R1. Lost: each hiccup of a provider at step 8 would buy, pay and mail steps 1 to 7 again."""
    desk.write(STEPS)
    with ModelServer(script([text(f"do {number}") for number in range(12)])) as model:
        model.fault(on=8, status=500, times=2)
        desk.serves(model)
        said = desk.to_end("steps", way)
        assert (said.code, json.loads(said.out)) == (0, [f"do-{n}" for n in range(1, 13)]), said.err
        assert [effect.args for effect in desk.ledger.effects("do")] == [f"do {number}" for number in range(12)]
        assert model.count == 12 + 2 and model.repeated() == 0
        bodies = [request.digest for request in model.requests]
        assert len(set(bodies)) == 12 and bodies[7] == bodies[8] == bodies[9], "the same call, not the run"
        eighth = desk.show()["steps"][14]
        assert eighth["attempts"] == 3 and len(eighth["failures"]) == 2


EFFECTS = """
async def paid(key, cents):
    status, found = await asyncio.to_thread(call, "GET", "/effects/pay/" + key)
    return hf.Done(f"pay-{found['seq']}") if status == 200 else hf.NotDone()

@hf.tool(effect="once", verify=paid, retry=hf.Retry(attempts=5, wait=0))
async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("pay", cents, idempotency_key)

@hf.tool(effect="once", retry=hf.Retry(attempts=5, wait=0))
async def wire(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("wire", cents, idempotency_key)

@hf.tool(effect="idempotent", retry=hf.Retry(attempts=5, wait=0))
async def put(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("put?dedupe=1", cents, idempotency_key)

@hf.agent
async def pays(run: hf.Run, given: str) -> str:
    return await pay(500)

@hf.agent
async def wires(run: hf.Run, given: str) -> str:
    return await wire(500)

@hf.agent
async def puts(run: hf.Run, given: str) -> str:
    return await put(500)
"""


def test_a_lost_answer_of_a_once_effect_goes_to_verify(desk: Any) -> None:
    """R2. Lost: the payment service acts, its answer is lost, and the retry that was allowed pays again."""
    desk.write(EFFECTS)
    desk.ledger.fault("pay", 1, "drop_after")
    said = desk.to_end("pays")
    assert (said.code, said.out) == (0, "pay-1\n"), said.err
    assert desk.ledger.count("pay") == 1
    (step,) = desk.show()["steps"]
    assert (step["attempts"], step["served"]) == (1, "verify")


@pytest.mark.parametrize("crash", [False, True], ids=["the answer is lost", "the process is killed"])
def test_a_once_effect_that_nobody_can_verify_goes_to_a_person(desk: Any, crash: bool) -> None:
    """R2, R10. Lost: a guess in place of a question: paid twice, or not at all, and nobody knows which."""
    desk.write(EFFECTS)
    desk.ledger.fault("wire", 1, "hang" if crash else "drop_after")
    if crash:
        process = desk.go("wires")
        desk.ledger.wait_for("wire", 1)
        process.kill()
        process.communicate(timeout=20)
    for _ in range(2):  # asked again, it still waits, and does nothing
        assert desk.to_end("wires").code == 8
    shown = desk.show()
    (step,), (question,) = shown["steps"], shown["questions"]
    assert (step["status"], question["about"]) == ("in_doubt", "in_doubt")
    assert desk.ledger.count("wire") == 1
    assert desk.run("answer", "k", "it_happened", "--result", '"as entered"').code == 0
    said = desk.to_end("wires")
    assert (said.code, said.out) == (0, "as entered\n"), said.err
    assert desk.ledger.count("wire") == 1


def test_an_idempotent_effect_has_one_key_in_every_attempt_and_process(desk: Any) -> None:
    """R2. Lost: the receiver's deduplication, which only ever sees keys that it does not know."""
    desk.write(EFFECTS)
    for request, fault in enumerate(("drop_after", "hang", "drop_after"), 1):
        desk.ledger.fault("put", request, fault)
    first = desk.go("puts")
    desk.ledger.wait_for("put", 2)
    first.kill()
    first.communicate(timeout=20)
    said = desk.to_end("puts")
    assert (said.code, said.out) == (0, "put-1\n"), said.err
    effects = desk.ledger.effects("put")
    assert [effect.first for effect in effects] == [True, False, False, False]
    assert len({effect.key for effect in effects}) == 1 and effects[0].key
