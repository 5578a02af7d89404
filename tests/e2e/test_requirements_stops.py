"""R24, R28, R29 and R30 from outside: what somebody at a terminal sees of a run that is stopped, and what it cost."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from holdfast.testing.model_server import ModelServer, Reply, Request, text, tool_use

AGENTS = """
from anthropic import AsyncAnthropic

@hf.tool(effect="read")
async def look(page: int) -> str:
    return f"page {page} is a page"

@hf.tool(effect="read")
async def nothing(page: int) -> str:
    return "nothing"

@hf.tool(effect="read", retry=hf.Retry(attempts=1))
async def broken(page: int) -> str:
    raise ValueError(f"there is no page {page}")

@hf.tool(effect="idempotent")
async def store(page: int, *, idempotency_key: str = hf.INJECTED) -> str:
    await send("store", {"page": page}, idempotency_key)
    return "stored"

async def loop(run, *tools):
    toolset = hf.Toolset(*tools)
    model = AsyncAnthropic(http_client=hf.http_client())
    messages = [{"role": "user", "content": "Read it all."}]
    while True:
        reply = await model.messages.create(
            model="claude-test", max_tokens=64, messages=messages, tools=toolset.schemas("anthropic")
        )
        results = await toolset.results(reply)
        if not results:
            return reply.content[0].text
        messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]

@hf.agent
async def reads(run: hf.Run, what: str) -> str:
    return await loop(run, look, nothing, broken)

@hf.agent(stuck=hf.Stuck(idle=5, progress=lambda run: 0))
async def measured(run: hf.Run, what: str) -> str:
    return await loop(run, look)

@hf.agent(budget=hf.Budget(model_calls=6, tool_calls=50, usd=1), models=["claude-test"])
async def capped(run: hf.Run, what: str) -> str:
    return await loop(run, look, store)

def check(text):
    return 0.2

@hf.agent(escalate="editor")
async def vouches(run: hf.Run, what: str) -> str:
    said = await run.gate("facts", check, 0.8, input=what, claimed=0.99)
    return f"published, by {said.by or 'the measure'}"
"""
PRICES = '[prices."claude-test"]\ninput = 3\noutput = 15\n'


class Tireless:
    """A model that always wants one more of these, in turn."""

    def __init__(self, *names: str, is_same: bool) -> None:
        self.names, self.is_same = names, is_same

    def __call__(self, request: Request) -> Reply:
        turn = sum(message["role"] == "assistant" for message in request.body["messages"])
        return tool_use(self.names[turn % len(self.names)], {"page": 1 if self.is_same else turn})


def prompts(server: ModelServer) -> list[str]:
    """What the model read, turn by turn."""
    return [json.dumps(request.body, ensure_ascii=False) for request in server.requests]


@pytest.mark.parametrize(
    ("agent", "names", "is_same", "reason"),
    [
        ("reads", ["look"], True, "same_call"),
        ("reads", ["look", "nothing"], True, "cycle"),
        ("reads", ["look", "broken"], False, "errors"),
        ("measured", ["look"], False, "idle"),
    ],
    ids=["same", "cycle", "errors", "idle"],
)
def test_a_run_that_goes_round_is_told_and_stops_with_a_reason_of_its_own(
    desk: Any, agent: str, names: list[str], is_same: bool, reason: str
) -> None:
    """Lost: R28: a stuck agent burns its budget to the end; or nobody can tell one way of being stuck from another."""
    desk.write(AGENTS)
    with ModelServer(Tireless(*names, is_same=is_same)) as server:
        desk.serves(server)
        said = desk.to_end(agent)
        read = prompts(server)
    assert said.code == 1 and f"stuck: {reason}" in said.err and "Traceback" not in said.err
    run = desk.show()["run"]
    assert (run["status"], run["reason"]) == ("stopped", f"stuck: {reason}")
    assert "If this goes on, the run is stopped" in read[-1] and len(read) < 50
    decisions = [line for line in desk.show()["decisions"] if line["what"] == "stuck"]
    assert [line["choice"] for line in decisions] == ["tell", "stop"] and all(line["because"] for line in decisions)


def test_a_budget_that_ends_is_seen_coming_and_the_work_goes_on_where_it_was(desk: Any) -> None:
    """Lost: R29: the warning, the last turn, a reason and an exit code that a script can read, or the work: a run that
    is killed on its way back pays for nothing twice."""
    desk.write(AGENTS)
    (desk.home / "holdfast.toml").write_text(PRICES)
    with ModelServer(Tireless("store", is_same=False)) as server:
        desk.serves(server)
        said = desk.to_end("capped")
        read = prompts(server)
        assert said.code == 4 and len(read) == 6, said.err
        assert "of this run are used. Come to an end." in read[5] and "This is your last turn" in read[5]
        for line in ("Done: ", "store ×6", "Last words: the answer of ", "Go on: holdfast resume"):
            assert line in said.err
        assert desk.show()["run"]["reason"] == "budget: model_calls"
        assert "hand-over" in desk.run("show", "k").out

        more = desk.start("resume", "k", "agents.py:capped", "--raise", "model_calls=+4")
        server.wait_for(8)
        more.send_signal(signal.SIGKILL)
        more.communicate()
        said = desk.to_end("capped")
        assert said.code == 4, said.err
        assert 10 <= len(server.requests) <= 11, "ten, and the one that was under way when it was killed"
    pages = {(effect.key, json.dumps(effect.args)) for effect in desk.ledger.effects("store")}
    assert len(pages) == len({key for key, _ in pages}), "each page under one key, whoever stored it"
    assert len(pages) in (9, 10), "a model call that was under way when it was killed is charged, too"
    assert desk.show()["run"]["usage"]["model_calls"] <= 10


def test_the_most_that_a_run_can_cost_is_printed_before_it_starts_and_is_true(desk: Any) -> None:
    """Lost: R24: a number that one may rely on."""
    desk.write(AGENTS)
    (desk.home / "holdfast.toml").write_text(PRICES)
    said = desk.run("run", "agents.py:capped", "x", "--key", "k", "--dry-run", "--json")
    most = json.loads(said.out)["most"]
    assert most["usd"]["because"] == "the cap on usd"
    with ModelServer(Tireless("look", is_same=False)) as server:
        desk.serves(server)
        assert desk.to_end("capped").code == 4
    used = desk.show()["run"]["usage"]
    for part in ("usd", "model_calls", "tool_calls"):
        assert 0 < used[part] <= most[part]["most"]


def test_a_claim_of_99_per_cent_with_a_failing_check_escalates(desk: Any) -> None:
    """Lost: R30: an agent that vouches for itself publishes what no check has passed."""
    desk.write(AGENTS)
    with ModelServer(lambda request: text("unused")) as server:
        desk.serves(server)
        waiting = desk.run("run", "agents.py:vouches", "a text", "--key", "k", "--wait", "0")
        assert waiting.code == 5, waiting.err
        assert "measured 0.2, under 0.8" in waiting.err and "claims 0.99, which does not count" in waiting.err
        (asked,) = desk.show()["questions"]
        assert asked["to"] == "editor"
        assert desk.run("answer", "k", "go_on", "--by", "ann").code == 0
        said = desk.to_end("vouches", "a text")
    assert said.code == 0 and "published, by ann" in said.out
    (verdict,) = [line for line in desk.show()["decisions"] if line["what"] == "gate facts"]
    assert (verdict["choice"], verdict["because"]) == ("ask", "measured 0.2, under 0.8")
