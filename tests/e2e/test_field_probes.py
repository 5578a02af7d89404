"""Ten things that go wrong in released frameworks, each tried on both engines with real processes, ledger and model.

Each test is one probe that was made on a peer; its docstring says what came out there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from tests import warm

from holdfast.core.events import Kind
from holdfast.core.heads import Status
from holdfast.journal.open import open_journal
from holdfast.runtime.clock import SystemClock
from holdfast.testing.model_server import ModelServer, text
from holdfast.testing.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.proof)])
def store(request: pytest.FixtureRequest) -> str:
    """Each probe is made on both engines; by default those on Postgres in which the engine has the most to say."""
    if request.param == "sqlite":
        return "sqlite:///holdfast.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url(f"probe_{crc32(request.node.name.encode())}")


both = pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)


def killed_in(desk: Any, agent: str, name: str, *, at: int) -> None:
    """A process that is killed when the ledger has the effect of this number and its sender waits for the answer."""
    desk.ledger.fault(name, at, "hang")
    process = desk.go(agent)
    desk.ledger.wait_for(name, at, timeout_s=30)
    process.kill()
    process.communicate(timeout=20)


def asked_and_killed(desk: Any, agent: str, model: ModelServer, *, at: int) -> None:
    """The same in a model call."""
    model.fault(on=at, delay_s=60)
    process = desk.go(agent)
    model.wait_for(at, timeout_s=30)
    process.kill()
    process.communicate(timeout=20)


# --- 1: attempts over three kills -----------------------------------------------------------------------------

ATTEMPTS = """
THREE = hf.Retry(attempts=3, wait=0)

@hf.tool(effect="read", retry=THREE)
async def look(what: str) -> str:
    return await send("look", what, "")

@hf.tool(effect="idempotent", retry=THREE)
async def put(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("put", what, idempotency_key)

@hf.agent
async def looks(run: hf.Run, given: str) -> str:
    return await look(given)

@hf.agent
async def puts(run: hf.Run, given: str) -> str:
    return await put(given)

@hf.agent
async def asks(run: hf.Run, given: str) -> str:
    return await ask([{"role": "user", "content": given}], retry=THREE)
"""
ASK = """
async def ask(messages, most=16, **options):
    asked = {"model": "claude-test", "max_tokens": most, "messages": messages}
    headers = {"x-api-key": "none", "anthropic-version": "2023-06-01"}
    async with hf.http_client(**options) as client:
        answer = await client.post(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json=asked, headers=headers)
    answer.raise_for_status()
    return answer.json()["content"][0]["text"]
"""
"""A raw call: an SDK takes a second to load, in each of the processes."""


@pytest.mark.parametrize(("agent", "name"), [("looks", "look"), ("puts", "put")])
def test_1_three_attempts_stay_three_over_three_kills(desk: Any, agent: str, name: str) -> None:
    """DBOS: kill -9 in a step with three attempts, three kills, a clean restart: seven attempts ran."""
    desk.write(ATTEMPTS)
    for kill in (1, 2, 3):
        killed_in(desk, agent, name, at=kill)
    for _ in range(2):
        assert desk.to_end(agent).code in (5, 8), "a person is asked, and nothing is tried on"
    assert len(desk.ledger.effects(name)) == 3
    assert len({effect.key for effect in desk.ledger.effects(name)}) == 1


def test_1_three_attempts_of_a_model_call_stay_three_over_three_kills(desk: Any) -> None:
    """The same of a model call, where each attempt costs money."""
    desk.write(ASK + ATTEMPTS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        for kill in (1, 2, 3):
            asked_and_killed(desk, "asks", model, at=kill)
        assert desk.to_end("asks").code == 1
        assert model.count == 3
        assert desk.show()["run"]["usage"]["model_calls"] == 3


# --- 2: another worker takes over -----------------------------------------------------------------------------

WORKERS = """
import os
import sys
import holdfast as hf
sys.path.insert(0, ".")
import agents

async def main():
    async with hf.App(os.environ.get("HOLDFAST_STORE", "sqlite:///holdfast.db"), agents=[agents.goes_on]) as app:
        if sys.argv[1] == "first":
            await app.start(agents.goes_on, "x", key="k")
        print("ready", flush=True)
        await agents.asyncio.Event().wait()

agents.asyncio.run(main())
"""
GOES_ON = """
@hf.tool(effect="idempotent")
async def put(what: str, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("put", what, idempotency_key)

@hf.agent
async def goes_on(run: hf.Run, given: str) -> str:
    await put("first")
    await put("second")
    return await put("third")
"""


@both
def test_2_another_worker_of_the_same_store_takes_over(desk: Any) -> None:
    """DBOS: kill -9 of worker A; the workflow stays PENDING, worker B of the same app never takes it."""
    desk.write(GOES_ON)
    (desk.home / "worker.py").write_text(WORKERS)
    desk.ledger.fault("put", 2, "hang")
    first, second = (_worker(desk, which) for which in ("first", "second"))
    desk.ledger.wait_for("put", 2, timeout_s=30)
    first.kill()
    first.communicate(timeout=20)
    began = SystemClock().monotonic()
    desk.ledger.wait_for("put", 4, timeout_s=30)
    assert SystemClock().monotonic() - began < 30.0, "within a lease"
    second.terminate()
    second.communicate(timeout=30)
    assert [effect.args for effect in desk.ledger.effects("put")] == ["first", "second", "second", "third"]
    assert len({effect.key for effect in desk.ledger.effects("put")}) == 3


def _worker(desk: Any, which: str) -> subprocess.Popen[str]:
    process = warm.start(
        [sys.executable, "worker.py", which],
        cwd=desk.home,
        env={**os.environ, **desk.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def _ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


# --- 3 and 6: an effect before its record -----------------------------------------------------------------------

PAYS = """
async def was_paid(key, cents):
    status, found = await asyncio.to_thread(call, "GET", "/effects/charge/" + key)
    return hf.Done(f"charge-{found['seq']}") if status == 200 else hf.NotDone()

@hf.tool(effect="once", verify=was_paid)
async def charge(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("charge", cents, idempotency_key)

@hf.tool
async def pay(cents: int) -> str:
    return await send("pay", cents, "")

@hf.agent
async def charges(run: hf.Run, given: str) -> str:
    return await charge(500)

@hf.agent
async def pays(run: hf.Run, given: str) -> str:
    return await pay(500)
"""


@both
def test_3_an_effect_whose_record_was_lost_with_its_process_is_not_repeated(desk: Any) -> None:
    """LangGraph: kill -9 after the effect and before the node ends: the card was charged twice, no warning."""
    desk.write(PAYS)
    killed_in(desk, "charges", "charge", at=1)
    said = desk.to_end("charges")
    assert (said.code, said.out) == (0, "charge-1\n"), said.err
    assert desk.ledger.count("charge") == 1


def test_6_a_payment_that_was_killed_is_not_made_again_by_a_resume(desk: Any) -> None:
    """Pydantic AI harness: kill -9 in a tool: its ledger reports it as started, and the resume pays again."""
    desk.write(PAYS)
    killed_in(desk, "pays", "pay", at=1)
    for _ in range(3):
        assert desk.to_end("pays").code == 8
    desk.run("resume", "k")
    assert desk.to_end("pays").code == 8
    assert desk.ledger.count("pay") == 1
    assert [question["about"] for question in desk.show()["questions"]] == ["in_doubt"]


# --- 4: limits and resumes --------------------------------------------------------------------------------------

LOOPS = """
@hf.tool(effect="idempotent")
async def step(number: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("step", number, idempotency_key)

@hf.agent(budget=hf.Budget(tool_calls=6))
async def loops(run: hf.Run, given: str) -> str:
    for number in range(100):
        await step(number)
    return "never"
"""


def test_4_a_limit_survives_three_resumes(desk: Any) -> None:
    """LangGraph: recursion_limit=6, the thread resumed three times: 9, 17 and 25 steps."""
    desk.write(LOOPS)
    assert desk.to_end("loops").code == 4
    for _ in range(3):
        desk.run("resume", "k")
        assert desk.to_end("loops").code == 4
    assert desk.ledger.count("step") == 6


# --- 5: which failures are tried again --------------------------------------------------------------------------

FETCHES = """
import urllib.request

@hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
def fetch(what: str) -> str:
    url = "http://" + os.environ["LEDGER"] + "/effects/fetch"
    body = json.dumps({"args": what}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
        return json.loads(answer.read())["id"]

@hf.agent
def fetches(run: hf.Run, given: str) -> str:
    return fetch(given)
"""


def test_5_a_rate_limit_and_an_outage_are_both_tried_again(desk: Any) -> None:
    """LangGraph: the default predicate retries a 503 and gives up on a 429."""
    desk.write(FETCHES)
    desk.ledger.fault("fetch", 1, "status:429")
    desk.ledger.fault("fetch", 2, "status:503")
    said = desk.to_end("fetches")
    assert (said.code, said.out) == (0, "fetch-1\n"), said.err
    (step,) = desk.show()["steps"]
    assert step["attempts"] == 3
    lines = desk.journal("SELECT meta FROM journal WHERE kind = 'AttemptFailed' ORDER BY number")
    assert [json.loads(meta)["kind"] for (meta,) in lines] == ["rate_limited", "transient"]


# --- 7: a day's budget ------------------------------------------------------------------------------------------

TWENTY = """
import asyncio, os, sys
import holdfast as hf

os.environ["ANTHROPIC_BASE_URL"] = sys.argv[1]

@hf.agent
async def asker(run: hf.Run, number: int) -> str:
    return await ask([{"role": "user", "content": "Hello"}], 1000)

async def main():
    async with hf.App(sys.argv[3], serves=False) as app:
        runs = (app.run(asker, n, key=f"{sys.argv[2]}-{n}") for n in range(10))
        await asyncio.gather(*runs, return_exceptions=True)

asyncio.run(main())
"""
A_DOLLAR = """
[budget.day]
usd = 1.0
[prices."claude-test"]
input = 0
output = 1000
"""


def test_7_a_dollar_a_day_pays_for_one_of_twenty_runs_at_once(tmp_path: Path, store: str) -> None:
    """Pydantic AI harness: a daily budget of one dollar, twenty runs at once of a dollar each: twenty dollars."""
    (tmp_path / "twenty.py").write_text(ASK + TWENTY)
    (tmp_path / "holdfast.toml").write_text(A_DOLLAR)
    with ModelServer(lambda request: text("hi", usage={"input_tokens": 1, "output_tokens": 1000})) as model:
        command = [sys.executable, "twenty.py", model.url]
        two = [warm.start([*command, which, store], cwd=tmp_path, stdout=subprocess.PIPE) for which in ("a", "b")]
        assert [_ended(process) for process in two] == [0, 0]
        assert model.count == 1
    journal = open_journal(store.replace("sqlite:///", f"sqlite:///{tmp_path}/"), clock=SystemClock().now)
    ends = [head.status for head in journal.heads()]
    journal.close()
    assert (ends.count(Status.SUCCEEDED), ends.count(Status.STOPPED)) == (1, 19)


# --- 8 and 10: limits of model calls ----------------------------------------------------------------------------

TALKS = (
    ASK
    + """
@hf.agent(budget=hf.Budget(model_calls=4))
async def talks(run: hf.Run, given: str) -> str:
    told = [{"role": "user", "content": given}]
    while True:
        said = await ask(told)
        told += [{"role": "assistant", "content": said}, {"role": "user", "content": "go on"}]
"""
)


def test_8_a_limit_of_requests_holds_over_repeated_runs_of_one_key(desk: Any) -> None:
    """Pydantic AI: request_limit=5 over repeated runs of one conversation: five more calls each, history lost."""
    desk.write(TALKS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        for _ in range(3):
            assert desk.to_end("talks").code == 4
            assert model.count == 4
    assert [step["status"] for step in desk.show()["steps"]] == ["succeeded"] * 4, "what was said is kept"


def test_10_the_turns_are_counted_through_kills_and_resumes(desk: Any) -> None:
    """OpenAI Agents holds this one (max_turns=4 through serialise and resume): so do we, and through kill -9."""
    desk.write(TALKS)
    with ModelServer(lambda request: text("hi")) as model:
        desk.serves(model)
        asked_and_killed(desk, "talks", model, at=2)
        asked_and_killed(desk, "talks", model, at=3)
        assert desk.to_end("talks").code == 4
        desk.run("resume", "k")
        assert desk.to_end("talks").code == 4
        assert model.count == 4


# --- 9: an approval ---------------------------------------------------------------------------------------------

APPROVED = """
@hf.tool(effect="once")
async def pay(cents: int, *, idempotency_key: str = hf.INJECTED) -> str:
    return await send("pay", cents, idempotency_key)

@hf.agent
async def approved(run: hf.Run, given: str) -> str:
    answer = await run.ask("Pay 5.00?", options=("yes", "no"))
    return await pay(500) if answer.value == "yes" else "not paid"
"""


@both
def test_9_one_approval_is_used_once(desk: Any) -> None:
    """OpenAI Agents: one approval snapshot, resumed twice: the approved tool ran twice."""
    desk.write(APPROVED)
    assert desk.to_end("approved").code == 5
    assert desk.run("answer", "k", "yes").code == 0
    assert desk.run("answer", "k", "yes").code != 0, "it is answered"
    both = [desk.go("approved") for _ in range(2)]
    said = [process.communicate(timeout=40)[0] for process in both]
    assert desk.to_end("approved").out == "pay-1\n"
    assert "pay-1\n" in said
    assert desk.ledger.count("pay") == 1
    closed = desk.journal("SELECT number FROM journal WHERE kind = ?", str(Kind.QUESTION_CLOSED))
    assert len(closed) == 1
