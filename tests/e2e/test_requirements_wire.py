"""R3, R5, R7, R26 and R27 from outside: what a strict provider was asked, how often, how long, and at what price."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, Request, text

CLIENTS = """
import anthropic
import openai

def claude(**options):
    return anthropic.AsyncAnthropic(http_client=hf.http_client(**options))

def gpt(**options):
    return openai.AsyncOpenAI(http_client=hf.http_client(**options))

def ask(client, what, **more):
    asked = [{"role": "user", "content": what}]
    if isinstance(client, anthropic.AsyncAnthropic):
        return client.messages.create(model="claude-test", max_tokens=9, messages=asked, **more)
    return client.chat.completions.create(model="gpt-test", messages=asked, **more)

async def read(client, what):
    asked = [{"role": "user", "content": what}]
    async with client.messages.stream(model="claude-test", max_tokens=9, messages=asked) as stream:
        return "".join([part async for part in stream.text_stream])
"""


def counted(model: ModelServer) -> Counter[str]:
    """How often each question came over the wire."""
    return Counter(request.body["messages"][-1]["content"] for request in model.requests)


# --- R3 --------------------------------------------------------------------------------------------------------

SORTS = """
@hf.agent(budget=hf.Budget(tool_calls=9, model_calls=99))
async def tries(run: hf.Run, cases: int) -> list[str]:
    client = claude(retry=hf.Retry(attempts=3, wait=0), timeout="1s", breaker=None)  # one model, and all its failures
    said = []
    for number in range(cases):
        try:
            said.append((await ask(client, f"case {number}")).content[0].text)
        except anthropic.APIError as error:
            said.append(type(error).__name__)
    try:
        said.append(await read(client, "stream"))
    except anthropic.APIError as error:
        said.append(type(error).__name__)
    try:
        await look(-1)
    except hf.ToolFailed as error:
        said.append(str(error))
    return said

@hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
async def look(page: int) -> str:
    await send("look", page, "")
    raise ValueError("there is no such page")
"""
CASES: list[tuple[dict[str, Any], int, str]] = [
    ({"status": 400}, 1, "BadRequestError"),
    ({"status": 401}, 1, "AuthenticationError"),
    ({"status": 403}, 1, "PermissionDeniedError"),
    ({"status": 404}, 1, "NotFoundError"),
    ({"billing": True}, 1, "EnforcedSpendLimitReachedError"),
    ({"html": True}, 1, "APIConnectionError"),
    ({"status": 429, "times": 3}, 3, "RateLimitError"),
    ({"status": 500, "times": 3}, 3, "InternalServerError"),
    ({"status": 529, "times": 3}, 3, "OverloadedError"),
    ({"drop": True, "times": 3}, 3, "APIConnectionError"),
    ({"delay_s": 60, "times": 3}, 3, "APITimeoutError"),
    ({"status": 500, "times": 2}, 3, "hi"),
]
"""A fault, the attempts that it may cost, and what the agent gets."""


def test_what_an_error_means_decides_how_often_it_is_tried(desk: Any) -> None:
    """R3. Lost: a wrong key or an empty account asked again and again, or a hiccup that ends a run."""
    desk.write(CLIENTS + SORTS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        first = 1
        for fault, attempts, _ in CASES:
            model.fault(on=first, **fault)
            first += attempts
        model.fault(on=first, error_after=0, times=3)  # HTTP 200, and an error within
        said = desk.to_end("tries", str(len(CASES)))
        assert said.code == 0, said.err
        *told, within, page = json.loads(said.out)
        assert told == [told for _, _, told in CASES] and page == "look failed: ValueError: there is no such page"
        wire = counted(model)
        assert [wire[f"case {number}"] for number in range(len(CASES))] == [attempts for _, attempts, _ in CASES]
        assert (wire["stream"], within) == (3, "OverloadedError")
        assert desk.ledger.count("look") == 1
        failed = [len(step["failures"]) for step in desk.show()["steps"]]
        assert failed == [attempts - (told == "hi") for _, attempts, told in CASES] + [3, 1]


# --- R5 --------------------------------------------------------------------------------------------------------

OWNERS = """
@hf.agent(budget=hf.Budget(model_calls=99))
async def owned(run: hf.Run, given: str) -> int:
    ours = {"retry": hf.Retry(attempts=3, wait=0)}
    failed = 0
    for name, client in (("claude", claude(**ours)), ("gpt", gpt(**ours))):
        client.max_retries = 1  # the SDK's own loop
        for fault in ("status", "drop"):
            for _ in range(2):  # a loop of the user's, as tenacity's would be
                try:
                    await ask(client, f"{name} {fault}")
                except (anthropic.APIError, openai.APIError):
                    failed += 1
    return failed
"""


def test_the_requests_of_one_logical_call_are_the_attempts_of_one_policy(desk: Any) -> None:
    """R5. Lost: three owners of retries, and so 3 × 2 × 2 requests for one call, all of them paid."""
    desk.write(CLIENTS + OWNERS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        for number in range(4):
            fault: dict[str, Any] = {"drop": True} if number % 2 else {"status": 500}
            model.fault(on=1 + 3 * number, times=3, **fault)
        said = desk.to_end("owned")
        assert (said.code, said.out) == (0, "8\n"), said.err
        assert counted(model) == dict.fromkeys(["claude status", "claude drop", "gpt status", "gpt drop"], 3)


# --- R7 (models) -----------------------------------------------------------------------------------------------

FALLS = """
@hf.agent(budget=hf.Budget(model_calls=99))
async def falls(run: hf.Run, given: str) -> list[str]:
    client = claude(retry=hf.Retry(attempts=2, wait=0), fallback=["claude-next", "claude-last"])
    said = [await ask(client, what) for what in ("overloaded", "failing", "well")]
    return [message.model for message in said]
"""


def test_another_model_answers_by_a_recorded_decision_and_never_silently(desk: Any) -> None:
    """R7. Lost: a run that ends with a provider's bad hour, or a small model's answer that nobody knows of."""
    desk.write(CLIENTS + FALLS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        model.fault(on=1, status=529)  # to the next at once
        model.fault(on=3, status=500, times=4)  # two attempts of each, and then the last
        said = desk.to_end("falls")
        assert (said.code, json.loads(said.out)) == (0, ["claude-next", "claude-last", "claude-test"]), said.err
        assert "2 of them by a fallback model" in said.err
        asked = ["claude-test", "claude-next", *["claude-test"] * 2, *["claude-next"] * 2, "claude-last", "claude-test"]
        assert [request.body["model"] for request in model.requests] == asked
        steps = desk.show()["steps"]
        assert [step["model"]["asked"] for step in steps] == ["claude-test"] * 3
        assert [step["model"]["fallback"] for step in steps] == ["claude-next", "claude-last", None]
        nexts = [[failure["next"] for failure in step["failures"]] for step in steps]
        assert nexts == [["claude-next"], [None, "claude-next", None, "claude-last"], []]
        assert all(failure["because"] for step in steps for failure in step["failures"])
        seen = desk.run("show", "k").out
        assert "claude-next in place of claude-test" in seen and "2 of them by a fallback model" in seen
        assert desk.to_end("falls").out == said.out and model.count == 8, "the decision is kept"


# --- R26 -------------------------------------------------------------------------------------------------------

PRICED = """
import httpx2

@hf.agent(budget=hf.Budget(model_calls=9, usd=5))
async def spends(run: hf.Run, given: str) -> None:
    await ask(claude(), "one")
    await ask(gpt(), "two")
    await gpt().responses.create(model="gpt-test", input="three")
    try:
        await read(claude(), "aborted")
    except (anthropic.APIError, httpx2.HTTPError):
        await run.note("broke off")
    async with claude().messages.stream(model="claude-test", max_tokens=9, messages=[CLOSED]) as stream:
        async for part in stream.text_stream:
            break

CLOSED = {"role": "user", "content": "closed"}

@hf.agent(budget=hf.Budget(usd=5), models=["claude-test", "claude-unheard-of"])
async def unheard(run: hf.Run, given: str) -> None:
    await ask(claude(), "never")

@hf.agent(budget=hf.Budget(usd=5))
async def undeclared(run: hf.Run, given: str) -> None:
    await claude().messages.create(model="claude-unheard-of", max_tokens=9, messages=[CLOSED])
"""
PRICES = """
[prices."claude-test"]
input = 3
output = 15
cache_read = 0.3
cache_write = 3.75

[prices."gpt-test"]
input = 1.25
output = 10
cache_read = 0.125
"""
USED = {
    "input_tokens": 1_000,
    "cache_read_input_tokens": 20_000,
    "output_tokens": 600,
    "reasoning_tokens": 400,
}
CLAUDE_USD = (1_000 * 3 + 20_000 * 0.3 + 4_000 * 3.75 + 600 * 15) / 1e6
GPT_USD = (1_000 * 1.25 + 20_000 * 0.125 + 600 * 10) / 1e6


def usage_of(request: Request) -> Any:
    """What the payload says: reads and writes of the cache, and reasoning, in each API's own names."""
    written = {"cache_creation_input_tokens": 4_000} if request.api == "messages" else {}
    return text("word " * 40, usage=USED | written)


def test_payloads_price_to_the_cent_and_a_broken_stream_costs_its_reservation(desk: Any) -> None:
    """R26. Lost: the bill: input and output alone are a tenth of it, and a broken stream would be free."""
    desk.write(CLIENTS + PRICED)
    (desk.home / "holdfast.toml").write_text(PRICES)
    with ModelServer(usage_of) as model:
        desk.serves(model)
        model.fault(on=4, cut_after=4)
        model.fault(on=5, every_s=0.2)
        said = desk.to_end("spends")
        assert said.code == 0, said.err
        shown = desk.show()
        steps = [step for step in shown["steps"] if step["kind"] == "model"]
        assert [step["usd"] for step in steps[:3]] == pytest.approx([CLAUDE_USD, GPT_USD, GPT_USD], abs=1e-9)
        assert [step["tokens"] for step in steps[:3]] == [25_600, 21_600, 21_600]
        assert [step["model"]["partial"] for step in steps] == [None, None, None, "broke_off", "closed"]
        reserved = desk.journal("SELECT usd FROM journal WHERE kind = 'StepIntended' ORDER BY number DESC LIMIT 2")
        assert [step["usd"] for step in steps[:2:-1]] == [usd for (usd,) in reserved] and min(reserved) > (0.0001,)
        assert shown["run"]["usage"]["usd"] == pytest.approx(sum(step["usd"] for step in steps), abs=1e-9)
        assert shown["run"]["usage"]["reserved"]["usd"] == 0


def test_a_model_without_a_price_fails_closed(desk: Any) -> None:
    """R26. Lost: a cap in dollars that counts an unknown model as free."""
    desk.write(CLIENTS + PRICED)
    (desk.home / "holdfast.toml").write_text(PRICES)
    with ModelServer(usage_of) as model:
        desk.serves(model)
        said = desk.to_end("unheard")
        assert said.code == 2 and "claude-unheard-of" in said.err and "holdfast.toml" in said.err
        assert json.loads(desk.run("ls", "--json").out)["runs"] == [], "nothing was started"
        said = desk.to_end("undeclared")
        assert said.code == 1 and "claude-unheard-of" in said.err and "Nothing was sent" in said.err
        assert desk.show()["run"]["status"] == "stopped" and model.count == 0


# --- R27 -------------------------------------------------------------------------------------------------------

LATE = """
@hf.tool(effect="read", timeout="1s", retry=hf.Retry(attempts=99, wait=0, total="2s"))
async def hangs(page: int) -> str:
    await asyncio.Event().wait()

@hf.agent(budget=hf.Budget(model_calls=99, tool_calls=99))
async def late(run: hf.Run, given: str) -> list[str]:
    client = claude(timeout="1s", retry=hf.Retry(attempts=99, wait=0, total="3s"))
    said = []
    for what in (ask(client, "never"), read(client, "half-open"), read(client, "drip"), hangs(1)):
        try:
            said.append(await what)
        except Exception as error:
            said.append(type(error).__name__)
    return said
"""


def test_a_deadline_ends_what_never_answers_hangs_or_drips(desk: Any) -> None:
    """R27. Lost: read timeouts never ring while a byte comes in now and then, and each retry would begin a new time."""
    desk.write(CLIENTS + LATE)
    with ModelServer(lambda request: text("word " * 200)) as model:
        desk.serves(model)
        model.fault(on=1, times=3, delay_s=60)
        model.fault(on=4, stall_after=4)
        model.fault(on=5, every_s=0.2)
        said = desk.to_end("late")
        assert said.code == 0, said.err
        assert json.loads(said.out) == ["APITimeoutError", "ReadTimeout", "ReadTimeout", "ToolFailed"]
        never, half_open, drip, hangs = desk.show()["steps"]
        assert (never["attempts"], half_open["attempts"], drip["attempts"], hangs["attempts"]) == (3, 1, 1, 2)
        assert model.count == 5
        model.wait_for(5, until="hung_up")
