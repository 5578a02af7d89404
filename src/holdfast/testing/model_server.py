"""A fake model provider: a real HTTP server on 127.0.0.1 which speaks the Anthropic Messages API strictly.

A policy (a function, or `script([...])`) says what the model answers; the server refuses what the real API
would refuse, so that a transcript which passes here is valid there.

Invariants
1. Every request that reaches the API is recorded and numbered from 1 before anything is decided about it.
2. A planned fault comes first, then the strict checks, then the policy: what fails consumes no script step.
3. The same requests in the same order get the same answers, byte for byte: ids are hashes of the request body
   and of how often that body was received.
4. Nothing fails silently: unused or surplus script steps, a policy that raised and a fault that never came are
   all named by `check()`.

Never: streams (yet), speaks for other providers (yet; the path chooses), reads a clock, or leaves loopback.
"""

import argparse
import importlib.util
import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from holdfast.testing.loopback import WAIT_S_MAX, Answer, Call, Child, Loopback, ask, digest
from holdfast.testing.messages_api import (
    Policy,
    Reply,
    Request,
    Script,
    error,
    refusal,
    render,
    script,
    text,
    tool_use,
    tool_uses,
)

__all__ = [
    "ModelServer",
    "Policy",
    "Received",
    "Reply",
    "Request",
    "Script",
    "error",
    "script",
    "text",
    "tool_use",
    "tool_uses",
]


@dataclass(frozen=True, slots=True)
class Received:
    """One request on the wire."""

    n: int
    method: str
    path: str
    digest: str
    """SHA-256 of the canonical JSON of the body."""
    body: Any
    retry_count: int | None
    """`x-stainless-retry-count`: the SDK's own retries; None without the header."""
    repeated: bool
    """An equal body had already been answered 200 when this one came: work that was paid for is asked again."""
    status: int | None = None
    """None while unanswered, and for ever if the connection was dropped."""


@dataclass(frozen=True, slots=True)
class _Fault:
    on: int
    times: int = 1
    status: int | None = None
    type: str | None = None
    message: str = "planned by the test"
    headers: Mapping[str, str] | None = None
    details: Mapping[str, Any] | None = None
    drop: bool = False
    delay_s: float = 0.0


class ModelServer:
    """The fake provider: in this process (`with ModelServer(policy) as server:`) or in its own (`spawn`).

    Leaving the `with` block without an exception calls `check()`.
    """

    def __init__(self, policy: Policy, port: int = 0) -> None:
        """`port` 0: any free one. Listens from `with` on, in threads of this process."""
        self._desk: _Desk | None = _Desk(policy)
        self._port = port
        self._running: Loopback | Child | None = None

    @classmethod
    def spawn(cls, file: str | Path, name: str) -> "ModelServer":
        """Run policy `name` of Python file `file` in a process of its own, which outlives a killed agent.

        It has a session of its own too. Its records are gone once it is closed.
        """
        server = cls.__new__(cls)
        server._desk, server._port = None, 0
        server._running = Child.spawn("holdfast.testing.model_server", "--policy", f"{file}:{name}")
        return server

    def __enter__(self) -> Self:
        if self._desk and not self._running:
            self._running = Loopback(self._desk.answer, self._port)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.close()

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        if not self._running:
            raise RuntimeError("This model server is not running. Use `with ModelServer(policy) as server:`.")
        return self._running.url

    @property
    def pid(self) -> int | None:
        """The process id of a spawned server; None for one in this process."""
        return self._running.process.pid if isinstance(self._running, Child) else None

    @property
    def requests(self) -> list[Received]:
        """Every request so far, in order; those refused or dropped too."""
        return [Received(**each) for each in self._control("GET", "requests")["requests"]]

    @property
    def count(self) -> int:
        """How many requests were on the wire."""
        return len(self.requests)

    def repeated(self) -> int:
        """How many requests asked again for what had already been answered 200, whatever they got."""
        return sum(request.repeated for request in self.requests)

    def fault(
        self,
        *,
        on: int,
        status: int | None = None,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        type: str | None = None,
        message: str = "planned by the test",
        details: Mapping[str, Any] | None = None,
        drop: bool = False,
        delay_s: float = 0.0,
    ) -> None:
        """Plan a fault for requests `on` (from 1) to `on + times - 1`; ValueError if past or planned twice.

        `delay_s` waits first. Then `drop` closes the connection without an answer and `status` answers with an
        error; with neither, the request is handled as usual. The policy never sees a failed request.
        """
        fault = _Fault(on, times, status, type, message, headers, details, drop, delay_s)
        self._control("POST", "faults", asdict(fault))

    def wait_for(self, count: int, timeout_s: float = 10.0) -> None:
        """Block until `count` requests have arrived, answered or not; TimeoutError if not in time."""
        wanted = {"count": count, "timeout_s": timeout_s}
        got = self._control("POST", "wait", wanted, timeout_s=timeout_s + 10.0)["count"]
        if got < count:
            raise TimeoutError(f"Waited {timeout_s} s for {count} requests; {got} have arrived.")

    def check(self) -> None:
        """AssertionError naming unused and surplus script steps, policy errors and faults that never came."""
        problems = self._control("GET", "check")["problems"]
        if problems:
            raise AssertionError("\n".join(["The model server was not used as planned:", *problems]))

    def close(self) -> None:
        """Stop, drop open connections, end every thread or the process."""
        if self._desk:
            self._desk.closing.set()
        if self._running:
            self._running.close()
        self._running = None

    def _control(self, method: str, what: str, body: Any = None, *, timeout_s: float = 10.0) -> Any:
        path = f"/_holdfast/{what}"
        if self._desk:  # the same function without the socket: also works after close
            answer = self._desk.control(Call(method, path, body=json.dumps(body).encode()))
            status, told = answer.status, answer.body
        else:
            status, told = ask(self.url, method, path, body, timeout_s=timeout_s)
        if status != 200:
            raise ValueError(told["error"])
        return told


class _Desk:
    """The state of a server: what came, what is planned, what went wrong."""

    def __init__(self, policy: Policy) -> None:
        self.closing = threading.Event()
        self._policy = policy
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._seen: Counter[str] = Counter()
        self._answered: set[str] = set()
        self._faults: dict[int, _Fault] = {}
        self._problems: list[str] = []

    def answer(self, call: Call) -> Answer | None:
        if call.path.startswith("/_holdfast/"):
            return self.control(call)
        received, seed = self._receive(call)
        answer = self._decide(received, seed, call)
        if answer:
            with self._changed:
                self._received[received.n - 1] = replace(received, status=answer.status)
                self._answered |= {received.digest} if answer.status == 200 else set()
        return answer

    def _receive(self, call: Call) -> tuple[Received, str]:
        body = _parsed(call)
        key, retries = digest(body), call.headers.get("x-stainless-retry-count", "")
        with self._changed:
            n, paid = len(self._received) + 1, key in self._answered
            retry_count = int(retries) if retries.isdecimal() else None
            received = Received(n, call.method, call.path, key, body, retry_count, paid)
            self._received.append(received)
            self._seen[key] += 1
            self._changed.notify_all()
            return received, f"{key}:{self._seen[key]}"

    def _decide(self, received: Received, seed: str, call: Call) -> Answer | None:
        fault = self._faults.get(received.n)
        if fault and ((fault.delay_s and self.closing.wait(fault.delay_s)) or fault.drop):
            return None
        if fault and fault.status:
            planned = error(fault.status, fault.type, fault.message, headers=fault.headers, details=fault.details)
            return render(planned, received.n, received.body, seed)
        reply = refusal(call) or self._ask_policy(received, call)
        return render(reply, received.n, received.body, seed)

    def _ask_policy(self, received: Received, call: Call) -> Reply:
        body = received.body
        request = Request(
            n=received.n,
            model=body["model"],
            system=body.get("system"),
            messages=body["messages"],
            tools=body.get("tools") or [],
            max_tokens=body["max_tokens"],
            headers=call.headers,
            body=body,
        )
        try:
            reply = self._policy(request)
            assert isinstance(reply, Reply), f"a policy returns a Reply, not {reply!r}"
            return reply
        except Exception as raised:  # the policy is the test's own code; check() passes it on
            problem = f"request {received.n}: the policy raised {type(raised).__name__}: {raised}"
            with self._changed:
                self._problems.append(problem)
            return error(400, message=f"ModelServer, {problem}")  # a status that nobody retries

    def control(self, call: Call) -> Answer:
        with self._changed:
            try:
                return self._route(call)
            except (ValueError, TypeError) as wrong:
                return Answer(400, {"error": str(wrong)})

    def _route(self, call: Call) -> Answer:
        match call.method, call.path.removeprefix("/_holdfast/"):
            case "GET", "requests":
                return Answer(200, {"requests": [asdict(each) for each in self._received]})
            case "GET", "check":
                return Answer(200, {"problems": self._check()})
            case "POST", "wait":
                return self._wait(**call.json())
            case "POST", "faults":
                return self._plan(_Fault(**call.json()))
            case _:
                return Answer(404, {"error": f"the model server does not know {call.method} {call.path}"})

    def _check(self) -> list[str]:
        unused = self._policy.unused() if isinstance(self._policy, Script) else []
        never = {fault.on for n, fault in self._faults.items() if n == fault.on > len(self._received)}
        return [*self._problems, *unused, *(f"the fault planned on request {on} never came" for on in never)]

    def _wait(self, count: int, timeout_s: float) -> Answer:
        self._changed.wait_for(lambda: len(self._received) >= count, min(timeout_s, WAIT_S_MAX))
        return Answer(200, {"count": len(self._received)})

    def _plan(self, fault: _Fault) -> Answer:
        numbers = range(fault.on, fault.on + fault.times)
        if fault.on <= len(self._received):
            raise ValueError(f"request {fault.on} is past, {len(self._received)} were received")
        if not numbers or self._faults.keys() & set(numbers):
            raise ValueError(f"requests {fault.on} to {numbers.stop - 1}: planned already, or none at all")
        self._faults |= dict.fromkeys(numbers, fault)
        return Answer(200, {})


def _parsed(call: Call) -> Any:
    try:
        return call.json()
    except ValueError:
        return call.body.decode(errors="replace")


def _load(where: str) -> Policy:
    file, _, name = where.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None, f"{file} is not a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    policy: Policy = getattr(module, name)
    return policy


def main(argv: list[str] | None = None) -> None:
    """`python -m holdfast.testing.model_server --policy FILE.py:NAME`: prints `{"url": …}` and serves."""
    parser = argparse.ArgumentParser(prog="holdfast.testing.model_server", description="A strict fake provider.")
    parser.add_argument("--policy", required=True, metavar="FILE.py:NAME", help="which policy answers")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--idle-s", type=float, default=3600.0, help="end when idle so long")
    options = parser.parse_args(argv)
    Loopback(_Desk(_load(options.policy)).answer, options.port).serve_until_idle(options.idle_s)


if __name__ == "__main__":
    # the policy file imports this module by its name: serve with that copy, so that nothing is here twice
    from holdfast.testing.model_server import main as _main

    _main()
