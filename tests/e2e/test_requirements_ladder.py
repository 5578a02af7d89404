"""R3, R5, R7, R8 and R17 of tools from outside: what a strict provider was told, and what a service was asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import anthropic
import httpx2
import pytest

import holdfast as hf
from holdfast.errors import RunStopped
from holdfast.journal.memory import MemoryJournal
from holdfast.testing.clock import ManualClock
from holdfast.testing.model_server import ModelServer, Request, text, tool_use
from holdfast.views.show import show

SETTINGS = hf.Settings(lease_s=1e9, park_s=1e6)


class Service:
    """An HTTP service: what it answers, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: Counter[str] = Counter()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked[self.path] += 1
                status, answer = service.answers.get(self.path, (200, {"eur": 101}))
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *line: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    async def get(self, path: str) -> Any:
        async with httpx2.AsyncClient() as client:
            response = await client.get(self.url + path)
            response.raise_for_status()
            return response.json()


@pytest.fixture
def service() -> Any:
    made = Service()
    yield made
    made.close()


def policy(seen: list[Any]) -> Callable[[Request], Any]:
    """A model that asks for the rates once, and says what it read of them."""

    def answer(request: Request) -> Any:
        last = request.body["messages"][-1]["content"]
        if isinstance(last, str):
            return tool_use("get_rates", {"currency": "eur"})
        seen.append(last[0])
        return text("done")

    return answer


def rates_of(service: Service, **options: Any) -> Any:
    @hf.tool(effect="read", retry=hf.Retry(attempts=2, wait=0), **options)
    async def get_rates(currency: str) -> dict[str, Any]:
        """Rates of a currency."""
        return await service.get("/rates")  # type: ignore[no-any-return]

    return get_rates


def agent_with(tool: Any, model: ModelServer) -> Any:
    """A loop of the user's own around the SDK."""
    tools = hf.Toolset(tool)

    @hf.agent(name="reports", budget=hf.Budget(model_calls=9, tool_calls=20))
    async def reports(run: hf.Run, question: str) -> str:
        client = anthropic.AsyncAnthropic(api_key="k", base_url=model.url, http_client=hf.http_client())
        messages: list[Any] = [{"role": "user", "content": question}]
        while True:
            reply = await client.messages.create(
                model="claude-test", max_tokens=99, messages=messages, tools=tools.schemas("anthropic")
            )
            results = await tools.results(reply)
            if not results:
                return str(reply.content[0].text)
            messages += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]

    return reports


class World:
    """One store and a clock of our own."""

    def __init__(self) -> None:
        self.clock = ManualClock(draws=(0.0,))
        self.journal = MemoryJournal(clock=self.clock.now)

    def run(self, agent: Any, key: str) -> Any:
        async def main() -> Any:
            async with hf.App(self.journal, clock=self.clock, serves=False, settings=SETTINGS) as app:
                running = asyncio.ensure_future(app.run(agent, "rates?", key=key))
                while not running.done():
                    await asyncio.sleep(0.001)
                    await self.clock.advance(0.001)
                return await running

        return asyncio.run(main())

    def picture(self, key: str) -> dict[str, Any]:
        (head,) = self.journal.heads(key=key)
        return show(head, self.journal.events(head.run_id))


@pytest.mark.parametrize(("max_age", "is_served"), [("5m", False), ("1h", True)])
def test_an_old_result_is_served_within_its_age_and_the_model_is_told(
    service: Service, max_age: str, is_served: bool
) -> None:
    """R7. Lost: a report on numbers of an hour ago, that says nothing of it."""
    world, seen = World(), list[Any]()
    with ModelServer(policy(seen)) as model:
        agent = agent_with(rates_of(service, fallback=[hf.Cached(max_age=max_age)]), model)
        world.run(agent, "warm")
        asyncio.run(world.clock.advance(600))
        service.answers["/rates"] = (503, {})
        assert world.run(agent, "late") == "done"
    fresh, late = seen
    assert fresh["content"] == '{"eur": 101}'
    picture = world.picture("late")
    step = next(step for step in picture["steps"] if step["name"] == "get_rates")
    if is_served:
        value, notice = late["content"].split("\n")
        assert value == '{"eur": 101}' and late["is_error"] is False
        assert notice.startswith("[holdfast: Not fresh: get_rates failed now") and "10 min old" in notice
        assert step["served"] == "cached" and step["degraded"]["age_s"] == pytest.approx(600, abs=5)
        assert picture["run"]["degraded"] == ["get_rates"]
    else:
        assert late["is_error"] is True and "HTTPStatusError" in late["content"]
        assert step["status"] == "failed" and picture["run"]["failed_steps"] == ["get_rates"]
        (passed,) = [line for line in picture["decisions"] if line["what"] == "rung"]
        assert "cached: it is 10 min old, max_age is 5 min" in passed["because"]
    assert service.asked["/rates"] == 1 + 2


def test_the_requests_of_a_ladder_are_the_attempts_of_its_policies(service: Service) -> None:
    """R5. Lost: the bound; layers that each retry make 3 x 3 x 3 requests of one question."""
    world, seen = World(), list[Any]()
    service.answers = {"/rates": (503, {}), "/copy": (503, {})}

    @hf.tool(effect="read", retry=hf.Retry(attempts=3, wait=0))
    async def copy(currency: str) -> dict[str, Any]:
        return await service.get("/copy")  # type: ignore[no-any-return]

    with ModelServer(policy(seen)) as model:
        world.run(agent_with(rates_of(service, fallback=[copy, hf.Cached(max_age="1h")]), model), "k")
        assert len(model.requests) == 2
    assert service.asked == {"/rates": 2, "/copy": 3}


def test_an_answer_that_says_no_is_told_as_a_failure(service: Service) -> None:
    """R3, R8. Lost: `{"ok": false}` in an HTTP 200, told to the model as if it were the customer's data."""
    world, seen = World(), list[Any]()
    service.answers["/rates"] = (200, {"ok": False, "error": "no such currency"})
    with ModelServer(policy(seen)) as model:
        world.run(agent_with(rates_of(service), model), "k")
    assert (seen[0]["content"], seen[0]["is_error"]) == ("get_rates failed: NotOk: no such currency", True)
    assert service.asked["/rates"] == 1
    assert world.picture("k")["run"]["failed_steps"] == ["get_rates"]


def test_a_result_that_does_not_pass_never_reaches_the_prompt(service: Service) -> None:
    """R17. Lost: one bad number that sends the agent down another trajectory."""
    world, seen = World(), list[Any]()
    service.answers["/rates"] = (200, {"eur": -4711})
    tool = rates_of(service, check=lambda found: found["eur"] > 0 or f"a rate of {found['eur']} cannot be")
    with ModelServer(policy(seen)) as model:
        world.run(agent_with(tool, model), "k")
        assert '"eur": -4711' not in json.dumps([request.body for request in model.requests])
    assert seen[0]["is_error"] is True and "a rate of -4711 cannot be" in seen[0]["content"]
    assert service.asked["/rates"] == 2
    (failed,) = [step for step in world.picture("k")["steps"] if step["name"] == "get_rates"]
    assert "did not pass its check" in failed["failures"][-1]["because"]


def test_a_run_does_not_succeed_without_what_must_not_be_missing(service: Service) -> None:
    """R8. Lost: a fabricated report, with exit code 0."""
    world, seen = World(), list[Any]()
    service.answers["/rates"] = (503, {})
    with ModelServer(policy(seen)) as model:
        agent = agent_with(rates_of(service, fallback=["stop"]), model)
        with pytest.raises(RunStopped, match="must not be missing"):
            world.run(agent, "k")
    assert seen == [], "nothing was told that could be written over"
    picture = world.picture("k")
    assert picture["run"]["status"] == "stopped" and picture["run"]["failure"]["status"] == 503
